package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// anthropic is the dialect of /v1/messages.
var anthropic = dialect{
	rules: rules{
		indifferent: []string{"metadata", "cache_control", "betas"},
		refusals: map[string]refusal{
			"service_tier":  {[]string{`"auto"`, `"standard_only"`}, "there are no tiers of service; the market has prices"},
			"container":     {nil, "there are no containers here"},
			"mcp_servers":   {[]string{"[]"}, "models here call no servers; offer their functions in tools"},
			"inference_geo": {nil, "a provider's place is not known here; provider.only names whom you want"},
			"speed":         {[]string{`"standard"`}, "there is one speed: a provider's own"},
			"fallbacks":     {[]string{"[]"}, "name other models in models"},
		},
	},
	names: map[string]string{
		"max_completion_tokens": "max_tokens", "stop": "stop_sequences", "prompt": "messages",
		"response_format": "output_config.format", "response_format.json_schema.schema": "output_config.format.schema",
		"function.parameters": "input_schema", "function.name": "name",
	},
	failure: func(e *core.Error) (int, any) { return anthropicFailure(e) },
}

// anthropicKinds are Anthropic's types of errors, where their status differs
// from OpenAI's, too.
var anthropicKinds = map[core.Code]struct {
	status int
	kind   string
}{
	core.CodeInvalid:       {http.StatusBadRequest, "invalid_request_error"},
	core.CodeContextLength: {http.StatusBadRequest, "invalid_request_error"},
	core.CodeTooLarge:      {http.StatusRequestEntityTooLarge, "request_too_large"},
	core.CodeUnauthorized:  {http.StatusUnauthorized, "authentication_error"},
	core.CodeUnknownModel:  {http.StatusNotFound, "not_found_error"},
	core.CodeNotFound:      {http.StatusNotFound, "not_found_error"},
	core.CodeUnpaid:        {http.StatusPaymentRequired, "billing_error"},
	core.CodeBusy:          {529, "overloaded_error"},
}

func anthropicFailure(e *core.Error) (int, named) {
	status, body := describe(e)
	kind := "api_error"
	if k, ok := anthropicKinds[e.Code]; ok {
		status, kind = k.status, k.kind
	}
	o := body.Error
	return status, named{"type": "error", "error": map[string]any{"type": kind, "message": o.Message, "param": o.Param, "code": o.Code, "charge": o.Charge, "next": o.Next}}
}

// messagesRequest is the body of POST /v1/messages.
type messagesRequest struct {
	routing
	drawing
	Messages     []anthropicMessage   `json:"messages"`
	System       json.RawMessage      `json:"system"`
	MaxTokens    *int64               `json:"max_tokens"`
	Stop         stopList             `json:"stop_sequences"`
	Stream       bool                 `json:"stream"`
	Tools        []anthropicTool      `json:"tools"`
	ToolChoice   anthropicToolChoice  `json:"tool_choice"`
	Thinking     *thinking            `json:"thinking"`
	Output       outputConfig         `json:"output_config"`
	OutputFormat *textFormat          `json:"output_format"`
	Context      contextManagement    `json:"context_management"`
	TemplateArgs map[string]chat.JSON `json:"chat_template_kwargs"`
}

