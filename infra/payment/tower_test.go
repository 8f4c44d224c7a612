package payment

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// watch is a tower that claims in the provider's name.
type watch struct {
	*Tower
	t    *testing.T
	l    *ledger
	from *testWallet // payer
	to   *testWallet // provider, who sleeps
	path string
}

func newWatch(t *testing.T) *watch {
	l := newLedger()
	w := &watch{t: t, l: l, from: l.wallet(t, 1, amount(1_000_000)), to: l.wallet(t, 2, amount(0)), path: filepath.Join(scratch(t), "tower.db")}
	w.open()
	t.Cleanup(func() { w.Close() })
	return w
}

func (w *watch) open() {
	var err error
	w.Tower, err = OpenTower(context.Background(), w.path, w.l.wallet(w.t, 3, amount(0)).Address(), w.l, TowerOptions{
		Submit: func(ctx context.Context, p core.Address, vs []core.Voucher) error {
			if p != w.to.Address() {
				w.t.Errorf("claims for %s", p)
			}
			return w.to.Claim(ctx, vs)
		}, Now: w.l.clock, Limit: 3, noSync: true, manual: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *watch) channel(salt byte) core.ChannelID {
	id, err := w.from.OpenChannel(context.Background(), core.Channel{Signer: w.from.Address(), Provider: w.to.Address(), Deposit: amount(10_000),
		Salt: core.Hash{salt}, WithdrawDelay: 900, Expiry: w.l.clock().Add(24 * time.Hour).Unix()})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *watch) sign(id core.ChannelID, n uint64) core.Voucher {
	v, err := voucher.Sign(voucher.NewDomain(testChainID), w.from, id, amount(n))
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *watch) put(v core.Voucher) {
	w.t.Helper()
	if err := w.Put(context.Background(), v); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watch) round(claimed uint64) {
	w.t.Helper()
	if err := w.Round(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	if have, _ := w.l.Balance(context.Background(), w.to.Address()); have.Cmp(amount(claimed)) != 0 {
		w.t.Fatalf("the provider has %s, want %d", have, claimed)
	}
}

func TestSleepingProviderLosesNothing(t *testing.T) {
	w := newWatch(t)
	first, second := w.channel(1), w.channel(2)
	w.put(w.sign(first, 1_000))
	w.put(w.sign(second, 100))
	w.put(w.sign(second, 300))
	w.put(w.sign(second, 200)) // late, and no news
	w.round(0)                 // nothing is in danger
	if err := w.from.RequestWithdrawal(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil { // a restart keeps what it holds
		t.Fatal(err)
	}
	w.open()
	w.round(1_000)
	w.l.pass(24*time.Hour - 9*time.Minute)
	w.round(1_300) // before the second one's expiry
	w.round(1_300)
	if n := w.Watched(); n != 0 {
		t.Fatalf("%d channels are still watched", n)
	}
}

func TestTowerRefusesWhatItCannotClaim(t *testing.T) {
	w := newWatch(t)
	id := w.channel(1)
	forged := w.sign(id, 100)
	forged.Amount = amount(200)
	for name, v := range map[string]struct {
		voucher core.Voucher
		want    core.Code
	}{
		"forged":        {forged, core.CodeUnauthorized},
		"over deposit":  {w.sign(id, 10_001), core.CodeUnpaid},
		"other channel": {w.sign(core.ChannelID{9}, 1), core.CodeUnpaid},
	} {
		if err := w.Put(context.Background(), v.voucher); core.CodeOf(err) != v.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.put(w.sign(id, 1))
	w.put(w.sign(w.channel(2), 1))
	w.put(w.sign(w.channel(3), 1))
	if err := w.Put(context.Background(), w.sign(w.channel(4), 1)); core.CodeOf(err) != core.CodeBusy {
		t.Error(err)
	}
	w.put(w.sign(id, 2)) // what is watched stays up to date
}

func TestTowerClaimsTheGoodWhenOneIsBad(t *testing.T) {
	w := newWatch(t)
	bad, good := w.channel(1), w.channel(2)
	w.put(w.sign(bad, 1_000))
	w.put(w.sign(good, 1_000))
	for _, id := range []core.ChannelID{bad, good} {
		if err := w.from.RequestWithdrawal(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
	w.l.channels[bad].Signer = core.Address{1} // as if the chain knew better
	if err := w.Round(context.Background()); err == nil {
		t.Fatal("a refused claim went unnoticed")
	}
	if have, _ := w.l.Balance(context.Background(), w.to.Address()); have.Cmp(amount(1_000)) != 0 {
		t.Fatalf("the provider has %s", have)
	}
}
