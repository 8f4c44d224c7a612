package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// responses is the dialect of OpenAI's newer call. Nothing is stored, so that
// whatever refers to an earlier answer is refused.
var responses = dialect{
	rules: rules{
		indifferent: []string{"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "client_metadata", "max_tool_calls"},
		refusals: map[string]refusal{
			"store":                {[]string{"false"}, "answers are not stored for later retrieval; receipts are, at /v1/receipts"},
			"previous_response_id": {nil, "answers are not stored; send the whole conversation as input"},
			"conversation":         {nil, "conversations are not stored; send the whole conversation as input"},
			"background":           {[]string{"false"}, "answers are not stored; stream the answer instead"},
			"prompt":               {nil, "there are no stored prompts; send instructions and input"},
			"truncation":           {[]string{`"disabled"`}, "nothing is cut off here; shorten the input"},
			"service_tier":         {[]string{`"auto"`, `"default"`}, "there are no tiers of service; the market has prices"},
			"moderation":           {nil, "nothing is moderated here"},
			"context_management":   {[]string{"[]"}, "conversations are not stored; send what is to be read"},
		},
	},
	names: map[string]string{
		"max_completion_tokens": "max_output_tokens", "messages": "input", "prompt": "input",
		"response_format": "text.format", "response_format.type": "text.format.type", "response_format.json_schema.schema": "text.format.schema",
		"function.parameters": "parameters", "function.name": "name",
	},
	failure: func(e *core.Error) (int, any) { return describe(e) },
}

// responsesRequest is the body of POST /v1/responses.
type responsesRequest struct {
	routing
	drawing
	Input         responseInput        `json:"input"`
	Instructions  *string              `json:"instructions"`
	MaxTokens     *int64               `json:"max_output_tokens"`
	Stream        bool                 `json:"stream"`
	StreamOptions *streamOptions       `json:"stream_options"`
	Tools         []responseTool       `json:"tools"`
	ToolChoice    responseToolChoice   `json:"tool_choice"`
	ParallelTools *bool                `json:"parallel_tool_calls"`
	Text          responseText         `json:"text"`
	TopLogProbs   *int64               `json:"top_logprobs"`
	Include       []string             `json:"include"`
	Reasoning     *responseReasoning   `json:"reasoning"`
	Metadata      map[string]string    `json:"metadata"`
	TemplateArgs  map[string]chat.JSON `json:"chat_template_kwargs"`
}

// responseInput is what is said so far: a text or a list of items.
type responseInput []json.RawMessage

// UnmarshalJSON takes a text for a message of the user's.
func (l *responseInput) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*l = responseInput{json.RawMessage(`{"role":"user","content":` + string(b) + `}`)}
		return nil
	}
	if err := json.Unmarshal(b, (*[]json.RawMessage)(l)); err != nil {
		return invalid("input", "input: must be a string or a list of items")
	}
	return nil
}

