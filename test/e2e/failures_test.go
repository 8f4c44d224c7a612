package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

// role is a koinon process that prints one JSON line when it is ready.
type role struct {
	cmd   *exec.Cmd
	ready map[string]any
}

// startRole runs `koinon ARGS --output json` until the test ends.
func startRole(t *testing.T, args ...string) *role {
	t.Helper()
	r := &role{cmd: exec.Command(koinon(t), append(args, "--output", "json")...)}
	r.cmd.Env = append(os.Environ(), "KOINON_PASSPHRASE=correct horse")
	var errs strings.Builder
	r.cmd.Stderr = &errs
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &r.ready) != nil || r.ready["ready"] != true {
		t.Fatalf("%v: %v\n%s%s", args, err, line, errs.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return r
}

// account makes a key in home and sends it koin from the devnet's faucet.
func (d *devnet) account(t *testing.T, home, name, koin string) string {
	t.Helper()
	t.Setenv("KOINON_PASSPHRASE", "correct horse")
	var a struct{ Address string }
	if err := json.Unmarshal([]byte(must(t, "wallet", "create", name, "--home", home, "--output", "json")), &a); err != nil {
		t.Fatal(err)
	}
	os.Unsetenv("KOINON_PASSPHRASE")
	must(t, "wallet", "send", a.Address, koin, "--from", "faucet", "--home", d.Home)
	return a.Address
}

// streamed reads a stream, calling first after the first text.
func streamed(t *testing.T, url, body string, first func()) (text string, last completion, done bool) {
	t.Helper()
	resp, err := http.Post(url+"/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			return text, last, true
		}
		var ev struct {
			completion
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &ev); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		last = ev.completion
		if len(ev.Choices) > 0 && ev.Choices[0].Delta.Content != "" {
			text += ev.Choices[0].Delta.Content
			if first != nil {
				first()
				first = nil
			}
		}
	}
	return text, last, false
}

// A provider that is killed in mid-stream is replaced: the text is the one that
// an undisturbed answer has, and every token is paid once.
func TestProviderKilled(t *testing.T) {
	d := sharedNetwork(t)
	home := t.TempDir()
	d.account(t, home, "provider", "1001koin")
	begin := func() *role {
		// The cheapest offer gets the work.
		return startRole(t, "provider", "start", "--home", home, "--node", d.CometRPC, "--price-in", "0.1koin", "--price-out", "0.2koin", "--moniker", "frail")
	}
	p := begin()
	question := d.question("What is a receipt?", `,"temperature":1,"seed":11,"ignore_eos":true,"max_tokens":400,"stream":true`)
	want, whole, done := streamed(t, d.API, question, nil)
	for end := time.Now().Add(30 * time.Second); done && whole.Koinon.Moniker != "frail" && time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		_, whole, done = streamed(t, d.API, question, nil)
	}
	if !done || whole.Koinon.Moniker != "frail" || whole.Koinon.Tried != 1 {
		t.Fatalf("the cheap provider does not get the work: %+v", whole)
	}
	cheap, dear := whole.Koinon, core.Amount{}
	for attempt := range 10 {
		text, last, done := streamed(t, d.API, question, func() { _ = p.cmd.Process.Kill() })
		_ = p.cmd.Wait()
		if !done || text != want {
			t.Fatalf("the answer is not the undisturbed one (done %v, %d providers):\n%q\n%q", done, last.Koinon.Tried, text, want)
		}
		if last.Usage != whole.Usage {
			t.Errorf("usage %+v, undisturbed %+v", last.Usage, whole.Usage)
		}
		if last.Koinon.Tried == 1 {
			t.Logf("attempt %d: the answer was complete before the kill", attempt)
			p = begin()
			continue
		}
		dear = last.Koinon.PriceOut
		// The prompt is paid to the one that finished, output to whoever delivered it.
		prompt := last.Koinon.PriceIn.Mul(last.Usage.Prompt)
		least, most := prompt.Add(cheap.PriceOut.Mul(last.Usage.Completion).Less(cheap.PriceOut.Mul(64))), prompt.Add(dear.Mul(last.Usage.Completion))
		if c := last.Koinon.Cost; c.Cmp(least) < 0 || c.Cmp(most) > 0 {
			t.Errorf("cost %s is outside %s to %s", c, least, most)
		}
		t.Logf("continued on %s: %d tokens for %s", last.Koinon.Moniker, last.Usage.Completion, last.Koinon.Cost.Format())
		file := filepath.Join(t.TempDir(), "receipt.json")
		var ev json.RawMessage
		d.get(t, d.API+"/receipts/"+last.Koinon.Receipt.String(), &ev)
		if err := os.WriteFile(file, ev, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := must(t, "verify", file); !strings.Contains(out, "matches") {
			t.Error(out)
		}
		return
	}
	t.Error("the provider was never caught in mid-stream")
}

