package grammar

import (
	"fmt"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// FromSchema returns the grammar of the JSON that a JSON Schema (draft 2020-12 or
// 7) describes. Everything that the grammar accepts is valid, with one exception:
// oneOf is read as anyOf. Not everything valid is accepted: objects have the
// properties in the schema's order, others only where additionalProperties or the
// lack of properties allows them, and text is spelled without needless escapes.
// What the grammar cannot honour is refused with its name and place, CodeInvalid.
func FromSchema(schema []byte) (text string, err error) {
	defer catch(&err)
	root, err := readJSON(schema)
	if err != nil {
		return "", err
	}
	s := &schemas{builder: newBuilder(), root: &root, refs: map[string]string{}}
	first := s.any(&root, "#")
	text = s.text("root ::= " + first + "\n")
	if len(text) > core.MaxGrammar {
		panic(tooLarge())
	}
	if _, err := compile(text, ""); err != nil {
		s.refuse("#", "it refers to itself without an end, or a pattern counts what can be empty (%v)", err)
	}
	return text, nil
}

// schemas translates a schema.
type schemas struct {
	*builder
	root *value
	refs map[string]string // rules of what $ref names
}

func (s *schemas) refuse(at, format string, args ...any) {
	e := core.Errorf(core.CodeInvalid, "the schema at %s: "+format, append([]any{at}, args...)...)
	e.Param, e.Next = "response_format", "change the schema, or ask without it and check the answer"
	panic(failure{e})
}

// Keywords by what they are about.
var (
	annotations = strings.Fields("title description default examples example $comment $schema $id deprecated readOnly writeOnly $defs definitions")
	keywords    = map[string][]string{
		"object": strings.Fields("properties required additionalProperties"),
		"array":  strings.Fields("items prefixItems minItems maxItems"),
		"string": strings.Fields("minLength maxLength pattern format"),
		"number": strings.Fields("minimum maximum exclusiveMinimum exclusiveMaximum"),
	}
	types = strings.Fields("object array string number integer boolean null")
)

// harmless are keywords that say nothing with these values.
var harmless = map[string]string{"uniqueItems": "false", "minProperties": "0", "nullable": "false"}

// any returns an expression for the instances of a schema.
func (s *schemas) any(v *value, at string) string {
	switch {
	case v.kind == 'b' && v.text == "true":
		return s.shared("value")
	case v.kind == 'b':
		s.refuse(at, "nothing is allowed here")
	case v.kind != 'o':
		s.refuse(at, "a schema is an object or a boolean, this is %.40s", v.spelled())
	}
	for _, m := range v.members {
		s.checkKeyword(m, at)
	}
	for _, alone := range []string{"$ref", "enum", "const", "anyOf", "oneOf", "allOf"} {
		if v.get(alone) == nil {
			continue
		}
		for _, m := range v.members {
			beside := m.name == "type" && (alone == "enum" || alone == "const")
			if m.name != alone && !beside && !slices.Contains(annotations, m.name) && harmless[m.name] == "" {
				s.refuse(at, "%s beside %s cannot be honoured", m.name, alone)
			}
		}
		return s.whole(alone, v, at)
	}
	return s.typed(v, at)
}

func (s *schemas) checkKeyword(m member, at string) {
	known := slices.Contains(annotations, m.name) || slices.Contains([]string{"type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf"}, m.name)
	for _, list := range keywords {
		known = known || slices.Contains(list, m.name)
	}
	if !known && harmless[m.name] != m.value.spelled() {
		s.refuse(at, "%s cannot be honoured", m.name)
	}
}

// whole translates a keyword that describes the instance by itself.
func (s *schemas) whole(keyword string, v *value, at string) string {
	arg := v.get(keyword)
	at += "/" + keyword
	switch keyword {
	case "$ref":
		return s.reference(arg, at)
	case "const":
		return s.choose([]value{*arg}, v.get("type"), at)
	case "enum":
		if arg.kind != 'a' || len(arg.items) == 0 {
			s.refuse(at, "enum is a list of at least one value")
		}
		return s.choose(arg.items, v.get("type"), at)
	}
	if arg.kind != 'a' || len(arg.items) == 0 {
		s.refuse(at, "%s is a list of at least one schema", keyword)
	}
	if keyword == "allOf" && len(arg.items) > 1 {
		s.refuse(at, "allOf of more than one schema cannot be honoured")
	}
	parts := make([]string, len(arg.items))
	for i := range arg.items {
		parts[i] = s.any(&arg.items[i], fmt.Sprintf("%s/%d", at, i))
	}
	return s.union(parts)
}

func (s *schemas) union(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	return s.rule(strings.Join(parts, " | "))
}

// choose allows these values, as far as they are of the types.
func (s *schemas) choose(values []value, types *value, at string) string {
	var parts []string
	for i := range values {
		if types == nil || slices.ContainsFunc(s.types(types, at), func(t string) bool { return values[i].is(t) }) {
			parts = append(parts, quote(values[i].spelled()))
		}
	}
	if len(parts) == 0 {
		s.refuse(at, "no value is of the type")
	}
	return s.union(parts)
}

func (v *value) is(name string) bool {
	kinds := map[string]byte{"object": 'o', "array": 'a', "string": 's', "number": 'n', "integer": 'n', "boolean": 'b', "null": '0'}
	return kinds[name] == v.kind && (name != "integer" || !strings.ContainsAny(v.text, ".eE"))
}

func (s *schemas) reference(ref *value, at string) string {
	if ref.kind != 's' || !strings.HasPrefix(ref.text, "#") {
		s.refuse(at, "only references within the schema are possible, as in #/$defs/NAME")
	}
	if name, ok := s.refs[ref.text]; ok {
		return name
	}
	target := s.root
	for _, part := range strings.Split(strings.TrimPrefix(ref.text, "#"), "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		next := target.get(part)
		if i := index(part); target.kind == 'a' && i >= 0 && i < len(target.items) {
			next = &target.items[i]
		}
		if next == nil {
			s.refuse(at, "there is no %s", ref.text)
		}
		target = next
	}
	if ref.text != "#" && !strings.HasPrefix(ref.text, "#/") {
		s.refuse(at, "%s is no path; anchors cannot be honoured", ref.text)
	}
	name := s.name()
	s.refs[ref.text] = name
	s.define(name, s.any(target, ref.text))
	return name
}

func index(s string) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' || n > maxSchema {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	if s == "" {
		return -1
	}
	return n
}

