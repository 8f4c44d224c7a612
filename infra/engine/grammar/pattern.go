package grammar

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// foreign are parts of patterns that mean something else in Go than in
// ECMAScript, which JSON Schema refers to.
var foreign = regexp.MustCompile(`\(\?[^:]|\\[AzZQEaCpP]|\[:|\\[1-9]|\\k`)

var unicodeEscape = regexp.MustCompile(`\\u([0-9a-fA-F]{4})`)

// pattern writes the strings, as JSON spells them, in which a regular expression
// is found.
func (s *schemas) pattern(v *value, at string) string {
	if v.kind != 's' {
		s.refuse(at, "pattern is a string")
	}
	if part := foreign.FindString(v.text); part != "" {
		s.refuse(at, "%s in the pattern %.60q cannot be honoured", part, v.text)
	}
	re, err := syntax.Parse(unicodeEscape.ReplaceAllString(v.text, `\x{$1}`), syntax.Perl)
	if err != nil {
		s.refuse(at, "the pattern %.60q cannot be honoured: %v", v.text, err)
	}
	p := patterns{s, at, v.text}
	return p.write(re, true, true)
}

type patterns struct {
	*schemas
	at, text string
}

// anything is what lies around a match.
func (p patterns) anything() string { return p.shared("char") + "*" }

// write translates an expression. At the head and the tail of the pattern
// anything may lie before and after, unless an anchor says otherwise.
func (p patterns) write(re *syntax.Regexp, head, tail bool) string {
	switch re.Op {
	case syntax.OpBeginText, syntax.OpEndText:
		begins := re.Op == syntax.OpBeginText
		if begins && !head || !begins && !tail {
			p.refuse(p.at, "an anchor in the middle of the pattern %.60q cannot be honoured", p.text)
		}
		if begins && tail || !begins && head {
			return p.anything()
		}
		return `""`
	case syntax.OpCapture:
		return p.write(re.Sub[0], head, tail)
	case syntax.OpAlternate:
		parts := make([]string, len(re.Sub))
		for i, sub := range re.Sub {
			parts[i] = p.write(sub, head, tail)
		}
		return `(` + strings.Join(parts, " | ") + `)`
	case syntax.OpConcat:
		return p.concat(re.Sub, head, tail)
	}
	out := p.plain(re)
	if head {
		out = p.anything() + " " + out
	}
	if tail {
		out += " " + p.anything()
	}
	return out
}

func (p patterns) concat(subs []*syntax.Regexp, head, tail bool) string {
	parts := make([]string, len(subs))
	for i, sub := range subs {
		first, last := head && i == 0, tail && i == len(subs)-1
		if sub.Op == syntax.OpBeginText && first && !last || sub.Op == syntax.OpEndText && last && !first {
			parts[i] = `""`
			continue
		}
		parts[i] = p.write(sub, first, last)
	}
	return strings.Join(parts, " ")
}

// plain translates what has nothing to do with the ends of the text.
func (p patterns) plain(re *syntax.Regexp) string {
	quantifier := ""
	switch re.Op {
	case syntax.OpEmptyMatch:
		return `""`
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			break
		}
		text := ""
		for _, r := range re.Rune {
			text += spellRune(r)
		}
		return quote(text)
	case syntax.OpAnyCharNotNL:
		return `([^"\\\x00-\x1f\u2028\u2029] | "\\" ["\\bft])`
	case syntax.OpCharClass:
		return p.class(re)
	case syntax.OpStar:
		quantifier = "*"
	case syntax.OpPlus:
		quantifier = "+"
	case syntax.OpQuest:
		quantifier = "?"
	case syntax.OpRepeat:
		quantifier = times(re.Min, re.Max)
	}
	if quantifier == "" {
		p.refuse(p.at, "%s in the pattern %.60q cannot be honoured", re, p.text)
	}
	return `(` + p.write(re.Sub[0], false, false) + `)` + quantifier
}

// class writes a class of characters: as they are, or escaped where JSON asks.
func (p patterns) class(re *syntax.Regexp) string {
	var ranges []span
	for i := 0; i+1 < len(re.Rune); i += 2 {
		ranges = append(ranges, span{re.Rune[i], re.Rune[i+1]})
	}
	ranges = normalise(ranges)
	plain, parts := "", []string{}
	for _, safe := range []span{{0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, 0x10ffff}} {
		for _, r := range within(ranges, safe.lo, safe.hi) {
			plain += classRune(r.lo)
			if r.hi > r.lo {
				plain += "-" + classRune(r.hi)
			}
		}
	}
	if plain != "" {
		parts = append(parts, "["+plain+"]")
	}
	for _, r := range append(within(ranges, 0, 0x1f), append(within(ranges, '"', '"'), within(ranges, '\\', '\\')...)...) {
		for c := r.lo; c <= r.hi; c++ {
			parts = append(parts, quote(spellRune(c)))
		}
	}
	if len(parts) == 0 {
		p.refuse(p.at, "the class %s in the pattern %.60q holds no character", re, p.text)
	}
	return fmt.Sprintf("(%s)", strings.Join(parts, " | "))
}
