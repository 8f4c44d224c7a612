package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

var (
	constants Mem
	offsets   = map[string]int{}
)

func constant(name string) Mem { return constants.Offset(offsets[name]) }

// defineConstants lays out eight copies of each constant.
func defineConstants(vnni bool) {
	constants = GLOBL("constants", NOPTR|RODATA)
	at := 0
	bits := func(name string, b uint32) {
		offsets[name] = at
		for range 8 {
			DATA(at, U32(b))
			at += 4
		}
	}
	float := func(name string, v float64) { bits(name, math.Float32bits(float32(v))) }
	float("lowest", -87)
	float("highest", 88)
	float("log2e", 1.44269504088896341)
	float("magic", 12582912)
	float("c1", 0.693359375)
	float("c2", -2.12194440e-4)
	float("p0", 1.9875691500e-4)
	float("p1", 1.3981999507e-3)
	float("p2", 8.3334519073e-3)
	float("p3", 4.1665795894e-2)
	float("p4", 1.6666665459e-1)
	float("p5", 5.0000001201e-1)
	float("one", 1)
	float("127", 127)
	bits("magnitude", 0x7fffffff)
	bits("sign", 0x80000000)
	bits("exponent", 0x7f800000)
	bits("largest", 0x7f7fffff)
	bits("belowSmallest", 0x0d7fffff)
	bits("nan", 0x7fc00000)
	bits("byteOnes", 0x01010101)
	bits("wordOnes", 0x00010001)
	bits("nibbles", 0x0f0f0f0f)
	bits("fifth", 0x10101010)
	bits("upper", 0x30303030)
	bytes := func(name string, b func(word, half int) int) {
		offsets[name] = at
		for word := range 16 {
			for half := range 2 {
				DATA(at, U8(uint8(b(word, half))))
				at++
			}
		}
	}
	const zero = 0x80
	// Shuffles that spread 8 rows' bytes over pairs of words, row by row: as
	// they are, or as the upper half of a word, for an arithmetic shift.
	bytes("pairs", func(word, half int) int {
		if half == 1 {
			return zero
		}
		return word / 2
	})
	for first := range 3 {
		bytes(fmt.Sprintf("signed%d", first), func(word, half int) int {
			switch {
			case half == 0:
				return zero
			case first == 2: // one scale, then the other
				return word/2 + word%2*8
			}
			return word/2 + first*8
		})
	}
	offsets["packOrder"] = at
	for _, lane := range []uint32{0, 4, 1, 5, 2, 6, 3, 7} {
		DATA(at, U32(lane))
		at += 4
	}
	float("two", 2)
	float("geluA", 0.07135481627)
	float("geluB", 1.59576912161)
	float("tanhSplit", 0.625)
	float("t0", -5.70498872745e-3)
	float("t1", 2.06390887954e-2)
	float("t2", -5.37397155531e-2)
	float("t3", 1.33314422036e-1)
	float("t4", -3.33332819422e-1)
	if vnni {
		bits("signs", 0x80808080)
	}
}

// loop runs body for every 8 elements of n.
func loop(name, count string, body func()) {
	n := pointer(count)
	SHRQ(Imm(3), n)
	Label(name + "_loop")
	body()
	DECQ(n)
	JNZ(LabelRef(name + "_loop"))
}

// exp returns e^x as spec.Exp; x is lost.
func exp(x reg.VecVirtual) reg.VecVirtual {
	normal, n, t, p := YMM(), YMM(), YMM(), YMM()
	VCMPPS(Imm(13), constant("lowest"), x, normal) // x >= lowest, false for NaN
	VMAXPS(constant("lowest"), x, x)
	VMINPS(constant("highest"), x, x)
	VMULPS(constant("log2e"), x, n)
	VADDPS(constant("magic"), n, n)
	VSUBPS(constant("magic"), n, n)
	for _, c := range []string{"c1", "c2"} {
		VMULPS(constant(c), n, t)
		VSUBPS(t, x, x)
	}
	VMOVUPS(constant("p0"), p)
	for _, c := range []string{"p1", "p2", "p3", "p4", "p5"} {
		VMULPS(x, p, p)
		VADDPS(constant(c), p, p)
	}
	VMULPS(x, x, t)
	VMULPS(t, p, p)
	VADDPS(x, p, p)
	VADDPS(constant("one"), p, p)
	VCVTPS2DQ(n, n)
	VPSLLD(Imm(23), n, n)
	VPADDD(n, p, p)
	VANDPS(normal, p, p)
	return p
}

