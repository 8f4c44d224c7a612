package chat

// expr is an expression of the template language.
type expr interface{ eval(*machine) any }

type (
	literal   struct{ value any }
	variable  struct{ name string }
	listExpr  struct{ items []expr }
	dictExpr  struct{ keys, values []expr }
	attribute struct {
		of   expr
		name string
	}
	index struct{ of, at expr }
	slice struct{ of, from, to, step expr }
	call  struct {
		callee expr
		args   arguments
	}
	filter struct {
		of   expr
		name string
		args arguments
	}
	test struct {
		of     expr
		name   string
		args   arguments
		negate bool
	}
	unary struct {
		op string
		x  expr
	}
	binary struct {
		op   string
		x, y expr
	}
	comparison struct {
		first expr
		ops   []string
		rest  []expr
	}
	conditional struct{ cond, yes, no expr }
)

type arguments struct {
	positional []expr
	names      []string
	named      []expr
}

// maxDepth bounds the nesting of expressions, blocks and macro calls.
const maxDepth = 100

// parser reads the tokens of one tag.
type parser struct {
	tokens []lexeme
	at     int
	line   int
	depth  int
}

func (p *parser) peek() lexeme {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return lexeme{}
}

func (p *parser) next() lexeme {
	x := p.peek()
	p.at++
	return x
}

func (p *parser) is(text string) bool {
	x := p.peek()
	return (x.kind == operatorLexeme || x.kind == nameLexeme) && x.text == text
}

func (p *parser) accept(text string) bool {
	if p.is(text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		p.fail("%q expected", text)
	}
}

func (p *parser) fail(format string, args ...any) {
	found := "the end of the tag"
	if x := p.peek(); x.kind != endLexeme {
		found = "\"" + x.text + "\""
	}
	fail("line %d: "+format+" before %.60s", append(append([]any{p.line}, args...), found)...)
}

func (p *parser) name() string {
	x := p.next()
	if x.kind != nameLexeme {
		p.at--
		p.fail("a name expected")
	}
	return x.text
}

func (p *parser) end() {
	if p.peek().kind != endLexeme {
		p.fail("the end of the tag expected")
	}
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		fail("line %d: an expression is nested too deeply", p.line)
	}
}

// expression parses a conditional expression, or a tuple where commas follow.
func (p *parser) expression() expr {
	x := p.conditional()
	if !p.is(",") {
		return x
	}
	items := []expr{x}
	for p.accept(",") {
		if p.peek().kind == endLexeme || p.is(")") {
			break
		}
		items = append(items, p.conditional())
	}
	return listExpr{items}
}

func (p *parser) conditional() expr {
	p.enter()
	defer func() { p.depth-- }()
	x := p.or()
	for p.accept("if") {
		cond := p.or()
		var no expr = literal{undefined{}}
		if p.accept("else") {
			no = p.conditional()
		}
		x = conditional{cond, x, no}
	}
	return x
}

func (p *parser) or() expr {
	x := p.and()
	for p.accept("or") {
		x = binary{"or", x, p.and()}
	}
	return x
}

func (p *parser) and() expr {
	x := p.not()
	for p.accept("and") {
		x = binary{"and", x, p.not()}
	}
	return x
}

func (p *parser) not() expr {
	if p.accept("not") {
		p.enter()
		defer func() { p.depth-- }()
		return unary{"not", p.not()}
	}
	return p.comparison()
}

func (p *parser) comparison() expr {
	c := comparison{first: p.sum()}
	for {
		op := p.peek().text
		switch {
		case p.is("==") || p.is("!=") || p.is("<") || p.is("<=") || p.is(">") || p.is(">=") || p.is("in"):
			p.at++
		case p.is("not") && p.at+1 < len(p.tokens) && p.tokens[p.at+1].text == "in":
			p.at += 2
			op = "not in"
		case c.ops == nil:
			return c.first
		default:
			return c
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, p.sum())
	}
}

func (p *parser) sum() expr {
	x := p.concat()
	for p.is("+") || p.is("-") {
		x = binary{p.next().text, x, p.concat()}
	}
	return x
}

func (p *parser) concat() expr {
	x := p.product()
	for p.accept("~") {
		x = binary{"~", x, p.product()}
	}
	return x
}

func (p *parser) product() expr {
	x := p.power()
	for p.is("*") || p.is("/") || p.is("//") || p.is("%") {
		x = binary{p.next().text, x, p.power()}
	}
	return x
}

func (p *parser) power() expr {
	x := p.unary(true)
	for p.accept("**") {
		x = binary{"**", x, p.unary(true)}
	}
	return x
}

