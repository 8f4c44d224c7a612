// Command gen writes the AVX tile of package gemm. Run it by
//
//	cd infra/engine/train/internal/gemm/gen && go run . -out ../tile_amd64.s -stubs ../tile_amd64.go -pkg gemm
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const rows = 6

func main() {
	ConstraintExpr("amd64")
	TEXT("tileAVX", NOSPLIT, "func(a *float32, aRow, aStep uintptr, b *float32, k int, c *float32, cRow uintptr)")
	Pragma("noescape")
	Doc("tileAVX adds the product of 6 rows of a and a packed panel b of 16 columns",
		"to the 6x16 tile c: one multiplication and one addition per term, in order of k.",
		"Strides are in bytes: aRow between rows of a, aStep between its columns.")

	a := Load(Param("a"), GP64())
	aRow := Load(Param("aRow"), GP64())
	aStep := Load(Param("aStep"), GP64())
	b := Load(Param("b"), GP64())
	k := Load(Param("k"), GP64())
	c := Load(Param("c"), GP64())
	cRow := Load(Param("cRow"), GP64())

	// Rows 0..2 are addressed from a, rows 3..5 from a3.
	a3 := GP64()
	LEAQ(Mem{Base: aRow, Index: aRow, Scale: 2}, a3)
	ADDQ(a, a3)
	c3 := GP64()
	LEAQ(Mem{Base: cRow, Index: cRow, Scale: 2}, c3)
	ADDQ(c, c3)

	element := func(r int, lo, hi, stride reg.Register) Mem {
		base := lo
		if r >= 3 {
			base, r = hi, r-3
		}
		if r == 0 {
			return Mem{Base: base}
		}
		return Mem{Base: base, Index: stride, Scale: uint8(r)}
	}

	var acc [rows][2]reg.VecVirtual
	for r := range acc {
		for h := range acc[r] {
			acc[r][h] = YMM()
			VMOVUPS(element(r, c, c3, cRow).Offset(32*h), acc[r][h])
		}
	}

	b0, b1, x, p := YMM(), YMM(), YMM(), YMM()
	TESTQ(k, k)
	JE(LabelRef("store"))
	Label("loop")
	VMOVUPS(Mem{Base: b}, b0)
	VMOVUPS(Mem{Base: b, Disp: 32}, b1)
	for r := range acc {
		VBROADCASTSS(element(r, a, a3, aRow), x)
		VMULPS(b0, x, p)
		VADDPS(p, acc[r][0], acc[r][0])
		VMULPS(b1, x, x)
		VADDPS(x, acc[r][1], acc[r][1])
	}
	ADDQ(aStep, a)
	ADDQ(aStep, a3)
	ADDQ(Imm(64), b)
	DECQ(k)
	JNZ(LabelRef("loop"))

	Label("store")
	for r := range acc {
		for h := range acc[r] {
			VMOVUPS(acc[r][h], element(r, c, c3, cRow).Offset(32*h))
		}
	}
	VZEROUPPER()
	RET()
	Generate()
}
