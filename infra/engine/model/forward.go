package model

import (
	"context"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/grammar"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// logitRows is how many rows of logits are computed and sampled at a time: it
// bounds their memory where the vocabulary is large.
const logitRows = 16

// row is one position of one sequence in a pass.
type row struct {
	sequence *sequence
	token    core.Token
	position int
	draw     bool          // sample the next token from this position
	state    grammar.State // of the constraint, where it draws

	drawn    core.Token // the token drawn, or -1 when the outcome is invalid
	logprobs core.TokenLogprobs
	bad      bool // a boundary value is not finite
	standing core.Standing
}

// workspace holds the buffers of a pass, reused by the next one. All are
// [row][...] flat.
type workspace struct {
	rows    []row
	x       []float32 // residual stream
	delta   []float32 // what a half-layer adds to it
	normed  []float32
	mixture mixture
	qkv     []float32 // query, key and value rows side by side
	keys8   []byte    // key rows as an int8 cache keeps them
	values8 []byte
	mixed   []float32 // attention's answer
	hidden  []float32
	scratch []float32
	logits  []float32
	input   kernel.Activations // of width: normed
	answer  kernel.Activations // of mixed
	inner   kernel.Activations // of hidden
	final   kernel.Activations // of normed rows that are sampled
	queries []kernel.Query
	chosen  []int // rows to draw from
	drawers [logitRows]sample.Drawer
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

func (w *workspace) resize(c *config) {
	n := len(w.rows)
	w.x, w.delta, w.normed = sized(w.x, n*c.Width), sized(w.delta, n*c.Width), sized(w.normed, n*c.Width)
	w.qkv = sized(w.qkv, n*(c.QWidth()+2*c.KVWidth()))
	if c.int8 {
		w.keys8, w.values8 = sized(w.keys8, n*c.shape().RowBytes()), sized(w.values8, n*c.shape().RowBytes())
	}
	w.mixed = sized(w.mixed, n*c.QWidth())
	hidden := max(c.Hidden, c.Experts.Hidden, c.Experts.SharedHidden)
	w.hidden, w.scratch = sized(w.hidden, n*hidden), sized(w.scratch, n*hidden)
	w.mixture.resize(c, n)
	w.queries = sized(w.queries, n)
}

// forward runs the rows of the workspace through the model: it writes keys,
// values and boundary digests to the sequences' blocks and draws where asked.
// Rows of one sequence are consecutive positions that continue what is
// processed. When it fails, because ctx ended or weights could
// not be read, no sequence has advanced.
func (m *Model) forward(ctx context.Context) error {
	w, c := &m.work, m.config
	w.resize(c)
	n := len(w.rows)
	m.each(n, func(i int) {
		x := at(w.x, i, c.Width)
		m.weights.embedding.row(x, w.rows[i].token)
		if c.InputScale != 0 {
			kernel.Scale(x, c.InputScale)
		}
	})
	for l := range m.weights.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.storage.ready(l); err != nil {
			return err
		}
		m.attention(l)
		m.feedForward(l)
	}
	last := m.weights.layers[c.Layers-1].feedOutputNorm
	m.each(n, func(i int) {
		m.add(i, last)
		m.bound(&w.rows[i], c.Layers, at(w.x, i, c.Width), nil, nil, nil, nil)
	})
	return m.draw(ctx)
}

// at is row i of a flat matrix.
func at[T any](m []T, i, width int) []T { return m[i*width : (i+1)*width : (i+1)*width] }

// threadWork is how many numbers a thread should have to deal with before it is
// worth its while. Tests lower it, so that small models use all threads too.
var threadWork = 8 << 10

// share is how many of n rows a thread takes at a time.
func (m *Model) share(n, width int) int {
	parts := 4 * m.pool.Threads()
	return max((n+parts-1)/parts, threadWork/width, 1)
}

// each runs body for all rows, spread over the threads.
func (m *Model) each(n int, body func(i int)) {
	m.pool.Run(n, m.share(n, m.config.Width), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			body(i)
		}
	})
}

