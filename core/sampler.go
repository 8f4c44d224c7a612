package core

// Limits of a sampler that every engine and every provider keeps.
const (
	MaxTemperature = 2_000_000 // millionths
	MaxPenalty     = 2_000_000 // millionths, of all three penalties
	MaxBias        = 100_000_000
	MaxBiases      = 1024
	MaxLogprobs    = 21 // the drawn token and 20 others
	MaxStops       = 16
	MaxStopBytes   = 256
	MaxGrammar     = 64 << 10 // bytes
	MaxTrigger     = 256      // bytes
)

// StatisticalTopK is among how many likeliest tokens a draw of the statistical
// tier happens that follows the seed: as many as servers list.
const StatisticalTopK = 20

// Statistical refuses, by the field, what answers of the statistical tier do not
// offer: what needs the logits of tokens that a server does not list.
func (s *Sampler) Statistical() error {
	for _, f := range []struct {
		param string
		used  bool
	}{
		{"repetition_penalty", s.RepetitionPenalty > 1_000_000},
		{"frequency_penalty", s.FrequencyPenalty != 0},
		{"presence_penalty", s.PresencePenalty != 0},
		{"logit_bias", len(s.Bias) > 0},
		{"logprobs", s.Logprobs > 0},
		{"response_format", s.Constraint != nil},
		{"ignore_eos", s.IgnoreEOS},
	} {
		if f.used {
			return &Error{Code: CodeInvalid, Param: f.param, Message: f.param + " is not available on the statistical tier", Next: "leave it out, or ask the model's exact tier"}
		}
	}
	return nil
}

// Check refuses samplers that no engine runs, naming the field by its parameter
// in the OpenAI API. What depends on the model is for the engine to check: that
// biased tokens exist, and that the grammar is one.
func (s *Sampler) Check() error {
	const million = 1_000_000
	bad := func(param, format string, args ...any) error {
		e := Errorf(CodeInvalid, format, args...)
		e.Param = param
		return e
	}
	switch {
	case s.Temperature > MaxTemperature:
		return bad("temperature", "temperature is %g, at most 2 is possible", float64(s.Temperature)/million)
	case s.TopP > million:
		return bad("top_p", "top_p is %g, at most 1 is possible", float64(s.TopP)/million)
	case s.MinP > million:
		return bad("min_p", "min_p is %g, at most 1 is possible", float64(s.MinP)/million)
	case s.MaxTokens == 0:
		return bad("max_tokens", "max_tokens must be at least 1")
	case len(s.Stop) > MaxStops:
		return bad("stop", "%d stop strings, at most %d are possible", len(s.Stop), MaxStops)
	case s.RepetitionPenalty != 0 && (s.RepetitionPenalty < million || s.RepetitionPenalty > MaxPenalty):
		return bad("repetition_penalty", "repetition_penalty is %g, 1 to 2 is possible", float64(s.RepetitionPenalty)/million)
	case s.FrequencyPenalty < -MaxPenalty || s.FrequencyPenalty > MaxPenalty:
		return bad("frequency_penalty", "frequency_penalty is %g, -2 to 2 is possible", float64(s.FrequencyPenalty)/million)
	case s.PresencePenalty < -MaxPenalty || s.PresencePenalty > MaxPenalty:
		return bad("presence_penalty", "presence_penalty is %g, -2 to 2 is possible", float64(s.PresencePenalty)/million)
	case len(s.Bias) > MaxBiases:
		return bad("logit_bias", "%d biased tokens, at most %d are possible", len(s.Bias), MaxBiases)
	case s.Logprobs > MaxLogprobs:
		return bad("top_logprobs", "the log-probabilities of %d likeliest tokens, at most %d are possible", s.Logprobs-1, MaxLogprobs-1)
	}
	for _, t := range s.Stop {
		if t == "" || len(t) > MaxStopBytes {
			return bad("stop", "a stop string has %d bytes, 1 to %d are possible", len(t), MaxStopBytes)
		}
	}
	for i, b := range s.Bias {
		switch {
		case b.Token < 0 || i > 0 && b.Token <= s.Bias[i-1].Token:
			return bad("logit_bias", "the biased tokens are not in rising order of ids at token %d", b.Token)
		case b.Bias < -MaxBias || b.Bias > MaxBias:
			return bad("logit_bias", "the bias of token %d is %g, -100 to 100 is possible", b.Token, float64(b.Bias)/million)
		}
	}
	if c := s.Constraint; c != nil {
		switch {
		case len(c.Grammar) == 0 || len(c.Grammar) > MaxGrammar:
			return bad("response_format", "a grammar has %d bytes, 1 to %d are possible", len(c.Grammar), MaxGrammar)
		case len(c.Trigger) > MaxTrigger:
			return bad("response_format", "a trigger has %d bytes, at most %d are possible", len(c.Trigger), MaxTrigger)
		case s.IgnoreEOS:
			return bad("ignore_eos", "an answer that follows a grammar cannot go on past its end")
		}
	}
	return nil
}
