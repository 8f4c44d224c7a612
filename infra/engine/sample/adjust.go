package sample

import (
	"math"

	"github.com/koinon-network/koinon/core"
)

var masked = float32(math.Inf(-1))

// shift remembers a logit before it was changed.
type shift struct {
	token core.Token
	logit float32
}

// adjust applies biases, penalties and the constraint, and reports whether it
// changed anything. A token that the constraint forbids has no chance whatever
// its bias is, and its changed logit may be anything.
func (d *Drawer) adjust(logits []float32, p *core.Sampler, at Point) (bool, error) {
	d.shifted = d.shifted[:0]
	for _, b := range p.Bias {
		d.shift(logits, b.Token, logits[b.Token]+millionths(b.Bias))
	}
	if HasPenalties(p) {
		d.penalise(logits, p, at.Past)
	}
	for _, s := range d.shifted {
		if !finite(logits[s.token]) && (at.Allowed == nil || at.Allowed.Has(s.token)) {
			return false, ErrInvalid
		}
	}
	if at.Allowed == nil {
		return len(d.shifted) > 0, nil
	}
	if at.Allowed.Len() == 0 {
		return false, ErrNoChoice
	}
	at.Allowed.apply(logits)
	return true, nil
}

// HasPenalties reports whether draws under p need a history.
func HasPenalties(p *core.Sampler) bool {
	return p.RepetitionPenalty > micro || p.FrequencyPenalty != 0 || p.PresencePenalty != 0
}

func (d *Drawer) penalise(logits []float32, p *core.Sampler, past Past) {
	past.each(func(t core.Token, count int) { d.shift(logits, t, penalised(p, logits[t], count)) })
}

// penalised is the logit l of a token that occurs, count times in the answer.
func penalised(p *core.Sampler, l float32, count int) float32 {
	repetition := float32(1)
	if p.RepetitionPenalty > 0 {
		repetition = float32(p.RepetitionPenalty) / micro
	}
	if l > 0 {
		l = l / repetition
	} else {
		l = float32(l * repetition)
	}
	if count > 0 {
		l = l - float32(float32(count)*millionths(p.FrequencyPenalty))
		l = l - millionths(p.PresencePenalty)
	}
	return l
}

func millionths(n int32) float32 { return float32(n) / micro }

func (d *Drawer) shift(logits []float32, t core.Token, l float32) {
	d.shifted = append(d.shifted, shift{t, logits[t]})
	logits[t] = l
}

// original is the model's own logit of t.
func (d *Drawer) original(logits []float32, t core.Token) float32 {
	for _, s := range d.shifted {
		if s.token == t {
			return s.logit // the first change is of the model's own
		}
	}
	return logits[t]
}
