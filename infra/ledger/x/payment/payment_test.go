package payment_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
)

var (
	payer    = fixture.Key(1)
	provider = fixture.Key(2)
	hot      = fixture.Key(3)
	stranger = fixture.Key(4)
	domain   = voucher.NewDomain(fixture.EVMChainID)
)

const purse = 1_000_000_000

func newChain(t *testing.T) *fixture.Chain {
	c := fixture.New(t)
	c.Fund(payer.Address(), purse)
	c.Fund(provider.Address(), purse)
	return c
}

func text(k *voucher.Key) string { return fixture.Bech32(k.Address()) }

func openMsg(c *fixture.Chain) *payment.MsgOpen {
	return &payment.MsgOpen{
		Payer: text(payer), Signer: text(hot), Provider: text(provider), Deposit: math.NewInt(10_000_000),
		Salt: make([]byte, 32), WithdrawDelay: 900, Expiry: c.Now() + 3600,
	}
}

func open(t *testing.T, c *fixture.Chain) core.ChannelID {
	t.Helper()
	msg := openMsg(c)
	deliver(t, c, msg)
	return idOf(msg)
}

func idOf(msg *payment.MsgOpen) core.ChannelID {
	return voucher.ConfigOf(core.Channel{
		Payer: payer.Address(), Signer: hot.Address(), Provider: provider.Address(), WithdrawDelay: msg.WithdrawDelay, Salt: core.Hash(msg.Salt),
	}).ID(domain)
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

func sign(k *voucher.Key, id core.ChannelID, amount int64) payment.Claim {
	v, err := voucher.Sign(domain, k, id, core.NewAmount(uint64(amount)))
	if err != nil {
		panic(err)
	}
	return payment.Claim{Channel: id[:], Amount: math.NewInt(amount), Signature: v.Signature[:]}
}

func claim(claims ...payment.Claim) *payment.MsgClaim {
	return &payment.MsgClaim{Provider: text(provider), Claims: claims}
}

func equal(t *testing.T, what string, got math.Int, want int64) {
	t.Helper()
	if !got.Equal(math.NewInt(want)) {
		t.Errorf("%s: %s, want %d", what, got, want)
	}
}

func TestChannelFromOpeningToClosing(t *testing.T) {
	c := newChain(t)
	id := open(t, c)
	equal(t, "payer after opening", c.Balance(payer.Address()), purse-10_000_000)
	deliver(t, c, claim(sign(hot, id, 1_000)))
	deliver(t, c, claim(sign(hot, id, 1_500)))
	deliver(t, c, &payment.MsgTopUp{Payer: text(payer), Channel: id[:], Amount: math.NewInt(5_000_000)})
	deliver(t, c, claim(sign(hot, id, 12_000_000)))
	deliver(t, c, &payment.MsgClose{Provider: text(provider), Channel: id[:]})
	equal(t, "payer after closing", c.Balance(payer.Address()), purse-12_000_000)
	equal(t, "provider, without a model", c.Balance(provider.Address()), purse+6_000_000)
	equal(t, "burned", c.Burned(), 299_999)
	equal(t, "for audits", credit(t, c), 600_000)
	equal(t, "treasury", c.TreasuryBalance(), 12_000_000-6_000_000-600_000-299_999)
	refuse(t, c, openMsg(c), payment.ErrExists) // its vouchers must stay dead
	refuse(t, c, claim(sign(hot, id, 13_000_000)), payment.ErrState)
}

func TestBadVouchersAreRefused(t *testing.T) {
	c := newChain(t)
	id := open(t, c)
	deliver(t, c, claim(sign(hot, id, 1_000)))
	good := sign(hot, id, 2_000)
	twin := sign(hot, id, 2_000)
	twin.Signature = append([]byte(nil), twin.Signature...)
	twin.Signature[64] ^= 27 ^ 28
	short := good
	short.Signature = short.Signature[:64]
	for name, v := range map[string]struct {
		msg  *payment.MsgClaim
		want error
	}{
		"replay":            {claim(sign(hot, id, 1_000)), payment.ErrReplay},
		"older":             {claim(sign(hot, id, 999)), payment.ErrReplay},
		"over the deposit":  {claim(sign(hot, id, 10_000_001)), payment.ErrOverClaim},
		"payer's own key":   {claim(sign(payer, id, 2_000)), payment.ErrVoucher},
		"stranger's key":    {claim(sign(stranger, id, 2_000)), payment.ErrVoucher},
		"malleated":         {claim(twin), payment.ErrVoucher},
		"short signature":   {claim(short), payment.ErrInvalid},
		"unknown channel":   {claim(sign(hot, core.Hash{1}, 2_000)), payment.ErrNotFound},
		"claimed by others": {&payment.MsgClaim{Provider: text(stranger), Claims: []payment.Claim{good}}, payment.ErrNotParty},
		"claimed by payer":  {&payment.MsgClaim{Provider: text(payer), Claims: []payment.Claim{good}}, payment.ErrNotParty},
		"none":              {claim(), payment.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) { refuse(t, c, v.msg, v.want) })
	}
	deliver(t, c, claim(good))
}

