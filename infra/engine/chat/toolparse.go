package chat

import (
	"bytes"
	"slices"
	"strings"
)

// Limits on what is held back; beyond them it stays text.
const (
	maxCall  = 1 << 20 // bytes of one call
	maxName  = 300     // bytes of a bare name and what stands around it
	maxBlank = 64      // bytes of white space between the parts of a call
)

// Piece is a part of an answer: text, or a call.
type Piece struct {
	Text string
	Call *ToolCall
}

// ToolParser cuts calls of tools out of a streamed answer. No text is lost:
// what turns out not to be a whole, well-formed call of a tool on offer comes
// out as text, only later; white space between two calls is part of neither.
// The cost is linear in the answer's length.
type ToolParser struct {
	f     *ToolFormat
	tools map[string]bool // nil takes any name

	held    []byte // not given out yet
	at      int    // how much of held the state below has consumed
	state   parserState
	pending []ToolCall // calls whose end is still to come
	json    jsonScanner
	begun   bool   // text was given out, or a call
	open    bool   // between f's opening and closing text
	text    []byte // to give out
	out     []Piece
}

type parserState uint8

const (
	inText    parserState = iota // looking for the trigger
	inOpening                    // the text before a call
	inName                       // a bare name up to nameEnd
	inJSON                       // the call's object, or its arguments
	inClosing                    // the text after a call
	afterCall                    // white space, another call, the closing text, or an answer's text
)

// Parser starts on an answer. Calls of tools that are not among those given
// stay text; nil takes calls of any name.
func (f *ToolFormat) Parser(tools []Tool) *ToolParser {
	p := &ToolParser{f: f}
	if tools != nil {
		p.tools = map[string]bool{}
		for _, t := range tools {
			p.tools[t.Name] = true
		}
	}
	return p
}

// Write takes the next text of the answer and returns what is certain.
func (p *ToolParser) Write(text string) []Piece {
	if p.f == nil {
		p.emit([]byte(text))
	} else {
		p.held = append(p.held, text...)
		for p.advance() {
		}
	}
	return p.take()
}

// Close ends the answer and returns the rest. A call that lacks only the text
// after it counts, as models often end their turn there.
func (p *ToolParser) Close() []Piece {
	if p.state == inClosing {
		p.give()
	}
	if p.state == afterCall {
		p.held = bytes.TrimSpace(p.held)
	}
	p.emit(p.held)
	p.held, p.state = nil, inText
	return p.take()
}

func (p *ToolParser) take() []Piece {
	p.flush()
	out := p.out
	p.out = nil
	return out
}

// emit gives text out, joined to text that was given out just before.
func (p *ToolParser) emit(text []byte) {
	p.begun = p.begun || len(text) > 0
	p.text = append(p.text, text...)
}

func (p *ToolParser) flush() {
	if len(p.text) > 0 {
		p.out = append(p.out, Piece{Text: string(p.text)})
		p.text = p.text[:0]
	}
}

// give gives the pending calls out and forgets the text they were read from.
func (p *ToolParser) give() {
	p.flush()
	for i := range p.pending {
		p.out = append(p.out, Piece{Call: &p.pending[i]})
	}
	p.pending, p.held, p.at, p.begun, p.state = nil, p.held[p.at:], 0, true, afterCall
}

// abandon makes the first n held bytes text and looks for a call behind them.
func (p *ToolParser) abandon(n int) bool {
	p.emit(p.held[:n])
	p.held, p.at, p.state, p.pending, p.open, p.begun = p.held[n:], 0, inText, nil, false, true
	return true
}

// advance takes one step; false means that it needs more text.
func (p *ToolParser) advance() bool {
	switch p.state {
	case inText:
		return p.seek()
	case inOpening:
		return p.opening()
	case inName:
		return p.bareName()
	case inJSON:
		return p.object()
	case inClosing:
		return p.closing()
	}
	return p.after()
}

func (p *ToolParser) seek() bool {
	if p.f.AtStart {
		return p.seekAtStart()
	}
	t := p.f.Trigger
	if i := bytes.Index(p.held, []byte(t)); i >= 0 {
		p.emit(p.held[:i])
		p.held = p.held[i:]
		p.begin(len(t))
		return true
	}
	keep := overlap(p.held, t)
	p.emit(p.held[:len(p.held)-keep])
	p.held = p.held[len(p.held)-keep:]
	return false
}

// seekAtStart waits for the answer's first text; a call may follow one of the
// starting texts, the empty one among them when it begins with a bracket.
func (p *ToolParser) seekAtStart() bool {
	text := trimLeft(p.held)
	if !p.begun && len(text) == 0 && len(p.held) < maxBlank {
		return false
	}
	for _, s := range p.f.starts {
		switch {
		case p.begun || len(text) == 0:
		case s != "" && hasPrefix(text, s), s == "" && text[0] == '{':
			p.begin(len(p.held) - len(text) + len(s))
			return true
		case strings.HasPrefix(s, string(text)):
			return false
		}
	}
	p.emit(p.held)
	p.held = p.held[:0]
	return false
}

