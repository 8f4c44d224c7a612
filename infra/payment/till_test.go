package payment

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

func TestAnswerIsPaidOnce(t *testing.T) {
	w := newWorld(t)
	req, r := w.request(10, 20)
	tab := w.admit(req)
	tab.Charge(amount(8))
	w.accept(w.pay(r, 8))
	tab.Charge(amount(30))
	tab.Charge(amount(12)) // never shrinks
	w.accept(w.pay(r, 30))
	if err := tab.Settle(context.Background(), amount(0)); err != nil {
		t.Fatal(err)
	}
	tab.Close()
	tab.Close()
	w.purse.Release(r)
	if err := w.till.Claim(context.Background()); err != nil {
		t.Fatal(err)
	}
	b := w.till.Books()[0]
	if b.Owed.Cmp(amount(30)) != 0 || b.Paid.Cmp(amount(30)) != 0 || !b.Unclaimed.IsZero() || b.Requests != 0 {
		t.Fatalf("book %+v", b)
	}
	if got := w.l.balances[w.provider.Address()]; got.Cmp(amount(30)) != 0 {
		t.Fatalf("the provider earned %v", got)
	}
	if err := w.till.Claim(context.Background()); err != nil || w.l.claims != 1 {
		t.Fatalf("a second claim of the same voucher: %v, %d claims", err, w.l.claims)
	}
}

// An embedding costs its input; no output has to be covered.
func TestEmbeddingNeedsItsInputCovered(t *testing.T) {
	w := newWorld(t)
	c, r, err := w.purse.Channel(t.Context(), w.provider.Address(), amount(10))
	if err != nil {
		t.Fatal(err)
	}
	defer w.purse.Release(r)
	free := w.purse.Left(c.ID).Big().Uint64()
	w.admit(w.embedding(c.ID, core.Hash{1}, int(free))).Close()
	_, err = w.till.Admit(t.Context(), w.embedding(c.ID, core.Hash{2}, int(free)+1))
	wantCode(t, err, core.CodeUnpaid)
}

func TestAdmissionRefuses(t *testing.T) {
	w := newWorld(t)
	good, _ := w.request(10, 20)
	huge, _ := core.AmountFromBig(new(big.Int).Lsh(big.NewInt(1), 255))
	for _, c := range []struct {
		what string
		code core.Code
		bend func(r *core.Request)
	}{
		{"another chain", core.CodeInvalid, func(r *core.Request) { r.ChainID++ }},
		{"another provider", core.CodeInvalid, func(r *core.Request) { r.Provider[0] ^= 1 }},
		{"an expired request", core.CodeInvalid, func(r *core.Request) { r.Expiry = w.l.clock().Unix() - 1 }},
		{"an expiry far ahead", core.CodeInvalid, func(r *core.Request) { r.Expiry += 7200 }},
		{"a prompt longer than the input", core.CodeInvalid, func(r *core.Request) { r.Prompt = 11 }},
		{"nothing left to generate", core.CodeInvalid, func(r *core.Request) { r.Prompt, r.Sampler.MaxTokens = 0, 10 }},
		{"a price beyond all money", core.CodeInvalid, func(r *core.Request) { r.PriceOut = huge }},
		{"an unknown channel", core.CodeUnpaid, func(r *core.Request) { r.Channel[0] ^= 1 }},
		{"an answer dearer than the deposit", core.CodeUnpaid, func(r *core.Request) { r.Sampler.MaxTokens = 991 }},
	} {
		req := good.Request
		req.ID = core.Hash{0xaa}
		c.bend(&req)
		tab, err := w.till.Admit(context.Background(), w.resign(req))
		if tab != nil || core.CodeOf(err) != c.code {
			t.Errorf("%s: tab %v, error %v (%s)", c.what, tab, err, core.CodeOf(err))
		}
	}
	// A refusal leaves nothing behind.
	w.admit(good)
}

func TestStrangerCannotSpendAChannel(t *testing.T) {
	w := newWorld(t)
	req, _ := w.request(1, 1)
	stranger := w.l.wallet(t, 9, amount(0))
	sig, _ := stranger.Sign(req.Digest())
	_, err := w.till.Admit(context.Background(), &core.SignedRequest{Request: req.Request, Signature: sig})
	wantCode(t, err, core.CodeUnauthorized)
	req.PriceOut = amount(0) // after signing
	_, err = w.till.Admit(context.Background(), req)
	wantCode(t, err, core.CodeUnauthorized)
}

