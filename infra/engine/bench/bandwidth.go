package bench

import (
	"runtime"
	"time"
	"unsafe"

	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// Memory is a region much larger than the processor's caches, to be read from
// its begin to its end.
type Memory struct {
	pool  *kernel.Pool
	words []float32
	owner *kernel.Matrix // of the region
}

// memoryBytes is larger than the last-level cache of any processor in use.
const memoryBytes = 512 << 20

// NewMemory reserves the region, in large pages where the system has them, for
// reading with that many threads.
func NewMemory(threads int) (*Memory, error) {
	const cols = 1 << 13
	m, err := kernel.NewEmpty(kernel.F32, memoryBytes/4/cols, cols)
	if err != nil {
		return nil, err
	}
	r := &Memory{pool: kernel.NewPool(threads)}
	err = m.Fill(func(packed []byte) error {
		for i := 0; i < len(packed); i += 64 {
			packed[i] = byte(i >> 6)
		}
		r.words = unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(packed))), len(packed)/4)
		return nil
	})
	r.owner = m
	return r, err
}

// Read reads the region once and returns the bytes per second. The loop has
// almost nothing to compute, so that the memory is the limit.
func (r *Memory) Read() float64 {
	const part = 1 << 18 // words
	begin := time.Now()
	r.pool.Run(len(r.words)/part, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			kernel.Finite(r.words[i*part : (i+1)*part])
		}
	})
	runtime.KeepAlive(r.owner)
	return memoryBytes / time.Since(begin).Seconds()
}

// Close ends the threads.
func (r *Memory) Close() { r.pool.Close() }
