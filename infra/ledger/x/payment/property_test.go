package payment_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"cosmossdk.io/math"
	"pgregory.net/rapid"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
)

func peerKey(n int) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%032d", n)))
}

func peerID(n int) string { return market.PeerID(peerKey(n).Public().(ed25519.PublicKey)) }

// world is the chain beside the simplest possible book of what it should do.
type world struct {
	c        *fixture.Chain
	people   []*voucher.Key
	channels []*book
}

// book is what we expect of one channel.
type book struct {
	id                   core.ChannelID
	payer, provider, hot int
	deposit, claimed     int64
	closing              int64
	closed               bool
	withdrawing          bool
}

const rich = 1_000_000_000_000

func newWorld(t *testing.T) *world {
	g, p := market.DefaultGenesis(), payment.DefaultGenesis()
	g.Params.MinBond, g.Params.UnbondDelay, g.Params.MaxPayouts, g.Params.MaxUnbondings = math.NewInt(1000), 50, 2, 3
	g.Params.Finality = 20
	p.Params.MinWithdrawDelay, p.Params.MinLifetime, p.Params.MaxClosings, p.Params.MinDeposit = 5, 10, 2, math.NewInt(10)
	w := &world{c: fixture.Start(t, models(), g, p, nil)}
	for i := range 5 {
		w.people = append(w.people, fixture.Key(100+i))
		w.c.Fund(w.people[i].Address(), rich)
	}
	return w
}

func (w *world) name(i int) string { return fixture.Bech32(w.people[i].Address()) }

func (w *world) person(r *rapid.T, label string) int {
	return rapid.IntRange(0, len(w.people)-1).Draw(r, label)
}

func (w *world) channel(r *rapid.T) *book {
	if len(w.channels) == 0 {
		r.Skip("no channel")
	}
	return w.channels[rapid.IntRange(0, len(w.channels)-1).Draw(r, "channel")]
}

// try delivers a message that must succeed exactly if ok.
func (w *world) try(r *rapid.T, msg sdk.Msg, ok bool) {
	if _, err := w.c.Deliver(msg); (err == nil) != ok {
		r.Fatalf("%T %v: got %v, should succeed: %v", msg, msg, err, ok)
	}
}

func (b *book) live(w *world) bool { return !b.closed && w.c.Now() < b.closing }

func (w *world) open(r *rapid.T) {
	a, b, h := w.person(r, "payer"), w.person(r, "provider"), w.person(r, "hot")
	deposit := rapid.Int64Range(0, 5_000).Draw(r, "deposit")
	delay := rapid.Uint64Range(3, 40).Draw(r, "delay")
	life := rapid.Int64Range(5, 120).Draw(r, "life")
	salt := make([]byte, 32)
	salt[0] = byte(rapid.IntRange(0, 3).Draw(r, "salt"))
	msg := &payment.MsgOpen{
		Payer: w.name(a), Provider: w.name(b), Signer: w.name(h), Deposit: math.NewInt(deposit), Salt: salt, WithdrawDelay: delay, Expiry: w.c.Now() + life,
	}
	id := voucher.ConfigOf(core.Channel{
		Payer: w.people[a].Address(), Provider: w.people[b].Address(), Signer: w.people[h].Address(), WithdrawDelay: delay, Salt: core.Hash(salt),
	}).ID(domain)
	known := false
	for _, c := range w.channels {
		known = known || c.id == id
	}
	ok := a != b && deposit >= 10 && delay >= 5 && life >= 10 && !known
	w.try(r, msg, ok)
	if ok {
		w.channels = append(w.channels, &book{id: id, payer: a, provider: b, hot: h, deposit: deposit, closing: w.c.Now() + life})
	}
}

func (w *world) topUp(r *rapid.T) {
	b := w.channel(r)
	by := rapid.SampledFrom([]int{b.payer, b.payer, b.provider}).Draw(r, "by")
	amount := rapid.Int64Range(0, 3_000).Draw(r, "amount")
	ok := by == b.payer && b.live(w) && !b.withdrawing && amount >= 10
	w.try(r, &payment.MsgTopUp{Payer: w.name(by), Channel: b.id[:], Amount: math.NewInt(amount)}, ok)
	if ok {
		b.deposit += amount
	}
}

// claim cashes up to four vouchers at once, some of them bad.
func (w *world) claim(r *rapid.T) {
	first := w.channel(r)
	msg := &payment.MsgClaim{Provider: w.name(first.provider)}
	ok := true
	after := map[*book]int64{}
	for range rapid.IntRange(1, 4).Draw(r, "vouchers") {
		b := w.channel(r)
		claimed, again := after[b]
		if !again {
			claimed = b.claimed
		}
		amount := rapid.Int64Range(1, b.deposit+b.deposit/8+2).Draw(r, "amount")
		by := b.hot
		if rapid.IntRange(0, 9).Draw(r, "forged") == 0 {
			by = (b.hot + 1) % len(w.people)
		}
		v := sign(w.people[by], b.id, amount)
		delta := amount - claimed
		if rapid.Bool().Draw(r, "attributed") && delta > 1 {
			half := rapid.Int64Range(1, delta-1).Draw(r, "half")
			v.Attributions = []payment.Attribution{{Model: id32(2), Amount: math.NewInt(half)}, {Model: id32(3), Amount: math.NewInt(delta - half)}}
		}
		msg.Claims = append(msg.Claims, v)
		good := b.provider == first.provider && b.live(w) && by == b.hot && amount > claimed && amount <= b.deposit
		ok = ok && good
		after[b] = amount
	}
	w.try(r, msg, ok)
	if ok {
		for b, amount := range after {
			b.claimed = amount
		}
	}
}