func TestChannelOfAnotherProviderIsRefused(t *testing.T) {
	w := newWorld(t)
	other := w.l.wallet(t, 8, amount(0))
	c, _, err := w.purse.Channel(context.Background(), other.Address(), amount(5))
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.till.Admit(context.Background(), w.sign(c.ID, core.Hash{1}, 1, 1))
	wantCode(t, err, core.CodeUnpaid)
}

func TestRequestIsServedOnce(t *testing.T) {
	w := newWorld(t)
	req, _ := w.request(1, 1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	served := 0
	for range 8 {
		wg.Go(func() {
			if _, err := w.till.Admit(context.Background(), req); err == nil {
				mu.Lock()
				served++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if served != 1 {
		t.Fatalf("the request was served %d times", served)
	}
	killTill(w.till)
	w.openTill()
	_, err := w.till.Admit(context.Background(), req)
	wantCode(t, err, core.CodeInvalid)

	w.l.pass(2 * time.Minute)
	w.till.forget()
	if len(w.till.served) != 0 {
		t.Error("expired request ids are kept for ever")
	}
	if _, err := w.till.Admit(context.Background(), req); err == nil {
		t.Error("a forgotten id was served again")
	}
}

func TestVouchersThatPayNothing(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	req, r := w.request(1, 100)
	tab := w.admit(req)
	tab.Charge(amount(60))
	v := w.pay(r, 20)
	w.accept(v)

	// Replayed, the same voucher credits nothing.
	w.accept(v)
	if b := w.till.Books()[0]; b.Paid.Cmp(amount(20)) != 0 {
		t.Fatalf("a replay raised the payment to %v", b.Paid)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	wantCode(t, tab.Settle(short, amount(39)), core.CodeUnpaid)

	refused := func(what string, code core.Code, v core.Voucher, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got := w.till.Accept(ctx, v); core.CodeOf(got) != code {
			t.Errorf("%s: %v", what, got)
		}
		if b := w.till.Books()[0]; b.Paid.Cmp(amount(20)) != 0 {
			t.Fatalf("%s raised the payment to %v", what, b.Paid)
		}
	}
	home, away := voucher.NewDomain(testChainID), voucher.NewDomain(1)
	over, err := voucher.Sign(home, w.payer, r.Channel, amount(1001))
	refused("more than the deposit", core.CodeUnpaid, over, err)
	foreign, err := voucher.Sign(away, w.payer, r.Channel, amount(50))
	refused("a voucher of another chain", core.CodeUnauthorized, foreign, err)
	forged, err := voucher.Sign(home, w.l.wallet(t, 9, amount(0)), r.Channel, amount(50))
	refused("a stranger's voucher", core.CodeUnauthorized, forged, err)
	moved, err := voucher.Sign(home, w.payer, core.Hash{1}, amount(50))
	moved.Channel = r.Channel
	refused("a voucher of another channel", core.CodeUnauthorized, moved, err)
	raised := v
	raised.Amount = amount(50)
	refused("a raised amount", core.CodeUnauthorized, raised, nil)

	// And on chain only the provider can claim what is good.
	if err := w.l.wallet(t, 9, amount(0)).Claim(ctx, []core.Voucher{v}); err == nil {
		t.Error("a stranger claimed the voucher")
	}
}

func TestVoucherSurvivesKill(t *testing.T) {
	w := newWorld(t)
	req, r := w.request(0, 100)
	tab := w.admit(req)
	tab.Charge(amount(50))
	w.accept(w.pay(r, 30))
	killTill(w.till)
	w.openTill()
	b := w.till.Books()[0]
	// The unpaid 20 belong to an answer that this provider broke off.
	if b.Paid.Cmp(amount(30)) != 0 || b.Owed.Cmp(amount(30)) != 0 {
		t.Fatalf("book %+v", b)
	}
	if err := w.till.Claim(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.l.balances[w.provider.Address()]; got.Cmp(amount(30)) != 0 {
		t.Fatalf("the provider got %v", got)
	}
	// The consumer pays what arrived; both books then agree.
	w.pay(r, 50)
	w.purse.Release(r)
	req, r = w.request(0, 10)
	v, ok, err := w.purse.Voucher(r.Channel)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	req.Voucher = &v
	tab = w.admit(req)
	if b := w.till.Books()[0]; b.Owed.Cmp(amount(50)) != 0 || b.Paid.Cmp(amount(50)) != 0 {
		t.Fatalf("after the late voucher: %+v", b)
	}
	tab.Charge(amount(1))
	if err := tab.Settle(context.Background(), amount(1)); err != nil {
		t.Fatal(err)
	}
}

func TestDebtBarsTheChannelUntilPaid(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	req, r := w.request(0, 100)
	tab := w.admit(req)
	tab.Charge(amount(40))
	tab.Close()
	w.purse.Abandon(r)

	check := func() core.Amount {
		t.Helper()
		req, r := w.request(0, 10)
		defer w.purse.Release(r)
		_, err := w.till.Admit(ctx, req)
		wantCode(t, err, core.CodeUnpaid)
		total, ok := Arrears(err)
		if !ok {
			t.Fatalf("%v does not state the arrears", err)
		}
		return total
	}
	check()
	killTill(w.till)
	w.openTill()
	if total := check(); total.Cmp(amount(40)) != 0 {
		t.Fatalf("arrears %v after a restart, want 40", total)
	}
	v, err := w.purse.PayArrears(ctx, r.Channel, amount(40))
	if err != nil {
		t.Fatal(err)
	}
	req, _ = w.request(0, 10)
	req.Voucher = &v
	w.admit(req)
	if _, ok := Arrears(errors.New("x")); ok {
		t.Error("any error states arrears")
	}
}

// Sixteen answers on one channel: what one has open must not stop another, as
// long as each stays within its own credit.
func TestCreditIsPerRequest(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var tabs []core.Tab
	for range 16 {
		req, _ := w.request(0, 50)
		tab := w.admit(req)
		tabs = append(tabs, tab)
		tab.Charge(amount(10))
		if err := tab.Settle(ctx, amount(10)); err != nil {
			t.Fatal(err)
		}
	}
	tabs[0].Charge(amount(11))
	waiting := make(chan error, 1)
	go func() { waiting <- tabs[0].Settle(ctx, amount(10)) }()
	select {
	case err := <-waiting:
		t.Fatalf("over the credit of all, Settle returned %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	id := w.till.Books()[0].Channel.ID
	v, err := voucher.Sign(voucher.NewDomain(testChainID), w.payer, id, amount(1))
	if err != nil {
		t.Fatal(err)
	}
	w.accept(v)
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
}

func TestWithdrawalDuringAStream(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	req, r := w.request(0, 100)
	tab := w.admit(req)
	tab.Charge(amount(25))
	w.accept(w.pay(r, 20))
	waiting := make(chan error, 1)
	go func() { waiting <- tab.Settle(ctx, amount(0)) }()
	// A payer who does not play by the purse's rules.
	if err := w.payer.RequestWithdrawal(ctx, r.Channel); err != nil {
		t.Fatal(err)
	}
	if err := w.payer.FinalizeWithdrawal(ctx, r.Channel); err == nil {
		t.Fatal("the money left before the challenge window passed")
	}
	if err := w.till.round(ctx); err != nil {
		t.Fatal(err)
	}
	e := wantCode(t, <-waiting, core.CodeUnpaid)
	if !strings.Contains(e.Message, "withdrew") {
		t.Errorf("the stream ended with %q", e.Message)
	}
	if got := w.l.balances[w.provider.Address()]; got.Cmp(amount(20)) != 0 {
		t.Fatalf("the challenge brought %v, want 20", got)
	}
	_, err := w.till.Admit(ctx, w.sign(r.Channel, core.Hash{0xbb}, 0, 1))
	wantCode(t, err, core.CodeUnpaid)
	// What is still paid inside the window is claimed as well.
	w.accept(w.pay(r, 25))
	if err := w.till.round(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.l.balances[w.provider.Address()]; got.Cmp(amount(25)) != 0 {
		t.Fatalf("in the end the provider has %v, want 25", got)
	}
}

func TestVouchersAreClaimedBeforeTheChannelEnds(t *testing.T) {
	w := newWorld(t)
	req, r := w.request(0, 100)
	tab := w.admit(req)
	tab.Charge(amount(7))
	w.accept(w.pay(r, 7))
	tab.Close()
	if err := w.till.round(context.Background()); err != nil || w.l.claims != 0 {
		t.Fatalf("a small fresh voucher was claimed at once: %v", err)
	}
	w.l.pass(61 * time.Second)
	if err := w.till.round(context.Background()); err != nil || w.l.claims != 1 {
		t.Fatalf("after a minute: %d claims, %v", w.l.claims, err)
	}
	w.till.opt.ClaimEvery = 365 * 24 * time.Hour
	w.accept(w.pay(r, 8))
	w.l.pass(time.Until(time.Now().Add(30*24*time.Hour)) - 3*time.Minute)
	if err := w.till.round(context.Background()); err != nil || w.l.claims != 2 {
		t.Fatalf("shortly before expiry: %d claims, %v", w.l.claims, err)
	}
}

func TestLostAnswerToAClaimPaysNothingTwice(t *testing.T) {
	w := newWorld(t)
	req, r := w.request(0, 100)
	w.admit(req).Charge(amount(9))
	w.accept(w.pay(r, 9))
	w.l.fault = func(string) (error, error) { return nil, errors.New("timeout") }
	if err := w.till.Claim(context.Background()); err != nil {
		t.Fatalf("the chain shows the claim: %v", err)
	}
	killTill(w.till)
	w.openTill()
	w.l.fault = nil
	w.l.pass(time.Minute)
	if err := w.till.round(context.Background()); err != nil {
		t.Fatal(err)
	}
	if w.l.claims != 1 {
		t.Fatalf("%d claims", w.l.claims)
	}
}

func TestOneBadChannelDoesNotHoldUpTheOthers(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	req, r := w.request(0, 10)
	w.admit(req).Charge(amount(3))
	w.accept(w.pay(r, 3))
	second := w.l.wallet(t, 4, amount(10_000))
	c := core.Channel{Signer: second.Address(), Provider: w.provider.Address(), Deposit: amount(500), Salt: core.Hash{7}, Expiry: w.l.now.Unix() + 100_000, WithdrawDelay: 900}
	id, err := second.OpenChannel(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := voucher.Sign(voucher.NewDomain(testChainID), second, id, amount(4))
	w.accept(v)
	w.l.mu.Lock()
	w.l.channels[r.Channel].State = core.ChannelClosed
	w.l.mu.Unlock()
	if err := w.till.Claim(ctx); err == nil {
		t.Error("the refused claim was not reported")
	}
	if got := w.l.balances[w.provider.Address()]; got.Cmp(amount(4)) != 0 {
		t.Fatalf("claimed %v, want the good channel's 4", got)
	}
}

func TestClaimsAreAttributedToModels(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	var seen []Claim
	w.till.opt.Submit = func(ctx context.Context, cs []Claim) error {
		seen = append(seen, cs...)
		var vs []core.Voucher
		for _, c := range cs {
			vs = append(vs, c.Voucher)
		}
		return w.provider.Claim(ctx, vs)
	}
	serve := func(model byte, due uint64) {
		_, r := w.request(0, 50)
		w.nextID++
		req := w.sign(r.Channel, core.Hash{w.nextID}, 0, 50).Request
		req.Model = core.Hash{model}
		tab := w.admit(w.resign(req))
		tab.Charge(amount(due))
		w.accept(w.pay(r, due))
		tab.Close()
		w.purse.Release(r)
	}
	serve(1, 10)
	serve(2, 5)
	if err := w.till.Claim(ctx); err != nil {
		t.Fatal(err)
	}
	serve(1, 1)
	serve(2, 20)
	id := w.till.Books()[0].Channel.ID
	if parts := w.till.Attributions(id); len(parts) != 2 || parts[core.Hash{2}].Cmp(amount(20)) != 0 {
		t.Fatalf("open attributions %v", parts)
	}
	if err := w.till.Claim(ctx); err != nil {
		t.Fatal(err)
	}
	want := []map[byte]uint64{{1: 10, 2: 5}, {1: 1, 2: 20}}
	for i, c := range seen {
		if len(c.Models) != len(want[i]) {
			t.Fatalf("claim %d: %v", i, c.Models)
		}
		for m, n := range want[i] {
			if c.Models[core.Hash{m}].Cmp(amount(n)) != 0 {
				t.Errorf("claim %d gives model %d %v, want %d", i, m, c.Models[core.Hash{m}], n)
			}
		}
	}
}

func TestTopUpIsSeenAtOnce(t *testing.T) {
	w := newWorld(t)
	req, _ := w.request(0, 1000) // the whole deposit
	w.admit(req)
	if err := w.payer.TopUp(context.Background(), req.Channel, amount(500)); err != nil {
		t.Fatal(err)
	}
	w.l.pass(300 * time.Millisecond)
	w.admit(w.sign(req.Channel, core.Hash{0xcc}, 0, 500))
}
