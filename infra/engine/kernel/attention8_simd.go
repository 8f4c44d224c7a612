//go:build amd64 || arm64

package kernel

import "github.com/koinon-network/koinon/infra/engine/spec"

// The kernels of int8 pages by number of query heads.
var (
	scoreQuantKernels = [5]func(q *int8, qs *float32, keys *int8, ks, dst *float32, blocks, panels, ld int, scale float32){
		1: scoreQuants1, 2: scoreQuants2, 3: scoreQuants3, 4: scoreQuants4}
	mixQuantKernels = [5]func(u *int8, us *float32, values *int8, dst *float32, panels, ldu, ldus, ldd int){
		1: mixQuants1, 2: mixQuants2, 3: mixQuants3, 4: mixQuants4}
)

// quantHeadsTogether is how many of the remaining heads one kernel call takes.
func quantHeadsTogether(rest int) int {
	if rest > 4 && rest < 8 { // even halves beat four and a few
		return (rest + 1) / 2
	}
	return min(rest, 4)
}

// scoreQuants sets dst[g*ld+p] for whole panels of 8 keys.
func scoreQuants(dst []float32, ld int, q []int8, qScales []float32, heads, blocks int, keys []int8, scales []float32, panels int, scale float32) {
	if !dotQuants() {
		scoreQuantsPortable(dst, ld, q, qScales, heads, blocks, keys, scales, panels, scale)
		return
	}
	_, _, _ = dst[(heads-1)*ld+panels*8-1], q[heads*blocks*spec.Block-1], qScales[heads*blocks-1]
	_, _ = keys[panels*blocks*256-1], scales[panels*blocks*8-1]
	for h := 0; h < heads; {
		n := quantHeadsTogether(heads - h)
		scoreQuantKernels[n](&q[h*blocks*spec.Block], &qScales[h*blocks], &keys[0], &scales[0], &dst[h*ld], blocks, panels, ld, scale)
		h += n
	}
}

// weighQuants quantises weights times value scales, for 64 positions.
func weighQuants(u []int8, us, weights, scales []float32, blocks int) {
	if !accelerated {
		weighQuantsPortable(u, us, weights, scales, blocks)
		return
	}
	_, _, _, _ = u[blocks*PageTokens-1], us[2*blocks-1], weights[PageTokens-1], scales[blocks*PageTokens-1]
	weighQuants8(&weights[0], &scales[0], &u[0], &us[0], blocks)
}

// mixQuants adds the weighted values of a page to dst[g*dim:][:dim].
func mixQuants(dst []float32, heads, blocks int, u []int8, us []float32, values []int8) {
	if !dotQuants() {
		mixQuantsPortable(dst, heads, blocks, u, us, values)
		return
	}
	dim := blocks * spec.Block
	_, _, _, _ = dst[heads*dim-1], u[heads*blocks*PageTokens-1], us[heads*blocks*2-1], values[PageTokens*dim-1]
	for h := 0; h < heads; {
		n := quantHeadsTogether(heads - h)
		for b := range blocks {
			at := h*blocks + b
			mixQuantKernels[n](&u[at*PageTokens], &us[2*at], &values[b*spec.Block*PageTokens], &dst[h*dim+b*spec.Block],
				spec.Block/8, blocks*PageTokens, 2*blocks, dim)
		}
		h += n
	}
}
