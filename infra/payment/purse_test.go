package payment

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

func TestFirstUseOpensOneChannelForAll(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(50)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if w.l.opens != 1 {
		t.Fatalf("%d channels were opened", w.l.opens)
	}
	// What is reserved to the last akoin is topped up, not opened anew.
	if _, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(50)); err != nil {
		t.Fatal(err)
	}
	if tot := w.purse.Totals(); tot.Channels != 1 || tot.Reserved.Cmp(amount(1050)) != 0 || tot.Deposit.Cmp(amount(2000)) != 0 {
		t.Fatalf("totals %+v", tot)
	}
}

func TestEmptyWalletSaysHowToFund(t *testing.T) {
	w := newWorld(t)
	w.l.balances[w.payer.Address()] = amount(10)
	_, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(500))
	e := wantCode(t, err, core.CodeUnpaid)
	if !strings.Contains(e.Next, w.payer.Address().String()) {
		t.Errorf("next step %q does not name the wallet", e.Next)
	}
	// What is there still pays for something small.
	if _, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(9)); err != nil {
		t.Errorf("9 of 10 akoin, with 1 for fees: %v", err)
	}
}

func TestMaxDepositBoundsOneAnswer(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(5001))
	wantCode(t, err, core.CodeUnpaid)
	if _, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(5000)); err != nil {
		t.Fatal(err)
	}
}

func TestProviderCannotAskMoreThanAgreed(t *testing.T) {
	w := newWorld(t)
	_, r := w.request(10, 20)
	if _, err := w.purse.Pay(context.Background(), r, amount(31)); core.CodeOf(err) != core.CodeProvider {
		t.Fatalf("31 of 30 akoin: %v", err)
	}
	if v := w.pay(r, 30); v.Amount.Cmp(amount(30)) != 0 {
		t.Fatalf("voucher over %v", v.Amount)
	}
	if v := w.pay(r, 5); v.Amount.Cmp(amount(30)) != 0 {
		t.Fatalf("a smaller due changed the voucher to %v", v.Amount)
	}
	w.purse.Release(r)
	if _, err := w.purse.Pay(context.Background(), r, amount(30)); err == nil {
		t.Fatal("paid on a released reservation")
	}
}

func TestConcurrentRequestsRaiseOneTotal(t *testing.T) {
	w := newWorld(t)
	const requests, steps = 16, 10
	var wg sync.WaitGroup
	for range requests {
		_, r := w.request(0, steps)
		wg.Go(func() {
			last := core.Amount{}
			for due := uint64(1); due <= steps; due++ {
				v, err := w.purse.Pay(context.Background(), r, amount(due))
				if err != nil {
					t.Error(err)
					return
				}
				if v.Amount.Cmp(last) <= 0 {
					t.Errorf("voucher %v after %v", v.Amount, last)
				}
				last = v.Amount
			}
			w.purse.Release(r)
		})
	}
	wg.Wait()
	a := w.purse.Accounts()[0]
	if a.Signed.Cmp(amount(requests*steps)) != 0 || !a.Reserved.IsZero() {
		t.Fatalf("signed %v, reserved %v", a.Signed, a.Reserved)
	}
}

func TestSignedAmountSurvivesKill(t *testing.T) {
	w := newWorld(t)
	_, r := w.request(0, 100)
	w.pay(r, 40)
	killPurse(w.purse)
	w.openPurse()
	a := w.purse.Accounts()[0]
	// The provider may have delivered the other 60 as well.
	if a.Signed.Cmp(amount(40)) != 0 || a.Reserved.Cmp(amount(60)) != 0 || a.Free.Cmp(amount(900)) != 0 {
		t.Fatalf("after the restart: %+v", a)
	}
	w.l.pass(2 * time.Minute)
	_, r = w.request(0, 10)
	if v := w.pay(r, 1); v.Amount.Cmp(amount(41)) != 0 {
		t.Fatalf("the next voucher is over %v, want 41", v.Amount)
	}
	// It served this one, so it is owed nothing.
	if a := w.purse.Accounts()[0]; a.Reserved.Cmp(amount(9)) != 0 {
		t.Fatalf("%v are still set aside for the broken request", a.Reserved)
	}
}

