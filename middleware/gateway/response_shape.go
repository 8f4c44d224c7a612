package gateway

import (
	"encoding/json"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// responseShape renders answers of /v1/responses. It keeps the items of the
// answer, because the last event has them all again.
type responseShape struct {
	id    string
	codec *Codec
	probs bool
	frame map[string]any // members of the response that stay the same
	n     int            // of the next event
	items []*outputItem
	open  bool // the last item is not complete
}

// outputItem is a message or a call of the answer.
type outputItem struct {
	id, status string
	call       *chat.ToolCall // nil in a message
	text       string
	probs      []contentProb
}

func newResponseShape(q *responsesRequest, call *Call, id core.RequestID, probs bool) *responseShape {
	s := &call.Sampler
	topP := 1.0
	if s.TopP > 0 {
		topP = float64(s.TopP) / micro
	}
	format := any(map[string]any{"type": "text"})
	if f := q.Text.Format; f != nil {
		one := map[string]any{"type": f.Type}
		if len(f.Schema) > 0 {
			one["name"], one["strict"], one["schema"] = f.Name, f.Strict, f.Schema
		}
		format = one
	}
	tools := []any{}
	for _, t := range q.Tools {
		var f struct {
			Function map[string]any `json:"function"`
		}
		_ = json.Unmarshal(t.Raw, &f) // it was read from there
		f.Function["type"], f.Function["strict"] = "function", t.strict
		tools = append(tools, f.Function)
	}
	choice := any("auto")
	if len(q.ToolChoice.raw) > 0 && string(q.ToolChoice.raw) != "null" {
		choice = q.ToolChoice.raw
	}
	metadata := q.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	top := int64(0)
	if q.TopLogProbs != nil {
		top = *q.TopLogProbs
	}
	return &responseShape{id: id.String(), codec: call.Codec, probs: probs, frame: map[string]any{
		"id": "resp_" + id.String()[:48], "object": "response", "created_at": time.Now().Unix(), "model": call.Model.Name,
		"background": false, "error": nil, "incomplete_details": nil, "instructions": q.Instructions, "max_output_tokens": q.MaxTokens,
		"metadata": metadata, "parallel_tool_calls": q.ParallelTools == nil || *q.ParallelTools, "previous_response_id": nil,
		"reasoning": map[string]any{"effort": nil, "summary": nil}, "service_tier": "default", "store": false,
		"temperature": float64(s.Temperature) / micro, "top_p": topP, "top_logprobs": top, "text": map[string]any{"format": format},
		"tool_choice": choice, "tools": tools, "truncation": "disabled",
	}}
}

func (s *responseShape) framing() *framing { return &namedEvents }

// event numbers an event.
func (s *responseShape) event(kind string, members map[string]any) any {
	e := named{"type": kind, "sequence_number": s.n}
	s.n++
	for k, v := range members {
		e[k] = v
	}
	return e
}

// response is the response object as it stands.
func (s *responseShape) response(status string) map[string]any {
	r := map[string]any{"status": status, "usage": nil}
	for k, v := range s.frame {
		r[k] = v
	}
	out := []any{}
	for _, x := range s.items {
		out = append(out, x.object())
	}
	r["output"] = out
	return r
}

func (x *outputItem) object() map[string]any {
	if x.call != nil {
		return map[string]any{"type": "function_call", "id": x.id, "status": x.status, "call_id": x.call.ID, "name": x.call.Name, "arguments": string(x.call.Arguments)}
	}
	content := []any{}
	if x.status != "in_progress" {
		content = append(content, x.part())
	}
	return map[string]any{"type": "message", "id": x.id, "status": x.status, "role": "assistant", "content": content}
}

func (x *outputItem) part() map[string]any {
	return map[string]any{"type": "output_text", "text": x.text, "annotations": []any{}, "logprobs": orEmpty(x.probs)}
}

func orEmpty(ps []contentProb) []contentProb {
	if ps == nil {
		return []contentProb{}
	}
	return ps
}

func (s *responseShape) first(int) []any {
	return []any{s.event("response.created", map[string]any{"response": s.response("in_progress")}),
		s.event("response.in_progress", map[string]any{"response": s.response("in_progress")})}
}

func (s *responseShape) pieces(_ int, d delta) (out []any) {
	var probs []contentProb
	if s.probs && len(d.probs) > 0 {
		probs = s.codec.chatProbs(d.probs).Content
	}
	if d.text != "" || len(d.calls) == 0 {
		x := s.current()
		if x == nil || x.call != nil {
			out = append(out, s.close("completed")...)
			out = append(out, s.begin(&outputItem{id: "msg_" + chat.CallID(s.id+"item", len(s.items))})...)
			x = s.current()
		}
		x.text += d.text
		x.probs = append(x.probs, probs...)
		out = append(out, s.event("response.output_text.delta", s.at(map[string]any{"content_index": 0, "delta": d.text, "logprobs": orEmpty(probs)})))
	}
	for _, part := range d.calls {
		if part.begins {
			out = append(out, s.close("completed")...)
			id := part.id
			if id == "" {
				id = "call_" + chat.CallID(s.id, len(s.items))
			}
			out = append(out, s.begin(&outputItem{id: "fc_" + chat.CallID(s.id+"item", len(s.items)), call: &chat.ToolCall{ID: id, Name: part.name}})...)
		}
		if part.arguments != "" {
			x := s.current()
			x.call.Arguments = append(x.call.Arguments, part.arguments...)
			out = append(out, s.event("response.function_call_arguments.delta", s.at(map[string]any{"delta": part.arguments})))
		}
	}
	return out
}

// current is the item that is being written, or nil.
func (s *responseShape) current() *outputItem {
	if !s.open {
		return nil
	}
	return s.items[len(s.items)-1]
}

// at says which item an event belongs to.
func (s *responseShape) at(members map[string]any) map[string]any {
	n := len(s.items) - 1
	members["output_index"], members["item_id"] = n, s.items[n].id
	return members
}

func (s *responseShape) begin(x *outputItem) []any {
	x.status = "in_progress"
	s.items, s.open = append(s.items, x), true
	out := []any{s.event("response.output_item.added", map[string]any{"output_index": len(s.items) - 1, "item": x.object()})}
	if x.call == nil {
		out = append(out, s.event("response.content_part.added", s.at(map[string]any{"content_index": 0, "part": (&outputItem{}).part()})))
	}
	return out
}

// close completes the item that is being written.
func (s *responseShape) close(status string) (out []any) {
	x := s.current()
	if x == nil {
		return nil
	}
	x.status, s.open = status, false
	if x.call != nil {
		out = append(out, s.event("response.function_call_arguments.done", s.at(map[string]any{"arguments": string(x.call.Arguments), "name": x.call.Name})))
	} else {
		out = append(out, s.event("response.output_text.done", s.at(map[string]any{"content_index": 0, "text": x.text, "logprobs": orEmpty(x.probs)})),
			s.event("response.content_part.done", s.at(map[string]any{"content_index": 0, "part": x.part()})))
	}
	return append(out, s.event("response.output_item.done", map[string]any{"output_index": len(s.items) - 1, "item": x.object()}))
}

func (s *responseShape) last(_ int, c *choice, u *usageObject, price *settlement) []any {
	status := "completed"
	if c.answer.Finish == core.FinishLength {
		status = "incomplete"
	}
	out := s.close(status)
	r := s.response(status)
	if status == "incomplete" {
		r["incomplete_details"] = map[string]any{"reason": "max_output_tokens"}
	}
	r["usage"], r["koinon"] = responseUsage(u), price
	return append(out, s.event("response."+status, map[string]any{"response": r}))
}

func responseUsage(u *usageObject) map[string]any {
	return map[string]any{"input_tokens": u.PromptTokens, "input_tokens_details": map[string]any{"cached_tokens": u.Details.CachedTokens},
		"output_tokens": u.CompletionTokens, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": u.TotalTokens}
}

func (s *responseShape) end(*usageObject, *settlement) []any { return nil }

// fail tells the error twice, as OpenAI does: some clients know one event, some
// the other.
func (s *responseShape) fail(e *core.Error) []any {
	_, body := describe(responses.inWords(e))
	r := s.response("failed")
	r["error"] = map[string]any{"code": body.Error.Code, "message": body.Error.Message, "charge": body.Error.Charge, "next": body.Error.Next}
	return []any{s.event("error", map[string]any{"code": body.Error.Code, "message": body.Error.Message, "param": body.Error.Param}),
		s.event("response.failed", map[string]any{"response": r})}
}

func (s *responseShape) whole(all []*choice, u *usageObject, price *settlement) any {
	c := all[0]
	if !c.all.empty() {
		s.pieces(0, c.all)
	}
	events := s.last(0, c, u, price)
	return events[len(events)-1].(named)["response"]
}
