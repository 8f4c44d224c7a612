package chat

import (
	"encoding/json"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type filterFunc func(m *machine, v any, args []any, named map[string]any) any

var filters map[string]filterFunc

func init() {
	// Filled here because select and map look filters and tests up themselves.
	filters = map[string]filterFunc{
		"trim":       onText(func(m *machine, s string, args []any) any { return strip(s, args, true, true) }),
		"upper":      onText(func(_ *machine, s string, _ []any) any { return strings.ToUpper(s) }),
		"lower":      onText(func(_ *machine, s string, _ []any) any { return strings.ToLower(s) }),
		"title":      onText(func(_ *machine, s string, _ []any) any { return title(s) }),
		"capitalize": onText(func(_ *machine, s string, _ []any) any { return capitalize(s) }),
		"replace":    onText(func(m *machine, s string, args []any) any { return replace(m, s, args) }),
		"escape":     onText(func(m *machine, s string, _ []any) any { return m.made(htmlEscaper.Replace(s)) }),
		"e":          onText(func(m *machine, s string, _ []any) any { return m.made(htmlEscaper.Replace(s)) }),
		"string":     onText(func(_ *machine, s string, _ []any) any { return s }),
		"safe":       func(_ *machine, v any, _ []any, _ map[string]any) any { return v },
		"indent":     indentFilter,
		"length":     lengthFilter,
		"count":      lengthFilter,
		"default":    defaultFilter,
		"d":          defaultFilter,
		"tojson":     tojsonFilter,
		"join":       joinFilter,
		"list":       func(m *machine, v any, _ []any, _ map[string]any) any { return m.copied(v) },
		"first":      func(m *machine, v any, _ []any, _ map[string]any) any { return edge(m.items(v), true) },
		"last":       func(m *machine, v any, _ []any, _ map[string]any) any { return edge(m.items(v), false) },
		"int":        intFilter,
		"float":      floatFilter,
		"abs":        absFilter,
		"round":      roundFilter,
		"sum":        sumFilter,
		"min":        func(m *machine, v any, _ []any, _ map[string]any) any { return edge(m.sorted(v, "", false), true) },
		"max":        func(m *machine, v any, _ []any, _ map[string]any) any { return edge(m.sorted(v, "", false), false) },
		"reverse":    reverseFilter,
		"unique":     uniqueFilter,
		"sort":       sortFilter,
		"items":      func(m *machine, v any, _ []any, _ map[string]any) any { return m.pairs(v, false) },
		"dictsort":   func(m *machine, v any, _ []any, _ map[string]any) any { return m.pairs(v, true) },
		"map":        mapFilter,
		"select":     choose(false, true),
		"reject":     choose(false, false),
		"selectattr": choose(true, true),
		"rejectattr": choose(true, false),
	}
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")

func onText(f func(m *machine, s string, args []any) any) filterFunc {
	return func(m *machine, v any, args []any, _ map[string]any) any {
		s := m.text(v)
		m.step(1 + len(s)/32)
		return f(m, s, args)
	}
}

// argument returns the i-th argument or the one of that name, or def.
func argument(args []any, named map[string]any, i int, name string, def any) any {
	if i < len(args) {
		return args[i]
	}
	if v, ok := named[name]; ok {
		return v
	}
	return def
}

func textArgument(v any, what string) string {
	s, ok := v.(string)
	if !ok {
		fail("%s must be a string, not %s", what, kindOf(v))
	}
	return s
}

func lengthFilter(m *machine, v any, _ []any, _ map[string]any) any {
	if s, ok := v.(string); ok {
		m.step(len(s) / 16)
		return int64(utf8.RuneCountInString(s))
	}
	return int64(len(m.items(v)))
}

func defaultFilter(_ *machine, v any, args []any, named map[string]any) any {
	_, missing := v.(undefined)
	if missing || truth(argument(args, named, 1, "boolean", false)) && !truth(v) {
		return argument(args, named, 0, "default_value", "")
	}
	return v
}

func indentFilter(m *machine, v any, args []any, named map[string]any) any {
	width, pad := argument(args, named, 0, "width", int64(4)), ""
	switch w := width.(type) {
	case string:
		pad = w
	case int64:
		pad = strings.Repeat(" ", int(min(max(w, 0), 256)))
	}
	lines := strings.Split(m.text(v), "\n")
	m.step(len(lines))
	m.bound(len(lines) * len(pad))
	for i, line := range lines {
		if i == 0 && !truth(argument(args, named, 1, "first", false)) ||
			strings.TrimSpace(line) == "" && !truth(argument(args, named, 2, "blank", false)) {
			continue
		}
		lines[i] = pad + line
	}
	return m.made(strings.Join(lines, "\n"))
}

func joinFilter(m *machine, v any, args []any, named map[string]any) any {
	sep := m.text(argument(args, named, 0, "d", ""))
	attr, _ := argument(args, named, 1, "attribute", nil).(string)
	var b strings.Builder
	for i, x := range m.items(v) {
		if i > 0 {
			b.WriteString(sep)
		}
		if attr != "" {
			x = m.path(x, attr)
		}
		m.step(1)
		b.WriteString(m.text(x))
		m.bound(b.Len())
	}
	return m.made(b.String())
}

func (m *machine) copied(v any) *list {
	items := m.items(v)
	m.step(len(items))
	return &list{slices.Clone(items)}
}

func edge(items []any, first bool) any {
	switch {
	case len(items) == 0:
		return undefined{}
	case first:
		return items[0]
	}
	return items[len(items)-1]
}

func intFilter(_ *machine, v any, args []any, named map[string]any) any {
	def := argument(args, named, 0, "default", int64(0))
	switch v := v.(type) {
	case string:
		if i, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return i
		}
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && math.Abs(f) < 1<<62 {
			return int64(f)
		}
	case float64:
		if math.Abs(v) < 1<<62 {
			return int64(v)
		}
	default:
		if i, ok := integer(v); ok {
			return i
		}
	}
	return def
}

func floatFilter(_ *machine, v any, args []any, named map[string]any) any {
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return f
		}
	}
	if f, ok := number(v); ok {
		return f
	}
	return argument(args, named, 0, "default", 0.0)
}