func TestOneBadVoucherRefusesAllAndSaysWhich(t *testing.T) {
	c := newChain(t)
	id := open(t, c)
	second := openMsg(c)
	second.Salt[0] = 1
	deliver(t, c, second)
	before := c.Balance(provider.Address())
	_, err := c.Deliver(claim(sign(hot, id, 500), sign(hot, idOf(second), 600), sign(stranger, id, 700)))
	if !errors.Is(err, payment.ErrVoucher) || !strings.Contains(err.Error(), "claim 2") {
		t.Errorf("got %v", err)
	}
	if got := c.Balance(provider.Address()); !got.Equal(before) {
		t.Errorf("the provider got %s", got.Sub(before))
	}
	deliver(t, c, claim(sign(hot, id, 500), sign(hot, idOf(second), 600), sign(hot, id, 700)))
	equal(t, "provider", c.Balance(provider.Address()), purse+350+300)
}

func TestClaimGasGrowsWithVouchers(t *testing.T) {
	c := newChain(t)
	id := open(t, c)
	var claims []payment.Claim
	for i := range int64(20) {
		claims = append(claims, sign(hot, id, 1_000+i))
	}
	one, err := c.Deliver(claim(claims[0]))
	if err != nil {
		t.Fatal(err)
	}
	many, err := c.Deliver(claim(claims[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	if p := payment.DefaultParams(); many < one+18*p.GasPerVoucher {
		t.Errorf("one voucher costs %d gas, nineteen %d", one, many)
	}
	refuse(t, c, claim(make([]payment.Claim, 257)...), payment.ErrInvalid)
}

func TestWithdrawalWaitsForTheChallengeWindow(t *testing.T) {
	c := newChain(t)
	id := open(t, c)
	refuse(t, c, &payment.MsgFinalizeWithdrawal{Payer: text(payer), Channel: id[:]}, payment.ErrState)
	refuse(t, c, &payment.MsgRequestWithdrawal{Payer: text(provider), Channel: id[:]}, payment.ErrNotParty)
	deliver(t, c, &payment.MsgRequestWithdrawal{Payer: text(payer), Channel: id[:]})
	refuse(t, c, &payment.MsgRequestWithdrawal{Payer: text(payer), Channel: id[:]}, payment.ErrState)
	refuse(t, c, &payment.MsgTopUp{Payer: text(payer), Channel: id[:], Amount: math.NewInt(5_000_000)}, payment.ErrState)
	advance(t, c, 899*time.Second)
	refuse(t, c, &payment.MsgFinalizeWithdrawal{Payer: text(payer), Channel: id[:]}, payment.ErrNotYet)
	deliver(t, c, claim(sign(hot, id, 4_000_000))) // what the window is for
	advance(t, c, time.Second)
	// The window is over: whoever comes first in this block, the payer wins.
	refuse(t, c, claim(sign(hot, id, 5_000_000)), payment.ErrState)
	deliver(t, c, &payment.MsgFinalizeWithdrawal{Payer: text(payer), Channel: id[:]})
	equal(t, "payer", c.Balance(payer.Address()), purse-4_000_000)
	advance(t, c, time.Second)
	equal(t, "payer, later", c.Balance(payer.Address()), purse-4_000_000)
}

func TestChannelsCloseByThemselves(t *testing.T) {
	for name, request := range map[string]bool{"expiry": false, "withdrawal": true} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t)
			id := open(t, c)
			if request {
				deliver(t, c, &payment.MsgRequestWithdrawal{Payer: text(payer), Channel: id[:]})
				advance(t, c, 900*time.Second)
			} else {
				advance(t, c, 3600*time.Second)
			}
			refuse(t, c, claim(sign(hot, id, 1)), payment.ErrState)
			advance(t, c, time.Second)
			equal(t, "payer", c.Balance(payer.Address()), purse)
			ch, err := c.Payment.Channel(c.Ctx, id[:])
			if err != nil || ch.State != payment.StateClosed {
				t.Errorf("%v, %v", ch.State, err)
			}
		})
	}
}

