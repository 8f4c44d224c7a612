//go:build amd64 || arm64

package kernel

import "github.com/koinon-network/koinon/infra/engine/spec"

func quantize(x []float32, q []int8, scales []float32, sums blockSums, blocks, size int) {
	if !accelerated || blocks == 0 {
		quantizePortable(x, q, scales, sums, blocks, size)
		return
	}
	last := (blocks - 1) * size
	_, _, _ = x[blocks*spec.Block-1], q[(blocks*8-1)*4*size+3], scales[last]
	_, _, _ = sums.eights[last], sums.halves[last], sums.weighted[last]
	if size == 1 {
		quantizeBlocks(&x[0], &q[0], &scales[0], &sums.eights[0], &sums.halves[0], &sums.weighted[0], blocks)
	} else {
		quantizeStrided(&x[0], &q[0], &scales[0], &sums.eights[0], &sums.halves[0], &sums.weighted[0], blocks, 4*size)
	}
}

func softmax(x []float32) float32 {
	n := len(x) &^ 7
	if !accelerated || n != len(x) || n == 0 {
		return spec.Softmax(x)
	}
	var lanes spec.Lanes
	softmax8(&x[0], n, &lanes[0])
	return lanes.Total()
}

func rmsNorm(dst, x, weight []float32, eps float32) {
	n := len(x) &^ 7
	if !accelerated || n == 0 {
		spec.RMSNorm(dst, x, weight, eps)
		return
	}
	var lanes spec.Lanes
	sumSquares8(&x[0], n, &lanes[0])
	lanes.AddSquares(x[n:])
	inv := spec.RMSNormInverse(lanes.Total(), len(x), eps)
	scaleMul8(&dst[0], &x[0], &weight[0], n, inv)
	spec.RMSNormScale(dst[n:], x[n:], weight[n:], inv)
}

func addInto(dst, x []float32) {
	n := wholeVectors(x)
	if n > 0 {
		add8(&dst[0], &x[0], n)
	}
	spec.Add(dst[n:], x[n:])
}

func siluMul(gate, up []float32) {
	n := wholeVectors(gate)
	if n > 0 {
		siluMul8(&gate[0], &up[0], n)
	}
	spec.SiLUMul(gate[n:], up[n:])
}

func geluMul(gate, up []float32) {
	n := wholeVectors(gate)
	if n > 0 {
		geluMul8(&gate[0], &up[0], n)
	}
	spec.GELUMul(gate[n:], up[n:])
}

func softCap(x []float32, cap float32) {
	n := wholeVectors(x)
	if n > 0 {
		softCap8(&x[0], n, cap)
	}
	spec.SoftCap(x[n:], cap)
}

func expInto(x []float32) {
	n := wholeVectors(x)
	if n > 0 {
		exp8(&x[0], n)
	}
	expPortable(x[n:])
}

func scaleInto(x []float32, factor float32) {
	n := wholeVectors(x)
	if n > 0 {
		scale8(&x[0], n, factor)
	}
	scalePortable(x[n:], factor)
}

func rotate(x, cos, sin []float32, style spec.RoPEStyle) {
	half := len(cos)
	if !accelerated || half == 0 || half%8 != 0 {
		spec.Rotate(x, cos, sin, style)
		return
	}
	_, _ = x[2*half-1], sin[half-1]
	if style == spec.RoPENeoX {
		rotateHalves8(&x[0], &cos[0], &sin[0], half)
	} else {
		rotatePairs8(&x[0], &cos[0], &sin[0], 2*half)
	}
}

func finite(x []float32) bool {
	n := wholeVectors(x)
	return (n == 0 || finite8(&x[0], n)) && spec.Finite(x[n:])
}

func greatest(x []float32) float32 {
	n := wholeVectors(x)
	if n == 0 {
		return greatestPortable(x)
	}
	return max(greatest8(&x[0], n), greatestPortable(x[n:]))
}

// wholeVectors is how many leading elements of x the assembly may handle.
func wholeVectors(x []float32) int {
	if !accelerated {
		return 0
	}
	return len(x) &^ 7
}
