package spec

import "encoding/binary"

// BlockSum is what a block of quantised activations weighs against a minimum:
// f32(sum of q) * scale. The sum is an exact int32, at most 32*127.
func BlockSum(q []int8, scale float32) float32 {
	sum := int32(0)
	for _, v := range q[:Block] {
		sum += int32(v)
	}
	return float32(float32(sum) * scale)
}

// LinearQ41Step continues one output element of y = W x over blocks of a Q4_1
// row: LIN32 with a minimum. Arguments are those of LinearQ8Step.
//
//	for each block in order:  I = sum of w*q, an exact int32 (below 2^24)
//	acc = acc + (f32(I) * (f32(weight scale) * activation scale) + f32(minimum) * BlockSum)
//
// All products and sums are rounded on their own.
func LinearQ41Step(acc float32, w []byte, q []int8, scales []float32) float32 {
	for b, scale := range scales {
		block, x := w[b*Q41Bytes:b*Q41Bytes+Q41Bytes], q[b*Block:b*Block+Block]
		quants := QuantsQ41(block)
		acc = accumulateMin(acc, quants.Dot(x), block, x, scale)
	}
	return acc
}

// LinearQ51Step is LinearQ41Step for a Q5_1 row.
func LinearQ51Step(acc float32, w []byte, q []int8, scales []float32) float32 {
	for b, scale := range scales {
		block, x := w[b*Q51Bytes:b*Q51Bytes+Q51Bytes], q[b*Block:b*Block+Block]
		quants := QuantsQ51(block)
		acc = accumulateMin(acc, quants.Dot(x), block, x, scale)
	}
	return acc
}

func accumulateMin(acc float32, sum int32, block []byte, x []int8, scale float32) float32 {
	weightScale, minimum := HalfToFloat(binary.LittleEndian.Uint16(block)), HalfToFloat(binary.LittleEndian.Uint16(block[2:]))
	product := float32(float32(sum) * float32(weightScale*scale))
	return acc + float32(product+float32(minimum*BlockSum(x, scale)))
}