func TestClosingsPerBlockAreBounded(t *testing.T) {
	g := payment.DefaultGenesis()
	g.Params.MaxClosings = 3
	c := fixture.Start(t, model.DefaultGenesis(), market.DefaultGenesis(), g, nil)
	c.Fund(payer.Address(), purse)
	for i := range byte(8) {
		msg := openMsg(c)
		msg.Salt[0] = i
		deliver(t, c, msg)
	}
	advance(t, c, 3600*time.Second)
	for _, want := range []int64{purse - 50_000_000, purse - 20_000_000, purse, purse} {
		advance(t, c, time.Second)
		equal(t, "payer", c.Balance(payer.Address()), want)
	}
}

func TestOpenChecksItsFields(t *testing.T) {
	c := newChain(t)
	pool := authtypes.NewModuleAddress(fixture.Treasury)
	for name, v := range map[string]struct {
		change func(*payment.MsgOpen)
		want   error
	}{
		"deposit zero":    {func(m *payment.MsgOpen) { m.Deposit = math.ZeroInt() }, payment.ErrDepositRange},
		"deposit nil":     {func(m *payment.MsgOpen) { m.Deposit = math.Int{} }, payment.ErrInvalid},
		"deposit < 0":     {func(m *payment.MsgOpen) { m.Deposit = math.NewInt(-5) }, payment.ErrDepositRange},
		"deposit 2^128":   {func(m *payment.MsgOpen) { m.Deposit = math.NewIntWithDecimal(1, 39) }, payment.ErrDepositRange},
		"too poor":        {func(m *payment.MsgOpen) { m.Deposit = math.NewInt(purse + 1) }, payment.ErrFunds},
		"salt":            {func(m *payment.MsgOpen) { m.Salt = nil }, payment.ErrInvalid},
		"short window":    {func(m *payment.MsgOpen) { m.WithdrawDelay = 899 }, payment.ErrInvalid},
		"long window":     {func(m *payment.MsgOpen) { m.WithdrawDelay = 1 << 50 }, payment.ErrInvalid},
		"expired":         {func(m *payment.MsgOpen) { m.Expiry = c.Now() }, payment.ErrInvalid},
		"expiry negative": {func(m *payment.MsgOpen) { m.Expiry = -1 << 63 }, payment.ErrInvalid},
		"expiry far":      {func(m *payment.MsgOpen) { m.Expiry = 1<<63 - 1 }, payment.ErrInvalid},
		"self":            {func(m *payment.MsgOpen) { m.Provider = m.Payer }, payment.ErrInvalid},
		"zero signer":     {func(m *payment.MsgOpen) { m.Signer = fixture.Bech32(core.Address{}) }, payment.ErrInvalid},
		"module account":  {func(m *payment.MsgOpen) { m.Provider = pool.String() }, payment.ErrInvalid},
		"long account":    {func(m *payment.MsgOpen) { m.Provider, _ = fixture.Addresses().BytesToString(make([]byte, 32)) }, payment.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			msg := openMsg(c)
			v.change(msg)
			refuse(t, c, msg, v.want)
		})
	}
}

