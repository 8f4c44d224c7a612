// Package exchange tests provider and consumer together: the real worker behind
// the real transport on loopback, with a small deterministic engine.
package exchange

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute"
	"github.com/koinon-network/koinon/infra/compute/computetest"
	"github.com/koinon-network/koinon/infra/p2p"
	"github.com/koinon-network/koinon/infra/voucher"
)

const chainID = 564666

// provider is a whole provider: host, worker and the doubles behind it.
type provider struct {
	core.Provider
	host   *p2p.Host
	worker *compute.Worker
	engine *computetest.Engine
	till   *computetest.Till
	notary *computetest.Notary
}

func newProvider(t testing.TB, name string, consumer core.Address, change func(*computetest.Engine, *compute.Config)) *provider {
	t.Helper()
	key, err := voucher.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	vrf := computetest.NewVRF()
	host, err := p2p.New(p2p.Config{Key: vrf.Key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{host: host, engine: computetest.NewEngine(), till: computetest.NewTill(consumer), notary: &computetest.Notary{Key: key}}
	cfg := compute.Config{
		ChainID: chainID, Engine: p.engine, Signer: key, VRF: vrf, Cashier: p.till, Notary: p.notary,
		Offer:      core.Offer{Model: p.engine.Model.ID, Tier: core.TierExact, PriceIn: core.NewAmount(3), PriceOut: core.NewAmount(10)},
		Registered: func(context.Context, core.Address) (bool, error) { return true, nil },
		PayTimeout: time.Second,
	}
	if change != nil {
		change(p.engine, &cfg)
	}
	if p.worker, err = compute.New(cfg); err != nil {
		t.Fatal(err)
	}
	host.Serve(p.worker)
	p.Provider = core.Provider{Address: key.Address(), Moniker: name, PeerID: host.PeerID(), Addrs: host.Addrs()}
	t.Cleanup(p.close)
	return p
}

func (p *provider) close() {
	p.worker.Close()
	p.host.Close()
}

// consumer asks, checks and pays.
type consumer struct {
	t    testing.TB
	key  *voucher.Key
	host *p2p.Host
}

func newConsumer(t testing.TB) *consumer {
	key, err := voucher.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	host, err := p2p.New(p2p.Config{Key: computetest.NewVRF().Key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	return &consumer{t, key, host}
}

func random() (h core.Hash) { rand.Read(h[:]); return h }

func (c *consumer) order(p *provider, input []core.Token, prompt, tokens uint32) core.SignedRequest {
	seed := uint64(11)
	return core.SignedRequest{Request: core.Request{
		ChainID: chainID, ID: random(), Model: p.engine.Model.ID, Semantics: core.SemanticsV1, Provider: p.Address, Channel: random(),
		Input: input, Prompt: prompt, Sampler: core.Sampler{MaxTokens: tokens}, UserSeed: &seed,
		PriceIn: core.NewAmount(3), PriceOut: core.NewAmount(10), Expiry: time.Now().Unix() + 60,
	}}
}

func (c *consumer) ask(p *provider, r core.SignedRequest) (core.Exchange, error) {
	nonce := random()
	r.NonceCommit = sha256.Sum256(nonce[:])
	var err error
	if r.Signature, err = c.key.Sign(r.Digest()); err != nil {
		c.t.Fatal(err)
	}
	return c.host.Client(computetest.VerifyVRF).Infer(c.t.Context(), p.Provider, r, nonce)
}

// answer is what came of an exchange.
type answer struct {
	tokens []core.Token
	last   *core.Progress
	done   *core.Done
	first  time.Duration
}

// follow receives to the end and pays every chunk; each sees them first.
func (c *consumer) follow(x core.Exchange, channel core.ChannelID, each func(a *answer)) (a answer, err error) {
	begin := time.Now()
	defer x.Close()
	for {
		ev, err := x.Recv(c.t.Context())
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		switch ev := ev.(type) {
		case *core.Chunk:
			if a.first == 0 {
				a.first = time.Since(begin)
			}
			a.tokens, a.last = append(a.tokens, ev.Tokens...), &ev.Progress
			if each != nil {
				each(&a)
			}
			x.Pay(core.Voucher{Channel: channel, Amount: ev.Due})
		case *core.Done:
			a.done = ev
			x.Pay(core.Voucher{Channel: channel, Amount: ev.Due})
		}
	}
}

func (c *consumer) whole(p *provider, r core.SignedRequest) (answer, error) {
	x, err := c.ask(p, r)
	if err != nil {
		return answer{}, err
	}
	return c.follow(x, r.Channel, nil)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

var prompt = []core.Token{1, 2, 3, 4}

func TestManyStreamsShareABatchAndPayExactly(t *testing.T) {
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, w *compute.Config) { e.StepTime = 2 * time.Millisecond })
	var g sync.WaitGroup
	for i := range 16 {
		g.Go(func() {
			r := c.order(p, prompt, 4, uint32(40+i))
			if i%2 == 0 {
				r.UserSeed = nil
			}
			a, err := c.whole(p, r)
			if err != nil || len(a.tokens) != 40+i {
				t.Errorf("%d tokens, %v", len(a.tokens), err)
				return
			}
			want := core.NewAmount(uint64(12 + 10*(40+i)))
			eventually(t, "the last voucher was lost", func() bool { return p.till.Paid(r.Channel).Cmp(want) == 0 })
			if p.till.Owed(r.Channel).Cmp(want) != 0 {
				t.Errorf("owes %v, want %v", p.till.Owed(r.Channel), want)
			}
		})
	}
	g.Wait()
	if most := slices.Max(p.engine.Batches()); most != 8 {
		t.Errorf("the largest batch had %d sequences of 8", most)
	}
	eventually(t, "tabs stay open", func() bool { return p.till.Tabs() == 0 })
	if len(p.notary.Sealed()) != 16 {
		t.Errorf("%d receipts", len(p.notary.Sealed()))
	}
}

func TestAnswerGoesOnWhereItBrokeOff(t *testing.T) {
	c := newConsumer(t)
	slow := func(e *computetest.Engine, _ *compute.Config) { e.StepTime = 2 * time.Millisecond }
	whole, err := c.whole2(newProvider(t, "Samos", c.key.Address(), nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, kill := range map[string]func(p *provider){
		"host gone":   func(p *provider) { p.host.Close() },
		"handed over": func(p *provider) { p.worker.Close() },
	} {
		first, second := newProvider(t, "Naxos", c.key.Address(), slow), newProvider(t, "Paros", c.key.Address(), nil)
		r := c.order(first, prompt, 4, 100)
		x, err := c.ask(first, r)
		if err != nil {
			t.Fatal(err)
		}
		once := sync.OnceFunc(func() { go kill(first) })
		part, err := c.follow(x, r.Channel, func(a *answer) {
			if len(a.tokens) > 30 {
				once()
			}
		})
		if core.CodeOf(err) != core.CodeProvider {
			t.Fatalf("%s: %v", name, err)
		}
		next := c.order(second, slices.Concat(prompt, part.tokens), 4, 100)
		next.Resume = part.last
		rest, err := c.whole(second, next)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(slices.Concat(part.tokens, rest.tokens), whole.tokens) {
			t.Errorf("%s: text was lost or repeated", name)
		}
		if sum := core.NewAmount(10 * uint64(len(part.tokens))).Add(rest.done.Due); sum.Cmp(whole.done.Due) != 0 {
			t.Errorf("%s: both cost %v, the whole answer %v", name, sum, whole.done.Due)
		}
	}
}

func (c *consumer) whole2(p *provider) (answer, error) { return c.whole(p, c.order(p, prompt, 4, 100)) }

func TestVanishedConsumerStopsGeneration(t *testing.T) {
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, _ *compute.Config) { e.StepTime = 2 * time.Millisecond })
	gone := newConsumer(t)
	gone.key = c.key
	r := gone.order(p, prompt, 4, 4000)
	x, err := gone.ask(p, r)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	gone.follow(x, r.Channel, func(a *answer) {
		if seen = len(a.tokens); seen > 20 {
			gone.host.Close()
		}
	})
	eventually(t, "generation goes on for nobody", func() bool { st := p.worker.Stats(); return st.Running == 0 && p.engine.Open() == 0 })
	owed := p.till.Owed(r.Channel)
	if owed.Cmp(core.NewAmount(10*uint64(seen))) < 0 || owed.Cmp(core.NewAmount(10*uint64(seen+64))) > 0 {
		t.Errorf("owes %v after %d tokens arrived", owed, seen)
	}
	if len(p.notary.Sealed()) != 0 {
		t.Error("a receipt for an answer that nobody ended")
	}
}

func TestCancelAcrossTheWire(t *testing.T) {
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, _ *compute.Config) { e.StepTime = 5 * time.Millisecond })
	r := c.order(p, prompt, 4, 4000)
	x, err := c.ask(p, r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.follow(x, r.Channel, func(a *answer) {
		if len(a.tokens) > 5 {
			x.Cancel()
		}
	})
	if err != nil || a.done == nil || a.done.Finish != core.FinishCancelled {
		t.Fatal(a.done, err)
	}
	if want := core.NewAmount(uint64(12 + 10*len(a.tokens))); a.done.Due.Cmp(want) != 0 || p.till.Owed(r.Channel).Cmp(want) != 0 {
		t.Errorf("due %v for %d tokens", a.done.Due, len(a.tokens))
	}
	// Cancelled before the first token: free, and no receipt.
	p.engine.StepTime = 100 * time.Millisecond
	r = c.order(p, prompt, 4, 4000)
	if x, err = c.ask(p, r); err != nil {
		t.Fatal(err)
	}
	x.Cancel()
	if a, err = c.follow(x, r.Channel, nil); err != nil || a.done != nil || !p.till.Owed(r.Channel).IsZero() {
		t.Fatal(a.done, err, p.till.Owed(r.Channel))
	}
}

func TestBusyProviderSaysWhenToReturn(t *testing.T) {
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, w *compute.Config) {
		e.StepTime, w.Slots, w.Queue = 5*time.Millisecond, 1, 1
	})
	for range 2 {
		if _, err := c.ask(p, c.order(p, prompt, 4, 4000)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.ask(p, c.order(p, prompt, 4, 10))
	var e *core.Error
	if !errors.As(err, &e) || e.Code != core.CodeBusy || e.RetryAfter < time.Second {
		t.Fatal(err)
	}
}

func TestUnpayingConsumerIsCutAcrossTheWire(t *testing.T) {
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(_ *computetest.Engine, w *compute.Config) { w.PayTimeout = 200 * time.Millisecond })
	x, err := c.ask(p, c.order(p, prompt, 4, 4000))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		ev, err := x.Recv(t.Context())
		if err != nil {
			var e *core.Error
			if !errors.As(err, &e) || e.Code != core.CodeUnpaid || e.Charge.Cmp(core.NewAmount(10*uint64(n))) != 0 {
				t.Fatal(err)
			}
			break
		}
		if ch, ok := ev.(*core.Chunk); ok {
			n += len(ch.Tokens)
		}
	}
	if n > 200 {
		t.Errorf("%d tokens for nothing", n)
	}
}

