package chat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type segmentKind uint8

const (
	textSegment   segmentKind = iota
	outputSegment             // {{ }}
	blockSegment              // {% %}
	commentSegment
)

// segment is a piece of a template: text, or the tokens of a tag.
type segment struct {
	kind        segmentKind
	text        string
	tokens      []lexeme
	line        int
	left, right byte // '-', '+' or 0: the marks inside the delimiters
}

type lexemeKind uint8

const (
	endLexeme lexemeKind = iota
	nameLexeme
	stringLexeme
	intLexeme
	floatLexeme
	operatorLexeme
)

type lexeme struct {
	kind lexemeKind
	text string // name, operator, or a string's value
	i    int64
	f    float64
}

// failure is how lexer, parser and evaluator give up; New and Render turn it
// into an error.
type failure struct{ message string }

func fail(format string, args ...any) {
	panic(failure{fmt.Sprintf(format, args...)})
}

// segments cuts a template up and applies its white space control.
func segments(src string) []segment {
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	src = strings.TrimSuffix(src, "\n")
	var out []segment
	line := 1
	for src != "" {
		at := nextTag(src)
		out = append(out, segment{kind: textSegment, text: src[:at], line: line})
		line += strings.Count(src[:at], "\n")
		if src = src[at:]; src == "" {
			break
		}
		s, rest := lexTag(src, line)
		line += strings.Count(src[:len(src)-len(rest)], "\n")
		out, src = append(out, s), rest
	}
	control(out)
	return out
}

func nextTag(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '{' || s[i+1] == '%' || s[i+1] == '#') {
			return i
		}
	}
	return len(s)
}

// lexTag reads the tag that src begins with.
func lexTag(src string, line int) (segment, string) {
	s := segment{line: line}
	rest := src[2:]
	if rest != "" && (rest[0] == '-' || rest[0] == '+' && src[1] != '{') {
		s.left, rest = rest[0], rest[1:]
	}
	if src[1] == '#' {
		end := strings.Index(rest, "#}")
		if end < 0 {
			fail("line %d: a comment is not closed", line)
		}
		s.kind = commentSegment
		if end > 0 && (rest[end-1] == '-' || rest[end-1] == '+') {
			s.right = rest[end-1]
		}
		return s, rest[end+2:]
	}
	closing := "}}"
	s.kind = outputSegment
	if src[1] == '%' {
		s.kind, closing = blockSegment, "%}"
	}
	open := 0 // unclosed brackets
	for {
		rest = strings.TrimLeft(rest, " \t\n\v\f")
		switch {
		case rest == "":
			fail("line %d: a tag is not closed", line)
		case open == 0 && strings.HasPrefix(rest, closing):
			return s, rest[2:]
		case open == 0 && (rest[0] == '-' || rest[0] == '+') && strings.HasPrefix(rest[1:], closing):
			s.right = rest[0]
			return s, rest[3:]
		}
		var x lexeme
		x, rest = lex(rest, line)
		if x.kind == operatorLexeme {
			switch x.text {
			case "(", "[", "{":
				open++
			case ")", "]", "}":
				open--
			}
		}
		s.tokens = append(s.tokens, x)
	}
}

var operators = []string{"//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=",
	"(", ")", "[", "]", "{", "}", ",", ".", ":", "|"}

func lex(s string, line int) (lexeme, string) {
	c := s[0]
	r, _ := utf8.DecodeRuneInString(s)
	switch {
	case c == '\'' || c == '"':
		return lexString(s, line)
	case c >= '0' && c <= '9':
		return lexNumber(s, line)
	case c == '_' || unicode.IsLetter(r):
		end := strings.IndexFunc(s, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if end < 0 {
			end = len(s)
		}
		return lexeme{kind: nameLexeme, text: s[:end]}, s[end:]
	}
	for _, op := range operators {
		if strings.HasPrefix(s, op) {
			return lexeme{kind: operatorLexeme, text: op}, s[len(op):]
		}
	}
	fail("line %d: unexpected %q", line, r)
	panic("unreachable")
}

func lexNumber(s string, line int) (lexeme, string) {
	digits := func(i int) int {
		for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '_') {
			i++
		}
		return i
	}
	end := digits(0)
	float := false
	if end+1 < len(s) && s[end] == '.' && s[end+1] >= '0' && s[end+1] <= '9' {
		end, float = digits(end+1), true
	}
	if end+1 < len(s) && (s[end] == 'e' || s[end] == 'E') {
		at := end + 1
		if s[at] == '-' || s[at] == '+' {
			at++
		}
		if to := digits(at); to > at {
			end, float = to, true
		}
	}
	text := strings.ReplaceAll(s[:end], "_", "")
	x := lexeme{kind: intLexeme, text: text}
	var err error
	if float {
		x.kind = floatLexeme
		x.f, err = strconv.ParseFloat(text, 64)
	} else {
		x.i, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil {
		fail("line %d: the number %.40s is out of range", line, text)
	}
	return x, s[end:]
}

func lexString(s string, line int) (lexeme, string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case s[0]:
			return lexeme{kind: stringLexeme, text: b.String()}, s[i+1:]
		case '\\':
			if i++; i < len(s) {
				i += unescape(&b, s[i:])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	fail("line %d: a string is not closed", line)
	panic("unreachable")
}

// unescape writes what the escape at s, behind its backslash, stands for and
// returns how many bytes beyond the first it took.
func unescape(b *strings.Builder, s string) int {
	plain := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', '\\': '\\', '\'': '\'', '"': '"', 'b': '\b', 'f': '\f',
		'v': '\v', 'a': '\a', '0': 0}
	if c, ok := plain[s[0]]; ok {
		b.WriteByte(c)
		return 0
	}
	if n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]; n > 0 && len(s) > n {
		if r, err := strconv.ParseUint(s[1:1+n], 16, 32); err == nil {
			b.WriteRune(rune(r))
			return n
		}
	}
	if s[0] != '\n' { // an escaped line end continues the string
		b.WriteByte('\\')
		b.WriteByte(s[0])
	}
	return 0
}

// control strips white space around tags: by their marks, and else as
// trim_blocks and lstrip_blocks do for blocks and comments.
func control(segs []segment) {
	for i := range segs {
		s := &segs[i]
		if s.kind != textSegment {
			continue
		}
		lineStart := i == 0
		if i > 0 {
			switch before := segs[i-1]; {
			case before.right == '-':
				s.text = strings.TrimLeftFunc(s.text, unicode.IsSpace)
			case before.right != '+' && before.kind != outputSegment && strings.HasPrefix(s.text, "\n"):
				s.text, lineStart = s.text[1:], true
			}
		}
		if i+1 < len(segs) {
			switch after := segs[i+1]; {
			case after.left == '-':
				s.text = strings.TrimRightFunc(s.text, unicode.IsSpace)
			case after.left != '+' && after.kind != outputSegment:
				at := strings.LastIndexByte(s.text, '\n') + 1
				if (at > 0 || lineStart) && strings.TrimFunc(s.text[at:], unicode.IsSpace) == "" {
					s.text = s.text[:at]
				}
			}
		}
	}
}
