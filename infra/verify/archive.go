package verify

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/internal/groupcommit"
)

var (
	evidenceBucket = []byte("evidence")   // receipt id -> header ‖ JSON
	leavesBucket   = []byte("boundaries") // receipt id -> leaves in a row
	requestBucket  = []byte("requests")   // request id ‖ receipt id -> nothing
	orderBucket    = []byte("order")      // sequence -> receipt id
	metaBucket     = []byte("meta")
)

// ArchiveOptions tune an [Archive]; zero fields take the defaults named here.
type ArchiveOptions struct {
	// Keep is how long evidence stays after its receipt can no longer be
	// challenged. Default 30 days.
	Keep time.Duration
	// MaxBytes bounds the stored evidence: beyond it the oldest expired evidence
	// goes first, whatever Keep says. Default 4 GiB.
	MaxBytes int64
	// Boundaries keeps the boundary leaves, which name the layer of a difference
	// but can be derived, and are larger than everything else.
	Boundaries bool
	// Now is the clock. Default time.Now.
	Now func() time.Time

	noSync bool
}

func (o ArchiveOptions) withDefaults() ArchiveOptions {
	if o.Keep <= 0 {
		o.Keep = 30 * 24 * time.Hour
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 4 << 30
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Archive keeps evidence on disk, by receipt and by request. All methods are
// safe for concurrent use.
type Archive struct {
	opt    ArchiveOptions
	db     *bolt.DB
	writer *groupcommit.Writer
}

// ErrUnknown says that an archive has no such evidence.
var ErrUnknown = &core.Error{Code: core.CodeInvalid, Message: "no such receipt is stored here", Next: "list receipts to see what is"}

// OpenArchive opens the archive at path, or makes one.
func OpenArchive(path string, o ArchiveOptions) (*Archive, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "the receipt archive's folder cannot be made", Err: err}
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, NoSync: o.noSync, NoGrowSync: o.noSync, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("the receipt archive %s cannot be opened", path), Next: "stop the other process that uses it, or check the file's rights", Err: err}
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{evidenceBucket, leavesBucket, requestBucket, orderBucket, metaBucket, pendingBucket, batchBucket, placeBucket, workBucket, traceBucket, sealedBucket, suspicionBucket} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &Archive{o, db, groupcommit.New(db)}, nil
}

// Close writes what is queued and closes the file.
func (a *Archive) Close() error {
	a.writer.Close()
	return a.db.Close()
}

// Put stores e; it is on disk when Put returns. The same receipt twice is
// stored once; two receipts for one request are both kept: they are the proof
// that their provider signed both.
func (a *Archive) Put(e core.Evidence) error {
	rec, err := a.encode(e)
	if err != nil {
		return err
	}
	return a.failed(a.writer.Do(func(tx *bolt.Tx) error { _, err := rec.put(tx); return err }))
}

func (a *Archive) failed(err error) error {
	var own *core.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &core.Error{Code: core.CodeInternal, Message: "the receipt archive cannot be written", Next: "check that the disk is not full", Err: err}
}

// record is evidence as stored. The header keeps what pruning and listing need
// without decoding: order (8 bytes) and expiry (8 bytes).
type record struct {
	id, request core.Hash
	model       core.ModelID
	expiry      int64
	json        []byte
	leaves      []byte
}

const headerSize = 16

func (a *Archive) encode(e core.Evidence) (record, error) {
	r := record{id: e.Receipt.Digest(), request: e.Receipt.Request, model: e.Receipt.Model, expiry: e.Receipt.Expiry}
	if a.opt.Boundaries {
		r.leaves = make([]byte, 0, 32*len(e.Boundaries))
		for _, h := range e.Boundaries {
			r.leaves = append(r.leaves, h[:]...)
		}
	}
	e.Boundaries, e.Request.Voucher = nil, nil
	var err error
	r.json, err = json.Marshal(e)
	return r, err
}

// put writes r and reports whether it is new.
func (r record) put(tx *bolt.Tx) (isNew bool, err error) {
	evidence := tx.Bucket(evidenceBucket)
	if evidence.Get(r.id[:]) != nil {
		return false, nil
	}
	order := tx.Bucket(orderBucket)
	n, err := order.NextSequence()
	if err != nil {
		return false, err
	}
	value := binary.BigEndian.AppendUint64(make([]byte, 0, headerSize+len(r.json)), n)
	value = binary.BigEndian.AppendUint64(value, uint64(r.expiry))
	value = append(value, r.json...)
	if err := evidence.Put(r.id[:], value); err != nil {
		return false, err
	}
	if len(r.leaves) > 0 {
		if err := tx.Bucket(leavesBucket).Put(r.id[:], r.leaves); err != nil {
			return false, err
		}
	}
	if err := order.Put(value[:8], r.id[:]); err != nil {
		return false, err
	}
	if err := tx.Bucket(requestBucket).Put(append(r.request[:], r.id[:]...), nil); err != nil {
		return false, err
	}
	return true, addSize(tx, int64(len(value)+len(r.leaves)))
}

var sizeKey = []byte("size")

func addSize(tx *bolt.Tx, n int64) error {
	b := tx.Bucket(metaBucket)
	return b.Put(sizeKey, binary.BigEndian.AppendUint64(nil, uint64(readSize(b)+n)))
}

