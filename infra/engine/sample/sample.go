// Package sample draws tokens canonically (spec/sampling.md): the same logits,
// sampler, seed, position and history give the same token on every machine.
//
// Start with a [Drawer], whose Draw turns the logits of one position into a
// token, and its log-probabilities where the sampler asks for them. Penalties
// look at a [History]; a constraint comes as a [Mask]. Temperature 0 is the same
// code as any other temperature and yields the likeliest token, the lowest id
// where several are equal.
//
// Guarantees: only rounded float32 operations, the canonical exponential and
// integers are used, so every bit is defined; a NaN or an infinity among the
// logits is [ErrInvalid], never a token; the work is O(vocabulary) whatever the
// logits, and penalties add O(distinct tokens).
package sample

import (
	"errors"
	"math"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// Outcomes that give no token.
var (
	ErrInvalid  = errors.New("invalid: the logits are not finite")
	ErrNoChoice = errors.New("invalid: the constraint allows no token")
)

const (
	// window is how far below the maximum a logit may lie and still be drawn:
	// at the highest temperature the noise spans less.
	window = 64
	// weightless lies safely below ln 2^-30: there the weight is 0.
	weightless = 21
)

// Point is one output position of an answer.
type Point struct {
	Seed core.Seed
	// Position counts from the prompt's end; tokens delivered earlier count.
	Position uint32
	// Past is needed where the sampler has penalties.
	Past Past
	// Allowed are the tokens that the constraint allows; nil allows all.
	Allowed *Mask
}

// Drawer draws tokens and keeps its working memory between calls. It belongs
// to one goroutine at a time; the zero value is ready.
type Drawer struct {
	cand []candidate
	hist [1 << 11]uint64
	// weights are those of a stretch of the vocabulary, before rounding.
	weights [512]float32
	race    race
	probs   probabilities
	shifted []shift
}

// Draw returns the token at a point for the logits of the whole vocabulary,
// which it may overwrite, and its log-probabilities if p asks for them. Biases
// must be of tokens in the vocabulary.
func (d *Drawer) Draw(logits []float32, p *core.Sampler, at Point) (core.Token, core.TokenLogprobs, error) {
	top, err := argmax(logits)
	if err != nil {
		return 0, nil, err
	}
	if p.Logprobs > 0 {
		d.measure(logits, logits[top], int(p.Logprobs)-1)
	}
	if changed, err := d.adjust(logits, p, at); err != nil {
		return 0, nil, err
	} else if changed {
		top = leading(logits, at.Allowed)
	}
	t := d.choose(logits, top, p, at)
	if p.Logprobs == 0 {
		return t, nil, nil
	}
	return t, d.probs.of(t, d.original(logits, t)), nil
}

// choose draws among the allowed tokens, of which top has the greatest logit.
func (d *Drawer) choose(logits []float32, top core.Token, p *core.Sampler, at Point) core.Token {
	r := &d.race
	r.start(logits[top], p.Temperature, at.Seed, at.Position)
	r.enter(top, 0)
	weigh := p.MinP > 0 || p.TopP > 0 && p.TopP < micro
	few := at.Allowed != nil && at.Allowed.words == nil
	if !few && !weigh && p.TopK == 0 {
		r.enterAll(logits)
		return r.best
	}
	if few {
		d.collectFew(logits, r.max, at.Allowed.few)
	} else {
		d.collect(logits, r.max, weigh)
	}
	d.filter(p)
	for _, c := range d.cand {
		r.enter(c.id, logits[c.id]-r.max)
	}
	return r.best
}

// stretch is how many logits are compared at a time.
const stretch = 1 << 10

// argmax returns the lowest id with the greatest logit.
func argmax(logits []float32) (core.Token, error) {
	if len(logits) == 0 {
		return 0, ErrInvalid
	}
	for rest := logits; len(rest) > 0; rest = rest[min(stretch, len(rest)):] {
		if !kernel.Finite(rest[:min(stretch, len(rest))]) {
			return 0, ErrInvalid
		}
	}
	return first(logits), nil
}

// first is the lowest id with the greatest logit, none of which is NaN.
func first(logits []float32) core.Token {
	from, top := 0, kernel.Greatest(logits[:min(stretch, len(logits))])
	for at := stretch; at < len(logits); at += stretch {
		if t := kernel.Greatest(logits[at:min(at+stretch, len(logits))]); t > top {
			from, top = at, t
		}
	}
	return core.Token(from + slices.Index(logits[from:], top))
}

func finite(l float32) bool { return math.Float32bits(l)&0x7f800000 != 0x7f800000 }

// leading is argmax over the allowed tokens, without the check. Where they are
// many, the others are masked.
func leading(logits []float32, allowed *Mask) core.Token {
	if allowed != nil && allowed.words == nil {
		best := allowed.few[0]
		for _, t := range allowed.few {
			if logits[t] > logits[best] {
				best = t
			}
		}
		return best
	}
	return first(logits)
}

// collectFew lists these tokens.
func (d *Drawer) collectFew(logits []float32, top float32, few []core.Token) {
	d.cand = d.cand[:0]
	for ; len(few) > 0; few = few[min(len(few), len(d.weights)):] {
		ts := few[:min(len(few), len(d.weights))]
		weights := d.weights[:len(ts)]
		for i, t := range ts {
			weights[i] = logits[t] - top
		}
		kernel.Exp(weights)
		for i, t := range ts {
			d.cand = append(d.cand, candidate{t, orderKey(logits[t]), uint32(weights[i] * one)})
		}
	}
}

// collect lists the tokens that some filter might keep, in order of ids. What
// it leaves out lies at the end of the filters' order with weight 0.
func (d *Drawer) collect(logits []float32, top float32, weigh bool) {
	d.cand = d.cand[:0]
	limit := float32(-window)
	if weigh {
		limit = -weightless
	}
	for first := 0; first < len(logits); first += len(d.weights) {
		ls := logits[first:min(first+len(d.weights), len(logits))]
		weights := d.weights[:len(ls)]
		if weigh {
			for i, l := range ls {
				weights[i] = l - top
			}
			kernel.Exp(weights)
		}
		for i, l := range ls {
			if l-top >= limit {
				d.cand = append(d.cand, candidate{core.Token(first + i), orderKey(l), uint32(weights[i] * one)})
			}
		}
	}
}
