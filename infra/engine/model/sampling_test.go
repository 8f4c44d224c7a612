package model

import (
	"context"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// samplers use everything that a sampler has.
func samplers() map[string]core.Sampler {
	everything := core.Sampler{Temperature: 1_200_000, TopK: 200, TopP: 970_000, MinP: 100, MaxTokens: 24, IgnoreEOS: true,
		RepetitionPenalty: 1_300_000, FrequencyPenalty: 400_000, PresencePenalty: -300_000, Logprobs: 4,
		Bias: []core.TokenBias{{Token: 40, Bias: -100_000_000}, {Token: 97, Bias: 2_500_000}}}
	greedy := core.Sampler{MaxTokens: 24, IgnoreEOS: true, RepetitionPenalty: 1_100_000, Logprobs: 1}
	constrained := core.Sampler{Temperature: 1_000_000, TopP: 990_000, MaxTokens: 24, Logprobs: 2, FrequencyPenalty: 500_000, Constraint: &core.Constraint{
		Grammar: `root ::= "[" item ("," item)* "]"   item ::= [a-z]{1,9} | "é" | root`}}
	triggered := core.Sampler{Temperature: 1_000_000, MaxTokens: 24, Bias: []core.TokenBias{{Token: 97, Bias: 3_000_000}}, Constraint: &core.Constraint{
		Grammar: `root ::= [x-z€]{3} "<" [^>]{4} ">"`, Trigger: "a"}}
	return map[string]core.Sampler{"everything": everything, "greedy": greedy, "constrained": constrained, "triggered": triggered}
}

// told is an answer with its log-probabilities.
type told struct {
	output   []core.Token
	logprobs []core.TokenLogprobs
	finish   core.FinishReason
}

func tell(s core.Sequence) told {
	return told{slices.Clone(s.Output()), slices.Clone(s.Logprobs()), s.Finish()}
}

func (a told) equal(t *testing.T, name string, b told) {
	t.Helper()
	if !slices.Equal(a.output, b.output) || a.finish != b.finish {
		t.Errorf("%s: %v, %q, want %v, %q", name, b.output, b.finish, a.output, a.finish)
	}
	if !reflect.DeepEqual(a.logprobs, b.logprobs) {
		t.Errorf("%s: other log-probabilities", name)
	}
}

func TestEverySamplerGivesTheSameAnswerEverywhere(t *testing.T) {
	spread(t)
	for name, sampler := range samplers() {
		t.Run(name, func(t *testing.T) {
			m := standard.open(t, Options{Threads: 1, PrefillRows: 1})
			in := core.SequenceInput{Input: prompt(m, 30, 3), Sampler: sampler, Seed: core.Seed{4}}
			s := start(t, m, in)
			finish(t, m, s)
			want := tell(s)
			s.Release()
			if n := sampler.Logprobs; n > 0 && (len(want.logprobs) != len(want.output) || want.logprobs[0][0].Token != want.output[0]) {
				t.Fatalf("log-probabilities of %d tokens for %d", len(want.logprobs), len(want.output))
			}

			other := standard.open(t, Options{Threads: 3, PrefillRows: 8})
			want.equal(t, "in a batch", amongOthers(t, other, in))
			for _, k := range []int{1, min(9, len(want.output)-2), len(want.output) - 1} {
				resumed := in
				resumed.Input, resumed.Base = slices.Concat(in.Input, want.output[:k]), k
				rest := want
				rest.output = want.output[k:]
				if want.logprobs != nil {
					rest.logprobs = want.logprobs[k:]
				}
				rest.equal(t, "continued", amongOthers(t, other, resumed))
			}
			r := replay(t, other, in, want.output)
			want.equal(t, "replayed", told{r.Tokens, r.Logprobs, r.Finish})
			if r.Ended != len(want.output)-1 {
				t.Errorf("replayed: ended after %d of %d", r.Ended, len(want.output))
			}
		})
	}
}

// amongOthers answers in a batch with all samplers' answers to other prompts.
func amongOthers(t *testing.T, m *Model, in core.SequenceInput) told {
	t.Helper()
	s := start(t, m, in)
	defer s.Release()
	batch := []core.Sequence{s}
	seed := byte(20)
	for _, sampler := range samplers() {
		other := start(t, m, core.SequenceInput{Input: prompt(m, 11, uint64(seed)), Sampler: sampler, Seed: core.Seed{seed}})
		defer other.Release()
		batch = append(batch, other)
		seed++
	}
	for s.Finish() == "" {
		if err := m.Step(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
	}
	return tell(s)
}

func TestConstraintsHoldTheAnswer(t *testing.T) {
	m := standard.open(t, Options{})
	for _, c := range []struct {
		grammar, trigger, pattern string
	}{
		{`root ::= "yes" | "no" | "perhaps"`, "", `^(yes|no|perhaps)$`},
		{`root ::= "[" [0-9]{1,3} ("," [0-9]{1,3}){0,4} "]"`, "", `^\[\d{1,3}(,\d{1,3}){0,4}\]$`},
		{`root ::= "é€😀"{2}`, "", `^(é€😀){2}$`},
		{`root ::= [à-ü]{4} [一-龥]`, "", `^[à-ü]{4}[一-龥]$`},
		{`root ::= [0-9]{5} "!"`, "a", `^[^a]*a[0-9]{5}!$`},
		{`root ::= "q"{3}`, "ba", `^([^b]|b[^a])*b*baq{3}$`},
	} {
		for seed := range byte(8) {
			in := core.SequenceInput{Input: prompt(m, 20, uint64(seed)), Seed: core.Seed{seed},
				Sampler: core.Sampler{Temperature: 1_500_000, MaxTokens: 400, Constraint: &core.Constraint{Grammar: c.grammar, Trigger: c.trigger}}}
			if c.trigger != "" { // else it may never come
				in.Sampler.Bias = []core.TokenBias{{Token: 97, Bias: 5_000_000}, {Token: 98, Bias: 5_000_000}, {Token: 306, Bias: -100_000_000}}
			}
			got := answer(t, m, in)
			said := strings.TrimSuffix(text(m, got.output), "<|im_end|>")
			if !regexp.MustCompile(`(?s)`+c.pattern).MatchString(said) || got.finish != core.FinishStop {
				t.Errorf("%s after %q: %q, %q", c.grammar, c.trigger, said, got.finish)
			}
			if r := replay(t, m, in, got.output); !slices.Equal(r.Tokens, got.output) || r.Finish != got.finish {
				t.Errorf("%s: replay gives %q, %q", c.grammar, text(m, r.Tokens), r.Finish)
			}
			// A token that breaks the grammar is no outcome of any draw.
			wrong := slices.Clone(got.output)
			wrong[len(wrong)-1] = '~'
			if r := replay(t, m, in, wrong); slices.Equal(r.Tokens, wrong) {
				t.Errorf("%s: an answer that breaks the grammar passes", c.grammar)
			}
		}
	}
}

func TestConstraintsThatCannotHold(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 10, 1), Sampler: core.Sampler{MaxTokens: 9, Constraint: &core.Constraint{Grammar: `root ::= "ab" x`}}}
	if _, err := m.NewSequence(in); core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), "no rule named x") {
		t.Errorf("a wrong grammar: %v", err)
	}
	in.Sampler.Constraint = &core.Constraint{Grammar: `root ::= "ab"*`}
	in.Input, in.Base = append(in.Input, 'x'-'!'), 1
	if _, err := m.NewSequence(in); core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), "does not follow the grammar") {
		t.Errorf("a continuation that breaks the grammar: %v", err)
	}
	in.Input, in.Base = in.Input[:10], 0
	in.Sampler.Constraint.Grammar = `root ::= "ab" "cd"?`
	in.Sampler.MaxTokens = 2
	if got := answer(t, m, in); got.finish != core.FinishLength && got.finish != core.FinishStop {
		t.Errorf("finish %q", got.finish)
	}
	// A sentence that goes beyond the bounds in its third byte.
	in.Sampler = core.Sampler{MaxTokens: 9, Constraint: &core.Constraint{Grammar: `root ::= "q" "z" ` + strings.Repeat(`("a"|"b")? `, 3000)}}
	if got := answer(t, m, in); got.finish != FinishInvalid || text(m, got.output) != "q" {
		t.Errorf("%q, finish %q", text(m, got.output), got.finish)
	}
}