func (s *schemas) types(v *value, at string) []string {
	items := []value{*v}
	if v.kind == 'a' && len(v.items) > 0 {
		items = v.items
	}
	var out []string
	for _, t := range items {
		if t.kind != 's' || !slices.Contains(types, t.text) {
			s.refuse(at, "type %.40s is none of %s", t.spelled(), strings.Join(types, ", "))
		}
		out = append(out, t.text)
	}
	return out
}

// typed translates a schema by the types of its instances. Where it names none,
// the keywords tell.
func (s *schemas) typed(v *value, at string) string {
	var names []string
	if t := v.get("type"); t != nil {
		names = s.types(t, at)
	} else {
		for _, t := range []string{"object", "array", "string", "number"} {
			if slices.ContainsFunc(keywords[t], func(k string) bool { return v.get(k) != nil }) {
				names = append(names, t)
			}
		}
		if len(names) == 0 {
			return s.shared("value")
		}
	}
	var parts []string
	for _, t := range names {
		switch t {
		case "object":
			parts = append(parts, s.object(v, at))
		case "array":
			parts = append(parts, s.array(v, at))
		case "string":
			parts = append(parts, s.string(v, at))
		case "number", "integer":
			parts = append(parts, s.numeric(v, t == "integer", at))
		case "boolean":
			parts = append(parts, `"true" | "false"`)
		case "null":
			parts = append(parts, `"null"`)
		}
	}
	return s.rule(strings.Join(parts, " | "))
}

