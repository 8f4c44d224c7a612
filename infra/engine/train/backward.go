package train

import (
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
	"github.com/koinon-network/koinon/infra/engine/train/internal/gemm"
)

// gradients with respect to activations, reused by all layers.
type gradients struct {
	dx       []float32 // residual stream
	dnormed  []float32
	dpicked  []float32
	dqkv     []float32
	dheads   []float32
	dgateUp  []float32
	dact     []float32
	partials []float32 // of norm weights, [job][Dim]
}

func (p *pass) allocateGradients() {
	n := p.BatchTokens
	f := func(width int) []float32 { return make([]float32, n*width) }
	p.gradients = gradients{
		dx: f(p.Dim), dnormed: f(p.Dim), dpicked: f(p.Dim), dqkv: f(p.qkvDim()), dheads: f(p.attnDim()),
		dgateUp: f(2 * p.FeedForward), dact: f(p.FeedForward),
		partials: make([]float32, (n+rowsPerJob-1)/rowsPerJob*p.Dim),
	}
}

// loss sets p.losses and replaces the logits by the gradient of their mean.
func (p *pass) loss(b *batch) {
	v, share := p.Vocabulary, 1/float32(max(len(b.rows), 1))
	p.byRows(len(b.rows), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			row, target := p.logits[r*v:][:v], b.target[r]
			shifted := row[target] - spec.Max(spec.MaxStart(), row)
			sum := kernel.Softmax(row)
			p.losses[r] = spec.Log(sum) - shifted
			inv := 1 / sum
			for j, e := range row {
				row[j] = float32(e*inv) * share
			}
			row[target] -= share
		}
	})
}

// weightGradient sets dw = dyᵀ·x: dy is [n][out], x [n][in], dw [out][in].
func (p *pass) weightGradient(dw, dy, x []float32, n, in, out int) {
	p.workers.Mul(dw, in, gemm.Operand{Data: dy, Stride: out, Transposed: true}, gemm.Operand{Data: x, Stride: in}, out, in, n, false)
}

// inputGradient sets dx = dy·w: dy is [n][out], w [out][in], dx [n][in].
func (p *pass) inputGradient(dx, dy, w []float32, n, in, out int) {
	p.workers.Mul(dx, in, gemm.Operand{Data: dy, Stride: out}, gemm.Operand{Data: w, Stride: in}, n, in, out, false)
}

// backward sets g to the gradient of the batch's mean loss; forward and loss
// must have run.
func (p *pass) backward(w, g *Weights, b *batch) {
	if p.dx == nil {
		p.allocateGradients()
	}
	n, d, rows := len(b.tokens), p.Dim, len(b.rows)
	p.weightGradient(g.embed, p.logits, p.picked, rows, d, p.Vocabulary)
	p.inputGradient(p.dpicked, p.logits, w.embed, rows, d, p.Vocabulary)
	clear(p.dx[:n*d])
	p.normBack(g.norm, w.norm, rows, func(r int) (dy, x, dx []float32, inv float32) {
		i := b.rows[r]
		return p.dpicked[r*d:][:d], p.x[i*d:][:d], p.dx[i*d:][:d], p.inv[i]
	})
	for i := len(w.layers) - 1; i >= 0; i-- {
		p.blockBack(&w.layers[i], &g.layers[i], &p.layers[i], b)
	}
	for i, t := range b.tokens {
		row := g.embed[int(t)*d:][:d]
		for j, v := range p.dx[i*d:][:d] {
			row[j] += v
		}
	}
}

// blockBack turns p.dx from the gradient of a layer's output into that of its
// input.
func (p *pass) blockBack(l, g *layer, a *activations, b *batch) {
	n, d, f := len(b.tokens), p.Dim, p.FeedForward
	p.weightGradient(g.down, p.dx, a.act, n, f, d)
	p.inputGradient(p.dact, p.dx, l.down, n, f, d)
	p.byRows(n, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			gatedBack(p.dgateUp[2*i*f:][:2*f], p.dact[i*f:][:f], a.gateUp[2*i*f:][:2*f])
		}
	})
	p.weightGradient(g.gateUp, p.dgateUp, a.normed2, n, d, 2*f)
	p.inputGradient(p.dnormed, p.dgateUp, l.gateUp, n, d, 2*f)
	p.normRowsBack(g.ffnNorm, l.ffnNorm, a.x2, a.inv2, n)

	p.weightGradient(g.out, p.dx, a.heads, n, p.attnDim(), d)
	p.inputGradient(p.dheads, p.dx, l.out, n, p.attnDim(), d)
	p.attendBack(a, b)
	p.rotate(p.dqkv, b.position, -1)
	p.weightGradient(g.qkv, p.dqkv, a.normed, n, d, p.qkvDim())
	p.inputGradient(p.dnormed, p.dqkv, l.qkv, n, d, p.qkvDim())
	p.normRowsBack(g.attnNorm, l.attnNorm, a.x, a.inv, n)
}

// gatedBack is the derivative of SiLU(gate)*up: with s = 1/(1+Exp(-gate)),
// dgate = (dact*up) * (s * (1 + gate*(1-s))) and dup = dact * (gate*s).
func gatedBack(dgateUp, dact, gateUp []float32) {
	f := len(dact)
	gate, up := gateUp[:f], gateUp[f:][:f]
	dgate, dup := dgateUp[:f], dgateUp[f:][:f]
	for j, g := range gate {
		dgate[j] = -g
	}
	kernel.Exp(dgate)
	for j, g := range gate {
		s := 1 / float32(1+dgate[j])
		slope := s * float32(1+float32(g*(1-s)))
		dgate[j] = float32(dact[j]*up[j]) * slope
		dup[j] = dact[j] * float32(g*s)
	}
}

func (p *pass) normRowsBack(dweight, weight, x, inv []float32, n int) {
	d := p.Dim
	p.normBack(dweight, weight, n, func(i int) (dy, xi, dx []float32, in float32) {
		return p.dnormed[i*d:][:d], x[i*d:][:d], p.dx[i*d:][:d], inv[i]
	})
}

// normBack adds the gradient of RMSNorm's input to dx and sets that of its
// weight. With z = x*inv and e = dy*weight:
//
//	dx += (e - z*mean(e*z)) * inv
//	dweight = sum over rows of dy*z, by jobs of rowsPerJob rows, jobs in order
func (p *pass) normBack(dweight, weight []float32, n int, row func(int) (dy, x, dx []float32, inv float32)) {
	d := p.Dim
	p.byRows(n, func(lo, hi int) {
		partial := p.partials[lo/rowsPerJob*d:][:d]
		clear(partial)
		for i := lo; i < hi; i++ {
			dy, x, dx, inv := row(i)
			var lanes spec.Lanes
			for j, v := range x {
				z := v * inv
				t := float32(dy[j] * z)
				partial[j] += t
				lanes[j&7] += float32(t * weight[j])
			}
			mean := float32(lanes.Total() / float32(d))
			for j, v := range x {
				z := float32(v * inv)
				dx[j] += float32((float32(dy[j]*weight[j]) - float32(z*mean)) * inv)
			}
		}
	})
	clear(dweight)
	for lo := 0; lo < n; lo += rowsPerJob {
		for j, v := range p.partials[lo/rowsPerJob*d:][:d] {
			dweight[j] += v
		}
	}
}