func TestSeedsReproduceAnswers(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 20, 3), Sampler: warm(20)}
	answers := map[string]bool{}
	for seed := range byte(4) {
		in.Seed = core.Seed{seed}
		a, b := answer(t, m, in), answer(t, m, in)
		a.compare(t, "the same seed again", b)
		answers[text(m, a.output)] = true
	}
	if len(answers) != 4 {
		t.Errorf("4 seeds gave %d answers", len(answers))
	}
}

func TestPenaltiesAndBiasesReachTheAnswer(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 20, 3), Sampler: core.Sampler{MaxTokens: 40, IgnoreEOS: true}}
	plain := answer(t, m, in).output
	in.Sampler.Bias = []core.TokenBias{{Token: 65, Bias: 100_000_000}}
	if got := answer(t, m, in).output; slices.ContainsFunc(got, func(t core.Token) bool { return t != 65 }) {
		t.Errorf("a bias of 100 gives %v", got)
	}
	in.Sampler.FrequencyPenalty = 2_000_000
	biased := answer(t, m, in).output
	in.Sampler.Bias = nil
	in.Sampler.PresencePenalty, in.Sampler.RepetitionPenalty = 2_000_000, 2_000_000
	distinct := func(ids []core.Token) int {
		ids = slices.Clone(ids)
		slices.Sort(ids)
		return len(slices.Compact(ids))
	}
	penalised := answer(t, m, in).output
	if distinct(penalised) <= distinct(plain) {
		t.Errorf("%d distinct tokens with penalties, %d without", distinct(penalised), distinct(plain))
	}
	if distinct(biased) != 1 {
		t.Errorf("a penalty of 2 a time outweighs a bias of 100 within 40 tokens: %v", biased)
	}
	in.Sampler.Bias = []core.TokenBias{{Token: 307, Bias: 1}}
	if _, err := m.NewSequence(in); core.CodeOf(err) != core.CodeInvalid {
		t.Errorf("a bias of token 307 of 307: %v", err)
	}
}