// attention runs the first half of layer l, leaving its addition in delta.
func (m *Model) attention(l int) {
	w, c, layer := &m.work, m.config, &m.weights.layers[l]
	n, q, kv := len(w.rows), c.QWidth(), c.KVWidth()
	stride := q + 2*kv

	var before []float32
	if l > 0 {
		before = m.weights.layers[l-1].feedOutputNorm
	}
	m.addAndNorm(l > 0, before, layer.attentionNorm)
	kernel.Linears(m.pool, &w.input,
		kernel.Product{W: layer.q, Out: w.qkv, Stride: stride},
		kernel.Product{W: layer.k, Out: w.qkv[q:], Stride: stride},
		kernel.Product{W: layer.v, Out: w.qkv[q+kv:], Stride: stride})
	rope, window := m.ropes[c.Rotary[l]], c.Windows[l]
	m.each(n, func(i int) {
		r, all := &w.rows[i], at(w.qkv, i, stride)
		if layer.bias != nil {
			kernel.AddInto(all, layer.bias)
		}
		if layer.queryNorm != nil {
			m.normHeads(all[:q], layer.queryNorm)
			m.normHeads(all[q:q+kv], layer.keyNorm)
		}
		rope.Rotate(all[:q+kv], c.HeadDim, r.position)
		k, v := all[q:q+kv], all[q+kv:]
		pages := r.sequence.pages[l]
		w.queries[i] = kernel.Query{Pages: pages, First: spec.WindowStart(r.position, window), Position: r.position}
		page, slot := pages[r.position/kernel.PageTokens], r.position%kernel.PageTokens
		var k8, v8 []byte
		if c.int8 {
			k8, v8 = at(w.keys8, i, m.shape.RowBytes()), at(w.values8, i, m.shape.RowBytes())
			m.shape.Quantize(k8, k)
			m.shape.Quantize(v8, v)
			m.shape.StoreQuantized(page, slot, k8, v8)
		} else {
			m.shape.Store(page, slot, k, v)
		}
		m.bound(r, l, at(w.x, i, c.Width), k, v, k8, v8)
	})
	kernel.Attention(m.pool, m.shape, c.Heads, w.mixed, q, w.qkv, stride, w.queries, c.scoring)
	w.answer.Reset(w.mixed, q, n, q)
	if quantizes(q) {
		m.pool.Run(n, m.share(n, q), w.answer.Set)
	}
	kernel.Linear(m.pool, w.delta, c.Width, layer.o, &w.answer)
}

func (m *Model) normHeads(x, weight []float32) {
	for h := 0; h < len(x); h += m.config.HeadDim {
		head := x[h : h+m.config.HeadDim]
		kernel.RMSNorm(head, head, weight, m.config.Eps)
	}
}

// feedForward runs the second half of layer l, leaving its addition in delta.
func (m *Model) feedForward(l int) {
	w, layer := &m.work, &m.weights.layers[l]
	m.addAndNorm(true, layer.attentionOutputNorm, layer.feedNorm)
	if layer.experts != nil {
		m.mix(layer)
	} else {
		m.feed(w.delta, &layer.feed, &w.input)
	}
}

// feed sets the rows of out to a feed-forward network's answer to input.
func (m *Model) feed(out []float32, f *feed, input *kernel.Activations) {
	w, c := &m.work, m.config
	kernel.GatedLinear(m.pool, c.activation, &w.inner, w.hidden, w.scratch, f.gate.Rows, f.gate, f.up, input)
	kernel.Linear(m.pool, out, c.Width, f.down, &w.inner)
}

// add adds delta, normalised where there is a weight for it, to row i of the
// residual stream.
func (m *Model) add(i int, norm []float32) {
	w, c := &m.work, m.config
	delta := at(w.delta, i, c.Width)
	if norm != nil {
		kernel.RMSNorm(delta, delta, norm, c.Eps)
	}
	kernel.AddInto(at(w.x, i, c.Width), delta)
}

