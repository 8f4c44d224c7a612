package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Quantize encodes values as the given type. The length must be a whole number
// of blocks and every value finite and in the type's range. Rounding is to
// nearest even for F16 and Q8_0 and as in ggml for Q4_0; products are rounded
// before they are added, so that the bytes are the same on every machine.
func Quantize(t Type, values []float32) ([]byte, error) {
	if !t.Usable() {
		return nil, fmt.Errorf("gguf: cannot quantise to %v", t)
	}
	block, size := t.Block()
	if len(values)%block != 0 {
		return nil, fmt.Errorf("gguf: %d values are no whole number of %v blocks", len(values), t)
	}
	out := make([]byte, len(values)/block*size)
	for i := 0; i < len(values)/block; i++ {
		if err := quantizeBlock(t, out[i*size:(i+1)*size], values[i*block:(i+1)*block]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func quantizeBlock(t Type, dst []byte, src []float32) error {
	largest := src[0] // by magnitude, the first of equals
	for _, x := range src {
		if !finite(x) {
			return fmt.Errorf("gguf: cannot quantise %v", x)
		}
		if abs(x) > abs(largest) {
			largest = x
		}
	}
	var scale float32 = 1
	switch t {
	case F32:
		binary.LittleEndian.PutUint32(dst, math.Float32bits(src[0]))
		return nil
	case F16:
		scale = src[0]
	case Q8_0:
		scale = abs(largest) / 127
	case Q4_0:
		scale = largest / -8
	}
	half := ToHalf(scale)
	if half&0x7c00 == 0x7c00 {
		return fmt.Errorf("gguf: %v is too large for %v", largest, t)
	}
	binary.LittleEndian.PutUint16(dst, half)
	var inverse float32
	if scale != 0 {
		inverse = 1 / scale
	}
	if !finite(inverse) { // a subnormal scale: the block is zero in half precision
		inverse = 0
	}
	switch t {
	case Q8_0:
		for i, x := range src {
			q := math.RoundToEven(float64(float32(x * inverse)))
			dst[2+i] = byte(int8(min(max(q, -127), 127)))
		}
	case Q4_0:
		for i := range 16 {
			dst[2+i] = nibble(src[i], inverse) | nibble(src[i+16], inverse)<<4
		}
	}
	return nil
}

func nibble(x, inverse float32) byte {
	product := float32(x * inverse)
	return byte(min(int32(product+8.5), 15))
}

// Dequantize decodes len(dst) elements of a usable type from src.
func Dequantize(t Type, src []byte, dst []float32) {
	le := binary.LittleEndian
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = FromHalf(le.Uint16(src[2*i:]))
		}
	case Q8_0:
		for i := 0; i < len(dst)/32; i++ {
			b := src[34*i : 34*i+34]
			d := FromHalf(le.Uint16(b))
			for j, q := range b[2:] {
				dst[32*i+j] = d * float32(int8(q))
			}
		}
	case Q4_0:
		for i := 0; i < len(dst)/32; i++ {
			b := src[18*i : 18*i+18]
			d := FromHalf(le.Uint16(b))
			for j, q := range b[2:] {
				dst[32*i+j] = d * float32(int(q&15)-8)
				dst[32*i+j+16] = d * float32(int(q>>4)-8)
			}
		}
	default:
		panic("gguf: cannot dequantise " + t.String())
	}
}

// ToHalf rounds to IEEE 754 half precision, to nearest even.
func ToHalf(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	exp, frac := int(b>>23&0xff), b&0x7fffff
	switch {
	case exp == 0xff && frac != 0:
		return sign | 0x7e00
	case exp >= 127+16:
		return sign | 0x7c00
	case exp >= 127-14:
		// Rounding may carry into the exponent, up to infinity: that is right.
		n := uint32(exp-112)<<23 | frac
		return sign | uint16((n+0xfff+n>>13&1)>>13)
	case exp < 127-25:
		return sign
	}
	frac |= 0x800000
	shift := uint(126 - exp) // 14 to 24
	n := frac >> shift
	rest, tie := frac&(1<<shift-1), uint32(1)<<(shift-1)
	if rest > tie || rest == tie && n&1 == 1 {
		n++
	}
	return sign | uint16(n)
}

// FromHalf widens half precision exactly.
func FromHalf(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch {
	case exp == 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp == 0:
		// frac * 2^-24, exact in float32.
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*(1.0/(1<<24))))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func finite(x float32) bool { return math.Float32bits(x)&0x7f800000 != 0x7f800000 }
