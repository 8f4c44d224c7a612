package main

import "fmt"

// point sets registers to n rows from base on.
func (a *assembler) point(r []string, base, stride string) {
	a.do("MOVD %s, %s", base, r[0])
	for i := 1; i < len(r); i++ {
		a.do("ADD %s, %s, %s", stride, r[i-1], r[i])
	}
}

// scores computes the scores of some query heads for panels of 8 keys, width
// panels at a time; the head dimension is summed in order.
func (a *assembler) scores(heads, width int) {
	a.function(fmt.Sprintf("scores%dx%d", heads, width), "(q, keys, dst *float32, dim, panels, ld int, scale float32)",
		fmt.Sprintf("scores %d heads against groups of %d panels; panels is a positive multiple of %d.", heads, width, width))
	q0, keys, dst := a.load("q"), a.load("keys"), a.load("dst")
	qBytes, panels, ld := a.stride("dim"), a.load("panels"), a.stride("ld")
	panelBytes, n, to := a.register(), a.register(), a.register()
	a.do("LSL $3, %s, %s", qBytes, panelBytes)
	q, k := a.registers(heads), a.registers(width)
	a.label("panel")
	a.point(q, q0, qBytes)
	a.point(k, keys, panelBytes)
	a.reload("dim", n)
	a.products(heads, width, true, n, q, func(i int, lo, hi v) { a.load8(lo, hi, k[i], 0, true) }, func() {})
	a.scalar("scale", 16)
	a.do("MOVD %s, %s", dst, to)
	for h := range heads {
		for i := range width {
			r := v((h*width + i) * 2)
			a.fmulLane(r, r, 16, 0)
			a.fmulLane(r+1, r+1, 16, 0)
			a.store8(r, r+1, to, 32*i, false)
		}
		if h < heads-1 {
			a.do("ADD %s, %s, %s", ld, to, to)
		}
	}
	a.do("ADD $%d, %s, %s", 32*width, dst, dst)
	a.do("MOVD $%d, %s", width, n)
	a.do("MADD %s, %s, %s, %s", n, keys, panelBytes, keys)
	a.do("SUBS $%d, %s, %s", width, panels, panels)
	a.do("BNE panel")
	a.do("RET")
}

// mix adds weighted value rows to the answers of some query heads, width
// vectors of 8 elements at a time; positions are summed in order.
func (a *assembler) mix(heads, width int) {
	a.function(fmt.Sprintf("mix%dx%d", heads, width), "(weights, values, dst *float32, n, dim, ld, vectors int)",
		fmt.Sprintf("adds n weighted rows of values to %d heads of dst, for groups of %d vectors of 8 elements; vectors is a positive multiple of %d.", heads, width, width))
	w0, values, dst := a.load("weights"), a.load("values"), a.load("dst")
	rowBytes, ld, count := a.stride("dim"), a.stride("ld"), a.load("vectors")
	at, n, to := a.register(), a.register(), a.register()
	w := a.registers(heads)
	each := func(move func(lo, hi v, offset int)) {
		a.do("MOVD %s, %s", dst, to)
		for h := range heads {
			for i := range width {
				r := v((h*width + i) * 2)
				move(r, r+1, 32*i)
			}
			if h < heads-1 {
				a.do("ADD %s, %s, %s", rowBytes, to, to)
			}
		}
	}
	a.label("vector")
	each(func(lo, hi v, offset int) { a.load8(lo, hi, to, offset, false) })
	a.point(w, w0, ld)
	a.do("MOVD %s, %s", values, at)
	a.reload("n", n)
	a.products(heads, width, false, n, w, func(i int, lo, hi v) { a.load8(lo, hi, at, 32*i, false) },
		func() { a.do("ADD %s, %s, %s", rowBytes, at, at) })
	each(func(lo, hi v, offset int) { a.store8(lo, hi, to, offset, false) })
	a.do("ADD $%d, %s, %s", 32*width, values, values)
	a.do("ADD $%d, %s, %s", 32*width, dst, dst)
	a.do("SUBS $%d, %s, %s", width, count, count)
	a.do("BNE vector")
	a.do("RET")
}

// products adds, n times, one number of each head times width vectors to the
// sums in the first registers.
func (a *assembler) products(heads, width int, clear bool, n string, numbers []string, vector func(i int, lo, hi v), advance func()) {
	if clear {
		for i := range v(2 * heads * width) {
			a.zero(i)
		}
	}
	a.label("next")
	if heads == 1 { // vectors are used once: multiply where they are loaded
		a.do("FMOVS.P 4(%s), F16", numbers[0])
		for i := range width {
			lo := 17 + v(2*i)%14
			vector(i, lo, lo+1)
			for half := range v(2) {
				a.multiplyAdd(v(2*i)+half, lo+half, 16, 0, lo+half)
			}
		}
	} else {
		for i := range width {
			vector(i, 16+v(2*i), 17+v(2*i))
		}
		for h := range heads {
			number := 24 + v(h&1)
			a.do("FMOVS.P 4(%s), F%d", numbers[h], number)
			for i := range 2 * width {
				a.multiplyAdd(v(2*h*width+i), 16+v(i), number, 0, 26+v(h*2*width+i)%6)
			}
		}
	}
	advance()
	a.do("SUBS $1, %s, %s", n, n)
	a.do("BNE next")
}
