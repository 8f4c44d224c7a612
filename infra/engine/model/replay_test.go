package model

import (
	"context"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
)

func replay(t testing.TB, m *Model, in core.SequenceInput, output []core.Token) core.Replayed {
	t.Helper()
	r, err := m.Replay(context.Background(), in, output)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReplayReproducesAnswers(t *testing.T) {
	for _, shape := range []tiny{standard, shapes[4]} {
		m, auditor := shape.open(t, Options{Threads: 2}), shape.open(t, Options{Threads: 1, PrefillRows: 9})
		for i, sampler := range []core.Sampler{
			{MaxTokens: 10},
			warm(25),
			{Temperature: 2_000_000, MaxTokens: 70},
			{Temperature: 1_000_000, TopK: 5, MaxTokens: 9},
			{Temperature: 700_000, MinP: 100_000, MaxTokens: 9},
		} {
			in := core.SequenceInput{Input: prompt(m, 3+40*i, uint64(i)), Sampler: sampler, Seed: core.Seed{byte(i)}, Salt: core.Hash{9}, Trace: true}
			want := answer(t, m, in)
			r := replay(t, auditor, in, want.output)
			want.compare(t, "replay", result{r.Tokens, r.Finish, r.Boundaries})
			if r.Ended != len(want.output)-1 {
				t.Errorf("the replay ends at %d, the answer at %d", r.Ended, len(want.output)-1)
			}
			k := len(want.output) / 2
			resumed := in
			resumed.Input, resumed.Base = slices.Concat(in.Input, want.output[:k]), k
			r = replay(t, auditor, resumed, want.output[k:])
			if !slices.Equal(r.Tokens, want.output[k:]) || r.Finish != want.finish || !slices.Equal(r.Boundaries, want.leaves) {
				t.Errorf("the replay of a resumed answer differs: %+v", r)
			}
		}
	}
}

func TestReplayFindsWhatWasChanged(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 40, 1), Sampler: warm(20), Seed: core.Seed{3}, Trace: true}
	honest := answer(t, m, in)

	forged := slices.Clone(honest.output)
	forged[8] = (forged[8] + 1) % 300
	if r := replay(t, m, in, forged); !slices.Equal(r.Tokens[:9], honest.output[:9]) {
		t.Errorf("up to the forged token the replay gives %v, want %v", r.Tokens[:9], honest.output[:9])
	}
	if r := replay(t, m, in, honest.output[:12]); r.Finish != "" || r.Ended != -1 || !slices.Equal(r.Tokens, honest.output[:12]) {
		t.Errorf("a shortened answer counts as ended: %+v", r)
	}
	if got, want := replay(t, m, in, honest.output[:12]).Boundaries, honest.leaves[:(40+11)*3]; !slices.Equal(got, want) {
		t.Error("a shortened answer's leaves are not the beginning of the whole's")
	}
	padded := append(slices.Clone(honest.output), 5)
	if r := replay(t, m, in, padded); r.Ended != len(honest.output)-1 || !slices.Equal(r.Tokens, honest.output) {
		t.Errorf("padding was not found: %+v", r)
	}
	foreign := slices.Clone(honest.output)
	foreign[5] = 307 // outside the vocabulary
	if r := replay(t, m, in, foreign); !slices.Equal(r.Tokens, honest.output[:6]) {
		t.Errorf("with a token outside the vocabulary: %v, want %v", r.Tokens, honest.output[:6])
	}
	for name, change := range map[string]func(*core.SequenceInput){
		"seed":        func(in *core.SequenceInput) { in.Seed[0]++ },
		"temperature": func(in *core.SequenceInput) { in.Sampler.Temperature = 100_000 },
	} {
		other := in
		change(&other)
		if r := replay(t, m, other, honest.output); slices.Equal(r.Tokens, honest.output) {
			t.Errorf("another %s gives the same answer", name)
		}
	}
	other := in
	other.Salt[0]++
	if r := replay(t, m, other, honest.output); slices.Equal(r.Boundaries, honest.leaves) || !slices.Equal(r.Tokens, honest.output) {
		t.Error("the salt must change the leaves and nothing else")
	}
	flipped := standard
	flipped.seed++
	if r := replay(t, flipped.open(t, Options{}), in, honest.output); slices.Equal(r.Tokens, honest.output) {
		t.Error("another model gives the same answer")
	}
}

func TestReplayOfNothingAndOfTooMuch(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 10, 1), Sampler: warm(20), Trace: true}
	if r := replay(t, m, in, nil); len(r.Tokens) != 0 || r.Finish != "" || r.Ended != -1 || r.Boundaries != nil {
		t.Errorf("an empty answer: %+v", r)
	}
	s := start(t, m, in)
	if s.Boundaries() != nil {
		t.Error("an answer that has not begun has leaves")
	}
	s.Release()
	if r := replay(t, m, in, make([]core.Token, 5000)); r.Ended != 19 || len(r.Tokens) != 20 {
		t.Errorf("an answer of 5000 tokens where 20 were asked: ended %d, %d drawn", r.Ended, len(r.Tokens))
	}
	small := standard.open(t, Options{ContextLimit: 20})
	if _, err := small.Replay(context.Background(), in, prompt(m, 12, 2)); core.CodeOf(err) != core.CodeContextLength {
		t.Errorf("an answer beyond the engine's own context: %v", err)
	}
	if r := replay(t, small, in, prompt(m, 11, 2)); len(r.Tokens) != 11 {
		t.Errorf("a replay that just fits drew %d tokens", len(r.Tokens))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Replay(ctx, in, prompt(m, 5, 2)); err == nil {
		t.Error("a cancelled replay succeeded")
	}
	if m.cache.used+m.cache.promised != 0 {
		t.Error("memory was not given back")
	}
}