func TestShutdownLeavesNothingRunning(t *testing.T) {
	time.Sleep(50 * time.Millisecond)
	before := runtime.NumGoroutine()
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, _ *compute.Config) { e.StepTime = 2 * time.Millisecond })
	for range 12 {
		if _, err := c.ask(p, c.order(p, prompt, 4, 4000)); err != nil {
			t.Fatal(err)
		}
	}
	p.close()
	c.host.Close()
	if p.engine.Open() != 0 || p.till.Tabs() != 0 {
		t.Errorf("%d sequences, %d tabs", p.engine.Open(), p.till.Tabs())
	}
	eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= before+2 })
}

func TestLogprobsAndEmbeddingsAcrossTheWire(t *testing.T) {
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), nil)
	r := c.order(p, prompt, 4, 200)
	r.Sampler.Logprobs = 21
	a, err := c.whole(p, r)
	if err != nil || len(a.tokens) != 200 || a.done.Receipt.Logprobs.IsZero() {
		t.Fatal(len(a.tokens), err)
	}
	var g sync.WaitGroup
	for i := range 20 {
		g.Go(func() {
			r := c.order(p, []core.Token{core.Token(i), 7}, 2, 0)
			r.Pooling = core.PoolLast
			a, err := c.whole(p, r)
			if err != nil {
				t.Error(err)
				return
			}
			want, _ := p.engine.Embed(t.Context(), [][]core.Token{r.Input}, r.Pooling)
			if got, err := core.DecodeVector(a.done.Embedding); err != nil || !slices.Equal(got, want[0]) {
				t.Error(got, err)
			}
			eventually(t, "the embedding was not paid", func() bool { return p.till.Paid(r.Channel).Cmp(core.NewAmount(6)) == 0 })
		})
	}
	g.Wait()
}