func exponential() {
	function("exp8", "(x *float32, n int)", "replaces x by e^x; n is a positive multiple of 8.")
	x := pointer("x")
	loop("exp8", "n", func() {
		v := YMM()
		VMOVUPS(Mem{Base: x}, v)
		VMOVUPS(exp(v), Mem{Base: x})
		ADDQ(Imm(32), x)
	})
	done()
}

func siluMul() {
	function("siluMul8", "(gate, up *float32, n int)", "sets gate = gate/(1+e^-gate) * up; n is a positive multiple of 8.")
	gate, up := pointer("gate"), pointer("up")
	loop("siluMul8", "n", func() {
		g, negative := YMM(), YMM()
		VMOVUPS(Mem{Base: gate}, g)
		VXORPS(constant("sign"), g, negative)
		e := exp(negative)
		VADDPS(constant("one"), e, e)
		VDIVPS(e, g, g)
		VMULPS(Mem{Base: up}, g, g)
		VMOVUPS(g, Mem{Base: gate})
		ADDQ(Imm(32), gate)
		ADDQ(Imm(32), up)
	})
	done()
}

func geluMul() {
	function("geluMul8", "(gate, up *float32, n int)", "sets gate = GELU(gate) * up; n is a positive multiple of 8.")
	gate, up := pointer("gate"), pointer("up")
	loop("geluMul8", "n", func() {
		g, z := YMM(), YMM()
		VMOVUPS(Mem{Base: gate}, g)
		VMULPS(g, g, z)
		VMULPS(constant("geluA"), z, z)
		VADDPS(constant("geluB"), z, z)
		VMULPS(z, g, z)
		VXORPS(constant("sign"), z, z)
		e := exp(z)
		VADDPS(constant("one"), e, e)
		VDIVPS(e, g, g)
		VMULPS(Mem{Base: up}, g, g)
		VMOVUPS(g, Mem{Base: gate})
		ADDQ(Imm(32), gate)
		ADDQ(Imm(32), up)
	})
	done()
}

// tanh returns the hyperbolic tangent of x as spec.Tanh.
func tanh(x reg.VecVirtual) reg.VecVirtual {
	z, t, far, two := YMM(), YMM(), YMM(), YMM()
	VANDPS(constant("magnitude"), x, z)
	VADDPS(z, z, t)
	e := exp(t)
	VADDPS(constant("one"), e, e)
	VMOVUPS(constant("two"), two)
	VDIVPS(e, two, e)
	VMOVUPS(constant("one"), two)
	VSUBPS(e, two, e)
	w, p := YMM(), YMM()
	VMULPS(z, z, w)
	VMOVUPS(constant("t0"), p)
	for _, c := range []string{"t1", "t2", "t3", "t4"} {
		VMULPS(w, p, p)
		VADDPS(constant(c), p, p)
	}
	VMULPS(w, p, p)
	VMULPS(z, p, p)
	VADDPS(z, p, p)
	VCMPPS(Imm(13), constant("tanhSplit"), z, far) // z >= split, false for NaN
	VBLENDVPS(far, e, p, p)
	VANDPS(constant("sign"), x, t)
	VORPS(t, p, p)
	return p
}

func softCap() {
	function("softCap8", "(x *float32, n int, cap float32)", "sets x = cap*tanh(x/cap); n is a positive multiple of 8.")
	x, most := pointer("x"), YMM()
	VBROADCASTSS(NewParamAddr("cap", 16), most)
	loop("softCap8", "n", func() {
		v := YMM()
		VMOVUPS(Mem{Base: x}, v)
		VDIVPS(most, v, v)
		r := tanh(v)
		VMULPS(most, r, r)
		VMOVUPS(r, Mem{Base: x})
		ADDQ(Imm(32), x)
	})
	done()
}

