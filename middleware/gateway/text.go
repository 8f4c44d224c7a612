package gateway

import "strings"

// stopper cuts an answer's text before the first stop string. The provider
// stops after the token that completes one, so text that may be the beginning
// of a stop string is held back until it is clear that it is not.
type stopper struct {
	stops   []string
	held    string
	stopped bool
	met     string // the string that stopped it
}

// feed takes the next piece of text and returns what can be shown.
func (s *stopper) feed(t string) string {
	if s.stopped {
		return ""
	}
	s.held += t
	cut := -1
	for _, stop := range s.stops {
		if i := strings.Index(s.held, stop); i >= 0 && (cut < 0 || i < cut) {
			cut, s.met = i, stop
		}
	}
	if cut >= 0 {
		out := s.held[:cut]
		s.held, s.stopped = "", true
		return out
	}
	keep := 0
	for _, stop := range s.stops {
		for k := min(len(stop)-1, len(s.held)); k > keep; k-- {
			if strings.HasSuffix(s.held, stop[:k]) {
				keep = k
			}
		}
	}
	out := s.held[:len(s.held)-keep]
	s.held = s.held[len(s.held)-keep:]
	return out
}

// flush returns what is held back once the answer has ended.
func (s *stopper) flush() string {
	out := s.held
	s.held = ""
	if s.stopped {
		return ""
	}
	return out
}
