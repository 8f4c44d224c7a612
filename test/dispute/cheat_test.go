package dispute

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/prover"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/tiny"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

// accused opens the dispute that an honest auditor opens about an answer; it
// fails where there is nothing to accuse.
func accused(t *testing.T, honest engine, o order) (*scene, error) {
	t.Helper()
	s := newScene(t, honest, o)
	c := core.Computation{Request: *head(&s.receipt.Receipt), Output: o.output, Finish: s.receipt.Finish, Root: s.receipt.BoundaryRoot, Boundaries: o.leaves,
		Input: core.SequenceInput{Input: o.input, Sampler: o.sampler, Seed: o.seed, Salt: o.salt, Trace: true}}
	own, err := honest.Replay(context.Background(), c.Input, c.Output)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := prover.NewAdvocate(honest.prover).Accuse(context.Background(), c, own)
	if err != nil {
		return s, err
	}
	var v referee.Claim
	if err := referee.Decode(claim, &v); err != nil {
		t.Fatal(err)
	}
	s.deliver(s.openMsg(challenger, v))
	return s, nil
}

// caught plays the dispute about an answer to its end: the provider, which
// defends itself with the engine that it has, must lose its stake, and the
// consumer get the money back.
func caught(t *testing.T, honest, cheat engine, o order) verify.Dispute {
	t.Helper()
	s, err := accused(t, honest, o)
	if err != nil {
		t.Fatal(err)
	}
	d, gas := s.play(1, cheat.prover.Answer(o.input, o.output, o.leaves, o.salt), honest.prover.Answer(o.input, o.output, nil, o.salt))
	if d.Winner != "challenger" || !d.Slashed.Equal(math.NewInt(stake)) || !d.Refund.Equal(math.NewInt(24*10+int64(len(o.output))*100)) {
		t.Fatalf("%s (%s), slashed %s, refund %s", d.Winner, d.Cause, d.Slashed, d.Refund)
	}
	t.Logf("%d moves, %d bytes, %d gas: %s", d.Moves, d.Bytes, gas, d.Cause)
	return d
}

func honestEngine(t *testing.T) engine { return open(t, shape.File(t)) }

func TestCheatSmallerModel(t *testing.T) {
	b := shape.File(t)
	small := changed(t, b, "blk.0.ffn_up.weight", func(d []byte) { clear(d[len(d)/2:]) })
	small = changed(t, small, "blk.1.ffn_up.weight", func(d []byte) { clear(d[len(d)/2:]) })
	cheat := open(t, small)
	caught(t, open(t, b), cheat, cheat.answer(t, newOrder(20)))
}

// The provider computes on the later half of the prompt and invents the leaves
// of the rest.
func TestCheatContextTruncated(t *testing.T) {
	honest := honestEngine(t)
	o := newOrder(21)
	short := o
	short.input = o.input[len(o.input)/2:]
	short = honest.answer(t, short)
	o.output = short.output
	for i := range (len(o.input) - len(short.input)) * (honest.Info().Layers + 1) {
		o.leaves = append(o.leaves, sha256.Sum256([]byte{byte(i)}))
	}
	o.leaves = append(o.leaves, short.leaves...)
	caught(t, honest, honest, o)
}

// The provider puts words of its own before the consumer's and hides their
// leaves.
func TestCheatInjectedSystemPrompt(t *testing.T) {
	honest := honestEngine(t)
	o := newOrder(22)
	long := o
	long.input = slices.Concat([]core.Token{5, 6, 7, 8}, o.input)
	long = honest.answer(t, long)
	o.output, o.leaves = long.output, long.leaves[4*(honest.Info().Layers+1):]
	caught(t, honest, honest, o)
}

// drawnAs answers an order by another one's draws, with the leaves of the truth.
func drawnAs(t *testing.T, honest engine, o order, change func(o *order)) order {
	t.Helper()
	other := o
	change(&other)
	other = honest.answer(t, other)
	o.output, o.leaves = other.output, other.leaves
	return o
}

func TestCheatWrongTemperature(t *testing.T) {
	honest := honestEngine(t)
	caught(t, honest, honest, drawnAs(t, honest, newOrder(6), func(o *order) { o.sampler.Temperature = 1_900_000 }))
}

// Every filter and penalty is one that a provider may forget.
func TestCheatForgottenSampler(t *testing.T) {
	honest := honestEngine(t)
	base := core.Sampler{MaxTokens: 24, IgnoreEOS: true, Temperature: 2_000_000}
	for name, add := range map[string]func(s *core.Sampler){
		"top-k": func(s *core.Sampler) { s.TopK = 4 }, "top-p": func(s *core.Sampler) { s.TopP = 500_000 }, "min-p": func(s *core.Sampler) { s.MinP = 300_000 },
		"repetition": func(s *core.Sampler) { s.RepetitionPenalty = 2_000_000 }, "frequency": func(s *core.Sampler) { s.FrequencyPenalty = 2_000_000; s.TopK = 4 },
		"presence": func(s *core.Sampler) { s.PresencePenalty = 2_000_000; s.TopP = 400_000 }, "bias": func(s *core.Sampler) { s.Bias = []core.TokenBias{{Token: 9, Bias: 6_000_000}} },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrder(23)
			o.sampler = base
			add(&o.sampler)
			forget := func(o *order) {
				filters := o.sampler
				o.sampler = base
				if name == "frequency" || name == "presence" { // that something may occur twice
					o.sampler.TopK, o.sampler.TopP = filters.TopK, filters.TopP
				}
			}
			truth, lie := honest.answer(t, o), drawnAs(t, honest, o, forget)
			for slices.Equal(truth.output, lie.output) { // by chance
				o.seed[1]++
				truth, lie = honest.answer(t, o), drawnAs(t, honest, o, forget)
			}
			if _, err := accused(t, honest, truth); err == nil {
				t.Fatal("a true answer is accused")
			}
			caught(t, honest, honest, lie)
		})
	}
}