func softmaxRow() {
	const name = "softmax8"
	function(name, "(x *float32, n int, lanes *float32)",
		"sets x = e^(x-max(x)) and lanes to its sums by index mod 8; n is a positive multiple of 8.")
	x0, x := pointer("x"), GP64()
	MOVQ(x0, x)
	most := largest(x, name+"_max")
	sum := YMM()
	VXORPS(sum, sum, sum)
	loop(name+"_exp", "n", func() {
		v := YMM()
		VMOVUPS(Mem{Base: x0}, v)
		VSUBPS(most, v, v)
		e := exp(v)
		VMOVUPS(e, Mem{Base: x0})
		VADDPS(e, sum, sum)
		ADDQ(Imm(32), x0)
	})
	VMOVUPS(sum, Mem{Base: pointer("lanes")})
	done()
}

// largest sets all lanes to the greatest of n numbers at x, which moves behind
// them; NaN counts as -Inf.
func largest(x reg.Register, label string) reg.VecVirtual {
	most := YMM()
	VBROADCASTSS(constant("exponent"), most)
	VXORPS(constant("sign"), most, most) // -Inf
	loop(label, "n", func() {
		v := YMM()
		VMOVUPS(Mem{Base: x}, v)
		VMAXPS(most, v, most) // keeps most where v is NaN
		ADDQ(Imm(32), x)
	})
	t := YMM()
	VPERM2F128(Imm(1), most, most, t)
	VMAXPS(t, most, most)
	VSHUFPS(Imm(0x4e), most, most, t)
	VMAXPS(t, most, most)
	VSHUFPS(Imm(0xb1), most, most, t)
	VMAXPS(t, most, most)
	return most
}

func greatest() {
	const name = "greatest8"
	function(name, "(x *float32, n int) float32", "returns the greatest number, NaN being none; n is a positive multiple of 8.")
	most := largest(pointer("x"), name)
	Store(most.AsX(), ReturnIndex(0))
	done()
}

func sumSquares() {
	function("sumSquares8", "(x *float32, n int, lanes *float32)",
		"sets lanes to the sums of squares by index mod 8; n is a positive multiple of 8.")
	x, sum := pointer("x"), YMM()
	VXORPS(sum, sum, sum)
	loop("sumSquares8", "n", func() {
		v := YMM()
		VMOVUPS(Mem{Base: x}, v)
		multiplyAdd(v, v, sum)
		ADDQ(Imm(32), x)
	})
	VMOVUPS(sum, Mem{Base: pointer("lanes")})
	done()
}

func scaleMul() {
	function("scaleMul8", "(dst, x, w *float32, n int, factor float32)",
		"sets dst = (x*factor) * w; n is a positive multiple of 8.")
	dst, x, w := pointer("dst"), pointer("x"), pointer("w")
	factor := YMM()
	VBROADCASTSS(NewParamAddr("factor", 32), factor)
	loop("scaleMul8", "n", func() {
		v := YMM()
		VMOVUPS(Mem{Base: x}, v)
		VMULPS(factor, v, v)
		VMULPS(Mem{Base: w}, v, v)
		VMOVUPS(v, Mem{Base: dst})
		for _, p := range []reg.Register{dst, x, w} {
			ADDQ(Imm(32), p)
		}
	})
	done()
}

func scaleInto() {
	function("scale8", "(x *float32, n int, factor float32)", "multiplies x by factor; n is a positive multiple of 8.")
	x, factor := pointer("x"), YMM()
	VBROADCASTSS(NewParamAddr("factor", 16), factor)
	loop("scale8", "n", func() {
		v := YMM()
		VMULPS(Mem{Base: x}, factor, v)
		VMOVUPS(v, Mem{Base: x})
		ADDQ(Imm(32), x)
	})
	done()
}

func addInto() {
	function("add8", "(dst, x *float32, n int)", "sets dst += x; n is a positive multiple of 8.")
	dst, x := pointer("dst"), pointer("x")
	loop("add8", "n", func() {
		v := YMM()
		VMOVUPS(Mem{Base: dst}, v)
		VADDPS(Mem{Base: x}, v, v)
		VMOVUPS(v, Mem{Base: dst})
		ADDQ(Imm(32), dst)
		ADDQ(Imm(32), x)
	})
	done()
}