// addAndNorm adds delta to the residual stream, if asked, and makes its
// normalised rows the input of the next products.
func (m *Model) addAndNorm(add bool, outputNorm, inputNorm []float32) {
	w, c := &m.work, m.config
	n := len(w.rows)
	w.input.Reset(w.normed, c.Width, n, c.Width)
	m.each(n, func(i int) {
		if add {
			m.add(i, outputNorm)
		}
		kernel.RMSNorm(at(w.normed, i, c.Width), at(w.x, i, c.Width), inputNorm, c.Eps)
		if quantizes(c.Width) {
			w.input.Set(i, i+1)
		}
	})
}

// quantizes reports whether rows of that width can meet quantised weights.
func quantizes(width int) bool { return width%spec.Block == 0 }

// bound checks the boundary values of a row at layer boundary l and records
// their digest where the sequence is traced. An int8 cache keeps k and v as k8
// and v8, nil otherwise.
func (m *Model) bound(r *row, l int, x, k, v []float32, k8, v8 []byte) {
	if !kernel.Finite(x) || !kernel.Finite(k) || !kernel.Finite(v) {
		r.bad = true
	}
	if p := r.sequence.probe; p != nil && p.layer == l {
		p.take(r.position, x, k, v)
	}
	if s := r.sequence; s.in.Trace {
		b := s.lease.blocks[r.position/kernel.PageTokens]
		at := &b.digests[r.position%kernel.PageTokens*(m.config.Layers+1)+l]
		if k8 == nil {
			*at = digest(x, k, v)
		} else {
			*at = digest8(x, k8, v8)
		}
	}
}

// draw samples from the chosen rows' logits.
func (m *Model) draw(ctx context.Context) error {
	w := &m.work
	m.markInvalid()
	w.chosen = w.chosen[:0]
	for i := range w.rows {
		if w.rows[i].draw {
			w.chosen = append(w.chosen, i)
		}
	}
	for first := 0; first < len(w.chosen); first += logitRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.storage.ready(len(m.weights.layers)); err != nil {
			return err
		}
		m.drawSome(w.chosen[first:min(first+logitRows, len(w.chosen))])
	}
	return nil
}

func (m *Model) drawSome(chosen []int) {
	w, c, vocabulary := &m.work, m.config, m.info.Vocabulary
	n := len(chosen)
	w.final.Reset(w.normed, c.Width, n, c.Width)
	for i, r := range chosen {
		kernel.RMSNorm(at(w.normed, i, c.Width), at(w.x, r, c.Width), m.weights.finalNorm, c.Eps)
	}
	if quantizes(c.Width) {
		w.final.Set(0, n)
	}
	w.logits = sized(w.logits, n*vocabulary)
	kernel.Linear(m.pool, w.logits, vocabulary, m.weights.head, &w.final)
	m.pool.Run(n, max(1, threadWork/vocabulary), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			r := &w.rows[chosen[i]]
			if c.LogitCap != 0 {
				kernel.SoftCap(at(w.logits, i, vocabulary), c.LogitCap)
			}
			var err error
			if j := r.sequence.jury; j != nil {
				r.standing, err = w.drawers[i].Stand(at(w.logits, i, vocabulary), &r.sequence.in.Sampler, r.point(), j.claimed(r), j.seeded)
				if err != nil || r.bad {
					r.drawn = -1
				}
				continue
			}
			r.drawn, r.logprobs, err = w.drawers[i].Draw(at(w.logits, i, vocabulary), &r.sequence.in.Sampler, r.point())
			if err != nil || r.bad {
				r.drawn, r.logprobs = -1, nil
			}
		}
	})
}

// markInvalid spreads what is not finite to all later positions of a sequence.
func (m *Model) markInvalid() {
	for i := range m.work.rows {
		r := &m.work.rows[i]
		if r.bad {
			r.sequence.invalid = true
		}
		r.bad = r.sequence.invalid
	}
}
