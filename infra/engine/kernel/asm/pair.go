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
	var sums [2][]reg.VecVirtual
	if f.bits == 8 {
		sums = f.pairSigned(panels)
	} else {
		sums = f.pairWords(panels)
	}
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

// pairSigned is dotSigned for two panels.
func (f quantized) pairSigned(panels []*cursor) (sums [2][]reg.VecVirtual) {
	tokens := panels[0].tokens
	for p := range panels {
		sums[p] = vectors(tokens)
	}
	for g := range 8 {
		var x, magnitude [2]reg.VecVirtual
		for p, c := range panels {
			c.fetch(g)
			x[p], magnitude[p] = YMM(), YMM()
			VMOVDQU(Mem{Base: c.w, Disp: 32 * g}, x[p])
			VPABSB(x[p], magnitude[p])
		}
		for t := range tokens {
			y := panels[0].activation(g, t)
			for p := range panels {
				product := y
				if p == 0 {
					product = YMM()
				}
				VPSIGNB(x[p], y, product)
				VPMADDUBSW(product, magnitude[p], product)
				if g == 0 {
					VPMADDWD(panels[p].ones, product, sums[p][t])
				} else {
					VPMADDWD(panels[p].ones, product, product)
					VPADDD(product, sums[p][t], sums[p][t])
				}
			}
		}
	}
	return sums
}

// pairWords sums the products of 4-bit quants in words, which hold those of a
// block.
func (f quantized) pairWords(panels []*cursor) (sums [2][]reg.VecVirtual) {
	tokens := panels[0].tokens
	for p := range panels {
		sums[p] = vectors(tokens)
	}
	for g := range 8 {
		var x [2]reg.VecVirtual
		for p, c := range panels {
			x[p] = f.quants(c, g)
		}
		for t := range tokens {
			y := panels[0].activation(g, t)
			for p := range panels {
				product := y
				if p == 0 {
					product = YMM()
				}
				if g == 0 {
					VPMADDUBSW(y, x[p], sums[p][t])
				} else {
					VPMADDUBSW(y, x[p], product)
					VPADDW(product, sums[p][t], sums[p][t])
				}
			}
		}
	}
	return sums
}
