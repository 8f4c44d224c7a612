package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Message is one turn of a conversation. In JSON it is OpenAI's: content is a
// string, null, or an array of text parts, which are joined by line ends.
type Message struct {
	Role    string
	Content string
	// ToolCalls are the calls that an assistant's turn makes.
	ToolCalls []ToolCall
	// ToolCallID and Name say which call a turn of the role "tool" answers.
	ToolCallID, Name string
	// Fields are the message's other fields, such as reasoning_content.
	Fields map[string]JSON
}

// JSON is an encoded value whose order of keys is kept.
type JSON json.RawMessage

// UnmarshalJSON implements [json.Unmarshaler].
func (j *JSON) UnmarshalJSON(b []byte) error { *j = bytes.Clone(b); return nil }

// MarshalJSON implements [json.Marshaler].
func (j JSON) MarshalJSON() ([]byte, error) { return json.RawMessage(j).MarshalJSON() }

func (j JSON) value() (any, error) {
	d := json.NewDecoder(bytes.NewReader(j))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

// decode reads one value, keeping the order of keys.
func decode(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("the JSON is nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return i, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			return decodeList(d, depth)
		}
		return decodeDict(d, depth)
	}
	return t, nil
}

func decodeList(d *json.Decoder, depth int) (any, error) {
	l := &list{}
	for d.More() {
		v, err := decode(d, depth+1)
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, v)
	}
	_, err := d.Token()
	return l, err
}

func decodeDict(d *json.Decoder, depth int) (any, error) {
	out := newDict()
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := decode(d, depth+1)
		if err != nil {
			return nil, err
		}
		out.set(key, v)
	}
	_, err := d.Token()
	return out, err
}

// UnmarshalJSON implements [json.Unmarshaler].
func (m *Message) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	*m = Message{}
	for name, raw := range fields {
		var err error
		switch name {
		case "role":
			err = json.Unmarshal(raw, &m.Role)
		case "content":
			m.Content, err = content(raw)
		case "tool_calls":
			err = json.Unmarshal(raw, &m.ToolCalls)
		case "tool_call_id":
			err = json.Unmarshal(raw, &m.ToolCallID)
		case "name":
			err = json.Unmarshal(raw, &m.Name)
		default:
			if m.Fields == nil {
				m.Fields = map[string]JSON{}
			}
			m.Fields[name] = JSON(raw)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if m.Role == "" {
		return errors.New("a message has no role")
	}
	return nil
}

func content(raw []byte) (string, error) {
	var text *string
	if json.Unmarshal(raw, &text) == nil {
		if text == nil {
			return "", nil
		}
		return *text, nil
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", errors.New("neither a string nor an array of parts")
	}
	var texts []string
	for _, p := range parts {
		if p.Type != "text" && p.Type != "input_text" && p.Type != "output_text" && p.Type != "refusal" {
			return "", fmt.Errorf("a part of type %.40q is not supported, only text", p.Type)
		}
		texts = append(texts, p.Text)
	}
	return strings.Join(texts, "\n"), nil
}

// manner is how a template wants tool calls, where templates differ.
type manner struct {
	textArguments bool // arguments as JSON text instead of a mapping
	shortIDs      bool // ids of nine letters and digits only
	nullContent   bool // none as the content of a turn that is calls alone
}

func (m Message) value(how manner) (any, error) {
	d := newDict()
	d.set("role", m.Role)
	d.set("content", m.Content)
	if how.nullContent && m.Content == "" && len(m.ToolCalls) > 0 {
		d.set("content", nil)
	}
	if m.Name != "" {
		d.set("name", m.Name)
	}
	if len(m.ToolCalls) > 0 {
		calls := &list{}
		for i, c := range m.ToolCalls {
			v, err := c.value(how)
			if err != nil {
				return nil, fmt.Errorf("tool_calls[%d]: %w", i, err)
			}
			calls.items = append(calls.items, v)
		}
		d.set("tool_calls", calls)
	}
	if m.ToolCallID != "" {
		d.set("tool_call_id", how.id(m.ToolCallID))
	}
	for _, name := range sortedKeys(m.Fields) {
		v, err := m.Fields[name].value()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		d.set(name, v)
	}
	return d, nil
}
