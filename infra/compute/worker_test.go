package compute

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute/computetest"
	"github.com/koinon-network/koinon/infra/voucher"
)

const testChain = 564666

// bench is a worker with its doubles and one consumer.
type bench struct {
	t        testing.TB
	w        *Worker
	engine   *computetest.Engine
	till     *computetest.Till
	notary   *computetest.Notary
	key      *voucher.Key // the provider's
	consumer *voucher.Key
	strange  map[core.Address]bool // registered providers besides
	vrf      computetest.VRF
	requests atomic.Uint64
}

func key(t testing.TB) *voucher.Key {
	t.Helper()
	k, err := voucher.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newBench opens a worker; change may adjust engine and configuration first.
func newBench(t testing.TB, change func(*computetest.Engine, *Config)) *bench {
	b := &bench{t: t, engine: computetest.NewEngine(), key: key(t), consumer: key(t), strange: map[core.Address]bool{}, vrf: computetest.NewVRF()}
	b.till = computetest.NewTill(b.consumer.Address())
	b.notary = &computetest.Notary{Key: b.key}
	cfg := Config{
		ChainID: testChain, Engine: b.engine, Signer: b.key, VRF: b.vrf, Cashier: b.till, Notary: b.notary,
		Offer:      core.Offer{Model: b.engine.Model.ID, Tier: core.TierExact, PriceIn: core.NewAmount(3), PriceOut: core.NewAmount(10), Slots: 8},
		Registered: func(_ context.Context, a core.Address) (bool, error) { return b.strange[a], nil },
		PayTimeout: 3 * time.Second,
	}
	if change != nil {
		change(b.engine, &cfg)
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.w = w
	t.Cleanup(func() {
		w.Close()
		if n := b.engine.Open(); n != 0 {
			t.Errorf("%d sequences were never released", n)
		}
		if n := b.till.Tabs(); n != 0 {
			t.Errorf("%d tabs were never closed", n)
		}
	})
	return b
}

var testNonce = core.Hash{9, 9, 9}

// request is a good request for n tokens on its own channel.
func (b *bench) request(n uint32) core.SignedRequest {
	i := b.requests.Add(1)
	id := sha256.Sum256(binary.BigEndian.AppendUint64(nil, i))
	return core.SignedRequest{Request: core.Request{
		ChainID: testChain, ID: id, Model: b.engine.Model.ID, Semantics: core.SemanticsV1, Provider: b.key.Address(),
		Channel: core.ChannelID(id), Input: []core.Token{1, 2, 3, 4, 5}, Prompt: 5, Sampler: core.Sampler{MaxTokens: n},
		NonceCommit: sha256.Sum256(testNonce[:]), PriceIn: core.NewAmount(3), PriceOut: core.NewAmount(10),
		Expiry: time.Now().Unix() + 60,
	}}
}

func (b *bench) sign(r core.SignedRequest) core.SignedRequest {
	sig, err := b.consumer.Sign(r.Digest())
	if err != nil {
		b.t.Fatal(err)
	}
	r.Signature = sig
	return r
}

// line is a Stream in memory with a consumer that pays for every chunk.
type line struct {
	nonce    core.Hash
	vouchers chan core.Voucher
	cancel   chan struct{}
	channel  core.ChannelID
	unpaying bool
	onChunk  func(n int, c core.Chunk) error // n chunks so far, this one included

	mu       sync.Mutex
	accepted bool
	tokens   []core.Token
	chunks   []core.Chunk
	done     *core.Done
}

func newLine(c core.ChannelID) *line {
	return &line{nonce: testNonce, vouchers: make(chan core.Voucher, 1000), cancel: make(chan struct{}), channel: c}
}

func (l *line) Accept(context.Context, core.Accepted) (core.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = true
	return l.nonce, nil
}

func (l *line) Send(ctx context.Context, c core.Chunk) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	l.mu.Lock()
	l.tokens = append(l.tokens, c.Tokens...)
	l.chunks = append(l.chunks, c)
	n := len(l.chunks)
	l.mu.Unlock()
	if l.onChunk != nil {
		if err := l.onChunk(n, c); err != nil {
			return err
		}
	}
	if !l.unpaying {
		l.vouchers <- core.Voucher{Channel: l.channel, Amount: c.Due}
	}
	return nil
}

func (l *line) Finish(_ context.Context, d core.Done) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = &d
	if !l.unpaying {
		l.vouchers <- core.Voucher{Channel: l.channel, Amount: d.Due}
	}
	close(l.vouchers)
	return nil
}

func (l *line) Vouchers() <-chan core.Voucher { return l.vouchers }
func (l *line) Cancelled() <-chan struct{}    { return l.cancel }

