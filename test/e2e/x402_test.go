package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/infra/voucher"
)

// stranger is the key of a wallet that has money and has never been heard of.
func (d *devnet) stranger(t *testing.T) (key string) {
	t.Helper()
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	k, err := voucher.NewKey(b)
	if err != nil {
		t.Fatal(err)
	}
	must(t, "wallet", "fund", k.Address().String(), "2koin", "--home", d.Home)
	return "0x" + hex.EncodeToString(b)
}

func (d *devnet) paid() string { return strings.TrimSuffix(d.API, "/v1") + "/x402/v1" }

// A call without account, key or registration is told how to pay, and costs
// nothing when it is wrong.
func TestPaidCallSaysHowToPay(t *testing.T) {
	d := sharedNetwork(t)
	r, err := http.Post(d.paid()+"/chat/completions", "application/json", strings.NewReader(d.question("What is a receipt?", `,"max_tokens":16`)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := base64.StdEncoding.DecodeString(r.Header.Get("PAYMENT-REQUIRED"))
	var q struct {
		X402Version int
		Accepts     []struct{ Scheme, Network, Amount, Asset, PayTo string }
	}
	if err != nil || json.Unmarshal(b, &q) != nil || r.StatusCode != http.StatusPaymentRequired || q.X402Version != 2 || len(q.Accepts) != 2 || q.Accepts[0].Network != "eip155:564666" {
		t.Fatalf("%d %s %v", r.StatusCode, b, err)
	}
	if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Payment id=") {
		t.Fatal(r.Header.Get("WWW-Authenticate"))
	}
	// What is wrong with a call is said before it is paid.
	bad, err := http.Post(d.paid()+"/chat/completions", "application/json", strings.NewReader(`{"model":"nobody","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	bad.Body.Close()
	if bad.StatusCode != http.StatusNotFound {
		t.Fatal(bad.StatusCode)
	}
}

func TestStockWallets(t *testing.T) {
	npm(t)
	d := sharedNetwork(t)
	for _, what := range []string{"exact", "batch", "stream", "openai"} {
		t.Run("x402 "+what, func(t *testing.T) {
			ok(t, script(t, "x402.mjs", d.paid(), d.Model.Name, d.EVMRPC, d.stranger(t), what))
		})
	}
	t.Run("mppx", func(t *testing.T) { ok(t, script(t, "mppx.mjs", d.paid(), d.Model.Name, d.stranger(t))) })
	t.Run("facilitator", func(t *testing.T) {
		ok(t, script(t, "x402-facilitator.mjs", strings.TrimSuffix(d.paid(), "/v1"), d.EVMRPC, d.stranger(t), "0x2222222222222222222222222222222222222222"))
	})
	t.Run("eip3009", func(t *testing.T) { ok(t, script(t, "eip3009.mjs", d.EVMRPC, d.stranger(t))) })
	t.Run("x402 Go client", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		bin := filepath.Join(t.TempDir(), "x402go")
		build := exec.CommandContext(ctx, tool(t, "go"), "build", "-o", bin, ".")
		build.Dir, build.Env = filepath.Join("..", "clients", "x402go"), append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := exec.CommandContext(ctx, bin, d.paid(), d.Model.Name, d.stranger(t)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		ok(t, string(out))
	})
}

func ok(t *testing.T, out string) {
	t.Helper()
	if strings.TrimSpace(out) != "ok" {
		t.Fatal(out)
	}
}
