package client

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	rpc "github.com/cometbft/cometbft/rpc/client"
)

// follower walks the chain block by block, tells who waits for a transaction
// how it ended, and announces heights. Events only wake it: what it reports it
// has read from committed blocks, so that a lost event loses nothing.
type follower struct {
	rpc   rpc.Client
	fresh func() // called before a height is announced

	mu      sync.Mutex
	height  int64
	waiting map[[32]byte]*wait
	readers map[chan int64]struct{}
	ended   bool
}

// wait is one transaction on its way.
type wait struct {
	from   int64 // first height that can contain it
	expiry int64 // last height that can contain it
	done   chan outcome
}

// outcome is how a transaction ended.
type outcome struct {
	height  int64
	result  *abci.ExecTxResult // nil when it expired or the client was closed
	expired bool
}

func newFollower(r rpc.Client, height int64, fresh func()) *follower {
	return &follower{rpc: r, fresh: fresh, height: height, waiting: map[[32]byte]*wait{}, readers: map[chan int64]struct{}{}}
}

func (f *follower) run(ctx context.Context) {
	name := fmt.Sprintf("koinon-%p", f)
	events, err := f.rpc.Subscribe(ctx, name, "tm.event='NewBlockHeader'", 16)
	if err != nil {
		events = nil // polling does
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-events:
		case <-tick.C:
		case <-ctx.Done():
			if events != nil {
				end, cancel := context.WithTimeout(context.Background(), time.Second)
				_ = f.rpc.Unsubscribe(end, name, "tm.event='NewBlockHeader'")
				cancel()
			}
			f.end()
			return
		}
		f.catchUp(ctx)
	}
}

// catchUp reports every block between the last seen and the newest.
func (f *follower) catchUp(ctx context.Context) {
	s, err := f.rpc.Status(ctx)
	if err != nil {
		return
	}
	for h := f.now() + 1; h <= s.SyncInfo.LatestBlockHeight; h++ {
		var found map[[32]byte]*abci.ExecTxResult
		if f.waits(h) {
			found, err = f.read(ctx, h)
			if err != nil && s.SyncInfo.LatestBlockHeight-h <= lifetime {
				return // the next wake-up tries again
			}
			// A block that the node no longer has is older than every transaction.
		}
		f.advance(h, found)
	}
}

// read returns the results of the transactions of block h.
func (f *follower) read(ctx context.Context, h int64) (map[[32]byte]*abci.ExecTxResult, error) {
	b, err := f.rpc.Block(ctx, &h)
	if err != nil {
		return nil, err
	}
	if len(b.Block.Txs) == 0 {
		return nil, nil
	}
	r, err := f.rpc.BlockResults(ctx, &h)
	if err != nil {
		return nil, err
	}
	if len(r.TxsResults) != len(b.Block.Txs) {
		return nil, fmt.Errorf("block %d has %d transactions and %d results", h, len(b.Block.Txs), len(r.TxsResults))
	}
	found := make(map[[32]byte]*abci.ExecTxResult, len(b.Block.Txs))
	for i, tx := range b.Block.Txs {
		found[sha256.Sum256(tx)] = r.TxsResults[i]
	}
	return found, nil
}

func (f *follower) now() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.height
}

// waits reports whether block h may contain a transaction that somebody awaits.
func (f *follower) waits(h int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.waiting {
		if w.from <= h {
			return true
		}
	}
	return false
}

func (f *follower) advance(h int64, found map[[32]byte]*abci.ExecTxResult) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.height = h
	f.fresh()
	for tx, w := range f.waiting {
		switch r, ok := found[tx]; {
		case ok:
			w.done <- outcome{height: h, result: r}
		case h >= w.expiry:
			w.done <- outcome{height: h, expired: true}
		default:
			continue
		}
		delete(f.waiting, tx)
	}
	for r := range f.readers {
		offer(r, h)
	}
}

// offer puts the newest height into a channel of capacity one.
func offer(r chan int64, h int64) {
	select {
	case <-r:
	default:
	}
	r <- h
}

// await registers a transaction that is about to be sent; block expiry is the
// last that can contain it.
func (f *follower) await(tx [32]byte, expiry int64) *wait {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &wait{from: f.height + 1, expiry: expiry, done: make(chan outcome, 1)}
	if f.ended {
		w.done <- outcome{}
		return w
	}
	f.waiting[tx] = w
	return w
}

func (f *follower) abandon(tx [32]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, tx)
}

func (f *follower) subscribe(ctx context.Context) <-chan int64 {
	r := make(chan int64, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		close(r)
		return r
	}
	f.readers[r] = struct{}{}
	offer(r, f.height)
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, ok := f.readers[r]; ok {
			delete(f.readers, r)
			close(r)
		}
	})
	return r
}

func (f *follower) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for tx, w := range f.waiting {
		w.done <- outcome{}
		delete(f.waiting, tx)
	}
	for r := range f.readers {
		delete(f.readers, r)
		close(r)
	}
}
