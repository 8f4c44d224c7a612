package sample

import (
	"math/bits"
	"slices"

	"github.com/koinon-network/koinon/core"
)

// Mask is a set of tokens, as a list where they are few. It is immutable once it
// is shared.
type Mask struct {
	count int
	words []uint64     // token t is bit t mod 64 of words[t/64]
	few   []core.Token // in rising order, where words is nil
}

// MaskOf is the set of the tokens whose bits are set: token t is bit t mod 64 of
// words[t/64], which it copies.
func MaskOf(words []uint64) *Mask {
	m := &Mask{}
	for _, w := range words {
		m.count += bits.OnesCount64(w)
	}
	if m.count > len(words)/4 {
		m.words = slices.Clone(words)
		return m
	}
	m.few = make([]core.Token, 0, m.count)
	for i, w := range words {
		for ; w != 0; w &= w - 1 {
			m.few = append(m.few, core.Token(64*i+bits.TrailingZeros64(w)))
		}
	}
	return m
}

// Has reports whether t is in the set.
func (m *Mask) Has(t core.Token) bool {
	if m.words == nil {
		_, found := slices.BinarySearch(m.few, t)
		return found
	}
	return t >= 0 && int(t)/64 < len(m.words) && m.words[t/64]>>(t%64)&1 == 1
}

// Len is the number of tokens in the set.
func (m *Mask) Len() int { return m.count }

// Bytes is the memory that the set takes.
func (m *Mask) Bytes() int { return 8*len(m.words) + 4*len(m.few) + 64 }

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
