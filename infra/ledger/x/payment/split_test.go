package payment_test

import (
	"testing"

	"cosmossdk.io/math"

	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
)

// Recipients of the models below.
var (
	baseOwner  = fixture.Key(10)
	tunerOwner = fixture.Key(11)
	tunerMate  = fixture.Key(12)
	dataOwner  = fixture.Key(13)
)

func id32(b byte) []byte { h := core.Hash{31: b}; return h[:] }

// models are a base (1) with shares, its fine-tune (2) with shares and data, a
// fine-tune of that (3) with neither, and a lone base without shares (4).
func models() *model.GenesisState {
	g := model.DefaultGenesis()
	g.Params.PublishFee = math.ZeroInt()
	add := func(b, parent byte, depth uint32, shares, data []model.Share) {
		m := model.Model{
			Id: id32(b), Name: string('a' + rune(b)), Publisher: text(baseOwner), Format: "gguf", Semantics: 1, Tokenizer: make([]byte, 32),
			Context: 1, Size_: 1, Depth: depth, Shares: shares, Data: data,
		}
		if parent != 0 {
			m.Parent = id32(parent)
		}
		g.Models = append(g.Models, m)
	}
	add(1, 0, 0, []model.Share{{Account: text(baseOwner), Points: 10_000}}, nil)
	add(2, 1, 1, []model.Share{{Account: text(tunerOwner), Points: 7_500}, {Account: text(tunerMate), Points: 2_500}}, []model.Share{{Account: text(dataOwner), Points: 10_000}})
	add(3, 2, 2, nil, nil)
	add(4, 0, 0, nil, nil)
	return g
}

func splitChain(t *testing.T) (*fixture.Chain, core.ChannelID) {
	c := fixture.Start(t, models(), market.DefaultGenesis(), payment.DefaultGenesis(), nil)
	c.Fund(payer.Address(), purse)
	return c, open(t, c)
}

