package spec

import "math"

// PoolStep continues the sum of hidden states over positions, in order:
// acc[d] += row[d]. acc starts from +0.
func PoolStep(acc, row []float32) {
	for d, v := range row {
		acc[d] += v
	}
}

// PoolMean divides the sum of n rows by n, below 2^24: acc[d] = acc[d] / n.
func PoolMean(acc []float32, n int) {
	for d, v := range acc {
		acc[d] = v / float32(n)
	}
}

// Unit scales x to Euclidean length 1 in place.
//
//	s = sum of squares, in lanes and tree (see [Lanes])
//	x[d] = x[d] / sqrt(s)
//
// It reports false, and leaves x as it is, when s is zero or not finite: the
// outcome is invalid.
func Unit(x []float32) bool {
	var lanes Lanes
	lanes.AddSquares(x)
	s := lanes.Total()
	if !(s > 0) || math.Float32bits(s) >= 0x7f800000 {
		return false
	}
	length := Sqrt(s)
	for d, v := range x {
		x[d] = v / length
	}
	return true
}