// eventually waits until the worker's state satisfies ok.
func (b *bench) eventually(ok func(Stats) bool) {
	b.t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(b.w.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("the worker never got there: %+v", b.w.Stats())
		}
	}
}

func wantCode(t *testing.T, err error, code core.Code) *core.Error {
	t.Helper()
	var e *core.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want an error of code %s", err, code)
	}
	return e
}

func TestAnswerIsDeliveredSealedAndPaid(t *testing.T) {
	b := newBench(t, nil)
	r := b.sign(b.request(40))
	l := newLine(r.Channel)
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil {
		t.Fatal(err)
	}
	if len(l.tokens) != 40 || l.done == nil || l.done.Finish != core.FinishLength {
		t.Fatalf("%d tokens, done %+v", len(l.tokens), l.done)
	}
	due := core.NewAmount(3*5 + 10*40)
	if l.done.Due.Cmp(due) != 0 || b.till.Owed(r.Channel).Cmp(due) != 0 || b.till.Paid(r.Channel).Cmp(due) != 0 {
		t.Fatalf("due %v, owed %v, paid %v, want %v", l.done.Due, b.till.Owed(r.Channel), b.till.Paid(r.Channel), due)
	}
	last := l.chunks[len(l.chunks)-1].Progress
	if last.Count != 40 || last.Tokens != core.TokenChain(core.Hash{}, l.tokens) {
		t.Fatal("the last progress does not cover the answer")
	}
	if len(l.chunks[0].Tokens) == 40 {
		t.Fatal("the first token waited for the last")
	}
	sealed := b.notary.Sealed()
	if len(sealed) != 1 || sealed[0].Receipt.Digest() != l.done.Receipt.Digest() {
		t.Fatal("the receipt that was handed out is not the one on disk")
	}
	c := l.done.Receipt
	if c.OutputHash != core.HashTokens(l.tokens) || c.Output != 40 || c.Billed != 5 || len(l.done.Boundaries) != (5+40-1)*3 {
		t.Fatalf("receipt %+v with %d leaves", c, len(l.done.Boundaries))
	}
	if st := b.w.Stats(); st.Served != 1 || st.Tokens != 40 {
		t.Fatalf("stats %+v", st)
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t, func(_ *computetest.Engine, c *Config) {
		c.Admit = func(s core.Sampler) error {
			if s.Constraint != nil && s.Constraint.Grammar == "bad" {
				return invalid("grammar", "it has no rule root")
			}
			return nil
		}
	})
	for _, c := range []struct {
		name  string
		code  core.Code
		param string
		spoil func(r *core.SignedRequest)
	}{
		{"other chain", core.CodeInvalid, "chain_id", func(r *core.SignedRequest) { r.ChainID++ }},
		{"other provider", core.CodeInvalid, "provider", func(r *core.SignedRequest) { r.Provider[0]++ }},
		{"other model", core.CodeUnknownModel, "", func(r *core.SignedRequest) { r.Model[0]++ }},
		{"other semantics", core.CodeInvalid, "semantics", func(r *core.SignedRequest) { r.Semantics++ }},
		{"expired", core.CodeInvalid, "expiry", func(r *core.SignedRequest) { r.Expiry = time.Now().Unix() }},
		{"never expires", core.CodeInvalid, "expiry", func(r *core.SignedRequest) { r.Expiry = 1 << 62 }},
		{"cheap input", core.CodeInvalid, "price_in", func(r *core.SignedRequest) { r.PriceIn = core.NewAmount(2) }},
		{"cheap output", core.CodeInvalid, "price_out", func(r *core.SignedRequest) { r.PriceOut = core.Amount{} }},
		{"absurd price", core.CodeInvalid, "price_out", func(r *core.SignedRequest) {
			r.PriceOut, _ = core.ParseAmount("115792089237316195423570985008687907853269984665640564039457584007913129639935")
		}},
		{"no input", core.CodeInvalid, "prompt", func(r *core.SignedRequest) { r.Input, r.Prompt = nil, 0 }},
		{"prompt beyond input", core.CodeInvalid, "prompt", func(r *core.SignedRequest) { r.Prompt = 1 << 31 }},
		{"context", core.CodeContextLength, "input", func(r *core.SignedRequest) { r.Input = make([]core.Token, 4096); r.Prompt = 4096 }},
		{"negative token", core.CodeInvalid, "input", func(r *core.SignedRequest) { r.Input = []core.Token{1, -1, 1, 1, 1} }},
		{"unknown token", core.CodeInvalid, "input", func(r *core.SignedRequest) { r.Input = []core.Token{1, 1000, 1, 1, 1} }},
		{"no tokens ordered", core.CodeInvalid, "max_tokens", func(r *core.SignedRequest) { r.Sampler.MaxTokens = 0 }},
		{"hot", core.CodeInvalid, "temperature", func(r *core.SignedRequest) { r.Sampler.Temperature = 2_000_001 }},
		{"top_p", core.CodeInvalid, "top_p", func(r *core.SignedRequest) { r.Sampler.TopP = 1_000_001 }},
		{"min_p", core.CodeInvalid, "min_p", func(r *core.SignedRequest) { r.Sampler.MinP = 1_000_001 }},
		{"stops", core.CodeInvalid, "stop", func(r *core.SignedRequest) { r.Sampler.Stop = make([]string, 17) }},
		{"empty stop", core.CodeInvalid, "stop", func(r *core.SignedRequest) { r.Sampler.Stop = []string{""} }},
		{"weak repetition penalty", core.CodeInvalid, "repetition_penalty", func(r *core.SignedRequest) { r.Sampler.RepetitionPenalty = 999_999 }},
		{"repetition penalty", core.CodeInvalid, "repetition_penalty", func(r *core.SignedRequest) { r.Sampler.RepetitionPenalty = 2_000_001 }},
		{"frequency penalty", core.CodeInvalid, "frequency_penalty", func(r *core.SignedRequest) { r.Sampler.FrequencyPenalty = -2_000_001 }},
		{"presence penalty", core.CodeInvalid, "presence_penalty", func(r *core.SignedRequest) { r.Sampler.PresencePenalty = 2_000_001 }},
		{"log-probabilities", core.CodeInvalid, "top_logprobs", func(r *core.SignedRequest) { r.Sampler.Logprobs = 22 }},
		{"too many biases", core.CodeInvalid, "logit_bias", func(r *core.SignedRequest) { r.Sampler.Bias = make([]core.TokenBias, 1025) }},
		{"unordered biases", core.CodeInvalid, "logit_bias", func(r *core.SignedRequest) { r.Sampler.Bias = []core.TokenBias{{Token: 2}, {Token: 2}} }},
		{"bias of nothing", core.CodeInvalid, "logit_bias", func(r *core.SignedRequest) { r.Sampler.Bias = []core.TokenBias{{Token: 1000}} }},
		{"strong bias", core.CodeInvalid, "logit_bias", func(r *core.SignedRequest) { r.Sampler.Bias = []core.TokenBias{{Token: 2, Bias: -100_000_001}} }},
		{"no grammar", core.CodeInvalid, "response_format", func(r *core.SignedRequest) { r.Sampler.Constraint = &core.Constraint{} }},
		{"huge grammar", core.CodeInvalid, "response_format", func(r *core.SignedRequest) {
			r.Sampler.Constraint = &core.Constraint{Grammar: strings.Repeat("x", 256<<10+1)}
		}},
		{"long trigger", core.CodeInvalid, "response_format", func(r *core.SignedRequest) {
			r.Sampler.Constraint = &core.Constraint{Grammar: "x", Trigger: strings.Repeat("x", 257)}
		}},
		{"grammar that cannot be compiled", core.CodeInvalid, "grammar", func(r *core.SignedRequest) {
			r.Sampler.Constraint = &core.Constraint{Grammar: "bad"}
		}},
		{"unknown pooling", core.CodeInvalid, "pooling", func(r *core.SignedRequest) { r.Pooling, r.Sampler = "max", core.Sampler{} }},
		{"embedding with a sampler", core.CodeInvalid, "sampler", func(r *core.SignedRequest) { r.Pooling = core.PoolMean }},
		{"half an embedding", core.CodeInvalid, "prompt", func(r *core.SignedRequest) {
			r.Pooling, r.Sampler, r.Prompt = core.PoolMean, core.Sampler{}, 3
		}},
		{"smuggled answer", core.CodeInvalid, "resume", func(r *core.SignedRequest) { r.Prompt = 3 }},
	} {
		r := b.request(10)
		c.spoil(&r)
		l := newLine(r.Channel)
		e := wantCode(t, b.w.Infer(t.Context(), "peer", b.sign(r), l), c.code)
		if e.Param != c.param || l.accepted {
			t.Errorf("%s: param %q, accepted %v", c.name, e.Param, l.accepted)
		}
	}
	r := b.request(10)
	wantCode(t, b.w.Infer(t.Context(), "peer", r, newLine(r.Channel)), core.CodeUnauthorized)
	l := newLine(r.Channel)
	l.nonce[0]++
	if e := wantCode(t, b.w.Infer(t.Context(), "peer", b.sign(r), l), core.CodeInvalid); e.Param != "nonce_commit" {
		t.Error("a wrong nonce passed as", e)
	}
	if b.w.Stats().Tokens != 0 || len(b.notary.Sealed()) != 0 {
		t.Fatal("work was spent on refused requests")
	}
}

