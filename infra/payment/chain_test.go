package payment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

const testChainID = 564666

// ledger is x/payment's rules in memory, with a clock that tests move.
type ledger struct {
	mu       sync.Mutex
	now      time.Time
	balances map[core.Address]core.Amount
	channels map[core.ChannelID]*core.Channel
	claims   int
	opens    int
	fault    func(method string) (before, after error)
}

func newLedger() *ledger {
	return &ledger{now: time.Unix(1_800_000_000, 0), balances: map[core.Address]core.Amount{}, channels: map[core.ChannelID]*core.Channel{}}
}

func (l *ledger) clock() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *ledger) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

func (l *ledger) Status(context.Context) (core.ChainStatus, error) {
	return core.ChainStatus{EVMChainID: testChainID}, nil
}

func (l *ledger) Balance(_ context.Context, a core.Address) (core.Amount, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.balances[a], nil
}

func (l *ledger) Manifests(context.Context) ([]core.Manifest, error) { return nil, nil }
func (l *ledger) Providers(context.Context) ([]core.Provider, error) { return nil, nil }

func (l *ledger) Channel(_ context.Context, id core.ChannelID) (core.Channel, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.channels[id]; c != nil {
		return *c, nil
	}
	return core.Channel{}, errors.New("no such channel")
}

func (l *ledger) Channels(_ context.Context, a core.Address) (out []core.Channel, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.channels {
		if c.Payer == a || c.Provider == a {
			out = append(out, *c)
		}
	}
	return out, nil
}

func (l *ledger) Batches(context.Context, core.Address, int) ([]core.ReceiptBatch, error) {
	return nil, nil
}

// total is all money in existence.
func (l *ledger) total() (sum core.Amount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.balances {
		sum = sum.Add(b)
	}
	for _, c := range l.channels {
		if c.State != core.ChannelClosed {
			sum = sum.Add(c.Deposit.Less(c.Claimed))
		}
	}
	return sum
}

// tx runs a state change as one transaction, with injected faults.
func (l *ledger) tx(method string, change func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var before, after error
	if l.fault != nil {
		before, after = l.fault(method)
	}
	if before != nil {
		return before
	}
	if err := change(); err != nil {
		return err
	}
	return after
}

func (l *ledger) pay(from core.Address, amount core.Amount) error {
	rest, ok := l.balances[from].Sub(amount)
	if !ok {
		return errors.New("insufficient balance")
	}
	l.balances[from] = rest
	return nil
}

// account is a wallet on the ledger.
type testWallet struct {
	*voucher.Key
	l *ledger
}

func (l *ledger) wallet(t testing.TB, seed byte, balance core.Amount) *testWallet {
	t.Helper()
	var b [32]byte
	b[0], b[31] = 1, seed
	k, err := voucher.NewKey(b[:])
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.balances[k.Address()] = l.balances[k.Address()].Add(balance)
	return &testWallet{k, l}
}

func (w *testWallet) PublishModel(context.Context, core.Manifest) error { return nil }
func (w *testWallet) RegisterProvider(context.Context, core.Provider, []byte) error {
	return nil
}
func (w *testWallet) PostOffers(context.Context, []core.Offer) error { return nil }
func (w *testWallet) CommitReceipts(context.Context, core.ReceiptBatch) error {
	return nil
}
func (w *testWallet) Send(context.Context, core.Address, core.Amount) error { return nil }

func (w *testWallet) OpenChannel(_ context.Context, c core.Channel) (core.ChannelID, error) {
	c.Payer, c.State, c.Claimed = w.Address(), core.ChannelOpen, core.Amount{}
	c.ID = voucher.ConfigOf(c).ID(voucher.NewDomain(testChainID))
	return c.ID, w.l.tx("open", func() error {
		if w.l.channels[c.ID] != nil {
			return errors.New("channel exists")
		}
		if err := w.l.pay(w.Address(), c.Deposit); err != nil {
			return err
		}
		w.l.channels[c.ID] = &c
		w.l.opens++
		return nil
	})
}

func (w *testWallet) TopUp(_ context.Context, id core.ChannelID, amount core.Amount) error {
	return w.l.tx("topup", func() error {
		c := w.l.channels[id]
		if c == nil || c.State != core.ChannelOpen {
			return errors.New("not open")
		}
		if err := w.l.pay(w.Address(), amount); err != nil {
			return err
		}
		c.Deposit = c.Deposit.Add(amount)
		return nil
	})
}

func (w *testWallet) Claim(_ context.Context, vs []core.Voucher) error {
	return w.l.tx("claim", func() error {
		for _, v := range vs {
			c := w.l.channels[v.Channel]
			switch {
			case c == nil || c.State == core.ChannelClosed || w.l.now.Unix() >= c.Expiry:
				return errors.New("channel is closed")
			case c.Provider != w.Address():
				return errors.New("only the provider may claim")
			case v.Amount.Cmp(c.Deposit) > 0:
				return errors.New("claim exceeds the deposit")
			case v.Amount.Cmp(c.Claimed) <= 0:
				return errors.New("already claimed")
			}
			if err := voucher.Verify(voucher.NewDomain(testChainID), v, c.Signer); err != nil {
				return err
			}
		}
		for _, v := range vs {
			c := w.l.channels[v.Channel]
			w.l.balances[w.Address()] = w.l.balances[w.Address()].Add(v.Amount.Less(c.Claimed))
			c.Claimed = v.Amount
			w.l.claims++
		}
		return nil
	})
}

