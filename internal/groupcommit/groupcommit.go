// Package groupcommit lets many goroutines share the fsync of one bbolt file.
//
// Start with [New] and [Writer.Do]. Guarantee: when Do returns nil, its writes
// are on disk, together with everything queued before them; while one commit
// waits for the disk, the calls that arrive form the next one, so that 64
// writers cost a handful of fsyncs and a lone writer waits for nobody.
package groupcommit

import (
	"errors"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// ErrClosed is returned by a Writer after Close.
var ErrClosed = errors.New("the store is closed")

// Writer queues transactions for one database.
type Writer struct {
	db     *bolt.DB
	mu     sync.Mutex
	idle   sync.Cond
	queue  []call
	busy   bool
	closed bool
}

type call struct {
	write func(*bolt.Tx) error
	done  chan error // nil when nobody waits
}

// New returns a Writer for db, which must not be written otherwise.
func New(db *bolt.DB) *Writer {
	w := &Writer{db: db}
	w.idle.L = &w.mu
	return w
}

// Do runs write in a transaction shared with concurrent calls and returns once
// it is on disk. Should one call of a shared transaction fail, each is run
// again by itself, so write may run twice and must be idempotent.
func (w *Writer) Do(write func(*bolt.Tx) error) error {
	done := make(chan error, 1)
	if !w.enqueue(call{write, done}) {
		return ErrClosed
	}
	return <-done
}

// Go queues write without waiting for the disk. Its error is lost: use it only
// for what a later Do repeats or a crash may forget.
func (w *Writer) Go(write func(*bolt.Tx) error) { w.enqueue(call{write, nil}) }

func (w *Writer) enqueue(c call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.queue = append(w.queue, c)
	if !w.busy {
		w.busy = true
		go w.drain()
	}
	return true
}

func (w *Writer) drain() {
	for {
		w.mu.Lock()
		batch := w.queue
		w.queue = nil
		if len(batch) == 0 {
			w.busy = false
			w.idle.Broadcast()
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		w.commit(batch)
	}
}

func (w *Writer) commit(batch []call) {
	err := w.db.Update(func(tx *bolt.Tx) error {
		for _, c := range batch {
			if err := c.write(tx); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range batch {
		own := err
		if err != nil && len(batch) > 1 {
			own = w.db.Update(c.write)
		}
		if c.done != nil {
			c.done <- own
		}
	}
}

// Close waits for queued writes and refuses further ones. The database stays
// open.
func (w *Writer) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for w.busy {
		w.idle.Wait()
	}
}
