package kernel

import (
	"sync/atomic"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// RoPE is the rotary table of the first positions of a model's context. Its
// rows are computed when they are first needed. It is safe for concurrent use.
type RoPE struct {
	style       spec.RoPEStyle
	frequencies []float64
	gain        float64
	positions   int
	pages       []atomic.Pointer[ropePage]
}

// ropePage has the rows of ropeRows positions.
type ropePage struct{ cos, sin []float32 } // [position][half]

const ropeRows = 64

// NewRoPE is the table for positions 0 to n-1.
func NewRoPE(parameters spec.RoPE, n int) *RoPE {
	return &RoPE{style: parameters.Style, frequencies: parameters.Frequencies(), gain: parameters.Gain(),
		positions: n, pages: make([]atomic.Pointer[ropePage], (n+ropeRows-1)/ropeRows)}
}

// Positions is the length of the table.
func (r *RoPE) Positions() int { return r.positions }

// Rotate rotates consecutive heads of headDim elements each, in place, to a
// position.
func (r *RoPE) Rotate(x []float32, headDim, position int) {
	cos, sin := r.row(position)
	for h := 0; h+headDim <= len(x); h += headDim {
		rotate(x[h:h+headDim], cos, sin, r.style)
	}
}

func (r *RoPE) row(position int) (cos, sin []float32) {
	at := &r.pages[position/ropeRows]
	page := at.Load()
	if page == nil { // threads that come here at once compute the same
		page = r.page(position / ropeRows * ropeRows)
		at.Store(page)
	}
	half := len(r.frequencies)
	first := position % ropeRows * half
	return page.cos[first : first+half], page.sin[first : first+half]
}

func (r *RoPE) page(first int) *ropePage {
	n, half := min(ropeRows, r.positions-first), len(r.frequencies)
	page := &ropePage{cos: make([]float32, n*half), sin: make([]float32, n*half)}
	for t := range n {
		spec.RoPERowGain(page.cos[t*half:(t+1)*half], page.sin[t*half:(t+1)*half], r.frequencies, r.gain, first+t)
	}
	return page
}
