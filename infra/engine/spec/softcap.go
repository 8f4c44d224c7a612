package spec

import "math"

// SoftCap replaces every x[i] by cap * Tanh(x[i]/cap), with a true division:
// what Gemma 2 does to attention scores and logits. cap is positive. An
// infinite x gives cap with its sign, NaN stays NaN.
func SoftCap(x []float32, cap float32) {
	for i, v := range x {
		x[i] = float32(Tanh(float32(v/cap)) * cap)
	}
}

// Tanh is the hyperbolic tangent. With z = |x|:
//
//	z >= 0.625:  r = 1 - 2/(Exp(z+z) + 1)
//	else:        w = z*z;  r = (((((t0*w + t1)*w + t2)*w + t3)*w + t4)*w)*z + z
//
// and the result is r with the sign of x. Every operation is rounded on its
// own. The constants are those of Cephes tanhf. NaN takes the second branch and
// stays NaN.
func Tanh(x float32) float32 {
	const (
		t0, t1, t2 = float32(-5.70498872745e-3), float32(2.06390887954e-2), float32(-5.37397155531e-2)
		t3, t4     = float32(1.33314422036e-1), float32(-3.33332819422e-1)

		sign = 1 << 31
	)
	bits := math.Float32bits(x)
	z := math.Float32frombits(bits &^ sign)
	var r float32
	if z >= 0.625 {
		r = 1 - float32(2/(Exp(z+z)+1))
	} else {
		w := float32(z * z)
		p := float32(t0*w) + t1
		p = float32(p*w) + t2
		p = float32(p*w) + t3
		p = float32(p*w) + t4
		r = float32(float32(p*w)*z) + z
	}
	return math.Float32frombits(math.Float32bits(r) | bits&sign)
}

// Sigmoid returns 1 / (1 + Exp(-x)): the gate of a shared expert.
func Sigmoid(x float32) float32 { return float32(1 / float32(1+Exp(-x))) }
