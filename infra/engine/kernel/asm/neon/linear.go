package main

import "fmt"

// quantized is a format of quantised weights; kernel/pack.go has the layouts.
type quantized struct {
	name   string
	bits   int  // of a quant
	offset int  // to be taken from packed quants
	min    bool // has minima
	super  bool // is a K-quant
}

var quantizedFormats = []quantized{
	{name: "Q80", bits: 8},
	{name: "Q40", bits: 4, offset: 8},
	{name: "Q41", bits: 4, min: true},
	{name: "Q50", bits: 5, offset: 16},
	{name: "Q51", bits: 5, min: true},
	{name: "Q4K", bits: 4, min: true, super: true},
	{name: "Q5K", bits: 5, min: true, super: true},
	{name: "Q6K", bits: 6, offset: 32, super: true},
}

// The registers of a product: 0 to 7 accumulate, a block's sums are in 8 to 15,
// and the rest is for whoever comes.

// acc and sum are the registers of a token's rows 0-3 or 4-7.
func acc(t, half int) v { return v(2*t + half) }
func sum(t, half int) v { return 8 + v(2*t+half) }

// product is a kernel in the making: what it reads, by register.
type product struct {
	*assembler
	quantized
	tokens                   int
	w, fine, ws, a, as, sums string
}

// quantized multiplies one panel of 8 rows by a group of tokens, or, for one
// token, consecutive panels. The products of bytes are summed by SDOT or, for
// processors without it, by widening multiplications.
func (a *assembler) quantized(f quantized, dot bool, tokens int) {
	suffix := "Wide"
	if dot {
		suffix = "Dot"
	}
	name := fmt.Sprintf("group%sx%d%s", f.name, tokens, suffix)
	last, doc := "ldo", fmt.Sprintf("sets out[t*ldo:t*ldo+8] to one panel times token t of a group of %d.", tokens)
	if tokens == 1 {
		name = "vector" + f.name + suffix
		last, doc = "panels", "sets out[8p:8p+8] to panel p times one token, for consecutive panels."
	}
	a.function(name, "(w *int8, fine *uint8, ws *uint16, a *int8, as *float32, sums *int32, out *float32, blocks, "+last+" int)", doc)
	p := &product{assembler: a, quantized: f, tokens: tokens, w: a.load("w"), ws: a.load("ws"), a: a.register(), as: a.register()}
	out, n, to := a.load("out"), a.register(), a.register()
	var panels, ldo string
	if f.super {
		p.fine = a.load("fine")
	}
	if f.min {
		p.sums = a.register()
	}
	if tokens == 1 {
		panels = a.load("panels")
		a.label("panel")
	} else {
		ldo = a.stride("ldo")
	}
	a.reload("a", p.a)
	a.reload("as", p.as)
	if f.min {
		a.reload("sums", p.sums)
	}
	a.reload("blocks", n)
	// rows calls each for the rows of the result.
	rows := func(each func(t int)) {
		a.do("MOVD %s, %s", out, to)
		for t := range tokens {
			each(t)
			if t < tokens-1 {
				a.do("ADD %s, %s, %s", ldo, to, to)
			}
		}
	}
	store := func(t int) { a.store8(acc(t, 0), acc(t, 1), to, 0, false) }
	p.clear()
	if f.super { // the registers hold a superblock's part: the whole is in memory
		a.do("LSR $3, %s, %s", n, n)
		rows(store)
	}
	a.label("block")
	if f.super {
		p.superblock(dot)
		rows(func(t int) {
			a.load8(16, 17, to, 0, false)
			for half := range 2 {
				a.fadd(acc(t, half), 16+v(half), acc(t, half))
			}
			store(t)
		})
	} else {
		p.block(dot)
	}
	a.do("SUBS $1, %s, %s", n, n)
	a.do("BNE block")
	if !f.super {
		rows(store)
	}
	if tokens == 1 {
		a.do("ADD $32, %s, %s", out, out)
		a.do("SUBS $1, %s, %s", panels, panels)
		a.do("BNE panel")
	}
	a.do("RET")
}

// clear sets the accumulators to zero.
func (p *product) clear() {
	for i := range v(2 * p.tokens) {
		p.zero(i)
	}
}

