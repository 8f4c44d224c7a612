package payment

import (
	"context"
	"log/slog"
	"sort"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

var (
	accountBucket = []byte("purse-channels")
	intentBucket  = []byte("purse-intents")
)

// PurseOptions tune a [Purse]; zero fields take the defaults named here.
type PurseOptions struct {
	// Deposit is what a new channel, or one topped up, has free. Default 1 koin.
	Deposit core.Amount
	// MinFree is the free amount below which a channel is topped up in the
	// background. Default Deposit/4.
	MinFree core.Amount
	// MaxDeposit is the most that may be free in one channel at a time: what a
	// mistake can cost. Default 10 Deposit.
	MaxDeposit core.Amount
	// FeeReserve stays in the wallet for transaction fees. Default 0.01 koin.
	FeeReserve core.Amount
	// Expiry is a new channel's life. Default 30 days.
	Expiry time.Duration
	// Margin is how long before its expiry a channel takes no new request.
	// Default Expiry/10, at most 10 minutes.
	Margin time.Duration
	// WithdrawDelay is the challenge window. Default 15 minutes.
	WithdrawDelay time.Duration
	// Idle is after how long without use a channel is withdrawn; 0 is never.
	Idle time.Duration
	// Refresh is how often the books are compared with the chain. Default 5 s.
	Refresh time.Duration
	// Signer signs vouchers and requests. Default the wallet.
	Signer core.Signer
	Log    *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time

	noSync bool
}

func (o PurseOptions) withDefaults(w core.Wallet) PurseOptions {
	if o.Deposit.IsZero() {
		o.Deposit = core.Koin(1)
	}
	if o.MinFree.IsZero() {
		o.MinFree = o.Deposit.Div(4)
	}
	if o.MaxDeposit.IsZero() {
		o.MaxDeposit = o.Deposit.Mul(10)
	}
	if o.FeeReserve.IsZero() {
		o.FeeReserve = core.Koin(1).Div(100)
	}
	o.Expiry = defaulted(o.Expiry, 30*24*time.Hour)
	o.Margin = defaulted(o.Margin, min(o.Expiry/10, 10*time.Minute))
	o.WithdrawDelay = defaulted(o.WithdrawDelay, voucher.MinWithdrawDelay*time.Second)
	o.Refresh = defaulted(o.Refresh, 5*time.Second)
	if o.Signer == nil {
		o.Signer = w
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func defaulted(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Purse is the consumer's side of payment channels. All methods are safe for
// concurrent use.
type Purse struct {
	opt    PurseOptions
	wallet core.Wallet
	chain  core.Chain
	domain voucher.Domain
	store  *store

	mu       sync.Mutex
	accounts map[core.ChannelID]*account
	intents  map[core.Hash]core.Channel // by salt: openings that are not confirmed
	flights  map[core.Address]*flight
	pending  core.Amount // on its way from the wallet into channels
	feed     feed

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// account is one channel in the purse's books.
type account struct {
	purseRecord
	held    map[*Reservation]struct{}
	durable core.Amount // of Signed, how much is on disk
	adopted time.Time
	broken  time.Time // when a request was last broken off
	retry   time.Time // no background top-up before
}

// purseRecord is an account on disk.
type purseRecord struct {
	Channel core.Channel `json:"channel"`
	Signed  core.Amount  `json:"signed"` // cumulative
	// Held is what running requests may still cost.
	Held core.Amount `json:"held"`
	// Unsettled is the Held of requests that were broken off, by a crash for one:
	// what the provider may rightly ask for them. It is not free until a later
	// request shows that nothing is owed.
	Unsettled core.Amount `json:"unsettled"`
	Draining  bool        `json:"draining,omitempty"`
	Problem   string      `json:"problem,omitempty"`
	Used      int64       `json:"used"` // Unix seconds
}

// Reservation is the worst case of one request, set aside in one channel.
type Reservation struct {
	Channel core.ChannelID
	Amount  core.Amount // never more than this is signed for the request

	paid   core.Amount
	closed bool
	// clears is the part of Unsettled that is void once the provider serves this
	// request, which it does only when nothing is owed.
	clears core.Amount
}

// noticed is how long a provider may take to notice that a stream is dead.
const noticed = time.Minute

// OpenPurse opens the books at path for the wallet's account and reconciles
// them with the chain, which must answer.
func OpenPurse(ctx context.Context, path string, w core.Wallet, chain core.Chain, o PurseOptions) (*Purse, error) {
	o = o.withDefaults(w)
	chainID, domain, err := domainOf(ctx, chain)
	if err != nil {
		return nil, err
	}
	who := owner{"purse", w.Address(), o.Signer.Address(), chainID}
	st, err := openStore(path, who, o.noSync, accountBucket, intentBucket)
	if err != nil {
		return nil, err
	}
	p := &Purse{opt: o, wallet: w, chain: chain, domain: domain, store: st,
		accounts: map[core.ChannelID]*account{}, intents: map[core.Hash]core.Channel{}, flights: map[core.Address]*flight{}}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err = p.load(); err == nil {
		err = p.Sync(ctx)
	}
	if err != nil {
		p.cancel()
		st.close()
		return nil, err
	}
	p.work.Go(p.refresh)
	return p, nil
}

func (p *Purse) load() error {
	err := each(p.store, accountBucket, func(k []byte, r purseRecord) {
		r.Unsettled, r.Held = r.Unsettled.Add(r.Held), core.Amount{}
		p.accounts[idHash(k)] = &account{purseRecord: r, held: map[*Reservation]struct{}{}, durable: r.Signed, broken: p.opt.Now()}
	})
	if err != nil {
		return err
	}
	return each(p.store, intentBucket, func(k []byte, c core.Channel) {
		if p.opt.Now().Unix() < c.Expiry {
			p.intents[idHash(k)] = c
		}
	})
}

// Close stops background work and closes the file. Channels stay open.
func (p *Purse) Close() error {
	p.mu.Lock()
	p.cancel() // under the lock: no funding starts afterwards
	p.mu.Unlock()
	p.work.Wait()
	p.feed.close()
	return p.store.close()
}

// Channel reserves need, a request's worst case, in an open channel with the
// provider; it opens or tops up a channel on chain when none has enough free.
// It fails with CodeUnpaid when the wallet's balance or MaxDeposit is too low.
// The reservation must end in [Purse.Release] or [Purse.Abandon].
func (p *Purse) Channel(ctx context.Context, provider core.Address, need core.Amount) (core.Channel, *Reservation, error) {
	for {
		if c, r := p.reserve(provider, need); r != nil {
			if err := p.persist(c.ID); err != nil {
				p.Release(r)
				return core.Channel{}, nil, err
			}
			p.replenish(c.ID)
			return c, r, nil
		}
		f, mine := p.takeoff(provider, need, nil)
		select {
		case <-f.done:
			if f.err != nil && mine {
				return core.Channel{}, nil, f.err
			}
		case <-ctx.Done():
			return core.Channel{}, nil, context.Cause(ctx)
		}
	}
}

// reserve sets need aside in a usable channel, the one that expires first.
func (p *Purse) reserve(provider core.Address, need core.Amount) (core.Channel, *Reservation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.usable(provider) {
		if a.free().Cmp(need) >= 0 {
			r := &Reservation{Channel: a.Channel.ID, Amount: need}
			if len(a.held) == 0 && p.opt.Now().Sub(a.broken) > noticed {
				r.clears = a.Unsettled
			}
			a.held[r] = struct{}{}
			a.Held = a.Held.Add(need)
			a.Used = p.opt.Now().Unix()
			return a.Channel, r
		}
	}
	return core.Channel{}, nil
}

// usable lists the channels that may pay the provider, first to expire first.
func (p *Purse) usable(provider core.Address) []*account {
	until := p.opt.Now().Add(p.opt.Margin)
	var as []*account
	for _, a := range p.accounts {
		if a.Channel.Provider == provider && a.Problem == "" && !a.Draining && a.Channel.Usable(until) {
			as = append(as, a)
		}
	}
	sort.Slice(as, func(i, j int) bool {
		x, y := as[i].Channel, as[j].Channel
		if x.Expiry != y.Expiry {
			return x.Expiry < y.Expiry
		}
		return x.ID.String() < y.ID.String()
	})
	return as
}

// free is what is neither signed away nor reserved nor unsettled.
func (a *account) free() core.Amount {
	return a.Channel.Deposit.Less(a.Signed.Add(a.Held).Add(a.Unsettled))
}

// Pay raises the channel's voucher so that it covers due, the cumulative cost of
// the reservation's request, and returns it once it is on disk. A smaller due
// than before returns the current voucher again. It fails with CodeProvider
// when due exceeds the reservation: the provider asks for more than was agreed.
func (p *Purse) Pay(ctx context.Context, r *Reservation, due core.Amount) (core.Voucher, error) {
	p.mu.Lock()
	a := p.accounts[r.Channel]
	if err := payable(a, r, due); err != nil {
		p.mu.Unlock()
		return core.Voucher{}, err
	}
	if delta, more := due.Sub(r.paid); more {
		a.Signed, a.Held, r.paid = a.Signed.Add(delta), a.Held.Less(delta), due
		a.Unsettled, r.clears = a.Unsettled.Less(r.clears), core.Amount{}
	}
	p.mu.Unlock()
	return p.sign(r.Channel)
}

func payable(a *account, r *Reservation, due core.Amount) error {
	switch {
	case a == nil || r.closed:
		return core.Errorf(core.CodeInternal, "the reservation is no longer open")
	case a.Problem != "":
		return core.Errorf(core.CodeUnpaid, "channel %s signs nothing more: %s", r.Channel.Short(), a.Problem)
	case due.Cmp(r.Amount) > 0:
		return core.Errorf(core.CodeProvider, "the provider asks %s for an answer that may cost at most %s", due.Format(), r.Amount.Format())
	}
	return nil
}

// sign makes the current total durable and returns a voucher over it.
func (p *Purse) sign(id core.ChannelID) (core.Voucher, error) {
	p.mu.Lock()
	a := p.accounts[id]
	amount, durable := a.Signed, a.durable
	p.mu.Unlock()
	if amount.Cmp(durable) > 0 {
		if err := p.persist(id); err != nil {
			return core.Voucher{}, err
		}
	}
	v, err := voucher.Sign(p.domain, p.opt.Signer, id, amount)
	if err != nil {
		return core.Voucher{}, &core.Error{Code: core.CodeInternal, Message: "the voucher cannot be signed", Err: err}
	}
	p.announce(EventSigned, id, "")
	p.replenish(id)
	return v, nil
}

// persist writes the account's present state and returns when it is on disk.
func (p *Purse) persist(id core.ChannelID) error {
	var written core.Amount
	err := p.store.writer.Do(func(tx *bolt.Tx) error {
		rec, ok := p.record(id)
		if !ok {
			return nil
		}
		written = rec.Signed
		return putJSON(tx.Bucket(accountBucket), id[:], rec)
	})
	if err != nil {
		return &core.Error{Code: core.CodeInternal, Message: "the payment store cannot be written", Next: "check that the disk is not full", Err: err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.accounts[id]; a != nil && written.Cmp(a.durable) > 0 {
		a.durable = written
	}
	return nil
}

func (p *Purse) record(id core.ChannelID) (purseRecord, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.accounts[id]
	if a == nil {
		return purseRecord{}, false
	}
	return a.purseRecord, true
}

// Release ends a request whose answer is paid; what it did not use is free.
func (p *Purse) Release(r *Reservation) { p.end(r, false) }

// Abandon ends a request that the consumer's side broke off, so that more may
// have been delivered than arrived. What it did not use stays set aside for
// [Purse.PayArrears] until a later request shows that nothing is owed. When the
// provider broke off, Release is right: undelivered work is not paid.
func (p *Purse) Abandon(r *Reservation) { p.end(r, true) }

func (p *Purse) end(r *Reservation, unsettled bool) {
	p.mu.Lock()
	a := p.accounts[r.Channel]
	if a == nil || r.closed {
		p.mu.Unlock()
		return
	}
	r.closed = true
	rest := r.Amount.Less(r.paid)
	delete(a.held, r)
	a.Held = a.Held.Less(rest)
	if unsettled {
		a.Unsettled, a.broken = a.Unsettled.Add(rest), p.opt.Now()
	}
	a.Used = p.opt.Now().Unix()
	p.mu.Unlock()
	p.save(r.Channel)
	p.announce(EventReleased, r.Channel, "")
}

// save queues the account for the next commit without waiting for it.
func (p *Purse) save(id core.ChannelID) {
	p.store.writer.Go(func(tx *bolt.Tx) error {
		rec, ok := p.record(id)
		if !ok {
			return nil
		}
		return putJSON(tx.Bucket(accountBucket), id[:], rec)
	})
}

// Left is what a channel holds beyond everything signed away, 0 for an unknown
// one.
func (p *Purse) Left(id core.ChannelID) core.Amount {
	rec, _ := p.record(id)
	return rec.Channel.Deposit.Less(rec.Signed)
}

// Voucher returns the channel's current voucher, for a request to carry, and
// false when nothing was ever signed.
func (p *Purse) Voucher(id core.ChannelID) (core.Voucher, bool, error) {
	rec, ok := p.record(id)
	if !ok || rec.Signed.IsZero() || rec.Problem != "" {
		return core.Voucher{}, false, nil
	}
	v, err := p.sign(id)
	return v, err == nil, err
}

// PayArrears signs the cumulative total that a provider says is owed (see
// [Arrears]), as far as requests that were broken off may have cost that much;
// anything beyond fails with CodeProvider.
func (p *Purse) PayArrears(ctx context.Context, id core.ChannelID, total core.Amount) (core.Voucher, error) {
	p.mu.Lock()
	a := p.accounts[id]
	if a == nil || a.Problem != "" {
		p.mu.Unlock()
		return core.Voucher{}, core.Errorf(core.CodeUnpaid, "channel %s cannot pay arrears", id.Short())
	}
	if delta, more := total.Sub(a.Signed); more {
		if delta.Cmp(a.Unsettled) > 0 {
			p.mu.Unlock()
			return core.Voucher{}, core.Errorf(core.CodeProvider, "the provider claims arrears of %s, but broken-off requests can account for %s", delta.Format(), a.Unsettled.Format())
		}
		a.Signed, a.Unsettled = a.Signed.Add(delta), a.Unsettled.Less(delta)
	}
	p.mu.Unlock()
	return p.sign(id)
}
