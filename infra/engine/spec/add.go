package spec

// Add sets dst[i] = dst[i] + x[i]: the residual connection and the bias.
func Add(dst, x []float32) {
	for i, v := range x {
		dst[i] = dst[i] + v
	}
}
