package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// benchMatrix repeats a few random rows up to the size asked for.
func benchMatrix(b *testing.B, f Format, rows, cols int) *Matrix {
	few := weightBytes(rand.New(rand.NewPCG(3, 4)), f, 8, cols)
	data := make([]byte, 0, len(few)*rows/8)
	for range rows / 8 {
		data = append(data, few...)
	}
	w, err := NewMatrix(f, rows, cols, data)
	if err != nil {
		b.Fatal(err)
	}
	return w
}

func benchActivations(p *Pool, tokens, cols int) *Activations {
	r := rand.New(rand.NewPCG(5, 6))
	x := make([]float32, tokens*cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	var a Activations
	a.Quantize(p, x, cols, tokens, cols)
	return &a
}

// manyBytes is more than caches hold.
const manyBytes = 160 << 20

// BenchmarkRead reads memory and does next to nothing with it: the limit for
// decode.
func BenchmarkRead(b *testing.B) {
	var memory memory
	x := carve[float32](memory.allocate(manyBytes), manyBytes/4)
	defer unmap(memory.region)
	for i := range x { // untouched pages would all be one page of zeros
		x[i] = 1
	}
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			p := NewPool(threads)
			defer p.Close()
			b.SetBytes(manyBytes)
			for b.Loop() {
				p.Run(len(x), 1<<16, func(lo, hi int) { Finite(x[lo:hi]) })
			}
		})
	}
}

// BenchmarkDecode multiplies the tokens of 1, 4 and 8 sequences by a matrix
// larger than the caches: memory speed is the limit for few of them.
func BenchmarkDecode(b *testing.B) {
	for _, cols := range []int{1024, 4864} {
		for _, f := range formats {
			bytes, _ := f.RowBytes(cols)
			rows := manyBytes / bytes / panelRows * panelRows
			w := benchMatrix(b, f, rows, cols)
			out := make([]float32, 8*rows)
			for _, tokens := range []int{1, 4, 8} {
				for _, threads := range []int{1, 2} {
					b.Run(fmt.Sprintf("%v/cols=%d/tokens=%d/threads=%d", f, cols, tokens, threads), func(b *testing.B) {
						p := NewPool(threads)
						defer p.Close()
						a := benchActivations(p, tokens, cols)
						b.SetBytes(int64(w.Bytes()))
						for b.Loop() {
							Linear(p, out, rows, w, a)
						}
						operations := 2 * float64(tokens*rows*cols) * float64(b.N)
						b.ReportMetric(operations/b.Elapsed().Seconds()*1e-9, "GOPS")
					})
				}
			}
		}
	}
}

// BenchmarkPrefill multiplies many tokens: arithmetic is the limit.
func BenchmarkPrefill(b *testing.B) {
	for _, shape := range [][2]int{{4864, 1024}, {1024, 4864}} {
		for _, f := range formats {
			w := benchMatrix(b, f, shape[0], shape[1])
			for _, tokens := range []int{4, 128} {
				for _, threads := range []int{1, 2} {
					b.Run(fmt.Sprintf("%v/%dx%d/tokens=%d/threads=%d", f, shape[0], shape[1], tokens, threads), func(b *testing.B) {
						p := NewPool(threads)
						defer p.Close()
						a := benchActivations(p, tokens, shape[1])
						out := make([]float32, tokens*shape[0])
						for b.Loop() {
							Linear(p, out, shape[0], w, a)
						}
						operations := 2 * float64(tokens*shape[0]*shape[1]) * float64(b.N)
						b.ReportMetric(operations/b.Elapsed().Seconds()*1e-9, "GOPS")
					})
				}
			}
		}
	}
}

// BenchmarkAttention measures one layer, for the last rows of a context.
func BenchmarkAttention(b *testing.B) {
	type shape struct{ heads, kv, dim, n int }
	for _, c := range []shape{{14, 2, 64, 512}, {32, 8, 128, 512}, {12, 12, 64, 512}, {32, 4, 64, 1 << 10}, {32, 4, 64, 8 << 10}, {32, 4, 64, 32 << 10}} {
		for _, int8 := range []bool{false, true} {
			shape := KVShape{Heads: c.kv, Dim: c.dim, Int8: int8}
			pages := randomPages(rand.New(rand.NewPCG(7, 8)), shape, c.n)
			for _, rows := range []int{1, 64} {
				q, dst := activationRows(rand.New(rand.NewPCG(9, 9)), rows, c.heads*c.dim), make([]float32, rows*c.heads*c.dim)
				var queries []Query
				for i := range rows {
					queries = append(queries, Query{Pages: pages, Position: c.n - rows + i})
				}
				b.Run(fmt.Sprintf("heads=%d/kv=%d/dim=%d/n=%d/int8=%v/rows=%d", c.heads, c.kv, c.dim, c.n, int8, rows), func(b *testing.B) {
					width := c.heads * c.dim
					for b.Loop() {
						Attention(nil, shape, c.heads, dst, width, q, width, queries, Scoring{Scale: spec.AttentionScale(c.dim)})
					}
					operations := 4 * float64(width*c.n*rows) * float64(b.N)
					b.ReportMetric(operations/b.Elapsed().Seconds()*1e-9, "GFLOP/s")
				})
			}
		}
	}
}

func BenchmarkVector(b *testing.B) {
	const n = 4096
	x, y, z := make([]float32, n), make([]float32, n), make([]float32, n)
	fill := func() {
		for i := range x {
			x[i], y[i], z[i] = float32(i%80)-40, float32(i)/n, 0
		}
	}
	measure := func(name string, body func()) {
		b.Run(name, func(b *testing.B) {
			fill()
			for b.Loop() {
				body()
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds()*1e-9, "Gelem/s")
		})
	}
	measure("exp", func() { Exp(x) })
	measure("exp/portable", func() { expPortable(x) })
	measure("silu", func() { SiLUMul(x, y) })
	measure("gelu", func() { GELUMul(x, y) })
	measure("soft cap", func() { SoftCap(x, 30) })
	measure("rmsnorm", func() { RMSNorm(z, x, y, 1e-6) })
	measure("softmax", func() { Softmax(x) })
	measure("add", func() { AddInto(z, y) })
	measure("finite", func() { Finite(y) })
	rope := NewRoPE(spec.RoPE{Style: spec.RoPENeoX, Dim: 64, Base: 1e6}, 64)
	measure("rope", func() { rope.Rotate(y, 64, 63) })
	norm := NewRoPE(spec.RoPE{Dim: 64, Base: 1e6}, 64)
	measure("rope/norm", func() { norm.Rotate(y, 64, 63) })
	for _, tokens := range []int{1, 4} {
		var a Activations
		a.Reset(y, n/tokens, tokens, n/tokens)
		measure(fmt.Sprintf("quantize/tokens=%d", tokens), func() { a.Set(0, tokens) })
	}
}

// BenchmarkPool measures an empty parallel step.
func BenchmarkPool(b *testing.B) {
	p := NewPool(2)
	defer p.Close()
	for b.Loop() {
		p.Run(2, 1, func(int, int) {})
	}
}

// BenchmarkPack measures loading: GGUF bytes to panels.
func BenchmarkPack(b *testing.B) {
	const rows, cols = 1024, 1024
	for _, f := range formats {
		data := weightBytes(rand.New(rand.NewPCG(3, 4)), f, rows, cols)
		b.Run(f.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := NewMatrix(f, rows, cols, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