func (w *testWallet) RequestWithdrawal(_ context.Context, id core.ChannelID) error {
	return w.l.tx("withdraw", func() error {
		c := w.l.channels[id]
		if c == nil || c.Payer != w.Address() || c.State != core.ChannelOpen {
			return errors.New("cannot withdraw")
		}
		c.State = core.ChannelWithdrawing
		c.Withdrawable = w.l.now.Unix() + int64(c.WithdrawDelay)
		return nil
	})
}

func (w *testWallet) FinalizeWithdrawal(_ context.Context, id core.ChannelID) error {
	return w.l.tx("finalize", func() error {
		c := w.l.channels[id]
		if c == nil || c.State != core.ChannelWithdrawing || w.l.now.Unix() < c.Withdrawable {
			return errors.New("the challenge window is open")
		}
		c.State = core.ChannelClosed
		w.l.balances[c.Payer] = w.l.balances[c.Payer].Add(c.Deposit.Less(c.Claimed))
		return nil
	})
}

// world is a consumer and a provider on one ledger.
type world struct {
	t        testing.TB
	l        *ledger
	payer    *testWallet
	provider *testWallet
	dir      string
	purse    *Purse
	till     *Till
	nextID   byte
}

func amount(n uint64) core.Amount { return core.NewAmount(n) }

func newWorld(t *testing.T) *world {
	l := newLedger()
	w := &world{t: t, l: l, payer: l.wallet(t, 1, amount(1_000_000)), provider: l.wallet(t, 2, amount(0)), dir: scratch(t)}
	w.openPurse()
	w.openTill()
	t.Cleanup(func() { w.purse.Close(); w.till.Close() })
	return w
}

// scratch is a folder in memory where there is one: creating many databases on
// a busy disk is slow, and only the kill test needs the disk.
func scratch(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "koinon-payment")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *world) purseOptions() PurseOptions {
	return PurseOptions{Deposit: amount(1000), MinFree: amount(1), MaxDeposit: amount(5000), FeeReserve: amount(1), Refresh: time.Hour, Now: w.l.clock, noSync: true}
}

func (w *world) openPurse() {
	w.t.Helper()
	p, err := OpenPurse(context.Background(), filepath.Join(w.dir, "purse.db"), w.payer, w.l, w.purseOptions())
	if err != nil {
		w.t.Fatal(err)
	}
	w.purse = p
}

func (w *world) openTill() {
	w.t.Helper()
	t, err := OpenTill(context.Background(), filepath.Join(w.dir, "till.db"), w.provider, w.l, TillOptions{Now: w.l.clock, noSync: true, manual: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.till = t
}

// kill drops whatever is not on disk, as kill -9 does.
func killPurse(p *Purse) {
	p.cancel()
	p.work.Wait()
	p.store.close()
}

func killTill(t *Till) {
	t.cancel()
	t.work.Wait()
	t.store.close()
}

// request reserves and signs an order of prompt input tokens and at most
// output tokens at 1 akoin each.
func (w *world) request(prompt, output int) (*core.SignedRequest, *Reservation) {
	w.t.Helper()
	c, r, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(uint64(prompt+output)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.nextID++
	return w.sign(c.ID, core.Hash{w.nextID}, prompt, output), r
}

func (w *world) sign(channel core.ChannelID, id core.RequestID, prompt, output int) *core.SignedRequest {
	w.t.Helper()
	req := core.Request{ChainID: testChainID, ID: id, Model: core.Hash{9}, Semantics: 1, Provider: w.provider.Address(), Channel: channel,
		Input: make([]core.Token, prompt), Prompt: uint32(prompt), Sampler: core.Sampler{MaxTokens: uint32(output)},
		PriceIn: amount(1), PriceOut: amount(1), Expiry: w.l.clock().Add(time.Minute).Unix()}
	return w.resign(req)
}

// embedding is an order for the vector of n tokens at 1 akoin each.
func (w *world) embedding(channel core.ChannelID, id core.RequestID, n int) *core.SignedRequest {
	req := w.sign(channel, id, n, 0).Request
	req.Pooling, req.Sampler = core.PoolMean, core.Sampler{}
	return w.resign(req)
}

func (w *world) resign(req core.Request) *core.SignedRequest {
	w.t.Helper()
	sig, err := w.payer.Sign(req.Digest())
	if err != nil {
		w.t.Fatal(err)
	}
	return &core.SignedRequest{Request: req, Signature: sig}
}

func (w *world) admit(r *core.SignedRequest) core.Tab {
	w.t.Helper()
	tab, err := w.till.Admit(context.Background(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return tab
}

func (w *world) pay(r *Reservation, due uint64) core.Voucher {
	w.t.Helper()
	v, err := w.purse.Pay(context.Background(), r, amount(due))
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) accept(v core.Voucher) {
	w.t.Helper()
	if err := w.till.Accept(context.Background(), v); err != nil {
		w.t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code core.Code) *core.Error {
	t.Helper()
	if core.CodeOf(err) != code {
		t.Fatalf("error %v has code %q, want %q", err, core.CodeOf(err), code)
	}
	e := asError(err)
	if e.Message == "" {
		t.Fatalf("%v states no cause", err)
	}
	return e
}