// scales loads 8 binary16 numbers into lo and lo+1.
func (p *product) scales(lo v, offset int) {
	p.do("FMOVQ %d(%s), F%d", offset, p.ws, lo+1)
	p.widen(lo, lo+1, false)
	p.widen(lo+1, lo+1, true)
}

// scaleBytes is the bytes of a panel's binary16 scales per block.
func (f quantized) scaleBytes() int {
	if f.min {
		return 32
	}
	return 16
}

// block adds 32 columns of a LIN32 format to the accumulators.
func (p *product) block(dot bool) {
	p.integers(dot)
	p.scales(24, 0)
	if p.min {
		p.scales(16, 16)
	}
	for t := range p.tokens {
		p.do("FMOVS.P 4(%s), F27", p.as)
		if p.min {
			p.do("FMOVS.P 4(%s), F18", p.sums)
		}
		for half := range v(2) {
			s := sum(t, int(half))
			p.scvtf(s, s)
			p.fmulLane(28+half, 24+half, 27, 0)
			p.fmul(30+half, s, 28+half)
			if p.min {
				p.multiplyAdd(30+half, 16+half, 18, 0, 20+half)
			}
			p.fadd(acc(t, int(half)), acc(t, int(half)), 30+half)
		}
	}
	p.do("ADD $%d, %s, %s", p.scaleBytes(), p.ws, p.ws)
}

// superblock sets the accumulators to the contribution of 256 columns.
func (p *product) superblock(dot bool) {
	p.clear()
	part := p.register()
	p.do("MOVD $8, %s", part)
	p.label("part")
	p.integers(dot)
	for t := range p.tokens {
		p.do("FMOVS.P 4(%s), F27", p.as)
		for half := range 2 {
			p.scvtf(sum(t, half), sum(t, half))
			p.multiplyAdd(acc(t, half), sum(t, half), 27, 0, sum(t, half))
		}
	}
	p.do("SUBS $1, %s, %s", part, part)
	p.do("BNE part")
	p.scales(24, 0)
	for t := range p.tokens {
		for half := range 2 {
			p.fmul(acc(t, half), acc(t, half), 24+v(half))
		}
	}
	if p.min {
		p.minima()
	}
	p.do("ADD $%d, %s, %s", p.scaleBytes(), p.ws, p.ws)
}

// minima subtracts what the minima of a superblock take.
func (p *product) minima() {
	for t := range p.tokens {
		p.zero(sum(t, 0))
		p.zero(sum(t, 1))
	}
	for range 8 {
		p.do("FMOVD.P 8(%s), F16", p.fine)
		p.unsigned(16)
		p.scvtf(16, 16)
		p.scvtf(17, 17)
		for t := range p.tokens {
			p.do("FMOVS.P 4(%s), F18", p.sums)
			for half := range 2 {
				p.multiplyAdd(sum(t, half), 16+v(half), 18, 0, 20+v(half))
			}
		}
	}
	p.scales(16, 16)
	for t := range p.tokens {
		for half := range 2 {
			p.fmul(sum(t, half), sum(t, half), 16+v(half))
			p.fsub(acc(t, half), acc(t, half), sum(t, half))
		}
	}
}

// unsigned and signed widen eight bytes at lo to 32 bits in lo and lo+1.
func (a *assembler) unsigned(lo v) {
	a.do("VUXTL V%d.B8, V%d.H8", lo, lo)
	a.do("VUXTL2 V%d.H8, V%d.S4", lo, lo+1)
	a.do("VUXTL V%d.H4, V%d.S4", lo, lo)
}

func (a *assembler) signed(lo v) {
	sshll := func(code uint32, name, to, from string, d v) {
		a.word(code|uint32(lo)<<5|uint32(d), "%s v%d.%s, v%d.%s, #0", name, d, to, lo, from)
	}
	sshll(0x0f08a400, "sshll", "8h", "8b", lo)
	sshll(0x4f10a400, "sshll2", "4s", "8h", lo+1)
	sshll(0x0f10a400, "sshll", "4s", "4h", lo)
}

// integers sets the sums of one block, the small scales of a K-quant included,
// and advances what they come from.
func (p *product) integers(dot bool) {
	switch {
	case p.bits == 8 && dot:
		p.dotBytes()
	case p.bits == 8:
		p.wideBytes()
	case dot:
		p.dotQuants()
	default:
		p.wideQuants()
	}
	p.do("ADD $%d, %s, %s", 32*p.bits, p.w, p.w)
	switch {
	case !p.super:
	case p.bits == 6:
		p.do("ADD $16, %s, %s", p.fine, p.fine)
	default:
		p.do("FMOVD.P 8(%s), F24", p.fine)
		p.unsigned(24)
		for t := range p.tokens {
			for half := range 2 {
				p.mul(sum(t, half), sum(t, half), 24+v(half))
			}
		}
	}
}

