package core

import (
	"errors"
	"strings"
	"testing"
)

func TestSamplerLimits(t *testing.T) {
	good := func() Sampler {
		return Sampler{Temperature: 2_000_000, TopP: 1_000_000, MinP: 1_000_000, MaxTokens: 1, Stop: []string{"a"},
			RepetitionPenalty: 1_000_000, FrequencyPenalty: -2_000_000, PresencePenalty: 2_000_000, Logprobs: 21,
			Bias: []TokenBias{{0, 100_000_000}, {7, -100_000_000}}, Constraint: &Constraint{Grammar: "root ::= \"a\"", Trigger: "x"}}
	}
	if s := good(); s.Check() != nil {
		t.Fatal(s.Check())
	}
	for _, c := range []struct {
		param  string
		change func(*Sampler)
	}{
		{"temperature", func(s *Sampler) { s.Temperature++ }},
		{"top_p", func(s *Sampler) { s.TopP++ }},
		{"min_p", func(s *Sampler) { s.MinP++ }},
		{"max_tokens", func(s *Sampler) { s.MaxTokens = 0 }},
		{"stop", func(s *Sampler) { s.Stop = []string{""} }},
		{"stop", func(s *Sampler) { s.Stop = make([]string, 17) }},
		{"repetition_penalty", func(s *Sampler) { s.RepetitionPenalty-- }},
		{"repetition_penalty", func(s *Sampler) { s.RepetitionPenalty = 2_000_001 }},
		{"frequency_penalty", func(s *Sampler) { s.FrequencyPenalty-- }},
		{"presence_penalty", func(s *Sampler) { s.PresencePenalty++ }},
		{"top_logprobs", func(s *Sampler) { s.Logprobs++ }},
		{"logit_bias", func(s *Sampler) { s.Bias[0].Token = -1 }},
		{"logit_bias", func(s *Sampler) { s.Bias[0].Token = 7 }},
		{"logit_bias", func(s *Sampler) { s.Bias[0].Bias++ }},
		{"logit_bias", func(s *Sampler) { s.Bias[1].Bias-- }},
		{"logit_bias", func(s *Sampler) { s.Bias = make([]TokenBias, 1025) }},
		{"response_format", func(s *Sampler) { s.Constraint.Grammar = "" }},
		{"response_format", func(s *Sampler) { s.Constraint.Grammar = strings.Repeat("a", 64<<10+1) }},
		{"response_format", func(s *Sampler) { s.Constraint.Trigger = strings.Repeat("a", 257) }},
		{"ignore_eos", func(s *Sampler) { s.IgnoreEOS = true }},
	} {
		s := good()
		c.change(&s)
		var e *Error
		if err := s.Check(); !errors.As(err, &e) || e.Param != c.param || e.Code != CodeInvalid {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}
