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
	// RoPENeoX rotates halves (i, i+Dim/2): Qwen2 and GPT-NeoX.
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
	// tensor rope_freqs of Llama 3.
	Factors []float32
}

// Frequencies returns the angle per position of each pair i, in float64:
//
//	f[i] = exp64(-(2i/Dim) * log64(Base)) / Factors[i] * Scale
//
// evaluated from left to right, each operation rounded on its own; a division
// by 1 or a multiplication by 1 is left out.
func (r RoPE) Frequencies() []float64 {
	logBase := log64(float64(r.Base))
	f := make([]float64, r.Dim/2)
	for i := range f {
		exponent := float64(2*i) / float64(r.Dim)
		f[i] = exp64(-float64(exponent * logBase))
		if r.Factors != nil {
			f[i] = f[i] / float64(r.Factors[i])
		}
		if r.Scale != 0 && r.Scale != 1 {
			f[i] = float64(f[i] * float64(r.Scale))
		}
	}
	return f
}

// RoPERow sets cos and sin (one element per frequency) to those of the angle
// position*frequency, computed in float64 and rounded to float32 once.
func RoPERow(cos, sin []float32, frequencies []float64, position int) {
	for i, f := range frequencies {
		s, c := sincos64(float64(float64(position) * f))
		cos[i], sin[i] = float32(c), float32(s)
	}
}

// Hash is SHA-256 over the table of the first n positions: for each position
// all cosines, then all sines, as little-endian float32. Equal hashes mean
// equal rotations; a model's manifest states it.
func (r RoPE) Hash(n int) [32]byte {
	frequencies := r.Frequencies()
	cos, sin := make([]float32, len(frequencies)), make([]float32, len(frequencies))
	h := sha256.New()
	buf := make([]byte, 0, 8*len(frequencies))
	for p := range n {
		RoPERow(cos, sin, frequencies, p)
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
