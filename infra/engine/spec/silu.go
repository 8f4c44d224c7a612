package spec

// SiLUMul sets gate[i] = SiLU(gate[i]) * up[i], the gated activation of the
// feed-forward layer. Both have the same length.
//
//	s = gate / (1 + Exp(-gate)), a true division
//	gate = s * up
//
// For gate <= -88 the exponential is clamped at e^88, so that the result is
// a tiny number and not zero; NaN and Inf in gate give NaN or Inf.
func SiLUMul(gate, up []float32) {
	for i, g := range gate {
		gate[i] = float32(SiLU(g) * up[i])
	}
}

// SiLU returns x / (1 + Exp(-x)).
func SiLU(x float32) float32 { return float32(x / float32(1+Exp(-x))) }
