package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantized is a format of quantised weights; kernel/pack.go has the layouts.
type quantized struct {
	name   string
	bits   int  // of a quant
	offset int  // to be taken from packed quants
	min    bool // has minima
	super  bool // is a K-quant
	vnni   bool // multiply by VPDPBUSD of AVX-512 VNNI
}

// withVNNI is the format's kernels for AVX-512 VNNI, in vectors of 256 bits.
// Bytes of Q8_0 become unsigned by adding 128.
func (f quantized) withVNNI() quantized {
	f.vnni, f.name = true, f.name+"VNNI"
	if f.bits == 8 {
		f.offset = 128
	}
	return f
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

// record is the bytes of a panel's 32 columns.
func (f quantized) record() int { return 32 * f.bits }

// scaleBytes is the bytes of a panel's binary16 scales per block.
func (f quantized) scaleBytes() int {
	if f.min {
		return 32
	}
	return 16
}

const parameters = "(w *int8, fine *uint8, ws *uint16, a *int8, as *float32, sums *int32, out *float32, blocks, "

// prefetchBytes is how far ahead of the weights a product that reads them for the
// first time asks for memory: what a core reads in about 100 ns.
const prefetchBytes = 2048

// cursor is where a kernel reads: pointers that advance block by block.
type cursor struct {
	w, fine, ws   reg.Register // weights
	a, as, sums   reg.Register // activations
	tokens, ahead int          // ahead is how many bytes to prefetch weights, or 0
	ones, nibbles Op           // constants, in registers where those suffice
}

func (f quantized) load(tokens int) *cursor {
	c := &cursor{
		tokens: tokens, w: pointer("w"), ws: pointer("ws"), a: pointer("a"), as: pointer("as"),
		ones: constant("wordOnes"), nibbles: constant("nibbles"),
	}
	hold := func(c *Op) {
		v := YMM()
		VMOVDQU(*c, v)
		*c = v
	}
	if !f.vnni {
		switch f.bits {
		case 8:
			hold(&c.ones)
		case 4:
			hold(&c.nibbles)
		}
	}
	if f.super {
		c.fine = pointer("fine")
	}
	if f.min || f.offset > 0 {
		c.sums = pointer("sums")
	}
	return c
}

// quants is where 4 quants of group g of token t are.
func (c *cursor) quants(g, t int) Mem { return Mem{Base: c.a, Disp: (g*c.tokens + t) * 4} }

// activation broadcasts them.
func (c *cursor) activation(g, t int) reg.VecVirtual {
	y := YMM()
	VPBROADCASTD(c.quants(g, t), y)
	return y
}

func (c *cursor) sum(t int) Mem   { return Mem{Base: c.sums, Disp: 4 * t} }
func (c *cursor) scale(t int) Mem { return Mem{Base: c.as, Disp: 4 * t} }

func (c *cursor) fetch(vector int) {
	if c.ahead > 0 && vector%2 == 0 {
		PREFETCHT0(Mem{Base: c.w, Disp: c.ahead + 32*vector})
	}
}

// quants unpacks group g of a block into unsigned bytes.
func (f quantized) quants(c *cursor, g int) reg.VecVirtual {
	x := YMM()
	if f.bits == 8 {
		c.fetch(g)
		VMOVDQU(Mem{Base: c.w, Disp: 32 * g}, x)
		VPXOR(constant("signs"), x, x)
		return x
	}
	nibbles := Mem{Base: c.w, Disp: g % 4 * 32}
	if g < 4 {
		c.fetch(g)
		VMOVDQU(nibbles, x)
	} else {
		VMOVDQU(nibbles, x)
		VPSRLW(Imm(4), x, x)
	}
	VPAND(c.nibbles, x, x)
	var upper Mem
	var mask string
	var left int // the shift that brings the upper bits to bit 4
	switch f.bits {
	case 4:
		return x
	case 5:
		upper, mask, left = Mem{Base: c.w, Disp: 128}, "fifth", 4-g
	case 6:
		upper, mask, left = Mem{Base: c.w, Disp: 128 + g%4/2*32}, "upper", 4-2*(g%2+g/4*2)
	}
	if f.bits == 6 && g%2 == 0 && g < 4 {
		c.fetch(4 + g/2)
	} else if f.bits == 5 && g == 0 {
		c.fetch(4)
	}
	t := YMM()
	VMOVDQU(upper, t)
	if left > 0 {
		VPSLLW(Imm(uint64(left)), t, t)
	} else if left < 0 {
		VPSRLW(Imm(uint64(-left)), t, t)
	}
	VPAND(constant(mask), t, t)
	VPOR(t, x, x)
	return x
}

// dot computes a block's exact integers per token: the quants' products, times
// factor(half) where that is not a word of ones.
func (f quantized) dot(c *cursor, factor func(half int) Op) []reg.VecVirtual {
	if f.bits == 8 {
		return f.dotSigned(c)
	}
	sums := make([]reg.VecVirtual, c.tokens)
	// So many products of words below 2^15 fit into one.
	run := map[int]int{4: 8, 5: 4, 6: 2}[f.bits]
	var multiplier Op
	for first := 0; first < 8; first += run {
		if first%4 == 0 {
			multiplier = factor(first / 4)
		}
		words := vectors(c.tokens)
		for i := range run {
			x := f.quants(c, first+i)
			for t := range c.tokens {
				y := c.activation(first+i, t)
				if i == 0 {
					VPMADDUBSW(y, x, words[t])
				} else {
					VPMADDUBSW(y, x, y)
					VPADDW(y, words[t], words[t])
				}
			}
		}
		for t, v := range words {
			VPMADDWD(multiplier, v, v)
			if first == 0 {
				sums[t] = v
			} else {
				VPADDD(v, sums[t], sums[t])
			}
		}
	}
	return sums
}

// dotUnsigned computes the exact sums of groups first to first+n-1 per token,
// with the offset still in the quants.
func (f quantized) dotUnsigned(c *cursor, first, n int) []reg.VecVirtual {
	sums := vectors(c.tokens)
	for _, v := range sums {
		VPXOR(v, v, v)
	}
	for g := first; g < first+n; g++ {
		x := f.quants(c, g)
		for t, v := range sums {
			VPDPBUSD_BCST(c.quants(g, t), x, v)
		}
	}
	return sums
}

// dotSigned multiplies by the weights' magnitudes, with their signs carried
// over to the activations.
func (f quantized) dotSigned(c *cursor) []reg.VecVirtual {
	sums := vectors(c.tokens)
	for g := range 8 {
		c.fetch(g)
		x, magnitude := YMM(), YMM()
		VMOVDQU(Mem{Base: c.w, Disp: 32 * g}, x)
		VPABSB(x, magnitude)
		for t := range c.tokens {
			y := c.activation(g, t)
			VPSIGNB(x, y, y)
			VPMADDUBSW(y, magnitude, y)
			if g == 0 {
				VPMADDWD(c.ones, y, sums[t])
			} else {
				VPMADDWD(c.ones, y, y)
				VPADDD(y, sums[t], sums[t])
			}
		}
	}
	return sums
}

// block adds 32 columns of a LIN32 format to the accumulators.
func (f quantized) block(c *cursor, acc []reg.VecVirtual) {
	var sums []reg.VecVirtual
	if f.vnni {
		sums = f.dotUnsigned(c, 0, 8)
	} else {
		sums = f.dot(c, func(int) Op { return c.ones })
	}
	scale, minimum := YMM(), YMM()
	VCVTPH2PS(Mem{Base: c.ws}, scale)
	if f.min {
		VCVTPH2PS(Mem{Base: c.ws, Disp: 16}, minimum)
	}
	for t, sum := range sums {
		y := YMM()
		if f.offset > 0 {
			VPBROADCASTD(c.sum(t), y)
			switch f.offset {
			case 16:
				VPADDD(y, y, y)
			case 128:
				VPSLLD(Imm(4), y, y)
			}
			VPSUBD(y, sum, sum)
		}
		VCVTDQ2PS(sum, sum)
		VBROADCASTSS(c.scale(t), y)
		VMULPS(scale, y, y)
		VMULPS(y, sum, sum)
		if f.min {
			VBROADCASTSS(c.sum(t), y)
			multiplyAdd(minimum, y, sum)
		}
		VADDPS(sum, acc[t], acc[t])
	}
	f.advance(c)
	ADDQ(Imm(uint64(f.scaleBytes())), c.ws)
}

// advance moves on by 32 columns, but for the binary16 scales.
func (f quantized) advance(c *cursor) {
	ADDQ(U32(uint32(f.record())), c.w)
	ADDQ(U32(uint32(32*c.tokens)), c.a)
	ADDQ(Imm(uint64(4*c.tokens)), c.as)
	if f.offset > 0 || f.min && !f.super {
		ADDQ(Imm(uint64(4*c.tokens)), c.sums)
	}
}

// superblock computes the contribution of 256 columns per token.
func (f quantized) superblock(c *cursor, name string) []reg.VecVirtual {
	u := vectors(c.tokens)
	for _, v := range u {
		VXORPS(v, v, v)
	}
	n := GP64()
	MOVQ(U32(8), n)
	Label(name + "_part")
	f.part(c, u)
	DECQ(n)
	JNZ(LabelRef(name + "_part"))
	scale := YMM()
	VCVTPH2PS(Mem{Base: c.ws}, scale)
	for _, v := range u {
		VMULPS(scale, v, v)
	}
	if f.min {
		f.minima(c, u, name)
		ADDQ(Imm(64), c.fine)
	}
	ADDQ(Imm(uint64(f.scaleBytes())), c.ws)
	return u
}

// part adds 32 columns of a K-quant to u, but for the minima.
func (f quantized) part(c *cursor, u []reg.VecVirtual) {
	switch {
	case f.vnni && f.offset == 0:
		scale := YMM()
		VPMOVZXBD(Mem{Base: c.fine}, scale)
		for t, sum := range f.dotUnsigned(c, 0, 8) {
			VPMULLD(scale, sum, sum)
			f.scaled(c, u, t, sum)
		}
		ADDQ(Imm(8), c.fine)
	case f.offset == 0:
		pairs := YMM()
		VPBROADCASTQ(Mem{Base: c.fine}, pairs)
		VPSHUFB(constant("pairs"), pairs, pairs)
		for t, sum := range f.dot(c, func(int) Op { return pairs }) {
			f.scaled(c, u, t, sum)
		}
		ADDQ(Imm(8), c.fine)
	default:
		signed := func(i int) reg.VecVirtual {
			v := YMM()
			VBROADCASTI128(Mem{Base: c.fine}, v)
			VPSHUFB(constant(fmt.Sprintf("signed%d", i)), v, v)
			VPSRAW(Imm(8), v, v)
			return v
		}
		var sums []reg.VecVirtual
		if f.vnni {
			for half := range 2 {
				scale := YMM()
				VPMOVSXBD(Mem{Base: c.fine, Disp: 8 * half}, scale)
				part := f.dotUnsigned(c, 4*half, 4)
				for t, v := range part {
					VPMULLD(scale, v, v)
					if half == 1 {
						VPADDD(sums[t], v, v)
					}
				}
				sums = part
			}
		} else {
			sums = f.dot(c, func(half int) Op { return signed(half) })
		}
		mixed := signed(2)
		for t, sum := range sums {
			y := YMM()
			VPBROADCASTD(c.sum(t), y)
			VPMADDWD(mixed, y, y)
			VPSLLD(Imm(5), y, y)
			VPSUBD(y, sum, sum)
			f.scaled(c, u, t, sum)
		}
		ADDQ(Imm(16), c.fine)
	}
	f.advance(c)
}

// scaled sets u[t] += f32(sum) * activation scale.
func (f quantized) scaled(c *cursor, u []reg.VecVirtual, t int, sum reg.VecVirtual) {
	y := YMM()
	VCVTDQ2PS(sum, sum)
	VBROADCASTSS(c.scale(t), y)
	multiplyAdd(y, sum, u[t])
}

// minima subtracts what the minima of a superblock take from u.
func (f quantized) minima(c *cursor, u []reg.VecVirtual, name string) {
	v := vectors(c.tokens)
	for b := range 8 {
		minimum := YMM()
		VPMOVZXBD(Mem{Base: c.fine, Disp: 8 * b}, minimum)
		VCVTDQ2PS(minimum, minimum)
		for t := range v {
			y := YMM()
			VBROADCASTSS(Mem{Base: c.sums, Disp: (b*c.tokens + t) * 4}, y)
			if b == 0 {
				VXORPS(v[t], v[t], v[t])
			}
			multiplyAdd(minimum, y, v[t])
		}
	}
	minimum := YMM()
	VCVTPH2PS(Mem{Base: c.ws, Disp: 16}, minimum)
	for t := range v {
		VMULPS(minimum, v[t], v[t])
		VSUBPS(v[t], u[t], u[t])
	}
	ADDQ(U32(uint32(32*c.tokens)), c.sums)
}

// vector multiplies panels of 8 rows by one token.
func (f quantized) vector() {
	name := "vector" + f.name
	function(name, parameters+"panels int)", "sets out[8p:8p+8] to panel p times one token, for consecutive panels.")
	c := f.load(1)
	c.ahead = prefetchBytes
	a, as, sums := c.a, c.as, c.sums
	out, blocks, panels := pointer("out"), pointer("blocks"), pointer("panels")
	if f.super {
		SHRQ(Imm(3), blocks)
	}
	acc := vectors(1)
	Label(name + "_panel")
	VXORPS(acc[0], acc[0], acc[0])
	n := GP64()
	restart := func(from reg.Register) reg.Register {
		r := GP64()
		MOVQ(from, r)
		return r
	}
	c.a, c.as = restart(a), restart(as)
	if sums != nil {
		c.sums = restart(sums)
	}
	MOVQ(blocks, n)
	Label(name + "_block")
	if f.super {
		VADDPS(f.superblock(c, name)[0], acc[0], acc[0])
	} else {
		f.block(c, acc)
	}
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	VMOVUPS(acc[0], Mem{Base: out})
	ADDQ(Imm(32), out)
	DECQ(panels)
	JNZ(LabelRef(name + "_panel"))
	done()
}

// group multiplies one panel by a group of tokens, asking for memory that far
// ahead.
func (f quantized) group(tokens, ahead int) {
	name := fmt.Sprintf("group%sx%d", f.name, tokens)
	if tokens == 4 && ahead > 0 {
		name += "Ahead"
	}
	function(name, parameters+"ldo int)", fmt.Sprintf("sets out[t*ldo:t*ldo+8] to one panel times token t of a group of %d.", tokens))
	c := f.load(tokens)
	c.ahead = ahead
	n, out := pointer("blocks"), rows(tokens)
	out.point(pointer("out"), stride("ldo"))
	acc := vectors(tokens)
	for t, v := range acc {
		VXORPS(v, v, v)
		if f.super { // registers are scarce: accumulate in memory
			VMOVUPS(v, out.row(t))
		}
	}
	if f.super {
		SHRQ(Imm(3), n)
	}
	Label(name + "_block")
	if f.super {
		for t, u := range f.superblock(c, name) {
			VADDPS(out.row(t), u, u)
			VMOVUPS(u, out.row(t))
		}
	} else {
		f.block(c, acc)
	}
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	if !f.super {
		for t, v := range acc {
			VMOVUPS(v, out.row(t))
		}
	}
	done()
}
