package token

import (
	"math"
	"math/bits"
)

// pairTable maps a pair of symbols to the rank of its merge and the result: an
// open-addressed hash table, as this look-up is what encoding spends its time on.
type pairTable struct {
	slots []pairSlot
	shift uint
}

type pairSlot struct {
	left, right  int32 // left is -1 in an empty slot
	rank, result int32
}

const noRank = math.MaxInt32

func newPairTable(n int) *pairTable {
	size := max(6, bits.Len(uint(n))+1)
	t := &pairTable{slots: make([]pairSlot, 1<<size), shift: uint(64 - size)}
	for i := range t.slots {
		t.slots[i].left = -1
	}
	return t
}

func (t *pairTable) slot(left, right int32) *pairSlot {
	h := (uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	for i := h >> t.shift; ; i = (i + 1) & uint64(len(t.slots)-1) {
		if s := &t.slots[i]; s.left == -1 || s.left == left && s.right == right {
			return s
		}
	}
}

// add records a merge unless the pair has one of lower rank.
func (t *pairTable) add(left, right, rank, result int32) {
	if s := t.slot(left, right); s.left == -1 {
		*s = pairSlot{left, right, rank, result}
	}
}

func (t *pairTable) rank(left, right int32) int32 {
	if s := t.slot(left, right); s.left != -1 {
		return s.rank
	}
	return noRank
}

// word is the working memory of merging, reused from word to word.
type word struct {
	symbols []int32
	ranks   []int32
	links   []link
	heap    []candidate
}

// shortWord is the length up to which scanning beats a heap.
const shortWord = 48

func (w *word) merge(t *pairTable) {
	switch n := len(w.symbols); {
	case n < 2:
	case n <= shortWord:
		w.mergeShort(t)
	default:
		w.mergeLong(t)
	}
}

func (w *word) mergeShort(t *pairTable) {
	s := w.symbols
	w.ranks = w.ranks[:0]
	for i := range len(s) - 1 {
		w.ranks = append(w.ranks, t.rank(s[i], s[i+1]))
	}
	r := w.ranks
	for {
		best, at := int32(noRank), 0
		for i, x := range r {
			if x < best {
				best, at = x, i
			}
		}
		if best == noRank {
			break
		}
		s[at] = t.slot(s[at], s[at+1]).result
		s = append(s[:at+1], s[at+2:]...)
		r = append(r[:at], r[at+1:]...)
		if at > 0 {
			r[at-1] = t.rank(s[at-1], s[at])
		}
		if at < len(r) {
			r[at] = t.rank(s[at], s[at+1])
		}
	}
	w.symbols = s
}

// link is a symbol in a list; symbol is -1 once it was merged into its left
// neighbour. prev and next are -1 at the ends.
type link struct{ symbol, prev, next int32 }

// candidate is a merge that was possible when it was pushed.
type candidate struct{ rank, at, left, right int32 }

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.at < b.at
}

func (w *word) mergeLong(t *pairTable) {
	w.links, w.heap = w.links[:0], w.heap[:0]
	for i, s := range w.symbols {
		w.links = append(w.links, link{s, int32(i - 1), int32(i + 1)})
	}
	w.links[len(w.links)-1].next = -1
	for i := range len(w.links) - 1 {
		w.propose(t, int32(i))
	}
	for len(w.heap) > 0 {
		c := w.pop()
		l := &w.links[c.at]
		if l.symbol != c.left || l.next < 0 || w.links[l.next].symbol != c.right {
			continue
		}
		right := &w.links[l.next]
		l.symbol, l.next, right.symbol = t.slot(c.left, c.right).result, right.next, -1
		if l.next >= 0 {
			w.links[l.next].prev = c.at
			w.propose(t, c.at)
		}
		if l.prev >= 0 {
			w.propose(t, l.prev)
		}
	}
	w.symbols = w.symbols[:0]
	for i := int32(0); i >= 0; i = w.links[i].next {
		w.symbols = append(w.symbols, w.links[i].symbol)
	}
}

func (w *word) propose(t *pairTable, at int32) {
	left, right := w.links[at].symbol, w.links[w.links[at].next].symbol
	if rank := t.rank(left, right); rank != noRank {
		w.push(candidate{rank, at, left, right})
	}
}

func (w *word) push(c candidate) {
	h := append(w.heap, c)
	i := len(h) - 1
	for i > 0 && c.before(h[(i-1)/2]) {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = c
	w.heap = h
}

func (w *word) pop() candidate {
	h := w.heap
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	for i := 0; len(h) > 0; {
		k := 2*i + 1
		if k+1 < len(h) && h[k+1].before(h[k]) {
			k++
		}
		if k >= len(h) || !h[k].before(last) {
			h[i] = last
			break
		}
		h[i] = h[k]
		i = k
	}
	w.heap = h
	return top
}
