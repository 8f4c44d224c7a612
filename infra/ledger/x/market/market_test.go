package market_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
)

var (
	alice, bob = fixture.Key(1), fixture.Key(2)
	modelID    = core.Hash{1}
)

const (
	purse   = 1_000_000
	minBond = 1_000
	delay   = 100 * time.Second
)

func newChain(t *testing.T) *fixture.Chain {
	gm := model.DefaultGenesis()
	gm.Models = []model.Model{{
		Id: modelID[:], Name: "m", Publisher: text(alice), Format: "gguf", Semantics: 1, Tokenizer: make([]byte, 32), Context: 1, Size_: 1,
	}}
	g := market.DefaultGenesis()
	g.Params.MinBond, g.Params.UnbondDelay, g.Params.MaxUnbondings, g.Params.MaxPayouts = math.NewInt(minBond), uint64(delay/time.Second), 3, 2
	c := fixture.Start(t, gm, g, payment.DefaultGenesis(), nil)
	c.Fund(alice.Address(), purse)
	c.Fund(bob.Address(), purse)
	return c
}

func text(k *voucher.Key) string { return fixture.Bech32(k.Address()) }

func peer(n int) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%032d", n)))
}

func peerID(n int) string { return market.PeerID(peer(n).Public().(ed25519.PublicKey)) }

func register(k *voucher.Key, n int, bond int64) *market.MsgRegister {
	return &market.MsgRegister{
		Provider: text(k), Moniker: "machine", PeerId: peerID(n), Addrs: []string{"/ip4/127.0.0.1/tcp/4001"}, Hardware: "2 cores",
		PeerSignature: ed25519.Sign(peer(n), core.PeerBinding(fixture.ChainID, k.Address())), Bond: math.NewInt(bond),
	}
}

func offer() market.Offer {
	return market.Offer{Model: modelID[:], Tier: "exact", PriceIn: math.NewInt(3), PriceOut: math.NewInt(0), Slots: 8}
}

func deliver(t *testing.T, c *fixture.Chain, msg sdk.Msg) {
	t.Helper()
	if _, err := c.Deliver(msg); err != nil {
		t.Fatalf("%T: %v", msg, err)
	}
	check(t, c)
}

func refuse(t *testing.T, c *fixture.Chain, msg sdk.Msg, want error) {
	t.Helper()
	if _, err := c.Deliver(msg); !errors.Is(err, want) {
		t.Fatalf("%T: got %v, want %v", msg, err, want)
	}
	check(t, c)
}

