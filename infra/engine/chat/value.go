package chat

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Values are nil (none), undefined, bool, int64, float64, string, *list,
// *dict, *namespace and function.
type (
	undefined struct{ name string }
	list      struct{ items []any }
	dict      struct {
		keys   []any // scalars, in order of insertion
		values map[any]any
	}
	namespace struct{ dict }
	function  func(m *machine, args []any, named map[string]any) any
)

func newDict() *dict { return &dict{values: map[any]any{}} }

func (d *dict) set(key, value any) {
	switch key.(type) {
	case string, int64, bool, float64, nil:
	default:
		fail("%s cannot be a key", kindOf(key))
	}
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

func (d *dict) get(key any) (any, bool) {
	switch key.(type) {
	case string, int64, bool, float64, nil:
		v, ok := d.values[key]
		return v, ok
	}
	return nil, false
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case undefined:
		if v.name != "" {
			return strconv.Quote(v.name) + " (which is undefined)"
		}
		return "an undefined value"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case string:
		return "a string"
	case *list:
		return "a list"
	case *dict:
		return "a mapping"
	case *namespace:
		return "a namespace"
	}
	return "a function"
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return len(v.keys) > 0
	}
	return true
}

// number returns v as a float and whether it is a number; booleans are, as in
// Python.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// equal compares as Python's == does; the machine pays for long operands.
func (m *machine) equal(a, b any) bool {
	m.step(1)
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string:
		s, ok := b.(string)
		m.step(len(a) / 64)
		return ok && a == s
	case *list:
		l, ok := b.(*list)
		if !ok || len(a.items) != len(l.items) {
			return false
		}
		defer m.enter()()
		for i := range a.items {
			if !m.equal(a.items[i], l.items[i]) {
				return false
			}
		}
		return true
	case *dict:
		d, ok := b.(*dict)
		if !ok || len(a.keys) != len(d.keys) {
			return false
		}
		defer m.enter()()
		for _, k := range a.keys {
			if v, ok := d.values[k]; !ok || !m.equal(a.values[k], v) {
				return false
			}
		}
		return true
	case *namespace:
		n, ok := b.(*namespace)
		return ok && a == n
	}
	return false
}

// less orders numbers, strings, and lists of these.
func (m *machine) less(a, b any) bool {
	m.step(1)
	x, xok := number(a)
	y, yok := number(b)
	if xok && yok {
		return x < y
	}
	s, sok := a.(string)
	t, tok := b.(string)
	if sok && tok {
		m.step(min(len(s), len(t)) / 64)
		return s < t
	}
	l, lok := a.(*list)
	k, kok := b.(*list)
	if lok && kok {
		defer m.enter()()
		for i := range min(len(l.items), len(k.items)) {
			if !m.equal(l.items[i], k.items[i]) {
				return m.less(l.items[i], k.items[i])
			}
		}
		return len(l.items) < len(k.items)
	}
	fail("%s and %s have no order", kindOf(a), kindOf(b))
	panic("unreachable")
}

// text is how a value is written into the output: Python's str.
func (m *machine) text(v any) string {
	switch v := v.(type) {
	case undefined:
		return ""
	case string:
		return v
	}
	var b strings.Builder
	m.repr(&b, v)
	return b.String()
}

// repr writes Python's repr.
func (m *machine) repr(b *strings.Builder, v any) {
	m.step(1)
	m.bound(b.Len())
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case undefined:
		b.WriteString("Undefined")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(floatText(v))
	case string:
		m.step(len(v) / 16)
		quote(b, v)
	case *list:
		defer m.enter()()
		b.WriteByte('[')
		for i, x := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			m.repr(b, x)
		}
		b.WriteByte(']')
	case *dict:
		defer m.enter()()
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			m.repr(b, k)
			b.WriteString(": ")
			m.repr(b, v.values[k])
		}
		b.WriteByte('}')
	default:
		fail("%s cannot be written out", kindOf(v))
	}
}

func quote(b *strings.Builder, s string) {
	q := byte('\'')
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		q = '"'
	}
	b.WriteByte(q)
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r == 0x7f:
			b.WriteString(`\x`)
			b.WriteString(strconv.FormatInt(int64(r)|0x100, 16)[1:])
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte(q)
}

// floatText is Python's repr of a float.
func floatText(x float64) string {
	switch {
	case math.IsNaN(x):
		return "nan"
	case math.IsInf(x, 1):
		return "inf"
	case math.IsInf(x, -1):
		return "-inf"
	}
	if a := math.Abs(x); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	s := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.ContainsRune(s, '.') {
		s += ".0"
	}
	return s
}

// items returns what a value yields when iterated: a list's items, a mapping's
// keys, a string's characters, nothing for an undefined value.
func (m *machine) items(v any) []any {
	switch v := v.(type) {
	case *list:
		return v.items
	case *dict:
		return v.keys
	case undefined:
		return nil
	case string:
		m.step(len(v))
		out := make([]any, 0, utf8.RuneCountInString(v))
		for _, r := range v {
			out = append(out, string(r))
		}
		return out
	}
	fail("%s cannot be iterated over", kindOf(v))
	panic("unreachable")
}