// forced is an answer that begins with these tokens, computed truly.
func forced(t *testing.T, honest engine, o order, begin []core.Token) order {
	t.Helper()
	long := o
	long.input = slices.Concat(o.input, begin)
	long.sampler.MaxTokens -= uint32(len(begin))
	if long.sampler.MaxTokens > 0 {
		long = honest.answer(t, long)
		o.output, o.leaves = slices.Concat(begin, long.output), long.leaves
		return o
	}
	o.output = begin
	r, err := honest.Replay(context.Background(), core.SequenceInput{Input: slices.Concat(o.input, begin[:len(begin)-1]), Sampler: core.Sampler{MaxTokens: 1, IgnoreEOS: true}, Salt: o.salt, Trace: true}, []core.Token{0})
	if err != nil {
		t.Fatal(err)
	}
	o.leaves = r.Boundaries
	return o
}

func TestCheatInjectedToken(t *testing.T) {
	honest := honestEngine(t)
	o := newOrder(24)
	drawn := honest.answer(t, o).output
	caught(t, honest, honest, forced(t, honest, o, []core.Token{drawn[0], (drawn[1] + 1) % 300}))
}

func TestCheatDroppedTokenAndEarlyStop(t *testing.T) {
	honest := honestEngine(t)
	o := newOrder(25)
	drawn := honest.answer(t, o).output
	for name, v := range map[string]struct {
		output []core.Token
		finish core.FinishReason
	}{
		"a token in the middle":     {slices.Concat(drawn[:2], drawn[3:]), core.FinishLength},
		"the last token":            {drawn[:5], core.FinishLength},
		"the last token, by a stop": {drawn[:5], core.FinishStop},
		"all but one":               {drawn[:1], core.FinishStop},
	} {
		t.Run(name, func(t *testing.T) {
			o := o
			o.finish = v.finish
			asked := o.sampler
			o.sampler.MaxTokens = uint32(len(v.output))
			o = forced(t, honest, o, v.output)
			o.sampler = asked
			caught(t, honest, honest, o)
		})
	}
}

// The model ends its answer; the provider goes on, token by true token.
func TestCheatPaddedTokens(t *testing.T) {
	o := newOrder(26)
	o.sampler.MaxTokens = 20
	drawn := honestEngine(t).answer(t, o).output
	at := slices.IndexFunc(drawn[1:19], func(v core.Token) bool { return v >= 256 }) // none that a byte needs
	s := shape
	s.EOS = uint32(drawn[at+1])
	honest := open(t, s.File(t))
	asked := o.sampler
	asked.IgnoreEOS = false
	o = honest.answer(t, o)
	o.sampler = asked
	if d := caught(t, honest, honest, o); !strings.Contains(d.Cause, "more follow") || d.Moves != 1 {
		t.Errorf("%d moves: %s", d.Moves, d.Cause)
	}
}

// The same text in more tokens: a token that stands for several letters is
// spelt out.
func TestCheatRetokenisedInflation(t *testing.T) {
	honest := honestEngine(t)
	o := newOrder(27)
	o.sampler.MaxTokens, o.sampler.Bias = 12, []core.TokenBias{{Token: 300, Bias: 90_000_000}} // "t300"
	drawn := honest.answer(t, o).output
	if !slices.Contains(drawn, 300) {
		t.Fatal("no token is long")
	}
	var spelt []core.Token
	for _, v := range drawn {
		if v == 300 {
			spelt = append(spelt, 't', '3', '0', '0')
			continue
		}
		spelt = append(spelt, v)
	}
	spelt = spelt[:12]
	caught(t, honest, honest, forced(t, honest, o, spelt))
}

// A provider that reports other text than the tokens it drew signs tokens that
// it did not draw.
func TestCheatEditedText(t *testing.T) {
	honest := honestEngine(t)
	o := honest.answer(t, newOrder(28))
	o.output = slices.Clone(o.output)
	last := len(o.output) - 1 // its computation shows in no leaf
	o.output[last] = (o.output[last] + 7) % tiny.Vocabulary
	caught(t, honest, honest, o)
}

// An answer of another length than its audit's is never taken for the same.
func TestCheatAnotherLengthInTheAudit(t *testing.T) {
	honest := honestEngine(t)
	o := newOrder(29)
	whole := honest.answer(t, o)
	for n := 1; n < len(whole.output); n++ {
		short := whole
		short.output, short.leaves = whole.output[:n], whole.leaves[:(len(o.input)+n-1)*(honest.Info().Layers+1)]
		caught(t, honest, honest, short)
	}
	long := whole
	long.sampler.MaxTokens = 9
	long = honest.answer(t, long)
	long.sampler = o.sampler
	caught(t, honest, honest, long)
	if merkle.Root(long.leaves) == merkle.Root(whole.leaves) {
		t.Error("two answers have one root")
	}
}