func (p *parser) unary(filters bool) expr {
	p.enter()
	defer func() { p.depth-- }()
	var x expr
	if p.is("-") || p.is("+") {
		x = unary{p.next().text, p.unary(false)}
	} else {
		x = p.postfix(p.primary())
	}
	for filters && (p.is("|") || p.is("is")) {
		if p.accept("|") {
			x = p.filter(x)
		} else {
			p.at++
			x = p.test(x)
		}
	}
	return x
}

func (p *parser) filter(of expr) expr {
	f := filter{of: of, name: p.name()}
	if filters[f.name] == nil {
		fail("line %d: the filter %q is not supported", p.line, f.name)
	}
	if p.accept("(") {
		f.args = p.arguments()
	}
	return f
}

func (p *parser) test(of expr) expr {
	t := test{of: of, negate: p.accept("not")}
	t.name = p.name()
	if tests[t.name] == nil {
		fail("line %d: the test %q is not supported", p.line, t.name)
	}
	switch x := p.peek(); {
	case p.accept("("):
		t.args = p.arguments()
	case x.kind == stringLexeme || x.kind == intLexeme || x.kind == floatLexeme || p.is("[") || p.is("{"),
		x.kind == nameLexeme && !p.is("else") && !p.is("or") && !p.is("and") && !p.is("is") && !p.is("if") &&
			!p.is("in") && !p.is("not"):
		t.args.positional = []expr{p.postfix(p.primary())}
	}
	return t
}

func (p *parser) postfix(x expr) expr {
	for {
		switch {
		case p.accept("."):
			if n := p.peek(); n.kind == intLexeme {
				p.at++
				x = index{x, literal{n.i}}
			} else {
				x = attribute{x, p.name()}
			}
		case p.accept("["):
			x = p.subscript(x)
		case p.accept("("):
			x = call{x, p.arguments()}
		default:
			return x
		}
	}
}

func (p *parser) subscript(of expr) expr {
	var parts [3]expr
	n := 0
	for ; n < 3; n++ {
		if !p.is(":") && !p.is("]") {
			parts[n] = p.conditional()
		}
		if !p.accept(":") {
			break
		}
	}
	p.expect("]")
	if n == 0 {
		if parts[0] == nil {
			p.fail("a subscript expected")
		}
		return index{of, parts[0]}
	}
	return slice{of, parts[0], parts[1], parts[2]}
}

// arguments parses up to and including the closing bracket.
func (p *parser) arguments() arguments {
	var a arguments
	for !p.accept(")") {
		if x := p.peek(); x.kind == nameLexeme && p.at+1 < len(p.tokens) && p.tokens[p.at+1].kind == operatorLexeme &&
			p.tokens[p.at+1].text == "=" {
			p.at += 2
			a.names, a.named = append(a.names, x.text), append(a.named, p.conditional())
		} else if len(a.names) > 0 {
			p.fail("a named argument expected")
		} else {
			a.positional = append(a.positional, p.conditional())
		}
		if !p.is(")") {
			p.expect(",")
		}
	}
	return a
}

func (p *parser) primary() expr {
	x := p.next()
	switch x.kind {
	case stringLexeme:
		s := x.text
		for p.peek().kind == stringLexeme {
			s += p.next().text
		}
		return literal{s}
	case intLexeme:
		return literal{x.i}
	case floatLexeme:
		return literal{x.f}
	case nameLexeme:
		switch x.text {
		case "true", "True":
			return literal{true}
		case "false", "False":
			return literal{false}
		case "none", "None":
			return literal{nil}
		case "and", "or", "not", "if", "else", "in", "is":
			p.at--
			p.fail("a value expected")
		}
		return variable{x.text}
	case operatorLexeme:
		switch x.text {
		case "(":
			return p.parenthesis()
		case "[":
			return listExpr{p.list("]")}
		case "{":
			return p.dict()
		}
	}
	p.at--
	p.fail("a value expected")
	panic("unreachable")
}

func (p *parser) parenthesis() expr {
	if p.accept(")") {
		return listExpr{}
	}
	x := p.expression()
	p.expect(")")
	return x
}

func (p *parser) list(closing string) []expr {
	var items []expr
	for !p.accept(closing) {
		items = append(items, p.conditional())
		if !p.is(closing) {
			p.expect(",")
		}
	}
	return items
}

func (p *parser) dict() expr {
	var d dictExpr
	for !p.accept("}") {
		d.keys = append(d.keys, p.conditional())
		p.expect(":")
		d.values = append(d.values, p.conditional())
		if !p.is("}") {
			p.expect(",")
		}
	}
	return d
}
