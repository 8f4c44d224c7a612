package spec

import (
	"encoding/binary"
	"math"
)

// Sizes in bytes of one block of 32 weights.
const (
	Q8Bytes = 34 // f16 scale, 32 int8
	Q4Bytes = 18 // f16 scale, 16 bytes: low nibbles are weights 0..15, high 16..31, each minus 8
)

// LinearQ8Step continues one output element of y = W x over blocks of a Q8_0
// row (LIN32). w holds len(scales) blocks in GGUF layout; q and scales are the
// quantised activations of the same columns. acc starts from +0.
//
//	for each block in order:  I = sum of w*q, an exact int32 (below 2^24)
//	acc = acc + f32(I) * (f32(weight scale) * activation scale)
//
// Both products and the sum are rounded on their own.
func LinearQ8Step(acc float32, w []byte, q []int8, scales []float32) float32 {
	for b, scale := range scales {
		block := w[b*Q8Bytes : b*Q8Bytes+Q8Bytes]
		sum := int32(0)
		for i, v := range q[b*Block : b*Block+Block] {
			sum += int32(int8(block[2+i])) * int32(v)
		}
		acc = accumulate(acc, sum, binary.LittleEndian.Uint16(block), scale)
	}
	return acc
}

// LinearQ4Step is LinearQ8Step for a Q4_0 row.
func LinearQ4Step(acc float32, w []byte, q []int8, scales []float32) float32 {
	for b, scale := range scales {
		block := w[b*Q4Bytes : b*Q4Bytes+Q4Bytes]
		x := q[b*Block : b*Block+Block]
		sum := int32(0)
		for i, v := range block[2:] {
			sum += (int32(v&15)-8)*int32(x[i]) + (int32(v>>4)-8)*int32(x[i+16])
		}
		acc = accumulate(acc, sum, binary.LittleEndian.Uint16(block), scale)
	}
	return acc
}

// LinearQ50Step is LinearQ8Step for a Q5_0 row.
func LinearQ50Step(acc float32, w []byte, q []int8, scales []float32) float32 {
	for b, scale := range scales {
		block := w[b*Q50Bytes : b*Q50Bytes+Q50Bytes]
		quants := QuantsQ50(block)
		acc = accumulate(acc, quants.Dot(q[b*Block:]), binary.LittleEndian.Uint16(block), scale)
	}
	return acc
}

func accumulate(acc float32, sum int32, weightScale uint16, scale float32) float32 {
	return acc + float32(float32(sum)*float32(HalfToFloat(weightScale)*scale))
}

// LinearF32Step continues one output element over the columns of a float32 row
// (little-endian), with the activations as they are: acc = acc + w*x,
// sequentially, product and sum rounded on their own.
func LinearF32Step(acc float32, w []byte, x []float32) float32 {
	for i, v := range x {
		acc += float32(math.Float32frombits(binary.LittleEndian.Uint32(w[4*i:])) * v)
	}
	return acc
}

// LinearF16Step is LinearF32Step for a float16 row, converted exactly.
func LinearF16Step(acc float32, w []byte, x []float32) float32 {
	for i, v := range x {
		acc += float32(HalfToFloat(binary.LittleEndian.Uint16(w[2*i:])) * v)
	}
	return acc
}

// LinearBF16Step is LinearF32Step for a bfloat16 row, converted exactly.
func LinearBF16Step(acc float32, w []byte, x []float32) float32 {
	for i, v := range x {
		acc += float32(BrainToFloat(binary.LittleEndian.Uint16(w[2*i:])) * v)
	}
	return acc
}
