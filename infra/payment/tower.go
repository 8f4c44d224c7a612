package payment

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

var towerBucket = []byte("tower-vouchers")

// TowerOptions tune a [Tower]; zero fields take the defaults named here.
type TowerOptions struct {
	// Submit claims for a provider that has allowed it, all or none. Required.
	Submit func(ctx context.Context, provider core.Address, vouchers []core.Voucher) error
	// Poll is how often the channels are read. It must be well below the shortest
	// challenge window. Default 5 s.
	Poll time.Duration
	// Margin is how long before a channel's expiry its voucher is claimed. Default
	// 10 minutes.
	Margin time.Duration
	// Limit bounds the channels that are watched. Default 100,000.
	Limit int
	Log   *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time

	noSync bool
	manual bool // no background loop
}

// Tower holds the newest vouchers of providers that may sleep, and claims them
// when a payer asks for a withdrawal or a channel nears its expiry. It needs no
// trust: it can only claim what payers have signed, and the chain pays the
// provider. All methods are safe for concurrent use.
type Tower struct {
	opt    TowerOptions
	chain  core.Chain
	domain voucher.Domain
	store  *store

	mu     sync.Mutex
	held   map[core.ChannelID]watched
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// watched is a voucher in the tower.
type watched struct {
	Voucher  core.Voucher `json:"voucher"`
	Provider core.Address `json:"provider"`
}

// OpenTower opens the vouchers at path. account sends the claims.
func OpenTower(ctx context.Context, path string, account core.Address, chain core.Chain, o TowerOptions) (*Tower, error) {
	o.Poll, o.Margin = defaulted(o.Poll, 5*time.Second), defaulted(o.Margin, 10*time.Minute)
	if o.Limit == 0 {
		o.Limit = 100_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	chainID, domain, err := domainOf(ctx, chain)
	if err != nil {
		return nil, err
	}
	st, err := openStore(path, owner{"tower", account, account, chainID}, o.noSync, towerBucket)
	if err != nil {
		return nil, err
	}
	t := &Tower{opt: o, chain: chain, domain: domain, store: st, held: map[core.ChannelID]watched{}}
	if err := each(st, towerBucket, func(k []byte, w watched) { t.held[idHash(k)] = w }); err != nil {
		st.close()
		return nil, err
	}
	loop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.cancel = cancel
	if !o.manual {
		t.work.Go(func() { t.loop(loop) })
	}
	return t, nil
}

// Close stops watching.
func (t *Tower) Close() error {
	t.cancel()
	t.work.Wait()
	return t.store.close()
}

// Watched is how many channels have a voucher here.
func (t *Tower) Watched() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.held)
}

// Put takes a voucher in; it is on disk when Put returns. One that is not above
// what is held is no news. It fails with CodeUnauthorized when the channel's
// signer has not signed it, and with CodeUnpaid when the channel cannot pay it.
func (t *Tower) Put(ctx context.Context, v core.Voucher) error {
	t.mu.Lock()
	old, known := t.held[v.Channel]
	full := !known && len(t.held) >= t.opt.Limit
	t.mu.Unlock()
	if known && v.Amount.Cmp(old.Voucher.Amount) <= 0 {
		return nil
	}
	if full {
		return &core.Error{Code: core.CodeBusy, Message: fmt.Sprintf("the watchtower watches %d channels, as many as it takes", t.opt.Limit), Next: "use another one"}
	}
	c, err := t.chain.Channel(ctx, v.Channel)
	if err != nil {
		return &core.Error{Code: core.CodeUnpaid, Message: "channel " + v.Channel.Short() + " cannot be read from the chain", Err: err}
	}
	if err := voucher.Verify(t.domain, v, c.Signer); err != nil {
		return &core.Error{Code: core.CodeUnauthorized, Message: "the voucher is not signed by the channel's signer for this amount, channel and chain", Err: err}
	}
	switch {
	case c.State == core.ChannelClosed || c.Expiry <= t.opt.Now().Unix():
		return core.Errorf(core.CodeUnpaid, "channel %s is closed: its vouchers are worth nothing", c.ID.Short())
	case v.Amount.Cmp(c.Deposit) > 0:
		return core.Errorf(core.CodeUnpaid, "the voucher promises %s, but only %s were deposited", v.Amount.Format(), c.Deposit.Format())
	}
	t.mu.Lock()
	if now := t.held[v.Channel]; now.Voucher.Amount.Cmp(v.Amount) < 0 {
		t.held[v.Channel] = watched{v, c.Provider}
	}
	t.mu.Unlock()
	err = t.store.writer.Do(func(tx *bolt.Tx) error {
		t.mu.Lock()
		w, ok := t.held[v.Channel]
		t.mu.Unlock()
		if !ok {
			return nil
		}
		return putJSON(tx.Bucket(towerBucket), v.Channel[:], w)
	})
	if err != nil {
		return diskError(err)
	}
	return nil
}

