package spec

import "math"

// HalfToFloat converts IEEE-754 binary16 to binary32. It is exact, subnormals
// included. A NaN keeps its payload in the upper mantissa bits; models that
// hold one are refused when they are loaded.
func HalfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent := uint32(h>>10) & 31
	mantissa := uint32(h & 0x3ff)
	switch exponent {
	case 0:
		magnitude := float32(float32(mantissa) * (1.0 / (1 << 24)))
		return math.Float32frombits(math.Float32bits(magnitude) | sign)
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}

// FloatToHalf rounds binary32 to binary16, to nearest even. Values of 65520
// and above in magnitude become infinite; any NaN becomes the quiet NaN of the
// same sign.
func FloatToHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000:
		return sign | 0x7e00
	case bits >= 0x47800000:
		return sign | 0x7c00
	case bits < 0x38800000: // the result is subnormal: let an addition round it
		aligned := math.Float32frombits(bits) + 0.5
		return sign | uint16(math.Float32bits(aligned)-0x3f000000)
	}
	bits += 0xc8000fff + (bits >> 13 & 1)
	return sign | uint16(bits>>13)
}

// BrainToFloat widens bfloat16 to binary32: the upper half of its bits.
func BrainToFloat(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// FloatToBrain rounds binary32 to bfloat16, to nearest even. Values that are
// nearer to 2^128 than to the largest finite number become infinite; any NaN
// becomes the quiet NaN of the same sign.
func FloatToBrain(f float32) uint16 {
	bits := math.Float32bits(f)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16&0x8000) | 0x7fc0
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
