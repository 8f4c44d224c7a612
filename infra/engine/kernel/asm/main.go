// Command asm writes the kernel package's AVX2 and AVX-512 assembly. Run it through
// `go generate` in the parent folder.
//
// Every kernel keeps the canonical order of evaluation: one SIMD lane per
// output row, key or value element, products and sums rounded separately
// (no fused multiply-add), no horizontal additions outside the fixed tree.
package main

import (
	"flag"
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	vnni := flag.Bool("vnni", false, "write the products for AVX-512 VNNI instead")
	flag.Parse()
	ConstraintExpr("amd64")
	if *vnni {
		defineConstants(true)
		for _, f := range quantizedFormats {
			f.withVNNI().vector()
			for _, tokens := range []int{2, 3, 4} {
				f.withVNNI().group(tokens, 0)
			}
		}
		Generate()
		return
	}
	detectF16C()
	defineConstants(false)
	for _, f := range quantizedFormats {
		f.vector()
		f.group(2, prefetchBytes)
		f.group(3, prefetchBytes)
		f.group(4, 0)
		f.group(4, prefetchBytes)
		if f.pairable() {
			f.pair(0)
			f.pair(prefetchBytes)
		}
	}
	for _, format := range []string{"F32", "F16", "BF16"} {
		plainPanels(format, 4, 1)
		plainPanels(format, 1, 1)
		for _, tokens := range []int{2, 3, 4} {
			plainPanels(format, 2, tokens)
			plainPanels(format, 1, tokens)
		}
	}
	exponential()
	siluMul()
	geluMul()
	softCap()
	softmaxRow()
	sumSquares()
	scaleMul()
	addInto()
	scaleInto()
	rotateHalves()
	rotatePairs()
	allFinite()
	greatest()
	quantizeBlocks(false)
	quantizeBlocks(true)
	for heads := 1; heads <= 8; heads++ {
		wide := max(1, 8/heads)
		if heads == 3 {
			wide = 2
		}
		scorePanels(heads, 1)
		mixValues(heads, 1)
		if wide > 1 {
			scorePanels(heads, wide)
			mixValues(heads, wide)
		}
	}
	for heads := 1; heads <= quantHeads; heads++ {
		scoreQuants(heads)
		mixQuants(heads)
	}
	weighQuants()
	Generate()
}

// function starts a kernel without a stack frame.
func function(name, signature, doc string) {
	TEXT(name, NOSPLIT, "func"+signature)
	Pragma("noescape")
	Doc(fmt.Sprintf("%s %s", name, doc))
}

func pointer(name string) reg.Register { return Load(Param(name), GP64()) }

// stride loads a stride in elements of 4 bytes, as bytes.
func stride(name string) reg.Register {
	r := Load(Param(name), GP64())
	SHLQ(Imm(2), r)
	return r
}

// done ends a kernel.
func done() {
	VZEROUPPER()
	RET()
}

func vectors(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = YMM()
	}
	return v
}

// rowSet addresses n rows at a fixed stride through a register for every two.
type rowSet struct {
	bases  []reg.GPVirtual
	stride reg.Register
}

func rows(n int) rowSet {
	s := rowSet{bases: make([]reg.GPVirtual, (n+1)/2)}
	for i := range s.bases {
		s.bases[i] = GP64()
	}
	return s
}

// point sets row 0 to base and the others behind it.
func (s *rowSet) point(base, stride reg.Register) {
	s.stride = stride
	MOVQ(base, s.bases[0])
	for i := 1; i < len(s.bases); i++ {
		LEAQ(Mem{Base: s.bases[i-1], Index: stride, Scale: 2}, s.bases[i])
	}
}

func (s *rowSet) row(i int) Mem {
	if i%2 == 1 {
		return Mem{Base: s.bases[i/2], Index: s.stride, Scale: 1}
	}
	return Mem{Base: s.bases[i/2]}
}

func (s *rowSet) advance(bytes uint64) {
	for _, b := range s.bases {
		ADDQ(Imm(bytes), b)
	}
}

// multiplyAdd sets acc += x*y, rounded twice; y is lost.
func multiplyAdd(x Op, y, acc reg.VecVirtual) {
	VMULPS(x, y, y)
	VADDPS(y, acc, acc)
}
