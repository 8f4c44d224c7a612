package spec

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// RoPEStyle says which two elements of a head are rotated together.
type RoPEStyle int

const (
	// RoPENorm rotates neighbours (2i, 2i+1): Llama models as GGUF stores them.
	RoPENorm RoPEStyle = iota
	// RoPENeoX rotates halves (i, i+Dim/2): Qwen, Gemma, Phi-3.
	RoPENeoX
)

// RoPE are the parameters of a rotary position embedding.
type RoPE struct {
	Style RoPEStyle
	Dim   int     // rotated elements of each head, even, the first ones
	Base  float32 // frequency base, e.g. 10000
	// Scale multiplies positions (linear scaling); 0 stands for 1.
	Scale float32
	// Factors, if any, divide the frequency of each pair (Dim/2 of them): the
	// tensor rope_freqs of Llama 3, or those of LongRoPE.
	Factors []float32
	// YaRN, if its Factor is not 0, stretches slow frequencies more than fast ones.
	YaRN YaRN
	// Magnitude multiplies cosines and sines; 0 stands for 1.
	Magnitude float32
}

// YaRN are the parameters of the position scaling of that name
// (arXiv:2309.00071, "NTK by parts").
type YaRN struct {
	Factor             float32 // how many times longer the context became
	Context            int     // positions of the model before
	BetaFast, BetaSlow float32 // rotations in Context above and below which the mixture ends
}

// Frequencies returns the angle per position of each pair i, in float64:
//
//	f[i] = exp64(-(2i/Dim) * log64(Base)) / Factors[i] * Scale
//
// evaluated from left to right, each operation rounded on its own; a division
// by 1 or a multiplication by 1 is left out. With YaRN, then
//
//	f[i] = f[i]/Factor * ramp + f[i] * (1 - ramp)
//	ramp = (i - low) / max(high - low, 0.001), from 0 to 1
//	low  = floor(turn(BetaFast)), at least 0
//	high = ceil(turn(BetaSlow)), at most Dim-1
//	turn(b) = Dim * log64(Context / (b * 2 pi)) / (2 * log64(Base))
func (r RoPE) Frequencies() []float64 {
	logBase := log64(float64(r.Base))
	f := make([]float64, r.Dim/2)
	ramp := r.ramp(logBase)
	for i := range f {
		exponent := float64(2*i) / float64(r.Dim)
		f[i] = exp64(-float64(exponent * logBase))
		if r.Factors != nil {
			f[i] = f[i] / float64(r.Factors[i])
		}
		if r.Scale != 0 && r.Scale != 1 {
			f[i] = float64(f[i] * float64(r.Scale))
		}
		if ramp != nil {
			f[i] = float64(float64(f[i]/float64(r.YaRN.Factor))*ramp[i]) + float64(f[i]*(1-ramp[i]))
		}
	}
	return f
}

// ramp is how far each pair's frequency is stretched, nil without YaRN.
func (r RoPE) ramp(logBase float64) []float64 {
	if r.YaRN.Factor == 0 {
		return nil
	}
	const twoPi = 6.28318530717958647692
	turn := func(beta float32) float64 {
		rotations := float64(r.YaRN.Context) / float64(float64(beta)*twoPi)
		return float64(float64(r.Dim)*log64(rotations)) / float64(2*logBase)
	}
	low, high := max(0, floor64(turn(r.YaRN.BetaFast))), min(float64(r.Dim-1), -floor64(-turn(r.YaRN.BetaSlow)))
	ramp := make([]float64, r.Dim/2)
	for i := range ramp {
		ramp[i] = min(1, max(0, (float64(i)-low)/max(0.001, high-low)))
	}
	return ramp
}

// floor64 is the largest integer that is not above x, for |x| < 2^52.
func floor64(x float64) float64 {
	n := math.RoundToEven(x)
	if n > x {
		n--
	}
	return n
}

// Gain returns the factor of cosines and sines in float64: Magnitude, and with
// YaRN that times 0.1*log64(Factor) + 1.
func (r RoPE) Gain() float64 {
	gain := float64(1)
	if r.Magnitude != 0 {
		gain = float64(r.Magnitude)
	}
	if r.YaRN.Factor != 0 {
		gain = float64(gain * (float64(0.1*log64(float64(r.YaRN.Factor))) + 1))
	}
	return gain
}

// RoPERow sets cos and sin (one element per frequency) to those of the angle
// position*frequency, computed in float64 and rounded to float32 once.
func RoPERow(cos, sin []float32, frequencies []float64, position int) {
	RoPERowGain(cos, sin, frequencies, 1, position)
}

// RoPERowGain is RoPERow with cosine and sine multiplied by gain before they
// are rounded to float32.
func RoPERowGain(cos, sin []float32, frequencies []float64, gain float64, position int) {
	for i, f := range frequencies {
		s, c := sincos64(float64(float64(position) * f))
		cos[i], sin[i] = float32(float64(c*gain)), float32(float64(s*gain))
	}
}

// Hash is SHA-256 over the table of the first n positions: for each position
// all cosines, then all sines, as little-endian float32. Equal hashes mean
// equal rotations; a model's manifest states it.
func (r RoPE) Hash(n int) [32]byte {
	frequencies, gain := r.Frequencies(), r.Gain()
	cos, sin := make([]float32, len(frequencies)), make([]float32, len(frequencies))
	h := sha256.New()
	buf := make([]byte, 0, 8*len(frequencies))
	for p := range n {
		RoPERowGain(cos, sin, frequencies, gain, p)
		buf = buf[:0]
		for _, v := range cos {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
		for _, v := range sin {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
		h.Write(buf)
	}
	return [32]byte(h.Sum(nil))
}

// Rotate applies one row of the table to one head in place; len(x) is at least
// twice len(cos), and elements beyond stay as they are.
//
//	a' = a*cos - b*sin
//	b' = a*sin + b*cos
//
// each product and the sum rounded on their own.
func Rotate(x, cos, sin []float32, style RoPEStyle) {
	half := len(cos)
	for i, c := range cos {
		s := sin[i]
		j, k := 2*i, 2*i+1
		if style == RoPENeoX {
			j, k = i, i+half
		}
		a, b := x[j], x[k]
		x[j] = float32(a*c) - float32(b*s)
		x[k] = float32(a*s) + float32(b*c)
	}
}
