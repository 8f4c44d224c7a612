// Package sample draws tokens canonically (spec/sampling.md): the same logits,
// sampler, seed and position give the same token on every machine.
//
// Start with [Check], which refuses samplers out of range, and a [Drawer], whose
// Draw turns the logits of one position into a token. Temperature 0 is the same
// code as any other temperature and yields the likeliest token, the lowest id
// where several are equal.
//
// Guarantees: only float32 subtraction, the canonical exponential and integers
// are used, so every bit is defined; a NaN or an infinity among the logits is
// [ErrInvalid], never a token; the work is O(vocabulary) whatever the logits.
package sample

import (
	"errors"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// ErrInvalid is the defined outcome of logits that hold a NaN or an infinity.
var ErrInvalid = errors.New("invalid: the logits are not finite")

// Limits on a sampler's stop strings.
const (
	MaxStops      = 16
	MaxStopLength = 256 // bytes
	// MaxTemperature is the highest temperature, in millionths.
	MaxTemperature = 2 * micro
)

// Check refuses samplers that no engine runs, naming the field.
func Check(s core.Sampler) error {
	bad := func(param, format string, args ...any) error {
		e := core.Errorf(core.CodeInvalid, format, args...)
		e.Param = param
		return e
	}
	switch {
	case s.Temperature > MaxTemperature:
		return bad("temperature", "temperature is %g, at most 2 is possible", float64(s.Temperature)/micro)
	case s.TopP > micro:
		return bad("top_p", "top_p is %g, at most 1 is possible", float64(s.TopP)/micro)
	case s.MinP > micro:
		return bad("min_p", "min_p is %g, at most 1 is possible", float64(s.MinP)/micro)
	case s.MaxTokens == 0:
		return bad("max_tokens", "max_tokens must be at least 1")
	case len(s.Stop) > MaxStops:
		return bad("stop", "%d stop strings, at most %d are possible", len(s.Stop), MaxStops)
	}
	if s.RepetitionPenalty != 0 || s.FrequencyPenalty != 0 || s.PresencePenalty != 0 || len(s.Bias) > 0 || s.Logprobs > 0 || s.Constraint != nil {
		return bad("sampler", "penalties, biases, log-probabilities and constraints are not served yet")
	}
	for _, t := range s.Stop {
		if t == "" || len(t) > MaxStopLength {
			return bad("stop", "a stop string has %d bytes, 1 to %d are possible", len(t), MaxStopLength)
		}
	}
	return nil
}

const (
	// window is how far below the maximum a logit may lie and still be drawn:
	// at the highest temperature the noise spans less.
	window = 64
	// weightless lies safely below ln 2^-30: there the weight is 0.
	weightless = 21
)

// Drawer draws tokens and keeps its working memory between calls. It belongs
// to one goroutine at a time; the zero value is ready.
type Drawer struct {
	cand []candidate
	hist [1 << 11]uint64
	// weights are those of a stretch of the vocabulary, before rounding.
	weights [512]float32
	race    race
}

// Draw returns the token at the given output position (counted from the
// prompt's end) for the logits of the whole vocabulary.
func (d *Drawer) Draw(logits []float32, p core.Sampler, seed core.Seed, position uint32) (core.Token, error) {
	top, err := argmax(logits)
	if err != nil {
		return 0, err
	}
	r := &d.race
	r.start(logits[top], p.Temperature, seed, position)
	r.enter(top, 0)
	weigh := p.MinP > 0 || p.TopP > 0 && p.TopP < micro
	if !weigh && p.TopK == 0 {
		r.enterAll(logits)
		return r.best, nil
	}
	d.collect(logits, r.max, weigh)
	d.filter(p)
	for _, c := range d.cand {
		r.enter(c.id, logits[c.id]-r.max)
	}
	return r.best, nil
}

// argmax returns the lowest id with the greatest logit.
func argmax(logits []float32) (core.Token, error) {
	if len(logits) == 0 {
		return 0, ErrInvalid
	}
	best := 0
	top := logits[0]
	for i, l := range logits {
		if math.Float32bits(l)&0x7f800000 == 0x7f800000 {
			return 0, ErrInvalid
		}
		if l > top {
			best, top = i, l
		}
	}
	return core.Token(best), nil
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
