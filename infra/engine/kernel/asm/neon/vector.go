package main

import "math"

// The registers that hold the constants of exp.
const (
	lowest v = 16 + iota
	highest
	log2e
	magic
	c1
	c2
	p0
	p1
	p2
	p3
	p4
	p5
	one
)

func (a *assembler) expConstants() {
	for i, value := range []float64{
		-87, 88, 1.44269504088896341, 12582912, 0.693359375, -2.12194440e-4,
		1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1, 1,
	} {
		a.constant(lowest+v(i), math.Float32bits(float32(value)))
	}
}

// exp replaces x by e^x as spec.Exp; the four registers from t on are lost.
func (a *assembler) exp(x, t v) {
	normal, n, p := t+1, t+2, t+3
	a.fcmge(normal, x, lowest) // false for NaN
	a.fmin(x, x, highest)
	a.fmul(n, x, log2e)
	a.fadd(n, n, magic)
	a.fsub(n, n, magic)
	for _, c := range []v{c1, c2} {
		a.fmul(t, n, c)
		a.fsub(x, x, t)
	}
	a.fmul(p, x, p0)
	for _, c := range []v{p1, p2, p3, p4} {
		a.fadd(p, p, c)
		a.fmul(p, p, x)
	}
	a.fadd(p, p, p5)
	a.fmul(t, x, x)
	a.fmul(p, p, t)
	a.fadd(p, p, x)
	a.fadd(p, p, one)
	a.fcvtns(n, n)
	a.do("VSHL $23, V%d.S4, V%d.S4", n, n)
	a.do("VADD V%d.S4, V%d.S4, V%d.S4", n, p, p)
	a.do("VAND V%d.B16, V%d.B16, V%d.B16", normal, p, x)
}

func (a *assembler) exponential() {
	a.function("exp8", "(x *float32, n int)", "replaces x by e^x; n is a positive multiple of 8.")
	x := a.load("x")
	a.expConstants()
	a.loop("loop", "n", func() {
		a.load8(0, 1, x, 0, false)
		a.exp(0, 2)
		a.exp(1, 6)
		a.store8(0, 1, x, 0, true)
	})
	a.do("RET")
}

func (a *assembler) siluMul() {
	a.function("siluMul8", "(gate, up *float32, n int)", "sets gate = gate/(1+e^-gate) * up; n is a positive multiple of 8.")
	gate, up := a.load("gate"), a.load("up")
	a.expConstants()
	a.loop("loop", "n", func() {
		a.load8(10, 11, gate, 0, false)
		a.load8(12, 13, up, 0, true)
		for i := range v(2) {
			a.fneg(i, 10+i)
			a.exp(i, 2+4*i)
			a.fadd(i, i, one)
			a.fdiv(i, 10+i, i)
			a.fmul(i, i, 12+i)
		}
		a.store8(0, 1, gate, 0, true)
	})
	a.do("RET")
}

func (a *assembler) geluMul() {
	a.function("geluMul8", "(gate, up *float32, n int)", "sets gate = GELU(gate) * up; n is a positive multiple of 8.")
	gate, up := a.load("gate"), a.load("up")
	a.expConstants()
	const geluA, geluB v = 14, 15
	a.constant(geluA, math.Float32bits(0.07135481627))
	a.constant(geluB, math.Float32bits(1.59576912161))
	a.loop("loop", "n", func() {
		a.load8(10, 11, gate, 0, false)
		a.load8(12, 13, up, 0, true)
		for i := range v(2) {
			a.fmul(i, 10+i, 10+i)
			a.fmul(i, i, geluA)
			a.fadd(i, i, geluB)
			a.fmul(i, i, 10+i)
			a.fneg(i, i)
			a.exp(i, 2+4*i)
			a.fadd(i, i, one)
			a.fdiv(i, 10+i, i)
			a.fmul(i, i, 12+i)
		}
		a.store8(0, 1, gate, 0, true)
	})
	a.do("RET")
}

// The registers that hold the other constants of tanh, and the cap.
const (
	two       v = 10
	tanhSplit v = 11
	t0        v = 12
	t1        v = 13
	t2        v = 14
	t3        v = 15
	t4        v = 29
	signs     v = 30
	most      v = 31
)

