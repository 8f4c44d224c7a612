package chat

import (
	"strings"
	"unicode"
)

var stringMethods map[string]func(m *machine, s string, args []any) any

func init() {
	stringMethods = map[string]func(m *machine, s string, args []any) any{
		"strip":        func(m *machine, s string, args []any) any { m.scan(s); return strip(s, args, true, true) },
		"lstrip":       func(m *machine, s string, args []any) any { m.scan(s); return strip(s, args, true, false) },
		"rstrip":       func(m *machine, s string, args []any) any { m.scan(s); return strip(s, args, false, true) },
		"upper":        func(m *machine, s string, _ []any) any { return m.made(strings.ToUpper(s)) },
		"lower":        func(m *machine, s string, _ []any) any { return m.made(strings.ToLower(s)) },
		"title":        func(m *machine, s string, _ []any) any { return m.made(title(s)) },
		"capitalize":   func(m *machine, s string, _ []any) any { return m.made(capitalize(s)) },
		"replace":      func(m *machine, s string, args []any) any { return replace(m, s, args) },
		"startswith":   func(m *machine, s string, args []any) any { return anyOf(args, s, strings.HasPrefix) },
		"endswith":     func(m *machine, s string, args []any) any { return anyOf(args, s, strings.HasSuffix) },
		"removeprefix": func(_ *machine, s string, args []any) any { return strings.TrimPrefix(s, one(args)) },
		"removesuffix": func(_ *machine, s string, args []any) any { return strings.TrimSuffix(s, one(args)) },
		"find": func(m *machine, s string, args []any) any {
			m.scan(s)
			return runeIndex(s, strings.Index(s, one(args)))
		},
		"rfind": func(m *machine, s string, args []any) any {
			m.scan(s)
			return runeIndex(s, strings.LastIndex(s, one(args)))
		},
		"count":      func(m *machine, s string, args []any) any { m.scan(s); return int64(strings.Count(s, one(args))) },
		"split":      func(m *machine, s string, args []any) any { return split(m, s, args, false) },
		"rsplit":     func(m *machine, s string, args []any) any { return split(m, s, args, true) },
		"splitlines": splitLines,
		"join": func(m *machine, s string, args []any) any {
			if len(args) != 1 {
				fail("join needs a list")
			}
			return joinFilter(m, args[0], []any{s}, nil)
		},
		"isdigit": func(m *machine, s string, _ []any) any {
			m.scan(s)
			return s != "" && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsDigit(r) }) < 0
		},
	}
}

// scan charges for reading a string.
func (m *machine) scan(s string) { m.step(len(s) / 16) }

func one(args []any) string {
	if len(args) == 0 {
		fail("a string is missing")
	}
	return textArgument(args[0], "the argument")
}

// anyOf tries one string, or each of a list.
func anyOf(args []any, s string, has func(s, t string) bool) bool {
	if len(args) > 0 {
		if l, ok := args[0].(*list); ok {
			for _, x := range l.items {
				if has(s, textArgument(x, "the argument")) {
					return true
				}
			}
			return false
		}
	}
	return has(s, one(args))
}

func runeIndex(s string, at int) int64 {
	if at < 0 {
		return -1
	}
	return int64(len([]rune(s[:at])))
}

func split(m *machine, s string, args []any, fromRight bool) any {
	m.step(len(s))
	limit := -1
	if len(args) > 1 {
		if n, ok := integer(args[1]); ok && n >= 0 {
			limit = int(min(n, maxOutput))
		}
	}
	if len(args) == 0 || args[0] == nil {
		if limit >= 0 {
			fail("split at white space with a limit is not supported")
		}
		return texts(strings.Fields(s))
	}
	sep := one(args)
	if sep == "" {
		fail("split needs a separator that is not empty")
	}
	if limit < 0 {
		return texts(strings.Split(s, sep))
	}
	if !fromRight {
		return texts(strings.SplitN(s, sep, limit+1))
	}
	all := strings.Split(s, sep)
	if head := len(all) - limit; head > 1 {
		all = append([]string{strings.Join(all[:head], sep)}, all[head:]...)
	}
	return texts(all)
}

func splitLines(m *machine, s string, _ []any) any {
	m.step(len(s))
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	if s = strings.TrimSuffix(s, "\n"); s == "" {
		return &list{}
	}
	return texts(strings.Split(s, "\n"))
}

func texts(ss []string) *list {
	l := &list{make([]any, len(ss))}
	for i, s := range ss {
		l.items[i] = s
	}
	return l
}

var dictMethods map[string]func(*dict) function

