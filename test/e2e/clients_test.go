package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

// packages of the npm registry: what the scripts under test/clients import, two
// programs, and a Node that all of them accept.
var packages = []string{
	"openai@7.59.0", "zod@4.6.7", "viem@2.57.20", "ethers@6.17.0", "@anthropic-ai/sdk@1.14.0", "ollama@0.6.4", "ai@7.0.173",
	"@x402/core@2.27.0", "@x402/evm@2.27.0", "@x402/fetch@2.27.0", "mppx@0.11.0", "@ai-sdk/openai-compatible@3.0.92", "@langchain/openai@1.6.0", "@langchain/core@1.4.0", "@anthropic-ai/claude-code@2.1.332", "@openai/codex@0.171.0",
}

// nodePackage is Node 22 for this machine: its executable, and nothing else.
func nodePackage() string {
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	return "node-" + runtime.GOOS + "-" + cmp.Or(arch, runtime.GOARCH)
}

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

var installed struct {
	once sync.Once
	err  error
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
	installed.once.Do(func() {
		if installed.err = os.MkdirAll(dir, 0o755); installed.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, tool(t, "npm"), append([]string{"install", "--prefix", dir, "--no-fund", "--no-audit", "--ignore-scripts", "--legacy-peer-deps", nodePackage() + "@22.23.3"}, packages...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			installed.err = fmt.Errorf("npm install: %w\n%s", err, out)
		}
	})
	if installed.err != nil {
		t.Fatal(installed.err)
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
	node := filepath.Join(dir, "node_modules", nodePackage(), "bin", "node")
	out, err := exec.CommandContext(ctx, node, append([]string{file}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// Clients as they come from npm: only the address differs. What they get back is
// looked at in the scripts; receipts that they name can be computed again.
func TestStockClients(t *testing.T) {
	d := sharedNetwork(t)
	for _, c := range []struct{ script, url string }{
		{"openai.mjs", d.API}, {"openai-responses.mjs", d.API}, {"anthropic.mjs", d.base()}, {"ollama.mjs", d.base()}, {"ai-sdk.mjs", d.API}, {"langchain.mjs", d.API},
	} {
		t.Run(strings.TrimSuffix(c.script, ".mjs"), func(t *testing.T) {
			word, rest, _ := strings.Cut(strings.TrimSpace(script(t, c.script, c.url, d.Model.Name)), " ")
			if word != "ok" {
				t.Fatal(word, rest)
			}
			if _, err := core.ParseHash(rest); err == nil {
				d.verifies(t, rest)
			}
		})
	}
}

// program runs a program of npm in an empty folder.
func program(t *testing.T, name string, env []string, args ...string) string {
	t.Helper()
	dir := npm(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	node := filepath.Join(dir, "node_modules", nodePackage(), "bin", "node")
	cmd := exec.CommandContext(ctx, node, append([]string{filepath.Join(dir, "node_modules", name)}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// Two programs that bring 10,000 tokens and more with every question: Codex on
// /v1/responses, Claude Code on /v1/messages. The built-in model's context is too
// short for them; the one that answers here says "ok" to everything.
func TestStockAgents(t *testing.T) {
	npm(t)
	d := sharedNetwork(t)
	home := t.TempDir()
	d.account(t, home, "provider", "1001koin")
	startRole(t, "provider", "start", "--home", home, "--node", d.CometRPC, "--model", parrot(t), "--moniker", "parrot")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		if status, _, b := d.post(t, "/chat/completions", `{"model":"parrot","messages":[{"role":"user","content":"x"}]}`); status == 200 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the second model does not answer: %s", b)
		}
	}
	said := func(t *testing.T, out string) {
		if lines := strings.Split(strings.TrimSpace(out), "\n"); lines[len(lines)-1] != "ok" {
			t.Errorf("not the model's answer:\n%s", out)
		}
	}
	t.Run("codex", func(t *testing.T) {
		b, err := os.ReadFile(filepath.Join("..", "clients", "codex.toml"))
		if err != nil {
			t.Fatal(err)
		}
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(strings.ReplaceAll(string(b), "http://127.0.0.1:8080/v1", d.API)), 0o600); err != nil {
			t.Fatal(err)
		}
		said(t, program(t, "@openai/codex/bin/codex.js", []string{"CODEX_HOME=" + home}, "exec", "--skip-git-repo-check", "What is a receipt?"))
	})
	t.Run("claude", func(t *testing.T) {
		said(t, program(t, "@anthropic-ai/claude-code/cli-wrapper.cjs", []string{"HOME=" + t.TempDir(), "ANTHROPIC_BASE_URL=" + d.base(), "ANTHROPIC_API_KEY=unused", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"},
			"--model", "parrot", "-p", "What is a receipt?"))
	})
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