func readSize(b *bolt.Bucket) int64 {
	if v := b.Get(sizeKey); len(v) == 8 {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

// Get returns the evidence of a receipt, or of the latest receipt for a
// request, whichever id names. It fails with [ErrUnknown].
func (a *Archive) Get(id core.Hash) (e core.Evidence, err error) {
	err = a.db.View(func(tx *bolt.Tx) error {
		if e, err = load(tx, id); !errors.Is(err, ErrUnknown) {
			return err
		}
		all := receiptsFor(tx, id)
		if len(all) == 0 {
			return ErrUnknown
		}
		e, err = load(tx, all[len(all)-1])
		return err
	})
	return e, err
}

func load(tx *bolt.Tx, id core.ReceiptID) (e core.Evidence, err error) {
	value := tx.Bucket(evidenceBucket).Get(id[:])
	if len(value) < headerSize {
		return e, ErrUnknown
	}
	if err := json.Unmarshal(value[headerSize:], &e); err != nil {
		return e, fmt.Errorf("stored evidence %s: %w", id.Short(), err)
	}
	leaves := tx.Bucket(leavesBucket).Get(id[:])
	for ; len(leaves) >= 32; leaves = leaves[32:] {
		e.Boundaries = append(e.Boundaries, core.Hash(leaves[:32]))
	}
	return e, nil
}

// receiptsFor lists the receipts of a request in the order of their arrival.
func receiptsFor(tx *bolt.Tx, request core.RequestID) (ids []core.ReceiptID) {
	c := tx.Bucket(requestBucket).Cursor()
	var latest uint64
	for k, _ := c.Seek(request[:]); len(k) == 64 && core.Hash(k[:32]) == request; k, _ = c.Next() {
		id := core.Hash(k[32:])
		value := tx.Bucket(evidenceBucket).Get(id[:])
		if len(value) < headerSize {
			continue
		}
		if n := binary.BigEndian.Uint64(value); n > latest {
			latest, ids = n, append(ids, id)
		} else {
			ids = append([]core.ReceiptID{id}, ids...)
		}
	}
	return ids
}

// Summary is one line of a list.
type Summary struct {
	ID      core.ReceiptID `json:"id"`
	Receipt core.Receipt   `json:"receipt"`
	Model   string         `json:"model_name"`
}

// List returns up to limit receipts, newest first, after skipping skip.
func (a *Archive) List(skip, limit int) (out []Summary, err error) {
	err = a.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(orderBucket).Cursor()
		for k, id := c.Last(); k != nil && len(out) < limit; k, id = c.Prev() {
			if skip > 0 {
				skip--
				continue
			}
			value := tx.Bucket(evidenceBucket).Get(id)
			var e struct {
				Receipt   core.SignedReceipt `json:"receipt"`
				ModelName string             `json:"model_name"`
			}
			if len(value) < headerSize {
				continue
			}
			if err := json.Unmarshal(value[headerSize:], &e); err != nil {
				return fmt.Errorf("stored evidence %x: %w", id[:4], err)
			}
			out = append(out, Summary{core.Hash(id), e.Receipt.Receipt, e.ModelName})
		}
		return nil
	})
	return out, err
}

// Prune drops evidence whose receipts have expired: those older than Keep, and
// as many more as MaxBytes asks for. What can still be challenged, or is not
// yet committed on chain, stays. It returns how many were dropped.
func (a *Archive) Prune() (dropped int, err error) {
	now := a.opt.Now()
	err = a.writer.Do(func(tx *bolt.Tx) error {
		dropped = 0
		size := readSize(tx.Bucket(metaBucket))
		waiting := map[core.ReceiptID]bool{}
		_ = tx.Bucket(pendingBucket).ForEach(func(_, id []byte) error { waiting[core.Hash(id)] = true; return nil })
		var gone []core.ReceiptID
		c := tx.Bucket(orderBucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			id := core.Hash(v)
			value := tx.Bucket(evidenceBucket).Get(v)
			if len(value) < headerSize || waiting[id] {
				continue
			}
			expired := time.Unix(int64(binary.BigEndian.Uint64(value[8:])), 0)
			if now.Before(expired) || now.Before(expired.Add(a.opt.Keep)) && size <= a.opt.MaxBytes {
				continue
			}
			gone = append(gone, id)
			size -= int64(len(value) + len(tx.Bucket(leavesBucket).Get(v)))
		}
		for _, id := range gone {
			if err := remove(tx, id); err != nil {
				return err
			}
			dropped++
		}
		return nil
	})
	return dropped, a.failed(err)
}

func remove(tx *bolt.Tx, id core.ReceiptID) error {
	e, err := load(tx, id)
	if err != nil {
		return err
	}
	value := tx.Bucket(evidenceBucket).Get(id[:])
	size := int64(len(value) + len(tx.Bucket(leavesBucket).Get(id[:])))
	order := append([]byte(nil), value[:8]...)
	if err := tx.Bucket(evidenceBucket).Delete(id[:]); err != nil {
		return err
	}
	if err := tx.Bucket(leavesBucket).Delete(id[:]); err != nil {
		return err
	}
	if err := tx.Bucket(orderBucket).Delete(order); err != nil {
		return err
	}
	if err := tx.Bucket(requestBucket).Delete(append(e.Receipt.Request[:], id[:]...)); err != nil {
		return err
	}
	return addSize(tx, -size)
}

// following is the receipt that arrived after the last one passed under a mark,
// a key of the meta bucket; 0 when there is none.
func (a *Archive) following(mark []byte) (order uint64, id core.ReceiptID, err error) {
	err = a.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(orderBucket).Cursor()
		k, v := c.First()
		if from := tx.Bucket(metaBucket).Get(mark); from != nil {
			if k, v = c.Seek(from); k != nil && bytes.Equal(k, from) {
				k, v = c.Next()
			}
		}
		if k != nil {
			order, id = binary.BigEndian.Uint64(k), core.Hash(v)
		}
		return nil
	})
	return order, id, err
}

// passed moves a mark on.
func (a *Archive) passed(mark []byte, order uint64) error {
	return a.failed(a.writer.Do(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(mark, number(order)) }))
}
