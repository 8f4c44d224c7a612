package kernel

import "github.com/koinon-network/koinon/infra/engine/spec"

// RoPE is the rotary table of the first positions of a model's context. It is
// immutable and safe for concurrent use.
type RoPE struct {
	style    spec.RoPEStyle
	half     int
	cos, sin []float32 // [position][half]
}

// NewRoPE builds the table for positions 0 to n-1, on the pool.
func NewRoPE(p *Pool, parameters spec.RoPE, n int) *RoPE {
	frequencies, gain := parameters.Frequencies(), parameters.Gain()
	half := len(frequencies)
	r := &RoPE{style: parameters.Style, half: half, cos: make([]float32, n*half), sin: make([]float32, n*half)}
	p.Run(n, 64, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			spec.RoPERowGain(r.cos[t*half:(t+1)*half], r.sin[t*half:(t+1)*half], frequencies, gain, t)
		}
	})
	return r
}

// Positions is the length of the table.
func (r *RoPE) Positions() int { return len(r.cos) / max(1, r.half) }

// Rotate rotates consecutive heads of headDim elements each, in place, to a
// position.
func (r *RoPE) Rotate(x []float32, headDim, position int) {
	cos, sin := r.cos[position*r.half:(position+1)*r.half], r.sin[position*r.half:(position+1)*r.half]
	for h := 0; h+headDim <= len(x); h += headDim {
		rotate(x[h:h+headDim], cos, sin, r.style)
	}
}
