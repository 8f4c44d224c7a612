package spec

import "math"

// Finite reports whether no element of x is NaN or infinite. The boundary
// values and logits of an evaluation must pass; otherwise its outcome is
// "invalid".
func Finite(x []float32) bool {
	for _, v := range x {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
