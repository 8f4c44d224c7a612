package sample

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Judged reports whether [Wins] decides draws of this sampler: those that
// depend on the two candidates and the greatest logit alone.
func Judged(s core.Sampler) bool {
	filtered := s.TopK > 0 || s.TopP > 0 && s.TopP < micro
	shifted := s.RepetitionPenalty > micro || s.FrequencyPenalty != 0 || s.PresencePenalty != 0 || len(s.Bias) > 0
	return !filtered && !shifted && s.Constraint == nil && s.Check() == nil
}

// Candidate is a token with its logit.
type Candidate struct {
	Token core.Token
	Logit float32
}

// Wins reports whether a beats b at an output position when the greatest logit
// is top: what one row of [Drawer.Draw]'s race decides. A candidate that the
// filters drop beats nobody, and loses against one that they keep.
func Wins(s core.Sampler, seed core.Seed, position uint32, top float32, a, b Candidate) bool {
	scoreA, keptA := score(s, seed, position, top, a)
	scoreB, keptB := score(s, seed, position, top, b)
	if !keptA || !keptB {
		return keptA
	}
	return scoreA > scoreB || scoreA == scoreB && a.Token < b.Token
}

func score(s core.Sampler, seed core.Seed, position uint32, top float32, c Candidate) (score int64, kept bool) {
	x := c.Logit - top
	if !(x >= -window) {
		return 0, false
	}
	weight := uint64(float32(spec.Exp(x) * one))
	if uint64(s.MinP)*one > weight*micro {
		return 0, false
	}
	score = fixed(x) * micro
	if s.Temperature > 0 {
		score += int64(s.Temperature) * Gumbel(Word(seed, position, c.Token))
	}
	return score, true
}
