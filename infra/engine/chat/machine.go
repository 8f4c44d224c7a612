package chat

import (
	"math"
	"strings"
	"time"
)

// Limits of one rendering.
const (
	maxSteps  = 2_000_000
	maxOutput = 4 << 20 // bytes, of the output and of every string
	maxCalls  = 32      // macros within macros
)

// machine runs a template.
type machine struct {
	out   strings.Builder
	scope *scope
	root  *scope
	steps int
	depth int
	calls int
	now   time.Time
}

// scope holds the variables of a loop's turn, a macro or the template.
type scope struct {
	vars   map[string]any
	parent *scope
}

func (m *machine) step(n int) {
	if m.steps += n; m.steps > maxSteps {
		fail("the template runs for too long")
	}
}

// bound refuses texts that grow too long, and charges for what was made.
func (m *machine) bound(n int) {
	if n > maxOutput {
		fail("the template makes a text of more than %d bytes", maxOutput)
	}
}

// made charges for a new string.
func (m *machine) made(s string) string {
	m.bound(len(s))
	m.step(len(s) / 64)
	return s
}

// enter goes one level deeper; the result goes back.
func (m *machine) enter() func() {
	if m.depth++; m.depth > 10*maxDepth {
		fail("the template nests too deeply")
	}
	return func() { m.depth-- }
}

func (m *machine) lookup(name string) any {
	for s := m.scope; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v
		}
	}
	if f, ok := globals[name]; ok {
		return f
	}
	return undefined{name}
}

func (m *machine) write(s string) {
	m.bound(m.out.Len() + len(s))
	m.step(1 + len(s)/64)
	m.out.WriteString(s)
}

func (m *machine) run(body []stmt) flow {
	defer m.enter()()
	for _, s := range body {
		m.step(1)
		if f := s.run(m); f != onward {
			return f
		}
	}
	return onward
}

// capture runs body and returns its output instead of writing it.
func (m *machine) capture(body []stmt) string {
	outer := m.out.String()
	m.step(len(outer) / 64)
	m.out = strings.Builder{}
	m.run(body)
	text := m.out.String()
	m.out = strings.Builder{}
	m.out.WriteString(outer)
	return text
}

// within runs f in a scope of its own below parent.
func (m *machine) within(parent *scope, vars map[string]any, f func()) {
	before := m.scope
	m.scope = &scope{vars, parent}
	f()
	m.scope = before
}

func (s textStmt) run(m *machine) flow { m.write(s.text); return onward }

func (s outputStmt) run(m *machine) flow { m.write(m.text(s.x.eval(m))); return onward }

func (s loopControl) run(*machine) flow { return s.flow }

func (s scopeStmt) run(m *machine) flow { return m.run(s.body) }

func (s ifStmt) run(m *machine) flow {
	if truth(s.cond.eval(m)) {
		return m.run(s.yes)
	}
	return m.run(s.no)
}

func (s setStmt) run(m *machine) flow {
	var v any
	if s.value != nil {
		v = s.value.eval(m)
	} else {
		v = m.capture(s.body)
	}
	if s.field != "" {
		ns, ok := m.lookup(s.targets[0]).(*namespace)
		if !ok {
			fail("%q is not a namespace", s.targets[0])
		}
		ns.set(s.field, v)
		return onward
	}
	m.assign(m.scope.vars, s.targets, v)
	return onward
}

// assign unpacks v where there are several targets.
func (m *machine) assign(vars map[string]any, targets []string, v any) {
	if len(targets) == 1 {
		vars[targets[0]] = v
		return
	}
	items := m.items(v)
	if len(items) != len(targets) {
		fail("%d values for %d names", len(items), len(targets))
	}
	for i, name := range targets {
		vars[name] = items[i]
	}
}

