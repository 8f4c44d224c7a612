package gateway

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/grammar"
)

// responseFormat is OpenAI's response_format.
type responseFormat struct {
	Type   string        `json:"type"`
	Schema *schemaFormat `json:"json_schema"`
}

type schemaFormat struct {
	Name   string          `json:"name"`
	Strict bool            `json:"strict"`
	Schema json.RawMessage `json:"schema"`
}

// language is the grammar of answers in this format, "" when any text will do.
func (f *responseFormat) language() (string, error) {
	if f == nil {
		return "", nil
	}
	switch f.Type {
	case "text":
		return "", nil
	case "json_object":
		return grammar.JSONObject(), nil
	case "json_schema":
		if f.Schema == nil || len(f.Schema.Schema) == 0 {
			return "", invalid("response_format.json_schema.schema", "response_format.json_schema.schema: is missing")
		}
		return schemaGrammar(f.Schema.Schema, f.Schema.Strict, "response_format.json_schema.schema")
	case "":
		return "", invalid("response_format.type", "response_format.type: is missing; use text, json_object or json_schema")
	}
	return "", invalid("response_format.type", "response_format.type: %q is not supported; use text, json_object or json_schema", clip(f.Type, 40))
}

// schemaGrammar is the language of a JSON schema. What it cannot express is
// refused by name, unless strictness was not asked for: any object does then, as
// OpenAI promises no more.
func schemaGrammar(schema []byte, strict bool, param string) (string, error) {
	g, err := grammar.FromSchema(schema)
	if err == nil {
		return g, nil
	}
	if !strict {
		return grammar.JSONObject(), nil
	}
	e := *asError(err)
	e.Code, e.Param = core.CodeInvalid, param
	e.Message = param + ": " + e.Message
	if e.Next == "" {
		e.Next = "leave that out of the schema, or set strict to false for any JSON object"
	}
	return "", &e
}

// ownGrammar is the constraint of the grammar parameter.
func ownGrammar(text string) (*core.Constraint, error) {
	if text == "" || len(text) > core.MaxGrammar {
		return nil, invalid("grammar", "grammar: needs 1 to %d bytes", core.MaxGrammar)
	}
	return &core.Constraint{Grammar: text}, nil
}

// literal writes s as a literal of a grammar.
func literal(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ':
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// prefixed renames every rule of a grammar, so that several fit into one.
func prefixed(text, prefix string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		end := i + 1
		switch c := text[i]; {
		case c == '"' || c == '[':
			end = quoted(text, i)
		case c == '#':
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				end = i + n
			} else {
				end = len(text)
			}
		case isName(c, true):
			for end < len(text) && isName(text[end], false) {
				end++
			}
			b.WriteString(prefix)
		case isName(c, false): // a number, as in {3,5}
			for end < len(text) && text[end] >= '0' && text[end] <= '9' {
				end++
			}
		}
		b.WriteString(text[i:end])
		i = end
	}
	return b.String()
}

// quoted returns where the literal or class that begins at i ends.
func quoted(g string, i int) int {
	closing := byte('"')
	if g[i] == '[' {
		closing = ']'
	}
	for i++; i < len(g); i++ {
		switch g[i] {
		case '\\':
			i++
		case closing:
			return i + 1
		}
	}
	return len(g)
}

func isName(c byte, first bool) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || !first && (c >= '0' && c <= '9' || c == '-')
}
