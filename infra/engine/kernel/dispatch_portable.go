package kernel

import "github.com/koinon-network/koinon/infra/engine/spec"

func quantize(x []float32, q []int8, scales []float32, sums []int32, blocks int) {
	quantizePortable(x, q, scales, sums, blocks)
}

func (m *Matrix) multiply(a *Activations, out []float32, stride, p0, p1 int) {
	m.multiplyPortable(a, out, stride, p0, p1)
}

func scores(dst []float32, ld int, q []float32, heads, dim int, keys []float32, panels int, scale float32) {
	scoresPortable(dst, ld, q, heads, dim, keys, panels, scale)
}

func mix(dst, weights []float32, ld, heads, dim int, values []float32, n int) {
	mixPortable(dst, weights, ld, heads, dim, values, n)
}

func softmax(x []float32) float32 { return spec.Softmax(x) }