// count reads a keyword that is a number of things, or returns fallback.
func (s *schemas) count(v *value, keyword string, fallback int, at string) int {
	arg := v.get(keyword)
	if arg == nil {
		return fallback
	}
	n, ok := whole(arg)
	if !ok || n < 0 {
		s.refuse(at, "%s is %.40s, not a count", keyword, arg.spelled())
	}
	if n > maxCount {
		s.refuse(at, "%s is %d, at most %d is possible", keyword, n, maxCount)
	}
	return int(n)
}

// between reads a pair of counts.
func (s *schemas) between(v *value, least, most, at string) (lo, hi int) {
	lo, hi = s.count(v, least, 0, at), s.count(v, most, unbounded, at)
	if hi != unbounded && lo > hi {
		s.refuse(at, "%s is %d and %s is %d", least, lo, most, hi)
	}
	return lo, hi
}

// times writes a quantifier.
func times(lo, hi int) string {
	switch {
	case hi == unbounded && lo == 0:
		return "*"
	case hi == unbounded:
		return fmt.Sprintf("{%d,}", lo)
	}
	return fmt.Sprintf("{%d,%d}", lo, hi)
}

func (s *schemas) array(v *value, at string) string {
	s.shared("ws")
	lo, hi := s.between(v, "minItems", "maxItems", at)
	var first []string
	if p := v.get("prefixItems"); p != nil {
		if p.kind != 'a' {
			s.refuse(at, "prefixItems is a list of schemas")
		}
		for i := range p.items {
			first = append(first, s.any(&p.items[i], fmt.Sprintf("%s/prefixItems/%d", at, i)))
		}
	}
	item := ""
	switch rest := v.get("items"); {
	case rest == nil:
		item = s.shared("value")
	case rest.kind == 'a':
		s.refuse(at, "items as a list cannot be honoured; use prefixItems")
	case rest.kind == 'b' && rest.text == "false":
		if hi == unbounded || hi > len(first) {
			hi = len(first)
		}
		if lo > hi {
			s.refuse(at, "minItems is %d and only %d items are allowed", lo, hi)
		}
	default:
		item = s.any(rest, at+"/items")
	}
	return `"[" ws ` + s.list(first, item, lo, hi) + `"]"`
}

// list writes lo to hi items, the first ones by themselves.
func (s *schemas) list(first []string, item string, lo, hi int) string {
	if hi == 0 {
		return ""
	}
	if hi != unbounded {
		first = first[:min(len(first), hi)]
	}
	body := ""
	for i := max(len(first), 1); i >= 0; i-- {
		// What follows after i items.
		switch {
		case i == max(len(first), 1):
			if item == "" {
				continue
			}
			more := hi
			if more != unbounded {
				more -= i
			}
			if more != 0 {
				body = `("," ws ` + item + `)` + times(max(0, lo-i), more) + ` `
			}
			continue
		case i < len(first):
			body = first[i] + ` ` + body
		default:
			body = item + ` ` + body
		}
		if i > 0 {
			body = `"," ws ` + body
		} else {
			body += `ws `
		}
		if i >= lo {
			body = `(` + body + `)? `
		}
	}
	return body
}

