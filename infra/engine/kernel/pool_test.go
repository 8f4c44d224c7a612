package kernel

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolRunsEveryIndexOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 8} {
		p := NewPool(threads)
		for _, n := range []int{0, 1, 2, 7, 64, 1000} {
			for _, chunk := range []int{0, 1, 3, 64, 5000} {
				counts := make([]atomic.Int32, n)
				p.Run(n, chunk, func(lo, hi int) {
					if chunk > 0 && (lo%chunk != 0 || hi-lo > chunk) {
						t.Errorf("range %d to %d of chunk %d", lo, hi, chunk)
					}
					for i := lo; i < hi; i++ {
						counts[i].Add(1)
					}
				})
				for i := range counts {
					if c := counts[i].Load(); c != 1 {
						t.Fatalf("%d threads, n %d, chunk %d: index %d ran %d times", threads, n, chunk, i, c)
					}
				}
			}
		}
		p.Close()
	}
}

// TestPoolOrdersMemory shows that a Run sees the plain writes of the one before.
func TestPoolOrdersMemory(t *testing.T) {
	p := NewPool(4)
	defer p.Close()
	x := make([]int, 97)
	for round := range 2000 {
		p.Run(len(x), 5, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				if x[len(x)-1-i] < round-1 {
					t.Errorf("round %d sees a stale value", round)
				}
			}
		})
		p.Run(len(x), 7, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				x[i] = round
			}
		})
	}
}

func TestPoolSharedByCallers(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	var total atomic.Int64
	var callers sync.WaitGroup
	for range 5 {
		callers.Go(func() {
			for range 200 {
				p.Run(10, 1, func(lo, hi int) { total.Add(int64(hi - lo)) })
			}
		})
	}
	callers.Wait()
	if total.Load() != 5*200*10 {
		t.Errorf("ran %d indices, want %d", total.Load(), 5*200*10)
	}
}

func TestPoolSleepsWhenIdle(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	for range 3 {
		p.Run(30, 1, func(int, int) {})
		deadline := time.Now().Add(5 * time.Second)
		for p.asleep.Load() != 2 {
			if time.Now().After(deadline) {
				t.Fatalf("%d of 2 idle workers sleep", p.asleep.Load())
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestPoolWakesItsWorkers(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	time.Sleep(5 * time.Millisecond)
	var inside atomic.Int32
	p.Run(2, 1, func(int, int) { // returns only when both are inside at once
		inside.Add(1)
		for deadline := time.Now().Add(5 * time.Second); inside.Load() < 2; {
			if time.Now().After(deadline) {
				t.Error("the worker did not come")
				return
			}
			time.Sleep(time.Microsecond)
		}
	})
}

func TestClosedPoolRunsOnTheCaller(t *testing.T) {
	p := NewPool(4)
	p.Close()
	p.Close()
	sum := 0
	p.Run(100, 3, func(lo, hi int) { sum += hi - lo })
	if sum != 100 {
		t.Errorf("ran %d indices, want 100", sum)
	}
	var none *Pool
	none.Close()
	none.Run(100, 3, func(lo, hi int) { sum += hi - lo })
	if sum != 200 {
		t.Errorf("a nil pool ran %d indices, want 100", sum-100)
	}
}
