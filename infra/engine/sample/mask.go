package sample

import (
	"math/bits"

	"github.com/koinon-network/koinon/core"
)

// Mask is a set of tokens. It is immutable once it is shared.
type Mask struct {
	words []uint64
	count int
}

// NewMask is the empty set over a vocabulary of n tokens.
func NewMask(n int) *Mask { return &Mask{words: make([]uint64, (n+63)/64)} }

// MaskOf is the set of the tokens whose bits are set: token t is bit t mod 64 of
// words[t/64]. It keeps words.
func MaskOf(words []uint64) *Mask {
	m := &Mask{words: words}
	for _, w := range words {
		m.count += bits.OnesCount64(w)
	}
	return m
}

// Add puts a token of the vocabulary into the set.
func (m *Mask) Add(t core.Token) {
	w, bit := &m.words[t/64], uint64(1)<<(t%64)
	if *w&bit == 0 {
		*w |= bit
		m.count++
	}
}

// Has reports whether t is in the set.
func (m *Mask) Has(t core.Token) bool {
	return t >= 0 && int(t)/64 < len(m.words) && m.words[t/64]>>(t%64)&1 == 1
}

// Len is the number of tokens in the set.
func (m *Mask) Len() int { return m.count }

// Bytes is the memory that the set takes.
func (m *Mask) Bytes() int { return 8*len(m.words) + 48 }

// apply sets the logits of all other tokens to -Inf, with which nothing is
// drawn: such a token is no maximum, weighs nothing and is beyond the window.
func (m *Mask) apply(logits []float32) {
	for i, w := range m.words {
		ls := logits[64*i : min(64*i+64, len(logits))]
		switch w {
		case 0:
			for j := range ls {
				ls[j] = masked
			}
		case ^uint64(0):
		default:
			for out := ^w; out != 0; out &= out - 1 {
				if j := bits.TrailingZeros64(out); j < len(ls) {
					ls[j] = masked
				}
			}
		}
	}
}