func (s forStmt) run(m *machine) flow {
	items := m.items(s.over.eval(m))
	if s.where != nil {
		var kept []any
		for _, x := range items {
			m.step(1)
			vars := map[string]any{}
			m.assign(vars, s.targets, x)
			m.within(m.scope, vars, func() {
				if truth(s.where.eval(m)) {
					kept = append(kept, x)
				}
			})
		}
		items = kept
	}
	if len(items) == 0 {
		return m.run(s.alt)
	}
	for i, x := range items {
		m.step(8)
		vars := map[string]any{"loop": loopVariable(items, i)}
		m.assign(vars, s.targets, x)
		var f flow
		m.within(m.scope, vars, func() { f = m.run(s.body) })
		if f == breakLoop {
			break
		}
	}
	return onward
}

func loopVariable(items []any, i int) *dict {
	n := int64(len(items))
	d := newDict()
	d.set("index", int64(i)+1)
	d.set("index0", int64(i))
	d.set("revindex", n-int64(i))
	d.set("revindex0", n-int64(i)-1)
	d.set("first", i == 0)
	d.set("last", int64(i) == n-1)
	d.set("length", n)
	if i > 0 {
		d.set("previtem", items[i-1])
	}
	if int64(i) < n-1 {
		d.set("nextitem", items[i+1])
	}
	d.set("cycle", function(func(m *machine, args []any, _ map[string]any) any {
		if len(args) == 0 {
			fail("loop.cycle needs values")
		}
		return args[i%len(args)]
	}))
	return d
}

func (s *macroStmt) run(m *machine) flow {
	m.scope.vars[s.name] = function(s.call)
	return onward
}

func (s *macroStmt) call(m *machine, args []any, named map[string]any) any {
	if m.calls++; m.calls > maxCalls {
		fail("macros call each other too deeply")
	}
	defer func() { m.calls-- }()
	if len(args) > len(s.params) {
		fail("the macro %q takes %d arguments, not %d", s.name, len(s.params), len(args))
	}
	vars := map[string]any{}
	for i, name := range s.params {
		v, given := named[name]
		switch {
		case i < len(args):
			v = args[i]
		case given:
		case s.defaults[i] != nil:
			v = s.defaults[i].eval(m)
		default:
			v = undefined{name}
		}
		vars[name] = v
	}
	for name := range named {
		if _, ok := vars[name]; !ok {
			fail("the macro %q has no parameter %q", s.name, name)
		}
	}
	var text string
	m.within(m.root, vars, func() { text = m.capture(s.body) })
	return text
}

func (x literal) eval(m *machine) any { m.step(1); return x.value }

func (x variable) eval(m *machine) any { m.step(1); return m.lookup(x.name) }

func (x listExpr) eval(m *machine) any {
	return &list{m.all(x.items)}
}

func (m *machine) all(xs []expr) []any {
	m.step(1 + len(xs))
	out := make([]any, len(xs))
	for i, x := range xs {
		out[i] = x.eval(m)
	}
	return out
}

func (x dictExpr) eval(m *machine) any {
	keys, values := m.all(x.keys), m.all(x.values)
	d := newDict()
	for i, k := range keys {
		d.set(k, values[i])
	}
	return d
}

func (x conditional) eval(m *machine) any {
	m.step(1)
	if truth(x.cond.eval(m)) {
		return x.yes.eval(m)
	}
	return x.no.eval(m)
}

func (x attribute) eval(m *machine) any {
	return m.attribute(x.of.eval(m), x.name)
}

func (m *machine) attribute(v any, name string) any {
	m.step(1)
	switch v := v.(type) {
	case undefined, nil:
		fail("%s has no %q", kindOf(v), name)
	case *namespace:
		if x, ok := v.get(name); ok {
			return x
		}
		return undefined{name}
	case *dict:
		// Methods come before keys, as in Jinja; a key of that name needs ["key"].
		if f := dictMethods[name]; f != nil {
			return f(v)
		}
		if x, ok := v.get(name); ok {
			return x
		}
	case string:
		if f := stringMethods[name]; f != nil {
			return function(func(m *machine, args []any, _ map[string]any) any { return f(m, v, args) })
		}
	case *list:
		if f := listMethods[name]; f != nil {
			return f(v)
		}
	}
	return undefined{name}
}

