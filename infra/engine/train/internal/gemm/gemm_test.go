package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func random(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// naive is the promise of the package comment, word by word.
func naive(c []float32, cStride int, a, b Operand, m, n, k int, accumulate bool) {
	at := func(o Operand, i, j int) float32 {
		if o.Transposed {
			i, j = j, i
		}
		return o.Data[i*o.Stride+j]
	}
	for i := range m {
		for j := range n {
			var s float32
			if accumulate {
				s = c[i*cStride+j]
			}
			for t := range k {
				s += float32(at(a, i, t) * at(b, t, j))
			}
			c[i*cStride+j] = s
		}
	}
}

func operand(r *rand.Rand, rows, cols int, transposed bool) Operand {
	if transposed {
		rows, cols = cols, rows
	}
	stride := cols + r.IntN(3)
	return Operand{random(r, rows*stride), stride, transposed}
}

func TestMulIsTheOrderedSum(t *testing.T) {
	if accelerated {
		defer func() { accelerated = true }()
	}
	modes := []bool{false}
	if accelerated {
		modes = append(modes, true)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		m, n, k := 1+r.IntN(120), 1+r.IntN(70), 1+r.IntN(90)
		if round%20 == 0 {
			k += 2 * blockK
		}
		a, b := operand(r, m, k, round&1 != 0), operand(r, k, n, round&2 != 0)
		stride := n + r.IntN(5)
		c := random(r, m*stride)
		want := append([]float32(nil), c...)
		accumulate := round&4 != 0
		naive(want, stride, a, b, m, n, k, accumulate)
		for _, accelerated = range modes {
			for workers := range 3 {
				got := append([]float32(nil), c...)
				if workers == 0 {
					new(Multiplier).Mul(got, stride, a, b, m, n, k, accumulate)
				} else {
					NewWorkers(workers).Mul(got, stride, a, b, m, n, k, accumulate)
				}
				for i := range want {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%dx%dx%d accelerated=%v workers=%d: element %d is %x, want %x", m, n, k, accelerated, workers, i, got[i], want[i])
					}
				}
			}
		}
	}
}

func BenchmarkMul(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range []struct {
		m, n, k int
		ta, tb  bool
	}{{2048, 1024, 192, false, true}, {2048, 192, 512, false, false}, {1024, 192, 2048, true, false}, {64, 64, 32, false, true}} {
		b.Run(fmt.Sprintf("%dx%dx%d", s.m, s.n, s.k), func(b *testing.B) {
			x, y := operand(r, s.m, s.k, s.ta), operand(r, s.k, s.n, s.tb)
			c := make([]float32, s.m*s.n)
			w := new(Multiplier)
			for b.Loop() {
				w.Mul(c, s.n, x, y, s.m, s.n, s.k, false)
			}
			b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
