package train

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Config is everything besides the corpus that determines the weights, and
// Threads, which doesn't.
type Config struct {
	// Shape.
	Vocabulary   int
	Dim          int // width of the residual stream
	Layers       int
	Heads        int
	KVHeads      int // divides Heads
	HeadDim      int // even
	FeedForward  int
	RopeBase     float32
	NormEpsilon  float32
	LongestInput int // tokens in the longest document

	// Optimisation.
	Steps        int
	BatchTokens  int // tokens of whole documents in a step, at most
	LearningRate float32
	Warmup       int // steps
	FinalRate    float32
	WeightDecay  float32 // on matrices, not on norms
	Beta1, Beta2 float32
	ClipNorm     float32
	Seed         uint64
	// LookBack, if positive, starts the model with an induction head, which
	// copying needs and which training is slow to find: so many heads of the first
	// layer begin by attending 1, 2, ... positions back. At most the heads that
	// share a key.
	LookBack int

	// Threads bounds the goroutines; 0 means one.
	Threads int
}

// Validate reports the first impossible setting.
func (c Config) Validate() error {
	type positive struct {
		name string
		n    int
	}
	for _, p := range []positive{
		{"Vocabulary", c.Vocabulary}, {"Dim", c.Dim}, {"Layers", c.Layers}, {"Heads", c.Heads}, {"KVHeads", c.KVHeads},
		{"HeadDim", c.HeadDim}, {"FeedForward", c.FeedForward}, {"LongestInput", c.LongestInput}, {"Steps", c.Steps},
	} {
		if p.n < 1 {
			return fmt.Errorf("train: %s is %d, must be positive", p.name, p.n)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("train: %d key-value heads do not divide %d heads", c.KVHeads, c.Heads)
	case c.LookBack < 0 || c.LookBack > c.Heads/c.KVHeads || c.LookBack > 0 && (c.Layers < 2 || c.Dim < 2*markerDims || c.HeadDim < 2*markerPairs):
		return fmt.Errorf("train: %d heads cannot look back in a model of this shape", c.LookBack)
	case c.HeadDim%2 != 0:
		return fmt.Errorf("train: head dimension %d is odd", c.HeadDim)
	case c.BatchTokens < c.LongestInput:
		return fmt.Errorf("train: a batch of %d tokens cannot hold a document of %d", c.BatchTokens, c.LongestInput)
	case !(c.RopeBase > 0 && c.NormEpsilon > 0 && c.LearningRate > 0 && c.ClipNorm > 0):
		return fmt.Errorf("train: RopeBase, NormEpsilon, LearningRate and ClipNorm must be positive")
	}
	return nil
}

// rate returns the learning rate of a step, counted from 0: linear warm-up,
// then a half cosine down to FinalRate.
func (c Config) rate(step int) float32 {
	if step < c.Warmup {
		return float32(c.LearningRate*float32(step+1)) / float32(c.Warmup)
	}
	const pi = 3.14159265358979323846
	var cos, sin [1]float32
	spec.RoPERow(cos[:], sin[:], []float64{pi / float64(max(c.Steps-c.Warmup, 1))}, step-c.Warmup)
	return c.FinalRate + float32(float32((c.LearningRate-c.FinalRate)*0.5)*(1+cos[0]))
}

func (c Config) qkvDim() int  { return (c.Heads + 2*c.KVHeads) * c.HeadDim }
func (c Config) attnDim() int { return c.Heads * c.HeadDim }

// Parameters is the number of weights.
func (c Config) Parameters() int {
	layer := 2*c.Dim + c.qkvDim()*c.Dim + c.Dim*c.attnDim() + 3*c.FeedForward*c.Dim
	return c.Vocabulary*c.Dim + c.Layers*layer + c.Dim
}