func (x index) eval(m *machine) any {
	v, at := x.of.eval(m), x.at.eval(m)
	m.step(1)
	if name, ok := at.(string); ok {
		switch v := v.(type) {
		case *dict:
			if value, ok := v.get(name); ok {
				return value
			}
			return undefined{name}
		case *list, string:
			return undefined{name}
		}
		return m.attribute(v, name)
	}
	switch v := v.(type) {
	case *dict:
		if value, ok := v.get(at); ok {
			return value
		}
	case *list:
		if i, ok := position(at, len(v.items)); ok {
			return v.items[i]
		}
	case string:
		items := m.items(v)
		if i, ok := position(at, len(items)); ok {
			return items[i]
		}
	case undefined, nil:
		fail("%s has no elements", kindOf(v))
	}
	return undefined{}
}

func position(at any, n int) (int, bool) {
	i, ok := at.(int64)
	if ok && i < 0 {
		i += int64(n)
	}
	return int(i), ok && i >= 0 && i < int64(n)
}

func (x slice) eval(m *machine) any {
	v := x.of.eval(m)
	if _, ok := v.(*dict); ok {
		fail("a mapping cannot be sliced")
	}
	items := m.items(v)
	n := int64(len(items))
	step := m.bounds(x.step, 1)
	if step == 0 {
		fail("a slice's step is 0")
	}
	from, to := int64(0), n
	if step < 0 {
		from, to = n-1, -1
	}
	clip := func(e expr, def int64) int64 {
		if e == nil {
			return def
		}
		i := m.bounds(e, def)
		if i < 0 {
			i += n
		}
		if step < 0 {
			return min(max(i, -1), n-1)
		}
		return min(max(i, 0), n)
	}
	from, to = clip(x.from, from), clip(x.to, to)
	m.step(int(n))
	out := &list{}
	for i := from; step > 0 && i < to || step < 0 && i > to; i += step {
		out.items = append(out.items, items[i])
		if step > n || step < -n {
			break
		}
	}
	if _, ok := v.(string); ok {
		var b strings.Builder
		for _, c := range out.items {
			b.WriteString(c.(string))
		}
		return b.String()
	}
	return out
}

func (m *machine) bounds(e expr, def int64) int64 {
	if e == nil {
		return def
	}
	switch v := e.eval(m).(type) {
	case int64:
		return v
	case nil:
		return def
	default:
		fail("%s is no position in a slice", kindOf(v))
	}
	return 0
}

func (x call) eval(m *machine) any {
	callee := x.callee.eval(m)
	f, ok := callee.(function)
	if !ok {
		fail("%s cannot be called", kindOf(callee))
	}
	args, named := m.arguments(x.args)
	return f(m, args, named)
}

func (m *machine) arguments(a arguments) ([]any, map[string]any) {
	args := m.all(a.positional)
	if len(a.names) == 0 {
		return args, nil
	}
	named := map[string]any{}
	for i, v := range m.all(a.named) {
		named[a.names[i]] = v
	}
	return args, named
}

func (x filter) eval(m *machine) any {
	v := x.of.eval(m)
	args, named := m.arguments(x.args)
	return filters[x.name](m, v, args, named)
}

func (x test) eval(m *machine) any {
	v := x.of.eval(m)
	args, _ := m.arguments(x.args)
	return tests[x.name](m, v, args) != x.negate
}

func (x unary) eval(m *machine) any {
	v := x.x.eval(m)
	m.step(1)
	if x.op == "not" {
		return !truth(v)
	}
	if i, ok := integer(v); ok {
		if x.op == "-" {
			return -i
		}
		return i
	}
	f, ok := v.(float64)
	if !ok {
		fail("%s has no sign", kindOf(v))
	}
	if x.op == "-" {
		return -f
	}
	return f
}

func (x comparison) eval(m *machine) any {
	a := x.first.eval(m)
	for i, op := range x.ops {
		b := x.rest[i].eval(m)
		if !m.compare(op, a, b) {
			return false
		}
		a = b
	}
	return true
}

