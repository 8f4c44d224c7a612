package sample

import (
	"cmp"
	"errors"
	"math/bits"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// This file has the draw's rules token by token (spec/sampling.md), for whoever
// has to decide a draw from a few numbers.

// Judged reports whether [Cut.Wins] decides draws of this sampler: all but
// those under a constraint.
func Judged(s *core.Sampler) bool { return s.Constraint == nil && s.Check() == nil }

// Filtered reports whether a draw depends on the logits of the whole
// vocabulary: by top-k or by top-p.
func Filtered(s *core.Sampler) bool { return s.TopK > 0 || cutsMass(s) }

func cutsMass(s *core.Sampler) bool { return s.TopP > 0 && s.TopP < micro }

// Seen is how often a token occurs before a draw.
type Seen struct{ Prompt, Answer uint32 }

// Adjusted is a token's logit after bias and penalties.
func Adjusted(s *core.Sampler, t core.Token, l float32, n Seen) float32 {
	if i, ok := slices.BinarySearchFunc(s.Bias, t, func(b core.TokenBias, t core.Token) int { return cmp.Compare(b.Token, t) }); ok {
		l = l + millionths(s.Bias[i].Bias)
	}
	if HasPenalties(s) && n.Prompt+n.Answer > 0 {
		l = penalised(s, l, int(n.Answer))
	}
	return l
}

// Candidate is a token with its adjusted logit.
type Candidate struct {
	Token core.Token
	Logit float32
}

// leads reports whether c stands at d or before it: falling logits, then rising
// ids.
func (c Candidate) leads(d Candidate) bool {
	return c.Logit > d.Logit || c.Logit == d.Logit && c.Token <= d.Token
}

// Cut is what the filters leave of a draw.
type Cut struct {
	Top float32 // the greatest adjusted logit
	// K and P are the last tokens that top-k and top-p leave; nil where they leave
	// all that came to them.
	K, P *Candidate
}

// Sum is what decides where the cuts are, of a run of tokens.
type Sum struct {
	Leading uint32 // tokens that top-k leaves
	Total   uint64 // weight of those that top-k and min-p leave
	Kept    uint64 // weight of those that top-p leaves, too
}

// Add enters other tokens.
func (n *Sum) Add(o Sum) {
	n.Leading, n.Total, n.Kept = n.Leading+o.Leading, n.Total+o.Total, n.Kept+o.Kept
}

// Weigh returns a token's own sum, and whether all filters leave it.
func (f *Cut) Weigh(s *core.Sampler, c Candidate) (n Sum, kept bool) {
	if f.K != nil && !c.leads(*f.K) {
		return n, false
	}
	n.Leading = 1
	weight := uint64(float32(spec.Exp(c.Logit-f.Top) * one))
	if uint64(s.MinP)*one > weight*micro {
		return n, false
	}
	n.Total = weight
	if f.P != nil && !c.leads(*f.P) {
		return n, false
	}
	n.Kept = weight
	return n, true
}

var errCut = errors.New("the filters' last tokens are not where the sums say")

// Check holds the cuts against the sum over a vocabulary of n tokens.
func (f *Cut) Check(s *core.Sampler, sum Sum, n int) error {
	switch cuts := s.TopK > 0 && uint64(s.TopK) < uint64(n); {
	case cuts != (f.K != nil), cutsMass(s) != (f.P != nil):
		return errors.New("the filters have other last tokens")
	case cuts && sum.Leading != s.TopK:
		return errCut
	}
	if f.P == nil {
		return nil
	}
	last, kept := f.Weigh(s, *f.P)
	if !kept || last.Kept > sum.Kept || !reaches(s, sum.Kept, sum.Total) || reaches(s, sum.Kept-last.Kept, sum.Total) {
		return errCut
	}
	return nil
}

// reaches reports whether a weight is top-p's share of the total.
func reaches(s *core.Sampler, weight, total uint64) bool {
	ah, al := bits.Mul64(weight, micro)
	bh, bl := bits.Mul64(total, uint64(s.TopP))
	return ah > bh || ah == bh && al >= bl
}

// NewCut finds the cuts for the adjusted logits of the whole vocabulary.
func NewCut(s *core.Sampler, logits []float32) Cut {
	all := make([]Candidate, len(logits))
	for i, l := range logits {
		all[i] = Candidate{core.Token(i), l}
	}
	slices.SortFunc(all, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Logit, a.Logit), cmp.Compare(a.Token, b.Token))
	})
	f := Cut{Top: all[0].Logit}
	if s.TopK > 0 && uint64(s.TopK) < uint64(len(all)) {
		all = all[:s.TopK]
		f.K = &all[s.TopK-1]
	}
	if !cutsMass(s) {
		return f
	}
	var sum Sum
	for _, c := range all {
		n, _ := f.Weigh(s, c)
		sum.Add(n)
	}
	var weight uint64
	for i, c := range all {
		n, kept := f.Weigh(s, c)
		if weight += n.Kept; kept && reaches(s, weight, sum.Total) {
			f.P = &all[i]
			break
		}
	}
	return f
}

// Wins reports whether a beats b at an output position: what one row of
// [Drawer.Draw]'s race decides. A candidate that the filters drop beats nobody,
// and loses against one that they keep.
func (f *Cut) Wins(s *core.Sampler, seed core.Seed, position uint32, a, b Candidate) bool {
	scoreA, keptA := f.score(s, seed, position, a)
	scoreB, keptB := f.score(s, seed, position, b)
	if !keptA || !keptB {
		return keptA
	}
	return scoreA > scoreB || scoreA == scoreB && a.Token < b.Token
}

func (f *Cut) score(s *core.Sampler, seed core.Seed, position uint32, c Candidate) (score int64, kept bool) {
	x := c.Logit - f.Top
	if _, kept := f.Weigh(s, c); !kept || !(x >= -window) {
		return 0, false
	}
	score = fixed(x) * micro
	if s.Temperature > 0 {
		score += int64(s.Temperature) * Gumbel(Word(seed, position, c.Token))
	}
	return score, true
}