// A devnet that is killed continues where it was: receipts, channels and
// balances are there, and questions are answered.
func TestDevnetKilledAndContinued(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	d, err := launch(t, home)
	if err != nil {
		t.Fatal(err)
	}
	supply := d.supply(t)
	var receipts []string
	for round := range 3 {
		for range 3 {
			c, _ := d.ask(t, "What is a voucher?", "")
			receipts = append(receipts, c.Koinon.Receipt.String())
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { // questions in flight at the moment of the kill
			for ctx.Err() == nil {
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, d.API+"/chat/completions", strings.NewReader(d.question("What is a channel?", "")))
				req.Header.Set("Content-Type", "application/json")
				if resp, err := http.DefaultClient.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		}()
		time.Sleep(time.Duration(200+300*round) * time.Millisecond)
		d.kill()
		cancel()
		if d, err = launch(t, home); err != nil {
			t.Fatalf("after kill %d: %v", round+1, err)
		}
		t.Logf("ready again after %s", d.took.Round(time.Millisecond))
		for _, r := range receipts {
			var ev json.RawMessage
			d.get(t, d.API+"/receipts/"+r, &ev)
		}
	}
	c, _ := d.ask(t, "What is a voucher?", "")
	if c.Choices[0].Message.Content == "" {
		t.Error("no answer")
	}
	if s := d.supply(t); s.Cmp(supply.Add(core.Koin(1000))) > 0 {
		t.Errorf("the supply grew from %s to %s", supply.Format(), s.Format())
	}
	d.stop(t)
	// --reset starts anew.
	d, err = launch(t, home, "--reset")
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.Get(d.API + "/receipts/" + receipts[0]); err != nil || resp.StatusCode != 404 {
		t.Errorf("an old receipt is still there: %v %v", resp.Status, err)
	}
	d.stop(t)
}

func (d *devnet) supply(t *testing.T) core.Amount {
	t.Helper()
	var h struct {
		Chain struct{ Supply core.Amount }
	}
	d.get(t, d.base()+"/healthz", &h)
	return h.Chain.Supply
}

// A gateway whose money is spent says so and how to go on; with money it works
// again.
func TestEscrowSpent(t *testing.T) {
	d := sharedNetwork(t)
	home := t.TempDir()
	address := d.account(t, home, "gateway", "1.1koin")
	g := startRole(t, "gateway", "start", "--home", home, "--node", d.CometRPC, "--listen", "127.0.0.1:0", "--deposit", "0.0002koin")
	url := g.ready["api"].(string)
	ask := func(extra string) (int, string) {
		resp, err := http.Post(url+"/chat/completions", "application/json", strings.NewReader(d.question("What is koin?", extra)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	// Provider and gateway share no disk: the tokenizer came over the network.
	if status, body := ask(`,"max_tokens":20`); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	// Everything but a little leaves the wallet.
	t.Setenv("KOINON_PASSPHRASE", "correct horse")
	must(t, "wallet", "send", d.Accounts["faucet"], "1.08koin", "--from", "gateway", "--home", home, "--node", d.CometRPC)
	os.Unsetenv("KOINON_PASSPHRASE")
	status, body := 200, ""
	for i := 0; status == 200 && i < 100; i++ {
		status, body = ask(`,"max_tokens":100,"ignore_eos":true`)
	}
	if status != 402 || !strings.Contains(body, "insufficient_quota") || !strings.Contains(strings.ToLower(body), address[:10]) {
		t.Fatalf("%d %s", status, body)
	}
	t.Log(body)
	must(t, "wallet", "send", address, "1koin", "--from", "faucet", "--home", d.Home)
	for end := time.Now().Add(15 * time.Second); status != 200 && time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		status, body = ask(`,"max_tokens":20`)
	}
	if status != 200 {
		t.Errorf("after the top-up: %d %s", status, body)
	}
}

// A client that goes away stops the work and is charged for what was delivered.
func TestClientGone(t *testing.T) {
	d := sharedNetwork(t)
	for range 5 {
		if tokens, cut := leave(t, d); cut {
			if tokens < 1 || tokens >= 480 {
				t.Errorf("charged for %v of 480 tokens", tokens)
			}
			return
		}
		t.Log("the answer was complete before the client could leave")
	}
	t.Error("no answer was cut short")
}

// leave asks for 480 tokens and goes away after the first ones. It returns how
// many were charged and whether the answer was cut.
func leave(t *testing.T, d *devnet) (tokens float64, cut bool) {
	t.Helper()
	before := metrics(t, d)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.API+"/chat/completions", strings.NewReader(d.question("What is a receipt?", `,"stream":true,"ignore_eos":true,"max_tokens":480,"temperature":1`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadFull(resp.Body, make([]byte, 64))
	cancel()
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		after := metrics(t, d)
		gone := after["koinon_gateway_cancelled_total"] - before["koinon_gateway_cancelled_total"]
		whole := after["koinon_gateway_answers_total"] - before["koinon_gateway_answers_total"]
		if gone+whole > 0 {
			return after["koinon_gateway_output_tokens_total"] - before["koinon_gateway_output_tokens_total"], gone == 1
		}
	}
	t.Fatal("the request does not end")
	return 0, false
}

// More questions than all providers have room for: the rest are told when to
// come again, and those that got in are answered whole.
func TestBackPressure(t *testing.T) {
	d := sharedNetwork(t)
	const n = 200 // 3 providers take 8 at a time and queue 32
	type answer struct {
		status int
		retry  string
		body   []byte
	}
	answers := make([]answer, n)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			resp, err := client.Post(d.API+"/chat/completions", "application/json", strings.NewReader(d.question(fmt.Sprintf("%d, what is a bond?", i), `,"ignore_eos":true,"max_tokens":60`)))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Error(err)
			}
			answers[i] = answer{resp.StatusCode, resp.Header.Get("Retry-After"), b}
		})
	}
	wg.Wait()
	var served, busy int
	for _, a := range answers {
		switch {
		case a.status == 200:
			served++
			var c completion
			if err := json.Unmarshal(a.body, &c); err != nil || c.Usage.Completion != 60 {
				t.Errorf("an answer is not whole: %s", a.body)
			}
		case a.status == 429 && a.retry != "":
			busy++
		default:
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	t.Logf("%d served, %d asked to come again", served, busy)
	if served < 100 || busy == 0 {
		t.Errorf("%d served, %d busy of %d", served, busy, n)
	}
}

func metrics(t testing.TB, d *devnet) map[string]float64 {
	t.Helper()
	resp, err := http.Get(d.base() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		var name string
		var v float64
		if n, _ := fmt.Sscanf(sc.Text(), "%s %g", &name, &v); n == 2 {
			out[name] = v
		}
	}
	return out
}

func TestClearErrors(t *testing.T) {
	d := sharedNetwork(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no model"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{"second devnet", []string{"devnet", "--home", d.Home}, []string{"already runs", "--home"}},
		{"busy port", []string{"devnet", "--home", t.TempDir(), "--listen", l.Addr().String()}, []string{"cannot listen", "--listen"}},
		{"unwritable folder", []string{"devnet", "--home", filepath.Join(file, "x")}, []string{"cannot be used", "--home"}},
		{"no model", []string{"devnet", "--home", t.TempDir(), "--listen", "127.0.0.1:0", "--model", file}, []string{"cannot be used", "model inspect"}},
		{"validators", []string{"devnet", "--home", t.TempDir(), "--listen", "127.0.0.1:0", "--validators", "99"}, []string{"1 to 16"}},
		{"providers", []string{"devnet", "--home", t.TempDir(), "--listen", "127.0.0.1:0", "--providers", "-1"}, []string{"1 to 16"}},
	} {
		out, errs, code := run(t, c.args...)
		if code == 0 || slices.ContainsFunc(c.says, func(s string) bool { return !strings.Contains(errs, s) }) {
			t.Errorf("%s: exit %d: %s%s", c.name, code, out, errs)
		}
		if strings.Contains(errs, "goroutine") {
			t.Errorf("%s: %s", c.name, errs)
		}
	}
}
