package grammar

import (
	"strings"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
)

// Limits on a grammar's text.
const (
	maxNesting = 100
	maxCount   = 1 << 20 // of a repetition
	unbounded  = -1
)

type op uint8

const (
	literal op = iota
	class
	reference
	sequence
	choice
	repeat
)

// expr is a part of a rule.
type expr struct {
	op       op
	at       int // offset in the text
	text     string
	ranges   []span // of a class, sorted and apart
	kids     []*expr
	min, max int // of a repeat
}

// rule is a named expression.
type rule struct {
	name string
	at   int
	body *expr
}

// parser reads a grammar's text by recursive descent.
type parser struct {
	text  string
	pos   int
	depth int
	rules []*rule
	named map[string]*rule
}

// failure is a *core.Error that is thrown within the package.
type failure struct{ err *core.Error }

func refuse(text string, at int, format string, args ...any) failure {
	line := 1 + strings.Count(text[:at], "\n")
	column := 1 + utf8.RuneCountInString(text[strings.LastIndexByte(text[:at], '\n')+1:at])
	e := core.Errorf(core.CodeInvalid, "the grammar, line %d, column %d: "+format, append([]any{line, column}, args...)...)
	e.Param = "response_format"
	return failure{e}
}

// catch turns a thrown failure into an error.
func catch(err *error) {
	if r := recover(); r != nil {
		f, ok := r.(failure)
		if !ok {
			panic(r)
		}
		*err = f.err
	}
}

func (p *parser) fail(at int, format string, args ...any) {
	panic(refuse(p.text, at, format, args...))
}

func parse(text string) (p *parser, err error) {
	defer catch(&err)
	p = &parser{text: text, named: map[string]*rule{}}
	if len(text) > core.MaxGrammar {
		p.fail(0, "a grammar has at most %d bytes, this one has %d", core.MaxGrammar, len(text))
	}
	for i, r := range text {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
				p.fail(i, "the text is not UTF-8")
			}
		}
	}
	for p.skip(); p.pos < len(p.text); p.skip() {
		p.rule()
	}
	if p.named["root"] == nil {
		p.fail(len(text), "there is no rule named root")
	}
	return p, nil
}

// skip passes over white space and comments.
func (p *parser) skip() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		case '#':
			if end := strings.IndexByte(p.text[p.pos:], '\n'); end >= 0 {
				p.pos += end
			} else {
				p.pos = len(p.text)
			}
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

func (p *parser) name() string {
	start := p.pos
	if !isNameStart(p.peek()) {
		return ""
	}
	for c := p.peek(); isNameStart(c) || c >= '0' && c <= '9' || c == '-'; c = p.peek() {
		p.pos++
	}
	return p.text[start:p.pos]
}

// atRule reports whether a rule begins here.
func (p *parser) atRule() bool {
	start := p.pos
	defer func() { p.pos = start }()
	if p.name() == "" {
		return false
	}
	p.skip()
	return strings.HasPrefix(p.text[p.pos:], "::=")
}

func (p *parser) rule() {
	r := &rule{at: p.pos, name: p.name()}
	if r.name == "" {
		p.fail(p.pos, "expected the name of a rule, found %q", p.here())
	}
	p.skip()
	if !strings.HasPrefix(p.text[p.pos:], "::=") {
		p.fail(p.pos, "expected ::= after the name %s, found %q", r.name, p.here())
	}
	p.pos += 3
	if p.named[r.name] != nil {
		p.fail(r.at, "the rule %s is defined twice", r.name)
	}
	r.body = p.choice()
	if p.pos < len(p.text) && !p.atRule() {
		p.fail(p.pos, "%q does not belong here", p.here())
	}
	p.named[r.name] = r
	p.rules = append(p.rules, r)
}

// here is the character at the parser's position, for errors.
func (p *parser) here() string {
	if p.pos >= len(p.text) {
		return "the end"
	}
	_, n := utf8.DecodeRuneInString(p.text[p.pos:])
	return p.text[p.pos : p.pos+n]
}

