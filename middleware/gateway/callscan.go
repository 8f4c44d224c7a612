package gateway

import (
	"strings"

	"github.com/koinon-network/koinon/infra/engine/chat"
)

// callPart is a piece of a call: its beginning, with the name, or more of its
// arguments.
type callPart struct {
	begins    bool
	id, name  string // of a beginning; id is empty when the model gave none
	arguments string
}

// callReader cuts calls of tools out of an answer's text.
type callReader interface {
	write(text string) (string, []callPart)
	end() (string, []callPart)
}

// wholeCalls gives each call once it is complete and known to be one.
type wholeCalls struct{ *chat.ToolParser }

func (w wholeCalls) write(text string) (string, []callPart) { return parts(w.Write(text)) }
func (w wholeCalls) end() (string, []callPart)              { return parts(w.Close()) }

func parts(ps []chat.Piece) (text string, calls []callPart) {
	for _, p := range ps {
		if p.Call == nil {
			text += p.Text
			continue
		}
		calls = append(calls, callPart{begins: true, id: p.Call.ID, name: p.Call.Name}, callPart{arguments: string(p.Call.Arguments)})
	}
	return text, calls
}

// callScanner gives calls as they are written. It is for answers whose calls a
// grammar holds to their form to the letter; what is not in that form is text.
type callScanner struct {
	trigger string   // what free text may end with; "" when there is none
	begins  []string // the first call of each tool, trigger included
	more    []string // a further call of each tool, with what stands between
	after   []string // the text behind each tool's arguments
	names   []string

	held    string
	free    bool   // looking for the trigger
	tool    int    // whose arguments are being read, or -1
	calls   int    // begun so far
	skip    string // literal text that comes next
	depth   int
	quoted  bool
	escaped bool
}

// newCallScanner follows an answer that is calls and nothing else, or with free
// set text that may come to calls.
func newCallScanner(f *chat.ToolFormat, tools []chat.Tool, free bool) *callScanner {
	s := &callScanner{free: free, tool: -1}
	if free {
		s.trigger = f.Trigger
	}
	for i, form := range f.Forms(tools) {
		s.begins = append(s.begins, f.Open+form.Before)
		s.more = append(s.more, f.Between+form.Before)
		s.after = append(s.after, form.After)
		s.names = append(s.names, tools[i].Name)
	}
	return s
}

func (s *callScanner) write(text string) (out string, calls []callPart) {
	s.held += text
	for {
		switch {
		case s.free:
			t, found := s.seek()
			out += t
			if !found {
				return out, calls
			}
		case s.tool >= 0:
			if s.held == "" {
				return out, calls
			}
			calls = append(calls, callPart{arguments: s.arguments()})
		case s.skip != "":
			n := min(len(s.skip), len(s.held))
			if s.held[:n] != s.skip[:n] {
				out += s.held // not in the form after all
				s.held, s.skip = "", ""
				return out, calls
			}
			if s.held, s.skip = s.held[n:], s.skip[n:]; s.skip != "" {
				return out, calls
			}
		default:
			part, known, wait := s.begin()
			switch {
			case known:
				calls = append(calls, part)
			case wait:
				return out, calls
			case s.calls > 0: // the closing text, or nothing that matters
				return out, calls
			default:
				out += s.held
				s.held = ""
				return out, calls
			}
		}
	}
}

// seek returns the text before the trigger, or as much as can't be part of one.
func (s *callScanner) seek() (text string, found bool) {
	if i := strings.Index(s.held, s.trigger); i >= 0 {
		text, s.held, s.free = s.held[:i], s.held[i:], false
		return text, true
	}
	keep := min(len(s.trigger)-1, len(s.held))
	for ; !strings.HasPrefix(s.trigger, s.held[len(s.held)-keep:]); keep-- {
	}
	text, s.held = s.held[:len(s.held)-keep], s.held[len(s.held)-keep:]
	return text, false
}

// begin reads the text in front of a call's arguments. One name may begin
// another, so that the longest counts; wait says that too little is held.
func (s *callScanner) begin() (part callPart, known, wait bool) {
	heads := s.begins
	if s.calls > 0 {
		heads = s.more
	}
	best := -1
	for i, h := range heads {
		switch {
		case strings.HasPrefix(s.held, h):
			if best < 0 || len(h) > len(heads[best]) {
				best = i
			}
		case strings.HasPrefix(h, s.held):
			wait = true
		}
	}
	if best < 0 {
		return part, false, wait
	}
	s.held = s.held[len(heads[best]):]
	s.tool, s.depth, s.quoted, s.escaped = best, 0, false, false
	s.calls++
	return callPart{begins: true, name: s.names[best]}, true, false
}

// arguments takes what belongs to the JSON object that is being read.
func (s *callScanner) arguments() string {
	for i := 0; i < len(s.held); i++ {
		c := s.held[i]
		switch {
		case s.escaped:
			s.escaped = false
		case s.quoted:
			s.escaped, s.quoted = c == '\\', c != '"'
		case c == '"':
			s.quoted = true
		case c == '{' || c == '[':
			s.depth++
		case c == '}' || c == ']':
			if s.depth--; s.depth == 0 {
				taken := s.held[:i+1]
				s.held, s.skip, s.tool = s.held[i+1:], s.after[s.tool], -1
				return taken
			}
		}
	}
	taken := s.held
	s.held = ""
	return taken
}

func (s *callScanner) end() (string, []callPart) {
	if s.calls > 0 {
		return "", nil
	}
	out := s.held
	s.held = ""
	return out, nil
}