func check(t *testing.T, c *fixture.Chain) {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

func advance(t *testing.T, c *fixture.Chain, d time.Duration) {
	t.Helper()
	if err := c.Advance(d); err != nil {
		t.Fatal(err)
	}
	check(t, c)
}

func equal(t *testing.T, what string, got math.Int, want int64) {
	t.Helper()
	if !got.Equal(math.NewInt(want)) {
		t.Errorf("%s: %s, want %d", what, got, want)
	}
}

func TestRegistrationNeedsThePeersOwnSignature(t *testing.T) {
	c := newChain(t)
	for name, change := range map[string]func(*market.MsgRegister){
		"another account": func(m *market.MsgRegister) {
			m.PeerSignature = ed25519.Sign(peer(1), core.PeerBinding(fixture.ChainID, bob.Address()))
		},
		"another chain": func(m *market.MsgRegister) {
			m.PeerSignature = ed25519.Sign(peer(1), core.PeerBinding("koinon-2", alice.Address()))
		},
		"another key":   func(m *market.MsgRegister) { m.PeerId = peerID(2) },
		"none":          func(m *market.MsgRegister) { m.PeerSignature = nil },
		"no peer id":    func(m *market.MsgRegister) { m.PeerId = "" },
		"not ed25519":   func(m *market.MsgRegister) { m.PeerId = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N" },
		"not base58":    func(m *market.MsgRegister) { m.PeerId = "12D3KooW0OIl" },
		"endless":       func(m *market.MsgRegister) { m.PeerId = strings.Repeat("1", 1<<20) },
		"leading zeros": func(m *market.MsgRegister) { m.PeerId = "1" + m.PeerId },
	} {
		t.Run(name, func(t *testing.T) {
			m := register(alice, 1, minBond)
			change(m)
			refuse(t, c, m, market.ErrPeer)
		})
	}
	deliver(t, c, register(alice, 1, minBond))
	refuse(t, c, register(alice, 1, minBond), market.ErrRegistered)
	refuse(t, c, register(bob, 1, minBond), market.ErrPeerTaken)
	equal(t, "alice", c.Balance(alice.Address()), purse-minBond)
}

// The peer id that go-libp2p prints for the all-zero seed's key.
func TestPeerIDForm(t *testing.T) {
	id := market.PeerID(ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey))
	if want := "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"; id != want {
		t.Errorf("%s, want %s", id, want)
	}
	key, err := market.PeerKey(id)
	if err != nil || market.PeerID(key) != id {
		t.Errorf("%x, %v", key, err)
	}
}

func TestProfilesAndBondsAreChecked(t *testing.T) {
	c := newChain(t)
	for name, v := range map[string]struct {
		change func(*market.MsgRegister)
		want   error
	}{
		"bond too small":  {func(m *market.MsgRegister) { m.Bond = math.NewInt(minBond - 1) }, market.ErrBond},
		"bond negative":   {func(m *market.MsgRegister) { m.Bond = math.NewInt(-minBond) }, market.ErrBond},
		"bond nil":        {func(m *market.MsgRegister) { m.Bond = math.Int{} }, market.ErrBond},
		"too poor":        {func(m *market.MsgRegister) { m.Bond = math.NewInt(purse + 1) }, market.ErrFunds},
		"moniker":         {func(m *market.MsgRegister) { m.Moniker = strings.Repeat("x", 65) }, market.ErrInvalid},
		"control":         {func(m *market.MsgRegister) { m.Moniker = "a\x1b[2Jb" }, market.ErrInvalid},
		"invalid UTF-8":   {func(m *market.MsgRegister) { m.Hardware = "\xff" }, market.ErrInvalid},
		"many addresses":  {func(m *market.MsgRegister) { m.Addrs = make([]string, 17) }, market.ErrInvalid},
		"not a multiaddr": {func(m *market.MsgRegister) { m.Addrs = []string{"http://x"} }, market.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			m := register(alice, 1, minBond)
			v.change(m)
			refuse(t, c, m, v.want)
		})
	}
}

func TestOffersReplaceOneAnother(t *testing.T) {
	c := newChain(t)
	refuse(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}}, market.ErrUnregistered)
	deliver(t, c, register(alice, 1, minBond))
	for name, v := range map[string]struct {
		change func(*market.Offer)
		want   error
	}{
		"unknown model":  {func(o *market.Offer) { o.Model = make([]byte, 32) }, market.ErrModel},
		"short model":    {func(o *market.Offer) { o.Model = o.Model[:5] }, market.ErrInvalid},
		"tier":           {func(o *market.Offer) { o.Tier = "perfect" }, market.ErrInvalid},
		"negative price": {func(o *market.Offer) { o.PriceIn = math.NewInt(-1) }, market.ErrInvalid},
		"nil price":      {func(o *market.Offer) { o.PriceOut = math.Int{} }, market.ErrInvalid},
		"huge price":     {func(o *market.Offer) { o.PriceOut = math.NewIntWithDecimal(1, 30) }, market.ErrInvalid},
		"no slots":       {func(o *market.Offer) { o.Slots = 0 }, market.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			o := offer()
			v.change(&o)
			refuse(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{o}}, v.want)
		})
	}
	refuse(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer(), offer()}}, market.ErrInvalid)
	deliver(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}})
	offers(t, c, 1)
	deliver(t, c, &market.MsgPostOffers{Provider: text(alice)})
	offers(t, c, 0)
}

func offers(t *testing.T, c *fixture.Chain, want int) {
	t.Helper()
	a := alice.Address()
	if o, err := c.Market.Offers(c.Ctx, a[:]); err != nil || len(o) != want {
		t.Errorf("%d offers, want %d (%v)", len(o), want, err)
	}
}