func rotateHalves() {
	const name = "rotateHalves8"
	function(name, "(x, cos, sin *float32, half int)",
		"rotates x[i] with x[i+half], as spec.Rotate; half is a positive multiple of 8.")
	x, cos, sin := pointer("x"), pointer("cos"), pointer("sin")
	half := stride("half")
	loop(name, "half", func() {
		a, b, c, s, t := YMM(), YMM(), YMM(), YMM(), YMM()
		second := Mem{Base: x, Index: half, Scale: 1}
		VMOVUPS(Mem{Base: x}, a)
		VMOVUPS(second, b)
		VMOVUPS(Mem{Base: cos}, c)
		VMOVUPS(Mem{Base: sin}, s)
		VMULPS(c, a, t)
		VMULPS(s, a, a)
		VMULPS(s, b, s)
		VMULPS(c, b, b)
		VSUBPS(s, t, t)
		VADDPS(b, a, a)
		VMOVUPS(t, Mem{Base: x})
		VMOVUPS(a, second)
		for _, p := range []reg.Register{x, cos, sin} {
			ADDQ(Imm(32), p)
		}
	})
	done()
}

func rotatePairs() {
	const name = "rotatePairs8"
	function(name, "(x, cos, sin *float32, n int)",
		"rotates x[2i] with x[2i+1], as spec.Rotate; n, the length of x, is a positive multiple of 8.")
	x, cos, sin := pointer("x"), pointer("cos"), pointer("sin")
	loop(name, "n", func() {
		v, swapped, c, s := YMM(), YMM(), YMM(), YMM()
		VMOVUPS(Mem{Base: x}, v)
		VPMOVZXDQ(Mem{Base: cos}, c)
		VPMOVZXDQ(Mem{Base: sin}, s)
		VMOVSLDUP(c, c)
		VMOVSLDUP(s, s)
		VSHUFPS(Imm(0xb1), v, v, swapped)
		VMULPS(c, v, v)
		VMULPS(s, swapped, swapped)
		VADDSUBPS(swapped, v, v)
		VMOVUPS(v, Mem{Base: x})
		ADDQ(Imm(32), x)
		ADDQ(Imm(16), cos)
		ADDQ(Imm(16), sin)
	})
	done()
}

func allFinite() {
	function("finite8", "(x *float32, n int) bool", "reports whether no exponent is all ones; n is a positive multiple of 8.")
	x, bad := pointer("x"), YMM()
	mask := YMM()
	VMOVUPS(constant("exponent"), mask)
	VPXOR(bad, bad, bad)
	loop("finite8", "n", func() {
		v := YMM()
		VPAND(Mem{Base: x}, mask, v)
		VPCMPEQD(mask, v, v)
		VPOR(v, bad, bad)
		ADDQ(Imm(32), x)
	})
	bits, result := GP32(), GP8()
	VPMOVMSKB(bad, bits)
	TESTL(bits, bits)
	SETEQ(result)
	VZEROUPPER()
	Store(result, ReturnIndex(0))
	RET()
}

// quantizeVectors is spec.Quantize for the 32 numbers in values: it leaves the
// quants in values[0], stores the scale and returns it.
func quantizeVectors(values []reg.VecVirtual, magnitude, order reg.VecVirtual, scaleAt Mem) (scale reg.VecVirtual) {
	top, t := YMM(), YMM()
	for i, v := range values {
		if i == 0 {
			VANDPS(v, magnitude, top)
		} else {
			VANDPS(v, magnitude, t)
			VPMAXSD(t, top, top) // by bits: NaN above Inf above all numbers
		}
	}
	m, u := XMM(), XMM()
	VEXTRACTI128(Imm(1), top, m)
	VPMAXSD(m, top.AsX(), m)
	VPSHUFD(Imm(0x4e), m, u)
	VPMAXSD(u, m, m)
	VPSHUFD(Imm(0xb1), m, u)
	VPMAXSD(u, m, m)

	// normal: a number not below 2^-100; invalid: NaN or Inf.
	normal, invalid := XMM(), XMM()
	VPCMPGTD(constant("belowSmallest"), m, normal)
	VPCMPGTD(constant("largest"), m, invalid)
	inverse, one := XMM(), XMM()
	scale = XMM()
	VDIVSS(constant("127"), m, scale)
	VANDPS(normal, scale, scale)
	VPANDN(normal, invalid, normal) // q is kept only here
	VPAND(constant("nan"), invalid, invalid)
	VMOVSS(constant("one"), one)
	VDIVSS(scale, one, inverse)
	VORPS(invalid, scale, scale)
	VMOVSS(scale, scaleAt)
	factor, keep := YMM(), YMM()
	VBROADCASTSS(inverse, factor)
	VPBROADCASTD(normal, keep)
	for _, v := range values {
		VMULPS(factor, v, v)
		VCVTPS2DQ(v, v)
	}
	VPACKSSDW(values[1], values[0], values[0])
	VPACKSSDW(values[3], values[2], values[2])
	VPACKSSWB(values[2], values[0], values[0])
	VPERMD(values[0], order, values[0])
	VPAND(keep, values[0], values[0])
	return scale
}

