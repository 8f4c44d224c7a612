package compute

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute/computetest"
)

func TestInvalidNumberCostsNothingAndNobodyElse(t *testing.T) {
	for _, wild := range []bool{false, true} {
		b := newBench(t, func(e *computetest.Engine, c *Config) { e.Poison, e.Wild, e.StepTime = 77, wild, time.Millisecond })
		var g sync.WaitGroup
		for range 4 {
			g.Go(func() {
				r := b.sign(b.request(100))
				l := newLine(r.Channel)
				if err := b.w.Infer(t.Context(), "peer", r, l); err != nil || len(l.tokens) != 100 {
					t.Errorf("a neighbour: %d tokens, %v", len(l.tokens), err)
				}
			})
		}
		r := b.request(100)
		r.Input[4] = 77
		r = b.sign(r)
		l := newLine(r.Channel)
		e := wantCode(t, b.w.Infer(t.Context(), "peer", r, l), core.CodeProvider)
		if !e.Charge.IsZero() || !b.till.Owed(r.Channel).IsZero() || l.done != nil {
			t.Errorf("charged %v, owed %v, done %v", e.Charge, b.till.Owed(r.Channel), l.done)
		}
		if !strings.Contains(e.Error(), "could not compute") {
			t.Error(e)
		}
		g.Wait()
	}
}

func TestEngineFailingInTheMiddleEarnsOnlyDelivered(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.Poison, e.PoisonAt, e.StepTime = 77, 30, time.Millisecond })
	r := b.request(100)
	r.Input[0] = 77
	r = b.sign(r)
	l := newLine(r.Channel)
	e := wantCode(t, b.w.Infer(t.Context(), "peer", r, l), core.CodeProvider)
	if len(l.tokens) != 30 || e.Charge.Cmp(core.NewAmount(300)) != 0 || b.till.Owed(r.Channel).Cmp(core.NewAmount(300)) != 0 {
		t.Fatalf("%d tokens, charge %v", len(l.tokens), e.Charge)
	}
}

func TestReceiptThatCannotBeStoredIsNotPromised(t *testing.T) {
	b := newBench(t, nil)
	b.notary.Err = errors.New("disk full")
	r := b.sign(b.request(10))
	l := newLine(r.Channel)
	wantCode(t, b.w.Infer(t.Context(), "peer", r, l), core.CodeProvider)
	if l.done != nil || b.till.Owed(r.Channel).Cmp(core.NewAmount(100)) != 0 {
		t.Fatalf("done %v, owed %v", l.done, b.till.Owed(r.Channel))
	}
}

func TestMemoryShortageWaitsInsteadOfFailing(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.Sequences, e.StepTime = 2, time.Millisecond })
	var g sync.WaitGroup
	for range 6 {
		g.Go(func() {
			r := b.sign(b.request(30))
			l := newLine(r.Channel)
			if err := b.w.Infer(t.Context(), "peer", r, l); err != nil || len(l.tokens) != 30 {
				t.Errorf("%d tokens, %v", len(l.tokens), err)
			}
		})
	}
	g.Wait()
}

// continued breaks an answer off on one worker and asks another to go on.
func continued(t *testing.T, first, second *bench, at int) (r core.SignedRequest, part *line) {
	t.Helper()
	seed := uint64(7)
	r = first.request(60)
	r.UserSeed = &seed
	r = first.sign(r)
	part = newLine(r.Channel)
	ctx, kill := context.WithCancelCause(t.Context())
	part.onChunk = func(int, core.Chunk) error {
		if len(part.tokens) >= at {
			kill(errors.New("killed"))
		}
		return nil
	}
	if err := first.w.Infer(ctx, "peer", r, part); err == nil {
		t.Fatal("the first provider was not broken off")
	}
	second.strange[first.key.Address()] = true
	next := second.request(60)
	next.UserSeed, next.Input, next.Prompt = &seed, slices.Concat(r.Input, part.tokens), r.Prompt
	next.Resume = &part.chunks[len(part.chunks)-1].Progress
	return next, part
}

func slowly(e *computetest.Engine, _ *Config) { e.StepTime = time.Millisecond }

func TestAnotherProviderContinuesTheAnswer(t *testing.T) {
	whole := newBench(t, nil)
	seed := uint64(7)
	r := whole.request(60)
	r.UserSeed = &seed
	want := newLine(r.Channel)
	if err := whole.w.Infer(t.Context(), "peer", whole.sign(r), want); err != nil {
		t.Fatal(err)
	}
	first, second := newBench(t, slowly), newBench(t, nil)
	next, part := continued(t, first, second, 20)
	rest := newLine(next.Channel)
	if err := second.w.Infer(t.Context(), "peer", second.sign(next), rest); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(slices.Concat(part.tokens, rest.tokens), want.tokens) {
		t.Fatal("the continued answer is not the uninterrupted one")
	}
	last := rest.chunks[len(rest.chunks)-1].Progress
	if last.Count != 60 || last.Tokens != core.TokenChain(core.Hash{}, want.tokens) {
		t.Fatal("the continuation's progress does not prove the whole answer")
	}
	sum := first.till.Owed(part.channel).Add(second.till.Owed(next.Channel))
	if sum.Cmp(core.NewAmount(15+600)) != 0 {
		t.Fatalf("both together cost %v, an uninterrupted answer costs 615", sum)
	}
}

