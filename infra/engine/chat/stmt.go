package chat

// stmt is a statement; its run writes to the machine's output.
type stmt interface{ run(*machine) flow }

// flow says how a statement ended.
type flow uint8

const (
	onward flow = iota
	breakLoop
	continueLoop
)

type (
	textStmt   struct{ text string }
	outputStmt struct{ x expr }
	ifStmt     struct {
		cond    expr
		yes, no []stmt
	}
	forStmt struct {
		targets   []string
		over      expr
		where     expr // or nil
		body, alt []stmt
	}
	setStmt struct {
		targets []string
		field   string // of targets[0], a namespace
		value   expr
		body    []stmt // of a block set, when value is nil
	}
	macroStmt struct {
		name     string
		params   []string
		defaults []expr // nil where a parameter has none
		body     []stmt
	}
	loopControl struct{ flow flow }
	scopeStmt   struct{ body []stmt }
)

// block reads the statements of a template.
type block struct {
	segs  []segment
	at    int
	depth int
	loops int
}

// parseTemplate parses a whole template.
func parseTemplate(src string) []stmt {
	b := &block{segs: segments(src)}
	body, p := b.body()
	if p != nil {
		fail("line %d: %q does not belong here", p.line, p.peek().text)
	}
	return body
}

// body parses statements up to a tag that it does not know, such as endif,
// which it returns unread, or the end, when it returns nil.
func (b *block) body() ([]stmt, *parser) {
	if b.depth++; b.depth > maxDepth {
		fail("the template's blocks are nested too deeply")
	}
	defer func() { b.depth-- }()
	var out []stmt
	for b.at < len(b.segs) {
		s := b.segs[b.at]
		b.at++
		p := &parser{tokens: s.tokens, line: s.line}
		switch s.kind {
		case textSegment:
			if s.text != "" {
				out = append(out, textStmt{s.text})
			}
		case outputSegment:
			out = append(out, outputStmt{p.expression()})
			p.end()
		case blockSegment:
			st, ours := b.statement(p)
			if !ours {
				return out, p
			}
			out = append(out, st)
		}
	}
	return out, nil
}

// until is body, followed by one of the given tags.
func (b *block) until(opened int, tags ...string) ([]stmt, *parser) {
	body, p := b.body()
	if p == nil {
		fail("line %d: a block is not closed by %q", opened, tags[len(tags)-1])
	}
	for _, tag := range tags {
		if p.is(tag) {
			return body, p
		}
	}
	p.fail("%q expected", tags[len(tags)-1])
	panic("unreachable")
}

// statement parses the tag in p and the block that it opens. ours is false for
// tags that close or continue an enclosing block.
func (b *block) statement(p *parser) (st stmt, ours bool) {
	switch tag := p.name(); tag {
	case "if":
		return b.ifChain(p), true
	case "for":
		return b.forLoop(p), true
	case "set":
		return b.set(p), true
	case "macro":
		return b.macro(p), true
	case "generation": // marks the assistant's part for training
		p.end()
		body, q := b.until(p.line, "endgeneration")
		q.at++
		q.end()
		return scopeStmt{body}, true
	case "break", "continue":
		p.end()
		if b.loops == 0 {
			fail("line %d: %q outside a loop", p.line, tag)
		}
		if tag == "break" {
			return loopControl{breakLoop}, true
		}
		return loopControl{continueLoop}, true
	case "elif", "else", "endif", "endfor", "endset", "endmacro", "endgeneration":
		p.at--
		return nil, false
	default:
		fail("line %d: the tag %q is not supported", p.line, tag)
	}
	panic("unreachable")
}

func (b *block) ifChain(p *parser) stmt {
	st := ifStmt{cond: p.expression()}
	p.end()
	var q *parser
	st.yes, q = b.until(p.line, "elif", "else", "endif")
	switch {
	case q.accept("elif"):
		b.depth++
		st.no = []stmt{b.ifChain(q)}
		b.depth--
	case q.accept("else"):
		q.end()
		st.no, q = b.until(p.line, "endif")
		fallthrough
	default:
		q.expect("endif")
		q.end()
	}
	return st
}

func (b *block) forLoop(p *parser) stmt {
	var st forStmt
	bracket := p.accept("(")
	st.targets = p.targets()
	if bracket {
		p.expect(")")
	}
	p.expect("in")
	st.over = p.or()
	if p.accept("if") {
		st.where = p.or()
		if p.accept("else") { // it was a conditional expression after all
			st.over, st.where = conditional{st.where, st.over, p.conditional()}, nil
		}
	}
	if p.is("recursive") {
		fail("line %d: recursive loops are not supported", p.line)
	}
	p.end()
	b.loops++
	var q *parser
	st.body, q = b.until(p.line, "else", "endfor")
	b.loops--
	if q.accept("else") {
		q.end()
		st.alt, q = b.until(p.line, "endfor")
	}
	q.expect("endfor")
	q.end()
	return st
}

func (p *parser) targets() []string {
	names := []string{p.name()}
	for p.accept(",") {
		names = append(names, p.name())
	}
	return names
}

func (b *block) set(p *parser) stmt {
	st := setStmt{targets: p.targets()}
	if p.accept(".") {
		st.field = p.name()
	}
	if len(st.targets) > 1 && st.field != "" {
		p.fail("one target expected")
	}
	if p.accept("=") {
		st.value = p.expression()
		p.end()
		return st
	}
	p.end()
	body, q := b.until(p.line, "endset")
	q.at++
	q.end()
	st.body = body
	return st
}

func (b *block) macro(p *parser) stmt {
	m := &macroStmt{name: p.name()}
	p.expect("(")
	for !p.accept(")") {
		m.params = append(m.params, p.name())
		var def expr
		if p.accept("=") {
			def = p.conditional()
		}
		m.defaults = append(m.defaults, def)
		if !p.is(")") {
			p.expect(",")
		}
	}
	p.end()
	loops := b.loops
	b.loops = 0
	body, q := b.until(p.line, "endmacro")
	b.loops = loops
	q.at++
	q.end()
	m.body = body
	return m
}
