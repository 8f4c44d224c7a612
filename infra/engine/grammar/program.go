package grammar

import (
	"math"
	"unicode/utf8"
)

// Limits on a compiled grammar.
const (
	maxNodes   = 1 << 17
	maxClasses = 256 // different classes with characters beyond ASCII

	unlimited = math.MaxInt32 // the max of a repetition without one
)

type kind uint8

const (
	pop   kind = iota // the end of a rule: go on with the stack's top
	match             // a byte of set, then next
	call              // push next, then target
	fork              // any of targets
	again             // a repetition: target min to max times, then next
)

// node is a point in a grammar, from where certain bytes can come.
type node struct {
	kind     kind
	set      byteSet
	next     int32
	target   int32
	min, max int32
	targets  []int32
}

// program is a compiled grammar. Node 0 is the end of every rule.
type program struct {
	nodes []node
	start int32

	class   [256]uint8 // bytes that the grammar does not tell apart
	classes int
	sample  [256]byte // of each class, one byte
}

// compile turns a text into a program. The bytes of alone are told apart.
func compile(text string, alone string) (prog *program, err error) {
	p, err := parse(text)
	if err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	defer catch(&err)
	c := &compiler{p: p, rules: map[string]int32{}, memo: map[string]int32{}}
	c.add(node{kind: pop})
	c.prog.start = c.rule("root")
	for len(c.pending) > 0 {
		r := c.pending[len(c.pending)-1]
		c.pending = c.pending[:len(c.pending)-1]
		body := c.expr(r.body, 0)
		c.prog.nodes[c.rules[r.name]].targets = []int32{body}
	}
	c.prog.divide(alone)
	return &c.prog, nil
}

type compiler struct {
	p       *parser
	prog    program
	rules   map[string]int32 // the first node of a rule
	pending []*rule
	memo    map[string]int32
	wide    int // different classes beyond ASCII
}

func (c *compiler) add(n node) int32 {
	if len(c.prog.nodes) >= maxNodes {
		c.p.fail(0, "the grammar is too large: more than %d points", maxNodes)
	}
	c.prog.nodes = append(c.prog.nodes, n)
	return int32(len(c.prog.nodes) - 1)
}

// rule returns the first node of a rule, whose body may be compiled later.
func (c *compiler) rule(name string) int32 {
	if n, ok := c.rules[name]; ok {
		return n
	}
	n := c.add(node{kind: fork})
	c.rules[name] = n
	c.pending = append(c.pending, c.p.named[name])
	return n
}

// expr returns the node from which e and then next follows.
func (c *compiler) expr(e *expr, next int32) int32 {
	switch e.op {
	case literal:
		for i := len(e.text) - 1; i >= 0; i-- {
			next = c.byte(e.text[i], next)
		}
	case class:
		return c.runes(e, next)
	case reference:
		return c.call(c.rule(e.text), next)
	case sequence:
		for i := len(e.kids) - 1; i >= 0; i-- {
			next = c.expr(e.kids[i], next)
		}
	case choice:
		targets := make([]int32, len(e.kids))
		for i, k := range e.kids {
			targets[i] = c.expr(k, next)
		}
		return c.add(node{kind: fork, targets: targets})
	case repeat:
		return c.repeat(e, next)
	}
	return next
}

func (c *compiler) byte(b byte, next int32) int32 {
	n := node{kind: match, next: next}
	n.set.add(b)
	return c.add(n)
}

func (c *compiler) call(target, next int32) int32 {
	if next == 0 {
		return target
	}
	return c.add(node{kind: call, target: target, next: next})
}

func (c *compiler) repeat(e *expr, next int32) int32 {
	switch {
	case e.max == 0:
		return next
	case e.max == 1 && e.min == 1:
		return c.expr(e.kids[0], next)
	case e.max == 1:
		return c.add(node{kind: fork, targets: []int32{c.expr(e.kids[0], next), next}})
	}
	limit := int32(e.max)
	if e.max == unbounded {
		limit = unlimited
	}
	return c.add(node{kind: again, target: c.expr(e.kids[0], 0), next: next, min: int32(e.min), max: limit})
}

