package spec

import "math"

// Block is the number of consecutive columns that share one scale.
const Block = 32

// smallest is 2^-100: below it a block of activations counts as zero.
const smallest = 0x0d800000

// Quantize turns one block of 32 activations into int8 with a scale.
//
//	m = the largest |x|, compared by the bits without the sign
//	m < 2^-100:      scale = +0, q = 0
//	m not finite:    scale = NaN, q = 0 (the outcome is invalid)
//	otherwise:       scale = m/127, id = 1/scale, q = RNE(x*id)
//
// |q| never exceeds 127. len(q) = len(x) = 32.
func Quantize(q []int8, x []float32) (scale float32) {
	top := uint32(0)
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7fffffff)
	}
	if top < smallest || top >= 0x7f800000 {
		clear(q)
		if top < smallest {
			return 0
		}
		return math.Float32frombits(0x7fc00000)
	}
	scale = math.Float32frombits(top) / 127
	id := 1 / scale
	for i, v := range x {
		q[i] = int8(math.RoundToEven(float64(float32(v * id))))
	}
	return scale
}

// QuantizeRow quantises a row whose length is a multiple of 32, block by
// block; scales has one element per block.
func QuantizeRow(q []int8, scales, x []float32) {
	for b := range scales {
		scales[b] = Quantize(q[b*Block:b*Block+Block], x[b*Block:b*Block+Block])
	}
}
