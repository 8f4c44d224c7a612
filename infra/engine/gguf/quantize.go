package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Quantize encodes values as a usable type: a row, or any whole number of
// blocks (see Type.Block). Every value must be finite and in the type's range.
// spec/model.md defines the bytes; they are the same on every machine.
func Quantize(t Type, values []float32) ([]byte, error) {
	if !t.Usable() {
		return nil, fmt.Errorf("gguf: cannot quantise to %v", t)
	}
	block, size := t.Block()
	if len(values)%block != 0 {
		return nil, fmt.Errorf("gguf: %d values are no whole number of %v blocks", len(values), t)
	}
	for _, x := range values {
		if !finite(x) {
			return nil, fmt.Errorf("gguf: cannot quantise %v", x)
		}
	}
	out := make([]byte, len(values)/block*size)
	for i := range len(values) / block {
		src := values[i*block : (i+1)*block]
		if !quantizeBlock(t, out[i*size:(i+1)*size], src) {
			return nil, fmt.Errorf("gguf: %v is too large for %v", extreme(src), t)
		}
	}
	return out, nil
}

// Dequantize decodes len(dst) elements of a usable type from src.
func Dequantize(t Type, src []byte, dst []float32) {
	f, ok := t.Format()
	if !ok {
		panic("gguf: cannot dequantise " + t.String())
	}
	f.Decode(dst, src)
}

// quantizeBlock encodes one block of finite values, and reports whether its
// scales, or its value, are in range.
func quantizeBlock(t Type, dst []byte, src []float32) bool {
	switch t {
	case F32:
		binary.LittleEndian.PutUint32(dst, math.Float32bits(src[0]))
		return true
	case F16:
		return putHalf(dst, src[0])
	case BF16:
		b := spec.FloatToBrain(src[0])
		binary.LittleEndian.PutUint16(dst, b)
		return finite(spec.BrainToFloat(b))
	case Q8_0:
		return quantizeBytes(dst, src)
	case Q4_0:
		scale, inverse := scaleOf(extreme(src), -8)
		putNibbles(dst[2:], src, inverse, 0, 8.5, 15)
		return putHalf(dst, scale)
	case Q5_0:
		scale, inverse := scaleOf(extreme(src), -16)
		putFives(dst[2:], src, inverse, 0, 16.5)
		return putHalf(dst, scale)
	case Q4_1:
		lowest, highest := bounds(src)
		scale, inverse := scaleOf(highest-lowest, 15)
		putNibbles(dst[4:], src, inverse, lowest, 0.5, 15)
		return putHalf(dst, scale) && putHalf(dst[2:], lowest)
	case Q5_1:
		lowest, highest := bounds(src)
		scale, inverse := scaleOf(highest-lowest, 31)
		putFives(dst[4:], src, inverse, lowest, 0.5)
		return putHalf(dst, scale) && putHalf(dst[2:], lowest)
	case Q4_K, Q5_K:
		return quantizeWithMinima(t, dst, src)
	case Q6_K:
		return quantizeQ6K(dst, src)
	}
	panic("gguf: cannot quantise to " + t.String())
}

func quantizeBytes(dst []byte, src []float32) bool {
	scale, inverse := scaleOf(abs(extreme(src)), 127)
	for i, x := range src {
		q := math.RoundToEven(float64(float32(x * inverse)))
		dst[2+i] = byte(int8(min(max(q, -127), 127)))
	}
	return putHalf(dst, scale)
}

// extreme is the value of largest magnitude, the first of equals.
func extreme(src []float32) float32 {
	largest := src[0]
	for _, x := range src {
		if abs(x) > abs(largest) {
			largest = x
		}
	}
	return largest
}

func bounds(src []float32) (lowest, highest float32) {
	lowest, highest = src[0], src[0]
	for _, x := range src {
		if x < lowest {
			lowest = x
		}
		if x > highest {
			highest = x
		}
	}
	return lowest, highest
}

// scaleOf is the scale that makes a range of values a range of quants, and its
// inverse, 0 where there is none.
func scaleOf(values, quants float32) (scale, inverse float32) {
	scale = values / quants
	if scale != 0 {
		inverse = 1 / scale
	}
	if !finite(inverse) { // a subnormal scale: the block is zero in half precision
		inverse = 0
	}
	return scale, inverse
}

// quantOf is trunc((x-lowest)*inverse + shift), at most top.
func quantOf(x, inverse, lowest, shift float32, top int32) byte {
	product := float32((x - lowest) * inverse)
	return byte(min(int32(product+shift), top))
}

// putNibbles writes 16 bytes: quants 0..15 in the lower halves, 16..31 in the
// upper.
func putNibbles(dst []byte, src []float32, inverse, lowest, shift float32, top int32) {
	for i := range 16 {
		dst[i] = quantOf(src[i], inverse, lowest, shift, top)&15 | quantOf(src[i+16], inverse, lowest, shift, top)<<4
	}
}

// putFives writes 32 fifth bits and 16 bytes of nibbles.
func putFives(dst []byte, src []float32, inverse, lowest, shift float32) {
	putNibbles(dst[4:], src, inverse, lowest, shift, 31)
	bits := uint32(0)
	for i, x := range src {
		bits |= uint32(quantOf(x, inverse, lowest, shift, 31)>>4) << i
	}
	binary.LittleEndian.PutUint32(dst, bits)
}

// putHalf writes x in half precision, and reports whether it fits.
func putHalf(dst []byte, x float32) bool {
	half := spec.FloatToHalf(x)
	binary.LittleEndian.PutUint16(dst, half)
	return half&0x7c00 != 0x7c00
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func finite(x float32) bool { return math.Float32bits(x)&0x7f800000 != 0x7f800000 }
