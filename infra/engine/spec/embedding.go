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