type anthropicMessage struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// block is an element of a message's content.
type block struct {
	Type      string          `json:"type"`
	Text      *string         `json:"text"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   json.RawMessage `json:"content"`
	IsError   bool            `json:"is_error"`
	ToolName  string          `json:"tool_name"`
}

// blocks reads content: a string is one block of text.
func blocks(at string, b []byte) ([]block, error) {
	var text string
	if json.Unmarshal(b, &text) == nil && len(b) > 0 && b[0] == '"' {
		return []block{{Type: "text", Text: &text}}, nil
	}
	var list []block
	if err := json.Unmarshal(b, &list); err != nil || list == nil {
		return nil, invalid(at, "%s: must be a string or a list of blocks", at)
	}
	return list, nil
}

// join adds the message that the request names at to a conversation: results
// first, then what is said beside them.
func (m *anthropicMessage) join(at string, t *turns) error {
	if !slices.Contains([]string{"user", "assistant", "system"}, m.Role) {
		return invalid(at+".role", "%s.role: %q is not supported; use user, assistant or system", at, clip(m.Role, 40))
	}
	list, err := blocks(at+".content", m.Content)
	if err != nil {
		return err
	}
	out := Message{Role: m.Role}
	said := false
	for i, x := range list {
		name := fmt.Sprintf("%s.content[%d]", at, i)
		switch {
		case x.Type == "text" && x.Text != nil:
			if said {
				out.Content += "\n"
			}
			out.Content, said = out.Content+*x.Text, true
		case x.Type == "tool_use" && m.Role == "assistant":
			c := chat.ToolCall{ID: x.ID, Name: x.Name, Arguments: chat.JSON(x.Input)}
			if !isObject(c.Arguments) || c.Name == "" {
				return invalid(name, "%s: a tool_use needs a name and an input that is an object", name)
			}
			out.ToolCalls = append(out.ToolCalls, c)
		case x.Type == "tool_result" && m.Role == "user" && !said:
			text, err := x.result(name)
			if err != nil {
				return err
			}
			if err := t.result(name+".tool_use_id", x.ToolUseID, text); err != nil {
				return err
			}
		case x.Type == "tool_result" && m.Role == "user":
			return invalid(name, "%s: results of tools come before any text", name)
		default:
			return unreadable(name, x.Type)
		}
	}
	if !said && len(out.ToolCalls) == 0 && len(list) > 0 && m.Role == "user" {
		return nil // results alone
	}
	if out.Content == "" && len(out.ToolCalls) == 0 {
		if at == "system" {
			return nil
		}
		return invalid(at+".content", "%s.content: is empty", at)
	}
	return t.add(at, out)
}

// result is the text of a tool's result.
func (x *block) result(at string) (string, error) {
	var text string
	if len(x.Content) > 0 && string(x.Content) != "null" {
		list, err := blocks(at+".content", x.Content)
		if err != nil {
			return "", err
		}
		for i, y := range list {
			switch {
			case y.Type == "text" && y.Text != nil:
				text += *y.Text
			case y.Type == "tool_reference":
				text += "The tool " + y.ToolName + " can be called now.\n"
			default:
				return "", unreadable(fmt.Sprintf("%s.content[%d]", at, i), y.Type)
			}
		}
	}
	if x.IsError {
		text = "Error: " + text
	}
	return text, nil
}

func (q *messagesRequest) conversation() ([]Message, error) {
	var t turns
	if len(q.System) > 0 && string(q.System) != "null" {
		first := anthropicMessage{Role: "system", Content: q.System}
		if err := first.join("system", &t); err != nil {
			return nil, err
		}
	}
	for i := range q.Messages {
		if err := q.Messages[i].join(fmt.Sprintf("messages[%d]", i), &t); err != nil {
			return nil, err
		}
	}
	if n := len(q.Messages); n > 0 && q.Messages[n-1].Role == "assistant" && len(t.open) == 0 {
		e := invalid("messages", "messages: the last one is the assistant's, and an answer that goes on from given words is not supported")
		e.Next = "end with a user's message; output_config.format holds the answer to a form"
		return nil, e
	}
	if len(q.Messages) == 0 {
		t.said = nil
	}
	return t.all("messages")
}

// anthropicTool is a function on offer.
type anthropicTool struct {
	toolOffer
	deferred bool // not shown before a result refers to it
}

// UnmarshalJSON refuses the tools that Anthropic itself would run.
func (t *anthropicTool) UnmarshalJSON(b []byte) error {
	var head struct {
		Type  string `json:"type"`
		Defer bool   `json:"defer_loading"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return invalid("tools", "tools: must be a list of tools")
	}
	if head.Type != "" && head.Type != "custom" {
		e := invalid("tools", "tools: a tool of type %q is not supported, only your own", clip(head.Type, 40))
		e.Next = "nothing is run for the model here; describe the tool by an input_schema and run it yourself"
		return e
	}
	t.deferred = head.Defer
	return t.offer(b, "input_schema")
}

// offers are the tools that the model is shown.
func (q *messagesRequest) offers() (out []toolOffer) {
	referred := map[string]bool{}
	for _, m := range q.Messages {
		list, _ := blocks("", m.Content) // read before
		for _, x := range list {
			inner, _ := blocks("", x.Content)
			for _, y := range inner {
				if y.Type == "tool_reference" {
					referred[y.ToolName] = true
				}
			}
		}
	}
	for _, t := range q.Tools {
		if !t.deferred || referred[t.Name] {
			out = append(out, t.toolOffer)
		}
	}
	return out
}

