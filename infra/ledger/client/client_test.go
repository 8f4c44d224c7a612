package client_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	cmtrpc "github.com/cometbft/cometbft/rpc/client"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/localnet"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
)

var (
	chain    *client.Client
	node     cmtrpc.Client
	remote   string
	payer    = fixture.Key(1)
	provider = fixture.Key(2)
	hot      = fixture.Key(3)
	owner    = fixture.Key(4)
)

// TestMain runs one validator for all tests: a network in this process takes
// seconds to start.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	home, err := os.MkdirTemp("", "koinon-client")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(home)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net, err := localnet.Start(ctx, localnet.Options{Home: home, Validators: 1, BlockTime: 150 * time.Millisecond, Genesis: genesis,
		Endpoints: rpc.Endpoints{Comet: "127.0.0.1:0"}})
	if err != nil {
		panic(err)
	}
	defer net.Stop()
	remote, node = "http://"+net.Endpoints.Comet, net.Nodes[0].Client
	if chain, err = client.New(ctx, node); err != nil {
		panic(err)
	}
	defer chain.Close()
	return m.Run()
}

func genesis(g *app.Genesis) error {
	for _, k := range []*voucher.Key{payer, provider, owner} {
		g.Credit(k.Address(), core.Koin(100_000))
	}
	pay := payment.DefaultGenesis()
	pay.Params.MinWithdrawDelay, pay.Params.MinLifetime = 1, 1
	if err := g.Set(payment.ModuleName, pay); err != nil {
		return err
	}
	mkt := market.DefaultGenesis()
	mkt.Params.MinBond = math.NewInt(1000)
	return g.Set(market.ModuleName, mkt)
}

