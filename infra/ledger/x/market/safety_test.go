package market_test

import (
	"testing"
	"time"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
)

func TestConvictedProviderLeavesJailAfterItsTimeWithItsBond(t *testing.T) {
	c := newChain(t)
	deliver(t, c, register(alice, 1, 2*minBond))
	deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(300)}) // still at stake
	a := alice.Address()
	slashed, err := c.Market.Slash(c.Ctx, a[:], fixture.Treasury)
	if err != nil || !slashed.Equal(math.NewInt(2*minBond)) {
		t.Fatalf("slashed %s, %v", slashed, err)
	}
	check(t, c)
	q, err := market.NewQueryServer(c.Market).Provider(c.Ctx, &market.QueryProviderRequest{Provider: text(alice)})
	if err != nil {
		t.Fatal(err)
	}
	l := q.Listing
	if !l.Provider.Jailed || l.Record.Convictions != 1 || !l.Record.Slashed.Equal(slashed) || l.Record.Convicted != c.Now() || !l.Stake.IsZero() {
		t.Errorf("%+v", l)
	}
	unjail := &market.MsgUnjail{Provider: text(alice)}
	refuse(t, c, unjail, market.ErrJailed)
	// Nothing at stake, and yet not forgotten: it cannot come back as a new one.
	deliver(t, c, &market.MsgAddBond{Provider: text(alice), Amount: math.NewInt(1)})
	deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(1)})
	advance(t, c, delay)
	advance(t, c, time.Second)
	refuse(t, c, register(alice, 1, minBond), market.ErrRegistered)
	advance(t, c, time.Duration(market.DefaultParams().JailTime)*time.Second)
	refuse(t, c, unjail, market.ErrBond)
	deliver(t, c, &market.MsgAddBond{Provider: text(alice), Amount: math.NewInt(minBond)})
	deliver(t, c, unjail)
	refuse(t, c, unjail, market.ErrInvalid)
	deliver(t, c, &market.MsgPostOffers{Provider: text(alice), Offers: []market.Offer{offer()}})
}

func TestEarningsBeyondTheCoverAreHeldUntilTheyAreFinal(t *testing.T) {
	c := newChain(t)
	deliver(t, c, register(alice, 1, 10_000)) // covers 1,000
	a := alice.Address()
	day := time.Duration(market.DefaultParams().Finality) * time.Second
	earn := func(amount, want int64) {
		t.Helper()
		held, err := c.Market.Earn(c.Ctx, a[:], math.NewInt(amount), math.NewInt(amount*7/10))
		if err != nil {
			t.Fatal(err)
		}
		c.FundModule(market.ModuleName, held) // as x/payment would
		equal(t, "held", held, want)
		check(t, c)
	}
	earn(600, 0)
	earn(500, 100) // the first 400 are covered
	earn(100, 70)  // all of its part, though the cover has grown with what is held
	for range 100 {
		earn(10, 7)
	}
	list, err := market.NewQueryServer(c.Market).Unbondings(c.Ctx, &market.QueryUnbondingsRequest{Provider: text(alice)})
	if err != nil || len(list.Unbondings) != 1 || !list.Unbondings[0].Held {
		t.Fatalf("%v, %v", list, err)
	}
	for range 3 { // what the provider itself takes out is counted apart
		deliver(t, c, &market.MsgUnbond{Provider: text(alice), Amount: math.NewInt(1)})
	}
	before := c.Balance(alice.Address())
	advance(t, c, day)
	advance(t, c, day/16+time.Second)
	advance(t, c, time.Second)
	equal(t, "paid", c.Balance(alice.Address()).Sub(before), 870+3)
	exposure, err := c.Market.Exposure(c.Ctx, a[:])
	if err != nil || !exposure.IsZero() {
		t.Errorf("exposure %s, %v", exposure, err)
	}
	earn(900, 0)
	if held, err := c.Market.Earn(c.Ctx, make([]byte, 20), math.NewInt(5), math.NewInt(5)); err != nil || !held.IsZero() {
		t.Errorf("a stranger's earnings are held: %s, %v", held, err)
	}
}

func TestStakeStaysLongerThanReceipts(t *testing.T) {
	p := market.DefaultParams()
	p.UnbondDelay = p.Finality
	if p.Validate() == nil {
		t.Error("a stake may leave while its receipts can be disputed")
	}
}
