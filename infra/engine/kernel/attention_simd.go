//go:build amd64 || arm64

package kernel

type (
	scoreKernel func(q, keys, dst *float32, dim, panels, ld int, scale float32)
	mixKernel   func(weights, values, dst *float32, n, dim, ld, vectors int)
)

// The kernels by number of query heads that share a key-value head: width
// panels or vectors at a time for few heads, and one at a time.
var attentionKernels = [9]struct {
	width  int
	scores [2]scoreKernel
	mix    [2]mixKernel
}{
	1: {8, [2]scoreKernel{scores1x8, scores1x1}, [2]mixKernel{mix1x8, mix1x1}},
	2: {4, [2]scoreKernel{scores2x4, scores2x1}, [2]mixKernel{mix2x4, mix2x1}},
	3: {2, [2]scoreKernel{scores3x2, scores3x1}, [2]mixKernel{mix3x2, mix3x1}},
	4: {2, [2]scoreKernel{scores4x2, scores4x1}, [2]mixKernel{mix4x2, mix4x1}},
	5: {1, [2]scoreKernel{scores5x1, scores5x1}, [2]mixKernel{mix5x1, mix5x1}},
	6: {1, [2]scoreKernel{scores6x1, scores6x1}, [2]mixKernel{mix6x1, mix6x1}},
	7: {1, [2]scoreKernel{scores7x1, scores7x1}, [2]mixKernel{mix7x1, mix7x1}},
	8: {1, [2]scoreKernel{scores8x1, scores8x1}, [2]mixKernel{mix8x1, mix8x1}},
}

// headsTogether is how many of the remaining heads one kernel call takes.
func headsTogether(rest int) int {
	if rest > 8 && rest < 16 { // even halves beat eight and a few
		return (rest + 1) / 2
	}
	return min(rest, 8)
}

// scores sets dst[g*ld+p] for whole panels of 8 keys [panel][dim][8].
func scores(dst []float32, ld int, q []float32, heads, dim int, keys []float32, panels int, scale float32) {
	if !accelerated || dim == 0 {
		scoresPortable(dst, ld, q, heads, dim, keys, panels, scale)
		return
	}
	_, _, _ = dst[(heads-1)*ld+panels*8-1], q[heads*dim-1], keys[panels*dim*8-1]
	for h := 0; h < heads; {
		n := headsTogether(heads - h)
		k := &attentionKernels[n]
		many := panels / k.width * k.width
		if many > 0 {
			k.scores[0](&q[h*dim], &keys[0], &dst[h*ld], dim, many, ld, scale)
		}
		if many < panels {
			k.scores[1](&q[h*dim], &keys[many*dim*8], &dst[h*ld+many*8], dim, panels-many, ld, scale)
		}
		h += n
	}
}

// mix adds weights[g*ld+p] * values[p*dim:][:dim] to dst[g*dim:][:dim] for
// positions p = 0 to n-1 in order.
func mix(dst, weights []float32, ld, heads, dim int, values []float32, n int) {
	if !accelerated || dim%8 != 0 || dim == 0 {
		mixPortable(dst, weights, ld, heads, dim, values, n)
		return
	}
	_, _, _ = dst[heads*dim-1], weights[(heads-1)*ld+n-1], values[n*dim-1]
	vectors := dim / 8
	for h := 0; h < heads; {
		together := headsTogether(heads - h)
		k := &attentionKernels[together]
		many := vectors / k.width * k.width
		if many > 0 {
			k.mix[0](&weights[h*ld], &values[0], &dst[h*dim], n, dim, ld, many)
		}
		if many < vectors {
			k.mix[1](&weights[h*ld], &values[many*8], &dst[h*dim+many*8], n, dim, ld, vectors-many)
		}
		h += together
	}
}
