package payment

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

var (
	bookBucket   = []byte("till-channels")
	servedBucket = []byte("till-served")
)

// TillOptions tune a [Till]; zero fields take the defaults named here.
type TillOptions struct {
	// ClaimEvery is the longest a voucher waits to be claimed. Default 1 minute.
	ClaimEvery time.Duration
	// ClaimAmount, once unclaimed in one channel, is claimed at once. Default 1 koin.
	ClaimAmount core.Amount
	// Poll is how often the channels are read to notice withdrawals. It must be
	// well below the shortest challenge window. Default 2 s.
	Poll time.Duration
	// Margin is how long before a channel's expiry its vouchers are claimed and
	// no new request is admitted. Default 2 minutes.
	Margin time.Duration
	// Horizon bounds how far ahead a request may expire. Default 1 hour.
	Horizon time.Duration
	// Cache is how old a reading of a channel may be at admission. Default 2 s.
	Cache time.Duration
	// Submit brings claims on chain. Default: the wallet's Claim, which leaves the
	// models out.
	Submit func(ctx context.Context, claims []Claim) error
	Log    *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time

	noSync bool
	manual bool // no background loop
}

func (o TillOptions) withDefaults(w core.Wallet) TillOptions {
	o.ClaimEvery = defaulted(o.ClaimEvery, time.Minute)
	o.Poll = defaulted(o.Poll, 2*time.Second)
	o.Margin = defaulted(o.Margin, 2*time.Minute)
	o.Horizon = defaulted(o.Horizon, time.Hour)
	o.Cache = defaulted(o.Cache, 2*time.Second)
	if o.ClaimAmount.IsZero() {
		o.ClaimAmount = core.Koin(1)
	}
	if o.Submit == nil {
		o.Submit = func(ctx context.Context, claims []Claim) error {
			vouchers := make([]core.Voucher, len(claims))
			for i, c := range claims {
				vouchers[i] = c.Voucher
			}
			return w.Claim(ctx, vouchers)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Till is the provider's side of payment channels; it implements
// [core.Cashier]. All methods are safe for concurrent use.
type Till struct {
	opt     TillOptions
	wallet  core.Wallet
	chain   core.Chain
	chainID uint64
	domain  voucher.Domain
	store   *store

	mu     sync.Mutex
	books  map[core.ChannelID]*book
	served map[core.RequestID]int64 // until when the id is remembered, Unix seconds

	claiming sync.Mutex
	kick     chan struct{}
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// book is one channel in the till's books.
type book struct {
	bookRecord
	read    time.Time         // when Channel was read from the chain
	paid    core.Amount       // of Voucher.Amount, how much is on disk
	tabs    map[*tab]struct{} // open requests
	changed chan struct{}     // closed and renewed when a waiter should look again
	since   time.Time         // when the oldest unclaimed voucher came
	model   core.ModelID      // last one served
	retry   time.Time         // no claim before
}

// bookRecord is a book on disk. The sum of Charged is Owed, the sum of Settled
// is Channel.Claimed.
type bookRecord struct {
	Channel core.Channel `json:"channel"`
	Voucher core.Voucher `json:"voucher"` // the largest one
	Owed    core.Amount  `json:"owed"`    // cumulative
	// Running is the part of Owed that open requests run up, by model. A crash
	// writes off what of it is unpaid: the provider broke its word.
	Running map[core.ModelID]core.Amount `json:"running,omitempty"`
	Charged map[core.ModelID]core.Amount `json:"charged"` // cumulative, by model
	Settled map[core.ModelID]core.Amount `json:"settled"` // claimed on chain, by model
}

// OpenTill opens the books at path for the provider's wallet. The chain must
// answer.
func OpenTill(ctx context.Context, path string, w core.Wallet, chain core.Chain, o TillOptions) (*Till, error) {
	o = o.withDefaults(w)
	chainID, domain, err := domainOf(ctx, chain)
	if err != nil {
		return nil, err
	}
	st, err := openStore(path, owner{"till", w.Address(), w.Address(), chainID}, o.noSync, bookBucket, servedBucket)
	if err != nil {
		return nil, err
	}
	t := &Till{opt: o, wallet: w, chain: chain, chainID: chainID, domain: domain, store: st,
		books: map[core.ChannelID]*book{}, served: map[core.RequestID]int64{}, kick: make(chan struct{}, 1)}
	if err := t.load(); err != nil {
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

func (t *Till) load() error {
	err := each(t.store, bookBucket, func(k []byte, r bookRecord) {
		b := newBook(r.Channel)
		b.bookRecord = r
		b.paid = r.Voucher.Amount
		if b.Charged == nil {
			b.Charged = map[core.ModelID]core.Amount{}
		}
		if b.Settled == nil {
			b.Settled = map[core.ModelID]core.Amount{}
		}
		b.writeOff()
		t.books[idHash(k)] = b
	})
	if err != nil {
		return err
	}
	now := t.opt.Now().Unix()
	return each(t.store, servedBucket, func(k []byte, until int64) {
		if until >= now {
			t.served[idHash(k)] = until
		}
	})
}

func newBook(c core.Channel) *book {
	c.Claimed = core.Amount{} // what was claimed is yet to be settled
	return &book{
		bookRecord: bookRecord{Channel: c, Charged: map[core.ModelID]core.Amount{}, Settled: map[core.ModelID]core.Amount{}, Running: map[core.ModelID]core.Amount{}},
		tabs:       map[*tab]struct{}{}, changed: make(chan struct{}),
	}
}

// writeOff forgives the unpaid part of requests that a crash of this provider
// broke off.
func (b *book) writeOff() {
	debt := b.debt()
	for m, due := range b.Running {
		loss := due
		if loss.Cmp(debt) > 0 {
			loss = debt
		}
		debt = debt.Less(loss)
		b.Owed = b.Owed.Less(loss)
		b.Charged[m] = b.Charged[m].Less(loss)
	}
	b.Running = map[core.ModelID]core.Amount{}
}

// debt is what is owed and not paid.
func (b *book) debt() core.Amount { return b.Owed.Less(b.paid) }

// allowed is the debt that open requests may run up.
func (b *book) allowed() (sum core.Amount) {
	for t := range b.tabs {
		sum = sum.Add(t.credit)
	}
	return sum
}

// running is the debt that open requests may account for: what exceeds it was
// left by requests that have ended.
func (b *book) running() (sum core.Amount) {
	for t := range b.tabs {
		sum = sum.Add(larger(t.credit, t.due))
	}
	return sum
}

// free is the deposit that neither vouchers, debts nor open requests take.
func (b *book) free() core.Amount {
	taken := larger(b.paid, b.Owed)
	for t := range b.tabs {
		taken = taken.Add(t.worst.Less(t.due))
	}
	return b.Channel.Deposit.Less(taken)
}

// wake lets everyone who waits on the book look again; t.mu is held.
func (b *book) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Close stops the claimer and closes the file; nothing that was accepted is
// lost. It does not wait for a last claim.
func (t *Till) Close() error {
	t.cancel()
	t.work.Wait()
	return t.store.close()
}

// channel returns the book of a channel that pays this provider, read from the
// chain when the last reading is older than maxAge.
func (t *Till) channel(ctx context.Context, id core.ChannelID, maxAge time.Duration) (*book, error) {
	t.mu.Lock()
	b := t.books[id]
	fresh := b != nil && !b.read.IsZero() && t.opt.Now().Sub(b.read) <= maxAge
	t.mu.Unlock()
	if fresh {
		return b, nil
	}
	c, err := t.chain.Channel(ctx, id)
	if err != nil {
		return nil, &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("channel %s cannot be read from the chain", id.Short()), Next: "open a channel with this provider", Err: err}
	}
	if c.Provider != t.wallet.Address() || c.ID != id {
		return nil, &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("channel %s pays %s, not this provider", id.Short(), c.Provider), Next: "open a channel with this provider"}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.observe(c), nil
}

// observe takes in a channel as the chain has it; t.mu is held.
func (t *Till) observe(c core.Channel) *book {
	b := t.books[c.ID]
	if b == nil {
		b = newBook(c)
		t.books[c.ID] = b
	}
	old := b.Channel
	b.settle(larger(old.Claimed, c.Claimed))
	c.Deposit, c.Claimed = larger(old.Deposit, c.Deposit), b.Channel.Claimed
	if old.State == core.ChannelClosed || old.State == core.ChannelWithdrawing && c.State == core.ChannelOpen {
		c.State, c.Withdrawable = old.State, old.Withdrawable
	}
	b.Channel, b.read = c, t.opt.Now()
	if c.State != old.State {
		b.wake()
		if c.State == core.ChannelWithdrawing {
			t.hurry()
		}
	}
	return b
}

// Accept credits a voucher to its channel; it is on disk when Accept returns. A
// voucher that is not above the largest one is no news: it changes nothing. It
// fails with CodeUnauthorized when another key than the channel's signer signed
// it, for another amount, channel or chain, and with CodeUnpaid when the
// channel cannot pay it.
func (t *Till) Accept(ctx context.Context, v core.Voucher) error {
	b, err := t.channel(ctx, v.Channel, time.Hour)
	if err != nil {
		return err
	}
	t.mu.Lock()
	signer, deposit := b.Channel.Signer, b.Channel.Deposit
	t.mu.Unlock()
	if err := voucher.Verify(t.domain, v, signer); err != nil {
		return &core.Error{Code: core.CodeUnauthorized, Message: "the voucher is not signed by the channel's signer for this amount, channel and chain", Err: err}
	}
	if v.Amount.Cmp(deposit) > 0 {
		// The deposit may just have been topped up.
		if b, err = t.channel(ctx, v.Channel, 0); err != nil {
			return err
		}
	}
	if news, err := t.take(b, v); err != nil || !news {
		return err
	}
	var written core.Amount
	err = t.store.writer.Do(func(tx *bolt.Tx) error {
		rec := t.record(v.Channel)
		written = rec.Voucher.Amount
		return putJSON(tx.Bucket(bookBucket), v.Channel[:], rec)
	})
	if err != nil {
		return diskError(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if written.Cmp(b.paid) > 0 {
		b.paid = written
		b.wake()
	}
	if t.unclaimed(b).Cmp(t.opt.ClaimAmount) >= 0 {
		t.hurry()
	}
	return nil
}

// take enters a verified voucher into the book, not yet on disk.
func (t *Till) take(b *book, v core.Voucher) (news bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := b.Channel
	switch {
	case c.State == core.ChannelClosed || c.Expiry <= t.opt.Now().Unix():
		return false, core.Errorf(core.CodeUnpaid, "channel %s is closed: its vouchers are worth nothing", c.ID.Short())
	case v.Amount.Cmp(c.Deposit) > 0:
		return false, &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("the voucher promises %s, but only %s were deposited", v.Amount.Format(), c.Deposit.Format()), Next: "top up the channel"}
	case v.Amount.Cmp(b.paid) <= 0:
		return false, nil
	}
	if b.since.IsZero() {
		b.since = t.opt.Now()
	}
	if v.Amount.Cmp(b.Voucher.Amount) > 0 {
		b.Voucher = v
	}
	return true, nil
}

// record is a copy of the book for the disk.
func (t *Till) record(id core.ChannelID) bookRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.books[id]
	r := b.bookRecord
	r.Charged, r.Settled = maps.Clone(b.Charged), maps.Clone(b.Settled)
	r.Running = map[core.ModelID]core.Amount{}
	for tb := range b.tabs {
		r.Running[tb.model] = r.Running[tb.model].Add(tb.due)
	}
	return r
}

func (t *Till) save(id core.ChannelID) {
	t.store.writer.Go(func(tx *bolt.Tx) error { return putJSON(tx.Bucket(bookBucket), id[:], t.record(id)) })
}

func diskError(err error) error {
	return &core.Error{Code: core.CodeInternal, Message: "the payment store cannot be written", Next: "check that the disk is not full", Err: err}
}

// Book is a channel as the till sees it.
type Book struct {
	Channel   core.Channel                 `json:"channel"`
	Paid      core.Amount                  `json:"paid"` // by the largest voucher
	Owed      core.Amount                  `json:"owed"`
	Unclaimed core.Amount                  `json:"unclaimed"`
	Requests  int                          `json:"requests"` // open
	Charged   map[core.ModelID]core.Amount `json:"charged"`  // cumulative; sums to Owed
}

// Books lists all channels, in no particular order.
func (t *Till) Books() []Book {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Book, 0, len(t.books))
	for _, b := range t.books {
		out = append(out, Book{b.Channel, b.paid, b.Owed, t.unclaimed(b), len(b.tabs), maps.Clone(b.Charged)})
	}
	return out
}

// unclaimed is what a claim would bring; t.mu is held.
func (t *Till) unclaimed(b *book) core.Amount { return b.paid.Less(b.Channel.Claimed) }