// begin enters the opening of the first call of a group; n bytes are consumed.
func (p *ToolParser) begin(n int) {
	p.at, p.open = n, true
	p.state = inOpening
}

// literal consumes white space and s. ok is false when something else is there;
// more says that too little is held to tell.
func (p *ToolParser) literal(s string) (ok, more bool) {
	rest := trimLeft(p.held[p.at:])
	blank := len(p.held) - p.at - len(rest)
	switch {
	case blank > maxBlank:
		return false, false
	case hasPrefix(rest, s):
		p.at += blank + len(s)
		return true, false
	}
	return false, len(rest) < len(s) && s[:len(rest)] == string(rest)
}

func trimLeft(b []byte) []byte { return bytes.TrimLeft(b, " \n\t\r") }

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }

func (p *ToolParser) opening() bool {
	if p.f.before != "" {
		if ok, more := p.literal(p.f.before); more {
			return false
		} else if !ok {
			return p.abandon(p.at)
		}
	}
	p.state, p.json = inJSON, jsonScanner{}
	if p.f.nameEnd != "" {
		p.state = inName
	}
	return true
}

func (p *ToolParser) bareName() bool {
	rest := p.held[p.at:]
	end := bytes.Index(rest, []byte(p.f.nameEnd))
	if end < 0 {
		return len(rest) > maxName && p.abandon(p.at)
	}
	name := strings.TrimSpace(string(rest[:end]))
	id := ""
	if i := strings.Index(name, "[CALL_ID]"); i >= 0 {
		name, id = name[:i], name[i+len("[CALL_ID]"):]
	}
	if !validName(name) {
		return p.abandon(p.at)
	}
	p.pending = []ToolCall{{ID: id, Name: name}}
	p.at += end + len(p.f.nameEnd)
	p.state, p.json = inJSON, jsonScanner{}
	return true
}

func (p *ToolParser) object() bool {
	begin := p.at
	n, done, bad := p.json.scan(p.held[begin:])
	switch {
	case bad:
		return p.abandon(begin)
	case !done && len(p.held) > maxCall:
		return p.abandon(len(p.held))
	case !done:
		return false
	}
	raw := bytes.TrimSpace(p.held[begin : begin+n])
	p.at = begin + n
	ok := false
	if p.f.nameEnd != "" {
		p.pending[0].Arguments, ok = object(raw)
	} else {
		p.pending, ok = p.f.calls(raw)
	}
	unknown := func(c ToolCall) bool { return p.tools != nil && !p.tools[c.Name] }
	if !ok || slices.ContainsFunc(p.pending, unknown) {
		return p.abandon(p.at)
	}
	p.state = inClosing
	return true
}

func (p *ToolParser) closing() bool {
	if p.f.after != "" {
		if ok, more := p.literal(p.f.after); more {
			return false
		} else if !ok && !p.f.list {
			return p.abandon(p.at)
		}
	}
	p.give()
	return true
}

func (p *ToolParser) after() bool {
	again := []string{p.f.Trigger}
	if p.open && p.f.before != "" {
		again = append(again, p.f.before)
	}
	if p.f.separates != nil {
		again = p.f.separates
	}
	if p.open && !p.f.list && p.f.Close != "" {
		if ok, more := p.literal(p.f.Close); ok {
			p.held, p.at, p.open = p.held[p.at:], 0, false
			return true
		} else if more {
			return false
		}
	}
	waiting := false
	for _, s := range again {
		ok, more := p.literal(s)
		waiting = waiting || more
		if ok {
			if s == p.f.before {
				p.at -= len(s) // the opening reads it again
			}
			p.begin(p.at)
			return true
		}
	}
	return !waiting && p.abandon(0)
}

// overlap is the length of the longest end of text that begins t.
func overlap(text []byte, t string) int {
	for n := min(len(text), len(t)-1); n > 0; n-- {
		if string(text[len(text)-n:]) == t[:n] {
			return n
		}
	}
	return 0
}

// jsonScanner finds the end of a JSON object or list without reading a byte twice.
type jsonScanner struct {
	at, depth       int
	inString, slash bool
}

// scan continues over text, which must begin with what was scanned before. n is
// where the value ends once it is done; bad says that no value begins here.
func (s *jsonScanner) scan(text []byte) (n int, done, bad bool) {
	for ; s.at < len(text); s.at++ {
		c := text[s.at]
		switch {
		case s.slash:
			s.slash = false
		case s.inString:
			s.slash, s.inString = c == '\\', c != '"'
		case c == '{' || c == '[':
			s.depth++
		case c == '}' || c == ']':
			if s.depth--; s.depth <= 0 {
				return s.at + 1, true, s.depth < 0
			}
		case s.depth == 0 && c != ' ' && c != '\n' && c != '\t' && c != '\r', s.at >= maxBlank && s.depth == 0:
			return 0, false, true
		case c == '"':
			s.inString = true
		}
	}
	return 0, false, false
}
