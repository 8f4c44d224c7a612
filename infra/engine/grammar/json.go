package grammar

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// JSONObject is the grammar of any JSON object.
func JSONObject() string {
	b := newBuilder()
	return b.text("root ::= " + b.shared("object") + "\n")
}

// shared are the rules of JSON itself. Between tokens there is nothing, one
// space, or one line break with an indentation: endless white space is no
// progress. A char is one code point, whatever its spelling.
var shared = map[string]struct{ body, needs string }{
	"ws":     {`("\n" [ \t]{0,40} | " ")?`, ""},
	"hex":    {`[0-9a-fA-F]`, ""},
	"escape": {`["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2} | [dD] [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2})`, "hex"},
	"char":   {`[^"\\\x00-\x1f] | "\\" escape`, "escape"},
	"string": {`"\"" char* "\""`, "char"},
	"int":    {`"0" | "-"? [1-9] [0-9]{0,17}`, ""},
	"number": {`"-"? ("0" | [1-9] [0-9]{0,17}) ("." [0-9]{1,20})? ([eE] [-+]? [0-9]{1,2})?`, ""},
	"value":  {`object | array | string | number | "true" | "false" | "null"`, "object array string number"},
	"object": {`"{" ws (member ("," ws member)* ws)? "}"`, "member ws"},
	"member": {`string ":" ws value`, "string ws value"},
	"array":  {`"[" ws (value ("," ws value)* ws)? "]"`, "value ws"},
	"leap":   {`[0-9]{2} ("0" [48] | [2468] [048] | [13579] [26]) | ([02468] [048] | [13579] [26]) "00"`, ""},
	"date": {`[0-9]{4} "-" (("0" [13578] | "10" | "12") "-" ("0" [1-9] | [12] [0-9] | "3" [01]) | ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30")` +
		` | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])) | leap "-02-29"`, "leap"},
	"clock": {`([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]`, ""},
	"time":  {`clock ":" [0-5] [0-9] ("." [0-9]{1,9})? ("Z" | [-+] clock)`, "clock"},
	"uuid":  {`hex{8} ("-" hex{4}){3} "-" hex{12}`, "hex"},
}

// builder writes the rules of a grammar, equal ones once.
type builder struct {
	out    strings.Builder
	used   map[string]bool   // of shared
	names  map[string]string // of rules by body
	number int
}

func newBuilder() *builder { return &builder{used: map[string]bool{}, names: map[string]string{}} }

// shared makes sure that a shared rule is there.
func (b *builder) shared(name string) string {
	if !b.used[name] {
		b.used[name] = true
		for _, other := range strings.Fields(shared[name].needs) {
			b.shared(other)
		}
		fmt.Fprintf(&b.out, "%s ::= %s\n", name, shared[name].body)
	}
	return name
}

// name returns a new name for a rule.
func (b *builder) name() string {
	b.number++
	return fmt.Sprintf("r%d", b.number)
}

// rule returns the name of the rule with this body.
func (b *builder) rule(body string) string {
	if name, ok := b.names[body]; ok {
		return name
	}
	name := b.name()
	b.names[body] = name
	b.define(name, body)
	return name
}

func (b *builder) define(name, body string) {
	fmt.Fprintf(&b.out, "%s ::= %s\n", name, body)
	if b.out.Len() > core.MaxGrammar-256 {
		panic(tooLarge())
	}
}

func tooLarge() failure {
	e := core.Errorf(core.CodeInvalid, "the schema is too large: its grammar has more than %d bytes", core.MaxGrammar)
	e.Param = "response_format"
	return failure{e}
}

func (b *builder) text(root string) string { return root + b.out.String() }

// quote writes a literal.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// spell writes a string as JSON does, with no escape that is not needed.
func spell(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		b.WriteString(spellRune(r))
	}
	b.WriteByte('"')
	return b.String()
}

func spellRune(r rune) string {
	if i := strings.IndexRune("\"\\\b\f\n\r\t", r); i >= 0 {
		return `\` + string(`"\bfnrt`[i])
	}
	if r < 0x20 {
		return fmt.Sprintf(`\u%04x`, r)
	}
	return string(r)
}

// value is a JSON value that keeps the order of members.
type value struct {
	kind    byte // o, a, s, n, b, 0 as in object, array, string, number, boolean, null
	members []member
	items   []value
	text    string // of a string, or the number or boolean as written
}

type member struct {
	name  string
	value value
}

// Limits on a schema's text.
const (
	maxSchema      = 256 << 10
	maxSchemaDepth = 64
)

func (v *value) get(name string) *value {
	for i := range v.members {
		if v.members[i].name == name {
			return &v.members[i].value
		}
	}
	return nil
}

// spelled is the value as compact JSON.
func (v *value) spelled() string {
	switch v.kind {
	case 's':
		return spell(v.text)
	case 'o':
		parts := make([]string, len(v.members))
		for i, m := range v.members {
			parts[i] = spell(m.name) + ":" + m.value.spelled()
		}
		return "{" + strings.Join(parts, ",") + "}"
	case 'a':
		parts := make([]string, len(v.items))
		for i := range v.items {
			parts[i] = v.items[i].spelled()
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return v.text
}

// readJSON reads one value and nothing after it.
func readJSON(text []byte) (value, error) {
	if len(text) > maxSchema {
		return value{}, core.Errorf(core.CodeInvalid, "a schema has at most %d bytes, this one has %d", maxSchema, len(text))
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err != nil {
		return value{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return value{}, core.Errorf(core.CodeInvalid, "there is something after the schema")
	}
	return v, nil
}

func readValue(d *json.Decoder, depth int) (value, error) {
	t, err := d.Token()
	if err != nil {
		return value{}, core.Errorf(core.CodeInvalid, "the schema is no JSON: %v", err)
	}
	if depth > maxSchemaDepth {
		return value{}, core.Errorf(core.CodeInvalid, "the schema is nested more than %d deep", maxSchemaDepth)
	}
	switch t := t.(type) {
	case json.Delim:
		return readAll(d, t, depth)
	case string:
		return value{kind: 's', text: t}, nil
	case json.Number:
		return value{kind: 'n', text: t.String()}, nil
	case bool:
		return value{kind: 'b', text: fmt.Sprint(t)}, nil
	}
	return value{kind: '0', text: "null"}, nil
}

func readAll(d *json.Decoder, open json.Delim, depth int) (value, error) {
	v := value{kind: 'a'}
	if open == '{' {
		v.kind = 'o'
	}
	for d.More() {
		var m member
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return v, core.Errorf(core.CodeInvalid, "the schema is no JSON: %v", err)
			}
			m.name = t.(string)
			if v.get(m.name) != nil {
				return v, core.Errorf(core.CodeInvalid, "the schema names %q twice in one object", m.name)
			}
		}
		item, err := readValue(d, depth+1)
		if err != nil {
			return v, err
		}
		if open == '{' {
			m.value = item
			v.members = append(v.members, m)
		} else {
			v.items = append(v.items, item)
		}
	}
	if _, err := d.Token(); err != nil {
		return v, core.Errorf(core.CodeInvalid, "the schema is no JSON: %v", err)
	}
	return v, nil
}
