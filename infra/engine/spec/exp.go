package spec

import "math"

// Exp returns e^x.
//
//	x < -87 or NaN: +0;  x > 88: as x = 88
//	n = RNE(x * log2e), by adding and subtracting 1.5 * 2^23
//	r = (x - n*c1) - n*c2          c1 + c2 = ln 2, n*c1 exact
//	p = ((((p0*r + p1)*r + p2)*r + p3)*r + p4)*r + p5
//	p = (p*(r*r) + r) + 1
//	result = p * 2^n, by adding n to the exponent field of p
//
// Every multiplication and addition is rounded on its own. The constants are
// those of Cephes expf. The error is below 1 unit in the last place; Exp(0)
// and Exp(-0) are 1.
func Exp(x float32) float32 {
	const (
		lowest, highest = float32(-87), float32(88)
		log2e           = float32(1.44269504088896341)
		magic           = float32(12582912)
		c1, c2          = float32(0.693359375), float32(-2.12194440e-4)
		p0, p1, p2      = float32(1.9875691500e-4), float32(1.3981999507e-3), float32(8.3334519073e-3)
		p3, p4, p5      = float32(4.1665795894e-2), float32(1.6666665459e-1), float32(5.0000001201e-1)
	)
	if !(x >= lowest) {
		return 0
	}
	if x > highest {
		x = highest
	}
	n := float32(float32(x*log2e)+magic) - magic
	r := float32(x - float32(n*c1))
	r = float32(r - float32(n*c2))
	p := float32(p0*r) + p1
	p = float32(p*r) + p2
	p = float32(p*r) + p3
	p = float32(p*r) + p4
	p = float32(p*r) + p5
	p = float32(p*float32(r*r)) + r
	p = p + 1
	return math.Float32frombits(math.Float32bits(p) + uint32(int32(n))<<23)
}
