package localnet

import (
	"context"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
)

func start(t testing.TB, o Options) *Net {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	n, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func credit(amount core.Amount, to ...*wallet) func(*app.Genesis) error {
	return func(g *app.Genesis) error {
		for _, w := range to {
			g.Credit(w.address(), amount)
		}
		return nil
	}
}

func balance(a *app.App, who core.Address) string {
	return a.Bank.GetBalance(a.Context(), who[:], core.BaseDenom).Amount.String()
}

func TestNetworkAgreesPaysAndContinues(t *testing.T) {
	alice, bob := newWallet(1), newWallet(2)
	o := Options{Home: t.TempDir(), BlockTime: 200 * time.Millisecond, Genesis: credit(core.Koin(10), alice)}
	began := time.Now()
	n := start(t, o)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("the first block took %v", d)
	}
	t.Logf("start to first block: %v", time.Since(began))
	alice.sync(n.Nodes[0].App)
	if res := commit(t, n, alice.sign(n.Nodes[0].App, 200_000, alice.send(bob.address(), 7))); res.Code != 0 {
		t.Fatal(res.Log)
	}
	height := n.Height()
	for i, node := range n.Nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := node.WaitBlock(ctx, height-1); err != nil {
			t.Fatal(i, err)
		}
		cancel()
		if got := balance(node.App, bob.address()); got != "7" {
			t.Errorf("validator %d says that bob has %s", i, got)
		}
		if err := node.App.CheckInvariants(node.App.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}

	began = time.Now()
	n = start(t, o)
	t.Logf("restart to next block: %v", time.Since(began))
	if n.Fresh || n.Height() <= height {
		t.Errorf("the chain began anew at height %d", n.Height())
	}
	if got := balance(n.Nodes[3].App, bob.address()); got != "7" {
		t.Errorf("after the restart bob has %s", got)
	}
}
