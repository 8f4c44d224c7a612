package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

var (
	pendingBucket = []byte("pending") // order -> receipt id ‖ model, not in a batch yet
	batchBucket   = []byte("batches") // number -> batch JSON
	placeBucket   = []byte("places")  // receipt id -> number of its batch
)

// batch is a batch on disk. Its number is local and never changes; its sequence
// on chain is fixed when the chain has it.
type batch struct {
	core.ReceiptBatch
	Number uint64           `json:"number"`
	IDs    []core.ReceiptID `json:"ids"`
	Final  bool             `json:"final"`
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func enqueue(tx *bolt.Tx, id core.ReceiptID, model core.ModelID) error {
	b := tx.Bucket(pendingBucket)
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	return b.Put(number(n), append(id[:], model[:]...))
}

// unfinished returns the batch that is prepared and not known to be final.
func (n *Notary) unfinished() (found *batch, err error) {
	err = n.db.View(func(tx *bolt.Tx) error {
		k, v := tx.Bucket(batchBucket).Cursor().Last()
		if k == nil {
			return nil
		}
		var b batch
		if err := json.Unmarshal(v, &b); err != nil || b.Final {
			return err
		}
		if b.Model.IsZero() { // of an earlier version of this program
			if b.Model, err = modelOf(tx, b.IDs[0][:]); err != nil {
				return err
			}
		}
		found = &b
		return nil
	})
	return found, err
}

// modelOf is the model of a pending entry.
func modelOf(tx *bolt.Tx, pending []byte) (core.ModelID, error) {
	if len(pending) >= 64 {
		return core.Hash(pending[32:64]), nil
	}
	e, err := load(tx, core.Hash(pending))
	return e.Receipt.Model, err
}

// prepare moves the pending receipts of one model into a new batch, on disk
// before anything is sent, so that a crash resumes the same batch and not a
// different one.
func (n *Notary) prepare(ctx context.Context) (*batch, error) {
	next, err := n.nextSequence(ctx)
	if err != nil {
		return nil, err
	}
	var b *batch
	err = n.writer.Do(func(tx *bolt.Tx) error {
		b = &batch{ReceiptBatch: core.ReceiptBatch{Provider: n.wallet.Address(), Sequence: next}}
		pending := tx.Bucket(pendingBucket)
		var taken [][]byte
		c := pending.Cursor()
		for k, id := c.First(); k != nil && len(b.IDs) < n.opt.MaxBatch; k, id = c.Next() {
			model, err := modelOf(tx, id)
			if err != nil {
				return err
			}
			if len(b.IDs) == 0 {
				b.Model = model
			}
			if model != b.Model {
				continue // of the next batch
			}
			b.IDs = append(b.IDs, core.Hash(id))
			taken = append(taken, bytes.Clone(k))
		}
		if len(b.IDs) == 0 {
			b = nil
			return nil
		}
		b.Root, b.Count = merkle.Root(b.IDs), uint32(len(b.IDs))
		batches := tx.Bucket(batchBucket)
		var err error
		if b.Number, err = batches.NextSequence(); err != nil {
			return err
		}
		for _, k := range taken {
			if err := pending.Delete(k); err != nil {
				return err
			}
		}
		for _, id := range b.IDs {
			if err := tx.Bucket(placeBucket).Put(id[:], number(b.Number)); err != nil {
				return err
			}
		}
		return putBatch(tx, b)
	})
	if err != nil {
		return nil, n.failed(err)
	}
	return b, nil
}

func putBatch(tx *bolt.Tx, b *batch) error {
	js, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return tx.Bucket(batchBucket).Put(number(b.Number), js)
}

// recent is how many of its batches a provider looks through after a crash.
const recent = 32

func (n *Notary) nextSequence(ctx context.Context) (uint64, error) {
	list, err := n.chain.Batches(ctx, n.wallet.Address(), 1)
	if err != nil {
		return 0, &core.Error{Code: core.CodeUnavailable, Message: "the receipt batches cannot be read from the chain", Err: err}
	}
	if len(list) == 0 {
		return 1, nil
	}
	return list[0].Sequence + 1, nil
}

// recover asks the chain what became of a batch whose commitment was not heard
// of. When another batch took its number, as after a restored backup, it gets
// the next one.
func (n *Notary) recover(ctx context.Context, b *batch) (done bool, err error) {
	list, err := n.chain.Batches(ctx, n.wallet.Address(), recent)
	if err != nil {
		return false, &core.Error{Code: core.CodeUnavailable, Message: "the receipt batches cannot be read from the chain", Err: err}
	}
	next := uint64(1)
	for _, c := range list {
		if c.Root == b.Root {
			b.Sequence = c.Sequence
			return true, n.finish(b)
		}
		next = max(next, c.Sequence+1)
	}
	if b.Sequence == next {
		return false, nil
	}
	b.Sequence = next
	return false, n.failed(n.writer.Do(func(tx *bolt.Tx) error { return putBatch(tx, b) }))
}

func (n *Notary) finish(b *batch) error {
	b.Final = true
	return n.failed(n.writer.Do(func(tx *bolt.Tx) error { return putBatch(tx, b) }))
}

// Inclusion returns the batch on chain that holds the receipt and the proof of
// its place. It fails with [ErrUnknown], or with CodeUnavailable while the
// receipt waits for its batch.
func (n *Notary) Inclusion(id core.ReceiptID) (core.ReceiptBatch, merkle.Proof[core.Hash], error) {
	var b batch
	err := n.db.View(func(tx *bolt.Tx) error {
		place := tx.Bucket(placeBucket).Get(id[:])
		if place == nil {
			if tx.Bucket(evidenceBucket).Get(id[:]) == nil {
				return ErrUnknown
			}
			return nil
		}
		return json.Unmarshal(tx.Bucket(batchBucket).Get(place), &b)
	})
	if err == nil && !b.Final {
		err = &core.Error{Code: core.CodeUnavailable, Message: "the receipt is not committed on chain yet", Next: "try again in a minute"}
	}
	if err != nil {
		return core.ReceiptBatch{}, merkle.Proof[core.Hash]{}, err
	}
	for i, x := range b.IDs {
		if x == id {
			p, err := merkle.Prove(b.IDs, i)
			return b.ReceiptBatch, p, err
		}
	}
	return core.ReceiptBatch{}, merkle.Proof[core.Hash]{}, ErrUnknown
}
