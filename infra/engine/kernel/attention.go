package kernel

import (
	"fmt"
	"sync"
)

// PageTokens is the number of positions in a page of the KV cache.
const PageTokens = 64

// KVShape is the shape of one layer's keys and values.
type KVShape struct {
	Heads int // key-value heads
	Dim   int // elements per head
}

// KVPage holds the keys and values of one layer for PageTokens positions:
//
//	K [head][position/8][dim][8]   eight keys side by side, a SIMD lane each
//	V [head][position][dim]
//
// Pages can be shared between sequences with a common prefix; a position must
// be stored before a query may see it, and not changed while one does.
type KVPage struct{ K, V []float32 }

// PageLen is the length of K and of V in a page.
func (s KVShape) PageLen() int { return s.Heads * s.Dim * PageTokens }

// NewPage allocates a page, zeroed.
func (s KVShape) NewPage() KVPage {
	n := s.PageLen()
	return KVPage{K: make([]float32, n), V: make([]float32, n)}
}

// Store writes the key row (rotated) and the value row of one position, each
// Heads*Dim long, to slot = position mod PageTokens.
func (s KVShape) Store(page KVPage, slot int, k, v []float32) {
	for h := range s.Heads {
		keys := page.K[(h*PageTokens+slot/8*8)*s.Dim+slot%8:]
		for d, x := range k[h*s.Dim : (h+1)*s.Dim] {
			keys[8*d] = x
		}
		copy(page.V[(h*PageTokens+slot)*s.Dim:][:s.Dim], v[h*s.Dim:(h+1)*s.Dim])
	}
}

// Load reads back what Store wrote.
func (s KVShape) Load(k, v []float32, page KVPage, slot int) {
	for h := range s.Heads {
		keys := page.K[(h*PageTokens+slot/8*8)*s.Dim+slot%8:]
		for d := range s.Dim {
			k[h*s.Dim+d] = keys[8*d]
		}
		copy(v[h*s.Dim:(h+1)*s.Dim], page.V[(h*PageTokens+slot)*s.Dim:])
	}
}

// Query is one row of an attention call: it sees the positions First to
// Position of its sequence, whose pages are in order and hold at least that
// many. Pages before First's are not read.
type Query struct {
	Pages           []KVPage
	First, Position int
}

// base is the position from which the query's scores are kept: the beginning of
// First's page.
func (q *Query) base() int { return q.First / PageTokens * PageTokens }

// Scoring is what becomes of the product of a query and a key: it is multiplied
// by Scale and, where Cap is positive, capped as by [SoftCap].
type Scoring struct{ Scale, Cap float32 }

// Attention computes causal grouped-query attention for any mixture of
// sequences and positions. Row i of q has heads*Dim elements from q[i*qStride]
// (rotated), and its answer goes to dst[i*dstStride]. Query head j uses
// key-value head j / (heads/shape.Heads). dst must not overlap q.
func Attention(p *Pool, shape KVShape, heads int, dst []float32, dstStride int, q []float32, qStride int, queries []Query, scoring Scoring) {
	if shape.Heads <= 0 || heads%shape.Heads != 0 {
		panic(fmt.Sprintf("kernel: %d query heads share %d key-value heads", heads, shape.Heads))
	}
	group := heads / shape.Heads
	parts := groupParts(group, len(queries)*shape.Heads, p.Threads())
	p.Run(len(queries)*shape.Heads*parts, 1, func(lo, hi int) {
		scratch := scoreBuffers.Get().(*[]float32)
		defer scoreBuffers.Put(scratch)
		for item := lo; item < hi; item++ {
			row, rest := item%len(queries), item/len(queries)
			h, part := rest/parts, rest%parts
			first, end := part*group/parts, (part+1)*group/parts
			*scratch = sized(*scratch, (end-first)*padded(queries[row].Position+1-queries[row].base()))
			at, width := (h*group+first)*shape.Dim, (end-first)*shape.Dim
			shape.attend(dst[row*dstStride+at:][:width], q[row*qStride+at:][:width], h, end-first, queries[row], *scratch, scoring)
		}
	})
}

// groupParts is into how many items the query heads of one key-value head are
// split, so that a few sequences still occupy all threads. Heads together read
// keys and values once, so they part only when they must.
func groupParts(group, items, threads int) int {
	parts := 1
	for items*parts < threads && group >= 4*parts {
		parts *= 2
	}
	return parts
}

var scoreBuffers = sync.Pool{New: func() any { return new([]float32) }}

// padded rounds a number of keys up to whole panels.
func padded(n int) int { return (n + 7) / 8 * 8 }

// attend answers the query heads of one key-value head.
func (s KVShape) attend(dst, q []float32, h, group int, query Query, buf []float32, scoring Scoring) {
	base := query.base()
	pages := query.Pages[base/PageTokens:]
	n := query.Position + 1 - base
	ld := padded(n)
	pageHead := h * PageTokens * s.Dim
	for first := 0; first < n; first += PageTokens {
		panels := (min(n-first, PageTokens) + 7) / 8
		scores(buf[first:], ld, q, group, s.Dim, pages[first/PageTokens].K[pageHead:], panels, scoring.Scale)
	}
	var sums [64]float32
	total := sums[:]
	if group > len(sums) {
		total = make([]float32, group)
	}
	for g := range group {
		row := buf[g*ld : (g+1)*ld]
		if scoring.Cap > 0 {
			softCap(row, scoring.Cap)
		}
		hide(row[:query.First-base])
		hide(row[n:])
		total[g] = softmax(row)
	}
	clear(dst)
	for first := 0; first < n; first += PageTokens {
		mix(dst, buf[first:], ld, group, s.Dim, pages[first/PageTokens].V[pageHead:], min(n-first, PageTokens))
	}
	for g := range group {
		scaleInto(dst[g*s.Dim:(g+1)*s.Dim], 1/total[g])
	}
}

// hide gives keys a score that does not count.
func hide(scores []float32) {
	for i := range scores {
		scores[i] = inf
	}
}
