package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/grammar"
)

// toolOffer is one element of tools.
type toolOffer struct {
	chat.Tool
	strict bool
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *toolOffer) UnmarshalJSON(b []byte) error {
	if err := t.Tool.UnmarshalJSON(b); err != nil {
		return invalid("tools", "tools: %v", err)
	}
	var v struct {
		Function struct {
			Strict *bool `json:"strict"`
		} `json:"function"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return invalid("tools", "tools: function.strict must be true or false")
	}
	t.strict = v.Function.Strict != nil && *v.Function.Strict
	return nil
}

// toolChoice is OpenAI's tool_choice.
type toolChoice struct {
	mode    string   // "", none, auto, required
	allowed []string // nil allows all
}

// UnmarshalJSON accepts a mode, a named function, or allowed tools.
func (t *toolChoice) UnmarshalJSON(b []byte) error {
	wrong := func() error {
		e := invalid("tool_choice", "tool_choice: %s is not possible", clip(string(compact(b)), 100))
		e.Next = `use "none", "auto", "required", or {"type": "function", "function": {"name": ...}}`
		return e
	}
	if string(b) == "null" {
		return nil
	}
	if json.Unmarshal(b, &t.mode) == nil {
		if !slices.Contains([]string{"none", "auto", "required"}, t.mode) {
			return wrong()
		}
		return nil
	}
	type named struct {
		Type     string
		Function struct{ Name string }
	}
	var v struct {
		named
		Allowed struct {
			Mode  string
			Tools []named
		} `json:"allowed_tools"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return wrong()
	}
	switch {
	case v.Type == "function" && v.Function.Name != "":
		t.mode, t.allowed = "required", []string{v.Function.Name}
	case v.Type == "allowed_tools" && (v.Allowed.Mode == "auto" || v.Allowed.Mode == "required"):
		t.mode, t.allowed = v.Allowed.Mode, []string{}
		for _, n := range v.Allowed.Tools {
			if n.Type != "function" || n.Function.Name == "" {
				return wrong()
			}
			t.allowed = append(t.allowed, n.Function.Name)
		}
	default:
		return wrong()
	}
	return nil
}

const maxTools = 128

// toolbox is what an answer may call.
type toolbox struct {
	offers []toolOffer // what the prompt shows
	usable []toolOffer // what may be called
	forced bool        // the answer is calls and nothing else
	single bool        // at most one
}

// newToolbox checks tools and tool_choice; nil means that no tool may be called.
func newToolbox(tools []toolOffer, choice toolChoice, parallel *bool) (*toolbox, error) {
	if len(tools) == 0 {
		if choice.mode != "" && choice.mode != "none" && choice.mode != "auto" {
			return nil, invalid("tool_choice", "tool_choice: there are no tools to choose from")
		}
		return nil, nil
	}
	if len(tools) > maxTools {
		return nil, invalid("tools", "tools: %d, at most %d are possible", len(tools), maxTools)
	}
	b := &toolbox{offers: tools, forced: choice.mode == "required", single: parallel != nil && !*parallel}
	for i, t := range tools {
		if slices.ContainsFunc(tools[:i], func(o toolOffer) bool { return o.Name == t.Name }) {
			return nil, invalid("tools", "tools[%d].function.name: %q is offered twice", i, t.Name)
		}
		if choice.allowed == nil || slices.Contains(choice.allowed, t.Name) {
			b.usable = append(b.usable, t)
		}
	}
	for _, name := range choice.allowed {
		if !slices.ContainsFunc(tools, func(o toolOffer) bool { return o.Name == name }) {
			return nil, invalid("tool_choice", "tool_choice: %q is not among the tools", clip(name, 100))
		}
	}
	if choice.mode == "none" || len(b.usable) == 0 {
		return nil, nil
	}
	return b, nil
}

func plain(offers []toolOffer) []chat.Tool {
	out := make([]chat.Tool, len(offers))
	for i, o := range offers {
		out[i] = o.Tool
	}
	return out
}

// constraint is the language of answers that may call the tools, or be in the
// format of the grammar other, "" for any text. Where all their schemas are more
// than one grammar holds, tools without strict take any object.
func (b *toolbox) constraint(f *chat.ToolFormat, other string) (*core.Constraint, error) {
	c, err := b.language(f, other, false)
	if core.CodeOf(err) == core.CodeTooLarge {
		c, err = b.language(f, other, true)
	}
	return c, err
}

