package sample

import (
	"cmp"
	"math"
	"slices"

	"github.com/koinon-network/koinon/core"
)

// Listed is a token with the natural logarithm of its probability.
type Listed struct {
	Token   core.Token
	Logprob float64
}

// DrawListed draws as [Drawer.Draw] does where only the likeliest tokens are
// known, with the logarithms of their probabilities among all tokens: the same
// filters, the same noise. What is not listed is never drawn. It returns false
// where nothing usable is listed; the sampler has no penalties, biases or
// constraint.
func DrawListed(listed []Listed, p *core.Sampler, seed core.Seed, position uint32) (core.Token, bool) {
	cs := slices.DeleteFunc(slices.Clone(listed), func(c Listed) bool {
		return c.Token < 0 || math.IsNaN(c.Logprob) || math.IsInf(c.Logprob, 0)
	})
	if len(cs) == 0 {
		return 0, false
	}
	slices.SortFunc(cs, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(b.Logprob, a.Logprob), cmp.Compare(a.Token, b.Token))
	})
	cs = keepListed(cs, p)
	best, most := core.Token(-1), int64(math.MinInt64)
	for _, c := range cs {
		x := c.Logprob - cs[0].Logprob
		if x < -window {
			break
		}
		score := int64(math.Floor(x*(1<<24))) * micro
		if p.Temperature > 0 {
			score += int64(p.Temperature) * Gumbel(Word(seed, position, c.Token))
		}
		if score > most || score == most && c.Token < best {
			best, most = c.Token, score
		}
	}
	return best, true
}

// keepListed applies the filters to tokens in falling order. The whole
// distribution sums to 1, what top-k left of it to less.
func keepListed(cs []Listed, p *core.Sampler) []Listed {
	whole := 1.0
	if p.TopK > 0 && uint64(p.TopK) <= uint64(len(cs)) {
		cs = cs[:p.TopK]
		whole = mass(cs)
	}
	if p.MinP > 0 {
		least := math.Log(float64(p.MinP) / micro)
		cs = slices.DeleteFunc(cs, func(c Listed) bool { return c.Logprob-cs[0].Logprob < least })
		whole = min(whole, mass(cs))
	}
	if p.TopP > 0 && p.TopP < micro {
		sum, want := 0.0, whole*(float64(p.TopP)/micro)
		for i, c := range cs {
			if sum += math.Exp(c.Logprob); sum >= want {
				return cs[:i+1]
			}
		}
	}
	return cs
}

func mass(cs []Listed) (sum float64) {
	for _, c := range cs {
		sum += math.Exp(c.Logprob)
	}
	return sum
}
