package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pairable reports whether registers suffice to multiply two panels at a time.
func (f quantized) pairable() bool { return !f.super && (f.bits == 4 || f.bits == 8) }

// pair multiplies two panels, the second of which follows the first, by a whole
// group of tokens: each broadcast of activations serves both. Results gather in
// memory, since the exact sums fill the registers.
func (f quantized) pair(ahead int) {
	const tokens = 4
	name := "pair" + f.name
	if ahead > 0 {
		name += "Ahead"
	}
	function(name, parameters+"ldo int)", "sets out[t*ldo:t*ldo+16] to two consecutive panels times token t of a group of 4.")
	first := f.load(tokens)
	first.ahead = ahead
	n, out := pointer("blocks"), rows(tokens)
	out.point(pointer("out"), stride("ldo"))
	second := *first
	second.w, second.ws = GP64(), GP64()
	IMUL3Q(U32(uint32(f.record())), n, second.w)
	ADDQ(first.w, second.w)
	IMUL3Q(U32(uint32(f.scaleBytes())), n, second.ws)
	ADDQ(first.ws, second.ws)
	panels := []*cursor{first, &second}

	result := func(t, panel int) Mem { return out.row(t).Offset(32 * panel) }
	zero := YMM()
	VXORPS(zero, zero, zero)
	for t := range tokens {
		for p := range panels {
			VMOVUPS(zero, result(t, p))
		}
	}
	Label(name + "_block")
	begin := f.words
	if f.bits == 8 {
		begin = f.signed
	}
	sums := pairDot(panels, begin)
	var scales, minima [2]reg.VecVirtual
	for p, c := range panels {
		scales[p] = YMM()
		VCVTPH2PS(Mem{Base: c.ws}, scales[p])
		if f.min {
			minima[p] = YMM()
			VCVTPH2PS(Mem{Base: c.ws, Disp: 16}, minima[p])
		}
	}
	for t := range tokens {
		for p := range panels {
			sum, y := sums[p][t], YMM()
			if f.bits == 4 {
				VPMADDWD(constant("wordOnes"), sum, sum)
			}
			if f.offset > 0 {
				VPBROADCASTD(first.sum(t), y)
				VPSUBD(y, sum, sum)
			}
			VCVTDQ2PS(sum, sum)
			VBROADCASTSS(first.scale(t), y)
			VMULPS(scales[p], y, y)
			VMULPS(y, sum, sum)
			if f.min {
				VBROADCASTSS(first.sum(t), y)
				multiplyAdd(minima[p], y, sum)
			}
			VADDPS(result(t, p), sum, sum)
			VMOVUPS(sum, result(t, p))
		}
	}
	ADDQ(U32(uint32(f.record())), second.w)
	ADDQ(Imm(uint64(f.scaleBytes())), second.ws)
	f.advance(first)
	ADDQ(Imm(uint64(f.scaleBytes())), first.ws)
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	done()
}

// term adds the product of a panel's group with activations y to a sum, and may
// use scratch, which may be y; first says that there is no sum yet.
type term func(y, scratch, sum reg.VecVirtual, first bool)

// pairDot sums terms over a block: begin loads group g of a panel.
func pairDot(panels []*cursor, begin func(c *cursor, g int) term) (sums [2][]reg.VecVirtual) {
	tokens := panels[0].tokens
	for p := range panels {
		sums[p] = vectors(tokens)
	}
	for g := range 8 {
		var terms [2]term
		for p, c := range panels {
			terms[p] = begin(c, g)
		}
		for t := range tokens {
			y := panels[0].activation(g, t)
			for p := range panels {
				scratch := y
				if p == 0 {
					scratch = YMM()
				}
				terms[p](y, scratch, sums[p][t], g == 0)
			}
		}
	}
	return sums
}

// signed is dotSigned's term.
func (f quantized) signed(c *cursor, g int) term {
	c.fetch(g)
	x, magnitude := YMM(), YMM()
	VMOVDQU(Mem{Base: c.w, Disp: 32 * g}, x)
	VPABSB(x, magnitude)
	return func(y, scratch, sum reg.VecVirtual, first bool) {
		VPSIGNB(x, y, scratch)
		VPMADDUBSW(scratch, magnitude, scratch)
		if first {
			VPMADDWD(c.ones, scratch, sum)
		} else {
			VPMADDWD(c.ones, scratch, scratch)
			VPADDD(scratch, sum, sum)
		}
	}
}

// words is the term of 4-bit quants, whose sums over a block fit into words.
func (f quantized) words(c *cursor, g int) term {
	x := f.quants(c, g)
	return func(y, scratch, sum reg.VecVirtual, first bool) {
		if first {
			VPMADDUBSW(y, x, sum)
		} else {
			VPMADDUBSW(y, x, scratch)
			VPADDW(scratch, sum, sum)
		}
	}
}
