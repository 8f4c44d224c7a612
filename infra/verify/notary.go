package verify

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
)

// NotaryOptions tune a [Notary]; zero fields take the defaults named here.
type NotaryOptions struct {
	ArchiveOptions
	// Interval is how often a batch of receipts is committed on chain. Default 1
	// minute; negative is never by itself.
	Interval time.Duration
	// MaxBatch bounds the receipts of one batch. Default 65,536.
	MaxBatch int
	Log      *slog.Logger
}

// Notary is the provider's archive: it signs receipts and commits them on
// chain. It implements [core.Notary] and is safe for concurrent use.
type Notary struct {
	*Archive
	opt        NotaryOptions
	wallet     core.Wallet
	chain      core.Chain
	committing sync.Mutex
	cancel     context.CancelFunc
	work       sync.WaitGroup
}

// OpenNotary opens the archive at path for the provider's wallet and starts
// committing batches.
func OpenNotary(ctx context.Context, path string, w core.Wallet, chain core.Chain, o NotaryOptions) (*Notary, error) {
	if o.Interval == 0 {
		o.Interval = time.Minute
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = 1 << 16
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a, err := OpenArchive(path, o.ArchiveOptions)
	if err != nil {
		return nil, err
	}
	n := &Notary{Archive: a, opt: o, wallet: w, chain: chain}
	loop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	if o.Interval > 0 {
		n.work.Go(func() { n.loop(loop) })
	}
	return n, nil
}

// Close stops committing and closes the archive. What is not committed yet is
// committed after the next start.
func (n *Notary) Close() error {
	n.cancel()
	n.work.Wait()
	return n.Archive.Close()
}

// Seal signs the receipt in e and stores e; it is on disk when Seal returns. A
// second, different receipt for the same request is refused: signing it would
// convict the signer. The same one again is returned as it was.
func (n *Notary) Seal(ctx context.Context, e core.Evidence) (core.SignedReceipt, error) {
	if e.Receipt.Provider != n.wallet.Address() {
		return core.SignedReceipt{}, core.Errorf(core.CodeInternal, "a receipt of provider %s cannot be signed by %s", e.Receipt.Provider, n.wallet.Address())
	}
	sig, err := n.wallet.Sign(e.Receipt.Digest())
	if err != nil {
		return core.SignedReceipt{}, &core.Error{Code: core.CodeInternal, Message: "the receipt cannot be signed", Err: err}
	}
	e.Receipt.Signature = sig
	rec, err := n.encode(e)
	if err != nil {
		return core.SignedReceipt{}, err
	}
	err = n.writer.Do(func(tx *bolt.Tx) error {
		for _, old := range receiptsFor(tx, rec.request) {
			if old != rec.id {
				return core.Errorf(core.CodeInternal, "request %s has another receipt already", rec.request.Short())
			}
		}
		isNew, err := rec.put(tx)
		if err != nil || !isNew {
			return err
		}
		return enqueue(tx, rec.id, rec.model)
	})
	if err != nil {
		return core.SignedReceipt{}, n.failed(err)
	}
	return e.Receipt, nil
}

func (n *Notary) loop(ctx context.Context) {
	tick := time.NewTicker(n.opt.Interval)
	defer tick.Stop()
	clock := n.Archive.opt.Now
	last := clock()
	for {
		if _, err := n.Commit(ctx); err != nil && ctx.Err() == nil {
			n.opt.Log.Warn("receipt batch postponed", "err", err)
		}
		if now := clock(); now.Sub(last) > time.Hour {
			last = now
			if _, err := n.Prune(); err != nil {
				n.opt.Log.Warn("receipts not pruned", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Commit puts the receipts since the last batch on chain, or finishes the batch
// that a crash interrupted. It returns how many receipts became final.
func (n *Notary) Commit(ctx context.Context) (int, error) {
	n.committing.Lock()
	defer n.committing.Unlock()
	b, err := n.unfinished()
	if err != nil {
		return 0, err
	}
	if b == nil {
		if b, err = n.prepare(ctx); err != nil || b == nil {
			return 0, err
		}
	} else if done, err := n.recover(ctx, b); err != nil || done {
		return int(b.Count), err
	}
	if err := n.wallet.CommitReceipts(ctx, b.ReceiptBatch); err != nil {
		// It may be on chain all the same; the next Commit asks.
		return 0, fmt.Errorf("batch %d was not committed: %w", b.Sequence, err)
	}
	return int(b.Count), n.finish(b)
}