func TestConcurrentAnswersShareSteps(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime = time.Millisecond })
	var g sync.WaitGroup
	for range 12 {
		g.Go(func() {
			r := b.sign(b.request(60))
			l := newLine(r.Channel)
			if err := b.w.Infer(t.Context(), "peer", r, l); err != nil || len(l.tokens) != 60 {
				t.Errorf("%d tokens, %v", len(l.tokens), err)
			}
		})
	}
	g.Wait()
	most := 0
	for _, n := range b.engine.Batches() {
		most = max(most, n)
	}
	if most != 8 {
		t.Fatalf("the largest batch had %d sequences, the worker has 8 slots", most)
	}
	if st := b.w.Stats(); st.Batch < 4 || st.Served != 12 {
		t.Fatalf("stats %+v", st)
	}
}

func TestQueueIsBoundedAndSaysWhenToReturn(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime, c.Slots, c.Queue = time.Millisecond, 1, 2 })
	ctx, stop := context.WithCancelCause(t.Context())
	var g sync.WaitGroup
	for range 3 {
		r := b.sign(b.request(4000))
		l := newLine(r.Channel)
		g.Go(func() { b.w.Infer(ctx, "peer", r, l) })
	}
	b.eventually(func(st Stats) bool { return st.Running+st.Waiting == 3 })
	r := b.sign(b.request(1))
	e := wantCode(t, b.w.Infer(t.Context(), "peer", r, newLine(r.Channel)), core.CodeBusy)
	if e.RetryAfter < time.Second || e.RetryAfter > time.Minute {
		t.Errorf("retry after %v", e.RetryAfter)
	}
	stop(errors.New("gone"))
	g.Wait()
	l := newLine(r.Channel)
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil || len(l.tokens) != 1 {
		t.Fatalf("after the crowd has gone: %v", err)
	}
}

