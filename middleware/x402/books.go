package x402

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/internal/groupcommit"
)

var (
	channelBucket = []byte("x402-channels")
	metaBucket    = []byte("meta")
)

// record is a metered channel.
type record struct {
	ID      core.ChannelID `json:"id"`
	Voucher core.Voucher   `json:"voucher"` // the newest; it allows at least Charged
	Charged core.Amount    `json:"charged"` // cumulative, metered
	Claimed core.Amount    `json:"claimed"` // cumulative, as last seen
}

// observe takes in what a payment and the chain say. Another process of the same
// account may have claimed more than this one has charged.
func (r *record) observe(b *batch) {
	r.ID = b.voucher.Channel
	r.Claimed = later(r.Claimed, b.channel.Claimed)
	r.Charged = later(r.Charged, r.Claimed)
}

func later(a, b core.Amount) core.Amount {
	if a.Cmp(b) < 0 {
		return b
	}
	return a
}

// state is the scheme's description of a channel.
func (r *record) state(balance core.Amount) map[string]any {
	return map[string]any{"channelId": hexOf(r.ID), "balance": balance.String(), "totalClaimed": r.Claimed.String(),
		"withdrawRequestedAt": 0, "refundNonce": "0", "chargedCumulativeAmount": r.Charged.String()}
}

func (r *record) claim() Claim { return Claim{r.Voucher, r.Charged} }

// books is the file of metered channels.
type books struct {
	db     *bolt.DB
	writer *groupcommit.Writer
}

func openBooks(path string, account core.Address, chainID uint64) (*books, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "the payment books " + path + " cannot be opened",
			Next: "stop the other process that uses them, or check the file's rights", Err: err}
	}
	owner := fmt.Sprintf("%s on %d", account, chainID)
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(channelBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		if old := meta.Get([]byte("owner")); old != nil && string(old) != owner {
			return &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("the payment books %s belong to %s", path, old), Next: "use another home folder for this account"}
		}
		return meta.Put([]byte("owner"), []byte(owner))
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &books{db, groupcommit.New(db)}, nil
}

func (b *books) close() error {
	b.writer.Close()
	return b.db.Close()
}

// get returns a channel's record, an empty one where there is none.
func (b *books) get(id core.ChannelID) (*record, error) {
	r := &record{ID: id}
	return r, b.db.View(func(tx *bolt.Tx) error {
		if v := tx.Bucket(channelBucket).Get(id[:]); v != nil {
			return json.Unmarshal(v, r)
		}
		return nil
	})
}

// put is on disk when it returns.
func (b *books) put(r *record) error {
	js, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := b.writer.Do(func(tx *bolt.Tx) error { return tx.Bucket(channelBucket).Put(r.ID[:], js) }); err != nil {
		return &core.Error{Code: core.CodeInternal, Message: "the payment books cannot be written", Next: "check that the disk is not full", Err: err}
	}
	return nil
}

// claimed notes what was claimed of a channel in all, or given up.
func (b *books) claimed(id core.ChannelID, total core.Amount) error {
	return b.writer.Do(func(tx *bolt.Tx) error {
		r, bucket := &record{}, tx.Bucket(channelBucket)
		if err := json.Unmarshal(bucket.Get(id[:]), r); err != nil {
			return err
		}
		r.Claimed = later(r.Claimed, total)
		js, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return bucket.Put(id[:], js)
	})
}

// open lists the channels in which something is left to claim.
func (b *books) open() (out []*record, err error) {
	return out, b.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(channelBucket).ForEach(func(_, v []byte) error {
			r := &record{}
			if err := json.Unmarshal(v, r); err != nil {
				return err
			}
			if r.Charged.Cmp(r.Claimed) > 0 {
				out = append(out, r)
			}
			return nil
		})
	})
}

// maxClaims is how many channels one transaction claims.
const maxClaims = 128

func (p *Paywall) claimLoop(ctx context.Context) {
	tick := time.NewTicker(p.cfg.ClaimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.Claim(ctx, false); err != nil && ctx.Err() == nil {
			p.cfg.Log.Warn("metered channels not claimed", "err", err)
		}
	}
}

// endMargin is how long before a channel's end its money is claimed, however
// little it is.
const endMargin = 10 * time.Minute

// Claim claims what was metered: what is worth a transaction or in danger, or
// everything. Calls go on meanwhile: what they add is claimed the next time.
func (p *Paywall) Claim(ctx context.Context, everything bool) error {
	recs, err := p.books.open()
	if err != nil {
		return err
	}
	var due []*record
	for _, r := range recs {
		c, err := p.f.cfg.Ledger.Channel(ctx, r.ID)
		if err != nil {
			return err
		}
		left := c.Expiry - p.f.now().Unix()
		owed := r.Charged.Less(c.Claimed)
		switch urgent := c.State == core.ChannelWithdrawing || left < int64(endMargin/time.Second); {
		case owed.IsZero():
			err = p.books.claimed(r.ID, c.Claimed)
		case c.State == core.ChannelClosed || left <= 0:
			p.cfg.Log.Error("a channel closed before it was claimed", "channel", r.ID.Short(), "lost", owed)
			err = p.books.claimed(r.ID, r.Charged)
		case everything || urgent || owed.Cmp(p.cfg.ClaimAmount) >= 0:
			due = append(due, r)
		}
		if err != nil {
			return err
		}
	}
	for part := range slices.Chunk(due, maxClaims) {
		if err := p.claimThese(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (p *Paywall) claimThese(ctx context.Context, part []*record) error {
	claims := make([]Claim, len(part))
	for i, r := range part {
		claims[i] = r.claim()
	}
	if _, err := p.f.cfg.Ledger.Claim(ctx, claims); err != nil {
		if len(part) == 1 {
			return fmt.Errorf("channel %s: %w", part[0].ID.Short(), err)
		}
		var last error // one bad channel fails all: the others go alone
		for i := range part {
			if err := p.claimThese(ctx, part[i:i+1]); err != nil {
				last = err
			}
		}
		return last
	}
	for _, r := range part {
		if err := p.books.claimed(r.ID, r.Charged); err != nil {
			return err
		}
	}
	return nil
}

func random() (b [32]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}
