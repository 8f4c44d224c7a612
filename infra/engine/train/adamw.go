package train

import (
	"math"

	"github.com/koinon-network/koinon/infra/engine/spec"
	"github.com/koinon-network/koinon/infra/engine/train/internal/gemm"
)

// adamW is the optimizer of Loshchilov and Hutter, "Decoupled Weight Decay
// Regularization" (2019), with the gradient clipped by its norm.
type adamW struct {
	first, second []float32 // moments
	power1        float64   // Beta1^t
	power2        float64
	chunks        []chunk
}

// chunk is a run of weights of one tensor, the unit of parallel work and of
// the partial sums of the norm.
type chunk struct {
	lo, hi int
	decay  bool
}

const chunkLength = 4096

func newAdamW(w *Weights) *adamW {
	n := len(w.all)
	a := &adamW{first: make([]float32, n), second: make([]float32, n), power1: 1, power2: 1}
	at := 0
	tensor := func(p []float32, decay bool) {
		for end := at + len(p); at < end; {
			hi := min(at+chunkLength, end)
			a.chunks = append(a.chunks, chunk{at, hi, decay})
			at = hi
		}
	}
	tensor(w.embed, true)
	for _, l := range w.layers {
		tensor(l.attnNorm, false)
		tensor(l.qkv, true)
		tensor(l.out, true)
		tensor(l.ffnNorm, false)
		tensor(l.gateUp, true)
		tensor(l.down, true)
	}
	tensor(w.norm, false)
	return a
}

// norm returns the Euclidean norm of g: squares are summed in float32 within a
// chunk, in lanes and tree, and the chunks in float64, in order.
func (a *adamW) norm(g []float32, workers *gemm.Workers) float32 {
	sums := make([]float32, len(a.chunks))
	workers.Run(len(a.chunks), func(_ *gemm.Multiplier, i int) {
		var lanes spec.Lanes
		lanes.AddSquares(g[a.chunks[i].lo:a.chunks[i].hi])
		sums[i] = lanes.Total()
	})
	var total float64
	for _, s := range sums {
		total += float64(s)
	}
	return float32(math.Sqrt(total))
}

// step updates w by the gradient g, with rate the learning rate:
//
//	x = g * min(1, ClipNorm/norm)
//	m = Beta1*m + (1-Beta1)*x;  v = Beta2*v + (1-Beta2)*(x*x)
//	w = w - rate*((m*c1) / (sqrt(v*c2) + 1e-8)) - (rate*WeightDecay)*w
//
// where c1 = 1/(1-Beta1^t) and c2 = 1/(1-Beta2^t) are computed in float64.
func (a *adamW) step(w, g []float32, c Config, rate float32, workers *gemm.Workers) (norm float32) {
	norm = a.norm(g, workers)
	clip := float32(1)
	if norm > c.ClipNorm {
		clip = c.ClipNorm / norm
	}
	a.power1 = float64(a.power1 * float64(c.Beta1))
	a.power2 = float64(a.power2 * float64(c.Beta2))
	c1, c2 := float32(1/(1-a.power1)), float32(1/(1-a.power2))
	b1, b2 := c.Beta1, c.Beta2
	rest1, rest2 := 1-b1, 1-b2
	workers.Run(len(a.chunks), func(_ *gemm.Multiplier, i int) {
		k := a.chunks[i]
		decay := float32(0)
		if k.decay {
			decay = rate * c.WeightDecay
		}
		w, g := w[k.lo:k.hi], g[k.lo:k.hi]
		first, second := a.first[k.lo:k.hi], a.second[k.lo:k.hi]
		for j, x := range g {
			x = float32(x * clip)
			m := float32(b1*first[j]) + float32(rest1*x)
			v := float32(b2*second[j]) + float32(rest2*float32(x*x))
			first[j], second[j] = m, v
			move := float32(m*c1) / float32(spec.Sqrt(float32(v*c2))+1e-8)
			w[j] = w[j] - float32(rate*move) - float32(decay*w[j])
		}
	})
	return norm
}
