package localnet

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
)

// stopped opens the state of validator i of a network that is not running.
func stopped(t testing.TB, n *Net, i int, height int64) *app.App {
	t.Helper()
	db, err := dbm.NewGoLevelDB("application", filepath.Join(n.validatorHome(i), "data"), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(app.Options{DB: db, ChainID: n.ChainID, Height: height})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// checkBooks wants the same state, with balanced books, at every validator's
// last common height.
func checkBooks(t testing.TB, n *Net) {
	t.Helper()
	common := int64(1 << 62)
	for i := range n.Nodes {
		common = min(common, n.Nodes[i].App.LastBlockHeight())
	}
	var hash []byte
	for i := range n.Nodes {
		a := stopped(t, n, i, common)
		if err := a.CheckInvariants(a.Context()); err != nil {
			t.Errorf("validator %d: %v", i, err)
		}
		if h := a.LastCommitID().Hash; i == 0 {
			hash = h
		} else if string(h) != string(hash) {
			t.Errorf("validator %d has another state at height %d", i, common)
		}
	}
}

func TestExportContinuesAsANewChain(t *testing.T) {
	alice, bob := newWallet(1), newWallet(2)
	n := start(t, Options{Home: t.TempDir(), Validators: 1, BlockTime: 150 * time.Millisecond, Genesis: credit(core.Koin(10), alice)})
	alice.sync(n.Nodes[0].App)
	if res := commit(t, n, alice.sign(n.Nodes[0].App, 200_000, alice.send(bob.address(), 12345))); res.Code != 0 {
		t.Fatal(res.Log)
	}
	paid := n.Height()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Nodes[0].WaitBlock(ctx, paid+1); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	old := stopped(t, n, 0, paid)
	doc, err := old.Export()
	if err != nil {
		t.Fatal(err)
	}
	if doc.InitialHeight != paid+1 {
		t.Errorf("the export of height %d continues at %d", paid, doc.InitialHeight)
	}
	supply := old.Bank.GetSupply(old.Context(), core.BaseDenom)

	home := t.TempDir()
	if err := os.CopyFS(filepath.Join(home, "config"), os.DirFS(filepath.Join(n.validatorHome(0), "config"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(fullnode.GenesisFile(home)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := fullnode.Init(home); err != nil {
		t.Fatal(err)
	}
	if err := doc.SaveAs(fullnode.GenesisFile(home)); err != nil {
		t.Fatal(err)
	}
	node, err := fullnode.Open(fullnode.Options{Home: home, Listen: "127.0.0.1:0", BlockTime: 150 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Stop() }()
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if err := node.WaitBlock(ctx, paid+2); err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]core.Address{"alice": alice.address(), "bob": bob.address(), "operator": n.Validators[0]} {
		if was, is := balance(old, who), balance(node.App, who); was != is {
			t.Errorf("%s had %s, has %s", name, was, is)
		}
	}
	if is := node.App.Bank.GetSupply(node.App.Context(), core.BaseDenom); is.IsLT(supply) {
		t.Errorf("the supply fell from %s to %s", supply, is)
	}
	if err := node.App.CheckInvariants(node.App.Context()); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	home := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	n := start(t, Options{Home: home, Validators: 1, BlockTime: 150 * time.Millisecond, Endpoints: rpc.Endpoints{EVM: "127.0.0.1:0"}})
	evm := n.Endpoints.EVM
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"second process":  {Options{Home: home, Validators: 1}, "another process runs the network"},
		"busy EVM port":   {Options{Home: t.TempDir(), Validators: 1, Endpoints: rpc.Endpoints{EVM: busy}}, "cannot listen on " + busy},
		"busy Comet port": {Options{Home: t.TempDir(), Validators: 1, Endpoints: rpc.Endpoints{Comet: busy}}, "cannot listen on " + busy},
		"a file as home":  {Options{Home: "/dev/null/x"}, "cannot be made"},
		"too many":        {Options{Home: t.TempDir(), Validators: 99}, "1 to 16 validators"},
		"unknown level":   {Options{Home: t.TempDir(), Validators: 1, LogLevel: "loud"}, "not a log level"},
	} {
		_, err := Start(context.Background(), c.o)
		var e *core.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(context.Background(), Options{Home: home, Validators: 2}); err == nil || !strings.Contains(err.Error(), "has 1 validators") {
		t.Errorf("another number of validators: %v", err)
	}
	if _, err := Start(context.Background(), Options{Home: home, Validators: 1, ChainID: "other-1"}); err == nil || !strings.Contains(err.Error(), app.DevnetID) {
		t.Errorf("another chain: %v", err)
	}
	if again := start(t, Options{Home: home, Validators: 1, BlockTime: 150 * time.Millisecond, Endpoints: rpc.Endpoints{EVM: "127.0.0.1:0"}}); again.Endpoints.EVM != evm {
		t.Errorf("the port was %s, is %s", evm, again.Endpoints.EVM)
	}
	for _, f := range []string{"priv_validator_key.json", "node_key.json", "operator.key"} {
		info, err := os.Stat(filepath.Join(home, "validators", "0", "config", f))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f, info.Mode())
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chain.log")
	l, err := openLogFile(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := l.Write([]byte(strings.Repeat("x", 99) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".1"} {
		info, err := os.Stat(p)
		if err != nil || info.Size() > 1000 {
			t.Error(p, info.Size(), err)
		}
	}
}
