package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// prefetchBytes is how far ahead of the weights a vector product asks for
// memory: 8 panel blocks.
func prefetchBytes(q4 bool) int {
	if q4 {
		return 1024
	}
	return 2048
}

func formatName(q4 bool) string {
	if q4 {
		return "Q4"
	}
	return "Q8"
}

// wordOnes sets every 16-bit lane to 1.
func wordOnes() reg.VecVirtual {
	v := YMM()
	VPCMPEQW(v, v, v)
	VPSRLW(Imm(15), v, v)
	return v
}

// nibbleMask sets every byte to 15.
func nibbleMask() reg.VecVirtual {
	v, t := YMM(), YMM()
	VPCMPEQB(v, v, v)
	VPSRLW(Imm(12), v, v)
	VPSLLW(Imm(8), v, t)
	VPOR(t, v, v)
	return v
}

// finish adds one block: acc += f32(sum) * (weightScale * activationScale).
func finish(sum, weightScale reg.VecVirtual, activationScale Mem, acc reg.VecVirtual) {
	t := YMM()
	VBROADCASTSS(activationScale, t)
	VMULPS(weightScale, t, t)
	VCVTDQ2PS(sum, sum)
	multiplyAdd(t, sum, acc)
}

// unpack splits 32 bytes of nibbles at w into two vectors of bytes.
func unpack(w Mem, mask reg.VecVirtual) (lo, hi reg.VecVirtual) {
	lo, hi = YMM(), YMM()
	VMOVDQU(w, lo)
	VPSRLW(Imm(4), lo, hi)
	VPAND(mask, lo, lo)
	VPAND(mask, hi, hi)
	return lo, hi
}

// quantizedVector multiplies panels of 8 rows by one token.
func quantizedVector(q4 bool) {
	name := "vector" + formatName(q4)
	function(name, "(w *int8, ws *uint16, a *int8, as *float32, sums *int32, out *float32, blocks, panels int)",
		"sets out[8p:8p+8] to panel p times one token, for consecutive panels.")
	w, ws := pointer("w"), pointer("ws")
	a0, as0 := pointer("a"), pointer("as")
	var sums0 reg.Register
	if q4 {
		sums0 = pointer("sums")
	}
	out, blocks, panels := pointer("out"), pointer("blocks"), pointer("panels")
	one := wordOnes()
	var mask reg.VecVirtual
	if q4 {
		mask = nibbleMask()
	}
	acc := YMM()
	Label(name + "_panel")
	VXORPS(acc, acc, acc)
	a, as, sums, n := GP64(), GP64(), GP64(), GP64()
	MOVQ(a0, a)
	MOVQ(as0, as)
	if q4 {
		MOVQ(sums0, sums)
	}
	MOVQ(blocks, n)
	Label(name + "_block")
	sum, scale := YMM(), YMM()
	fetch := func(g int) {
		if g%2 == 0 {
			PREFETCHT0(Mem{Base: w, Disp: prefetchBytes(q4) + 32*g})
		}
	}
	if q4 {
		words := YMM()
		for g := range 4 {
			fetch(g)
			lo, hi := unpack(Mem{Base: w, Disp: 32 * g}, mask)
			x, y := YMM(), YMM()
			VPBROADCASTD(Mem{Base: a, Disp: 4 * g}, x)
			VPBROADCASTD(Mem{Base: a, Disp: 16 + 4*g}, y)
			VPMADDUBSW(x, lo, lo)
			VPMADDUBSW(y, hi, hi)
			if g == 0 {
				VPADDW(lo, hi, words)
			} else {
				VPADDW(lo, hi, hi)
				VPADDW(hi, words, words)
			}
		}
		VPMADDWD(words, one, sum)
		t := YMM()
		VPBROADCASTD(Mem{Base: sums}, t)
		VPSUBD(t, sum, sum)
		ADDQ(Imm(4), sums)
		ADDQ(U32(128), w)
	} else {
		for g := range 8 {
			fetch(g)
			x, y := YMM(), YMM()
			VMOVDQU(Mem{Base: w, Disp: 32 * g}, x)
			VPBROADCASTD(Mem{Base: a, Disp: 4 * g}, y)
			VPSIGNB(x, y, y)
			VPABSB(x, x)
			VPMADDUBSW(y, x, x)
			if g == 0 {
				VPMADDWD(x, one, sum)
			} else {
				VPMADDWD(x, one, x)
				VPADDD(x, sum, sum)
			}
		}
		ADDQ(U32(256), w)
	}
	VCVTPH2PS(Mem{Base: ws}, scale)
	finish(sum, scale, Mem{Base: as}, acc)
	ADDQ(Imm(16), ws)
	ADDQ(Imm(32), a)
	ADDQ(Imm(4), as)
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	VMOVUPS(acc, Mem{Base: out})
	ADDQ(Imm(32), out)
	DECQ(panels)
	JNZ(LabelRef(name + "_panel"))
	done()
}

