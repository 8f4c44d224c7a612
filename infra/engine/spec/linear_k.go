package spec

import "encoding/binary"

const blocksK = Superblock / Block

// LinearQ4KStep continues one output element of y = W x over superblocks of a
// Q4_K row. w holds len(scales)/8 superblocks in GGUF layout; q and scales are
// the activations, quantised per 32 columns as for LinearQ8Step. acc starts
// from +0.
//
//	for each superblock in order:
//	  u = v = +0
//	  for its blocks of 32 columns in order:
//	    I = block's scale * sum of w*q, an exact int32 (below 2^24)
//	    u = u + f32(I) * activation scale
//	    v = v + f32(block's minimum) * BlockSum
//	  acc = acc + (f32(superblock's scale)*u - f32(superblock's minimum)*v)
//
// All products, sums and the difference are rounded on their own.
func LinearQ4KStep(acc float32, w []byte, q []int8, scales []float32) float32 {
	for ; len(scales) > 0; w, q, scales = w[Q4KBytes:], q[Superblock:], scales[blocksK:] {
		var u, v float32
		for b := range blocksK {
			quants := QuantsQ4K(w, b)
			u, v = accumulateK(u, v, &quants, w, b, q[b*Block:b*Block+Block], scales[b])
		}
		acc = finishK(acc, u, v, w)
	}
	return acc
}

// LinearQ5KStep is LinearQ4KStep for a Q5_K row.
func LinearQ5KStep(acc float32, w []byte, q []int8, scales []float32) float32 {
	for ; len(scales) > 0; w, q, scales = w[Q5KBytes:], q[Superblock:], scales[blocksK:] {
		var u, v float32
		for b := range blocksK {
			quants := QuantsQ5K(w, b)
			u, v = accumulateK(u, v, &quants, w, b, q[b*Block:b*Block+Block], scales[b])
		}
		acc = finishK(acc, u, v, w)
	}
	return acc
}

func accumulateK(u, v float32, quants *Quants, superblock []byte, b int, x []int8, scale float32) (float32, float32) {
	s, m := ScaleK(superblock, b)
	u += float32(float32(s*quants.Dot(x)) * scale)
	v += float32(float32(m) * BlockSum(x, scale))
	return u, v
}

func finishK(acc, u, v float32, superblock []byte) float32 {
	d, m := HalfToFloat(binary.LittleEndian.Uint16(superblock)), HalfToFloat(binary.LittleEndian.Uint16(superblock[2:]))
	return acc + float32(float32(d*u)-float32(m*v))
}

// LinearQ6KStep is LinearQ4KStep for a Q6_K row, whose scales are for 16
// columns and which has no minima:
//
//	I = first scale * sum of w*q over 16 columns + second scale * sum over the other 16
//	u = u + f32(I) * activation scale
//	acc = acc + f32(superblock's scale) * u
//
// |I| is below 2^24 too: 32 * 128 * 32 * 127.
func LinearQ6KStep(acc float32, w []byte, q []int8, scales []float32) float32 {
	for ; len(scales) > 0; w, q, scales = w[Q6KBytes:], q[Superblock:], scales[blocksK:] {
		u := float32(0)
		for b := range blocksK {
			quants := QuantsQ6K(w, b)
			var half [2]int32
			for i, x := range q[b*Block : b*Block+Block] {
				half[i/16] += quants[i] * int32(x)
			}
			sum := ScaleQ6K(w, 2*b)*half[0] + ScaleQ6K(w, 2*b+1)*half[1]
			u += float32(float32(sum) * scales[b])
		}
		acc += float32(HalfToFloat(binary.LittleEndian.Uint16(w[Q6KBytes-2:])) * u)
	}
	return acc
}
