package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
)

func execute(t *testing.T, c *cobra.Command, in string, args ...string) (string, error) {
	t.Helper()
	var out, log bytes.Buffer
	c.SetArgs(args)
	c.SetIn(strings.NewReader(in))
	c.SetOut(&out)
	c.SetErr(&log)
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.ExecuteContext(context.Background())
	return out.String(), err
}

func must(t *testing.T, c *cobra.Command, in string, args ...string) string {
	t.Helper()
	out, err := execute(t, c, in, args...)
	if err != nil {
		t.Fatalf("%s %v: %v", c.Use, args, err)
	}
	return out
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const passphrase = "correct horse\ncorrect horse\n"

// TestOneNodeFromTheCommandLine makes a key and a chain, pays, asks, and
// exports: what a person does by hand.
func TestOneNodeFromTheCommandLine(t *testing.T) {
	home, dir := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "node")
	var alice struct{ Address string }
	if err := json.Unmarshal([]byte(must(t, Keys(), passphrase, "add", "alice", "--home", home, "--output", "json")), &alice); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(alice.Address, "koinon1") {
		t.Fatalf("alice is %q", alice.Address)
	}
	must(t, Node(), "", "init", "--home", dir, "--fund", alice.Address+"=2koin")
	if _, err := execute(t, Node(), "", "init", "--home", dir); err == nil {
		t.Error("a second init overwrote the chain")
	}
	rpcAt := freePort(t)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		n := Node()
		n.SetArgs([]string{"start", "--home", dir, "--p2p", "127.0.0.1:0", "--rpc", rpcAt, "--grpc", "", "--rest", "", "--evm", "", "--block-time", "200ms"})
		n.SetOut(new(bytes.Buffer))
		done <- n.ExecuteContext(ctx)
	}()
	node := "--node=http://" + rpcAt
	waitFor(t, func() bool {
		out, err := execute(t, Query(), "", "bank", "balances", alice.Address, node, "--output", "json")
		return err == nil && strings.Contains(out, "2000000000000000000")
	})

	bob := "0x00000000000000000000000000000000000000b0"
	var sent struct{ TxHash string }
	out := must(t, Tx(), passphrase, "bank", "send", "alice", bob, "1234akoin", "--home", home, node, "--yes", "--output", "json")
	if err := json.Unmarshal([]byte(out), &sent); err != nil || sent.TxHash == "" {
		t.Fatal(out, err)
	}
	waitFor(t, func() bool {
		out, err := execute(t, Query(), "", "bank", "balance", bob, core.BaseDenom, node, "--output", "json")
		return err == nil && strings.Contains(out, `"1234"`)
	})
	waitFor(t, func() bool {
		out, err := execute(t, Query(), "", "tx", sent.TxHash, node, "--output", "json")
		return err == nil && strings.Contains(out, `"code":0`)
	})
	for _, ask := range [][]string{{"staking", "validators"}, {"gov", "params"}, {"market", "params"}, {"model", "list"}, {"payment", "params"}, {"verify", "params"}, {"evm", "params"}} {
		if out := must(t, Query(), "", append(ask, node, "--output", "json")...); !json.Valid([]byte(out)) {
			t.Errorf("query %v: %s", ask, out)
		}
	}
	_, err := execute(t, Tx(), passphrase, "bank", "send", "alice", bob, "3000000000000000000akoin", "--home", home, node, "--yes", "--gas", "200000")
	if core.CodeOf(err) != core.CodeUnpaid {
		t.Errorf("more than she has: %v", err)
	}
	if _, err := execute(t, Node(), "", "start", "--home", dir, "--p2p", freePort(t), "--rpc", rpcAt); err == nil || !strings.Contains(err.Error(), "cannot listen on "+rpcAt) {
		t.Errorf("a busy port: %v", err)
	}
	if _, err := execute(t, Node(), "", "start", "--home", dir, "--p2p", "127.0.0.1:0", "--rpc", freePort(t)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second node on one folder: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	exported := filepath.Join(t.TempDir(), "genesis.json")
	writeFile(t, exported, must(t, Node(), "", "export", "--home", dir))
	doc, err := cmttypes.GenesisDocFromFile(exported)
	if err != nil {
		t.Fatal(err)
	}
	if doc.InitialHeight < 3 || !bytes.Contains(doc.AppState, []byte(`"1234"`)) {
		t.Errorf("the export starts at %d without bob's balance", doc.InitialHeight)
	}
	other := filepath.Join(t.TempDir(), "other")
	must(t, Node(), "", "init", "--home", other, "--genesis", exported)
	if _, err := cmttypes.GenesisDocFromFile(fullnode.GenesisFile(other)); err != nil {
		t.Error(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		cmd  *cobra.Command
		args []string
		want string
	}{
		"no node":      {Query(), []string{"bank", "total", "--node", "http://127.0.0.1:1"}, "koinon devnet"},
		"no chain":     {Node(), []string{"start", "--home", "/nonexistent", "--p2p", "127.0.0.1:0", "--rpc", ""}, "koinon node init"},
		"no such key":  {Tx(), []string{"bank", "send", "nobody", "0x00000000000000000000000000000000000000b0", "1akoin", "--home", "HOME", "--keyring-backend", "test", "--node", "http://127.0.0.1:1"}, "koinon keys add"},
		"bad fund":     {Node(), []string{"init", "--home", "HOME", "--fund", "bob=1koin"}, "is not an address"},
		"not exported": {Node(), []string{"export", "--home", "HOME"}, "holds no chain"},
	} {
		for i, a := range c.args {
			if a == "HOME" {
				c.args[i] = t.TempDir()
			}
		}
		_, err := execute(t, c.cmd, "", c.args...)
		var e *core.Error
		if !errors.As(err, &e) || !strings.Contains(errorText(err), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("waited 30 s in vain")
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