// runes compiles a class: bytes of ASCII here, longer sequences in a rule that
// all equal classes share.
func (c *compiler) runes(e *expr, next int32) int32 {
	var targets []int32
	var ascii node
	for _, r := range within(e.ranges, 0, 0x7f) {
		for v := r.lo; v <= r.hi; v++ {
			ascii.set.add(byte(v))
		}
	}
	if ascii.set != (byteSet{}) {
		ascii.kind, ascii.next = match, next
		targets = append(targets, c.add(ascii))
	}
	if wide := within(e.ranges, 0x80, utf8.MaxRune); len(wide) > 0 {
		name := "class " + key(wide)
		start, ok := c.memo[name]
		if !ok {
			if c.wide++; c.wide > maxClasses {
				c.p.fail(e.at, "the grammar has more than %d different classes", maxClasses)
			}
			start = c.wideRunes(wide)
			c.memo[name] = start
		}
		targets = append(targets, c.call(start, next))
	}
	if len(targets) == 1 {
		return targets[0]
	}
	return c.add(node{kind: fork, targets: targets})
}

// wideRunes returns the node from which the UTF-8 of the ranges follows.
func (c *compiler) wideRunes(ranges []span) int32 {
	var g groups
	for _, lead := range [...]struct {
		first, last byte
		lo, hi      rune
		rest        int
	}{{0xc2, 0xdf, 0x80, 0x7ff, 1}, {0xe0, 0xef, 0x800, 0xffff, 2}, {0xf0, 0xf4, 0x10000, utf8.MaxRune, 3}} {
		in := within(ranges, lead.lo, lead.hi)
		size := rune(1) << (6 * lead.rest)
		for b := int(lead.first); b <= int(lead.last); b++ {
			base := rune(b&(1<<(6-lead.rest)-1)) * size
			g.add(byte(b), shifted(within(in, base, base+size-1), base), lead.rest)
		}
	}
	return c.groups(&g)
}

// continuation returns the node from which n continuation bytes follow whose
// bits lie in the ranges.
func (c *compiler) continuation(ranges []span, n int) int32 {
	if n == 0 {
		return 0
	}
	name := string(rune('0'+n)) + key(ranges)
	if at, ok := c.memo[name]; ok {
		return at
	}
	var g groups
	size := rune(1) << (6 * (n - 1))
	for v := range rune(64) {
		g.add(0x80|byte(v), shifted(within(ranges, v*size, (v+1)*size-1), v*size), n-1)
	}
	at := c.groups(&g)
	c.memo[name] = at
	return at
}

// groups collects bytes by what may follow them.
type groups struct {
	order  []string
	byKey  map[string]*node
	ranges map[string][]span
	rest   map[string]int
}

func (g *groups) add(b byte, ranges []span, rest int) {
	if len(ranges) == 0 {
		return
	}
	if g.byKey == nil {
		g.byKey, g.ranges, g.rest = map[string]*node{}, map[string][]span{}, map[string]int{}
	}
	k := string(rune('0'+rest)) + key(ranges)
	if g.byKey[k] == nil {
		g.byKey[k] = &node{kind: match}
		g.ranges[k], g.rest[k] = ranges, rest
		g.order = append(g.order, k)
	}
	g.byKey[k].set.add(b)
}

func (c *compiler) groups(g *groups) int32 {
	var targets []int32
	for _, k := range g.order {
		n := *g.byKey[k]
		n.next = c.continuation(g.ranges[k], g.rest[k])
		targets = append(targets, c.add(n))
	}
	if len(targets) == 1 {
		return targets[0]
	}
	return c.add(node{kind: fork, targets: targets})
}

// divide finds the classes of bytes that no node tells apart.
func (prog *program) divide(alone string) {
	seen := map[byteSet]bool{}
	split := func(s byteSet) {
		if seen[s] {
			return
		}
		seen[s] = true
		// A class that is partly in s becomes two.
		var renamed [256]int
		var inside, outside [256]bool
		for b := range 256 {
			if s.has(byte(b)) {
				inside[prog.class[b]] = true
			} else {
				outside[prog.class[b]] = true
			}
		}
		for b := range 256 {
			k := prog.class[b]
			if !s.has(byte(b)) || !inside[k] || !outside[k] {
				continue
			}
			if renamed[k] == 0 {
				renamed[k] = prog.classes
				prog.classes++
			}
			prog.class[b] = uint8(renamed[k])
		}
	}
	prog.classes = 1
	for i := range prog.nodes {
		if prog.nodes[i].kind == match {
			split(prog.nodes[i].set)
		}
	}
	for i := range len(alone) {
		var s byteSet
		s.add(alone[i])
		split(s)
	}
	for b := 255; b >= 0; b-- {
		prog.sample[prog.class[b]] = byte(b)
	}
}