// quants unpacks group g of rows 0-3 or 4-7 into bytes in d; t is lost.
func (p *product) quants(d, t v, g, half int) {
	p.do("FMOVQ %d(%s), F%d", g%4*32+16*half, p.w, d)
	if g < 4 {
		p.do("VMOVI $15, V%d.B16", t)
		p.do("VAND V%d.B16, V%d.B16, V%d.B16", t, d, d)
	} else {
		p.do("VUSHR $4, V%d.B16, V%d.B16", d, d)
	}
	// The upper bits, which a shift to the left brings to bit 4.
	upper, left, mask := 0, 0, 0
	switch p.bits {
	case 5:
		upper, left, mask = 128, 4-g, 16
	case 6:
		upper, left, mask = 128+g%4/2*32, 4-2*(g%2+g/4*2), 48
	}
	if mask > 0 {
		const m v = 31
		p.do("VMOVI $%d, V%d.B16", mask, m)
		p.do("FMOVQ %d(%s), F%d", upper+16*half, p.w, t)
		switch {
		case left > 0:
			p.do("VSHL $%d, V%d.B16, V%d.B16", left, t, t)
		case left < 0:
			p.do("VUSHR $%d, V%d.B16, V%d.B16", -left, t, t)
		}
		p.do("VAND V%d.B16, V%d.B16, V%d.B16", m, t, t)
		p.do("VORR V%d.B16, V%d.B16, V%d.B16", t, d, d)
	}
	if p.offset > 0 {
		p.do("VMOVI $%d, V%d.B16", p.offset, t)
		p.do("VSUB V%d.B16, V%d.B16, V%d.B16", t, d, d)
	}
}

// fineScales loads the scales of 16 columns of a Q6_K block into lo and lo+1.
func (p *product) fineScales(lo v, columns int) {
	p.do("FMOVD %d(%s), F%d", 8*columns, p.fine, lo)
	p.signed(lo)
}

// dotQuants sums a block of less than 8 bits by SDOT.
func (p *product) dotQuants() {
	for columns := range 2 { // 0-15, 16-31
		for i := range p.tokens {
			p.do("FMOVQ.P 16(%s), F%d", p.a, 24+i)
		}
		to := sum
		if p.bits == 6 && columns == 1 {
			to = func(t, half int) v { return 16 + v(2*t+half) }
		}
		if p.bits == 6 || columns == 0 {
			for t := range p.tokens {
				p.zero(to(t, 0))
				p.zero(to(t, 1))
			}
		}
		for g := range 4 {
			for half := range 2 {
				d, scratch := v(28), v(29)
				if p.bits < 6 { // registers enough to let groups overlap
					d = 16 + v(4*(g%2)+2*half)
					scratch = d + 1
				}
				p.quants(d, scratch, 4*columns+g, half)
				for t := range p.tokens {
					at := g*p.tokens + t
					p.sdot(to(t, half), d, 24+v(at/4), at%4)
				}
			}
		}
		if p.bits == 6 {
			p.fineScales(28, columns)
			for t := range p.tokens {
				for half := range 2 {
					if columns == 0 {
						p.mul(sum(t, half), sum(t, half), 28+v(half))
					} else {
						p.mla(sum(t, half), to(t, half), 28+v(half))
					}
				}
			}
		}
	}
}