func (m *machine) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return m.equal(a, b)
	case "!=":
		return !m.equal(a, b)
	case "<":
		return m.less(a, b)
	case ">":
		return m.less(b, a)
	case "<=":
		return m.less(a, b) || m.equal(a, b)
	case ">=":
		return m.less(b, a) || m.equal(a, b)
	case "in":
		return m.contains(b, a)
	}
	return !m.contains(b, a)
}

func (m *machine) contains(in, x any) bool {
	switch in := in.(type) {
	case string:
		s, ok := x.(string)
		if !ok {
			fail("%s is never in a string", kindOf(x))
		}
		m.step(len(in) / 16)
		return strings.Contains(in, s)
	case *dict:
		_, ok := in.get(x)
		return ok
	case *namespace:
		_, ok := in.get(x)
		return ok
	}
	for _, y := range m.items(in) {
		if m.equal(x, y) {
			return true
		}
	}
	return false
}

func (x binary) eval(m *machine) any {
	a := x.x.eval(m)
	m.step(1)
	switch x.op {
	case "and":
		if !truth(a) {
			return a
		}
		return x.y.eval(m)
	case "or":
		if truth(a) {
			return a
		}
		return x.y.eval(m)
	}
	b := x.y.eval(m)
	if x.op == "~" {
		return m.concat(m.text(a), m.text(b))
	}
	if v, ok := m.sequences(x.op, a, b); ok {
		return v
	}
	return arithmetic(x.op, a, b)
}

func (m *machine) concat(a, b string) string {
	m.bound(len(a) + len(b))
	return m.made(a + b)
}

// sequences handles + and * on strings and lists.
func (m *machine) sequences(op string, a, b any) (any, bool) {
	if op == "*" {
		if _, ok := integer(a); ok {
			a, b = b, a
		}
	}
	switch a := a.(type) {
	case string:
		if s, ok := b.(string); ok && op == "+" {
			return m.concat(a, s), true
		}
		if n, ok := integer(b); ok && op == "*" {
			n = max(n, 0)
			if len(a) > 0 && n > int64(maxOutput/len(a)) {
				m.bound(maxOutput + 1)
			}
			if len(a) == 0 {
				n = 0
			}
			return m.made(strings.Repeat(a, int(n))), true
		}
	case *list:
		if l, ok := b.(*list); ok && op == "+" {
			m.step(len(a.items) + len(l.items))
			return &list{append(append([]any{}, a.items...), l.items...)}, true
		}
	}
	return nil, false
}

func arithmetic(op string, a, b any) any {
	i, iok := integer(a)
	j, jok := integer(b)
	if iok && jok && op != "/" && !(op == "**" && j < 0) {
		return integers(op, i, j)
	}
	x, xok := number(a)
	y, yok := number(b)
	if !xok || !yok {
		fail("%s %s %s cannot be computed", kindOf(a), op, kindOf(b))
	}
	if y == 0 && (op == "/" || op == "//" || op == "%") {
		fail("division by zero")
	}
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	case "%":
		return x - y*math.Floor(x/y)
	}
	return math.Pow(x, y)
}

// integers computes with wrapping 64-bit numbers, dividing towards minus
// infinity as Python does.
func integers(op string, i, j int64) any {
	switch op {
	case "+":
		return i + j
	case "-":
		return i - j
	case "*":
		return i * j
	case "**":
		r := int64(1)
		for ; j > 0; j >>= 1 {
			if j&1 == 1 {
				r *= i
			}
			i *= i
		}
		return r
	}
	if j == 0 {
		fail("division by zero")
	}
	if j == -1 { // the one quotient that overflows
		if op == "//" {
			return -i
		}
		return int64(0)
	}
	q, r := i/j, i%j
	if r != 0 && (r < 0) != (j < 0) {
		q, r = q-1, r+j
	}
	if op == "//" {
		return q
	}
	return r
}
