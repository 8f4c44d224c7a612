package spec

// AttentionScale returns 1/sqrt(headDim), the factor of every score.
func AttentionScale(headDim int) float32 { return 1 / Sqrt(float32(headDim)) }

// AttentionScore returns (q . k) * scale for one query and one key of the same
// head: the products are added sequentially over the head dimension, from +0,
// and the sum is then multiplied.
func AttentionScore(q, k []float32, scale float32) float32 {
	return float32(AttentionScoreStep(0, q, k) * scale)
}

// AttentionScoreStep continues the sum of a score over some dimensions.
func AttentionScoreStep(acc float32, q, k []float32) float32 {
	for i, v := range q {
		acc += float32(v * k[i])
	}
	return acc
}

// AttentionMixStep continues the weighted sum of values over positions, in
// order: acc[d] += weights[p] * values[p*stride+d]. acc has the head dimension
// and starts from +0; weights are the exponentials of [Softmax].
func AttentionMixStep(acc, weights, values []float32, stride int) {
	for p, w := range weights {
		row := values[p*stride : p*stride+len(acc)]
		for d, v := range row {
			acc[d] += float32(w * v)
		}
	}
}

// AttentionFinish multiplies acc by 1/sum.
func AttentionFinish(acc []float32, sum float32) {
	inv := 1 / sum
	for d := range acc {
		acc[d] = float32(acc[d] * inv)
	}
}

// Attention is one head's answer for one query: keys and values hold n rows of
// len(q) (the causal mask is the choice of n), scores is scratch of length n.
// dst must not overlap q.
func Attention(dst, q, keys, values, scores []float32, scale float32) {
	AttentionWindow(dst, q, keys, values, scores, 0, scale, 0)
}

// AttentionWindow is Attention in a sliding window: positions before first are
// not seen, which is to say that their exponentials are +0. (So the lane of a
// position in the softmax's sum does not depend on where the window begins.)
// With a positive cap every scaled score goes through [SoftCap].
func AttentionWindow(dst, q, keys, values, scores []float32, first int, scale, cap float32) {
	d := len(q)
	for p := first; p < len(scores); p++ {
		scores[p] = AttentionScore(q, keys[p*d:p*d+d], scale)
	}
	if cap > 0 {
		SoftCap(scores[first:], cap)
	}
	for p := range first {
		scores[p] = MaxStart()
	}
	sum := Softmax(scores)
	clear(dst)
	AttentionMixStep(dst, scores[first:], values[first*d:], d)
	AttentionFinish(dst, sum)
}

// WindowStart is the first position that a query sees in a window of that many
// positions, its own included; 0 stands for no window.
func WindowStart(position, window int) int {
	if window == 0 || position < window {
		return 0
	}
	return position - window + 1
}
