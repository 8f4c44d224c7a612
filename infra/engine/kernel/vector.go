package kernel

import "github.com/koinon-network/koinon/infra/engine/spec"

// RMSNorm sets dst = x / sqrt(mean(x^2) + eps) * weight; equal lengths, dst may
// be x. See spec.RMSNorm.
func RMSNorm(dst, x, weight []float32, eps float32) { spec.RMSNorm(dst, x, weight, eps) }

// AddInto sets dst[i] += x[i]: residual connection and bias.
func AddInto(dst, x []float32) { spec.Add(dst, x) }

// SiLUMul sets gate[i] = SiLU(gate[i]) * up[i].
func SiLUMul(gate, up []float32) { spec.SiLUMul(gate, up) }

// Exp sets x[i] to e^x[i].
func Exp(x []float32) {
	for i, v := range x {
		x[i] = spec.Exp(v)
	}
}

// Finite reports whether no element is NaN or infinite. Boundary values and
// logits must be, or the evaluation is invalid.
func Finite(x []float32) bool { return spec.Finite(x) }
