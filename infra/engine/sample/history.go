package sample

import (
	"slices"

	"github.com/koinon-network/koinon/core"
)

// History records where tokens occur in a sequence, so that a penalty costs
// O(distinct tokens) at any position of it. It may be read concurrently while
// nothing is appended.
type History struct {
	prompt int // tokens before the answer
	length int
	index  map[core.Token]int
	seen   []occurrence // in order of first occurrence
}

type occurrence struct {
	token   core.Token
	first   int   // index in the sequence
	answers []int // indices in the sequence, of those in the answer
}

// NewHistory starts a sequence whose first prompt tokens are not its answer.
func NewHistory(prompt int) *History {
	return &History{prompt: prompt, index: map[core.Token]int{}}
}

// Append adds the next tokens.
func (h *History) Append(tokens ...core.Token) {
	for _, t := range tokens {
		i, ok := h.index[t]
		if !ok {
			i = len(h.seen)
			h.index[t] = i
			h.seen = append(h.seen, occurrence{token: t, first: h.length})
		}
		if h.length >= h.prompt {
			h.seen[i].answers = append(h.seen[i].answers, h.length)
		}
		h.length++
	}
}

// Before returns the history of the first n tokens.
func (h *History) Before(n int) Past { return Past{h, n} }

// Past is a beginning of a history; the zero value is an empty one.
type Past struct {
	history *History
	n       int
}

// each calls do for every token that occurs, with its count in the answer, once.
func (p Past) each(do func(t core.Token, count int)) {
	if p.history == nil {
		return
	}
	for i := range p.history.seen {
		o := &p.history.seen[i]
		if o.first >= p.n {
			return
		}
		count, _ := slices.BinarySearch(o.answers, p.n)
		do(o.token, count)
	}
}
