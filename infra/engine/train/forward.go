package train

import (
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
	"github.com/koinon-network/koinon/infra/engine/train/internal/gemm"
)

// pass holds the activations of one batch, which the backward pass needs.
type pass struct {
	Config
	workers  *gemm.Workers
	cos, sin []float32 // [position][HeadDim/2]
	layers   []activations
	x        []float32 // residual stream after the last layer, [token][Dim]
	inv      []float32 // inverse norm of x, [token]
	picked   []float32 // normed x of the rows with a target, [row][Dim]
	logits   []float32 // [row][Vocabulary]; after loss, its gradient
	losses   []float32 // [row]
	gradients
}

// activations of one layer, [token][...].
type activations struct {
	x, normed, inv    []float32 // input, its norm, inverse root mean square
	qkv, heads        []float32 // rotated; weighted values of all heads
	scores            []float32 // attention probabilities, [document][head][T][T]
	x2, normed2, inv2 []float32 // after attention
	gateUp, act       []float32
}

func newPass(c Config) *pass {
	n := c.BatchTokens
	f := func(width int) []float32 { return make([]float32, n*width) }
	p := &pass{Config: c, workers: gemm.NewWorkers(c.Threads)}
	half := c.HeadDim / 2
	p.cos, p.sin = make([]float32, c.LongestInput*half), make([]float32, c.LongestInput*half)
	frequencies := spec.RoPE{Style: spec.RoPENorm, Dim: c.HeadDim, Base: c.RopeBase}.Frequencies()
	for t := range c.LongestInput {
		spec.RoPERow(p.cos[t*half:][:half], p.sin[t*half:][:half], frequencies, t)
	}
	for range c.Layers {
		p.layers = append(p.layers, activations{
			x: f(c.Dim), normed: f(c.Dim), inv: f(1), qkv: f(c.qkvDim()), heads: f(c.attnDim()),
			x2: f(c.Dim), normed2: f(c.Dim), inv2: f(1), gateUp: f(2 * c.FeedForward), act: f(c.FeedForward),
		})
	}
	p.x, p.inv, p.picked, p.losses = f(c.Dim), f(1), f(c.Dim), f(1)
	return p
}

// rowsPerJob is the granularity of work by rows and of the partial sums of
// norm gradients; it is part of the definition of the latter.
const rowsPerJob = 64

// byRows calls job for runs of rows.
func (p *pass) byRows(n int, job func(lo, hi int)) {
	p.workers.Run((n+rowsPerJob-1)/rowsPerJob, func(_ *gemm.Multiplier, i int) {
		job(i*rowsPerJob, min((i+1)*rowsPerJob, n))
	})
}

// linear sets y = x·wᵀ, or adds it: x is [n][in], w [out][in], y [n][out].
func (p *pass) linear(y, x, w []float32, n, in, out int, accumulate bool) {
	p.workers.Mul(y, out, gemm.Operand{Data: x, Stride: in}, gemm.Operand{Data: w, Stride: in, Transposed: true}, n, out, in, accumulate)
}

// forward runs the model over a batch and leaves the logits of its rows.
func (p *pass) forward(w *Weights, b *batch) {
	n, d := len(b.tokens), p.Dim
	x := p.layers[0].x
	for i, t := range b.tokens {
		copy(x[i*d:][:d], w.embed[int(t)*d:])
	}
	for i := range w.layers {
		next := p.x
		if i+1 < len(p.layers) {
			next = p.layers[i+1].x
		}
		p.block(&w.layers[i], &p.layers[i], b, next[:n*d])
	}
	p.inv = p.inv[:n]
	p.byRows(len(b.rows), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			i := b.rows[r]
			p.inv[i] = normalize(p.picked[r*d:][:d], p.x[i*d:][:d], w.norm, p.NormEpsilon)
		}
	})
	p.logits = resize(p.logits, len(b.rows)*p.Vocabulary)
	p.linear(p.logits, p.picked, w.embed, len(b.rows), d, p.Vocabulary, false)
}

// block runs one layer from a.x to next.
func (p *pass) block(l *layer, a *activations, b *batch, next []float32) {
	n, d, f := len(b.tokens), p.Dim, p.FeedForward
	p.normRows(a.normed, a.inv, a.x, l.attnNorm, n)
	p.linear(a.qkv, a.normed, l.qkv, n, d, p.qkvDim(), false)
	p.rotate(a.qkv, b.position, 1)
	p.attend(a, b)
	copy(a.x2[:n*d], a.x)
	p.linear(a.x2, a.heads, l.out, n, p.attnDim(), d, true)

	p.normRows(a.normed2, a.inv2, a.x2, l.ffnNorm, n)
	p.linear(a.gateUp, a.normed2, l.gateUp, n, d, 2*f, false)
	p.byRows(n, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			gate, up, act := a.gateUp[2*i*f:][:f], a.gateUp[(2*i+1)*f:][:f], a.act[i*f:][:f]
			copy(act, gate)
			kernel.SiLUMul(act, up)
		}
	})
	copy(next, a.x2)
	p.linear(next, a.act, l.down, n, f, d, true)
}

func (p *pass) normRows(y, inv, x, weight []float32, n int) {
	d := p.Dim
	p.byRows(n, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			inv[i] = normalize(y[i*d:][:d], x[i*d:][:d], weight, p.NormEpsilon)
		}
	})
}

// normalize is spec.RMSNorm, returning the inverse root mean square.
func normalize(y, x, weight []float32, epsilon float32) float32 {
	var lanes spec.Lanes
	lanes.AddSquares(x)
	inv := spec.RMSNormInverse(lanes.Total(), len(x), epsilon)
	spec.RMSNormScale(y, x, weight, inv)
	return inv
}

// rotate turns the query and key heads of every row by their positions; sign
// -1 turns back.
func (p *pass) rotate(qkv []float32, position []int, sign float32) {
	half, width := p.HeadDim/2, p.qkvDim()
	p.byRows(len(position), func(lo, hi int) {
		sin := make([]float32, half)
		for i := lo; i < hi; i++ {
			cos := p.cos[position[i]*half:][:half]
			for j, s := range p.sin[position[i]*half:][:half] {
				sin[j] = s * sign
			}
			for h := range p.Heads + p.KVHeads {
				spec.Rotate(qkv[i*width+h*p.HeadDim:][:p.HeadDim], cos, sin, spec.RoPENorm)
			}
		}
	})
}

func resize(b []float32, n int) []float32 {
	if cap(b) < n {
		return make([]float32, n)
	}
	return b[:n]
}