func TestCrowdOnOneChannelDoesNotStarveAnother(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime, c.Slots = 5*time.Millisecond, 2 })
	var g sync.WaitGroup
	var served []core.ChannelID
	var mu sync.Mutex
	ask := func(c core.ChannelID) {
		r := b.request(40)
		r.Channel = c
		r = b.sign(r)
		l := newLine(c)
		l.unpaying = true
		l.vouchers <- core.Voucher{Channel: c, Amount: core.NewAmount(1 << 40)}
		g.Go(func() {
			if err := b.w.Infer(t.Context(), "peer", r, l); err != nil {
				t.Error(err)
			}
			mu.Lock()
			served = append(served, c)
			mu.Unlock()
		})
	}
	for range 10 {
		ask(core.ChannelID{1})
	}
	b.eventually(func(st Stats) bool { return st.Waiting >= 7 })
	ask(core.ChannelID{2})
	g.Wait()
	for i, c := range served {
		if c == (core.ChannelID{2}) {
			if i > 5 {
				t.Fatalf("the other channel was served %dth of 11", i+1)
			}
			return
		}
	}
}

func TestCancelStopsWithinOneStepAndBillsDelivered(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime = 5 * time.Millisecond })
	r := b.request(1000)
	seed := uint64(42)
	r.UserSeed = &seed
	r = b.sign(r)
	l := newLine(r.Channel)
	steps := 0
	l.onChunk = func(n int, c core.Chunk) error {
		if n == 4 {
			close(l.cancel)
			steps = b.engine.Steps(r.DeriveSeed(testNonce, nil))
		}
		return nil
	}
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil {
		t.Fatal(err)
	}
	if more := b.engine.Steps(r.DeriveSeed(testNonce, nil)) - steps; more > 2 {
		t.Errorf("%d steps after the cancellation", more)
	}
	n := uint64(len(l.tokens))
	if l.done == nil || l.done.Finish != core.FinishCancelled || l.done.Usage.Output != uint32(n) {
		t.Fatalf("done %+v after %d tokens", l.done, n)
	}
	if owed := b.till.Owed(r.Channel); owed.Cmp(core.NewAmount(15+10*n)) != 0 {
		t.Fatalf("owes %v for %d tokens", owed, n)
	}
	if len(l.done.Boundaries) != int(5+n-1)*3 {
		t.Fatal("the leaves are not those of the delivered answer")
	}
}

