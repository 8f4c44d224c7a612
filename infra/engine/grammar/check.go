package grammar

// check refuses grammars that name undefined rules, whose rules begin with
// themselves or can never end, and counts whose item can be empty.
func (p *parser) check() (err error) {
	defer catch(&err)
	for _, r := range p.rules {
		p.resolve(r.body)
	}
	nullable := p.fixpoint(canBeEmpty)
	finite := p.fixpoint(canEnd)
	for _, r := range p.rules {
		if !finite[r.name] {
			p.fail(r.at, "the rule %s never ends: every alternative needs the rule again", r.name)
		}
		p.checkCounts(r.body, nullable)
	}
	p.checkLeft(nullable)
	return nil
}

func (p *parser) resolve(e *expr) {
	if e.op == reference && p.named[e.text] == nil {
		p.fail(e.at, "there is no rule named %s", e.text)
	}
	for _, k := range e.kids {
		p.resolve(k)
	}
}

// fixpoint returns the rules of which property holds, given that it holds of
// the rules in the set.
func (p *parser) fixpoint(property func(e *expr, rules map[string]bool) bool) map[string]bool {
	// A rule is looked at again when one that it names has changed.
	users := map[string][]*rule{}
	for _, r := range p.rules {
		seen := map[string]bool{}
		r.body.references(func(name string) {
			if !seen[name] {
				seen[name] = true
				users[name] = append(users[name], r)
			}
		})
	}
	holds := map[string]bool{}
	work := append([]*rule(nil), p.rules...)
	for len(work) > 0 {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		if !holds[r.name] && property(r.body, holds) {
			holds[r.name] = true
			work = append(work, users[r.name]...)
		}
	}
	return holds
}

func (e *expr) references(do func(name string)) {
	if e.op == reference {
		do(e.text)
	}
	for _, k := range e.kids {
		k.references(do)
	}
}

func canBeEmpty(e *expr, rules map[string]bool) bool {
	switch e.op {
	case literal:
		return e.text == ""
	case reference:
		return rules[e.text]
	case repeat:
		return e.min == 0 || canBeEmpty(e.kids[0], rules)
	case sequence, choice:
		return all(e, rules, canBeEmpty)
	}
	return false
}

func canEnd(e *expr, rules map[string]bool) bool {
	switch e.op {
	case reference:
		return rules[e.text]
	case repeat:
		return e.min == 0 || canEnd(e.kids[0], rules)
	case sequence, choice:
		return all(e, rules, canEnd)
	}
	return true
}

// all asks property of every part of a sequence, or of any part of a choice.
func all(e *expr, rules map[string]bool, property func(*expr, map[string]bool) bool) bool {
	for _, k := range e.kids {
		if property(k, rules) == (e.op == choice) {
			return e.op == choice
		}
	}
	return e.op == sequence
}

func (p *parser) checkCounts(e *expr, nullable map[string]bool) {
	if e.op == repeat && e.max > 1 && canBeEmpty(e.kids[0], nullable) {
		p.fail(e.at, "what is counted here can be empty; say * or let it be at least one character")
	}
	for _, k := range e.kids {
		p.checkCounts(k, nullable)
	}
}

// checkLeft refuses rules that can reach themselves before any character.
func (p *parser) checkLeft(nullable map[string]bool) {
	const open, done = 1, 2
	state := map[string]int{}
	var visit func(r *rule)
	var left func(e *expr)
	left = func(e *expr) {
		switch e.op {
		case reference:
			if r := p.named[e.text]; state[r.name] == open {
				p.fail(e.at, "the rule %s begins with itself; write it with * or +, or with the repetition at its end", r.name)
			} else if state[r.name] == 0 {
				visit(r)
			}
		case sequence:
			for _, k := range e.kids {
				if left(k); !canBeEmpty(k, nullable) {
					return
				}
			}
		case choice, repeat:
			for _, k := range e.kids {
				left(k)
			}
		}
	}
	visit = func(r *rule) {
		state[r.name] = open
		left(r.body)
		state[r.name] = done
	}
	for _, r := range p.rules {
		if state[r.name] == 0 {
			visit(r)
		}
	}
}
