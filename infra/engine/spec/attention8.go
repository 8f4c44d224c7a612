package spec

// QuantizedRows are key or value rows of one head as an int8 cache keeps them:
// every block of 32 elements quantised by [Quantize]. Q is [row][D], Scales are
// [row][D/32].
type QuantizedRows struct {
	Q      []int8
	Scales []float32
}

// QuantizeRows quantises rows whose length is a multiple of 32.
func QuantizeRows(x []float32) QuantizedRows {
	r := QuantizedRows{make([]int8, len(x)), make([]float32, len(x)/Block)}
	QuantizeRow(r.Q, r.Scales, x)
	return r
}

// AttentionScore8Step continues the score of a quantised query and a quantised
// key over blocks of 32 dimensions; acc starts from +0 (LIN32).
//
//	for each block in order:  I = sum of k*q, an exact int32
//	acc = acc + f32(I) * (key scale * query scale)
func AttentionScore8Step(acc float32, q []int8, qScales []float32, k []int8, kScales []float32) float32 {
	for b, scale := range qScales {
		sum := int32(0)
		for i, v := range q[b*Block : (b+1)*Block] {
			sum += int32(k[b*Block+i]) * int32(v)
		}
		acc += float32(float32(sum) * float32(kScales[b]*scale))
	}
	return acc
}

// AttentionWeight8 is the weight of a value block: the position's exponential
// times the block's scale, and +0 where the exponential is 0, so that what is
// not seen cannot matter.
func AttentionWeight8(exponential, scale float32) float32 {
	if exponential == 0 {
		return 0
	}
	return float32(exponential * scale)
}

// AttentionMix8Step continues the weighted sum of quantised values over whole
// blocks of 32 positions, in order; acc has the head dimension and starts from
// +0. weights are the exponentials of [Softmax], +0 for positions that are not
// seen; a last block may be shorter and counts as filled up with such.
//
//	for each block of 32 positions, for each block of 32 dimensions:
//	u[p] = weights[p] * value scale of p and the block    (see AttentionWeight8)
//	uq, us = Quantize(u)
//	acc[d] = acc[d] + f32(sum over p of uq[p]*v[p][d], an exact int32) * us
func AttentionMix8Step(acc, weights []float32, values QuantizedRows) {
	d := len(acc)
	blocks := d / Block
	var u [Block]float32
	var uq [Block]int8
	for first := 0; first < len(weights); first += Block {
		w := weights[first:min(first+Block, len(weights))]
		for b := range blocks {
			clear(u[:])
			for p, a := range w {
				u[p] = AttentionWeight8(a, values.Scales[(first+p)*blocks+b])
			}
			scale := Quantize(uq[:], u[:])
			for i := b * Block; i < (b+1)*Block; i++ {
				sum := int32(0)
				for p := range w {
					sum += int32(uq[p]) * int32(values.Q[(first+p)*d+i])
				}
				acc[i] += float32(float32(sum) * scale)
			}
		}
	}
}

// Attention8 is [AttentionWindow] over an int8 cache: keys and values hold
// len(scores) rows of len(q), which is a multiple of 32.
func Attention8(dst, q []float32, keys, values QuantizedRows, scores []float32, first int, scale, cap float32) {
	d := len(q)
	query := QuantizeRows(q)
	for p := first; p < len(scores); p++ {
		s := AttentionScore8Step(0, query.Q, query.Scales, keys.Q[p*d:(p+1)*d], keys.Scales[p*d/Block:(p+1)*d/Block])
		scores[p] = float32(s * scale)
	}
	if cap > 0 {
		SoftCap(scores[first:], cap)
	}
	for p := range first {
		scores[p] = MaxStart()
	}
	sum := Softmax(scores)
	clear(dst)
	AttentionMix8Step(dst, scores, values)
	AttentionFinish(dst, sum)
}