// wideQuants is dotQuants without SDOT, one half of the rows at a time: eight
// products of a quant below 32 and an activation fit 16 bits (8*31*127 =
// 31,496), and four of one between -32 and 31.
func (p *product) wideQuants() {
	pair := func(t int) (lower, upper v) { return 16 + v(2*t), 17 + v(2*t) }
	for half := range 2 {
		for g := range 8 {
			p.quants(24, 25, g, half)
			fresh := g == 0 || p.bits == 6 && g == 4
			for t := range p.tokens {
				lower, upper := pair(t)
				p.do("VLD1R.P 4(%s), [V26.S4]", p.a)
				p.long(!fresh, false, lower, 24, 26)
				p.long(!fresh, true, upper, 24, 26)
			}
			if g < 7 && (p.bits < 6 || g != 3) {
				continue
			}
			if p.bits == 6 {
				p.fineScales(28, g/4)
			}
			for t := range p.tokens {
				lower, upper := pair(t)
				p.pairs(false, lower, lower)
				p.pairs(false, upper, upper)
				switch {
				case p.bits < 6:
					p.addp(sum(t, half), lower, upper)
				case g == 3:
					p.addp(sum(t, half), lower, upper)
					p.mul(sum(t, half), sum(t, half), 28+v(half))
				default:
					p.addp(lower, lower, upper)
					p.mla(sum(t, half), lower, 28+v(half))
				}
			}
		}
		if half == 0 {
			p.do("SUB $%d, %s, %s", 32*p.tokens, p.a, p.a)
		}
	}
}

// dotBytes sums a block of Q8_0 by SDOT.
func (p *product) dotBytes() {
	// The activations: 8 steps of 4 bytes a token, in registers from 24 on.
	for i := range p.tokens {
		p.do("FLDPQ.P 32(%s), (F%d, F%d)", p.a, 24+2*i, 25+2*i)
	}
	// One token has too few sums to keep the multipliers busy: it gets others.
	odd := 0
	if p.tokens == 1 {
		odd = 2
	}
	for i := range 2*p.tokens + odd {
		p.zero(8 + v(i))
	}
	for g := range 8 {
		lo := v(16 + 2*(g%4))
		p.load8(lo, lo+1, p.w, 32*g, false)
		for half := range 2 {
			for t := range p.tokens {
				at := g*p.tokens + t
				p.sdot(sum(t, half)+v(odd*(g&1)), lo+v(half), 24+v(at/4), at%4)
			}
		}
	}
	if p.tokens == 1 {
		p.do("VADD V10.S4, V8.S4, V8.S4")
		p.do("VADD V11.S4, V9.S4, V9.S4")
	}
}

// twins are two registers for the sums of two rows each: without SDOT a row's
// sum comes in two halves, which are added at the end.
func twins(t, half int) (lower, upper v) { return 8 + v(4*t+2*half), 9 + v(4*t+2*half) }

// wideBytes is dotBytes without SDOT: two products of a byte of
// weights (at least -128) and one of activations (at most 127) fit 16 bits.
func (p *product) wideBytes() {
	tokens, x := p.tokens, p.a
	next := p.register()
	p.do("ADD $%d, %s, %s", 4*tokens, x, next)
	for g := 0; g < 8; g += 2 {
		p.load8(24, 25, p.w, 32*g, false)
		p.load8(26, 27, p.w, 32*g+32, false)
		for t := range tokens {
			p.do("VLD1R.P 4(%s), [V28.S4]", x)
			p.do("VLD1R.P 4(%s), [V29.S4]", next)
			for half := range 2 {
				lower, upper := twins(t, half)
				first, second := 24+v(half), 26+v(half)
				p.long(false, false, 30, first, 28)
				p.long(false, true, 31, first, 28)
				p.long(true, false, 30, second, 29)
				p.long(true, true, 31, second, 29)
				p.pairs(g > 0, lower, 30)
				p.pairs(g > 0, upper, 31)
			}
		}
		p.do("ADD $%d, %s, %s", 4*tokens, x, x)
		if g < 6 {
			p.do("ADD $%d, %s, %s", 4*tokens, next, next)
		}
	}
	for t := range tokens {
		for half := range 2 {
			lower, upper := twins(t, half)
			p.addp(sum(t, half), lower, upper)
		}
	}
}

// plain multiplies unquantised panels by tokens, column by column.
func (a *assembler) plain(format string, panels, tokens int) {
	weight, bytes := "*uint16", 16
	if format == "F32" {
		weight, bytes = "*float32", 32
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
		switch format {
		case "F32":
			a.load8(lo, hi, w[p], 0, true)
		case "F16":
			a.do("FMOVQ.P 16(%s), F%d", w[p], hi)
			a.widen(lo, hi, false)
			a.widen(hi, hi, true)
		case "BF16":
			a.do("FMOVQ.P 16(%s), F%d", w[p], hi)
			a.raise(lo, hi, false)
			a.raise(hi, hi, true)
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