// tanh replaces x by its hyperbolic tangent as spec.Tanh; registers 2 to 7 are
// lost.
func (a *assembler) tanh(x v) {
	const z, e, w, p, far v = 2, 3, 4, 5, 6
	a.fabs(z, x)
	a.fadd(e, z, z)
	a.exp(e, 4)
	a.fadd(e, e, one)
	a.fdiv(e, two, e)
	a.fsub(e, one, e)
	a.fmul(w, z, z)
	a.fmul(p, w, t0)
	for _, c := range []v{t1, t2, t3, t4} {
		a.fadd(p, p, c)
		a.fmul(p, p, w)
	}
	a.fmul(p, p, z)
	a.fadd(p, p, z)
	a.fcmge(far, z, tanhSplit) // false for NaN
	a.do("VBIT V%d.B16, V%d.B16, V%d.B16", far, e, p)
	a.do("VAND V%d.B16, V%d.B16, V%d.B16", signs, x, x)
	a.do("VORR V%d.B16, V%d.B16, V%d.B16", p, x, x)
}

func (a *assembler) softCap() {
	a.function("softCap8", "(x *float32, n int, cap float32)", "sets x = cap*tanh(x/cap); n is a positive multiple of 8.")
	x := a.load("x")
	a.expConstants()
	for _, c := range []struct {
		register v
		value    float64
	}{{two, 2}, {tanhSplit, 0.625}, {t0, -5.70498872745e-3}, {t1, 2.06390887954e-2}, {t2, -5.37397155531e-2}, {t3, 1.33314422036e-1}, {t4, -3.33332819422e-1}} {
		a.constant(c.register, math.Float32bits(float32(c.value)))
	}
	a.constant(signs, 1<<31)
	a.scalar("cap", most)
	a.broadcast(most, most, 0)
	a.loop("loop", "n", func() {
		a.load8(0, 1, x, 0, false)
		for i := range v(2) {
			a.fdiv(i, i, most)
			a.tanh(i)
			a.fmul(i, i, most)
		}
		a.store8(0, 1, x, 0, true)
	})
	a.do("RET")
}

func (a *assembler) softmax() {
	a.function("softmax8", "(x *float32, n int, lanes *float32)",
		"sets x = e^(x-max(x)) and lanes to its sums by index mod 8; n is a positive multiple of 8.")
	x, lanes, at := a.load("x"), a.load("lanes"), a.register()
	a.do("MOVD %s, %s", x, at)
	a.largest(10, at)
	a.broadcast(10, 10, 0)
	a.expConstants()
	a.zero(12)
	a.zero(13)
	a.loop("loop", "n", func() {
		a.load8(0, 1, x, 0, false)
		for i := range v(2) {
			a.fsub(i, i, 10)
			a.exp(i, 2+4*i)
			a.fadd(12+i, 12+i, i)
		}
		a.store8(0, 1, x, 0, true)
	})
	a.store8(12, 13, lanes, 0, false)
	a.do("RET")
}

// largest sets lane 0 of d to the greatest of n numbers at x, which moves behind
// them; NaN counts as -Inf. Registers 0 to 3 and d+1 are lost.
func (a *assembler) largest(d v, x string) {
	a.constant(d, 0xff800000) // -Inf
	a.constant(d+1, 0xff800000)
	a.loop("largest", "n", func() {
		a.load8(0, 1, x, 0, true)
		for i := range v(2) {
			a.fcmgt(2+i, i, d+i) // false for NaN
			a.do("VBIT V%d.B16, V%d.B16, V%d.B16", 2+i, i, d+i)
		}
	})
	a.fcmgt(2, d+1, d)
	a.do("VBIT V2.B16, V%d.B16, V%d.B16", d+1, d)
	a.fmaxv(d, d)
}

func (a *assembler) greatest() {
	a.function("greatest8", "(x *float32, n int) float32", "returns the greatest number, NaN being none; n is a positive multiple of 8.")
	a.largest(10, a.load("x"))
	a.do("FMOVS F10, ret+%d(FP)", a.at["ret"])
	a.do("RET")
}

func (a *assembler) sumSquares() {
	a.function("sumSquares8", "(x *float32, n int, lanes *float32)",
		"sets lanes to the sums of squares by index mod 8; n is a positive multiple of 8.")
	x, lanes := a.load("x"), a.load("lanes")
	a.zero(2)
	a.zero(3)
	a.loop("loop", "n", func() {
		a.load8(0, 1, x, 0, true)
		for i := range v(2) {
			a.fmul(i, i, i)
			a.fadd(2+i, 2+i, i)
		}
	})
	a.store8(2, 3, lanes, 0, false)
	a.do("RET")
}

