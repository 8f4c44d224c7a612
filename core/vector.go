package core

import (
	"encoding/binary"
	"errors"
	"math"
)

// MaxVector bounds the numbers of an embedding.
const MaxVector = 1 << 16

// EncodeVector writes an embedding as little-endian float32.
func EncodeVector(v []float32) Bytes {
	b := make(Bytes, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// DecodeVector reads what [EncodeVector] wrote: 1 to [MaxVector] finite numbers
// whose squares add up to 1 within a thousandth.
func DecodeVector(b Bytes) ([]float32, error) {
	if len(b) == 0 || len(b)%4 != 0 || len(b)/4 > MaxVector {
		return nil, errors.New("an embedding has 1 to 65536 numbers of 4 bytes")
	}
	v := make([]float32, len(b)/4)
	norm := 0.0
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		if x := float64(v[i]); math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, errors.New("an embedding holds a number that is not finite")
		}
		norm += float64(float64(v[i]) * float64(v[i]))
	}
	if math.Abs(norm-1) > 1e-3 {
		return nil, errors.New("an embedding is not of unit length")
	}
	return v, nil
}
