package spec

import "math"

// RMSNorm sets dst = x / sqrt(mean(x^2) + eps) * weight. All three have the
// same length n, below 2^24; dst may be x.
//
//	s = sum of squares, in lanes and tree (see [Lanes])
//	inv = 1 / sqrt(s/n + eps)
//	dst[i] = (x[i]*inv) * weight[i]
//
// A sum that overflows gives inv = 0 and hence zeros.
func RMSNorm(dst, x, weight []float32, eps float32) {
	var lanes Lanes
	lanes.AddSquares(x)
	RMSNormScale(dst, x, weight, RMSNormInverse(lanes.Total(), len(x), eps))
}

// RMSNormInverse returns 1 / sqrt(sumOfSquares/n + eps), each operation
// rounded to float32.
func RMSNormInverse(sumOfSquares float32, n int, eps float32) float32 {
	mean := float32(sumOfSquares / float32(n))
	return 1 / Sqrt(mean+eps)
}

// RMSNormScale sets dst[i] = (x[i]*inv) * weight[i]: the second half of
// RMSNorm, which splits anywhere.
func RMSNormScale(dst, x, weight []float32, inv float32) {
	for i, v := range x {
		dst[i] = float32(float32(v*inv) * weight[i])
	}
}

// Sqrt is the correctly rounded float32 square root.
func Sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }
