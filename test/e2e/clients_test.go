package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// packages of the npm registry that the scripts under test/clients import.
var packages = []string{"openai@7.57.0", "zod@4.6.7", "viem@2.57.20", "ethers@6.17.0"}

// tool finds a program of an optional test. In CI it must be there.
func tool(t testing.TB, names ...string) string {
	t.Helper()
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", names[0])
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// npm installs the stock clients into a folder that is kept between runs.
func npm(t testing.TB) string {
	t.Helper()
	tool(t, "node")
	if os.Getenv("KOINON_TEST_CLIENTS") == "" {
		t.Skip("set KOINON_TEST_CLIENTS=1 to install and run the stock npm clients")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "koinon-test-clients")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, "npm"), append([]string{"install", "--prefix", dir, "--no-fund", "--no-audit", "--ignore-scripts"}, packages...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install: %v\n%s", err, out)
	}
	return dir
}

// script runs a client script against the devnet.
func script(t testing.TB, name string, args ...string) string {
	t.Helper()
	dir := npm(t)
	b, err := os.ReadFile(filepath.Join("..", "clients", name))
	if err != nil {
		t.Fatal(err)
	}
	// Node resolves packages from where the script lies.
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", append([]string{file}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestOpenAINode(t *testing.T) {
	d := sharedNetwork(t)
	if out := script(t, "openai.mjs", d.API, d.Model.Name); !strings.Contains(out, "ok") {
		t.Error(out)
	}
}

// Schemas, tools, log-probabilities, choices and embeddings through the stock
// client; the receipts that it names can be computed again.
func TestOpenAINodeStructured(t *testing.T) {
	d := sharedNetwork(t)
	out := strings.TrimSpace(script(t, "openai-structured.mjs", d.API, d.Model.Name))
	words := strings.Fields(out)
	if words[0] != "ok" || len(words) < 6 {
		t.Fatal(out)
	}
	for _, id := range words[len(words)-2:] {
		d.verifies(t, id)
	}
}

func TestCurl(t *testing.T) {
	d := sharedNetwork(t)
	curl := tool(t, "curl")
	out, err := exec.Command(curl, "-sN", d.API+"/chat/completions", "-H", "content-type: application/json", "-d", d.question("What is a receipt?", `,"stream":true`)).Output()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "data: [DONE]") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The EVM side answers a stock viem client: chain id, balance, transfer.
func TestViem(t *testing.T) {
	npm(t)
	d := sharedNetwork(t)
	// A key that everybody knows, with money of this devnet only.
	const key = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
	home := t.TempDir()
	cmd := exec.Command(koinon(t), "wallet", "import", "viem", "--home", home, "--output", "json")
	cmd.Env = append(os.Environ(), "KOINON_PASSPHRASE=correct horse")
	cmd.Stdin = strings.NewReader(key + "\n")
	out, err := cmd.Output()
	var a struct{ Address string }
	if err != nil || json.Unmarshal(out, &a) != nil {
		t.Fatalf("%v %s", err, out)
	}
	must(t, "wallet", "fund", a.Address, "20koin", "--home", d.Home)
	t.Log(script(t, "viem.mjs", d.EVMRPC, "0x"+key))
}