// A transaction may land although the wallet reports an error, and the process
// may die before it hears anything.
func TestUncertainOpeningIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	lost := errors.New("connection lost")
	w.l.fault = func(string) (error, error) { return nil, lost }
	if _, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(5)); err != nil {
		t.Fatalf("the channel is open all the same: %v", err)
	}
	if w.l.opens != 1 {
		t.Fatalf("%d openings", w.l.opens)
	}

	other := w.l.wallet(t, 3, amount(0))
	c := core.Channel{Payer: w.payer.Address(), Signer: w.payer.Address(), Provider: other.Address(), Deposit: amount(70), Salt: core.Hash{5}, Expiry: w.l.now.Unix() + 10_000, WithdrawDelay: 900, State: core.ChannelOpen}
	if err := w.purse.intend(c); err != nil {
		t.Fatal(err)
	}
	killPurse(w.purse)
	w.l.fault = nil
	if _, err := w.payer.OpenChannel(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	w.openPurse()
	got, _, err := w.purse.Channel(context.Background(), other.Address(), amount(5))
	if err != nil || got.Salt != c.Salt {
		t.Fatalf("the channel opened before the crash was not found: %+v, %v", got, err)
	}
}

func TestFailedOpeningTellsTheChainsReason(t *testing.T) {
	w := newWorld(t)
	w.l.fault = func(string) (error, error) { return errors.New("provider is jailed"), nil }
	_, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(5))
	if err == nil || !strings.Contains(err.Error(), "jailed") {
		t.Fatalf("error %v", err)
	}
}

func TestClaimBeyondOurSignaturesBarsTheChannel(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events := w.purse.Subscribe(ctx)
	_, r := w.request(0, 100)
	w.pay(r, 10)
	// The same key signs elsewhere: say, from an older copy of the books.
	v, err := voucher.Sign(voucher.NewDomain(testChainID), w.payer, r.Channel, amount(50))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.provider.Claim(ctx, []core.Voucher{v}); err != nil {
		t.Fatal(err)
	}
	if err := w.purse.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	for e := range events {
		if e.Kind == EventAlarm {
			break
		}
	}
	if _, err := w.purse.Pay(ctx, r, amount(11)); core.CodeOf(err) != core.CodeUnpaid {
		t.Fatalf("a barred channel signed: %v", err)
	}
	killPurse(w.purse)
	w.openPurse()
	if a := w.purse.Accounts()[0]; a.Problem == "" {
		t.Fatal("the bar did not survive a restart")
	}
	// Business goes on in a new channel.
	c, _, err := w.purse.Channel(ctx, w.provider.Address(), amount(5))
	if err != nil || c.ID == r.Channel {
		t.Fatalf("channel %s, %v", c.ID.Short(), err)
	}
}

func TestChannelOfLostBooksIsNotUsed(t *testing.T) {
	w := newWorld(t)
	c := core.Channel{Signer: w.payer.Address(), Provider: w.provider.Address(), Deposit: amount(500), Salt: core.Hash{7}, Expiry: w.l.now.Unix() + 100_000, WithdrawDelay: 900}
	id, err := w.payer.OpenChannel(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.purse.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	got, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(5))
	if err != nil || got.ID == id {
		t.Fatalf("a channel with an unknown past was used: %v", err)
	}
}