func (p *parser) choice() *expr {
	if p.depth++; p.depth > maxNesting {
		p.fail(p.pos, "groups are nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	e := &expr{op: choice, at: p.pos}
	for {
		e.kids = append(e.kids, p.sequence())
		if p.peek() != '|' {
			break
		}
		p.pos++
	}
	if len(e.kids) == 1 {
		return e.kids[0]
	}
	return e
}

func (p *parser) sequence() *expr {
	e := &expr{op: sequence, at: p.pos}
	for {
		p.skip()
		item := p.item()
		if item == nil {
			break
		}
		e.kids = append(e.kids, p.repeated(item))
	}
	if len(e.kids) == 1 {
		return e.kids[0]
	}
	return e
}

// item returns nil where a sequence ends.
func (p *parser) item() *expr {
	start := p.pos
	switch c := p.peek(); {
	case c == '"':
		return p.literal()
	case c == '[':
		return p.class()
	case c == '.':
		p.pos++
		return &expr{op: class, at: start, ranges: complement(nil)}
	case c == '(':
		p.pos++
		e := p.choice()
		if p.peek() != ')' {
			p.fail(p.pos, "expected ) for the group that begins at offset %d, found %q", start, p.here())
		}
		p.pos++
		return e
	case isNameStart(c):
		if p.atRule() {
			return nil
		}
		return &expr{op: reference, at: start, text: p.name()}
	}
	return nil
}

// repeated reads the quantifiers after an item.
func (p *parser) repeated(e *expr) *expr {
	for n := 0; ; n++ {
		p.skip()
		start := p.pos
		least, most := 0, unbounded
		switch p.peek() {
		case '*':
			p.pos++
		case '+':
			p.pos++
			least = 1
		case '?':
			p.pos++
			most = 1
		case '{':
			least, most = p.bounds()
		default:
			return e
		}
		if n >= maxNesting {
			p.fail(start, "more than %d repetitions of one item", maxNesting)
		}
		e = &expr{op: repeat, at: start, kids: []*expr{e}, min: least, max: most}
	}
}

// bounds reads {n}, {n,} or {n,m}.
func (p *parser) bounds() (least, most int) {
	start := p.pos
	p.pos++
	least = p.number()
	most = least
	if p.skip(); p.peek() == ',' {
		p.pos++
		most = unbounded
		if p.skip(); p.peek() != '}' {
			most = p.number()
		}
	}
	if p.skip(); p.peek() != '}' {
		p.fail(p.pos, "expected } after a count, found %q", p.here())
	}
	p.pos++
	if most != unbounded && least > most {
		p.fail(start, "{%d,%d} counts backwards", least, most)
	}
	return least, most
}

func (p *parser) number() int {
	p.skip()
	start, n := p.pos, 0
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		if n = 10*n + int(c-'0'); n > maxCount {
			p.fail(start, "a count is at most %d", maxCount)
		}
		p.pos++
	}
	if start == p.pos {
		p.fail(start, "expected a number, found %q", p.here())
	}
	return n
}

func (p *parser) literal() *expr {
	start := p.pos
	p.pos++
	var b strings.Builder
	for {
		if p.peek() == '"' {
			p.pos++
			return &expr{op: literal, at: start, text: b.String()}
		}
		b.WriteRune(p.char("literal", start))
	}
}

func (p *parser) class() *expr {
	start := p.pos
	p.pos++
	negated := p.peek() == '^'
	if negated {
		p.pos++
	}
	var ranges []span
	for p.peek() != ']' {
		at := p.pos
		r := span{lo: p.char("class", start)}
		r.hi = r.lo
		if p.peek() == '-' && p.pos+1 < len(p.text) && p.text[p.pos+1] != ']' {
			p.pos++
			r.hi = p.char("class", start)
		}
		if r.lo > r.hi {
			p.fail(at, "the range %q to %q runs backwards", r.lo, r.hi)
		}
		ranges = append(ranges, r)
	}
	p.pos++
	ranges = normalise(ranges)
	if negated {
		ranges = complement(ranges)
	}
	if len(ranges) == 0 {
		p.fail(start, "the class holds no character")
	}
	return &expr{op: class, at: start, ranges: ranges}
}

// char reads one character of a literal or class, which began at start.
func (p *parser) char(what string, start int) rune {
	at := p.pos
	if p.pos >= len(p.text) || p.text[p.pos] == '\n' {
		p.fail(start, "the %s does not end on its line", what)
	}
	r, n := utf8.DecodeRuneInString(p.text[p.pos:])
	p.pos += n
	if r != '\\' {
		return r
	}
	c := p.peek()
	p.pos++
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case '\\', '"', '[', ']', '-', '^', '/':
		return rune(c)
	case 'x':
		return p.hex(at, 2)
	case 'u':
		return p.hex(at, 4)
	case 'U':
		return p.hex(at, 8)
	}
	p.fail(at, "there is no such escape; write \\\\ for a backslash")
	return 0
}

func (p *parser) hex(at, digits int) rune {
	n := 0
	for range digits {
		c := p.peek()
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		case c >= 'A' && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		default:
			p.fail(at, "the escape needs %d hexadecimal digits", digits)
		}
		p.pos++
	}
	if n > utf8.MaxRune || n >= 0xd800 && n < 0xe000 {
		p.fail(at, "there is no character U+%04X", n)
	}
	return rune(n)
}
