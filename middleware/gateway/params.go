package gateway

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"github.com/koinon-network/koinon/core"
)

// sampling holds the parameters that chat and plain completions share. Whatever
// would change the answer in a way the network cannot honour is refused by name.
type sampling struct {
	routing
	drawing
	Stream              bool           `json:"stream"`
	StreamOptions       *streamOptions `json:"stream_options"`
	MaxTokens           *int64         `json:"max_tokens"`
	MaxCompletionTokens *int64         `json:"max_completion_tokens"`
	N                   *int64         `json:"n"`
	Stop                stopList       `json:"stop"`

	stops int // how many strings stop may have
}

// drawing says how tokens are drawn, in names that all the APIs share.
type drawing struct {
	Temperature       *float64           `json:"temperature"`
	TopP              *float64           `json:"top_p"`
	TopK              *int64             `json:"top_k"`
	MinP              *float64           `json:"min_p"`
	Seed              *int64             `json:"seed"`
	PresencePenalty   *float64           `json:"presence_penalty"`
	FrequencyPenalty  *float64           `json:"frequency_penalty"`
	RepetitionPenalty *float64           `json:"repetition_penalty"`
	LogitBias         map[string]float64 `json:"logit_bias"`
	IgnoreEOS         bool               `json:"ignore_eos"`
	Grammar           *string            `json:"grammar"`
}

type streamOptions struct {
	IncludeUsage       bool `json:"include_usage"`
	IncludeObfuscation bool `json:"include_obfuscation"` // padding against observers of the wire; none is added
}

// stopList is one string or a list of strings.
type stopList []string

// UnmarshalJSON accepts null, a string or a list of strings.
func (s *stopList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		if one != "" {
			*s = stopList{one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return invalid("stop", "stop: must be a string or a list of strings")
	}
	*s = many
	return nil
}

// Limits of parameters, as OpenAI documents them where it does.
const (
	maxStops   = 4
	maxN       = 8
	maxChoices = 32 // of prompts times n
	micro      = 1_000_000
)

// sampler validates and turns the parameters into the canonical form; defaults
// are the model's own where it names some.
func (p *sampling) sampler(d core.Sampler) (core.Sampler, error) {
	s := d
	if _, err := p.names(); err != nil {
		return s, err
	}
	for _, f := range []struct {
		name   string
		v      *float64
		lo, hi float64
		set    func(micros int64)
	}{
		{"temperature", p.Temperature, 0, 2, func(m int64) { s.Temperature = uint32(m) }},
		{"top_p", p.TopP, 0, 1, func(m int64) { s.TopP = uint32(max(m, 1)) }}, // 0: the smallest nucleus
		{"min_p", p.MinP, 0, 1, func(m int64) { s.MinP = uint32(m) }},
		{"presence_penalty", p.PresencePenalty, -2, 2, func(m int64) { s.PresencePenalty = int32(m) }},
		{"frequency_penalty", p.FrequencyPenalty, -2, 2, func(m int64) { s.FrequencyPenalty = int32(m) }},
		{"repetition_penalty", p.RepetitionPenalty, 1, 2, func(m int64) { s.RepetitionPenalty = uint32(m) }},
	} {
		if f.v == nil {
			continue
		}
		if !(*f.v >= f.lo && *f.v <= f.hi) {
			return s, invalid(f.name, "%s: %v is outside %v to %v", f.name, *f.v, f.lo, f.hi)
		}
		f.set(int64(math.RoundToEven(*f.v * micro)))
	}
	if s.RepetitionPenalty == micro {
		s.RepetitionPenalty = 0 // 1 changes nothing
	}
	if p.TopK != nil {
		if *p.TopK < -1 || *p.TopK > math.MaxInt32 {
			return s, invalid("top_k", "top_k: %d is outside 0 to %d", *p.TopK, math.MaxInt32)
		}
		s.TopK = uint32(max(*p.TopK, 0))
	}
	if err := p.lengths(&s); err != nil {
		return s, err
	}
	var err error
	if s.Bias, err = p.biases(); err != nil {
		return s, err
	}
	s.IgnoreEOS = p.IgnoreEOS
	if p.Grammar != nil {
		if s.Constraint, err = ownGrammar(*p.Grammar); err != nil {
			return s, err
		}
	}
	return s, nil
}

// lengths reads what ends an answer.
func (p *sampling) lengths(s *core.Sampler) error {
	for _, m := range []struct {
		name string
		v    *int64
	}{{"max_tokens", p.MaxTokens}, {"max_completion_tokens", p.MaxCompletionTokens}} {
		if m.v == nil {
			continue
		}
		if *m.v < 1 || *m.v > math.MaxInt32 {
			return invalid(m.name, "%s: %d must be at least 1", m.name, *m.v)
		}
		s.MaxTokens = uint32(*m.v)
	}
	if most := cmp.Or(p.stops, maxStops); len(p.Stop) > most {
		return invalid("stop", "stop: %d strings, at most %d are possible", len(p.Stop), most)
	}
	for _, t := range p.Stop {
		if t == "" || len(t) > core.MaxStopBytes {
			return invalid("stop", "stop: each string needs 1 to %d bytes", core.MaxStopBytes)
		}
	}
	s.Stop = p.Stop
	return nil
}

// biases reads OpenAI's map from token ids to biases.
func (p *sampling) biases() ([]core.TokenBias, error) {
	if len(p.LogitBias) > core.MaxBiases {
		return nil, invalid("logit_bias", "logit_bias: %d tokens, at most %d are possible", len(p.LogitBias), core.MaxBiases)
	}
	var out []core.TokenBias
	for name, v := range p.LogitBias {
		id, err := strconv.ParseUint(name, 10, 31)
		if err != nil || name != strconv.FormatUint(id, 10) {
			return nil, invalid("logit_bias", "logit_bias: %q is not a token id", clip(name, 40))
		}
		if !(v >= -100 && v <= 100) {
			return nil, invalid("logit_bias", "logit_bias: %v for token %d is outside -100 to 100", v, id)
		}
		out = append(out, core.TokenBias{Token: core.Token(id), Bias: int32(math.RoundToEven(v * micro))})
	}
	slices.SortFunc(out, func(a, b core.TokenBias) int { return int(a.Token) - int(b.Token) })
	return out, nil
}

// count is how many answers are asked for.
func (p *sampling) count() (int, error) {
	if p.N == nil {
		return 1, nil
	}
	if *p.N < 1 || *p.N > maxN {
		return 0, invalid("n", "n: %d answers at once are not possible, 1 to %d are", *p.N, maxN)
	}
	return int(*p.N), nil
}

// seed is the seed of choice i: OpenAI's seed for the first one, derived from it
// for the others, so that each can be asked for again.
func (p *sampling) seed(i int) *uint64 {
	if p.Seed == nil {
		return nil
	}
	u := uint64(*p.Seed)
	if i > 0 {
		b := binary.BigEndian.AppendUint64([]byte("koinon/choice/1"), u)
		h := sha256.Sum256(binary.BigEndian.AppendUint32(b, uint32(i)))
		u = binary.BigEndian.Uint64(h[:])
	}
	return &u
}

func (p *sampling) includeUsage() bool { return p.StreamOptions != nil && p.StreamOptions.IncludeUsage }
