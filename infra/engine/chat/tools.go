package chat

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Tool is a function on offer, in JSON {"type": "function", "function": {"name",
// "description", "parameters"}} as OpenAI's. Templates get that JSON as it came.
type Tool struct {
	Name       string
	Parameters JSON // a JSON schema; empty when the function takes nothing
	Raw        JSON // the whole
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Tool) UnmarshalJSON(b []byte) error {
	var v struct {
		Type     string
		Function struct {
			Name       string
			Parameters JSON
		}
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Type != "" && v.Type != "function" {
		return fmt.Errorf("a tool of type %.40q is not supported, only \"function\"", v.Type)
	}
	if !validName(v.Function.Name) {
		return fmt.Errorf("a function's name has 1 to 64 letters, digits, _ or -, not %.80q", v.Function.Name)
	}
	*t = Tool{v.Function.Name, v.Function.Parameters, nil}
	if string(t.Parameters) == "null" {
		t.Parameters = nil
	}
	return t.Raw.UnmarshalJSON(b)
}

// MarshalJSON implements [json.Marshaler].
func (t Tool) MarshalJSON() ([]byte, error) { return t.Raw.MarshalJSON() }

func validName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}

// ToolCall is one call of a function. In JSON it is {"id", "type": "function",
// "function": {"name", "arguments"}} with the arguments as a string, as OpenAI's;
// arguments written as an object are read as well.
type ToolCall struct {
	ID        string // empty when the model writes none: see CallID
	Name      string
	Arguments JSON // an object
}

type callJSON struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function functionJSON `json:"function"`
}

type functionJSON struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (c *ToolCall) UnmarshalJSON(b []byte) error {
	var v callJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if v.Type != "" && v.Type != "function" {
		return fmt.Errorf("a call of type %.40q is not supported, only \"function\"", v.Type)
	}
	if v.Function.Name == "" {
		return errors.New("function.name is missing")
	}
	args, ok := object(v.Function.Arguments)
	if !ok {
		return errors.New("function.arguments are not a JSON object")
	}
	*c = ToolCall{v.ID, v.Function.Name, args}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (c ToolCall) MarshalJSON() ([]byte, error) {
	args, err := json.Marshal(string(c.Arguments))
	if err != nil {
		return nil, err
	}
	return json.Marshal(callJSON{c.ID, "function", functionJSON{c.Name, args}})
}

// object returns the JSON object that raw is, or that is written in the string
// raw is; nothing at all is the empty object.
func object(raw []byte) (JSON, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = []byte(text)
	}
	trimmed := strings.TrimSpace(string(raw))
	if trimmed == "" {
		return JSON("{}"), true
	}
	return JSON(trimmed), trimmed[0] == '{' && json.Valid([]byte(trimmed))
}

func (c ToolCall) value(how manner) (any, error) {
	if _, ok := object(c.Arguments); !ok {
		return nil, fmt.Errorf("the arguments of %.64q are not a JSON object", c.Name)
	}
	f := newDict()
	f.set("name", c.Name)
	if how.textArguments {
		f.set("arguments", string(c.Arguments))
	} else {
		args, err := c.Arguments.value()
		if err != nil {
			return nil, err
		}
		f.set("arguments", args)
	}
	d := newDict()
	d.set("id", how.id(c.ID))
	d.set("type", "function")
	d.set("function", f)
	return d, nil
}

const idLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// CallID is the id of an answer's i-th call, as short as the strictest template
// (Mistral's) demands: nine letters and digits. The same answer, named by any
// unique text, gives the same ids.
func CallID(answer string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "koinon call %d %s", i, answer))
	var id [9]byte
	for k := range id {
		id[k] = idLetters[int(sum[k])%len(idLetters)]
	}
	return string(id[:])
}

// id shortens an id that others chose.
func (m manner) id(s string) string {
	if !m.shortIDs || len(s) == 9 && strings.Trim(s, idLetters) == "" {
		return s
	}
	return CallID(s, 0)
}
