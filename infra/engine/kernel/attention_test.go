package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
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
		store(shape, pages[t/PageTokens], t%PageTokens, k, v)
	}
	return pages
}

// store writes rows to a page of either kind.
func store(shape KVShape, page KVPage, slot int, k, v []float32) {
	if !shape.Int8 {
		shape.Store(page, slot, k, v)
		return
	}
	k8, v8 := make([]byte, shape.RowBytes()), make([]byte, shape.RowBytes())
	shape.Quantize(k8, k)
	shape.Quantize(v8, v)
	shape.StoreQuantized(page, slot, k8, v8)
}

// attentionSpec8 is attentionSpec for int8 pages.
func attentionSpec8(shape KVShape, heads int, q []float32, query Query, scoring Scoring) []float32 {
	n, dim := query.Position+1, shape.Dim
	k, v := make([]byte, shape.RowBytes()), make([]byte, shape.RowBytes())
	keys, values := make([]spec.QuantizedRows, shape.Heads), make([]spec.QuantizedRows, shape.Heads)
	add := func(to *spec.QuantizedRows, row []byte, h int) {
		for _, x := range row[h*dim : (h+1)*dim] {
			to.Q = append(to.Q, int8(x))
		}
		for b := range dim / spec.Block {
			at := shape.Heads*dim + 4*(h*dim/spec.Block+b)
			to.Scales = append(to.Scales, math.Float32frombits(binary.LittleEndian.Uint32(row[at:])))
		}
	}
	for t := range n {
		shape.LoadQuantized(k, v, query.Pages[t/PageTokens], t%PageTokens)
		for h := range shape.Heads {
			add(&keys[h], k, h)
			add(&values[h], v, h)
		}
	}
	dst := make([]float32, heads*dim)
	for j := range heads {
		h := j / (heads / shape.Heads)
		spec.Attention8(dst[j*dim:(j+1)*dim], q[j*dim:(j+1)*dim], keys[h], values[h], make([]float32, n), query.First, scoring.Scale, scoring.Cap)
	}
	return dst
}

