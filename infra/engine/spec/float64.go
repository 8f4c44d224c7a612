package spec

import "math"

// The float64 functions behind the rotary table. They follow FreeBSD msun
// (logarithm, exponential) and Cephes (sine, cosine), with every product that
// feeds a sum rounded on its own.

const (
	ln2Hi = 6.93147180369123816490e-01
	ln2Lo = 1.90821492927058770002e-10
)

// log64 is the natural logarithm of a positive, normal x.
func log64(x float64) float64 {
	const (
		l1 = 6.666666666666735130e-01
		l2 = 3.999999999940941908e-01
		l3 = 2.857142874366239149e-01
		l4 = 2.222219843214978396e-01
		l5 = 1.818357216161805012e-01
		l6 = 1.531383769920937332e-01
		l7 = 1.479819860511658591e-01

		sqrtHalf = 0x3fe6a09e667f3bcd // bits of sqrt(1/2)
	)
	bits := math.Float64bits(x)
	exponent := int64(bits-sqrtHalf) >> 52
	f := math.Float64frombits(bits-uint64(exponent)<<52) - 1
	k := float64(exponent)
	s := f / (2 + f)
	s2 := float64(s * s)
	s4 := float64(s2 * s2)
	t1 := float64(s2 * (l1 + float64(s4*(l3+float64(s4*(l5+float64(s4*l7)))))))
	t2 := float64(s4 * (l2 + float64(s4*(l4+float64(s4*l6)))))
	r := t1 + t2
	half := float64(float64(0.5*f) * f)
	inner := float64(s*(half+r)) + float64(k*ln2Lo)
	return float64(k*ln2Hi) - ((half - inner) - f)
}

// exp64 is e^x for -700 < x < 700.
func exp64(x float64) float64 {
	const (
		log2e = 1.44269504088896338700e+00
		magic = 6755399441055744 // 1.5 * 2^52
		p1    = 1.66666666666666657415e-01
		p2    = -2.77777777770155933842e-03
		p3    = 6.61375632143793436117e-05
		p4    = -1.65339022054652515390e-06
		p5    = 4.13813679705723846039e-08
	)
	k := float64(float64(x*log2e)+magic) - magic
	hi := x - float64(k*ln2Hi)
	lo := float64(k * ln2Lo)
	r := hi - lo
	t := float64(r * r)
	c := r - float64(t*(p1+float64(t*(p2+float64(t*(p3+float64(t*(p4+float64(t*p5)))))))))
	y := 1 - ((lo - float64(r*c)/(2-c)) - hi)
	return math.Float64frombits(math.Float64bits(y) + uint64(int64(k))<<52)
}

// sincos64 returns sine and cosine of 0 <= x < 2^29.
func sincos64(x float64) (sin, cos float64) {
	const (
		pi4A = 7.85398125648498535156e-1
		pi4B = 3.77489470793079817668e-8
		pi4C = 2.69515142907905952645e-15

		fourOverPi = 1.27323954473516268615

		s0 = 1.58962301576546568060e-10
		s1 = -2.50507477628578072866e-8
		s2 = 2.75573136213857245213e-6
		s3 = -1.98412698295895385996e-4
		s4 = 8.33333333332211858878e-3
		s5 = -1.66666666666666307295e-1

		c0 = -1.13585365213876817300e-11
		c1 = 2.08757008419747316778e-9
		c2 = -2.75573141792967388112e-7
		c3 = 2.48015872888517045348e-5
		c4 = -1.38888888888730564116e-3
		c5 = 4.16666666666665929218e-2
	)
	octant := uint64(float64(x * fourOverPi))
	octant += octant & 1
	y := float64(octant)
	z := ((x - float64(y*pi4A)) - float64(y*pi4B)) - float64(y*pi4C)
	zz := float64(z * z)
	p := float64(s0*zz) + s1
	p = float64(p*zz) + s2
	p = float64(p*zz) + s3
	p = float64(p*zz) + s4
	p = float64(p*zz) + s5
	sin = z + float64(float64(z*zz)*p)
	p = float64(c0*zz) + c1
	p = float64(p*zz) + c2
	p = float64(p*zz) + c3
	p = float64(p*zz) + c4
	p = float64(p*zz) + c5
	cos = (1 - float64(0.5*zz)) + float64(float64(zz*zz)*p)
	switch octant & 7 {
	case 2:
		sin, cos = cos, -sin
	case 4:
		sin, cos = -sin, -cos
	case 6:
		sin, cos = -cos, sin
	}
	return sin, cos
}
