package main

import "fmt"

func formatName(q4 bool) string {
	if q4 {
		return "Q4"
	}
	return "Q8"
}

// quantized multiplies one panel of 8 rows by a group of tokens, or, for one
// token, consecutive panels. The products of bytes are summed by SDOT or, for
// processors without it, by widening multiplications.
func (a *assembler) quantized(q4, dot bool, tokens int) {
	suffix := "Wide"
	if dot {
		suffix = "Dot"
	}
	name := fmt.Sprintf("group%sx%d%s", formatName(q4), tokens, suffix)
	last, doc := "ldo", fmt.Sprintf("sets out[t*ldo:t*ldo+8] to one panel times token t of a group of %d.", tokens)
	if tokens == 1 {
		name = "vector" + formatName(q4) + suffix
		last, doc = "panels", "sets out[8p:8p+8] to panel p times one token, for consecutive panels."
	}
	a.function(name, "(w *int8, ws *uint16, a *int8, as *float32, sums *int32, out *float32, blocks, "+last+" int)", doc)
	w, ws, out := a.load("w"), a.load("ws"), a.load("out")
	x, xs, sums, n := a.register(), a.register(), a.register(), a.register()
	var panels, ldo string
	if tokens == 1 {
		panels = a.load("panels")
		a.label("panel")
	} else {
		ldo = a.stride("ldo")
	}
	a.reload("a", x)
	a.reload("as", xs)
	if q4 {
		a.reload("sums", sums)
	}
	a.reload("blocks", n)
	acc := func(t, half int) v { return v(2*t + half) }
	for i := range v(2 * tokens) {
		a.zero(i)
	}
	a.label("block")
	switch {
	case dot:
		a.dotProducts(q4, tokens, w, x)
	case q4:
		a.wideNibbles(tokens, w, x)
	default:
		a.wideBytes(tokens, w, x)
	}
	// The sums of the block are in sum(t, half); the rest of the registers from
	// 24 on is free.
	if q4 {
		for t := range tokens {
			a.do("VLD1R.P 4(%s), [V24.S4]", sums)
			for half := range 2 {
				a.do("VSUB V24.S4, V%d.S4, V%d.S4", sum(t, half), sum(t, half))
			}
		}
	}
	a.do("FMOVQ.P 16(%s), F24", ws)
	a.widen(25, 24, false)
	a.widen(26, 24, true)
	for t := range tokens {
		a.do("FMOVS.P 4(%s), F27", xs)
		for half := range 2 {
			a.scvtf(sum(t, half), sum(t, half))
			a.fmulLane(28+v(half), 25+v(half), 27, 0)
		}
		for half := range 2 {
			a.fmul(30+v(half), sum(t, half), 28+v(half))
			a.fadd(acc(t, half), acc(t, half), 30+v(half))
		}
	}
	a.do("SUBS $1, %s, %s", n, n)
	a.do("BNE block")
	if tokens == 1 {
		a.store8(acc(0, 0), acc(0, 1), out, 0, true)
		a.do("SUBS $1, %s, %s", panels, panels)
		a.do("BNE panel")
	} else {
		for t := range tokens {
			a.store8(acc(t, 0), acc(t, 1), out, 0, false)
			if t < tokens-1 {
				a.do("ADD %s, %s, %s", ldo, out, out)
			}
		}
	}
	a.do("RET")
}

// sum is the register of a token's block sums, rows 0-3 or 4-7.
func sum(t, half int) v { return 8 + v(2*t+half) }

// dotProducts sets the sums of one block, and advances w and x.
func (a *assembler) dotProducts(q4 bool, tokens int, w, x string) {
	// The activations: 8 steps of 4 bytes a token, in registers from 24 on.
	for i := range tokens {
		a.do("FLDPQ.P 32(%s), (F%d, F%d)", x, 24+2*i, 25+2*i)
	}
	// One token has too few sums to keep the multipliers busy: it gets others.
	odd := 0
	if tokens == 1 {
		odd = 2
	}
	for i := range 2*tokens + odd {
		a.zero(8 + v(i))
	}
	step := func(g int, lo, hi v) {
		for half, weights := range []v{lo, hi} {
			for t := range tokens {
				at := g*tokens + t
				a.sdot(sum(t, half)+v(odd*(g&1)), weights, 24+v(at/4), at%4)
			}
		}
	}
	if q4 {
		a.do("VMOVI $15, V16.B16")
		for g := range 4 {
			a.load8(17, 18, w, 0, true)
			a.do("VAND V16.B16, V17.B16, V19.B16")
			a.do("VAND V16.B16, V18.B16, V20.B16")
			a.do("VUSHR $4, V17.B16, V21.B16")
			a.do("VUSHR $4, V18.B16, V22.B16")
			step(g, 19, 20)
			step(g+4, 21, 22)
		}
	} else {
		for g := range 8 {
			lo := v(16 + 2*(g%4))
			a.load8(lo, lo+1, w, 0, true)
			step(g, lo, lo+1)
		}
	}
	if tokens == 1 {
		a.do("VADD V10.S4, V8.S4, V8.S4")
		a.do("VADD V11.S4, V9.S4, V9.S4")
	}
}

// twins are two registers for the sums of two rows each: without SDOT a row's
// sum comes in two halves, which are added at the end.
func twins(t, half int) (lower, upper v) { return 8 + v(4*t+2*half), 9 + v(4*t+2*half) }

