package chat

import (
	"fmt"
	"strings"
)

// Raised is the error of a template that refuses a conversation by
// raise_exception, for instance because its roles do not alternate.
type Raised struct{ Message string }

// Error returns the template's own words.
func (r *Raised) Error() string { return r.Message }

var globals map[string]function

func init() {
	globals = map[string]function{
		"raise_exception": func(m *machine, args []any, _ map[string]any) any {
			text := "the template raised an exception"
			if len(args) > 0 {
				text = m.text(args[0])
			}
			panic(&Raised{text})
		},
		"namespace": func(_ *machine, args []any, named map[string]any) any {
			n := &namespace{*newDict()}
			for _, a := range args {
				if d, ok := a.(*dict); ok {
					for _, k := range d.keys {
						n.set(k, d.values[k])
					}
				}
			}
			for k, v := range named {
				n.set(k, v)
			}
			return n
		},
		"dict": func(_ *machine, args []any, named map[string]any) any {
			if len(args) > 0 {
				fail("dict takes named values only")
			}
			d := newDict()
			for _, k := range sortedKeys(named) {
				d.set(k, named[k])
			}
			return d
		},
		"range":        rangeFunction,
		"strftime_now": strftimeNow,
	}
}

func rangeFunction(m *machine, args []any, _ map[string]any) any {
	var n [3]int64
	if len(args) < 1 || len(args) > 3 {
		fail("range takes one to three numbers")
	}
	for i, a := range args {
		v, ok := integer(a)
		if !ok {
			fail("range takes integers, not %s", kindOf(a))
		}
		n[i] = min(max(v, -1<<40), 1<<40)
	}
	from, to, step := n[0], n[1], n[2]
	switch len(args) {
	case 1:
		from, to, step = 0, n[0], 1
	case 2:
		step = 1
	}
	if step == 0 {
		fail("range's step is 0")
	}
	out := &list{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		m.step(1)
		out.items = append(out.items, i)
	}
	return out
}

// strftimeNow formats the time of the rendering, with C's directives.
func strftimeNow(m *machine, args []any, _ map[string]any) any {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'b': "Jan", 'B': "January", 'H': "15", 'I': "03",
		'M': "04", 'S': "05", 'p': "PM", 'y': "06", 'a': "Mon", 'A': "Monday", 'e': "_2", 'j': "002", 'Z': "MST",
		'z': "-0700", 'F': "2006-01-02", 'T': "15:04:05"}
	f := one(args)
	m.step(len(f))
	var b strings.Builder
	for i := 0; i < len(f); i++ {
		if f[i] != '%' || i+1 == len(f) {
			b.WriteByte(f[i])
			continue
		}
		i++
		unpadded := f[i] == '-' && i+1 < len(f)
		if unpadded {
			i++
		}
		switch layout := layouts[f[i]]; {
		case f[i] == '%':
			b.WriteByte('%')
		case layout == "":
			fail("strftime_now does not know %%%c", f[i])
		default:
			s := m.now.Format(layout)
			if unpadded {
				s = strings.TrimLeft(s, "0")
			}
			b.WriteString(s)
		}
	}
	return m.made(fmt.Sprint(b.String()))
}