// anthropicToolChoice is tool_choice in Anthropic's words.
type anthropicToolChoice struct {
	toolChoice
	parallel *bool
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *anthropicToolChoice) UnmarshalJSON(b []byte) error {
	var v struct {
		Type   string `json:"type"`
		Name   string `json:"name"`
		Single bool   `json:"disable_parallel_tool_use"`
	}
	if string(b) == "null" {
		return nil
	}
	err := json.Unmarshal(b, &v)
	switch {
	case err == nil && (v.Type == "auto" || v.Type == "none"):
		t.mode = v.Type
	case err == nil && v.Type == "any":
		t.mode = "required"
	case err == nil && v.Type == "tool" && v.Name != "":
		t.mode, t.allowed = "required", []string{v.Name}
	default:
		e := invalid("tool_choice", "tool_choice: %s is not possible", clip(string(compact(b)), 100))
		e.Next = `use {"type": "auto"}, "any", "none", or {"type": "tool", "name": ...}`
		return e
	}
	if v.Single {
		t.parallel = new(bool)
	}
	return nil
}

// thinking asks for thoughts before the answer. How much a model thinks is its
// own affair when it is adaptive, and nothing is what models here do apart from
// their text.
type thinking struct {
	Type string `json:"type"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *thinking) UnmarshalJSON(b []byte) error {
	type bare thinking
	k := rules{indifferent: []string{"budget_tokens", "display"}}
	if err := k.part("thinking", b, (*bare)(t)); err != nil {
		return err
	}
	if t.Type != "disabled" && t.Type != "adaptive" {
		e := invalid("thinking.type", "thinking.type: %q is not supported", clip(t.Type, 40))
		e.Next = "use disabled or adaptive; see chat_template_kwargs for what the model's template knows"
		return e
	}
	return nil
}

// outputConfig is how the answer is to be.
type outputConfig struct {
	Format *textFormat `json:"format"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (o *outputConfig) UnmarshalJSON(b []byte) error {
	type bare outputConfig
	k := rules{refusals: map[string]refusal{"effort": {[]string{`"high"`}, `no model here has such a setting, and "high" is what goes without saying`}}}
	return k.part("output_config", b, (*bare)(o))
}

// contextManagement drops parts of a conversation. Of thoughts there are none.
type contextManagement struct {
	Edits []struct {
		Type string `json:"type"`
	} `json:"edits"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (c *contextManagement) UnmarshalJSON(b []byte) error {
	type bare contextManagement
	if err := (&rules{}).part("context_management", b, (*bare)(c)); err != nil {
		return err
	}
	for _, e := range c.Edits {
		if !strings.HasPrefix(e.Type, "clear_thinking_") {
			return invalid("context_management.edits", "context_management.edits: %q is not supported; leave out what is not to be read", clip(e.Type, 40))
		}
	}
	return nil
}

func (q *messagesRequest) plan() (p plan, err error) {
	p.routing, p.drawing, p.MaxCompletionTokens, p.Stream, p.Stop, p.n = q.routing, q.drawing, q.MaxTokens, q.Stream, q.Stop, 1
	p.stops = core.MaxStops
	if p.messages, err = q.conversation(); err != nil {
		return p, err
	}
	if p.args, err = (&chatRequest{TemplateArgs: q.TemplateArgs}).templateArgs(); err != nil {
		return p, err
	}
	if p.tools, err = newToolbox(q.offers(), q.ToolChoice.toolChoice, q.ToolChoice.parallel); err != nil {
		return p, err
	}
	f := q.Output.Format
	if f == nil {
		f = q.OutputFormat
	}
	if f != nil {
		f.Strict = true
	}
	return p, p.follow(f.format())
}

func (g *Gateway) messages(w http.ResponseWriter, r *http.Request, body *messagesRequest) error {
	if body.MaxTokens == nil {
		return invalid("max_tokens", "max_tokens: is missing")
	}
	p, err := body.plan()
	if err != nil {
		return err
	}
	return g.converse(w, r, &p, func(call *Call, ids []core.RequestID) shape { return newMessageShape(call, ids[0]) })
}

// countTokens counts as the provider will; nobody is asked, and nothing is paid.
func (g *Gateway) countTokens(w http.ResponseWriter, r *http.Request, body *messagesRequest) error {
	p, err := body.plan()
	if err != nil {
		return err
	}
	return p.eachModel(func(model string, _ core.Amount) error {
		name, _, err := p.on(model)
		if err != nil {
			return err
		}
		m, err := g.model(r.Context(), name)
		if err != nil {
			return err
		}
		c, err := g.codec(r.Context(), m)
		if err != nil {
			return err
		}
		in, err := p.encode(c, &core.Sampler{})
		if err == nil {
			writeJSON(w, http.StatusOK, map[string]any{"input_tokens": len(in)})
		}
		return err
	})
}
