package model_test

import (
	"context"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/token"
)

func seedModel(t *testing.T) *model.Model {
	t.Helper()
	m, err := model.OpenBytes(seed.Bytes(), model.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func answerOf(t *testing.T, m *model.Model, in core.SequenceInput) ([]core.Token, core.FinishReason) {
	t.Helper()
	s, err := m.NewSequence(in)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	for s.Finish() == "" {
		if err := m.Step(context.Background(), []core.Sequence{s}); err != nil {
			t.Fatal(err)
		}
	}
	return s.Output(), s.Finish()
}

// An engine's own answers have no margin, whatever the sampler; a token in
// another's place has one, and so has an end that is none.
func TestStandOfOwnAndOthersTokens(t *testing.T) {
	m := seedModel(t)
	tokenizer, err := token.New(m.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	input := tokenizer.Encode("What is a receipt?", token.Options{AddBOS: true, ParseSpecial: true})
	for i, s := range []core.Sampler{
		{IgnoreEOS: true, MaxTokens: 24}, {IgnoreEOS: true, MaxTokens: 24, Temperature: 1_000_000, TopK: 20}, {IgnoreEOS: true, MaxTokens: 24, Temperature: 700_000, TopK: 20, TopP: 900_000},
		{IgnoreEOS: true, MaxTokens: 24, Temperature: 1_300_000, TopK: 12, MinP: 20_000}, {IgnoreEOS: true, MaxTokens: 24, Temperature: 500_000, TopK: 5, FrequencyPenalty: 300_000},
	} {
		in := core.SequenceInput{Input: input, Sampler: s, Seed: core.Seed{byte(i)}}
		output, finish := answerOf(t, m, in)
		stand := func(output []core.Token, finish core.FinishReason) []core.Standing {
			t.Helper()
			vs, err := m.Stand(t.Context(), in, output, finish, true)
			if err != nil {
				t.Fatal(err)
			}
			return vs
		}
		for p, v := range stand(output, finish) {
			if v.Margin != 0 || s.TopP == 0 && s.TopK == 0 && v.Gap <= 0 {
				t.Errorf("sampler %d, own token %d: gap %g, margin %g", i, p, v.Gap, v.Margin)
			}
			if s.Temperature == 0 && v.Expected != 0 || v.Surprise < 0 || v.Surprise > core.MaxSurprise {
				t.Errorf("sampler %d, own token %d: surprise %g of %g", i, p, v.Surprise, v.Expected)
			}
		}
		other := append([]core.Token(nil), output...)
		other[3] = core.Token((int(other[3]) + 7) % m.Info().Vocabulary)
		if v := stand(other, finish)[3]; v.Margin <= 0 {
			t.Errorf("sampler %d: another token has no margin (gap %g)", i, v.Gap)
		}
		cut := stand(output[:5], core.FinishStop)
		if len(cut) != 6 || cut[5] != core.Unthinkable {
			t.Errorf("sampler %d: an end that is none stands as %v", i, cut[len(cut)-1])
		}
		if whole := stand(output[:5], core.FinishCancelled); len(whole) != 5 {
			t.Errorf("sampler %d: a cancelled answer of 5 tokens has %d standings", i, len(whole))
		}
	}
	in := core.SequenceInput{Input: input, Sampler: core.Sampler{MaxTokens: 60}}
	output, finish := answerOf(t, m, in)
	if finish != core.FinishStop {
		t.Fatalf("the answer ends with %s", finish)
	}
	vs, err := m.Stand(t.Context(), in, append(output, output[0], 1<<30), core.FinishStop, true)
	if err != nil || len(vs) != len(output)+2 || vs[len(output)] != core.Unthinkable || vs[len(output)+1] != core.Unthinkable {
		t.Errorf("padding stands as %v, %v", vs[len(output):], err)
	}
}