func TestLowChannelIsToppedUpInTheBackground(t *testing.T) {
	w := newWorld(t)
	w.purse.opt.MinFree = amount(200)
	_, r := w.request(0, 10)
	w.purse.Release(r)
	w.request(0, 900) // 100 stay free: too little for comfort
	deadline := time.Now().Add(5 * time.Second)
	for w.purse.Totals().Free.Cmp(amount(1000)) < 0 {
		if time.Now().After(deadline) {
			t.Fatalf("totals %+v", w.purse.Totals())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestPrepareOpensAhead(t *testing.T) {
	w := newWorld(t)
	b, c := w.l.wallet(t, 11, amount(0)).Address(), w.l.wallet(t, 12, amount(0)).Address()
	for range 2 {
		if err := w.purse.Prepare(context.Background(), w.provider.Address(), b, c); err != nil {
			t.Fatal(err)
		}
	}
	if w.l.opens != 3 {
		t.Fatalf("%d channels for three providers", w.l.opens)
	}
}

func TestWithdrawalReturnsTheRest(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	_, r := w.request(0, 100)
	v := w.pay(r, 60)
	wantCode(t, w.purse.Withdraw(ctx, r.Channel), core.CodeBusy)
	w.purse.Release(r)
	if err := w.purse.Withdraw(ctx, r.Channel); err != nil {
		t.Fatal(err)
	}
	if c, _, err := w.purse.Channel(ctx, w.provider.Address(), amount(1)); err != nil || c.ID == r.Channel {
		t.Fatalf("a withdrawing channel took a request: %v", err)
	}
	// The provider meets the challenge.
	if err := w.provider.Claim(ctx, []core.Voucher{v}); err != nil {
		t.Fatal(err)
	}
	before := w.l.balances[w.payer.Address()]
	w.l.pass(901 * time.Second)
	for range 2 {
		if err := w.purse.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.l.balances[w.payer.Address()]; got.Cmp(before.Add(amount(940))) != 0 {
		t.Fatalf("%v came back, want 940", got.Less(before))
	}
}

func TestExpiringChannelTakesNoRequest(t *testing.T) {
	w := newWorld(t)
	_, r := w.request(0, 10)
	w.purse.Release(r)
	w.l.pass(30*24*time.Hour - 5*time.Minute)
	c, _, err := w.purse.Channel(context.Background(), w.provider.Address(), amount(5))
	if err != nil || c.ID == r.Channel {
		t.Fatalf("a channel five minutes from its end was used: %v", err)
	}
}

func TestArrearsAreBoundedByBrokenRequests(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	_, r := w.request(0, 50)
	w.pay(r, 10)
	w.purse.Abandon(r) // 40 may have been delivered unseen
	if _, err := w.purse.PayArrears(ctx, r.Channel, amount(51)); core.CodeOf(err) != core.CodeProvider {
		t.Fatalf("arrears beyond the request: %v", err)
	}
	v, err := w.purse.PayArrears(ctx, r.Channel, amount(35))
	if err != nil || v.Amount.Cmp(amount(35)) != 0 {
		t.Fatalf("arrears: %v, %v", v.Amount, err)
	}
	if _, err := w.purse.PayArrears(ctx, r.Channel, amount(51)); err == nil {
		t.Fatal("the same allowance was spent twice")
	}

	// A crash leaves the same allowance as a broken stream.
	_, r = w.request(0, 20)
	killPurse(w.purse)
	w.openPurse()
	if _, err := w.purse.PayArrears(ctx, r.Channel, amount(35+15+20)); err != nil {
		t.Fatalf("arrears of a request that the crash cut off: %v", err)
	}
}

func TestBooksBelongToOneAccount(t *testing.T) {
	w := newWorld(t)
	w.purse.Close()
	defer w.openPurse()
	_, err := OpenPurse(context.Background(), filepath.Join(w.dir, "purse.db"), w.provider, w.l, w.purseOptions())
	e := wantCode(t, err, core.CodeUnavailable)
	if !strings.Contains(e.Message, w.payer.Address().String()) {
		t.Errorf("%v does not name the owner", e)
	}
}

func TestFeedFollowsTheBalance(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	events := w.purse.Subscribe(ctx)
	_, r := w.request(0, 10)
	w.pay(r, 4)
	w.purse.Release(r)
	var kinds []EventKind
	for len(kinds) < 3 {
		e := <-events
		kinds = append(kinds, e.Kind)
		if e.Kind == EventSigned && e.Account.Free.Cmp(amount(990)) != 0 {
			t.Errorf("after the voucher %v are free, want 990", e.Account.Free)
		}
		if e.Kind == EventReleased && e.Account.Free.Cmp(amount(996)) != 0 {
			t.Errorf("after the request %v are free, want 996", e.Account.Free)
		}
	}
	if kinds[0] != EventOpened || kinds[1] != EventSigned || kinds[2] != EventReleased {
		t.Errorf("events %v", kinds)
	}
	cancel()
	for range events {
	}
	// A subscriber that never reads holds up nobody.
	w.purse.Subscribe(context.Background())
	_, r = w.request(0, 200)
	for i := range uint64(200) {
		w.pay(r, i)
	}
}