func init() {
	dictMethods = map[string]func(*dict) function{
		"items": func(d *dict) function {
			return func(m *machine, _ []any, _ map[string]any) any { return m.pairs(d, false) }
		},
		"keys": func(d *dict) function {
			return func(m *machine, _ []any, _ map[string]any) any { return m.copied(d) }
		},
		"values": func(d *dict) function {
			return func(m *machine, _ []any, _ map[string]any) any {
				m.step(len(d.keys))
				l := &list{}
				for _, k := range d.keys {
					l.items = append(l.items, d.values[k])
				}
				return l
			}
		},
		"get": func(d *dict) function {
			return func(m *machine, args []any, named map[string]any) any {
				if len(args) == 0 {
					fail("get needs a key")
				}
				if v, ok := d.get(args[0]); ok {
					return v
				}
				return argument(args, named, 1, "default", nil)
			}
		},
	}
}

var listMethods = map[string]func(*list) function{
	"append": func(l *list) function {
		return func(m *machine, args []any, _ map[string]any) any {
			if len(args) != 1 {
				fail("append needs one value")
			}
			m.step(1)
			l.items = append(l.items, args[0])
			return nil
		}
	},
	"index": func(l *list) function {
		return func(m *machine, args []any, _ map[string]any) any {
			for i, x := range l.items {
				if len(args) == 1 && m.equal(x, args[0]) {
					return int64(i)
				}
			}
			fail("the value is not in the list")
			return nil
		}
	},
	"pop": func(l *list) function {
		return func(m *machine, args []any, _ map[string]any) any {
			at := len(l.items) - 1
			if len(args) > 0 {
				at, _ = position(args[0], len(l.items))
			}
			if at < 0 || at >= len(l.items) {
				fail("pop from an empty list")
			}
			x := l.items[at]
			l.items = append(append([]any{}, l.items[:at]...), l.items[at+1:]...)
			m.step(len(l.items))
			return x
		}
	},
}

var tests map[string]func(m *machine, v any, args []any) bool

func init() {
	tests = map[string]func(m *machine, v any, args []any) bool{
		"defined":   func(_ *machine, v any, _ []any) bool { _, u := v.(undefined); return !u },
		"undefined": func(_ *machine, v any, _ []any) bool { _, u := v.(undefined); return u },
		"none":      func(_ *machine, v any, _ []any) bool { return v == nil },
		"string":    func(_ *machine, v any, _ []any) bool { _, ok := v.(string); return ok },
		"number":    func(_ *machine, v any, _ []any) bool { _, ok := number(v); return ok },
		"integer":   func(_ *machine, v any, _ []any) bool { _, ok := v.(int64); return ok },
		"float":     func(_ *machine, v any, _ []any) bool { _, ok := v.(float64); return ok },
		"boolean":   func(_ *machine, v any, _ []any) bool { _, ok := v.(bool); return ok },
		"true":      func(_ *machine, v any, _ []any) bool { return v == true },
		"false":     func(_ *machine, v any, _ []any) bool { return v == false },
		"mapping":   func(_ *machine, v any, _ []any) bool { _, ok := v.(*dict); return ok },
		"callable":  func(_ *machine, v any, _ []any) bool { _, ok := v.(function); return ok },
		"iterable":  func(_ *machine, v any, _ []any) bool { return iterable(v) },
		"sequence":  func(_ *machine, v any, _ []any) bool { return iterable(v) },
		"odd":       func(_ *machine, v any, _ []any) bool { return remainder(v, 2) == 1 },
		"even":      func(_ *machine, v any, _ []any) bool { return remainder(v, 2) == 0 },
		"lower":     func(m *machine, v any, _ []any) bool { s := m.text(v); m.scan(s); return s == strings.ToLower(s) },
		"upper":     func(m *machine, v any, _ []any) bool { s := m.text(v); m.scan(s); return s == strings.ToUpper(s) },
		"divisibleby": func(_ *machine, v any, args []any) bool {
			n, _ := integer(first(args))
			if n == 0 {
				fail("division by zero")
			}
			return remainder(v, n) == 0
		},
		"in": func(m *machine, v any, args []any) bool { return m.contains(first(args), v) },
	}
	for name, op := range map[string]string{"equalto": "==", "eq": "==", "sameas": "==", "ne": "!=", "lt": "<", "le": "<=",
		"gt": ">", "ge": ">=", "lessthan": "<", "greaterthan": ">"} {
		tests[name] = func(m *machine, v any, args []any) bool { return m.compare(op, v, first(args)) }
	}
}

func iterable(v any) bool {
	switch v.(type) {
	case string, *list, *dict, undefined:
		return true
	}
	return false
}

func remainder(v any, n int64) int64 {
	i, ok := integer(v)
	if !ok {
		fail("%s is not an integer", kindOf(v))
	}
	return integers("%", i, n).(int64)
}

func first(args []any) any {
	if len(args) == 0 {
		fail("a test's argument is missing")
	}
	return args[0]
}
