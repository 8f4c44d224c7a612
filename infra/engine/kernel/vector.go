package kernel

// RMSNorm sets dst = x / sqrt(mean(x^2) + eps) * weight; equal lengths, dst may
// be x. See spec.RMSNorm.
func RMSNorm(dst, x, weight []float32, eps float32) {
	sameLength(dst, x)
	sameLength(weight, x)
	rmsNorm(dst, x, weight, eps)
}

// AddInto sets dst[i] += x[i]: residual connection and bias. Equal lengths.
func AddInto(dst, x []float32) {
	sameLength(dst, x)
	addInto(dst, x)
}

// SiLUMul sets gate[i] = SiLU(gate[i]) * up[i]. Equal lengths. See spec.SiLUMul.
func SiLUMul(gate, up []float32) {
	sameLength(gate, up)
	siluMul(gate, up)
}

// Exp replaces every element of x by its exponential. See spec.Exp.
func Exp(x []float32) { expInto(x) }

// Softmax replaces x by exp(x - max(x)) and returns the sum; multiply by its
// inverse to normalise. See spec.Softmax.
func Softmax(x []float32) (sum float32) { return softmax(x) }

// Scale multiplies every element of x by factor.
func Scale(x []float32, factor float32) { scaleInto(x, factor) }

// Finite reports whether no element is NaN or infinite. Boundary values and
// logits must be, or the evaluation is invalid.
func Finite(x []float32) bool { return finite(x) }

func sameLength(a, b []float32) {
	if len(a) != len(b) {
		panic("kernel: vectors of different length")
	}
}
