package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// turns collects a conversation and holds its rules: calls have ids of their
// own, and each gets its result before anybody goes on speaking.
type turns struct {
	said []Message
	open openCalls
}

// add appends a turn that the request names at.
func (t *turns) add(at string, m Message) error {
	if len(t.said) >= maxMessages {
		return &core.Error{Code: core.CodeTooLarge, Param: "messages", Message: fmt.Sprintf("the conversation has more than %d messages", maxMessages)}
	}
	if err := t.open.missing(at); err != nil {
		return err
	}
	for k, c := range m.ToolCalls {
		if c.ID == "" || slices.ContainsFunc(m.ToolCalls[:k], func(o chat.ToolCall) bool { return o.ID == c.ID }) {
			return invalid(at, "%s: each call needs an id of its own", at)
		}
	}
	t.open.add(m.ToolCalls)
	t.said = append(t.said, m)
	return nil
}

// call adds a call to the assistant's turn.
func (t *turns) call(at string, c chat.ToolCall) error {
	last := len(t.said) - 1
	if last < 0 || t.said[last].Role != "assistant" || len(t.open) < len(t.said[last].ToolCalls) {
		return t.add(at, Message{Role: "assistant", ToolCalls: []chat.ToolCall{c}})
	}
	m := t.said[last]
	m.ToolCalls = append(slices.Clone(m.ToolCalls), c)
	t.said, t.open = t.said[:last], nil
	return t.add(at, m)
}

// result adds the result of a call.
func (t *turns) result(at, id, text string) error {
	name, ok := t.open.take(id)
	if !ok {
		return invalid(at, "%s: %q is no call of the assistant's turn before", at, clip(id, 100))
	}
	t.said = append(t.said, Message{Role: "tool", Content: text, ToolCallID: id, Name: name})
	return nil
}

// all is the whole conversation, which the request calls name.
func (t *turns) all(name string) ([]Message, error) {
	if len(t.said) == 0 {
		return nil, invalid(name, "%s: at least one message is needed", name)
	}
	return t.said, t.open.missing(name)
}

// spoken is what somebody says in a request: a string, or a list of parts.
type spoken string

// read takes a string, or parts of the given types, joined; any other part is
// refused by its type.
func (s *spoken) read(at string, b []byte, types ...string) error {
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	if json.Unmarshal(b, (*string)(s)) == nil {
		return nil
	}
	var parts []struct {
		Type    string  `json:"type"`
		Text    *string `json:"text"`
		Refusal *string `json:"refusal"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return invalid(at, "%s: must be a string or a list of parts", at)
	}
	var all strings.Builder
	for i, p := range parts {
		text := p.Text
		if text == nil {
			text = p.Refusal
		}
		if text == nil || !slices.Contains(types, p.Type) {
			return unreadable(fmt.Sprintf("%s[%d]", at, i), p.Type)
		}
		all.WriteString(*text)
	}
	*s = spoken(all.String())
	return nil
}

// unreadable refuses a part of a message that is no text.
func unreadable(at, kind string) error {
	e := invalid(at, "%s: a part of type %q is not supported", at, clip(kind, 40))
	e.Next = "models here read and write text only"
	return e
}
