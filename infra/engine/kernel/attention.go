package kernel

import (
	"fmt"
	"sync"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Query is one row of an attention call: it sees the positions First to
// Position of its sequence, whose pages are in order and hold at least that
// many. Pages before First's are not read.
type Query struct {
	Pages           []KVPage
	First, Position int
}

// Scoring is what becomes of the product of a query and a key: it is multiplied
// by Scale and, where Cap is positive, capped as by [SoftCap].
type Scoring struct{ Scale, Cap float32 }

// Attention computes causal grouped-query attention for any mixture of
// sequences and positions. Row i of q has heads*Dim elements from q[i*qStride]
// (rotated), and its answer goes to dst[i*dstStride]. Query head j uses
// key-value head j / (heads/shape.Heads). dst must not overlap q.
//
// Neighbouring rows that share their Pages are answered together: each page is
// then read once for all of them.
func Attention(p *Pool, shape KVShape, heads int, dst []float32, dstStride int, q []float32, qStride int, queries []Query, scoring Scoring) {
	if shape.Heads <= 0 || heads%shape.Heads != 0 {
		panic(fmt.Sprintf("kernel: %d query heads share %d key-value heads", heads, shape.Heads))
	}
	group := heads / shape.Heads
	call := attentionCalls.Get().(*attentionCall)
	defer attentionCalls.Put(call)
	tiles := call.split(queries, group, shape.Heads, p.Threads())
	parts := groupParts(group, len(tiles)*shape.Heads, p.Threads())
	p.Run(len(tiles)*shape.Heads*parts, 1, func(lo, hi int) {
		work := attentionWorks.Get().(*attentionWork)
		defer attentionWorks.Put(work)
		for item := lo; item < hi; item++ {
			rows, rest := tiles[item%len(tiles)], item/len(tiles)
			h, part := rest/parts, rest%parts
			first, end := part*group/parts, (part+1)*group/parts
			at := (h*group + first) * shape.Dim
			t := tile{shape: shape, head: h, group: end - first, queries: queries[rows.first:rows.end], scoring: scoring}
			t.attend(work, dst[rows.first*dstStride+at:], dstStride, q[rows.first*qStride+at:], qStride)
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

// Bounds of a tile: rows, and scores in memory, 16 MiB of them.
const (
	tileRows   = 16
	tileScores = 1 << 22
)

// scoreGap lies between the scores of two pairs, a cache line. Distances of 4 KiB
// would put those of all pairs into the same few places of a cache.
const scoreGap = 16

type span struct{ first, end int }

// attentionCall holds what a call decides.
type attentionCall struct{ tiles []span }

var attentionCalls = sync.Pool{New: func() any { return new(attentionCall) }}

// split cuts the queries into tiles of neighbours that share their pages, and
// leaves every thread enough of them.
func (c *attentionCall) split(queries []Query, group, kvHeads, threads int) []span {
	most := min(tileRows, max(1, len(queries)*kvHeads/(4*threads)))
	c.tiles = c.tiles[:0]
	for first := 0; first < len(queries); {
		end, last := first+1, queries[first].Position
		for ; end < len(queries) && end-first < most && samePages(queries[first].Pages, queries[end].Pages); end++ {
			last = max(last, queries[end].Position)
			if (end+1-first)*group*padded(last+1) > tileScores {
				break
			}
		}
		c.tiles = append(c.tiles, span{first, end})
		first = end
	}
	return c.tiles
}

func samePages(a, b []KVPage) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

// padded rounds a number of positions up to whole pages.
func padded(n int) int { return (n + PageTokens - 1) / PageTokens * PageTokens }

// attentionWork is a thread's memory.
type attentionWork struct {
	scores    []float32 // [row and head][position]
	q, out    []float32 // [row and head][dim]
	sums      []float32 // [row and head]
	quants    []int8    // of q
	scales    []float32
	quantSums blockSums
	weights   []int8 // of a page: [row and head][dim/32][64]
	weightsBy []float32
}

var attentionWorks = sync.Pool{New: func() any { return new(attentionWork) }}

// tile is some queries of one sequence and some query heads of one key-value
// head.
type tile struct {
	shape   KVShape
	head    int // key-value head
	group   int // query heads
	queries []Query
	scoring Scoring

	pairs      int // rows times group
	base, end  int // positions that any of them sees; base begins a page
	everything int // all queries see base to everything-1, but for the windows' edges
	ld         int // from the scores of a pair to the next one's
}

// attend answers the tile: all scores, page by page; the softmax of each row
// and head; the values, page by page.
func (t *tile) attend(w *attentionWork, dst []float32, dstStride int, q []float32, qStride int) {
	t.measure()
	dim, width := t.shape.Dim, t.group*t.shape.Dim
	w.scores, w.sums = sized(w.scores, t.pairs*t.ld), sized(w.sums, t.pairs)
	out := dst[:width]
	if len(t.queries) == 1 {
		q = q[:width]
	} else {
		w.q, w.out = sized(w.q, t.pairs*dim), sized(w.out, t.pairs*dim)
		for i := range t.queries {
			copy(w.q[i*width:(i+1)*width], q[i*qStride:])
		}
		q, out = w.q, w.out
	}
	if t.shape.Int8 {
		t.score8(w, q)
	} else {
		t.score(w, q)
	}
	t.soften(w)
	clear(out)
	if t.shape.Int8 {
		t.mix8(w, out)
	} else {
		t.mix(w, out)
	}
	for i, sum := range w.sums {
		scaleInto(out[i*dim:(i+1)*dim], 1/sum)
	}
	if len(t.queries) > 1 {
		for i := range t.queries {
			copy(dst[i*dstStride:i*dstStride+width], out[i*width:])
		}
	}
}

func (t *tile) measure() {
	t.pairs = len(t.queries) * t.group
	t.base, t.everything = t.queries[0].First, t.queries[0].Position+1
	for _, query := range t.queries {
		t.base, t.end = min(t.base, query.First), max(t.end, query.Position+1)
		t.everything = min(t.everything, query.Position+1)
	}
	t.base = t.base / PageTokens * PageTokens
	t.ld = padded(t.end-t.base) + scoreGap
}

// pages calls body for every page with its first position.
func (t *tile) pages(body func(page *KVPage, first int)) {
	pages := t.queries[0].Pages
	for first := t.base; first < t.end; first += PageTokens {
		body(&pages[first/PageTokens], first)
	}
}

// panels is the number of panels of 8 positions in use from first on.
func (t *tile) panels(first int) int { return (min(t.end-first, PageTokens) + 7) / 8 }

func (t *tile) score(w *attentionWork, q []float32) {
	at := t.head * PageTokens * t.shape.Dim
	t.pages(func(page *KVPage, first int) {
		scores(w.scores[first-t.base:], t.ld, q, t.pairs, t.shape.Dim, page.K[at:], t.panels(first), t.scoring.Scale)
	})
}

// soften turns scores into exponentials, +0 where a query does not see.
func (t *tile) soften(w *attentionWork) {
	for i, query := range t.queries {
		n := query.Position + 1 - t.base
		used := (n + 7) &^ 7
		for g := range t.group {
			all := w.scores[(i*t.group+g)*t.ld:][:t.ld]
			row := all[:used]
			if t.scoring.Cap > 0 {
				softCap(row, t.scoring.Cap)
			}
			hide(row[:query.First-t.base])
			hide(row[n:])
			w.sums[i*t.group+g] = softmax(row)
			clear(all[used:])
		}
	}
}

// hide gives keys a score that does not count.
func hide(scores []float32) {
	for i := range scores {
		scores[i] = inf
	}
}

// mix adds the values of every page. A value that a query does not see must not
// meet it even with weight zero, since it need not be finite.
func (t *tile) mix(w *attentionWork, out []float32) {
	at, dim := t.head*PageTokens*t.shape.Dim, t.shape.Dim
	t.pages(func(page *KVPage, first int) {
		weights := w.scores[first-t.base:]
		if first+PageTokens <= t.everything {
			mix(out, weights, t.ld, t.pairs, dim, page.V[at:], PageTokens)
			return
		}
		for i, query := range t.queries {
			if n := min(query.Position+1-first, PageTokens); n > 0 {
				mix(out[i*t.group*dim:], weights[i*t.group*t.ld:], t.ld, t.group, dim, page.V[at:], n)
			}
		}
	})
}

func (t *tile) score8(w *attentionWork, q []float32) {
	blocks := t.shape.Dim / spec.Block
	all := t.pairs * blocks
	w.quants, w.scales = sized(w.quants, t.pairs*t.shape.Dim), sized(w.scales, all)
	w.quantSums.resize(all)
	quantize(q, w.quants, w.scales, w.quantSums, all, 1)
	at := t.head * PageTokens * t.shape.Dim
	t.pages(func(page *KVPage, first int) {
		scoreQuants(w.scores[first-t.base:], t.ld, w.quants, w.scales, t.pairs, blocks,
			page.K8[at:], page.K[at/spec.Block:], t.panels(first), t.scoring.Scale)
	})
}

func (t *tile) mix8(w *attentionWork, out []float32) {
	blocks := t.shape.Dim / spec.Block
	w.weights, w.weightsBy = sized(w.weights, t.pairs*blocks*PageTokens), sized(w.weightsBy, t.pairs*blocks*2)
	at := t.head * PageTokens * t.shape.Dim
	t.pages(func(page *KVPage, first int) {
		for i := range t.pairs {
			weighQuants(w.weights[i*blocks*PageTokens:], w.weightsBy[i*blocks*2:],
				w.scores[i*t.ld+first-t.base:], page.V[at/spec.Block:], blocks)
		}
		mixQuants(out, t.pairs, blocks, w.weights, w.weightsBy, page.V8[at:])
	})
}
