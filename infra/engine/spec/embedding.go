package spec

import (
	"encoding/binary"
	"math"
)

// DequantizeQ8 sets dst to a Q8_0 row: f32(scale) * f32(q), one rounding.
// len(dst) is a multiple of 32. This is the embedding of a token.
func DequantizeQ8(dst []float32, row []byte) {
	for b := 0; b*Block < len(dst); b++ {
		block := row[b*Q8Bytes : b*Q8Bytes+Q8Bytes]
		scale := HalfToFloat(binary.LittleEndian.Uint16(block))
		for i := range Block {
			dst[b*Block+i] = float32(scale * float32(int8(block[2+i])))
		}
	}
}

// DequantizeQ4 sets dst to a Q4_0 row: f32(scale) * f32(q - 8), one rounding.
func DequantizeQ4(dst []float32, row []byte) {
	for b := 0; b*Block < len(dst); b++ {
		block := row[b*Q4Bytes : b*Q4Bytes+Q4Bytes]
		scale := HalfToFloat(binary.LittleEndian.Uint16(block))
		for i := range Block / 2 {
			dst[b*Block+i] = float32(scale * float32(int32(block[2+i]&15)-8))
			dst[b*Block+16+i] = float32(scale * float32(int32(block[2+i]>>4)-8))
		}
	}
}

// DequantizeQ50 sets dst to a Q5_0 row: f32(scale) * f32(q - 16), one rounding.
func DequantizeQ50(dst []float32, row []byte) {
	for b := 0; b*Block < len(dst); b++ {
		block := row[b*Q50Bytes : b*Q50Bytes+Q50Bytes]
		quants, scale := QuantsQ50(block), HalfToFloat(binary.LittleEndian.Uint16(block))
		for i, q := range quants {
			dst[b*Block+i] = float32(scale * float32(q))
		}
	}
}

// DequantizeQ41 sets dst to a Q4_1 row: f32(scale)*f32(q) + f32(minimum),
// product and sum rounded.
func DequantizeQ41(dst []float32, row []byte) {
	for b := 0; b*Block < len(dst); b++ {
		block := row[b*Q41Bytes : b*Q41Bytes+Q41Bytes]
		dequantizeMin(dst[b*Block:], QuantsQ41(block), block)
	}
}

// DequantizeQ51 is DequantizeQ41 for a Q5_1 row.
func DequantizeQ51(dst []float32, row []byte) {
	for b := 0; b*Block < len(dst); b++ {
		block := row[b*Q51Bytes : b*Q51Bytes+Q51Bytes]
		dequantizeMin(dst[b*Block:], QuantsQ51(block), block)
	}
}

func dequantizeMin(dst []float32, quants Quants, block []byte) {
	scale, minimum := HalfToFloat(binary.LittleEndian.Uint16(block)), HalfToFloat(binary.LittleEndian.Uint16(block[2:]))
	for i, q := range quants {
		dst[i] = float32(scale*float32(q)) + minimum
	}
}

// DequantizeQ4K sets dst to a Q4_K row: with the scales and minima of superblock
// and block, (f32(scale)*f32(scale of 32)) * f32(q) - f32(minimum)*f32(minimum
// of 32). The products are exact, the difference is rounded. len(dst) is a
// multiple of 256.
func DequantizeQ4K(dst []float32, row []byte) {
	for ; len(dst) > 0; dst, row = dst[Superblock:], row[Q4KBytes:] {
		for b := range blocksK {
			dequantizeK(dst[b*Block:], QuantsQ4K(row, b), row, b)
		}
	}
}

// DequantizeQ5K is DequantizeQ4K for a Q5_K row.
func DequantizeQ5K(dst []float32, row []byte) {
	for ; len(dst) > 0; dst, row = dst[Superblock:], row[Q5KBytes:] {
		for b := range blocksK {
			dequantizeK(dst[b*Block:], QuantsQ5K(row, b), row, b)
		}
	}
}

func dequantizeK(dst []float32, quants Quants, superblock []byte, b int) {
	s, m := ScaleK(superblock, b)
	scale := float32(HalfToFloat(binary.LittleEndian.Uint16(superblock)) * float32(s))
	minimum := float32(HalfToFloat(binary.LittleEndian.Uint16(superblock[2:])) * float32(m))
	for i, q := range quants {
		dst[i] = float32(scale*float32(q)) - minimum
	}
}

// DequantizeQ6K sets dst to a Q6_K row: (f32(scale)*f32(scale of 16)) * f32(q),
// exact but where it underflows. len(dst) is a multiple of 256.
func DequantizeQ6K(dst []float32, row []byte) {
	for ; len(dst) > 0; dst, row = dst[Superblock:], row[Q6KBytes:] {
		d := HalfToFloat(binary.LittleEndian.Uint16(row[Q6KBytes-2:]))
		for b := range blocksK {
			for i, q := range QuantsQ6K(row, b) {
				scale := float32(d * float32(ScaleQ6K(row, 2*b+i/16)))
				dst[b*Block+i] = float32(scale * float32(q))
			}
		}
	}
}

// DecodeBF16 sets dst to a bfloat16 row (little-endian); exact.
func DecodeBF16(dst []float32, row []byte) {
	for i := range dst {
		dst[i] = BrainToFloat(binary.LittleEndian.Uint16(row[2*i:]))
	}
}

// DecodeF16 sets dst to a float16 row (little-endian); exact.
func DecodeF16(dst []float32, row []byte) {
	for i := range dst {
		dst[i] = HalfToFloat(binary.LittleEndian.Uint16(row[2*i:]))
	}
}

// DecodeF32 sets dst to a float32 row (little-endian); exact.
func DecodeF32(dst []float32, row []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(row[4*i:]))
	}
}
