package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// randomPages stores n positions of random keys and values.
func randomPages(r *rand.Rand, shape KVShape, n int) []KVPage {
	pages := make([]KVPage, (n+PageTokens-1)/PageTokens)
	for i := range pages {
		pages[i] = shape.NewPage()
	}
	k, v := make([]float32, shape.Heads*shape.Dim), make([]float32, shape.Heads*shape.Dim)
	for t := range n {
		for i := range k {
			k[i], v[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
		}
		shape.Store(pages[t/PageTokens], t%PageTokens, k, v)
	}
	return pages
}

// attentionSpec answers one row by package spec.
func attentionSpec(shape KVShape, heads int, q []float32, query Query, scoring Scoring) []float32 {
	n := query.Position + 1
	width := shape.Heads * shape.Dim
	k, v := make([]float32, n*width), make([]float32, n*width)
	for t := range n {
		shape.Load(k[t*width:(t+1)*width], v[t*width:(t+1)*width], query.Pages[t/PageTokens], t%PageTokens)
	}
	dst := make([]float32, heads*shape.Dim)
	keys, values, scores := make([]float32, n*shape.Dim), make([]float32, n*shape.Dim), make([]float32, n)
	for j := range heads {
		h := j / (heads / shape.Heads)
		for t := range n {
			copy(keys[t*shape.Dim:(t+1)*shape.Dim], k[t*width+h*shape.Dim:])
			copy(values[t*shape.Dim:(t+1)*shape.Dim], v[t*width+h*shape.Dim:])
		}
		spec.AttentionWindow(dst[j*shape.Dim:(j+1)*shape.Dim], q[j*shape.Dim:(j+1)*shape.Dim], keys, values, scores, query.First, scoring.Scale, scoring.Cap)
	}
	return dst
}

func TestAttentionEqualsSpec(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	pool := NewPool(3)
	defer pool.Close()
	for _, c := range []struct{ heads, kv, dim int }{
		{1, 1, 8}, {2, 1, 16}, {3, 1, 24}, {4, 1, 64}, {5, 1, 40}, {6, 1, 64}, {14, 2, 64}, {16, 2, 128},
		{9, 1, 32}, {20, 1, 16}, {17, 1, 8}, {4, 2, 80}, {3, 3, 72}, {2, 2, 12}, {1, 1, 5},
	} {
		shape := KVShape{Heads: c.kv, Dim: c.dim}
		long, short := randomPages(r, shape, 200), randomPages(r, shape, 9)
		queries := []Query{{long, 0, 0}, {long, 0, 6}, {long, 0, 7}, {long, 0, 8}, {long, 0, 63}, {long, 0, 64}, {short, 0, 8}, {long, 0, 127}, {long, 0, 199}, {short, 0, 3},
			{long, 1, 1}, {long, 3, 70}, {long, 64, 64}, {long, 63, 199}, {long, 130, 180}, {long, 197, 199}, {short, 5, 8}}
		width := c.heads * c.dim
		stride := width + 3
		q, dst := make([]float32, len(queries)*stride), make([]float32, len(queries)*stride)
		for i := range q {
			q[i] = float32(r.NormFloat64()) * 3
			if r.IntN(50) == 0 {
				q[i] = math.Float32frombits(r.Uint32N(1 << 23))
			}
		}
		for _, scoring := range []Scoring{{Scale: spec.AttentionScale(c.dim)}, {Scale: 0.3, Cap: 5}} {
			Attention(pool, shape, c.heads, dst, stride, q, stride, queries, scoring)
			for i, query := range queries {
				what := fmt.Sprintf("%d heads, %d key-value heads of %d, positions %d to %d, %+v", c.heads, c.kv, c.dim, query.First, query.Position, scoring)
				same(t, what, dst[i*stride:i*stride+width], attentionSpec(shape, c.heads, q[i*stride:i*stride+width], query, scoring))
			}
		}
	}
}

func TestAttentionOccupiesThreads(t *testing.T) {
	r := rand.New(rand.NewPCG(29, 30))
	pool := NewPool(16)
	defer pool.Close()
	shape := KVShape{Heads: 1, Dim: 16}
	pages := randomPages(r, shape, 70)
	for _, heads := range []int{1, 3, 7, 8, 33, 70} {
		q := activationRows(r, 1, heads*16)
		for i := range q {
			q[i] = min(max(q[i], -10), 10)
		}
		dst, alone := make([]float32, len(q)), make([]float32, len(q))
		query := []Query{{pages, 0, 69}}
		Attention(pool, shape, heads, dst, 0, q, 0, query, Scoring{Scale: 0.25})
		Attention(nil, shape, heads, alone, 0, q, 0, query, Scoring{Scale: 0.25})
		same(t, fmt.Sprintf("%d heads on many threads", heads), dst, alone)
		same(t, fmt.Sprintf("%d heads", heads), alone, attentionSpec(shape, heads, q, query[0], Scoring{Scale: 0.25}))
	}
}

func TestAttentionMarksInvalid(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	shape := KVShape{Heads: 1, Dim: 16}
	r := rand.New(rand.NewPCG(11, 12))
	for _, bad := range []float32{nan, inf, -inf} {
		for _, where := range []string{"query", "value"} {
			pages := randomPages(r, shape, 20)
			q := make([]float32, 32)
			for i := range q {
				q[i] = 1
			}
			if where == "query" {
				q[3], q[16+3] = bad, bad
			} else {
				v := make([]float32, 16)
				v[3] = bad
				shape.Store(pages[0], 5, make([]float32, 16), v)
			}
			dst := make([]float32, 32)
			Attention(nil, shape, 2, dst, 32, q, 32, []Query{{pages, 0, 19}}, Scoring{Scale: 0.25})
			if Finite(dst) {
				t.Errorf("%v in a %s: the answer is finite: %v", bad, where, dst)
			}
		}
	}
}

func TestStoreAndLoad(t *testing.T) {
	shape := KVShape{Heads: 3, Dim: 20}
	page := shape.NewPage()
	row := func(slot int, sign float32) []float32 {
		x := make([]float32, 60)
		for i := range x {
			x[i] = sign * float32(slot*100+i)
		}
		return x
	}
	for slot := range PageTokens {
		shape.Store(page, slot, row(slot, 1), row(slot, -1))
	}
	k, v := make([]float32, 60), make([]float32, 60)
	for slot := range PageTokens {
		shape.Load(k, v, page, slot)
		same(t, "key", k, row(slot, 1))
		same(t, "value", v, row(slot, -1))
	}
}
