package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// idleSpin is how long a worker watches for the next job before it sleeps.
const idleSpin = 100 * time.Microsecond

// Pool runs loops on a fixed number of threads: the caller's and its workers'.
// Workers spin between jobs that follow each other closely and sleep when none
// comes, so that an idle pool costs nothing. A nil Pool runs on the caller.
//
// Loops are handed out in chunks as threads get free. No result depends on who
// computed what, and a worker that the operating system keeps waiting delays
// nobody: the caller takes what is left.
type Pool struct {
	threads int
	running sync.Mutex // held for one Run
	job     atomic.Pointer[job]
	asleep  atomic.Int32
	mu      sync.Mutex
	wake    *sync.Cond
	workers sync.WaitGroup
	closed  bool // under mu
}

type job struct {
	n, chunk int
	body     func(lo, hi int)
	next     atomic.Int64
	active   atomic.Int32 // workers inside
	over     atomic.Bool  // no worker may enter any more
}

// NewPool starts a pool of that many threads including the caller's; 0 or less
// means GOMAXPROCS. Close it to end its workers.
func NewPool(threads int) *Pool {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &Pool{threads: threads}
	p.wake = sync.NewCond(&p.mu)
	for range threads - 1 {
		p.workers.Add(1)
		go p.work()
	}
	return p
}

// Threads is the number of threads that may take part in a Run.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.threads
}

// Close ends the workers and waits for them. The pool can still run loops, on
// the caller alone.
func (p *Pool) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.wake.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
}

// Run calls body for consecutive ranges that cover 0..n-1 exactly once, each of
// at most chunk elements and starting at a multiple of chunk, concurrently. It
// returns when all are done. Concurrent Runs of one pool take turns; body must
// not call Run of the same pool. A chunk of 0 or less lets the pool choose.
func (p *Pool) Run(n, chunk int, body func(lo, hi int)) {
	if n <= 0 {
		return
	}
	threads := p.Threads()
	if chunk <= 0 {
		chunk = (n + 4*threads - 1) / (4 * threads)
	}
	if threads == 1 || n <= chunk {
		for lo := 0; lo < n; lo += chunk {
			body(lo, min(n, lo+chunk))
		}
		return
	}
	j := &job{n: n, chunk: chunk, body: body}
	p.running.Lock()
	defer p.running.Unlock()
	p.job.Store(j)
	if p.asleep.Load() > 0 {
		p.mu.Lock()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
	j.run()
	j.over.Store(true)
	for spins := 0; j.active.Load() != 0; spins++ {
		if spins > 2000 {
			runtime.Gosched()
		}
	}
}

func (j *job) run() {
	for {
		lo := int(j.next.Add(1)-1) * j.chunk
		if lo >= j.n {
			return
		}
		j.body(lo, min(j.n, lo+j.chunk))
	}
}

// join takes part in the job unless it is over. The order of the two atomic
// operations is what makes Run's wait sound.
func (j *job) join() {
	j.active.Add(1)
	if !j.over.Load() {
		j.run()
	}
	j.active.Add(-1)
}

func (p *Pool) work() {
	defer p.workers.Done()
	var last *job
	for {
		j := p.await(last)
		if j == nil {
			return
		}
		j.join()
		last = j
	}
}

// await returns the first job other than last, or nil when the pool closed.
func (p *Pool) await(last *job) *job {
	for range 2000 {
		if j := p.job.Load(); j != last {
			return j
		}
	}
	for since := time.Now(); time.Since(since) < idleSpin; {
		for range 100 {
			if j := p.job.Load(); j != last {
				return j
			}
		}
		runtime.Gosched()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asleep.Add(1)
	defer p.asleep.Add(-1)
	for {
		if p.closed {
			return nil
		}
		if j := p.job.Load(); j != last {
			return j
		}
		p.wake.Wait()
	}
}
