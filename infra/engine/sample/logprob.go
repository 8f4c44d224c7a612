package sample

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// probabilities is what the log-probabilities of one position follow from.
type probabilities struct {
	max       float32
	logSum    int64 // floor(ln sum exp(l-max) * 2^24)
	likeliest []shift
}

const (
	// sumBits is the fixed point of a summed exponential: 2^20 of them stay below 2^61.
	sumBits = 40
	// lowestX bounds l-max in a log-probability.
	lowestX = -2000
)

// measure sums the exponentials of the whole vocabulary and finds the n
// likeliest tokens.
func (d *Drawer) measure(logits []float32, top float32, n int) {
	m := &d.probs
	m.max = top
	var sum uint64
	for first := 0; first < len(logits); first += len(d.weights) {
		ls := logits[first:min(first+len(d.weights), len(logits))]
		e := d.weights[:len(ls)]
		for i, l := range ls {
			e[i] = l - top
		}
		kernel.Exp(e)
		for _, v := range e {
			sum += uint64(float32(v * (1 << sumBits)))
		}
	}
	m.logSum = (int64(log2(sum, 30)) - sumBits<<30) * ln2Q27 >> 33
	m.find(logits, n)
}

// find lists the n likeliest tokens in order.
func (m *probabilities) find(logits []float32, n int) {
	m.likeliest = m.likeliest[:0]
	if n == 0 {
		return
	}
	for i, l := range logits {
		at := len(m.likeliest)
		if at == n {
			if l <= m.likeliest[at-1].logit {
				continue
			}
			at--
		} else {
			m.likeliest = append(m.likeliest, shift{})
		}
		for ; at > 0 && l > m.likeliest[at-1].logit; at-- {
			m.likeliest[at] = m.likeliest[at-1]
		}
		m.likeliest[at] = shift{core.Token(i), l}
	}
}

// of returns the log-probabilities where t was drawn.
func (m *probabilities) of(t core.Token, l float32) core.TokenLogprobs {
	out := make(core.TokenLogprobs, 0, 1+len(m.likeliest))
	out = append(out, core.Logprob{Token: t, Value: m.value(l)})
	for _, c := range m.likeliest {
		out = append(out, core.Logprob{Token: c.token, Value: m.value(c.logit)})
	}
	return out
}

// value is the log-probability of a logit in millionths, rounded to nearest.
func (m *probabilities) value(l float32) int32 {
	ln := fixed(max(l-m.max, lowestX)) - m.logSum
	return int32((ln*micro + 1<<23) >> 24)
}