func (a *assembler) scaleMul() {
	a.function("scaleMul8", "(dst, x, w *float32, n int, factor float32)",
		"sets dst = (x*factor) * w; n is a positive multiple of 8.")
	dst, x, w := a.load("dst"), a.load("x"), a.load("w")
	a.scalar("factor", 4)
	a.loop("loop", "n", func() {
		a.load8(0, 1, x, 0, true)
		a.load8(2, 3, w, 0, true)
		for i := range v(2) {
			a.fmulLane(i, i, 4, 0)
			a.fmul(i, i, 2+i)
		}
		a.store8(0, 1, dst, 0, true)
	})
	a.do("RET")
}

func (a *assembler) scaleInto() {
	a.function("scale8", "(x *float32, n int, factor float32)", "multiplies x by factor; n is a positive multiple of 8.")
	x := a.load("x")
	a.scalar("factor", 4)
	a.loop("loop", "n", func() {
		a.load8(0, 1, x, 0, false)
		a.fmulLane(0, 0, 4, 0)
		a.fmulLane(1, 1, 4, 0)
		a.store8(0, 1, x, 0, true)
	})
	a.do("RET")
}

func (a *assembler) addInto() {
	a.function("add8", "(dst, x *float32, n int)", "sets dst += x; n is a positive multiple of 8.")
	dst, x := a.load("dst"), a.load("x")
	a.loop("loop", "n", func() {
		a.load8(0, 1, dst, 0, false)
		a.load8(2, 3, x, 0, true)
		a.fadd(0, 0, 2)
		a.fadd(1, 1, 3)
		a.store8(0, 1, dst, 0, true)
	})
	a.do("RET")
}

func (a *assembler) rotateHalves() {
	a.function("rotateHalves8", "(x, cos, sin *float32, half int)",
		"rotates x[i] with x[i+half], as spec.Rotate; half is a positive multiple of 8.")
	x, cos, sin, second := a.load("x"), a.load("cos"), a.load("sin"), a.stride("half")
	a.do("ADD %s, %s, %s", x, second, second)
	a.loop("loop", "half", func() {
		a.load8(0, 1, x, 0, false)
		a.load8(2, 3, second, 0, false)
		a.load8(4, 5, cos, 0, true)
		a.load8(6, 7, sin, 0, true)
		for i := range v(2) {
			a.turn(i, 2+i, 4+i, 6+i)
		}
		a.store8(0, 1, x, 0, true)
		a.store8(2, 3, second, 0, true)
	})
	a.do("RET")
}

// turn rotates the elements of p with those of q by angles with cosine c and
// sine s.
func (a *assembler) turn(p, q, c, s v) {
	a.fmul(16, p, c)
	a.fmul(17, q, s)
	a.fmul(18, p, s)
	a.fmul(19, q, c)
	a.fsub(p, 16, 17)
	a.fadd(q, 18, 19)
}

func (a *assembler) rotatePairs() {
	a.function("rotatePairs8", "(x, cos, sin *float32, n int)",
		"rotates x[2i] with x[2i+1], as spec.Rotate; n, the length of x, is a positive multiple of 8.")
	x, cos, sin := a.load("x"), a.load("cos"), a.load("sin")
	a.loop("loop", "n", func() {
		a.do("VLD2 (%s), [V0.S4, V1.S4]", x)
		a.do("FMOVQ.P 16(%s), F2", cos)
		a.do("FMOVQ.P 16(%s), F3", sin)
		a.turn(0, 1, 2, 3)
		a.do("VST2.P [V0.S4, V1.S4], 32(%s)", x)
	})
	a.do("RET")
}

func (a *assembler) allFinite() {
	a.function("finite8", "(x *float32, n int) bool", "reports whether no exponent is all ones; n is a positive multiple of 8.")
	x := a.load("x")
	const exponent = 0x7f800000
	a.constant(2, exponent)
	a.zero(3)
	a.loop("loop", "n", func() {
		a.load8(0, 1, x, 0, true)
		for i := range v(2) {
			a.do("VAND V2.B16, V%d.B16, V%d.B16", i, i)
			a.umax(3, 3, i)
		}
	})
	a.umaxv(3, 3)
	most, all := a.register(), a.register()
	a.do("FMOVS F3, %s", most)
	a.do("MOVD $0x%08x, %s", exponent, all)
	a.do("CMPW %s, %s", all, most)
	a.do("CSET NE, %s", most)
	a.do("MOVB %s, ret+%d(FP)", most, a.at["ret"])
	a.do("RET")
}

