package exchange

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute"
	"github.com/koinon-network/koinon/infra/compute/computetest"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/token"
	"github.com/koinon-network/koinon/infra/verify"
)

// liar is a provider's engine that computes honestly and then tells something
// else. Its receipts are in good order.
type liar struct {
	*model.Model
	logprobs func(core.TokenLogprobs) // changed before they are delivered
	vector   func([]float32)
	lawless  bool // forgets the grammar
}

type told struct {
	core.Sequence
	l     *liar
	probs []core.TokenLogprobs
}

func (l *liar) NewSequence(in core.SequenceInput) (core.Sequence, error) {
	if l.lawless {
		in.Sampler.Constraint = nil
	}
	s, err := l.Model.NewSequence(in)
	return &told{Sequence: s, l: l}, err
}

func (l *liar) Step(ctx context.Context, batch []core.Sequence) error {
	honest := make([]core.Sequence, len(batch))
	for i, s := range batch {
		honest[i] = s.(*told).Sequence
	}
	return l.Model.Step(ctx, honest)
}

func (s *told) Logprobs() []core.TokenLogprobs {
	for _, p := range s.Sequence.Logprobs()[len(s.probs):] {
		p = slices.Clone(p)
		if s.l.logprobs != nil {
			s.l.logprobs(p)
		}
		s.probs = append(s.probs, p)
	}
	return s.probs
}

func (l *liar) Embed(ctx context.Context, inputs [][]core.Token, p core.Pooling) ([][]float32, error) {
	vs, err := l.Model.Embed(ctx, inputs, p)
	for _, v := range vs {
		if l.vector != nil {
			l.vector(v)
		}
	}
	return vs, err
}

// The consumer sees nothing wrong with what these providers say; whoever has the
// model does, from the receipt that they signed.
func TestCheatsAreConvictedByTheirReceipts(t *testing.T) {
	m, err := model.OpenBytes(seed.Bytes(), model.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c := newConsumer(t)
	grammar := &core.Constraint{Grammar: `root ::= "[" [0-9] ("," [0-9]){2,5} "]"`}
	probs := core.Sampler{MaxTokens: 20, Logprobs: 4}
	for _, x := range []struct {
		what    string
		engine  liar
		sampler core.Sampler
		pooling core.Pooling
		verdict verify.Verdict
	}{
		{"honest log-probabilities", liar{}, probs, "", verify.Matches},
		{"a drawn token said to be less likely", liar{logprobs: func(p core.TokenLogprobs) {
			if p[0].Token != p[1].Token {
				return
			}
			p[0].Value--
			p[1].Value--
		}}, probs, "", verify.LogprobDiffers},
		{"an alternative said to be less likely", liar{logprobs: func(p core.TokenLogprobs) { p[len(p)-1].Value -= 10 }}, probs, "", verify.LogprobDiffers},
		{"an honest answer under a grammar", liar{}, core.Sampler{MaxTokens: 40, Constraint: grammar}, "", verify.Matches},
		{"an answer that breaks the grammar", liar{lawless: true}, core.Sampler{MaxTokens: 40, Constraint: grammar}, "", verify.TokenDiffers},
		{"an honest embedding", liar{}, core.Sampler{}, core.PoolMean, verify.Matches},
		{"two numbers exchanged", liar{vector: func(v []float32) { v[0], v[1] = v[1], v[0] }}, core.Sampler{}, core.PoolMean, verify.EmbeddingDiffers},
		{"a turned sign", liar{vector: func(v []float32) { v[5] = -v[5] }}, core.Sampler{}, core.PoolLast, verify.EmbeddingDiffers},
	} {
		engine := x.engine
		engine.Model = m
		p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, w *compute.Config) {
			e.Model = m.Info()
			w.Engine, w.Offer.Model, w.Admit = &engine, m.Root(), m.Check
		})
		r := c.order(p, m.Tokenizer().Encode("What is a receipt?", token.Options{AddBOS: true}), 0, 0)
		r.Prompt, r.Sampler, r.Pooling = uint32(len(r.Input)), x.sampler, x.pooling
		if _, err := c.whole(p, r); err != nil {
			t.Errorf("%s: the consumer objects: %v", x.what, err)
			continue
		}
		eventually(t, "there is no receipt", func() bool { return len(p.notary.Sealed()) == 1 })
		e := p.notary.Sealed()[0]
		report, err := verify.Verify(t.Context(), e, m, verify.Facts{})
		if err != nil || report.Verdict != x.verdict {
			t.Errorf("%s: %s (%s), %v", x.what, report.Verdict, report.Message, err)
		}
		if x.sampler.Constraint != nil && x.verdict == verify.Matches {
			if text := m.Tokenizer().Decode(e.Output); !strings.HasPrefix(text, "[") || !strings.HasSuffix(text, "]") {
				t.Errorf("%s: %q", x.what, text)
			}
		}
		p.close()
	}
}

// A grammar that cannot be compiled is refused before anything is promised.
func TestWrongGrammarsAreRefused(t *testing.T) {
	m, err := model.OpenBytes(seed.Bytes(), model.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, w *compute.Config) {
		e.Model = m.Info()
		w.Engine, w.Offer.Model, w.Admit = m, m.Root(), m.Check
	})
	r := c.order(p, prompt, 4, 20)
	r.Sampler.Constraint = &core.Constraint{Grammar: `root ::= missing`}
	if _, err := c.whole(p, r); core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), "missing") {
		t.Error(err)
	}
}