func (t *Tower) loop(ctx context.Context) {
	tick := time.NewTicker(t.opt.Poll)
	defer tick.Stop()
	for {
		if err := t.Round(ctx); err != nil && ctx.Err() == nil {
			t.opt.Log.Warn("claims postponed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Round reads the channels of all providers once, claims what is in danger and
// forgets what is claimed or lost.
func (t *Tower) Round(ctx context.Context) error {
	var first error
	for _, p := range t.providers() {
		if err := t.guard(ctx, p); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (t *Tower) providers() (out []core.Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.held {
		out = append(out, w.Provider)
	}
	slices.SortFunc(out, func(a, b core.Address) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(out)
}

func (t *Tower) guard(ctx context.Context, provider core.Address) error {
	list, err := t.chain.Channels(ctx, provider)
	if err != nil {
		return chainError("the channels cannot be read from the chain", err)
	}
	due, done := t.sort(list)
	var first error
	for part := range slices.Chunk(due, maxClaims) {
		ids, err := t.claim(ctx, provider, part)
		done = append(done, ids...)
		if err != nil && first == nil {
			first = err
		}
	}
	if err := t.forget(done); err != nil {
		return err
	}
	return first
}

// sort says which vouchers are in danger, and which are of no more use.
func (t *Tower) sort(list []core.Channel) (due []core.Voucher, done []core.Voucher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.opt.Now().Unix()
	for _, c := range list {
		w, ok := t.held[c.ID]
		switch {
		case !ok:
		case c.State == core.ChannelClosed || c.Expiry <= now || c.Claimed.Cmp(w.Voucher.Amount) >= 0:
			done = append(done, w.Voucher)
		case c.State == core.ChannelWithdrawing || c.Expiry-now <= int64(t.opt.Margin/time.Second):
			due = append(due, w.Voucher)
		}
	}
	slices.SortFunc(due, func(a, b core.Voucher) int { return bytes.Compare(a.Channel[:], b.Channel[:]) })
	return due, done
}

// claim claims vouchers and returns those that are claimed. One that the chain
// refuses does not hold up the others.
func (t *Tower) claim(ctx context.Context, provider core.Address, vs []core.Voucher) ([]core.Voucher, error) {
	err := t.opt.Submit(ctx, provider, vs)
	switch {
	case err == nil:
		t.opt.Log.Info("claimed for a provider", "provider", provider, "channels", len(vs))
		return vs, nil
	case len(vs) == 1 || ctx.Err() != nil:
		return nil, err
	}
	var done []core.Voucher
	var first error
	for i := range vs {
		ids, err := t.claim(ctx, provider, vs[i:i+1])
		done = append(done, ids...)
		if err != nil {
			first = err
		}
	}
	return done, first
}

// forget drops vouchers, unless a larger one has come meanwhile.
func (t *Tower) forget(vs []core.Voucher) error {
	if len(vs) == 0 {
		return nil
	}
	t.mu.Lock()
	vs = slices.DeleteFunc(slices.Clone(vs), func(v core.Voucher) bool { return t.held[v.Channel].Voucher.Amount.Cmp(v.Amount) > 0 })
	for _, v := range vs {
		delete(t.held, v.Channel)
	}
	t.mu.Unlock()
	err := t.store.writer.Do(func(tx *bolt.Tx) error {
		for _, v := range vs {
			t.mu.Lock()
			_, again := t.held[v.Channel]
			t.mu.Unlock()
			if again {
				continue
			}
			if err := tx.Bucket(towerBucket).Delete(v.Channel[:]); err != nil {
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

// Vouchers are the newest ones of channels in which something is unclaimed: what
// a watchtower should hold.
func (t *Till) Vouchers() (out []core.Voucher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.books {
		if b.Channel.State != core.ChannelClosed && b.Voucher.Amount.Cmp(b.Channel.Claimed) > 0 && b.Voucher.Amount.Cmp(b.paid) == 0 {
			out = append(out, b.Voucher)
		}
	}
	return out
}