func (a *assembler) addTwins(tokens int) {
	for t := range tokens {
		for half := range 2 {
			lower, upper := twins(t, half)
			a.addp(sum(t, half), lower, upper)
		}
	}
}

// wideBytes is dotProducts for bytes without SDOT: two products of a byte of
// weights (at least -128) and one of activations (at most 127) fit 16 bits.
func (a *assembler) wideBytes(tokens int, w, x string) {
	next := a.register()
	a.do("ADD $%d, %s, %s", 4*tokens, x, next)
	for g := 0; g < 8; g += 2 {
		a.load8(24, 25, w, 0, true)
		a.load8(26, 27, w, 0, true)
		for t := range tokens {
			a.do("VLD1R.P 4(%s), [V28.S4]", x)
			a.do("VLD1R.P 4(%s), [V29.S4]", next)
			for half := range 2 {
				lower, upper := twins(t, half)
				first, second := 24+v(half), 26+v(half)
				a.long(false, false, 30, first, 28)
				a.long(false, true, 31, first, 28)
				a.long(true, false, 30, second, 29)
				a.long(true, true, 31, second, 29)
				a.pairs(g > 0, lower, 30)
				a.pairs(g > 0, upper, 31)
			}
		}
		a.do("ADD $%d, %s, %s", 4*tokens, x, x)
		if g < 6 {
			a.do("ADD $%d, %s, %s", 4*tokens, next, next)
		}
	}
	a.addTwins(tokens)
}

// wideNibbles is dotProducts for nibbles without SDOT: eight products of
// nibbles and activations fit 16 bits (8*15*127 = 15,240).
func (a *assembler) wideNibbles(tokens int, w, x string) {
	next := a.register()
	a.do("ADD $%d, %s, %s", 16*tokens, x, next)
	for g := range 4 {
		a.load8(26, 27, w, 0, true)
		a.do("VMOVI $15, V28.B16")
		a.do("VAND V28.B16, V26.B16, V24.B16")
		a.do("VAND V28.B16, V27.B16, V25.B16")
		a.do("VUSHR $4, V26.B16, V26.B16")
		a.do("VUSHR $4, V27.B16, V27.B16")
		for t := range tokens {
			a.do("VLD1R.P 4(%s), [V28.S4]", x)
			a.do("VLD1R.P 4(%s), [V29.S4]", next)
			for half := range 2 {
				lower, upper := twins(t, half)
				a.long(g > 0, false, lower, 24+v(half), 28)
				a.long(g > 0, true, upper, 24+v(half), 28)
				a.long(true, false, lower, 26+v(half), 29)
				a.long(true, true, upper, 26+v(half), 29)
			}
		}
	}
	a.do("MOVD %s, %s", next, x)
	for t := range tokens {
		for half := range 2 {
			lower, upper := twins(t, half)
			a.pairs(false, lower, lower)
			a.pairs(false, upper, upper)
		}
	}
	a.addTwins(tokens)
}

// plain multiplies unquantised panels by tokens, column by column.
func (a *assembler) plain(f16 bool, panels, tokens int) {
	format, weight, bytes := "F32", "*float32", 32
	if f16 {
		format, weight, bytes = "F16", "*uint16", 16
	}
	a.function(fmt.Sprintf("plain%sp%dx%d", format, panels, tokens), "(w "+weight+", x, out *float32, cols, ldx, ldo int)",
		fmt.Sprintf("sets out[t*ldo+8p:t*ldo+8p+8] to panel p of %d times token t of %d.", panels, tokens))
	n, panelBytes, out := a.load("cols"), a.register(), a.load("out")
	a.do("MOVD $%d, %s", bytes, panelBytes)
	a.do("MUL %s, %s, %s", n, panelBytes, panelBytes)
	w, x := a.rows("w", panels, panelBytes), a.rows("x", tokens, a.stride("ldx"))
	ldo := a.stride("ldo")
	acc := func(t, p, half int) v { return v((t*panels+p)*2 + half) }
	for i := range v(2 * panels * tokens) {
		a.zero(i)
	}
	a.label("column")
	for p := range panels {
		lo, hi := 16+v(2*p), 17+v(2*p)
		if f16 {
			a.do("FMOVQ.P 16(%s), F%d", w[p], hi)
			a.widen(lo, hi, false)
			a.widen(hi, hi, true)
		} else {
			a.load8(lo, hi, w[p], 0, true)
		}
	}
	for t := range tokens {
		a.do("FMOVS.P 4(%s), F%d", x[t], 24+t)
		for p := range panels {
			for half := range 2 {
				a.multiplyAdd(acc(t, p, half), 16+v(2*p+half), 24+v(t), 0, 28+v(2*p+half)%4)
			}
		}
	}
	a.do("SUBS $1, %s, %s", n, n)
	a.do("BNE column")
	for t := range tokens {
		for p := range panels {
			a.store8(acc(t, p, 0), acc(t, p, 1), out, 32*p, false)
		}
		if t < tokens-1 {
			a.do("ADD %s, %s, %s", ldo, out, out)
		}
	}
	a.do("RET")
}

// rows takes a register for each of n rows at a fixed stride.
func (a *assembler) rows(base string, n int, stride string) []string {
	r := make([]string, n)
	r[0] = a.load(base)
	for i := 1; i < n; i++ {
		r[i] = a.register()
		a.do("ADD %s, %s, %s", stride, r[i-1], r[i])
	}
	return r
}
