package gateway

import (
	"encoding/json"
	"time"

	"github.com/koinon-network/koinon/core"
)

// ollamaShape renders answers of /api/chat and /api/generate, a line each.
type ollamaShape struct {
	model string
	codec *Codec
	probs bool
	chat  bool
	start time.Time
	call  delta // the call that is being written: Ollama's clients get whole ones
}

func (s *ollamaShape) framing() *framing { return &lines }

func (s *ollamaShape) first(int) []any { return nil }

// line is an event, or the body of a whole answer.
func (s *ollamaShape) line(text string, calls []any, d *delta) map[string]any {
	e := map[string]any{"model": s.model, "created_at": stamp(time.Now()), "done": false}
	if s.chat {
		m := map[string]any{"role": "assistant", "content": text}
		if len(calls) > 0 {
			m["tool_calls"] = calls
		}
		e["message"] = m
	} else {
		e["response"] = text
	}
	if s.probs && d != nil {
		e["logprobs"] = s.codec.chatProbs(d.probs).Content
	}
	return e
}

// calls renders complete calls; arguments are an object, not text.
func (s *ollamaShape) calls(d *delta) (out []any) {
	for _, c := range wholeCallsOf(d) {
		out = append(out, map[string]any{"function": map[string]any{"name": c.Name, "arguments": json.RawMessage(c.Arguments)}})
	}
	return out
}

// flush gives the call that is complete now.
func (s *ollamaShape) flush() (out []any) {
	if calls := s.calls(&s.call); len(calls) > 0 {
		out = append(out, s.line("", calls, nil))
	}
	s.call = delta{}
	return out
}

func (s *ollamaShape) pieces(_ int, d delta) (out []any) {
	if d.text != "" || s.probs && len(d.probs) > 0 {
		out = append(out, s.line(d.text, nil, &d))
	}
	for _, part := range d.calls {
		if part.begins {
			out = append(out, s.flush()...)
		}
		s.call.calls = append(s.call.calls, part)
	}
	return out
}

// settle adds what the last line says. The whole time is the gateway's; what
// went by before the first token stands for the prompt's.
func (s *ollamaShape) settle(e map[string]any, c *choice, u *usageObject, price *settlement) map[string]any {
	whole, first := time.Since(s.start), c.answer.Latency
	e["done"], e["done_reason"] = true, string(c.answer.Finish)
	e["total_duration"], e["load_duration"] = whole.Nanoseconds(), 0
	e["prompt_eval_count"], e["prompt_eval_duration"] = u.PromptTokens, first.Nanoseconds()
	e["eval_count"], e["eval_duration"] = u.CompletionTokens, max(0, whole-first).Nanoseconds()
	e["koinon"] = price
	return e
}

func (s *ollamaShape) last(_ int, c *choice, u *usageObject, price *settlement) []any {
	return append(s.flush(), s.settle(s.line("", nil, nil), c, u, price))
}

func (s *ollamaShape) end(*usageObject, *settlement) []any { return nil }

func (s *ollamaShape) fail(e *core.Error) []any {
	_, body := ollamaFailure(ollama.inWords(e))
	return []any{body}
}

func (s *ollamaShape) whole(all []*choice, u *usageObject, price *settlement) any {
	c := all[0]
	return s.settle(s.line(c.all.text, s.calls(&c.all), &c.all), c, u, price)
}