func absFilter(_ *machine, v any, _ []any, _ map[string]any) any {
	if i, ok := integer(v); ok {
		return max(i, -i)
	}
	f, ok := v.(float64)
	if !ok {
		fail("%s has no absolute value", kindOf(v))
	}
	return math.Abs(f)
}

func roundFilter(_ *machine, v any, args []any, named map[string]any) any {
	f, ok := number(v)
	if !ok {
		fail("%s cannot be rounded", kindOf(v))
	}
	n, _ := integer(argument(args, named, 0, "precision", int64(0)))
	scale := math.Pow(10, float64(min(max(n, -300), 300)))
	switch argument(args, named, 1, "method", "common") {
	case "floor":
		return math.Floor(f*scale) / scale
	case "ceil":
		return math.Ceil(f*scale) / scale
	}
	return math.RoundToEven(f*scale) / scale
}

func sumFilter(m *machine, v any, _ []any, _ map[string]any) any {
	var total any = int64(0)
	for _, x := range m.items(v) {
		m.step(1)
		total = arithmetic("+", total, x)
	}
	return total
}

func reverseFilter(m *machine, v any, _ []any, _ map[string]any) any {
	l := m.copied(v)
	slices.Reverse(l.items)
	if _, ok := v.(string); ok {
		return joinFilter(m, l, nil, nil)
	}
	return l
}

func uniqueFilter(m *machine, v any, _ []any, _ map[string]any) any {
	out := &list{}
	for _, x := range m.items(v) {
		if !m.contains(out, x) {
			out.items = append(out.items, x)
		}
	}
	return out
}

func sortFilter(m *machine, v any, args []any, named map[string]any) any {
	attr, _ := argument(args, named, 2, "attribute", nil).(string)
	return &list{m.sorted(v, attr, truth(argument(args, named, 0, "reverse", false)))}
}

// sorted orders by an attribute, or the values themselves; strings without
// regard to case, as Jinja does by default.
func (m *machine) sorted(v any, attr string, reverse bool) []any {
	items := m.copied(v).items
	key := func(x any) any {
		if attr != "" {
			x = m.path(x, attr)
		}
		if s, ok := x.(string); ok {
			m.step(len(s) / 16)
			return strings.ToLower(s)
		}
		return x
	}
	sort.SliceStable(items, func(i, j int) bool {
		if reverse {
			i, j = j, i
		}
		return m.less(key(items[i]), key(items[j]))
	})
	return items
}

// pairs lists a mapping as [key, value] pairs.
func (m *machine) pairs(v any, sorted bool) *list {
	d, ok := v.(*dict)
	if !ok {
		if _, missing := v.(undefined); missing {
			return &list{}
		}
		fail("%s has no items", kindOf(v))
	}
	keys := d.keys
	if sorted {
		keys = m.sorted(d, "", false)
	}
	m.step(2 * len(keys))
	out := &list{}
	for _, k := range keys {
		out.items = append(out.items, &list{[]any{k, d.values[k]}})
	}
	return out
}

// path follows "a.b.0" from x.
func (m *machine) path(x any, path string) any {
	for _, name := range strings.Split(path, ".") {
		if i, err := strconv.ParseInt(name, 10, 32); err == nil {
			x = index{literal{x}, literal{i}}.eval(m)
		} else {
			x = index{literal{x}, literal{name}}.eval(m)
		}
	}
	return x
}