func (b *toolbox) language(f *chat.ToolFormat, other string, loose bool) (*core.Constraint, error) {
	var rules strings.Builder
	if loose {
		rules.WriteString(prefixed(grammar.JSONObject(), "any-") + "\n")
	}
	for i, t := range b.usable {
		if loose && !t.strict {
			fmt.Fprintf(&rules, "tool%d-root ::= any-root\n", i)
			continue
		}
		g, err := t.arguments(i)
		if err != nil {
			return nil, err
		}
		rules.WriteString(prefixed(g, fmt.Sprintf("tool%d-", i)))
		rules.WriteByte('\n')
	}
	forms := f.Forms(plain(b.usable))
	call := func(trim string) string {
		ways := make([]string, len(forms))
		for i, form := range forms {
			ways[i] = fmt.Sprintf("%s tool%d-root %s", literal(strings.TrimPrefix(form.Before, trim)), i, literal(form.After))
		}
		return "(" + strings.Join(ways, " | ") + ")"
	}
	more := ""
	if !b.single {
		more = " (" + literal(f.Between) + " call)*"
		rules.WriteString("call ::= " + call("") + "\n")
	}
	whole := literal(f.Open) + " " + call("") + more + " " + literal(f.Close)
	switch {
	case b.forced:
		return limited("root ::= "+whole+"\n"+rules.String(), "")
	case other != "":
		return limited("root ::= text-root | "+whole+"\n"+prefixed(other, "text-")+"\n"+rules.String(), "")
	case f.AtStart:
		return nil, nil // later in the answer the trigger is text like any other
	}
	// From the trigger on, the rest of a call.
	rest := literal(strings.TrimPrefix(f.Open, f.Trigger)) + " " + call("")
	if f.Open == "" {
		rest = call(f.Trigger)
	}
	return limited("root ::= "+rest+more+" "+literal(f.Close)+"\n"+rules.String(), f.Trigger)
}

// arguments is the grammar of what tool i takes.
func (t *toolOffer) arguments(i int) (string, error) {
	schema := []byte(t.Parameters)
	if len(schema) == 0 {
		schema = []byte(`{"type":"object","properties":{},"additionalProperties":false}`)
	}
	return schemaGrammar(schema, t.strict, fmt.Sprintf("tools[%d].function.parameters", i))
}

func limited(text, trigger string) (*core.Constraint, error) {
	if len(text) > core.MaxGrammar {
		return nil, &core.Error{Code: core.CodeTooLarge, Param: "tools", Next: "offer fewer tools, or simpler parameters",
			Message: fmt.Sprintf("tools: their grammar has %d bytes, at most %d are possible", len(text), core.MaxGrammar)}
	}
	return &core.Constraint{Grammar: text, Trigger: trigger}, nil
}

// told writes tools, calls and results into a conversation for a template that
// knows none of them, in the words and marks of the Hermes format.
func (b *toolbox) told(ms []Message) []Message {
	var head strings.Builder
	if b != nil {
		head.WriteString("You can call these functions:\n<tools>\n")
		for _, o := range b.offers {
			head.Write(compact(o.Raw))
			head.WriteByte('\n')
		}
		head.WriteString("</tools>\nTo call one, answer:\n<tool_call>\n{\"name\": NAME, \"arguments\": OBJECT}\n</tool_call>")
	}
	out := make([]Message, 0, len(ms)+1)
	for _, m := range ms {
		switch {
		case m.Role == "tool":
			m.Role, m.Content = "user", "<tool_response>\n"+m.Content+"\n</tool_response>"
		case len(m.ToolCalls) > 0:
			for _, c := range m.ToolCalls {
				name, _ := json.Marshal(c.Name)
				m.Content = strings.TrimPrefix(m.Content+"\n", "\n") + fmt.Sprintf("<tool_call>\n{\"name\": %s, \"arguments\": %s}\n</tool_call>", name, c.Arguments)
			}
		}
		m.ToolCalls, m.ToolCallID, m.Name = nil, "", ""
		if n := len(out); n > 0 && m.Role == "user" && out[n-1].Role == "user" {
			out[n-1].Content += "\n" + m.Content // results of one turn, and what follows
			continue
		}
		out = append(out, m)
	}
	if head.Len() == 0 {
		return out
	}
	if out[0].Role == "system" {
		out[0].Content += "\n\n" + head.String()
	} else { // not every template has a place for a system message
		out[0].Content = head.String() + "\n\n" + out[0].Content
	}
	return out
}
