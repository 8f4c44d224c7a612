package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// sampling holds the parameters that chat and plain completions share. A
// parameter that would change the answer in a way the network cannot honour is
// refused; parameters without influence on the text are accepted and ignored.
type sampling struct {
	Model               string         `json:"model"`
	Stream              bool           `json:"stream"`
	StreamOptions       *streamOptions `json:"stream_options"`
	Temperature         *float64       `json:"temperature"`
	TopP                *float64       `json:"top_p"`
	TopK                *int64         `json:"top_k"`
	MinP                *float64       `json:"min_p"`
	MaxTokens           *int64         `json:"max_tokens"`
	MaxCompletionTokens *int64         `json:"max_completion_tokens"`
	N                   *int64         `json:"n"`
	Stop                stopList       `json:"stop"`
	Seed                *int64         `json:"seed"`
	PresencePenalty     float64        `json:"presence_penalty"`
	FrequencyPenalty    float64        `json:"frequency_penalty"`
	LogitBias           map[string]any `json:"logit_bias"`
	IgnoreEOS           bool           `json:"ignore_eos"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
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
	maxStops      = 4
	maxStopLength = 256
	micro         = 1_000_000
)

// sampler validates and turns the parameters into the canonical form; defaults
// are the model's own where it names some.
func (p *sampling) sampler(d core.Sampler) (core.Sampler, error) {
	s := d
	fixed := func(name string, v *float64, lo, hi float64, to *uint32) error {
		if v == nil {
			return nil
		}
		if !(*v >= lo && *v <= hi) {
			return invalid(name, "%s: %v is outside %v to %v", name, *v, lo, hi)
		}
		*to = uint32(math.RoundToEven(*v * micro))
		return nil
	}
	for _, f := range []struct {
		name string
		v    *float64
		hi   float64
		to   *uint32
	}{{"temperature", p.Temperature, 2, &s.Temperature}, {"top_p", p.TopP, 1, &s.TopP}, {"min_p", p.MinP, 1, &s.MinP}} {
		if err := fixed(f.name, f.v, 0, f.hi, f.to); err != nil {
			return s, err
		}
	}
	if p.TopP != nil && s.TopP == 0 {
		s.TopP = 1 // the smallest nucleus: the likeliest token alone
	}
	if p.TopK != nil {
		if *p.TopK < 0 || *p.TopK > math.MaxInt32 {
			return s, invalid("top_k", "top_k: %d is outside 0 to %d", *p.TopK, math.MaxInt32)
		}
		s.TopK = uint32(*p.TopK)
	}
	for _, m := range []struct {
		name string
		v    *int64
	}{{"max_tokens", p.MaxTokens}, {"max_completion_tokens", p.MaxCompletionTokens}} {
		if m.v == nil {
			continue
		}
		if *m.v < 1 || *m.v > math.MaxInt32 {
			return s, invalid(m.name, "%s: %d must be at least 1", m.name, *m.v)
		}
		s.MaxTokens = uint32(*m.v)
	}
	if len(p.Stop) > maxStops {
		return s, invalid("stop", "stop: %d strings, at most %d are possible", len(p.Stop), maxStops)
	}
	for _, t := range p.Stop {
		if t == "" || len(t) > maxStopLength {
			return s, invalid("stop", "stop: each string needs 1 to %d bytes", maxStopLength)
		}
	}
	s.Stop = p.Stop
	s.IgnoreEOS = p.IgnoreEOS
	return s, p.refuse()
}

// refuse names the parameters that cannot be honoured.
func (p *sampling) refuse() error {
	switch {
	case p.Model == "":
		return invalid("model", "model: say which model to ask; GET /v1/models lists them")
	case p.N != nil && *p.N != 1:
		return invalid("n", "n: %d answers at once are not possible, only 1; send the request several times", *p.N)
	case p.PresencePenalty != 0:
		return invalid("presence_penalty", "presence_penalty: not supported, only 0")
	case p.FrequencyPenalty != 0:
		return invalid("frequency_penalty", "frequency_penalty: not supported, only 0")
	case len(p.LogitBias) > 0:
		return invalid("logit_bias", "logit_bias: not supported")
	}
	return nil
}

// seed is OpenAI's seed as the protocol carries it.
func (p *sampling) seed() *uint64 {
	if p.Seed == nil {
		return nil
	}
	u := uint64(*p.Seed)
	return &u
}

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	sampling
	Messages       []chatMessage   `json:"messages"`
	Tools          []any           `json:"tools"`
	Functions      []any           `json:"functions"`
	LogProbs       bool            `json:"logprobs"`
	TopLogProbs    int64           `json:"top_logprobs"`
	ResponseFormat *responseFormat `json:"response_format"`
	Modalities     []string        `json:"modalities"`
	Audio          any             `json:"audio"`
}

type responseFormat struct {
	Type string `json:"type"`
}

type chatMessage struct {
	Role      string      `json:"role"`
	Content   messageText `json:"content"`
	ToolCalls []any       `json:"tool_calls"`
}

// messageText is a string or a list of text parts.
type messageText struct {
	text string
	set  bool
}

// UnmarshalJSON joins text parts and refuses any other kind of content.
func (t *messageText) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	t.set = true
	if json.Unmarshal(b, &t.text) == nil {
		return nil
	}
	var parts []struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return invalid("messages.content", "messages.content: must be a string or a list of text parts")
	}
	var all strings.Builder
	for _, p := range parts {
		if p.Type != "text" || p.Text == nil {
			return invalid("messages.content", "messages.content: a part of type %q is not supported, only text", p.Type)
		}
		all.WriteString(*p.Text)
	}
	t.text = all.String()
	return nil
}

// Message is one turn of a conversation.
type Message struct {
	Role    string // system, user or assistant
	Content string
}

const maxMessages = 2048

func (c *chatRequest) conversation() ([]Message, error) {
	switch {
	case len(c.Tools) > 0 || len(c.Functions) > 0:
		return nil, invalid("tools", "tools: not supported yet")
	case c.LogProbs || c.TopLogProbs != 0:
		return nil, invalid("logprobs", "logprobs: not supported yet")
	case c.ResponseFormat != nil && c.ResponseFormat.Type != "text":
		return nil, invalid("response_format", "response_format: %q is not supported yet, only text", c.ResponseFormat.Type)
	case c.Audio != nil || len(c.Modalities) > 1 || len(c.Modalities) == 1 && c.Modalities[0] != "text":
		return nil, invalid("modalities", "modalities: only text is supported")
	case len(c.Messages) == 0:
		return nil, invalid("messages", "messages: at least one message is needed")
	case len(c.Messages) > maxMessages:
		return nil, &core.Error{Code: core.CodeTooLarge, Param: "messages", Message: fmt.Sprintf("messages: %d, at most %d are possible", len(c.Messages), maxMessages)}
	}
	out := make([]Message, len(c.Messages))
	for i, m := range c.Messages {
		role := m.Role
		switch role {
		case "developer":
			role = "system"
		case "system", "user", "assistant":
		case "":
			return nil, invalid(fmt.Sprintf("messages[%d].role", i), "messages[%d].role: is missing", i)
		default:
			return nil, invalid(fmt.Sprintf("messages[%d].role", i), "messages[%d].role: %q is not supported; use system, user or assistant", i, role)
		}
		if len(m.ToolCalls) > 0 {
			return nil, invalid(fmt.Sprintf("messages[%d].tool_calls", i), "messages[%d].tool_calls: not supported yet", i)
		}
		if !m.Content.set {
			return nil, invalid(fmt.Sprintf("messages[%d].content", i), "messages[%d].content: is missing", i)
		}
		out[i] = Message{role, m.Content.text}
	}
	return out, nil
}

// completionRequest is the body of POST /v1/completions.
type completionRequest struct {
	sampling
	Prompt   promptInput `json:"prompt"`
	Echo     bool        `json:"echo"`
	Suffix   *string     `json:"suffix"`
	BestOf   *int64      `json:"best_of"`
	LogProbs *int64      `json:"logprobs"`
}

// promptInput is a text or token ids; lists of one prompt are unwrapped.
type promptInput struct {
	text   string
	tokens []core.Token
	set    bool
}

// UnmarshalJSON accepts a string, [string], [ids] or [[ids]].
func (p *promptInput) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	p.set = true
	if json.Unmarshal(b, &p.text) == nil {
		return nil
	}
	var texts []string
	if json.Unmarshal(b, &texts) == nil && len(texts) > 0 {
		if len(texts) > 1 {
			return invalid("prompt", "prompt: %d prompts at once are not possible, only 1", len(texts))
		}
		p.text = texts[0]
		return nil
	}
	if json.Unmarshal(b, &p.tokens) == nil && len(p.tokens) > 0 {
		return nil
	}
	var lists [][]core.Token
	if json.Unmarshal(b, &lists) == nil && len(lists) == 1 && len(lists[0]) > 0 {
		p.tokens = lists[0]
		return nil
	}
	return invalid("prompt", "prompt: must be a string or a list of token ids")
}

func (c *completionRequest) check() error {
	switch {
	case !c.Prompt.set:
		return invalid("prompt", "prompt: is missing")
	case c.Echo:
		return invalid("echo", "echo: not supported")
	case c.Suffix != nil && *c.Suffix != "":
		return invalid("suffix", "suffix: not supported")
	case c.BestOf != nil && *c.BestOf != 1:
		return invalid("best_of", "best_of: only 1 is supported")
	case c.LogProbs != nil && *c.LogProbs != 0:
		return invalid("logprobs", "logprobs: not supported yet")
	}
	return nil
}