// quantizeBlocks is spec.Quantize for consecutive blocks of 32. Strided, it
// writes one token of a group: four quants, then those of the other tokens.
func quantizeBlocks(strided bool) {
	name := "quantizeBlocks"
	signature, doc := "(x *float32, q *int8, scales *float32, eights, halves *int32, weighted *float32, blocks int)", "quantises blocks of 32 and sums their quants as in blockSums. blocks is positive."
	if strided {
		name = "quantizeStrided"
		signature = "(x *float32, q *int8, scales *float32, eights, halves *int32, weighted *float32, blocks, step int)"
		doc = "is quantizeBlocks with every 4 bytes of results step bytes apart."
	}
	function(name, signature, doc)
	x, q, n := pointer("x"), pointer("q"), pointer("blocks")
	results := []reg.Register{pointer("scales"), pointer("eights"), pointer("halves"), pointer("weighted")}
	scales, eights, halves, weighted := results[0], results[1], results[2], results[3]
	var step, step3 reg.Register
	if strided {
		step, step3 = pointer("step"), GP64()
		LEAQ(Mem{Base: step, Index: step, Scale: 2}, step3)
	}
	magnitude, order := YMM(), YMM()
	VMOVUPS(constant("magnitude"), magnitude)
	VMOVDQU(constant("packOrder"), order)
	Label(name + "_block")
	values := vectors(4)
	for i, v := range values {
		VMOVUPS(Mem{Base: x, Disp: 32 * i}, v)
	}
	scale := quantizeVectors(values, magnitude, order, Mem{Base: scales})
	if strided {
		half := XMM()
		for i := range 2 {
			VEXTRACTI128(Imm(uint64(i)), values[0], half)
			VMOVD(half, Mem{Base: q})
			VPEXTRD(Imm(1), half, Mem{Base: q, Index: step, Scale: 1})
			VPEXTRD(Imm(2), half, Mem{Base: q, Index: step, Scale: 2})
			VPEXTRD(Imm(3), half, Mem{Base: q, Index: step3, Scale: 1})
			LEAQ(Mem{Base: q, Index: step, Scale: 4}, q)
		}
	} else {
		VMOVDQU(values[0], Mem{Base: q})
		ADDQ(Imm(32), q)
	}

	t, m, u := YMM(), XMM(), XMM()
	VMOVDQU(constant("byteOnes"), t)
	VPMADDUBSW(values[0], t, t)
	VPMADDWD(constant("wordOnes"), t, t)
	v := YMM()
	VPSHUFD(Imm(0x4e), t, v)
	VPADDD(v, t, t)
	VPSHUFD(Imm(0xb1), t, v)
	VPADDD(v, t, t)
	VEXTRACTI128(Imm(1), t, m)
	VPSLLD(Imm(16), m, u)
	VPBLENDW(Imm(1), t.AsX(), u, u)
	VMOVD(u, Mem{Base: halves})
	VPADDD(m, t.AsX(), m)
	VCVTDQ2PS(m, u)
	VMULSS(scale, u, u)
	VMOVSS(u, Mem{Base: weighted})
	VPSLLD(Imm(3), m, m)
	VMOVD(m, Mem{Base: eights})
	ADDQ(U32(128), x)
	for _, r := range results {
		if strided {
			ADDQ(step, r)
		} else {
			ADDQ(Imm(4), r)
		}
	}
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	done()
}
