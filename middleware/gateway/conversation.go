package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	sampling
	Messages       []chatMessage        `json:"messages"`
	Tools          []toolOffer          `json:"tools"`
	ToolChoice     toolChoice           `json:"tool_choice"`
	ParallelTools  *bool                `json:"parallel_tool_calls"`
	LogProbs       bool                 `json:"logprobs"`
	TopLogProbs    *int64               `json:"top_logprobs"`
	ResponseFormat *responseFormat      `json:"response_format"`
	TemplateArgs   map[string]chat.JSON `json:"chat_template_kwargs"`
}

type chatMessage struct {
	Role       string            `json:"role"`
	Content    messageText       `json:"content"`
	Name       string            `json:"name"`
	ToolCalls  []json.RawMessage `json:"tool_calls"`
	ToolCallID string            `json:"tool_call_id"`
	Refusal    messageText       `json:"refusal"`
	Audio      json.RawMessage   `json:"audio"`
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
		Type    string  `json:"type"`
		Text    *string `json:"text"`
		Refusal *string `json:"refusal"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return invalid("messages.content", "messages.content: must be a string or a list of text parts")
	}
	var all strings.Builder
	for _, p := range parts {
		switch {
		case p.Type == "text" && p.Text != nil:
			all.WriteString(*p.Text)
		case p.Type == "refusal" && p.Refusal != nil:
			all.WriteString(*p.Refusal)
		default:
			return invalid("messages.content", "messages.content: a part of type %q is not supported, only text", clip(p.Type, 40))
		}
	}
	t.text = all.String()
	return nil
}

// Message is one turn of a conversation.
type Message = chat.Message

const maxMessages = 2048

// conversation checks the messages and turns them into the template's.
func (c *chatRequest) conversation() ([]Message, error) {
	switch {
	case len(c.Messages) == 0:
		return nil, invalid("messages", "messages: at least one message is needed")
	case len(c.Messages) > maxMessages:
		return nil, &core.Error{Code: core.CodeTooLarge, Param: "messages", Message: fmt.Sprintf("messages: %d, at most %d are possible", len(c.Messages), maxMessages)}
	}
	var t turns
	for i := range c.Messages {
		if err := c.Messages[i].join(i, &t); err != nil {
			return nil, err
		}
	}
	return t.all("messages")
}

// join checks message i and adds it to a conversation.
func (m *chatMessage) join(i int, t *turns) error {
	name := func(field string) string { return fmt.Sprintf("messages[%d].%s", i, field) }
	at := func(field, format string, args ...any) error {
		return invalid(name(field), "%s: %s", name(field), fmt.Sprintf(format, args...))
	}
	out := Message{Role: m.Role, Content: m.Content.text, Name: m.Name}
	switch m.Role {
	case "developer":
		out.Role = "system"
	case "system", "user", "assistant", "tool":
	case "":
		return at("role", "is missing")
	default:
		return at("role", "%q is not supported; use system, developer, user, assistant or tool", clip(m.Role, 40))
	}
	if len(m.Audio) > 0 && string(m.Audio) != "null" {
		return at("audio", "models here read and write text only")
	}
	if len(m.ToolCalls) > 0 && m.Role != "assistant" {
		return at("tool_calls", "only an assistant calls tools")
	}
	for k, raw := range m.ToolCalls {
		var c chat.ToolCall
		if err := json.Unmarshal(raw, &c); err != nil {
			return at(fmt.Sprintf("tool_calls[%d]", k), "%v", err)
		}
		out.ToolCalls = append(out.ToolCalls, c)
	}
	if !m.Content.set && m.Refusal.set {
		out.Content, m.Content.set = m.Refusal.text, true
	}
	if !m.Content.set && len(m.ToolCalls) == 0 {
		return at("content", "is missing")
	}
	if m.Role == "tool" {
		return t.result(name("tool_call_id"), m.ToolCallID, out.Content)
	}
	return t.add(fmt.Sprintf("messages[%d]", i), out)
}

// openCalls are the calls of a turn that wait for their results.
type openCalls []chat.ToolCall

func (o *openCalls) add(calls []chat.ToolCall) { *o = append(*o, calls...) }

// take ends the wait for a call and returns its function's name.
func (o *openCalls) take(id string) (name string, ok bool) {
	i := slices.IndexFunc(*o, func(c chat.ToolCall) bool { return c.ID == id })
	if i < 0 {
		return "", false
	}
	name = (*o)[i].Name
	*o = slices.Delete(*o, i, i+1)
	return name, true
}

// missing is the error when what the request names at comes before all results
// are there.
func (o *openCalls) missing(at string) error {
	if len(*o) == 0 {
		return nil
	}
	e := invalid("messages", "%s: the result of the assistant's call %q is missing", at, clip((*o)[0].ID, 100))
	e.Next = "answer each of its calls before anything else is said"
	return e
}

// logprobs is the sampler's setting.
func (c *chatRequest) logprobs() (uint32, error) {
	switch n := c.TopLogProbs; {
	case n != nil && !c.LogProbs && *n != 0:
		return 0, invalid("top_logprobs", "top_logprobs: needs logprobs to be true")
	case n != nil && (*n < 0 || *n > core.MaxLogprobs-1):
		return 0, invalid("top_logprobs", "top_logprobs: %d is outside 0 to %d", *n, core.MaxLogprobs-1)
	case !c.LogProbs:
		return 0, nil
	case n == nil:
		return 1, nil
	default:
		return uint32(*n) + 1, nil
	}
}

// templateArgs are variables for the model's template; those that the gateway
// sets itself cannot be replaced.
func (c *chatRequest) templateArgs() (map[string]chat.JSON, error) {
	for name := range c.TemplateArgs {
		if len(c.TemplateArgs) > 16 || slices.Contains([]string{"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}, name) {
			return nil, invalid("chat_template_kwargs", "chat_template_kwargs: up to 16 variables, and none of %q", clip(name, 40))
		}
	}
	return c.TemplateArgs, nil
}

// compact is b without insignificant white space.
func compact(b []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return b
	}
	return out.Bytes()
}
