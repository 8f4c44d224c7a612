package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// plainPanels multiplies unquantised panels by tokens, column by column.
func plainPanels(format string, panels, tokens int) {
	name := fmt.Sprintf("plain%sp%dx%d", format, panels, tokens)
	weight, shift := "*uint16", uint64(4)
	if format == "F32" {
		weight, shift = "*float32", 5
	}
	function(name, "(w "+weight+", x, out *float32, cols, ldx, ldo int)",
		fmt.Sprintf("sets out[t*ldo+8p:t*ldo+8p+8] to panel p of %d times token t of %d.", panels, tokens))
	w, x := rows(panels), rows(tokens)
	w0, x0 := pointer("w"), pointer("x")
	n, panelBytes := pointer("cols"), GP64()
	MOVQ(n, panelBytes)
	SHLQ(Imm(shift), panelBytes)
	w.point(w0, panelBytes)
	x.point(x0, stride("ldx"))
	acc := vectors(panels * tokens)
	for _, v := range acc {
		VXORPS(v, v, v)
	}
	Label(name + "_column")
	weights := vectors(panels)
	for p, v := range weights {
		switch format {
		case "F32":
			VMOVUPS(w.row(p), v)
		case "F16":
			VCVTPH2PS(w.row(p), v)
		case "BF16":
			VPMOVZXWD(w.row(p), v)
			VPSLLD(Imm(16), v, v)
		}
	}
	for t := range tokens {
		v := YMM()
		VBROADCASTSS(x.row(t), v)
		for p := range panels {
			y := YMM()
			VMULPS(v, weights[p], y)
			VADDPS(y, acc[t*panels+p], acc[t*panels+p])
		}
	}
	w.advance(1 << shift)
	x.advance(4)
	DECQ(n)
	JNZ(LabelRef(name + "_column"))
	out, ldo := pointer("out"), stride("ldo")
	for t := range tokens {
		for p := range panels {
			VMOVUPS(acc[t*panels+p], Mem{Base: out, Disp: 32 * p})
		}
		if t < tokens-1 {
			ADDQ(ldo, out)
		}
	}
	done()
}
