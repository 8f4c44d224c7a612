package train

import (
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
	"github.com/koinon-network/koinon/infra/engine/train/internal/gemm"
)

// scoreOffsets returns where each document's probabilities start, and their
// total number.
func (p *pass) scoreOffsets(b *batch) (offsets []int, total int) {
	for _, s := range b.docs {
		offsets = append(offsets, total)
		t := s.hi - s.lo
		total += p.Heads * t * t
	}
	return offsets, total
}

// head is one head of one document: views of its rows, and their strides.
type head struct {
	t       int // tokens
	q, k, v gemm.Operand
	scores  []float32 // [t][t]
}

func (p *pass) head(a *activations, s span, offset, h int) head {
	t, width, hd := s.hi-s.lo, p.qkvDim(), p.HeadDim
	kv := p.Heads + h/(p.Heads/p.KVHeads)
	part := func(i int) gemm.Operand { return gemm.Operand{Data: a.qkv[s.lo*width+i*hd:], Stride: width} }
	return head{t: t, q: part(h), k: part(kv), v: part(kv + p.KVHeads), scores: a.scores[offset+h*t*t:][:t*t]}
}

func transposed(o gemm.Operand) gemm.Operand { o.Transposed = true; return o }

// attend sets a.heads from a.qkv: causal softmax attention within documents.
func (p *pass) attend(a *activations, b *batch) {
	offsets, total := p.scoreOffsets(b)
	a.scores = resize(a.scores, total)
	scale := 1 / spec.Sqrt(float32(p.HeadDim))
	p.workers.Run(len(b.docs)*p.Heads, func(x *gemm.Multiplier, i int) {
		s := b.docs[i/p.Heads]
		h := p.head(a, s, offsets[i/p.Heads], i%p.Heads)
		x.Mul(h.scores, h.t, h.q, transposed(h.k), h.t, h.t, p.HeadDim, false)
		for r := range h.t {
			row := h.scores[r*h.t:][:h.t]
			kernel.Scale(row[:r+1], scale)
			kernel.Scale(row[:r+1], 1/softmax(row[:r+1]))
			clear(row[r+1:])
		}
		out := a.heads[s.lo*p.attnDim()+i%p.Heads*p.HeadDim:]
		x.Mul(out, p.attnDim(), gemm.Operand{Data: h.scores, Stride: h.t}, h.v, h.t, p.HeadDim, h.t, false)
	})
}

// softmax is spec.Softmax, with vectorised exponentials at every length.
func softmax(x []float32) (sum float32) {
	largest := spec.Max(spec.MaxStart(), x)
	for i := range x {
		x[i] -= largest
	}
	kernel.Exp(x)
	var lanes spec.Lanes
	lanes.Add(x)
	return lanes.Total()
}

// attendBack sets dqkv from dheads. One job does all heads of a group, which
// share their key and value gradients, in order.
func (p *pass) attendBack(a *activations, b *batch) {
	offsets, _ := p.scoreOffsets(b)
	scale := 1 / spec.Sqrt(float32(p.HeadDim))
	group, hd, width := p.Heads/p.KVHeads, p.HeadDim, p.qkvDim()
	p.workers.Run(len(b.docs)*p.KVHeads, func(x *gemm.Multiplier, i int) {
		s, kv := b.docs[i/p.KVHeads], i%p.KVHeads
		var ds []float32
		for g := range group {
			n := kv*group + g
			h := p.head(a, s, offsets[i/p.KVHeads], n)
			out := func(part int) []float32 { return p.dqkv[s.lo*width+part*hd:] }
			dheads := gemm.Operand{Data: p.dheads[s.lo*p.attnDim()+n*hd:], Stride: p.attnDim()}
			probabilities := gemm.Operand{Data: h.scores, Stride: h.t}
			x.Mul(out(p.Heads+p.KVHeads+kv), width, transposed(probabilities), dheads, h.t, hd, h.t, g > 0)

			ds = resize(ds, h.t*h.t)
			x.Mul(ds, h.t, dheads, transposed(h.v), h.t, h.t, hd, false)
			for r := range h.t {
				softmaxBack(ds[r*h.t:][:h.t], h.scores[r*h.t:][:r+1], scale)
			}
			dscores := gemm.Operand{Data: ds, Stride: h.t}
			x.Mul(out(n), width, dscores, h.k, h.t, hd, h.t, false)
			x.Mul(out(p.Heads+kv), width, transposed(dscores), h.q, h.t, hd, h.t, g > 0)
		}
	})
}

// softmaxBack turns the gradient of one row of probabilities into that of its
// unscaled scores; elements beyond the probabilities are masked.
func softmaxBack(d, probability []float32, scale float32) {
	var lanes spec.Lanes
	for j, v := range probability {
		lanes[j&7] += float32(v * d[j])
	}
	sum := lanes.Total()
	for j, v := range probability {
		d[j] = float32(v*(d[j]-sum)) * scale
	}
	clear(d[len(probability):])
}
