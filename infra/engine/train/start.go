package train

import "github.com/koinon-network/koinon/infra/engine/spec"

// Sizes and scales of the starting weights. Those of the induction head were
// found by experiment: on exercises in copying alone, a hundred steps of 1,000
// tokens reach a loss of 1 nat with them and of 4 nats without.
const (
	startEmbedding = 0.05
	startResidual  = 0.2 // of what layers add to the residual stream

	markerDims  = 8    // dimensions with the same start in all embeddings
	markerPairs = 4    // rotary pairs that tell neighbours apart, the fastest
	markerValue = 0.1  // of the common dimensions
	lookGain    = 0.38 // from these to query and key
	lookRest    = 0.3  // of the random rows of looking heads
	noteGain    = 0.2  // of the note of the token before
	matchGain   = 1.3  // from token and note to query and key
	copyGain    = 0.5  // of the proposed token
)

// initialize draws the starting weights: norms are 1, matrices normal.
func initialize(c Config) *Weights {
	w := view(c, make([]float32, c.Parameters()))
	r := Random(c.Seed)
	inner := 1 / spec.Sqrt(float32(c.Dim))
	depth := startResidual / spec.Sqrt(float32(2*c.Layers))
	r.fill(w.embed, startEmbedding)
	for _, l := range w.layers {
		ones(l.attnNorm)
		r.fill(l.qkv, inner)
		r.fill(l.out, depth/spec.Sqrt(float32(c.attnDim())))
		ones(l.ffnNorm)
		r.fill(l.gateUp, inner)
		r.fill(l.down, depth/spec.Sqrt(float32(c.FeedForward)))
	}
	ones(w.norm)
	if c.LookBack > 0 {
		w.lookBack()
		w.induce(&r)
	}
	return w
}

func ones(p []float32) {
	for i := range p {
		p[i] = 1
	}
}

func (r *Random) fill(p []float32, deviation float32) {
	for i := range p {
		p[i] = r.Normal() * deviation
	}
}

// row returns row i of a head's query, key or value rows, which begin at first.
func (w *Weights) row(layer, first, i int) []float32 {
	d := w.Config.Dim
	return w.layers[layer].qkv[(first+i)*d:][:d]
}

// lookBack gives all embeddings a common part, which the first layer's first
// key head and its query heads turn into constants. A query that equals the key
// turned back by n positions scores highest n positions back.
func (w *Weights) lookBack() {
	c := w.Config
	for t := range c.Vocabulary {
		for j := range markerDims {
			w.embed[t*c.Dim+j] = markerValue
		}
	}
	constant := func(row []float32, value float32) {
		clear(row)
		for j := range markerDims {
			row[j] = value
		}
	}
	frequencies := spec.RoPE{Style: spec.RoPENorm, Dim: c.HeadDim, Base: c.RopeBase}.Frequencies()
	cos, sin := make([]float32, len(frequencies)), make([]float32, len(frequencies))
	for n := range c.LookBack + 1 {
		first := (n - 1) * c.HeadDim // query head n-1
		if n == 0 {
			first = c.attnDim() // the key head
		}
		for i := range c.HeadDim {
			for j := range c.Dim {
				w.row(0, first, i)[j] *= lookRest
			}
		}
		spec.RoPERow(cos, sin, frequencies, n)
		for i := range markerPairs {
			constant(w.row(0, first, 2*i), lookGain*cos[i])
			constant(w.row(0, first, 2*i+1), -lookGain*sin[i])
		}
	}
}

// induce completes an induction head (Olsson et al., "In-context Learning and
// Induction Heads", 2022). Head 0 of the first layer, which looks one token
// back, adds a note of that token to the residual stream. Head 0 of the second
// layer looks for a note of its own token and proposes the token that it finds
// there: the one that came next the last time.
func (w *Weights) induce(r *Random) {
	c := w.Config
	key, value := c.attnDim(), c.attnDim()+c.KVHeads*c.HeadDim
	// Only pairs that turn slowly take part, so that distance hardly matters.
	slow := 2 * (c.HeadDim * 9 / 32)
	inner := 1 / spec.Sqrt(float32(c.Dim))
	digest, note := make([]float32, c.Dim), make([]float32, c.Dim)
	for i := range c.HeadDim - slow {
		r.fill(digest[markerDims:], inner)
		r.fill(note[markerDims:], inner)
		copy(w.row(0, value, i), digest)
		query, key := w.row(1, 0, slow+i), w.row(1, key, slow+i)
		for j := range c.Dim {
			w.layers[0].out[j*c.attnDim()+i] = noteGain * note[j]
			query[j], key[j] = matchGain*digest[j], matchGain*note[j]
		}
	}
	for i := range c.HeadDim {
		for j, v := range w.row(1, value, i) {
			w.layers[1].out[j*c.attnDim()+i] = copyGain * v
		}
	}
}
