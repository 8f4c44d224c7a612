package seed

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/train"
)

// ngram is the baseline that the model is measured against: an interpolated
// n-gram model with Witten-Bell smoothing down to the uniform distribution,
// counted over whole training documents.
type ngram struct {
	order, vocabulary int
	follow            map[uint64]int32 // times that a token followed a context
	context           map[uint64]seen
}

type seen struct{ total, kinds int32 }

func newNgram(order, vocabulary int) *ngram {
	return &ngram{order, vocabulary, map[uint64]int32{}, map[uint64]seen{}}
}

// hash names a run of tokens.
func hash(h uint64, t core.Token) uint64 {
	r := train.Random(h ^ uint64(t+1)*0x9e3779b97f4a7c15)
	return r.Uint64()
}

func (g *ngram) learn(tokens []core.Token) {
	for i, t := range tokens {
		for h, j := uint64(1), i; ; j-- {
			c := g.context[h]
			key := hash(h, t)
			if g.follow[key] == 0 {
				c.kinds++
			}
			c.total++
			g.follow[key]++
			g.context[h] = c
			if j == 0 || i-j == g.order-1 {
				break
			}
			h = hash(h, tokens[j-1]+1<<20)
		}
	}
}

// probability of t after history.
func (g *ngram) probability(history []core.Token, t core.Token) float64 {
	p := 1 / float64(g.vocabulary)
	h := uint64(1)
	for n := 0; ; n++ {
		c, ok := g.context[h]
		if !ok {
			return p
		}
		p = (float64(g.follow[hash(h, t)]) + float64(c.kinds)*p) / float64(c.total+c.kinds)
		if n == min(g.order-1, len(history)) {
			return p
		}
		h = hash(h, history[len(history)-1-n]+1<<20)
	}
}

// complete extends tokens by the likeliest ones up to end.
func (g *ngram) complete(tokens []core.Token, end core.Token, limit int) []core.Token {
	first := len(tokens)
	for len(tokens) < first+limit {
		var best core.Token
		high := -1.0
		for t := range core.Token(g.vocabulary) {
			if p := g.probability(tokens, t); p > high {
				best, high = t, p
			}
		}
		if best == end {
			break
		}
		tokens = append(tokens, best)
	}
	return tokens[first:]
}