func mapFilter(m *machine, v any, args []any, named map[string]any) any {
	out := &list{}
	attr, byAttr := named["attribute"].(string)
	var name string
	if !byAttr {
		if len(args) == 0 {
			fail("the filter \"map\" needs a filter or an attribute")
		}
		name = textArgument(args[0], "a filter's name")
		if filters[name] == nil {
			fail("the filter %q is not supported", name)
		}
	}
	defer m.enter()()
	for _, x := range m.items(v) {
		m.step(1)
		if byAttr {
			x = m.path(x, attr)
			if def, ok := named["default"]; ok {
				x = defaultFilter(m, x, []any{def}, nil)
			}
		} else {
			x = filters[name](m, x, args[1:], named)
		}
		out.items = append(out.items, x)
	}
	return out
}

// choose is select, reject, selectattr and rejectattr.
func choose(byAttr, keep bool) filterFunc {
	return func(m *machine, v any, args []any, _ map[string]any) any {
		out, attr := &list{}, ""
		if byAttr {
			if len(args) == 0 {
				fail("an attribute's name is missing")
			}
			attr, args = textArgument(args[0], "an attribute's name"), args[1:]
		}
		is := func(_ *machine, x any, _ []any) bool { return truth(x) }
		if len(args) > 0 {
			name := textArgument(args[0], "a test's name")
			if is, args = tests[name], args[1:]; is == nil {
				fail("the test %q is not supported", name)
			}
		}
		for _, x := range m.items(v) {
			m.step(1)
			y := x
			if byAttr {
				y = m.path(x, attr)
			}
			if is(m, y, args) == keep {
				out.items = append(out.items, x)
			}
		}
		return out
	}
}

func tojsonFilter(m *machine, v any, args []any, named map[string]any) any {
	indent := -1
	if n, ok := integer(argument(args, named, 0, "indent", nil)); ok {
		indent = int(min(max(n, 0), 16))
	}
	var b strings.Builder
	m.json(&b, v, indent, 0)
	return m.made(b.String())
}

// json writes what Python's json.dumps(ensure_ascii=False) does.
func (m *machine) json(b *strings.Builder, v any, indent, level int) {
	m.step(1)
	m.bound(b.Len())
	newline := func(level int) {
		if indent >= 0 {
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(" ", indent*level))
		}
	}
	separate := func(i int) {
		if i > 0 && indent >= 0 {
			b.WriteString(",")
		} else if i > 0 {
			b.WriteString(", ")
		}
		newline(level + 1)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64, float64:
		m.repr(b, v)
	case string:
		m.step(len(v) / 16)
		jsonString(b, v)
	case *list:
		defer m.enter()()
		b.WriteByte('[')
		for i, x := range v.items {
			separate(i)
			m.json(b, x, indent, level+1)
		}
		if len(v.items) > 0 {
			newline(level)
		}
		b.WriteByte(']')
	case *dict:
		defer m.enter()()
		b.WriteByte('{')
		for i, k := range v.keys {
			separate(i)
			jsonString(b, m.text(k))
			b.WriteString(": ")
			m.json(b, v.values[k], indent, level+1)
		}
		if len(v.keys) > 0 {
			newline(level)
		}
		b.WriteByte('}')
	default:
		fail("%s has no JSON form", kindOf(v))
	}
}

func jsonString(b *strings.Builder, s string) {
	var w strings.Builder
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		fail("a string has no JSON form: %v", err)
	}
	text := strings.TrimSuffix(w.String(), "\n")
	// Go escapes these two for JavaScript's sake; Python does not.
	b.WriteString(strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(text))
}

func title(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		was := start
		start = !unicode.IsLetter(r)
		if was {
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToTitle(r)) + strings.ToLower(s[n:])
}

func replace(m *machine, s string, args []any) string {
	if len(args) < 2 {
		fail("replace needs two strings")
	}
	from, to, n := textArgument(args[0], "replace's argument"), textArgument(args[1], "replace's argument"), -1
	if len(args) > 2 {
		if i, ok := integer(args[2]); ok {
			n = int(min(max(i, -1), maxOutput))
		}
	}
	count := strings.Count(s, from)
	m.step(len(s)/16 + count)
	if grow := int64(len(to) - len(from)); grow > 0 && int64(count)*grow > maxOutput {
		m.bound(maxOutput + 1)
	}
	return m.made(strings.Replace(s, from, to, n))
}

func strip(s string, args []any, left, right bool) string {
	cut := unicode.IsSpace
	if len(args) > 0 && args[0] != nil {
		chars := textArgument(args[0], "the characters to strip")
		if len(chars) > 256 {
			fail("too many characters to strip")
		}
		cut = func(r rune) bool { return strings.ContainsRune(chars, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, cut)
	}
	if right {
		s = strings.TrimRightFunc(s, cut)
	}
	return s
}
