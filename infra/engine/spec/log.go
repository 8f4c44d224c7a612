package spec

import "math"

// Log returns the natural logarithm of a positive, finite x.
//
//	x = m * 2^e with sqrt(1/2) <= m < sqrt(2);  f = m - 1
//	p = ((((((((p0*f + p1)*f + p2)*f + p3)*f + p4)*f + p5)*f + p6)*f + p7)*f + p8
//	y = p*f*(f*f);  y = y + e*c2;  y = y - 0.5*(f*f)
//	result = (f + y) + e*c1        c1 + c2 = ln 2, e*c1 exact
//
// Every multiplication and addition is rounded on its own; the constants are
// those of Cephes logf. Subnormal x is scaled by 2^25 first. Log(0) is -Inf,
// Log of a negative number or NaN is NaN, Log(+Inf) is +Inf.
func Log(x float32) float32 {
	const (
		c1, c2     = float32(0.693359375), float32(-2.12194440e-4)
		p0, p1, p2 = float32(7.0376836292e-2), float32(-1.1514610310e-1), float32(1.1676998740e-1)
		p3, p4, p5 = float32(-1.2420140846e-1), float32(1.4249322787e-1), float32(-1.6668057665e-1)
		p6, p7, p8 = float32(2.0000714765e-1), float32(-2.4999993993e-1), float32(3.3333331174e-1)
		sqrtHalf   = 0x3f3504f3 // bits of sqrt(1/2)
	)
	switch {
	case x == 0:
		return math.Float32frombits(0xff800000)
	case !(x > 0):
		return math.Float32frombits(0x7fc00000)
	case math.Float32bits(x) == 0x7f800000:
		return x
	}
	exponent := int32(0)
	if math.Float32bits(x) < 0x00800000 {
		x = float32(x * (1 << 25))
		exponent = -25
	}
	bits := math.Float32bits(x)
	shift := int32(bits-sqrtHalf) >> 23 // floor(log2(x / sqrt(1/2)))
	exponent += shift
	f := math.Float32frombits(bits-uint32(shift)<<23) - 1
	e := float32(exponent)
	p := float32(p0*f) + p1
	p = float32(p*f) + p2
	p = float32(p*f) + p3
	p = float32(p*f) + p4
	p = float32(p*f) + p5
	p = float32(p*f) + p6
	p = float32(p*f) + p7
	p = float32(p*f) + p8
	z := float32(f * f)
	y := float32(float32(p*f) * z)
	y = y + float32(e*c2)
	y = y - float32(0.5*z)
	return float32(f+y) + float32(e*c1)
}