func TestCancelBeforeFirstTokenIsFree(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime = 20 * time.Millisecond })
	r := b.sign(b.request(10))
	l := newLine(r.Channel)
	close(l.cancel)
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil {
		t.Fatal(err)
	}
	if l.done == nil || !l.done.Due.IsZero() || len(b.notary.Sealed()) != 0 || !b.till.Owed(r.Channel).IsZero() {
		t.Fatalf("done %+v", l.done)
	}
}

func TestConsumerGoneIsChargedForDelivered(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime = time.Millisecond })
	ctx, gone := context.WithCancelCause(t.Context())
	r := b.sign(b.request(1000))
	l := newLine(r.Channel)
	delivered := 0
	l.onChunk = func(n int, c core.Chunk) error {
		if n == 3 {
			gone(errors.New("the consumer lost the connection"))
			return errors.New("stream reset")
		}
		delivered += len(c.Tokens)
		return nil
	}
	if err := b.w.Infer(ctx, "peer", r, l); err == nil {
		t.Fatal("no error")
	}
	if owed := b.till.Owed(r.Channel); owed.Cmp(core.NewAmount(10*uint64(delivered))) != 0 {
		t.Fatalf("owes %v for %d tokens", owed, delivered)
	}
	if b.w.Stats().Running != 0 {
		t.Fatal("generation goes on")
	}
}

func TestUnpaidConsumerIsPausedThenCut(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { c.CreditTok, c.PayTimeout = 20, 200*time.Millisecond })
	r := b.sign(b.request(1000))
	l := newLine(r.Channel)
	l.unpaying = true
	other := b.sign(b.request(300))
	ol := newLine(other.Channel)
	var g sync.WaitGroup
	g.Go(func() {
		if err := b.w.Infer(t.Context(), "peer", other, ol); err != nil {
			t.Errorf("the neighbour of an unpaying consumer: %v", err)
		}
	})
	begin := time.Now()
	e := wantCode(t, b.w.Infer(t.Context(), "peer", r, l), core.CodeUnpaid)
	if d := time.Since(begin); d < 150*time.Millisecond {
		t.Errorf("cut after %v, without patience", d)
	}
	g.Wait()
	// 20 tokens of credit, 1 for the prompt's 15 akoin, and the chunk that went over.
	if n := len(l.tokens); n < 20 || n > 21+chunkMost {
		t.Errorf("%d tokens without pay", n)
	}
	if e.Charge.Cmp(core.NewAmount(10*uint64(len(l.tokens)))) != 0 {
		t.Errorf("the error says %v for %d tokens", e.Charge, len(l.tokens))
	}
	if st := b.w.Stats(); st.Tokens > uint64(len(l.tokens)+window+300) {
		t.Errorf("%d tokens were generated for %d delivered", st.Tokens, len(l.tokens)+300)
	}
}

func TestBadVouchersEndTheAnswer(t *testing.T) {
	for name, v := range map[string]core.Voucher{
		"refused by the cashier": {Amount: core.NewAmount(666)},
		"for another channel":    {Channel: core.ChannelID{1}, Amount: core.NewAmount(5)},
	} {
		b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime = time.Millisecond })
		r := b.sign(b.request(1000))
		l := newLine(r.Channel)
		l.unpaying = true
		if v.Channel.IsZero() {
			v.Channel = r.Channel
		}
		l.onChunk = func(n int, c core.Chunk) error {
			if n == 1 {
				l.vouchers <- v
			}
			return nil
		}
		if err := b.w.Infer(t.Context(), "peer", r, l); err == nil {
			t.Errorf("a voucher %s was taken", name)
		}
	}
}

func TestSlowConsumerHoldsUpOnlyItself(t *testing.T) {
	b := newBench(t, nil)
	release := make(chan struct{})
	slow := b.sign(b.request(500))
	sl := newLine(slow.Channel)
	sl.onChunk = func(int, core.Chunk) error { <-release; return nil }
	var g sync.WaitGroup
	g.Go(func() {
		if err := b.w.Infer(t.Context(), "peer", slow, sl); err != nil || len(sl.tokens) != 500 {
			t.Errorf("the slow one: %d tokens, %v", len(sl.tokens), err)
		}
	})
	fast := b.sign(b.request(500))
	fl := newLine(fast.Channel)
	if err := b.w.Infer(t.Context(), "peer", fast, fl); err != nil || len(fl.tokens) != 500 {
		t.Fatalf("the fast one: %d tokens, %v", len(fl.tokens), err)
	}
	if st := b.w.Stats(); st.Tokens > 500+window+chunkMost {
		t.Errorf("%d tokens: the engine ran far ahead of the slow consumer", st.Tokens)
	}
	close(release)
	g.Wait()
}
