package p2p

import (
	"errors"
	"math"
	"slices"

	"github.com/koinon-network/koinon/core"
)

// checkLogprobs holds a chunk's log-probabilities against what was ordered and
// against what any distribution obeys. Whether they are the model's is for an
// audit to find out.
func checkLogprobs(c *core.Chunk, ordered uint32) error {
	if ordered == 0 {
		if len(c.Logprobs) > 0 {
			return errors.New("nobody ordered")
		}
		return nil
	}
	if len(c.Logprobs) != len(c.Tokens) {
		return errors.New("are not one for each token")
	}
	for i, l := range c.Logprobs {
		switch {
		case len(l) == 0 || l[0].Token != c.Tokens[i]:
			return errors.New("belong to another token")
		case len(l) > int(ordered):
			return errors.New("are more than were ordered")
		}
		if err := checkDistribution(l[0], l[1:]); err != nil {
			return err
		}
	}
	return nil
}

// checkDistribution checks the drawn token and the likeliest ones: falling,
// none twice, of a total that is not above 1, and none left out that is likelier.
func checkDistribution(drawn core.Logprob, top []core.Logprob) error {
	total, seen := 0.0, false
	for i, p := range top {
		if p.Value > 0 || p.Token < 0 {
			return errors.New("no distribution has")
		}
		if i > 0 && p.Value > top[i-1].Value {
			return errors.New("are out of order")
		}
		if slices.ContainsFunc(top[:i], func(q core.Logprob) bool { return q.Token == p.Token }) {
			return errors.New("name a token twice")
		}
		if p.Token == drawn.Token {
			if seen = true; p.Value != drawn.Value {
				return errors.New("contradict each other")
			}
		}
		total += math.Exp(float64(p.Value) / 1e6)
	}
	if drawn.Value > 0 {
		return errors.New("no distribution has")
	}
	if !seen {
		if n := len(top); n > 0 && drawn.Value > top[n-1].Value {
			return errors.New("leave out the token that was drawn")
		}
		total += math.Exp(float64(drawn.Value) / 1e6)
	}
	if total > 1.001 {
		return errors.New("add up to more than 1")
	}
	return nil
}
