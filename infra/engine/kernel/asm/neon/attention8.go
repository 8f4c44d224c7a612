package main

import "fmt"

// quantHeads is how many heads the int8 kernels take at a time, as on AVX2.
const quantHeads = 4

// quantDots adds 8 groups of 4 columns: in sum registers of each head, the
// products of the vectors at (at) with the head's 32 bytes.
func (a *assembler) quantDots(heads int, at string, offset int, bytes func(h int) string, bytesOffset int) {
	for h := range heads {
		a.do("FLDPQ %d(%s), (F%d, F%d)", bytesOffset, bytes(h), 24+2*h, 25+2*h)
		a.zero(sum(h, 0))
		a.zero(sum(h, 1))
	}
	for g := range 8 {
		lo := v(16 + 2*(g%4))
		a.load8(lo, lo+1, at, offset+32*g, false)
		for half := range 2 {
			for h := range heads {
				a.sdot(sum(h, half), lo+v(half), 24+v(2*h+g/4), g%4)
			}
		}
	}
}

// scoreQuants computes the scores of some quantised query heads for panels of 8
// quantised keys.
func (a *assembler) scoreQuants(heads int) {
	a.function(fmt.Sprintf("scoreQuants%d", heads), "(q *int8, qs *float32, keys *int8, ks, dst *float32, blocks, panels, ld int, scale float32)",
		fmt.Sprintf("scores %d heads against panels of int8 keys; panels is positive. It needs SDOT.", heads))
	q0, qs0, keys, ks, dst := a.load("q"), a.load("qs"), a.load("keys"), a.load("ks"), a.load("dst")
	panels, qBytes, qsBytes := a.load("panels"), a.load("blocks"), a.stride("blocks")
	a.do("LSL $5, %s, %s", qBytes, qBytes)
	q, qs := a.registers(heads), a.registers(heads)
	n := a.register()
	a.label("panel")
	a.point(q, q0, qBytes)
	a.point(qs, qs0, qsBytes)
	for i := range v(2 * heads) {
		a.zero(i)
	}
	a.reload("blocks", n)
	a.label("block")
	a.quantDots(heads, keys, 0, func(h int) string { return q[h] }, 0)
	a.load8(16, 17, ks, 0, true)
	for h := range heads {
		a.do("FMOVS.P 4(%s), F18", qs[h])
		a.do("ADD $32, %s, %s", q[h], q[h])
		for half := range v(2) {
			s := sum(h, int(half))
			a.scvtf(s, s)
			a.fmulLane(20+half, 16+half, 18, 0)
			a.fmul(20+half, s, 20+half)
			a.fadd(acc(h, int(half)), acc(h, int(half)), 20+half)
		}
	}
	a.do("ADD $256, %s, %s", keys, keys)
	a.do("SUBS $1, %s, %s", n, n)
	a.do("BNE block")
	a.scalar("scale", 16)
	ld := qs[0]
	a.reload("ld", ld)
	a.do("LSL $2, %s, %s", ld, ld)
	a.do("MOVD %s, %s", dst, q[0])
	for h := range heads {
		for half := range 2 {
			a.fmulLane(acc(h, half), acc(h, half), 16, 0)
		}
		a.store8(acc(h, 0), acc(h, 1), q[0], 0, false)
		if h < heads-1 {
			a.do("ADD %s, %s, %s", ld, q[0], q[0])
		}
	}
	a.do("ADD $32, %s, %s", dst, dst)
	a.do("SUBS $1, %s, %s", panels, panels)
	a.do("BNE panel")
	a.do("RET")
}

// mixQuants adds the quantised values of a page to the answers of some heads.
func (a *assembler) mixQuants(heads int) {
	a.function(fmt.Sprintf("mixQuants%d", heads), "(u *int8, us *float32, values *int8, dst *float32, panels, ldu, ldus, ldd int)",
		fmt.Sprintf("adds two blocks of 32 weighted positions to %d heads of dst, for panels of 8 elements; panels is positive. It needs SDOT.", heads))
	values, dst, panels, ldd := a.load("values"), a.load("dst"), a.load("panels"), a.stride("ldd")
	u, us := a.rows("u", heads, a.load("ldu")), a.rows("us", heads, a.stride("ldus"))
	out := a.registers(heads)
	a.label("panel")
	a.point(out, dst, ldd)
	for h := range heads {
		a.load8(acc(h, 0), acc(h, 1), out[h], 0, false)
	}
	for block := range 2 {
		a.quantDots(heads, values, 256*block, func(h int) string { return u[h] }, 32*block)
		for h := range heads {
			a.do("FMOVS %d(%s), F18", 4*block, us[h])
			for half := range 2 {
				a.scvtf(sum(h, half), sum(h, half))
				a.multiplyAdd(acc(h, half), sum(h, half), 18, 0, 20+v(half))
			}
		}
	}
	for h := range heads {
		a.store8(acc(h, 0), acc(h, 1), out[h], 0, false)
	}
	a.do("ADD $512, %s, %s", values, values)
	a.do("ADD $32, %s, %s", dst, dst)
	a.do("SUBS $1, %s, %s", panels, panels)
	a.do("BNE panel")
	a.do("RET")
}

// weighQuants quantises the weights of a page's positions for one head: a
// weight of zero counts as +0 whatever the scale.
func (a *assembler) weighQuants() {
	a.function("weighQuants8", "(weights, scales *float32, u *int8, us *float32, blocks int)",
		"quantises weights*scales for blocks of 32 dimensions with 64 positions each; blocks is positive.")
	weights, scales, u, us, n := a.load("weights"), a.load("scales"), a.load("u"), a.load("us"), a.load("blocks")
	half := a.register()
	q := a.quantizer()
	a.label("next")
	a.do("MOVD $2, %s", half)
	a.label("half")
	for i := range v(4) {
		a.load8(2*i, 2*i+1, scales, 0, true)
		a.load8(8, 9, weights, 0, true)
		for k := range v(2) {
			x := 2*i + k
			a.two(0x4ea0d800, "fcmeq", "4s", "4s, #0.0", 10, 8+k)
			a.fmul(x, x, 8+k)
			a.three(0x4e601c00, "bic", "16b", x, x, 10)
		}
	}
	q.block()
	a.store8(0, 1, u, 0, true)
	a.do("FMOVS.P F8, 4(%s)", us)
	a.do("SUBS $1, %s, %s", half, half)
	a.do("BNE half")
	a.do("SUB $256, %s, %s", weights, weights)
	a.do("SUBS $1, %s, %s", n, n)
	a.do("BNE next")
	a.do("RET")
	q.exceptions()
}
