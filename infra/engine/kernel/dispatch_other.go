//go:build !amd64 && !arm64

package kernel

import "github.com/koinon-network/koinon/infra/engine/spec"

// Architectures without assembly of their own run the portable forms.

func useInstructions(string) {}

func processorSets() []string { return nil }

func quantize(x []float32, q []int8, scales []float32, sums blockSums, blocks, size int) {
	quantizePortable(x, q, scales, sums, blocks, size)
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

func rmsNorm(dst, x, weight []float32, eps float32) { spec.RMSNorm(dst, x, weight, eps) }

func addInto(dst, x []float32) { spec.Add(dst, x) }

func siluMul(gate, up []float32) { spec.SiLUMul(gate, up) }

func geluMul(gate, up []float32) { spec.GELUMul(gate, up) }

func softCap(x []float32, cap float32) { spec.SoftCap(x, cap) }

func expInto(x []float32) { expPortable(x) }

func scaleInto(x []float32, factor float32) { scalePortable(x, factor) }

func rotate(x, cos, sin []float32, style spec.RoPEStyle) { spec.Rotate(x, cos, sin, style) }

func finite(x []float32) bool { return spec.Finite(x) }

func greatest(x []float32) float32 { return greatestPortable(x) }
