package gemm

import (
	"sync"
	"sync/atomic"
)

// Workers is a fixed number of goroutines that share a job. Its methods must
// not be called concurrently, nor from within a job.
type Workers struct {
	own    []*Multiplier
	packed []float32
}

// NewWorkers makes n workers, at least one.
func NewWorkers(n int) *Workers {
	w := &Workers{}
	for range max(n, 1) {
		w.own = append(w.own, new(Multiplier))
	}
	return w
}

// Run calls job(x, i) once for every i below n, in no particular order; x
// belongs to the calling worker for the time of the call.
func (w *Workers) Run(n int, job func(x *Multiplier, i int)) {
	if len(w.own) == 1 || n < 2 {
		for i := range n {
			job(w.own[0], i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	work := func(x *Multiplier) {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			job(x, i)
		}
	}
	for _, x := range w.own[1:] {
		wg.Go(func() { work(x) })
	}
	work(w.own[0])
	wg.Wait()
}

// Mul is [Multiplier.Mul] with the rows of C shared out among the workers.
func (w *Workers) Mul(c []float32, cStride int, a, b Operand, m, n, k int, accumulate bool) {
	w.packed = grow(w.packed, panels(n)*k*tileCols)
	w.Run(panels(n), func(_ *Multiplier, j int) {
		packB(w.packed[j*k*tileCols:][:k*tileCols], b, j*tileCols, n, k)
	})
	w.Run((m+blockRows-1)/blockRows, func(x *Multiplier, i int) {
		x.rows(c, cStride, a, w.packed, i*blockRows, min((i+1)*blockRows, m), n, k, accumulate)
	})
}
