package payment

import (
	"bytes"
	"context"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
)

// maxClaims is how many channels one transaction claims.
const maxClaims = 100

// hurry asks the claimer to look at once.
func (t *Till) hurry() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// loop watches the channels and claims what is due.
func (t *Till) loop(ctx context.Context) {
	tick := time.NewTicker(t.opt.Poll)
	defer tick.Stop()
	for {
		if err := t.round(ctx); err != nil && ctx.Err() == nil {
			t.opt.Log.Warn("claims postponed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.kick:
		}
	}
}

// round reads the channels and claims if anything is due.
func (t *Till) round(ctx context.Context) error {
	if err := t.Refresh(ctx); err != nil {
		return err
	}
	t.forget()
	if !t.due() {
		return nil
	}
	return t.Claim(ctx)
}

// Refresh reads all channels of this provider from the chain, so that a
// withdrawal is noticed within its challenge window.
func (t *Till) Refresh(ctx context.Context) error {
	list, err := t.chain.Channels(ctx, t.wallet.Address())
	if err != nil {
		return chainError("the channels cannot be read from the chain", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range list {
		if c.Provider == t.wallet.Address() {
			t.observe(c)
		}
	}
	return nil
}

// due says whether something must be claimed now: an old voucher, a large sum,
// a channel near its end, or a withdrawal that challenges us to show what we
// hold.
func (t *Till) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.opt.Now()
	for _, b := range t.books {
		if !t.claimable(b, now) {
			continue
		}
		old := !b.since.IsZero() && now.Sub(b.since) >= t.opt.ClaimEvery || b.since.IsZero()
		near := b.Channel.Expiry-now.Unix() <= int64(t.opt.Margin/time.Second)
		large := t.unclaimed(b).Cmp(t.opt.ClaimAmount) >= 0
		if old || near || large || b.Channel.State == core.ChannelWithdrawing {
			return true
		}
	}
	return false
}

func (t *Till) claimable(b *book, now time.Time) bool {
	return !t.unclaimed(b).IsZero() && b.Channel.State != core.ChannelClosed && b.Channel.Expiry > now.Unix() && !now.Before(b.retry)
}

// Claim is a voucher on its way to the chain, with what the claim adds split by
// the models that earned it; the parts sum to it exactly.
type Claim struct {
	Voucher core.Voucher
	Models  map[core.ModelID]core.Amount
}

// Claim claims every channel in which vouchers exceed what the chain has paid.
// Vouchers are cumulative and the chain knows what it has paid, so that a claim
// repeated after a crash pays nothing twice. A channel that the chain refuses
// does not hold up the others.
func (t *Till) Claim(ctx context.Context) error {
	t.claiming.Lock()
	defer t.claiming.Unlock()
	var first error
	for batch := range slices.Chunk(t.claims(), maxClaims) {
		if err := t.claim(ctx, batch); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// claims lists what to claim, ordered by channel.
func (t *Till) claims() []Claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.opt.Now()
	var cs []Claim
	for _, b := range t.books {
		if t.claimable(b, now) && b.Voucher.Amount.Cmp(b.paid) == 0 {
			c := Claim{b.Voucher, b.attribute(t.unclaimed(b))}
			if _, unknown := c.Models[core.ModelID{}]; unknown {
				c.Models = nil // paid before anything was served: the chain decides
			}
			cs = append(cs, c)
		}
	}
	slices.SortFunc(cs, func(x, y Claim) int { return bytes.Compare(x.Voucher.Channel[:], y.Voucher.Channel[:]) })
	return cs
}

func (t *Till) claim(ctx context.Context, batch []Claim) error {
	err := t.opt.Submit(ctx, batch)
	if err == nil {
		return t.claimed(batch)
	}
	if ctx.Err() != nil || len(batch) == 1 {
		if t.reread(ctx, batch) {
			return nil // an earlier claim, whose answer was lost, had done it
		}
		return err
	}
	// One bad channel fails the whole transaction: find it.
	var first error
	for i := range batch {
		if err := t.claim(ctx, batch[i:i+1]); err != nil {
			t.opt.Log.Warn("claim refused", "channel", batch[i].Voucher.Channel.Short(), "err", err)
			first = err
		}
	}
	return first
}

// reread looks at channels whose claim failed: the claim may have succeeded all
// the same, or the channel may be gone. It reports whether nothing is left to
// claim, and puts off what is.
func (t *Till) reread(ctx context.Context, batch []Claim) (done bool) {
	done = true
	for _, v := range batch {
		c, err := t.chain.Channel(ctx, v.Voucher.Channel)
		t.mu.Lock()
		b := t.books[v.Voucher.Channel]
		if err == nil {
			t.observe(c)
		}
		if c.Claimed.Cmp(v.Voucher.Amount) < 0 {
			done = false
			b.retry = t.opt.Now().Add(t.opt.Poll)
		}
		t.mu.Unlock()
	}
	return done
}

func (t *Till) claimed(batch []Claim) error {
	t.mu.Lock()
	for _, c := range batch {
		b := t.books[c.Voucher.Channel]
		b.settle(larger(b.Channel.Claimed, c.Voucher.Amount))
		b.since = time.Time{}
		if !t.unclaimed(b).IsZero() {
			b.since = t.opt.Now()
		}
	}
	t.mu.Unlock()
	err := t.store.writer.Do(func(tx *bolt.Tx) error {
		for _, c := range batch {
			id := c.Voucher.Channel
			if err := putJSON(tx.Bucket(bookBucket), id[:], t.record(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return diskError(err)
	}
	return nil
}

// Attributions splits what a claim of the channel would bring now by the models
// that earned it. The parts sum to the claim exactly.
func (t *Till) Attributions(id core.ChannelID) map[core.ModelID]core.Amount {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.books[id]
	if b == nil {
		return nil
	}
	return b.attribute(t.unclaimed(b))
}

// settle notes that the chain has paid claimed in all; the sum of Settled is
// Channel.Claimed.
func (b *book) settle(claimed core.Amount) {
	for m, part := range b.attribute(claimed.Less(b.Channel.Claimed)) {
		b.Settled[m] = b.Settled[m].Add(part)
	}
	b.Channel.Claimed = claimed
}

// attribute splits amount over the models' open charges, in the order of their
// ids; what no charge explains goes to the model served last.
func (b *book) attribute(amount core.Amount) map[core.ModelID]core.Amount {
	parts := map[core.ModelID]core.Amount{}
	models := make([]core.ModelID, 0, len(b.Charged))
	for m := range b.Charged {
		models = append(models, m)
	}
	slices.SortFunc(models, func(x, y core.ModelID) int { return bytes.Compare(x[:], y[:]) })
	last := b.model
	if last.IsZero() && len(models) > 0 {
		last = models[len(models)-1]
	}
	for _, m := range models {
		part := b.Charged[m].Less(b.Settled[m])
		if part.Cmp(amount) > 0 {
			part = amount
		}
		if !part.IsZero() {
			parts[m] = part
			amount = amount.Less(part)
		}
	}
	if !amount.IsZero() {
		parts[last] = parts[last].Add(amount)
	}
	return parts
}
