package prover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// computation is the scene's answer as an auditor has it.
func (sc *scene) computation(finish core.FinishReason) core.Computation {
	return core.Computation{Request: sc.head, Finish: finish, Output: sc.output, Root: merkle.Root(sc.leaves), Boundaries: sc.leaves,
		Input: core.SequenceInput{Input: sc.input, Base: sc.base, Sampler: sc.sampler, Seed: sc.seed, Salt: sc.salt, Trace: true}}
}

// accuse signs an answer of these tokens, with the leaves of a true computation,
// and opens the dispute that an honest auditor opens.
func (sc *scene) accuse(output []core.Token, finish core.FinishReason) (*referee.State, error) {
	sc.t.Helper()
	sc.output = output
	trace := core.SequenceInput{Input: append(slices.Clone(sc.input), output[:max(len(output)-1, 0)]...), Sampler: core.Sampler{MaxTokens: 1, IgnoreEOS: true}, Salt: sc.salt, Trace: true}
	r, err := sc.prover.engine.(*model.Model).Replay(context.Background(), trace, []core.Token{0})
	if err != nil {
		sc.t.Fatal(err)
	}
	sc.leaves = r.Boundaries
	sc.sign()
	sc.receipt.Finish = finish
	c := sc.computation(finish)
	own, err := sc.prover.engine.(*model.Model).Replay(context.Background(), c.Input, output)
	if err != nil {
		sc.t.Fatal(err)
	}
	claim, err := NewAdvocate(sc.prover).Accuse(context.Background(), c, own)
	if err != nil {
		return nil, err
	}
	var v referee.Claim
	if err := referee.Decode(claim, &v); err != nil {
		sc.t.Fatal(err)
	}
	return referee.Open(sc.prover.Model, &sc.receipt, v)
}

// ending is a scene on a model whose answers end with the token eos, if any.
func ending(t *testing.T, eos core.Token, change func(s *core.Sampler)) *scene {
	t.Helper()
	sampler := core.Sampler{Temperature: 900_000, MaxTokens: 14, IgnoreEOS: true}
	if change != nil {
		change(&sampler)
	}
	shape := shapes[2]
	shape.EOS = uint32(eos)
	return newSampledScene(t, shape, 20, 2, sampler)
}

// An answer that goes on behind its end, or stops before it, is convicted by the
// claim alone.
func TestFalseEndsAreConvicted(t *testing.T) {
	reference := ending(t, 0, nil).output
	letter := func(ts []core.Token) string {
		var b strings.Builder
		for _, v := range ts {
			if v < 256 {
				b.WriteByte(byte(v))
			} else {
				fmt.Fprintf(&b, "t%d", v)
			}
		}
		return b.String()
	}
	first := 2 // the token there will end answers; those below 256 stand for bytes
	for reference[first] < 256 || slices.Index(reference, reference[first]) != first {
		first++
	}
	eos := reference[first]
	for name, v := range map[string]struct {
		change func(s *core.Sampler)
		output []core.Token
		finish core.FinishReason
		fault  string // "": the answer is true
	}{
		"true length":                 {nil, reference, core.FinishLength, ""},
		"cancelled":                   {nil, reference[:5], core.FinishCancelled, ""},
		"dropped token, length":       {nil, reference[:11], core.FinishLength, "claims to be full after 11 tokens"},
		"dropped token, stop":         {nil, reference[:11], core.FinishStop, "stops after 11 tokens"},
		"early stop":                  {nil, reference[:1], core.FinishStop, "stops after 1 tokens"},
		"another reason":              {nil, reference, "error", `to end for the reason "error"`},
		"one token too many":          {func(s *core.Sampler) { s.MaxTokens-- }, reference, core.FinishLength, "is full with output token 10"},
		"an end token":                {func(s *core.Sampler) { s.IgnoreEOS = false }, reference[:first+1], core.FinishStop, ""},
		"padding behind an end":       {func(s *core.Sampler) { s.IgnoreEOS = false }, reference, core.FinishLength, "ends with output token"},
		"an end called length":        {func(s *core.Sampler) { s.IgnoreEOS = false }, reference[:first+1], core.FinishLength, "claims to be full"},
		"stopped before the end":      {func(s *core.Sampler) { s.IgnoreEOS = false }, reference[:first], core.FinishStop, "stops after"},
		"a stop string":               {func(s *core.Sampler) { s.Stop = []string{"nowhere at all", letter(reference[6:8])} }, reference[:8], core.FinishStop, ""},
		"padding behind a stop":       {func(s *core.Sampler) { s.Stop = []string{letter(reference[6:8]), "nowhere at all"} }, reference, core.FinishLength, "ends with output token"},
		"stopped before the string":   {func(s *core.Sampler) { s.Stop = []string{letter(reference[6:8])} }, reference[:7], core.FinishStop, "neither an end token nor a stop string"},
		"a token that does not exist": {nil, append(slices.Clone(reference[:11]), 400), core.FinishLength, "the vocabulary has 400"},
	} {
		t.Run(name, func(t *testing.T) {
			sc := ending(t, eos, v.change)
			s, err := sc.accuse(v.output, v.finish)
			if v.fault == "" {
				if err == nil {
					t.Fatalf("a true end is accused: %+v", s.Fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Phase != referee.Proven || !strings.Contains(s.Fault, v.fault) {
				t.Errorf("%s: %q, want %q", s.Phase, s.Fault, v.fault)
			}
			t.Log(s.Fault)
		})
	}
}

// Whatever a stranger claims of a true answer, the claim alone proves nothing.
func FuzzClaim(f *testing.F) {
	shape := shapes[2]
	shape.EOS = 300
	sc := newSampledScene(f, shape, 12, 1, core.Sampler{Temperature: 900_000, MaxTokens: 6, Stop: []string{"nowhere", "elsewhere"}})
	own, err := sc.prover.engine.(*model.Model).Replay(f.Context(), sc.computation("").Input, sc.output)
	if err != nil || own.Finish == "" || len(sc.output) < 3 {
		f.Fatal(own.Finish, len(sc.output), err)
	}
	sc.receipt.Finish = own.Finish
	a := sc.answer()
	f.Add(referee.Encode(leafClaim(1, 1)))
	f.Add(referee.Encode(search))
	f.Add(referee.Encode(sc.tokenClaim(a, 1, (sc.output[1]+1)%vocabulary)))
	for at := range sc.output {
		position := len(sc.input) + at
		for first := position; first >= max(len(sc.input)-1, position-2); first-- {
			tokens, err := sc.prover.spelt(a.tokens, len(sc.input), first, position)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(referee.Encode(referee.Claim{End: &referee.EndClaim{Sampler: sc.sampler, Request: referee.OpeningOf(&sc.head), Position: uint32(position), Tokens: tokens}}))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c referee.Claim
		if referee.Decode(b, &c) != nil {
			return
		}
		if s, err := referee.Open(sc.prover.Model, &sc.receipt, c); err == nil && s.Phase == referee.Proven {
			t.Fatalf("a true answer is convicted: %s", s.Fault)
		}
	})
}
