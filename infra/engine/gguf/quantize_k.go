package gguf

import (
	"math"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// K-quants are fitted by weighted least squares over a few candidate scales.
// All arithmetic is binary64, each operation rounded on its own.

// fit is scale and minimum of a group: x is about scale*q - minimum.
type fit struct{ scale, minimum float64 }

// roundTo is x rounded to nearest even within lowest and highest.
func roundTo(x, lowest, highest float64) float64 {
	return min(max(math.RoundToEven(x), lowest), highest)
}

// fitWithMinimum fits quants 0..top to 32 values.
func fitWithMinimum(x []float32, top float64) fit {
	lowest, highest, mean := 0.0, float64(x[0]), 0.0
	for _, v := range x {
		lowest, highest = min(lowest, float64(v)), max(highest, float64(v))
		mean += float64(abs(v))
	}
	mean /= float64(len(x))
	if highest <= lowest { // all values are the same and not positive
		return fit{minimum: -lowest}
	}
	best, most := fit{}, math.Inf(-1)
	for step := range 21 {
		inverse := (top - 1 + float64(step)/10) / (highest - lowest)
		if next, gain := leastSquares(x, mean, inverse, lowest, top); gain > most {
			best, most = next, gain
		}
	}
	return best
}

// leastSquares is the best fit for the quants that one candidate gives, values
// weighted by mean + |x|, and how much of the weighted squares it explains.
func leastSquares(x []float32, mean, inverse, lowest, top float64) (fit, float64) {
	var w, wq, wqq, wx, wxq float64
	for _, f := range x {
		v := float64(f)
		weight := mean + float64(abs(f))
		q := roundTo(float64((v-lowest)*inverse), 0, top)
		a, b := float64(weight*q), float64(weight*v)
		w += weight
		wq += a
		wx += b
		wqq += float64(a * q)
		wxq += float64(b * q)
	}
	determinant := float64(w*wqq) - float64(wq*wq)
	if determinant > 0 {
		scale := (float64(w*wxq) - float64(wx*wq)) / determinant
		offset := (float64(wqq*wx) - float64(wq*wxq)) / determinant
		if offset <= 0 && scale >= 0 {
			return fit{scale, -offset}, float64(scale*wxq) + float64(offset*wx)
		}
	}
	if wqq == 0 || wxq <= 0 {
		return fit{}, 0
	}
	scale := wxq / wqq
	return fit{scale: scale}, float64(scale * wxq)
}

// quantizeWithMinima encodes a Q4_K or Q5_K superblock.
func quantizeWithMinima(t Type, dst []byte, src []float32) bool {
	top, quants := 15.0, dst[16:]
	if t == Q5_K {
		top, quants = 31, dst[48:]
	}
	var fits [8]fit
	var largest fit
	for b := range fits {
		fits[b] = fitWithMinimum(src[32*b:32*b+32], top)
		largest.scale, largest.minimum = max(largest.scale, fits[b].scale), max(largest.minimum, fits[b].minimum)
	}
	if !putHalf(dst, float32(largest.scale/63)) || !putHalf(dst[2:], float32(largest.minimum/63)) {
		return false
	}
	unitScale, unitMinimum := halfAt(dst), halfAt(dst[2:])
	for b, f := range fits {
		s, m := steps(f.scale, unitScale), steps(f.minimum, unitMinimum)
		putScaleK(dst[4:16], b, byte(s), byte(m))
		scale, minimum := float64(unitScale*s), float64(unitMinimum*m)
		for i, v := range src[32*b : 32*b+32] {
			q := byte(0)
			if scale > 0 {
				q = byte(roundTo((float64(v)+minimum)/scale, 0, top))
			}
			quants[b/2*32+i] |= q & 15 << (b % 2 * 4)
			if t == Q5_K {
				dst[16+i] |= q >> 4 << b
			}
		}
	}
	return true
}

// steps is x in units, 0..63.
func steps(x, unit float64) float64 {
	if unit == 0 {
		return 0
	}
	return roundTo(x/unit, 0, 63)
}

func halfAt(b []byte) float64 {
	return float64(spec.HalfToFloat(uint16(b[0]) | uint16(b[1])<<8))
}

// putScaleK writes scale and minimum of 32-column block b; see spec.ScaleK.
func putScaleK(dst []byte, b int, s, m byte) {
	if b < 4 {
		dst[b] |= s
		dst[b+4] |= m
		return
	}
	dst[b+4] |= s&15 | m<<4
	dst[b-4] |= s >> 4 << 6
	dst[b] |= m >> 4 << 6
}

// fitSigned fits quants -32..31 to 16 values, weighted by their squares.
func fitSigned(x []float32) (scale float64) {
	largest := float64(extreme(x))
	if largest == 0 {
		return 0
	}
	most := math.Inf(-1)
	for step := -9; step <= 9; step++ {
		inverse := float64(320+step) / -10 / largest
		var wxq, wqq float64
		for _, f := range x {
			v := float64(f)
			q := roundTo(float64(v*inverse), -32, 31)
			wq := float64(float64(v*v) * q)
			wxq += float64(wq * v)
			wqq += float64(wq * q)
		}
		if gain := float64(wxq*wxq) / wqq; gain > most {
			scale, most = wxq/wqq, gain
		}
	}
	return scale
}

// quantizeQ6K encodes a Q6_K superblock.
func quantizeQ6K(dst []byte, src []float32) bool {
	var scales [16]float64
	largest := 0.0
	for g := range scales {
		scales[g] = fitSigned(src[16*g : 16*g+16])
		if math.Abs(scales[g]) > math.Abs(largest) {
			largest = scales[g]
		}
	}
	if !putHalf(dst[208:], float32(largest/-128)) {
		return false
	}
	unit := halfAt(dst[208:])
	for g, s := range scales {
		if unit != 0 {
			s = roundTo(s/unit, -128, 127)
		} else {
			s = 0
		}
		dst[192+g] = byte(int8(s))
		scale := float64(unit * s)
		for i, v := range src[16*g : 16*g+16] {
			q := byte(32)
			if scale != 0 {
				q = byte(roundTo(float64(v)/scale, -32, 31) + 32)
			}
			b, c := g/2, g%2*16+i
			dst[b/4*64+b%2*32+c] |= q & 15 << (b % 4 / 2 * 4)
			dst[128+b/4*32+c] |= q >> 4 << (b % 4 * 2)
		}
	}
	return true
}