// BenchmarkExchange is what the transport, the worker and all signatures add to
// one answer of 64 tokens by an engine that costs nothing.
func BenchmarkExchange(b *testing.B) {
	c := newConsumer(b)
	p := newProvider(b, "Delos", c.key.Address(), nil)
	var first time.Duration
	b.ResetTimer()
	for range b.N {
		a, err := c.whole(p, c.order(p, prompt, 4, 64))
		if err != nil {
			b.Fatal(err)
		}
		first += a.first
	}
	b.ReportMetric(float64(first.Microseconds())/float64(b.N), "µs/first-token")
}

// A provider that breaks an answer off because it does not like the draws gets
// nothing for the prompt, and nothing at all before the first token; its request
// leaves no receipt, and the next provider draws from another seed.
func TestCheatSelectiveAbort(t *testing.T) {
	c := newConsumer(t)
	slow := func(e *computetest.Engine, _ *compute.Config) { e.StepTime = 2 * time.Millisecond }
	for _, tokens := range []int{0, 25} {
		p, next := newProvider(t, "Naxos", c.key.Address(), slow), newProvider(t, "Paros", c.key.Address(), nil)
		r := c.order(p, prompt, 4, 100)
		x, err := c.ask(p, r)
		if err != nil {
			t.Fatal(err)
		}
		abort := sync.OnceFunc(func() { go p.host.Close() })
		if tokens == 0 {
			p.host.Close()
		}
		part, err := c.follow(x, r.Channel, func(a *answer) {
			if len(a.tokens) >= tokens {
				abort()
			}
		})
		if core.CodeOf(err) != core.CodeProvider {
			t.Fatalf("after %d tokens: %v", tokens, err)
		}
		if tokens == 0 && len(part.tokens) > 0 || part.done != nil {
			t.Errorf("the answer is %+v", part)
		}
		if n := len(p.notary.Sealed()); n != 0 {
			t.Errorf("%d receipts of an answer that was broken off", n)
		}
		again := c.order(next, slices.Concat(prompt, part.tokens), 4, 100)
		again.Resume = part.last
		rest, err := c.whole(next, again)
		if err != nil {
			t.Fatal(err)
		}
		// The one that finished has the prompt, too.
		if due := core.NewAmount(10 * uint64(100-len(part.tokens))).Add(core.NewAmount(uint64(len(prompt)))); rest.done.Due.Cmp(due) < 0 {
			t.Errorf("the provider that finished gets %v, want at least %v", rest.done.Due, due)
		}
		if again.ID == r.ID {
			t.Error("the next provider is asked with the same id")
		}
	}
}