func TestUnbondingTakesOffersDownAndPaysLater(t *testing.T) {
	c := newChain(t)
	deliver(t, c, register(alice, 1, 2*minBond))
	deliver(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}})
	deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(minBond)})
	offers(t, c, 1)
	deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(1)})
	offers(t, c, 0)
	refuse(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}}, market.ErrBond)
	refuse(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(minBond)}, market.ErrInvalid)
	deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(minBond - 1)})
	advance(t, c, delay-time.Second)
	advance(t, c, time.Second)
	equal(t, "before the delay's end", c.Balance(alice.Address()), purse-2*minBond)
	advance(t, c, time.Second) // two payouts a block
	equal(t, "first block", c.Balance(alice.Address()), purse-2*minBond+minBond+1)
	advance(t, c, time.Second)
	equal(t, "second block", c.Balance(alice.Address()), purse)
	// Nothing at stake any more: gone, and the peer id is free.
	refuse(t, c, &market.MsgAddBond{Provider: text(alice), Amount: math.NewInt(5)}, market.ErrUnregistered)
	deliver(t, c, register(bob, 1, minBond))
}

func TestPendingUnbondingsAreBounded(t *testing.T) {
	c := newChain(t)
	deliver(t, c, register(alice, 1, 2*minBond))
	for range 3 {
		deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(1)})
	}
	refuse(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(1)}, market.ErrUnbondings)
}

func TestJailTakesOffersDown(t *testing.T) {
	c := newChain(t)
	deliver(t, c, register(alice, 1, minBond))
	deliver(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}})
	a := alice.Address()
	if err := c.Market.Jail(c.Ctx, a[:]); err != nil {
		t.Fatal(err)
	}
	check(t, c)
	offers(t, c, 0)
	refuse(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}}, market.ErrJailed)
}

func TestPeerCanBeChanged(t *testing.T) {
	c := newChain(t)
	deliver(t, c, register(alice, 1, minBond))
	refuse(t, c, &market.MsgUpdate{Provider: text(alice), PeerId: peerID(2)}, market.ErrPeer)
	deliver(t, c, &market.MsgUpdate{Provider: text(alice), PeerId: peerID(1), Moniker: "new"})
	deliver(t, c, &market.MsgUpdate{Provider: text(alice), PeerId: peerID(2), PeerSignature: ed25519.Sign(peer(2), core.PeerBinding(fixture.ChainID, alice.Address()))})
	deliver(t, c, register(bob, 1, minBond))
}

func TestGenesisRoundTrip(t *testing.T) {
	c := newChain(t)
	deliver(t, c, register(alice, 1, 2*minBond))
	deliver(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}})
	deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(7)})
	a := alice.Address()
	if _, err := c.Market.Earn(c.Ctx, a[:], math.NewInt(99), math.ZeroInt()); err != nil {
		t.Fatal(err)
	}
	g, err := c.Market.ExportGenesis(c.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Model.ExportGenesis(c.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	again := fixture.Start(t, m, g, payment.DefaultGenesis(), func(n *fixture.Chain) { n.FundModule(market.ModuleName, math.NewInt(2*minBond)) })
	g2, err := again.Market.ExportGenesis(again.Ctx)
	if err != nil || string(again.Codec.MustMarshalJSON(g2)) != string(c.Codec.MustMarshalJSON(g)) {
		t.Errorf("not the same after a round trip (%v)", err)
	}
	advance(t, again, delay)
	advance(t, again, time.Second)
	equal(t, "paid after import", again.Balance(alice.Address()), 7)
}

func FuzzPeerKey(f *testing.F) {
	f.Add(peerID(1))
	f.Add("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
	f.Add(strings.Repeat("1", 70))
	f.Fuzz(func(t *testing.T, s string) {
		key, err := market.PeerKey(s)
		if err == nil && market.PeerID(key) != s {
			t.Fatalf("%q and %q are the same peer", s, market.PeerID(key))
		}
	})
}
