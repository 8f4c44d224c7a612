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

// GELUMul sets gate[i] = GELU(gate[i]) * up[i]. Equal lengths. See spec.GELUMul.
func GELUMul(gate, up []float32) {
	sameLength(gate, up)
	geluMul(gate, up)
}

// SoftCap replaces every x[i] by cap * tanh(x[i]/cap). See spec.SoftCap.
func SoftCap(x []float32, cap float32) { softCap(x, cap) }

// MixExpert sets dst[i] += weight * answer[i]. Equal lengths. See spec.MixExpert.
func MixExpert(dst, answer []float32, weight float32) {
	sameLength(dst, answer)
	mix(dst, []float32{weight}, 1, 1, len(dst), answer, 1)
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

// Greatest is the greatest number of x, or -Inf where there is none; a NaN is not
// a number. Of zeros of both signs it may return either.
func Greatest(x []float32) float32 { return greatest(x) }

func sameLength(a, b []float32) {
	if len(a) != len(b) {
		panic("kernel: vectors of different length")
	}
}
