package compute

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute/computetest"
)

// embedding is a good order for the vector of n tokens.
func (b *bench) embedding(n int) core.SignedRequest {
	r := b.request(0)
	r.Input = slices.Repeat([]core.Token{core.Token(b.requests.Load() % 1000)}, n)
	r.Prompt, r.Sampler, r.Pooling = uint32(n), core.Sampler{}, core.PoolMean
	return r
}

func TestEmbeddingIsDeliveredSealedAndPaidByInput(t *testing.T) {
	b := newBench(t, nil)
	r := b.sign(b.embedding(4096)) // an answer would have no room
	l := newLine(r.Channel)
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil {
		t.Fatal(err)
	}
	want, _ := b.engine.Embed(t.Context(), [][]core.Token{r.Input}, core.PoolMean)
	if got, err := core.DecodeVector(l.done.Embedding); err != nil || !slices.Equal(got, want[0]) || len(l.tokens) != 0 {
		t.Fatal(got, err)
	}
	due := core.NewAmount(3 * 4096)
	if l.done.Due.Cmp(due) != 0 || b.till.Owed(r.Channel).Cmp(due) != 0 || b.till.Paid(r.Channel).Cmp(due) != 0 {
		t.Errorf("due %v, owed %v, paid %v, want %v", l.done.Due, b.till.Owed(r.Channel), b.till.Paid(r.Channel), due)
	}
	e := b.notary.Sealed()[0]
	if e.Receipt.OutputHash != core.HashEmbedding(l.done.Embedding) || e.Receipt.Output != 0 || e.Receipt.Finish != core.FinishStop ||
		!slices.Equal(e.Embedding, l.done.Embedding) || !e.Receipt.BoundaryRoot.IsZero() {
		t.Errorf("%+v", e)
	}
}

// What waits while the engine works goes through it together, within the bound
// of tokens; one bad input fails alone.
func TestEmbeddingsShareBatches(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, _ *Config) { e.StepTime, e.Poison = 30*time.Millisecond, 999 })
	var g sync.WaitGroup
	for i := range 17 {
		r := b.embedding(100)
		if i == 9 {
			r.Input[5] = 999
		}
		r = b.sign(r)
		g.Go(func() {
			l := newLine(r.Channel)
			err := b.w.Infer(t.Context(), "peer", r, l)
			if i == 9 {
				if core.CodeOf(err) != core.CodeProvider || !b.till.Owed(r.Channel).IsZero() {
					t.Errorf("the poisoned input: %v, owed %v", err, b.till.Owed(r.Channel))
				}
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if most := slices.Max(b.engine.Embeds()); most < 5 || most > 10 {
		t.Errorf("batches of %v inputs of 100 tokens", b.engine.Embeds())
	}
}

func TestEmbeddingCancelledOrShutDownIsFree(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, _ *Config) { e.StepTime = 50 * time.Millisecond })
	r := b.sign(b.embedding(10))
	l := newLine(r.Channel)
	close(l.cancel)
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil || l.done.Finish != core.FinishCancelled || l.done.Embedding != nil {
		t.Fatal(l.done, err)
	}
	var g sync.WaitGroup
	r = b.sign(b.embedding(10))
	g.Go(func() {
		if err := b.w.Infer(t.Context(), "peer", r, newLine(r.Channel)); err == nil {
			t.Error("an embedding that was broken off passed")
		}
	})
	time.Sleep(10 * time.Millisecond)
	b.w.Close()
	g.Wait()
	ctx, stop := context.WithCancelCause(t.Context())
	stop(errors.New("gone"))
	if _, err := b.w.embed.compute(ctx, &r.Request); err == nil {
		t.Error("a closed embedder computes")
	}
	if !b.till.Owed(r.Channel).IsZero() || len(b.notary.Sealed()) != 0 {
		t.Error("a cancelled embedding was charged or sealed")
	}
}

func TestLogprobsTravelWithTheirTokens(t *testing.T) {
	b := newBench(t, nil)
	r := b.request(40)
	r.Sampler.Logprobs = 4
	r = b.sign(r)
	l := newLine(r.Channel)
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil {
		t.Fatal(err)
	}
	var all []core.TokenLogprobs
	for _, c := range l.chunks {
		if len(c.Logprobs) != len(c.Tokens) {
			t.Fatalf("%d tokens with %d log-probabilities", len(c.Tokens), len(c.Logprobs))
		}
		all = append(all, c.Logprobs...)
	}
	tokens := slices.Clone(r.Input)
	for i, t0 := range l.tokens {
		if !slices.Equal(all[i], b.engine.Logprobs(t0, tokens, 4)) {
			t.Fatalf("position %d: %v", i, all[i])
		}
		tokens = append(tokens, t0)
	}
	e := b.notary.Sealed()[0]
	if h := core.HashLogprobs(all); e.Receipt.Logprobs != h || core.HashLogprobs(e.Logprobs) != h {
		t.Error("the receipt commits to other log-probabilities")
	}
}