// responseItem is one element of input.
type responseItem struct {
	Type      string          `json:"type"`
	Role      string          `json:"role"`
	Content   json.RawMessage `json:"content"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments string          `json:"arguments"`
	Output    json.RawMessage `json:"output"`
}

// join adds the item that the request names at to a conversation.
func (x *responseItem) join(at string, t *turns) error {
	var text spoken
	switch {
	case x.Type == "message" || x.Type == "" && x.Role != "":
		if !slices.Contains([]string{"system", "developer", "user", "assistant"}, x.Role) {
			return invalid(at+".role", "%s.role: %q is not supported; use system, developer, user or assistant", at, clip(x.Role, 40))
		}
		if err := text.read(at+".content", x.Content, "input_text", "output_text", "text", "refusal"); err != nil {
			return err
		}
		role := x.Role
		if role == "developer" {
			role = "system"
		}
		return t.add(at, Message{Role: role, Content: string(text)})
	case x.Type == "function_call":
		c := chat.ToolCall{ID: x.CallID, Name: x.Name, Arguments: chat.JSON(x.Arguments)}
		if !isObject(c.Arguments) || c.Name == "" {
			return invalid(at, "%s: a function_call needs a name and arguments that are a JSON object", at)
		}
		return t.call(at, c)
	case x.Type == "function_call_output":
		if err := text.read(at+".output", x.Output, "input_text", "output_text", "text"); err != nil {
			return err
		}
		return t.result(at+".call_id", x.CallID, string(text))
	}
	e := invalid(at+".type", "%s.type: an item of type %q is not supported", at, clip(x.Type, 40))
	e.Next = "use message, function_call and function_call_output; nothing else is made here, and nothing is stored"
	return e
}

func isObject(b []byte) bool {
	var o map[string]json.RawMessage
	return json.Unmarshal(b, &o) == nil && o != nil
}

func (q *responsesRequest) conversation() ([]Message, error) {
	var t turns
	if q.Instructions != nil && *q.Instructions != "" {
		t.said = append(t.said, Message{Role: "system", Content: *q.Instructions})
	}
	if len(q.Input) == 0 {
		return nil, invalid("input", "input: at least one message is needed")
	}
	for i, raw := range q.Input {
		at := fmt.Sprintf("input[%d]", i)
		var x responseItem
		if err := json.Unmarshal(raw, &x); err != nil {
			return nil, invalid(at, "%s: is not an item: %v", at, err)
		}
		if err := x.join(at, &t); err != nil {
			return nil, err
		}
	}
	return t.all("input")
}

// responseTool is a function on offer, without chat's wrapping.
type responseTool struct{ toolOffer }

// UnmarshalJSON implements [json.Unmarshaler].
func (t *responseTool) UnmarshalJSON(b []byte) error {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return invalid("tools", "tools: must be a list of functions")
	}
	if head.Type != "function" {
		e := invalid("tools", "tools: a tool of type %q is not supported, only \"function\"", clip(head.Type, 40))
		e.Next = "nothing but your own functions can be called here; switch that tool off in the program that offers it"
		return e
	}
	return t.offer(b, "parameters")
}

// offer reads a function that lies bare in b, its schema under the given name,
// and wraps it as chat has it.
func (t *toolOffer) offer(b []byte, schema string) error {
	var v map[string]json.RawMessage
	if err := json.Unmarshal(b, &v); err != nil {
		return invalid("tools", "tools: must be a list of functions")
	}
	f := map[string]json.RawMessage{}
	for from, to := range map[string]string{"name": "name", "description": "description", "strict": "strict", schema: "parameters"} {
		if raw := v[from]; len(raw) > 0 && string(raw) != "null" {
			f[to] = raw
		}
	}
	whole, err := json.Marshal(map[string]any{"type": "function", "function": f})
	if err != nil {
		return invalid("tools", "tools: %v", err)
	}
	return json.Unmarshal(whole, t)
}

// responseToolChoice is tool_choice in this call's words.
type responseToolChoice struct {
	toolChoice
	raw json.RawMessage
}

// UnmarshalJSON accepts a mode, a function, or allowed tools.
func (t *responseToolChoice) UnmarshalJSON(b []byte) error {
	t.raw = slices.Clone(b)
	type function struct{ Type, Name string }
	var v struct {
		function
		Mode  string     `json:"mode"`
		Tools []function `json:"tools"`
	}
	if json.Unmarshal(b, &v) != nil {
		return t.toolChoice.UnmarshalJSON(b)
	}
	switch {
	case v.Type == "function" && v.Name != "":
		t.mode, t.allowed = "required", []string{v.Name}
	case v.Type == "allowed_tools" && (v.Mode == "auto" || v.Mode == "required"):
		t.mode, t.allowed = v.Mode, []string{}
		for _, f := range v.Tools {
			if f.Type != "function" || f.Name == "" {
				return t.toolChoice.UnmarshalJSON(b)
			}
			t.allowed = append(t.allowed, f.Name)
		}
	default:
		return t.toolChoice.UnmarshalJSON(b)
	}
	return nil
}

// responseText is how the text is to be.
type responseText struct {
	Format *textFormat `json:"format"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *responseText) UnmarshalJSON(b []byte) error {
	type bare responseText
	k := rules{refusals: map[string]refusal{"verbosity": openAI.refusals["verbosity"]}}
	return k.part("text", b, (*bare)(t))
}

// textFormat is response_format without its wrapping.
type textFormat struct {
	Type string `json:"type"`
	schemaFormat
	Description string `json:"description"`
}

func (f *textFormat) format() *responseFormat {
	if f == nil {
		return nil
	}
	return &responseFormat{f.Type, &f.schemaFormat}
}

// responseReasoning asks for thoughts, of which models here have none apart from
// their text: there is nothing to summarise.
type responseReasoning struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *responseReasoning) UnmarshalJSON(b []byte) error {
	type bare responseReasoning
	k := rules{indifferent: []string{"generate_summary", "context"}}
	if err := k.part("reasoning", b, (*bare)(r)); err != nil {
		return err
	}
	if r.Effort != nil && *r.Effort != "none" {
		e := invalid("reasoning.effort", "reasoning.effort: not supported")
		e.Next = openAI.refusals["reasoning_effort"].why
		return e
	}
	return nil
}

const includeLogprobs = "message.output_text.logprobs"

func (q *responsesRequest) plan() (p plan, err error) {
	p.routing, p.drawing, p.MaxCompletionTokens, p.Stream, p.n = q.routing, q.drawing, q.MaxTokens, q.Stream, 1
	if p.messages, err = q.conversation(); err != nil {
		return p, err
	}
	for i, what := range q.Include {
		// Encrypted reasoning of a model that has none is nothing.
		if what != includeLogprobs && what != "reasoning.encrypted_content" {
			return p, invalid("include", "include[%d]: %q is not supported", i, clip(what, 60))
		}
	}
	top := chatRequest{LogProbs: slices.Contains(q.Include, includeLogprobs) || q.TopLogProbs != nil && *q.TopLogProbs > 0, TopLogProbs: q.TopLogProbs}
	if p.logprobs, err = top.logprobs(); err != nil {
		return p, err
	}
	if p.args, err = (&chatRequest{TemplateArgs: q.TemplateArgs}).templateArgs(); err != nil {
		return p, err
	}
	offers := make([]toolOffer, len(q.Tools))
	for i, t := range q.Tools {
		offers[i] = t.toolOffer
	}
	if p.tools, err = newToolbox(offers, q.ToolChoice.toolChoice, q.ParallelTools); err != nil {
		return p, err
	}
	return p, p.follow(q.Text.Format.format())
}

func (g *Gateway) respond(w http.ResponseWriter, r *http.Request, body *responsesRequest) error {
	p, err := body.plan()
	if err != nil {
		return err
	}
	return g.converse(w, r, &p, func(call *Call, ids []core.RequestID) shape {
		return newResponseShape(body, call, ids[0], p.logprobs > 0)
	})
}
