package gateway

import (
	"encoding/json"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// messageShape renders answers of /v1/messages.
type messageShape struct {
	id, model string
	input     int // tokens of the prompt
	n         int // blocks begun
	open      string
}

func newMessageShape(call *Call, id core.RequestID) *messageShape {
	return &messageShape{id: id.String(), model: call.Model.Name, input: len(call.Input)}
}

func (s *messageShape) framing() *framing { return &namedEvents }

// message is the message object; usage counts the whole prompt as input, since
// cached tokens cost the same.
func (s *messageShape) message(content any, reason, stop any, u *usageObject) named {
	return named{"id": "msg_" + s.id[:24], "type": "message", "role": "assistant", "model": s.model, "content": content,
		"stop_reason": reason, "stop_sequence": stop, "usage": anthropicUsage(u)}
}

func anthropicUsage(u *usageObject) map[string]any {
	return map[string]any{"input_tokens": u.PromptTokens, "output_tokens": u.CompletionTokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
}

// ending is why the answer ended, and the stop sequence that ended it.
func (s *messageShape) ending(c *choice) (reason string, stop any) {
	switch m := c.read.text.stop.met; {
	case c.called():
		return "tool_use", nil
	case c.answer.Finish == core.FinishLength:
		return "max_tokens", nil
	case m != "":
		return "stop_sequence", m
	}
	return "end_turn", nil
}

func (s *messageShape) first(int) []any {
	return []any{named{"type": "message_start", "message": s.message([]any{}, nil, nil, &usageObject{PromptTokens: uint32(s.input)})}}
}

func (s *messageShape) pieces(_ int, d delta) (out []any) {
	if d.text != "" {
		if s.open != "text" {
			out = append(out, s.begin("text", map[string]any{"type": "text", "text": ""})...)
		}
		out = append(out, s.delta(map[string]any{"type": "text_delta", "text": d.text}))
	}
	for _, part := range d.calls {
		if part.begins {
			out = append(out, s.begin("tool_use", map[string]any{"type": "tool_use", "id": s.callID(s.n, part.id), "name": part.name, "input": map[string]any{}})...)
		}
		if part.arguments != "" {
			out = append(out, s.delta(map[string]any{"type": "input_json_delta", "partial_json": part.arguments}))
		}
	}
	return out
}

func (s *messageShape) callID(n int, own string) string {
	if own != "" {
		return own
	}
	return "toolu_" + chat.CallID(s.id, n)
}

func (s *messageShape) begin(kind string, x any) []any {
	out := s.close()
	s.open = kind
	s.n++
	return append(out, named{"type": "content_block_start", "index": s.n - 1, "content_block": x})
}

func (s *messageShape) delta(x any) any {
	return named{"type": "content_block_delta", "index": s.n - 1, "delta": x}
}

func (s *messageShape) close() []any {
	if s.open == "" {
		return nil
	}
	s.open = ""
	return []any{named{"type": "content_block_stop", "index": s.n - 1}}
}

func (s *messageShape) last(_ int, c *choice, u *usageObject, price *settlement) []any {
	reason, stop := s.ending(c)
	return append(s.close(), named{"type": "message_delta", "delta": map[string]any{"stop_reason": reason, "stop_sequence": stop},
		"usage": anthropicUsage(u), "koinon": price}, named{"type": "message_stop"})
}

func (s *messageShape) end(*usageObject, *settlement) []any { return nil }

func (s *messageShape) fail(e *core.Error) []any {
	_, body := anthropicFailure(anthropic.inWords(e))
	return []any{body}
}

func (s *messageShape) whole(all []*choice, u *usageObject, price *settlement) any {
	c := all[0]
	content := []any{}
	if c.all.text != "" {
		content = append(content, map[string]any{"type": "text", "text": c.all.text})
	}
	for _, call := range wholeCallsOf(&c.all) {
		content = append(content, map[string]any{"type": "tool_use", "id": s.callID(len(content), call.ID), "name": call.Name, "input": json.RawMessage(call.Arguments)})
	}
	reason, stop := s.ending(c)
	m := s.message(content, reason, stop, u)
	m["koinon"] = price
	return m
}

// wholeCallsOf are the calls whose arguments are complete: half of one, cut off
// by a limit that the answer names, is none.
func wholeCallsOf(d *delta) (out []chat.ToolCall) {
	for _, c := range d.whole() {
		if isObject(c.Arguments) {
			out = append(out, c)
		}
	}
	return out
}
