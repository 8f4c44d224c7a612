package model

import (
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

func text(m *Model, ids []core.Token) string {
	var b strings.Builder
	for _, t := range ids {
		b.Write(m.tokenizer.Piece(t))
	}
	return b.String()
}

func TestStopStringsEndTheAnswer(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 20, 6), Sampler: warm(30), Seed: core.Seed{2}}
	whole := answer(t, m, in).output
	// A stop string across tokens 9, 10 and 11, beginning and ending within them.
	from, to := text(m, whole[:9]), text(m, whole[:12])
	stop := to[len(from):]
	if i := strings.Index(to, stop); i != len(from) {
		t.Fatalf("the test's stop string %q occurs earlier, at %d", stop, i)
	}
	in.Sampler.Stop = []string{"never to be seen", stop}
	got := answer(t, m, in)
	if !slices.Equal(got.output, whole[:12]) || got.finish != core.FinishStop {
		t.Fatalf("%d tokens, finish %q; the stop string is complete after 12", len(got.output), got.finish)
	}
	if r := replay(t, m, in, got.output); r.Finish != core.FinishStop || r.Ended != 11 {
		t.Errorf("replay: finish %q, ended %d", r.Finish, r.Ended)
	}
	in.Sampler.Stop = []string{stop}
	if got = answer(t, m, in); !slices.Equal(got.output, whole[:12]) {
		t.Errorf("alone, the stop string ends the answer after %d tokens", len(got.output))
	}
	// The stop string counts also when another provider delivered its beginning.
	in.Input, in.Base = slices.Concat(in.Input, whole[:10]), 10
	if got = answer(t, m, in); !slices.Equal(got.output, whole[10:12]) || got.finish != core.FinishStop {
		t.Errorf("resumed in mid-stop: %v, %q", got.output, got.finish)
	}
}

func TestEndTokensEndTheAnswer(t *testing.T) {
	base := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(base, 20, 6), Sampler: warm(30), Seed: core.Seed{2}}
	whole := answer(t, base, in).output
	k := slices.IndexFunc(whole, func(t core.Token) bool { return t >= 256 }) // bytes must stay ordinary tokens
	if k < 1 || k == len(whole)-1 {
		t.Fatalf("the answer %v is of no use here", whole)
	}
	end := whole[k]
	shape := standard
	shape.change = func(b *gguf.Builder) { b.Set("tokenizer.ggml.eos_token_id", uint32(end)) }
	m := shape.open(t, Options{})
	in.Sampler.IgnoreEOS = false
	got := answer(t, m, in)
	if !slices.Equal(got.output, whole[:k+1]) || got.finish != core.FinishStop {
		t.Fatalf("%d tokens, finish %q; the end token comes after %d", len(got.output), got.finish, k)
	}
	in.Sampler.IgnoreEOS = true
	if got = answer(t, m, in); !slices.Equal(got.output, whole) || got.finish != core.FinishLength {
		t.Fatalf("the end token was not ignored: %d tokens, %q", len(got.output), got.finish)
	}
}

func TestLengthEndsTheAnswer(t *testing.T) {
	shape := standard
	shape.context = 40
	m := shape.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 30, 1), Sampler: warm(1_000_000)}
	got := answer(t, m, in)
	if len(got.output) != 10 || got.finish != core.FinishLength {
		t.Fatalf("the context of 40 ends an answer to 30 tokens after %d, %q", len(got.output), got.finish)
	}
	if r := replay(t, m, in, got.output); r.Finish != core.FinishLength || r.Ended != 9 || !slices.Equal(r.Tokens, got.output) {
		t.Errorf("replay: %+v", r)
	}
	in.Sampler.MaxTokens = 1
	if got = answer(t, m, in); len(got.output) != 1 || got.finish != core.FinishLength {
		t.Errorf("max_tokens 1 gave %d tokens, %q", len(got.output), got.finish)
	}
}

func TestInputsThatAreRefused(t *testing.T) {
	m := standard.open(t, Options{})
	good := core.SequenceInput{Input: prompt(m, 10, 1), Sampler: warm(5)}
	for name, c := range map[string]struct {
		code   core.Code
		says   string
		change func(*core.SequenceInput)
	}{
		"empty":         {core.CodeInvalid, "no prompt", func(in *core.SequenceInput) { in.Input = nil }},
		"all base":      {core.CodeInvalid, "no prompt", func(in *core.SequenceInput) { in.Base = 10 }},
		"negative base": {core.CodeInvalid, "no prompt", func(in *core.SequenceInput) { in.Base = -1 }},
		"token":         {core.CodeInvalid, "token 307 at position 3 ", func(in *core.SequenceInput) { in.Input[3] = 307 }},
		"negative":      {core.CodeInvalid, "token -1 ", func(in *core.SequenceInput) { in.Input[0] = -1 }},
		"temperature":   {core.CodeInvalid, "temperature", func(in *core.SequenceInput) { in.Sampler.Temperature = 3e6 }},
		"too long":      {core.CodeContextLength, "600 tokens and the context is 512", func(in *core.SequenceInput) { in.Input = prompt(m, 600, 1) }},
		"just too long": {core.CodeContextLength, "512 tokens and the context is 512", func(in *core.SequenceInput) { in.Input = prompt(m, 512, 1) }},
	} {
		in := good
		in.Input = slices.Clone(in.Input)
		c.change(&in)
		_, err := m.NewSequence(in)
		if core.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	small := standard.open(t, Options{ContextLimit: 100})
	if small.Info().ContextLength != 100 {
		t.Error("the limit does not show in Info")
	}
	good.Sampler.MaxTokens = 91
	if _, err := small.NewSequence(good); core.CodeOf(err) != core.CodeContextLength || !strings.Contains(err.Error(), "101") {
		t.Errorf("an answer that a shortened context would cut: %v", err)
	}
	good.Sampler.MaxTokens = 90
	if s, err := small.NewSequence(good); err != nil {
		t.Error(err)
	} else {
		s.Release()
	}
	few := standard.open(t, Options{MaxBatch: 2})
	a, b := start(t, few, good), start(t, few, good)
	if _, err := few.NewSequence(good); core.CodeOf(err) != core.CodeBusy {
		t.Errorf("a third sequence: %v", err)
	}
	a.Release()
	b.Release()
	start(t, few, good).Release()
}