// attentionSpec answers one row by package spec.
func attentionSpec(shape KVShape, heads int, q []float32, query Query, scoring Scoring) []float32 {
	if shape.Int8 {
		return attentionSpec8(shape, heads, q, query, scoring)
	}
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
	for _, c := range []struct {
		heads, kv, dim int
		int8           bool
	}{
		{1, 1, 8, false}, {2, 1, 16, false}, {3, 1, 24, false}, {4, 1, 64, false}, {5, 1, 40, false}, {6, 1, 64, false}, {14, 2, 64, false}, {16, 2, 128, false},
		{9, 1, 32, false}, {20, 1, 16, false}, {17, 1, 8, false}, {4, 2, 80, false}, {3, 3, 72, false}, {2, 2, 12, false}, {1, 1, 5, false},
		{1, 1, 32, true}, {2, 1, 64, true}, {3, 1, 96, true}, {4, 2, 128, true}, {5, 1, 32, true}, {14, 2, 64, true}, {9, 1, 32, true}, {3, 3, 64, true},
	} {
		shape := KVShape{Heads: c.kv, Dim: c.dim, Int8: c.int8}
		long, short := randomPages(r, shape, 200), randomPages(r, shape, 9)
		queries := []Query{{long, 0, 0}, {long, 0, 6}, {long, 0, 7}, {long, 0, 8}, {long, 0, 63}, {long, 0, 64}, {short, 0, 8}, {long, 0, 127}, {long, 0, 199}, {short, 0, 3},
			{long, 190, 190}, {long, 1, 1}, {long, 3, 70}, {long, 64, 64}, {long, 63, 199}, {long, 130, 180}, {long, 197, 199}, {short, 5, 8}}
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
				what := fmt.Sprintf("int8 %v, %d heads, %d key-value heads of %d, positions %d to %d, %+v", c.int8, c.heads, c.kv, c.dim, query.First, query.Position, scoring)
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

// The rows of a prompt are answered in tiles; alone each has the same answer,
// whatever lies behind it.
func TestAttentionInTiles(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for _, c := range []struct {
		heads, kv, dim int
		int8           bool
	}{{8, 1, 64, false}, {3, 3, 40, false}, {8, 1, 64, true}, {3, 3, 32, true}, {12, 2, 96, true}} {
		shape := KVShape{Heads: c.kv, Dim: c.dim, Int8: c.int8}
		width := c.heads * c.dim
		pages := randomPages(r, shape, 320)
		nan := make([]float32, shape.Heads*shape.Dim)
		for i := range nan {
			nan[i] = float32(math.NaN())
		}
		store(shape, pages[4], 30, nan, nan) // position 286
		for _, window := range []int{0, 1, 50, 100} {
			var queries []Query
			for pos := 120; pos < 286; pos++ {
				queries = append(queries, Query{Pages: pages, First: spec.WindowStart(pos, window), Position: pos})
			}
			q := make([]float32, len(queries)*width)
			for i := range q {
				q[i] = float32(r.NormFloat64())
			}
			pool := NewPool(2)
			dst := make([]float32, len(q))
			Attention(pool, shape, c.heads, dst, width, q, width, queries, Scoring{Scale: 0.2})
			pool.Close()
			for i, query := range queries {
				alone := make([]float32, width)
				Attention(nil, shape, c.heads, alone, width, q[i*width:], width, queries[i:i+1], Scoring{Scale: 0.2})
				if i%20 == 0 {
					same(t, "alone", alone, attentionSpec(shape, c.heads, q[i*width:(i+1)*width], query, Scoring{Scale: 0.2}))
				}
				same(t, fmt.Sprintf("%+v, window %d, row %d in a tile", c, window, i), dst[i*width:(i+1)*width], alone)
			}
		}
	}
}

func TestAttentionMarksInvalid(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	r := rand.New(rand.NewPCG(11, 12))
	for _, bad := range []float32{nan, inf, -inf} {
		for _, where := range []string{"query", "value", "query of int8", "value of int8"} {
			shape := KVShape{Heads: 1, Dim: 16}
			if strings.HasSuffix(where, "int8") {
				shape = KVShape{Heads: 1, Dim: 32, Int8: true}
			}
			n := shape.Dim
			pages := randomPages(r, shape, 20)
			q := make([]float32, 2*n)
			for i := range q {
				q[i] = 1
			}
			if strings.HasPrefix(where, "query") {
				q[3], q[n+3] = bad, bad
			} else {
				v := make([]float32, n)
				v[3] = bad
				store(shape, pages[0], 5, make([]float32, n), v)
			}
			dst := make([]float32, 2*n)
			Attention(nil, shape, 2, dst, 2*n, q, 2*n, []Query{{pages, 0, 19}}, Scoring{Scale: 0.25})
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

func TestStoreAndLoadQuantized(t *testing.T) {
	shape := KVShape{Heads: 3, Dim: 96, Int8: true}
	page := shape.NewPage()
	r := rand.New(rand.NewPCG(41, 42))
	rows := make([][2][]byte, PageTokens)
	for slot := range rows {
		for i := range rows[slot] {
			x := make([]float32, 3*96)
			for j := range x {
				x[j] = float32(r.NormFloat64())
			}
			rows[slot][i] = make([]byte, shape.RowBytes())
			shape.Quantize(rows[slot][i], x)
			want := spec.QuantizeRows(x)
			for j, v := range want.Q {
				if rows[slot][i][j] != byte(v) {
					t.Fatalf("quant %d is %d, want %d", j, int8(rows[slot][i][j]), v)
				}
			}
			for j, v := range want.Scales {
				if got := binary.LittleEndian.Uint32(rows[slot][i][3*96+4*j:]); got != math.Float32bits(v) {
					t.Fatalf("scale %d differs", j)
				}
			}
		}
		shape.StoreQuantized(page, slot, rows[slot][0], rows[slot][1])
	}
	k, v := make([]byte, shape.RowBytes()), make([]byte, shape.RowBytes())
	for slot := range rows {
		shape.LoadQuantized(k, v, page, slot)
		if !bytes.Equal(k, rows[slot][0]) || !bytes.Equal(v, rows[slot][1]) {
			t.Fatalf("slot %d reads back differently", slot)
		}
	}
}