func credit(t *testing.T, c *fixture.Chain) math.Int {
	t.Helper()
	a := provider.Address()
	v, err := c.Payment.Credit(c.Ctx, a[:])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSplitFollowsLineageAndData(t *testing.T) {
	c, id := splitChain(t)
	v := sign(hot, id, 1_000_000)
	v.Attributions = []payment.Attribution{{Model: id32(2), Amount: math.NewInt(1_000_000)}}
	deliver(t, c, claim(v))
	equal(t, "provider: 50 %", c.Balance(provider.Address()), 500_000)
	equal(t, "fine-tuner: 3/4 of 70 % of 20 %", c.Balance(tunerOwner.Address()), 105_000)
	equal(t, "its mate: 1/4", c.Balance(tunerMate.Address()), 35_000)
	equal(t, "base: 30 % of 20 %", c.Balance(baseOwner.Address()), 60_000)
	equal(t, "data: 20 %", c.Balance(dataOwner.Address()), 200_000)
	equal(t, "burned: 2.5 %", c.Burned(), 25_000)
	equal(t, "treasury: 2.5 %", c.TreasuryBalance(), 25_000)
	equal(t, "audits: 5 %", credit(t, c), 50_000)
}

func TestSplitPassesThreeGenerations(t *testing.T) {
	c, id := splitChain(t)
	v := sign(hot, id, 1_000_000)
	v.Attributions = []payment.Attribution{{Model: id32(3), Amount: math.NewInt(1_000_000)}}
	deliver(t, c, claim(v))
	// 200,000 of lineage: 140,000 and all data stay with the provider, who has
	// no owners above; 60,000 go up: 42,000 to the tuners, 18,000 to the base.
	equal(t, "provider", c.Balance(provider.Address()), 500_000+140_000+200_000)
	equal(t, "tuner", c.Balance(tunerOwner.Address()), 31_500)
	equal(t, "mate", c.Balance(tunerMate.Address()), 10_500)
	equal(t, "base", c.Balance(baseOwner.Address()), 18_000)
}

func TestSplitDustIsTheTreasurys(t *testing.T) {
	for _, amount := range []int64{1, 2, 3, 7, 19, 99, 9_999, 10_001} {
		c, id := splitChain(t)
		v := sign(hot, id, amount)
		v.Attributions = []payment.Attribution{{Model: id32(2), Amount: math.NewInt(amount)}}
		deliver(t, c, claim(v))
		paid := int64(0)
		for _, k := range []core.Signer{provider, tunerOwner, tunerMate, baseOwner, dataOwner} {
			paid += c.Balance(k.Address()).Int64()
		}
		if got := paid + c.Burned().Int64() + c.TreasuryBalance().Int64() + credit(t, c).Int64(); got != amount {
			t.Errorf("%d became %d", amount, got)
		}
		equal(t, "provider", c.Balance(provider.Address()), amount/2)
		equal(t, "burned", c.Burned(), amount*500/10_000*5000/10_000)
	}
}

func TestAttributionsMustFit(t *testing.T) {
	c, id := splitChain(t)
	part := func(b byte, n int64) payment.Attribution {
		return payment.Attribution{Model: id32(b), Amount: math.NewInt(n)}
	}
	for name, parts := range map[string][]payment.Attribution{
		"too little":    {part(1, 999)},
		"too much":      {part(1, 600), part(2, 401)},
		"twice":         {part(1, 500), part(1, 500)},
		"unknown model": {part(9, 1_000)},
		"zero":          {part(1, 1_000), part(2, 0)},
		"negative":      {part(1, 1_001), part(2, -1)},
		"nil":           {{Model: id32(1)}, part(2, 1_000)},
		"short id":      {{Model: []byte{1}, Amount: math.NewInt(1_000)}},
	} {
		t.Run(name, func(t *testing.T) {
			v := sign(hot, id, 1_000)
			v.Attributions = parts
			refuse(t, c, claim(v), payment.ErrAttribution)
		})
	}
	v := sign(hot, id, 1_000)
	v.Attributions = []payment.Attribution{part(1, 400), part(4, 600)}
	deliver(t, c, claim(v))
	equal(t, "provider", c.Balance(provider.Address()), 500+80+120+120)
	equal(t, "base owner", c.Balance(baseOwner.Address()), 80)
}

func TestClaimWithoutModelTakesTheOnlyOffer(t *testing.T) {
	gm := market.DefaultGenesis()
	gm.Params.MinBond, gm.Params.Kappa = math.NewInt(1), 1
	offer := func(b byte) market.Offer {
		return market.Offer{Model: id32(b), Tier: "exact", PriceIn: math.ZeroInt(), PriceOut: math.ZeroInt(), Slots: 1}
	}
	for name, v := range map[string]struct {
		offers             []market.Offer
		provider, treasury int64
	}{
		"one offer":  {[]market.Offer{offer(1)}, 500 + 200, 25},
		"two offers": {[]market.Offer{offer(1), offer(2)}, 500, 425},
		"no offer":   {nil, 500, 425},
	} {
		t.Run(name, func(t *testing.T) {
			g := *gm
			if v.offers != nil {
				g.Providers = []market.Provider{{Address: text(provider), PeerId: peerID(2), Bond: math.NewInt(1_000)}}
				g.Offers = []market.OffersEntry{{Provider: text(provider), Offers: v.offers}}
			}
			c := fixture.Start(t, models(), &g, payment.DefaultGenesis(), func(c *fixture.Chain) {
				if v.offers != nil {
					c.FundModule(market.ModuleName, math.NewInt(1_000))
				}
			})
			c.Fund(payer.Address(), purse)
			deliver(t, c, claim(sign(hot, open(t, c), 1_000)))
			equal(t, "provider", c.Balance(provider.Address()), v.provider)
			equal(t, "treasury", c.TreasuryBalance(), v.treasury)
		})
	}
}

func TestShareOfABlockedAccountIsTheTreasurys(t *testing.T) {
	g := models()
	g.Models[0].Shares[0].Account = authtypes.NewModuleAddress(fixture.Treasury).String()
	c := fixture.Start(t, g, market.DefaultGenesis(), payment.DefaultGenesis(), nil)
	c.Fund(payer.Address(), purse)
	v := sign(hot, open(t, c), 1_000)
	v.Attributions = []payment.Attribution{{Model: id32(1), Amount: math.NewInt(1_000)}}
	deliver(t, c, claim(v))
	equal(t, "treasury", c.TreasuryBalance(), 200+25)
}