func context30(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wallet(t *testing.T, k *voucher.Key) *client.Wallet {
	t.Helper()
	w, err := chain.Wallet(k)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newChannel(salt byte) core.Channel {
	return core.Channel{
		Signer: hot.Address(), Provider: provider.Address(), Deposit: core.Koin(5), Salt: core.Hash{salt},
		WithdrawDelay: 1, Expiry: time.Now().Add(time.Hour).Unix(),
	}
}

func TestMarketAndPaymentEndToEnd(t *testing.T) {
	ctx := context30(t)
	prov, pay := wallet(t, provider), wallet(t, payer)
	m := core.Manifest{
		ID: core.Hash{1}, Name: "Test/Model-1", Format: "gguf", Semantics: 1, Licence: "Apache-2.0", Context: 512, Size: 1000,
		Shares: []core.Share{{Account: owner.Address(), Points: 10_000}},
	}
	must(t, wallet(t, owner).PublishModel(ctx, m))
	models, err := chain.Manifests(ctx)
	if err != nil || len(models) != 1 || models[0].Name != m.Name || models[0].Publisher != owner.Address() {
		t.Fatalf("%+v, %v", models, err)
	}

	_, peer, _ := ed25519.GenerateKey(nil)
	p := core.Provider{
		Moniker: "machine", PeerID: market.PeerID(peer.Public().(ed25519.PublicKey)), Addrs: []string{"/ip4/127.0.0.1/udp/1/quic-v1"}, Bond: core.NewAmount(5000),
	}
	binding := ed25519.Sign(peer, core.PeerBinding(chain.ChainID(), prov.Address()))
	must(t, prov.RegisterProvider(ctx, p, binding))
	p.Moniker, p.Bond = "machine 2", core.NewAmount(6000)
	must(t, prov.RegisterProvider(ctx, p, binding)) // again: an update
	must(t, prov.PostOffers(ctx, []core.Offer{{Model: m.ID, Tier: core.TierExact, PriceIn: core.NewAmount(3), PriceOut: core.NewAmount(7), Slots: 8}}))
	all, err := chain.Providers(ctx)
	if err != nil || len(all) != 1 || all[0].Moniker != "machine 2" || all[0].Bond.Cmp(p.Bond) != 0 || len(all[0].Offers) != 1 || all[0].Offers[0].PriceOut.Cmp(core.NewAmount(7)) != 0 {
		t.Fatalf("%+v, %v", all, err)
	}

	id, err := pay.OpenChannel(ctx, newChannel(1))
	must(t, err)
	c, err := chain.Channel(ctx, id)
	if err != nil || c.ID != id || c.State != core.ChannelOpen || c.Deposit.Cmp(core.Koin(5)) != 0 || c.Payer != payer.Address() {
		t.Fatalf("%+v, %v", c, err)
	}
	must(t, pay.TopUp(ctx, id, core.Koin(1)))
	v, err := voucher.Sign(voucher.NewDomain(chain.EVMChainID()), hot, id, core.Koin(2))
	must(t, err)
	before, _ := chain.Balance(ctx, owner.Address())
	must(t, prov.Claim(ctx, []core.Voucher{v}))
	after, err := chain.Balance(ctx, owner.Address())
	if want := before.Add(core.Koin(4).Div(10)); err != nil || after.Cmp(want) != 0 {
		t.Errorf("the model's owner has %s, want %s (%v)", after, want, err)
	}
	err = prov.Claim(ctx, []core.Voucher{v})
	if core.CodeOf(err) != core.CodeInvalid {
		t.Errorf("replay: %v", err)
	}
	must(t, pay.RequestWithdrawal(ctx, id))
	waitFor(t, ctx, func() bool { c, err := chain.Channel(ctx, id); return err == nil && c.State == core.ChannelClosed })
	must(t, pay.FinalizeWithdrawal(ctx, id)) // the chain was faster: still a success
	if list, err := chain.Channels(ctx, provider.Address()); err != nil || len(list) == 0 {
		t.Errorf("%v, %v", list, err)
	}

	b := core.ReceiptBatch{Provider: provider.Address(), Sequence: 1, Root: core.Hash{9}, Count: 12, Model: core.Hash{1}}
	must(t, prov.CommitReceipts(ctx, b))
	if err := prov.CommitReceipts(ctx, b); core.CodeOf(err) != core.CodeInvalid {
		t.Errorf("same batch again: %v", err)
	}
	batches, err := chain.Batches(ctx, provider.Address(), 10)
	if err != nil || len(batches) != 1 || batches[0] != b {
		t.Errorf("%+v, %v", batches, err)
	}
	if all, _ = chain.Providers(ctx); all[0].Served != 12 || all[0].Claimed.Cmp(core.Koin(2)) != 0 {
		t.Errorf("%+v", all[0])
	}
}

func waitFor(t *testing.T, ctx context.Context, done func() bool) {
	t.Helper()
	for range chain.Blocks(ctx) {
		if done() {
			return
		}
	}
	t.Fatal("it never happened")
}

func TestConcurrentSendsOfOneAccount(t *testing.T) {
	ctx := context30(t)
	one, other := wallet(t, payer), wallet(t, payer) // the second knows nothing of the first
	var wg sync.WaitGroup
	start := time.Now()
	errs := make([]error, 40)
	for i := range errs {
		w := one
		if i%8 == 7 {
			w = other
		}
		wg.Go(func() {
			errs[i] = w.Send(ctx, fixture.Key(1000+i).Address(), core.NewAmount(uint64(i+1)))
		})
	}
	wg.Wait()
	t.Logf("%d transfers of one account final in %v", len(errs), time.Since(start))
	for i, err := range errs {
		if err != nil {
			t.Errorf("transfer %d: %v", i, err)
		}
		got, err := chain.Balance(ctx, fixture.Key(1000+i).Address())
		if err != nil || got.Cmp(core.NewAmount(uint64(i+1))) != 0 {
			t.Errorf("account %d has %s (%v)", i, got, err)
		}
	}
}

func TestRefusalsSayCauseAndNextStep(t *testing.T) {
	ctx := context30(t)
	pay := wallet(t, payer)
	poor := wallet(t, fixture.Key(77))
	rich := newChannel(9)
	rich.Deposit = core.Koin(1_000_000)
	for name, v := range map[string]struct {
		do   func() error
		want core.Code
	}{
		"no account":      {func() error { return poor.Send(ctx, payer.Address(), core.NewAmount(1)) }, core.CodeUnpaid},
		"too large":       {func() error { return pay.Send(ctx, owner.Address(), core.Koin(1_000_000)) }, core.CodeUnpaid},
		"zero":            {func() error { return pay.Send(ctx, owner.Address(), core.Amount{}) }, core.CodeInvalid},
		"deposit":         {func() error { _, err := pay.OpenChannel(ctx, rich); return err }, core.CodeUnpaid},
		"unknown channel": {func() error { return pay.TopUp(ctx, core.Hash{5}, core.Koin(1)) }, core.CodeInvalid},
		"stranger":        {func() error { return pay.PostOffers(ctx, nil) }, core.CodeUnauthorized},
		"read":            {func() error { _, err := chain.Channel(ctx, core.Hash{5}); return err }, core.CodeInvalid},
	} {
		err := v.do()
		t.Logf("%s: %v", name, err)
		if core.CodeOf(err) != v.want {
			t.Errorf("%s: code %q, want %q: %v", name, core.CodeOf(err), v.want, err)
		}
	}
}

func TestStatusFollowsBlocks(t *testing.T) {
	ctx := context30(t)
	s, err := chain.Status(ctx)
	if err != nil || s.EVMChainID != app.EVMChainID || s.ChainID != app.DevnetID || s.Validators != 1 || s.Supply.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	must(t, chain.WaitHeight(ctx, s.Height+2))
	if later, _ := chain.Status(ctx); later.Height < s.Height+2 {
		t.Errorf("status stays at %d", later.Height)
	}
}

func TestAccountForms(t *testing.T) {
	a := payer.Address()
	for _, s := range []string{a.String(), client.Bech32(a)} {
		if got, err := client.ParseAccount(s); err != nil || got != a {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	if got, err := client.ParseAccount("cosmos1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnrql8a"); err == nil {
		t.Errorf("an account of another chain was read as %s", fmt.Sprint(got))
	}
}

func TestDialOverTheNetwork(t *testing.T) {
	ctx := context30(t)
	c, err := client.Dial(ctx, remote)
	must(t, err)
	w, err := c.Wallet(owner)
	must(t, err)
	to := fixture.Key(55).Address()
	must(t, w.Send(ctx, to, core.NewAmount(7)))
	if got, err := c.Balance(ctx, to); err != nil || got.Cmp(core.NewAmount(7)) != 0 {
		t.Errorf("%s, %v", got, err)
	}
	must(t, c.Close())
	if err := w.Send(ctx, to, core.NewAmount(7)); core.CodeOf(err) != core.CodeUnavailable {
		t.Errorf("after Close: %v", err)
	}
	if _, err := client.Dial(ctx, "http://127.0.0.1:1"); core.CodeOf(err) != core.CodeUnavailable {
		t.Errorf("nobody listens: %v", err)
	}
}

// forgetful is a node whose pool loses every transaction once, as a pool does
// with what follows a gap in an account's sequence numbers.
type forgetful struct {
	cmtrpc.Client
	mu   sync.Mutex
	lost map[string]bool
}

func (f *forgetful) BroadcastTxSync(ctx context.Context, raw cmttypes.Tx) (*coretypes.ResultBroadcastTx, error) {
	f.mu.Lock()
	first := !f.lost[string(raw)]
	f.lost[string(raw)] = true
	f.mu.Unlock()
	if first {
		return &coretypes.ResultBroadcastTx{Hash: raw.Hash()}, nil
	}
	return f.Client.BroadcastTxSync(ctx, raw)
}

func TestTransactionThatThePoolLost(t *testing.T) {
	ctx := context30(t)
	c, err := client.New(ctx, &forgetful{Client: node, lost: map[string]bool{}})
	must(t, err)
	defer c.Close()
	w, err := c.Wallet(owner)
	must(t, err)
	to := fixture.Key(2000).Address()
	must(t, w.Send(ctx, to, core.NewAmount(7)))
	if got, err := chain.Balance(ctx, to); err != nil || got.Cmp(core.NewAmount(7)) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
