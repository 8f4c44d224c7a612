package train

import (
	"context"
	"fmt"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Progress is the state after a step.
type Progress struct {
	Step, Steps int
	Loss        float64 // mean negative log-likelihood of the step's targets, nats
	Norm        float32 // of the gradient, before clipping
	Rate        float32
	Tokens      int // read so far
	Elapsed     time.Duration
}

// Run trains a model from scratch. The result depends on c (but not on
// c.Threads) and the corpus alone. Progress, if any, is called after every
// step. It fails when ctx ends, when a setting is impossible, and when the
// loss is no longer a number.
func Run(ctx context.Context, c Config, corpus Corpus, progress func(Progress)) (*Weights, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	start := time.Now()
	w := initialize(c)
	g := view(c, make([]float32, len(w.all)))
	p, optimizer := newPass(c), newAdamW(w)
	var (
		b      batch
		next   uint64
		tokens int
	)
	for step := range c.Steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if next, err = b.fill(c, corpus, next); err != nil {
			return nil, err
		}
		p.forward(w, &b)
		p.loss(&b)
		p.backward(w, g, &b)
		rate := c.rate(step)
		norm := optimizer.step(w.all, g.all, c, rate, p.workers)
		loss := p.meanLoss(&b)
		if !(loss < 1e6) || !(norm < 1e18) {
			return nil, fmt.Errorf("train: the loss left the numbers at step %d", step+1)
		}
		tokens += len(b.tokens)
		if progress != nil {
			progress(Progress{step + 1, c.Steps, loss, norm, rate, tokens, time.Since(start)})
		}
	}
	return w, nil
}

func (p *pass) meanLoss(b *batch) float64 {
	var sum float64
	for _, l := range p.losses[:len(b.rows)] {
		sum += float64(l)
	}
	return sum / float64(max(len(b.rows), 1))
}

// Score is how a model predicts one document's learnt tokens.
type Score struct {
	Loss  float64 // sum of negative log-likelihoods, nats
	Count int     // tokens predicted
	Right int     // of these, likeliest token equal to the document's
}

// Evaluate scores documents without changing the model. Each must be no longer
// than LongestInput.
func (w *Weights) Evaluate(documents []Document) ([]Score, error) {
	c := w.Config
	p := newPass(c)
	scores := make([]Score, 0, len(documents))
	for len(scores) < len(documents) {
		var b batch
		first := len(scores)
		var counts []int
		for _, d := range documents[first:] {
			if len(d.Tokens) > c.LongestInput {
				return nil, fmt.Errorf("train: a document has %d tokens, the most is %d", len(d.Tokens), c.LongestInput)
			}
			if len(b.tokens)+len(d.Tokens) > c.BatchTokens {
				break
			}
			if err := b.add(c, d); err != nil {
				return nil, err
			}
			counts = append(counts, len(b.rows))
		}
		p.forward(w, &b)
		best := make([]core.Token, len(b.rows))
		for r := range b.rows {
			for j, v := range p.logits[r*c.Vocabulary:][:c.Vocabulary] {
				if v > p.logits[r*c.Vocabulary+int(best[r])] {
					best[r] = core.Token(j)
				}
			}
		}
		p.loss(&b)
		row := 0
		for _, end := range counts {
			var s Score
			for ; row < end; row++ {
				s.Loss += float64(p.losses[row])
				s.Count++
				if best[row] == b.target[row] {
					s.Right++
				}
			}
			scores = append(scores, s)
		}
	}
	return scores, nil
}