// quantizeBlocks is spec.Quantize for consecutive blocks of 32. Strided, it
// writes one token of a group: four quants, then those of the other tokens.
func (a *assembler) quantizeBlocks(strided bool) {
	name := "quantizeBlocks"
	signature, doc := "(x *float32, q *int8, scales *float32, eights, halves *int32, weighted *float32, blocks int)", "quantises blocks of 32 and sums their quants as in blockSums. blocks is positive."
	if strided {
		name = "quantizeStrided"
		signature = "(x *float32, q *int8, scales *float32, eights, halves *int32, weighted *float32, blocks, step int)"
		doc = "is quantizeBlocks with every 4 bytes of results step bytes apart."
	}
	a.function(name, signature, doc)
	x, q, n := a.load("x"), a.load("q"), a.load("blocks")
	scales, eights, halves, weighted := a.load("scales"), a.load("eights"), a.load("halves"), a.load("weighted")
	step := ""
	if strided {
		step = a.load("step")
	}
	quantizer := a.quantizer()
	top := quantizer.top
	a.label("block")
	for i := range v(4) {
		a.load8(2*i, 2*i+1, x, 0, true)
	}
	quantizer.block()
	if strided {
		for i := range v(2) {
			for lane := range 4 {
				a.do("VST1.P V%d.S[%d], (%s)(%s)", i, lane, q, step)
			}
		}
	} else {
		a.store8(0, 1, q, 0, true)
	}
	first, second := a.register(), a.register()
	for i, r := range []string{first, second} {
		a.bytePairs(2, v(i))
		a.saddlv(2, 2)
		a.do("FMOVS F2, %s", r)
	}
	a.do("FMOVS F8, (%s)", scales)
	a.do("LSL $16, %s, %s", second, top)
	a.do("BFI $0, %s, $16, %s", first, top)
	a.do("MOVW %s, (%s)", top, halves)
	a.do("ADDW %s, %s, %s", first, second, top)
	a.do("SCVTFWS %s, F2", top)
	a.do("FMULS F8, F2, F2")
	a.do("FMOVS F2, (%s)", weighted)
	a.do("LSLW $3, %s, %s", top, top)
	a.do("MOVW %s, (%s)", top, eights)
	if !strided {
		step = "$4"
	}
	for _, r := range []string{scales, eights, halves, weighted} {
		a.do("ADD %s, %s, %s", step, r, r)
	}
	a.do("SUBS $1, %s, %s", n, n)
	a.do("BNE block")
	a.do("RET")
	quantizer.exceptions()
}

// quantizer is spec.Quantize in the middle of a kernel. It keeps registers 28 to
// 30.
type quantizer struct {
	*assembler
	top, bound string
}

func (a *assembler) quantizer() *quantizer {
	a.constant(30, 0x7fffffff)
	a.constant(29, math.Float32bits(127))
	a.constant(28, math.Float32bits(1))
	return &quantizer{a, a.register(), a.register()}
}

// block turns 32 numbers in registers 0 to 7 into bytes in 0 and 1 and a scale
// in 8; registers up to 15 are lost.
func (a *quantizer) block() {
	top, bound := a.top, a.bound
	for i := range v(8) {
		a.do("VAND V30.B16, V%d.B16, V%d.B16", i, 8+i)
	}
	for width := v(4); width > 0; width /= 2 {
		for i := range width {
			a.umax(8+i, 8+i, 8+i+width) // by bits: NaN above Inf above all numbers
		}
	}
	a.umaxv(8, 8)
	a.do("FMOVS F8, %s", top)
	a.do("MOVD $0x0d800000, %s", bound) // 2^-100
	a.do("CMPW %s, %s", bound, top)
	a.do("BLO tiny")
	a.do("MOVD $0x7f800000, %s", bound)
	a.do("CMPW %s, %s", bound, top)
	a.do("BHS invalid")
	a.do("FDIVS F29, F8, F8") // scale
	a.do("FDIVS F8, F28, F9") // 1/scale
	for i := range v(8) {
		a.fmulLane(i, i, 9, 0)
		a.fcvtns(i, i)
	}
	for i := v(0); i < 8; i += 2 {
		a.narrow(10+i/2, i, 32, false)
		a.narrow(10+i/2, i+1, 32, true)
	}
	for i := range v(2) {
		a.narrow(i, 10+2*i, 16, false)
		a.narrow(i, 11+2*i, 16, true)
	}
	a.label("quantized")
}

// exceptions follows the kernel's end.
func (a *quantizer) exceptions() {
	a.label("invalid")
	a.do("MOVD $0x7fc00000, %s", a.bound)
	a.do("FMOVS %s, F8", a.bound)
	a.do("B empty")
	a.label("tiny")
	a.zero(8)
	a.label("empty")
	a.zero(0)
	a.zero(1)
	a.do("B quantized")
}