func TestContinuationsWithoutProofAreRefused(t *testing.T) {
	first, second := newBench(t, slowly), newBench(t, nil)
	next, _ := continued(t, first, second, 20)
	for name, spoil := range map[string]func(r *core.SignedRequest){
		"changed tokens":    func(r *core.SignedRequest) { r.Input[6]++ },
		"changed count":     func(r *core.SignedRequest) { g := *r.Resume; g.Count--; r.Resume = &g },
		"shifted prompt":    func(r *core.SignedRequest) { r.Prompt++ },
		"changed signature": func(r *core.SignedRequest) { g := *r.Resume; g.Signature[3]++; r.Resume = &g },
		"other request":     func(r *core.SignedRequest) { g := *r.Resume; g.ID[0]++; r.Resume = &g },
		"nothing to resume": func(r *core.SignedRequest) { r.Input = r.Input[:5] },
		"complete already":  func(r *core.SignedRequest) { r.Sampler.MaxTokens = 20 },
		"signer not on chain": func(r *core.SignedRequest) {
			delete(second.strange, first.key.Address())
		},
	} {
		r := next
		r.Input = slices.Clone(next.Input)
		second.strange[first.key.Address()] = true
		spoil(&r)
		l := newLine(r.Channel)
		if err := second.w.Infer(t.Context(), "peer", second.sign(r), l); core.CodeOf(err) != core.CodeInvalid || l.accepted {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShutdownHandsOver(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) { e.StepTime, c.Slots = time.Millisecond, 1 })
	errs := make(chan error, 2)
	for range 2 { // one runs, one waits
		r := b.sign(b.request(4000))
		go func() { errs <- b.w.Infer(t.Context(), "peer", r, newLine(r.Channel)) }()
	}
	b.eventually(func(st Stats) bool { return st.Running == 1 && st.Waiting == 1 })
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	begin := time.Now()
	b.w.Drain(ctx)
	if d := time.Since(begin); d < 40*time.Millisecond || d > time.Second {
		t.Errorf("drained in %v", d)
	}
	for range 2 {
		wantCode(t, <-errs, core.CodeProvider)
	}
	r := b.sign(b.request(1))
	wantCode(t, b.w.Infer(t.Context(), "peer", r, newLine(r.Channel)), core.CodeUnavailable)
}

func TestDrainLetsAnswersEnd(t *testing.T) {
	b := newBench(t, slowly)
	r := b.sign(b.request(50))
	l := newLine(r.Channel)
	err := make(chan error, 1)
	go func() { err <- b.w.Infer(t.Context(), "peer", r, l) }()
	b.eventually(func(st Stats) bool { return st.Running == 1 })
	b.w.Drain(t.Context())
	if e := <-err; e != nil || len(l.tokens) != 50 {
		t.Fatalf("%d tokens, %v", len(l.tokens), e)
	}
}

// However answers end, a channel owes exactly its delivered output, and the
// prompt if and only if the end was delivered.
func TestDebtIsWhatWasDelivered(t *testing.T) {
	rapid.Check(t, func(p *rapid.T) {
		b := newBench(t, func(e *computetest.Engine, c *Config) {
			e.Poison, e.PoisonAt = 77, rapid.IntRange(0, 20).Draw(p, "poison at")
			c.Slots, c.PayTimeout = rapid.IntRange(1, 4).Draw(p, "slots"), 20*time.Millisecond
		})
		defer b.w.Close()
		channel := core.ChannelID{1}
		var mu sync.Mutex
		var due, paid core.Amount
		var g sync.WaitGroup
		for i := range rapid.IntRange(1, 6).Draw(p, "requests") {
			r := b.request(uint32(rapid.IntRange(1, 60).Draw(p, "tokens")))
			r.Channel = channel
			if rapid.Bool().Draw(p, "poisoned") {
				r.Input[2] = 77
			}
			end := rapid.SampledFrom([]string{"whole", "cancel", "gone", "unpaid"}).Draw(p, "end")
			at := rapid.IntRange(1, 4).Draw(p, "at")
			r = b.sign(r)
			l := newLine(channel)
			l.unpaying = true
			ctx, kill := context.WithCancelCause(t.Context())
			delivered := uint64(0)
			l.onChunk = func(n int, c core.Chunk) error {
				if n == at && end == "cancel" {
					close(l.cancel)
				}
				if n == at && end == "gone" {
					kill(errors.New("gone"))
					return errors.New("gone")
				}
				delivered += uint64(len(c.Tokens))
				if end != "unpaid" {
					mu.Lock()
					paid = paid.Add(core.NewAmount(10 * uint64(len(c.Tokens))))
					l.vouchers <- core.Voucher{Channel: channel, Amount: paid}
					mu.Unlock()
				}
				return nil
			}
			g.Go(func() {
				b.w.Infer(ctx, "peer", r, l)
				kill(nil)
				mu.Lock()
				defer mu.Unlock()
				due = due.Add(core.NewAmount(10 * delivered))
				if l.done != nil && delivered > 0 {
					due = due.Add(core.NewAmount(15))
				}
				if l.done != nil && uint64(l.done.Usage.Output) != delivered {
					p.Errorf("request %d: %d billed, %d delivered", i, l.done.Usage.Output, delivered)
				}
			})
		}
		g.Wait()
		if owed := b.till.Owed(channel); owed.Cmp(due) != 0 {
			p.Fatalf("owes %v, delivered for %v", owed, due)
		}
	})
}
