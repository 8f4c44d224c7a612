//go:build !amd64 && !arm64

package kernel

func scoreQuants(dst []float32, ld int, q []int8, qScales []float32, heads, blocks int, keys []int8, scales []float32, panels int, scale float32) {
	scoreQuantsPortable(dst, ld, q, qScales, heads, blocks, keys, scales, panels, scale)
}

func weighQuants(u []int8, us, weights, scales []float32, blocks int) {
	weighQuantsPortable(u, us, weights, scales, blocks)
}

func mixQuants(dst []float32, heads, blocks int, u []int8, us []float32, values []int8) {
	mixQuantsPortable(dst, heads, blocks, u, us, values)
}