// object writes the properties in order, optional ones as they are there or not.
func (s *schemas) object(v *value, at string) string {
	s.shared("ws")
	var properties []member
	required := map[string]bool{}
	if p := v.get("properties"); p != nil {
		if p.kind != 'o' {
			s.refuse(at, "properties is an object of schemas")
		}
		properties = p.members
	}
	extra := s.extra(v, properties, at)
	if r := v.get("required"); r != nil {
		for _, name := range r.items {
			if name.kind != 's' {
				s.refuse(at, "required is a list of names")
			}
			if required[name.text] = true; !slices.ContainsFunc(properties, func(m member) bool { return m.name == name.text }) {
				s.refuse(at, "the required property %q is not described", name.text)
			}
		}
	}
	// tails[started] is what follows from a property on.
	tails := [2]string{``, `ws`}
	if extra != "" {
		tails = [2]string{`(` + extra + ` ("," ws ` + extra + `)* ws)?`, `("," ws ` + extra + `)* ws`}
	}
	for i := len(properties) - 1; i >= 0; i-- {
		p := &properties[i]
		pair := s.rule(quote(spell(p.name)+":") + ` ws ` + s.any(&p.value, at+"/properties/"+p.name))
		then := [2]string{pair + ` ` + tails[1], `"," ws ` + pair + ` ` + tails[1]}
		for started := range then {
			if required[p.name] {
				tails[started] = then[started]
			} else {
				tails[started] = s.rule(then[started] + ` | ` + tails[started])
			}
		}
		tails[1] = s.rule(tails[1])
	}
	return `"{" ws ` + tails[0] + ` "}"`
}

// extra returns an expression for a property that is not described, or "".
func (s *schemas) extra(v *value, properties []member, at string) string {
	more := v.get("additionalProperties")
	switch {
	case more == nil && len(properties) > 0, more != nil && more.kind == 'b' && more.text == "false":
		return ""
	case more == nil:
		return s.shared("member")
	}
	names := make([]string, len(properties))
	for i, p := range properties {
		names[i] = p.name
	}
	key := s.shared("string")
	if len(names) > 0 {
		key = `"\"" ` + s.other(names) + `"\""`
	}
	return s.rule(key + ` ":" ws ` + s.any(more, at+"/additionalProperties"))
}

// other writes the strings, without escapes, that are none of these.
func (s *schemas) other(names []string) string {
	var heads []rune
	rest := map[rune][]string{}
	whole := false
	for _, n := range names {
		if n == "" {
			whole = true
			continue
		}
		r := []rune(n)
		if rest[r[0]] == nil {
			heads = append(heads, r[0])
		}
		rest[r[0]] = append(rest[r[0]], string(r[1:]))
	}
	plain := `\x00-\x1f"\\`
	var parts []string
	for _, h := range heads {
		if h >= 0x20 && h != '"' && h != '\\' {
			plain += classRune(h)
			parts = append(parts, quote(string(h))+` `+s.other(rest[h]))
		}
	}
	parts = append(parts, `[^`+plain+`] [^\x00-\x1f"\\]*`)
	if !whole {
		parts = append(parts, `""`)
	}
	return s.rule(strings.Join(parts, " | ")) + ` `
}

func classRune(r rune) string {
	switch {
	case r == '\\' || r == ']' || r == '[' || r == '^' || r == '-':
		return `\` + string(r)
	case r < 0x20 || r == 0x7f:
		return fmt.Sprintf(`\x%02x`, r)
	}
	return string(r)
}

func (s *schemas) string(v *value, at string) string {
	lo, hi := s.between(v, "minLength", "maxLength", at)
	pattern, format := v.get("pattern"), v.get("format")
	counted := lo > 0 || hi != unbounded
	switch {
	case pattern != nil && format != nil, counted && pattern != nil, counted && format != nil:
		s.refuse(at, "pattern, format and a length cannot be honoured together")
	case pattern != nil:
		return `"\"" ` + s.pattern(pattern, at) + ` "\""`
	case format != nil:
		return `"\"" ` + s.format(format, at) + ` "\""`
	case counted:
		return `"\"" ` + s.shared("char") + times(lo, hi) + ` "\""`
	}
	return s.shared("string")
}

func (s *schemas) format(f *value, at string) string {
	switch f.text {
	case "date", "time", "uuid":
		return s.shared(f.text)
	case "date-time":
		return s.shared("date") + ` "T" ` + s.shared("time")
	}
	s.refuse(at, "the format %.40s cannot be honoured; date, time, date-time and uuid can", f.spelled())
	return ""
}