// quantizedTokens multiplies one panel by a group of tokens.
func quantizedTokens(q4 bool, tokens int) {
	name := fmt.Sprintf("group%sx%d", formatName(q4), tokens)
	function(name, "(w *int8, ws *uint16, a *int8, as *float32, sums *int32, out *float32, blocks, ldo int)",
		fmt.Sprintf("sets out[t*ldo:t*ldo+8] to one panel times token t of a group of %d.", tokens))
	w, ws := pointer("w"), pointer("ws")
	a, as := pointer("a"), pointer("as")
	var sums reg.Register
	if q4 {
		sums = pointer("sums")
	}
	out, n, ldo := pointer("out"), pointer("blocks"), stride("ldo")
	one := wordOnes()
	var mask reg.VecVirtual
	if q4 {
		mask = nibbleMask()
	}
	acc, sum := vectors(tokens), vectors(tokens)
	for _, v := range acc {
		VXORPS(v, v, v)
	}
	Label(name + "_block")
	activation := func(g, t int) reg.VecVirtual {
		y := YMM()
		VPBROADCASTD(Mem{Base: a, Disp: (g*tokens + t) * 4}, y)
		return y
	}
	if q4 {
		nibbles := func(x reg.VecVirtual, g int) {
			for t := range tokens {
				y := activation(g, t)
				if g == 0 {
					VPMADDUBSW(y, x, sum[t])
				} else {
					VPMADDUBSW(y, x, y)
					VPADDW(y, sum[t], sum[t])
				}
			}
		}
		for g := range 4 {
			lo, hi := unpack(Mem{Base: w, Disp: 32 * g}, mask)
			nibbles(lo, g)
			nibbles(hi, g+4)
		}
		for t := range tokens {
			y := YMM()
			VPMADDWD(sum[t], one, sum[t])
			VPBROADCASTD(Mem{Base: sums, Disp: 4 * t}, y)
			VPSUBD(y, sum[t], sum[t])
		}
		ADDQ(Imm(uint64(4*tokens)), sums)
		ADDQ(U32(128), w)
	} else {
		for g := range 8 {
			x, magnitude := YMM(), YMM()
			VMOVDQU(Mem{Base: w, Disp: 32 * g}, x)
			VPABSB(x, magnitude)
			for t := range tokens {
				y := activation(g, t)
				VPSIGNB(x, y, y)
				VPMADDUBSW(y, magnitude, y)
				if g == 0 {
					VPMADDWD(y, one, sum[t])
				} else {
					VPMADDWD(y, one, y)
					VPADDD(y, sum[t], sum[t])
				}
			}
		}
		ADDQ(U32(256), w)
	}
	scale := YMM()
	VCVTPH2PS(Mem{Base: ws}, scale)
	for t := range tokens {
		finish(sum[t], scale, Mem{Base: as, Disp: 4 * t}, acc[t])
	}
	ADDQ(Imm(16), ws)
	ADDQ(U32(uint32(32*tokens)), a)
	ADDQ(Imm(uint64(4*tokens)), as)
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	for t := range tokens {
		VMOVUPS(acc[t], Mem{Base: out})
		if t < tokens-1 {
			ADDQ(ldo, out)
		}
	}
	done()
}

// plainPanels multiplies unquantised panels by tokens, column by column.
func plainPanels(f16 bool, panels, tokens int) {
	format, shift := "F32", uint64(5)
	if f16 {
		format, shift = "F16", 4
	}
	name := fmt.Sprintf("plain%sp%dx%d", format, panels, tokens)
	weight := "*float32"
	if f16 {
		weight = "*uint16"
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
		if f16 {
			VCVTPH2PS(w.row(p), v)
		} else {
			VMOVUPS(w.row(p), v)
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