func TestOnlyGovernanceSetsParams(t *testing.T) {
	c := newChain(t)
	p := payment.DefaultParams()
	p.ProviderPoints, p.DataPoints = 6000, 1000
	refuse(t, c, &payment.MsgUpdateParams{Authority: text(payer), Params: p}, payment.ErrAuthority)
	deliver(t, c, &payment.MsgUpdateParams{Authority: fixture.Authority(), Params: p})
	p.DataPoints = 999
	refuse(t, c, &payment.MsgUpdateParams{Authority: fixture.Authority(), Params: p}, payment.ErrInvalid)
	id := open(t, c)
	deliver(t, c, claim(sign(hot, id, 10_000)))
	equal(t, "provider", c.Balance(provider.Address()), purse+6_000)
}

func TestGenesisRoundTrip(t *testing.T) {
	c := newChain(t)
	open(t, c)
	second := openMsg(c)
	second.Salt[0] = 1
	deliver(t, c, second)
	id := idOf(second)
	deliver(t, c, claim(sign(hot, id, 1_234)))
	deliver(t, c, &payment.MsgRequestWithdrawal{Payer: text(payer), Channel: id[:]})
	g, err := c.Payment.ExportGenesis(c.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	b := c.Codec.MustMarshalJSON(g)
	held := math.NewInt(20_000_000 - 1_234 + 61) // 61 of the claim are credit for audits
	again := fixture.Start(t, model.DefaultGenesis(), market.DefaultGenesis(), g, func(n *fixture.Chain) { n.FundModule(payment.ModuleName, held) })
	g2, err := again.Payment.ExportGenesis(again.Ctx)
	if err != nil || string(again.Codec.MustMarshalJSON(g2)) != string(b) {
		t.Errorf("not the same after a round trip (%v):\n%s\n%s", err, b, again.Codec.MustMarshalJSON(g2))
	}
	advance(t, again, 900*time.Second)
	advance(t, again, time.Second)
	equal(t, "refund after import", again.Balance(payer.Address()), 10_000_000-1_234)

	poor := fixture.New(t)
	if err := poor.Payment.InitGenesis(poor.Ctx, g); err == nil {
		t.Error("a genesis with channels and no money was accepted")
	}
}

func BenchmarkClaim(b *testing.B) {
	c := fixture.Start(b, models(), market.DefaultGenesis(), payment.DefaultGenesis(), nil)
	c.Fund(payer.Address(), 1_000*purse)
	var ids []core.ChannelID
	for i := range 100 {
		msg := openMsg(c)
		msg.Salt[0] = byte(i)
		if _, err := c.Deliver(msg); err != nil {
			b.Fatal(err)
		}
		ids = append(ids, idOf(msg))
	}
	amount, gas := int64(0), uint64(0)
	for b.Loop() {
		b.StopTimer()
		amount += 100
		msg := claim()
		for _, id := range ids {
			v := sign(hot, id, amount)
			v.Attributions = []payment.Attribution{{Model: id32(2), Amount: math.NewInt(100)}}
			msg.Claims = append(msg.Claims, v)
		}
		b.StartTimer()
		var err error
		if gas, err = c.Deliver(msg); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "us/voucher")
	b.ReportMetric(float64(gas)/100, "gas/voucher")
}