func (w *world) requestWithdrawal(r *rapid.T) {
	b := w.channel(r)
	by := rapid.SampledFrom([]int{b.payer, b.payer, b.provider}).Draw(r, "by")
	ok := by == b.payer && b.live(w) && !b.withdrawing
	w.try(r, &payment.MsgRequestWithdrawal{Payer: w.name(by), Channel: b.id[:]}, ok)
	if ok {
		c, err := w.c.Payment.Channel(w.c.Ctx, b.id[:])
		if err != nil {
			r.Fatal(err)
		}
		b.withdrawing = true
		b.closing = min(b.closing, w.c.Now()+int64(c.WithdrawDelay))
	}
}

func (w *world) finalizeWithdrawal(r *rapid.T) {
	b := w.channel(r)
	by := rapid.SampledFrom([]int{b.payer, b.payer, b.provider}).Draw(r, "by")
	ok := by == b.payer && !b.closed && w.c.Now() >= b.closing
	w.try(r, &payment.MsgFinalizeWithdrawal{Payer: w.name(by), Channel: b.id[:]}, ok)
	b.closed = b.closed || ok
}

func (w *world) close(r *rapid.T) {
	b := w.channel(r)
	by := rapid.SampledFrom([]int{b.provider, b.provider, b.payer}).Draw(r, "by")
	ok := by == b.provider && b.live(w)
	w.try(r, &payment.MsgClose{Provider: w.name(by), Channel: b.id[:]}, ok)
	b.closed = b.closed || ok
}

// bond registers, adds or unbonds; the invariants and conservation judge it.
func (w *world) bond(r *rapid.T) {
	i := w.person(r, "who")
	amount := math.NewInt(rapid.Int64Range(0, 3_000).Draw(r, "amount"))
	var msg sdk.Msg
	switch rapid.IntRange(0, 3).Draw(r, "kind") {
	case 0:
		sig := ed25519.Sign(peerKey(i), core.PeerBinding(fixture.ChainID, w.people[i].Address()))
		msg = &market.MsgRegister{Provider: w.name(i), PeerId: peerID(i), PeerSignature: sig, Bond: amount}
	case 1:
		msg = &market.MsgAddBond{Provider: w.name(i), Amount: amount}
	case 2:
		msg = &market.MsgUnbond{Provider: w.name(i), Amount: amount}
	case 3:
		msg = &market.MsgPostOffers{Provider: w.name(i), Offers: []market.Offer{
			{Model: id32(byte(1 + i%4)), Tier: "exact", PriceIn: math.NewInt(1), PriceOut: math.NewInt(2), Slots: 1},
		}}
	}
	_, _ = w.c.Deliver(msg)
}

// advance ends the block: of the channels that are due it closes two.
func (w *world) advance(r *rapid.T) {
	now, due, closed := w.c.Now(), 0, 0
	if err := w.c.Advance(time.Duration(rapid.IntRange(0, 30).Draw(r, "seconds")) * time.Second); err != nil {
		r.Fatal(err)
	}
	for _, b := range w.channels {
		if b.closed {
			continue
		}
		c, err := w.c.Payment.Channel(w.c.Ctx, b.id[:])
		if err != nil {
			r.Fatal(err)
		}
		if now >= b.closing {
			due++
		}
		if c.State == payment.StateClosed {
			if now < b.closing {
				r.Fatalf("channel %s was closed at %d, before %d", b.id.Short(), now, b.closing)
			}
			b.closed = true
			closed++
		}
	}
	if closed != min(due, 2) {
		r.Fatalf("%d channels were due, %d were closed", due, closed)
	}
}

// check compares chain and books to the unit.
func (w *world) check(r *rapid.T) {
	if err := w.c.Check(); err != nil {
		r.Fatal(err)
	}
	claimed := int64(0)
	for _, b := range w.channels {
		c, err := w.c.Payment.Channel(w.c.Ctx, b.id[:])
		if err != nil {
			r.Fatal(err)
		}
		if c.Deposit.Int64() != b.deposit || c.Claimed.Int64() != b.claimed || b.claimed > b.deposit {
			r.Fatalf("channel %s: chain %s of %s, book %d of %d", b.id.Short(), c.Claimed, c.Deposit, b.claimed, b.deposit)
		}
		if (c.State == payment.StateClosed) != b.closed {
			r.Fatalf("channel %s: chain %v, book closed %v", b.id.Short(), c.State, b.closed)
		}
		claimed += b.claimed
	}
	totals, err := payment.NewQueryServer(w.c.Payment).Totals(w.c.Ctx, &payment.QueryTotalsRequest{})
	if err != nil || totals.Totals.Claimed.Int64() != claimed {
		r.Fatalf("totals %v, books say %d claimed (%v)", totals, claimed, err)
	}
	if !totals.Totals.Burned.Equal(w.c.Burned()) || !totals.Totals.Treasury.Equal(w.c.TreasuryBalance()) {
		r.Fatal(errors.New("burned or treasury differ from the totals"))
	}
}

func TestMoneyIsConservedOverAnyHistory(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		r.Repeat(map[string]func(*rapid.T){
			"open": w.open, "top up": w.topUp, "claim": w.claim, "claim again": w.claim, "request withdrawal": w.requestWithdrawal,
			"finalize withdrawal": w.finalizeWithdrawal, "close": w.close, "bond": w.bond, "advance": w.advance, "": w.check,
		})
	})
}
