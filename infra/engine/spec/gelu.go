package spec

// GELUMul sets gate[i] = GELU(gate[i]) * up[i], the gated activation of Gemma's
// feed-forward layer. Both have the same length.
func GELUMul(gate, up []float32) {
	for i, g := range gate {
		gate[i] = float32(GELU(g) * up[i])
	}
}

// GELU is the Gaussian error linear unit in its tanh form, written with one
// exponential: x * (1 + tanh(u))/2 = x / (1 + e^-2u) for
// u = sqrt(2/pi) * (x + 0.044715 x^3).
//
//	z = x * (x*x*a + b)       a = 0.044715 * 2 sqrt(2/pi), b = 2 sqrt(2/pi)
//	result = x / (1 + Exp(-z)), a true division
//
// each operation rounded on its own. For very negative x the exponential is
// clamped at e^88, so that the result is a tiny number and not zero; NaN gives
// NaN.
func GELU(x float32) float32 {
	const a, b = float32(0.07135481627), float32(1.59576912161)
	p := float32(float32(x*x)*a) + b
	z := float32(x * p)
	return float32(x / float32(1+Exp(-z)))
}
