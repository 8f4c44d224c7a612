package remote

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// fetchText fetches an answer of which the server tells only the text. It may
// have fewer tokens than the server counted: then it is asked for more.
func (s *sequence) fetchText() (core.FinishReason, error) {
	for {
		n, err := s.room()
		if err != nil {
			return "", err
		}
		if n == 0 {
			return core.FinishLength, nil
		}
		if finish, err := s.readText(n); finish != "" || err != nil {
			return finish, err
		}
	}
}

// readText has the server write n more tokens.
func (s *sequence) readText(n int) (core.FinishReason, error) {
	st, err := s.e.client.complete(s.ctx, s.order(n), s.e.vocabulary)
	if err != nil {
		return "", err
	}
	defer st.close()
	w := writing{tokenizer: s.e.tokenizer}
	reason := ""
	for {
		p, err := st.next()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return "", err
		}
		if p.finish != "" {
			reason = p.finish
		}
		for _, t := range w.add(p.text, last) {
			if finish, err := s.append(t); finish != "" || err != nil {
				return finish, err
			}
		}
		if last {
			break
		}
	}
	switch {
	case reason == "stop":
		return s.append(s.e.end())
	case reason != "length":
		return "", errOther
	case w.given == 0:
		return "", errMute
	}
	return "", nil
}

// held is how many tokens at the end of a text that goes on may still change
// with what follows.
const held = 8

// writing turns a text that arrives in pieces into tokens.
type writing struct {
	tokenizer *token.Tokenizer
	text      strings.Builder
	sent      []core.Token
	given     int // tokens in all
	from      int // bytes whose tokens are settled for good
	read      int // bytes that were looked at
}

// Of a long text only the end is read again, and not at each letter.
const (
	settled = 512 // tokens
	atLeast = 16  // bytes
)

// add takes more text and returns the tokens that are settled; at the end all.
func (w *writing) add(text string, last bool) []core.Token {
	w.text.WriteString(text)
	if w.text.Len()-w.read < atLeast && !last {
		return nil
	}
	w.read = w.text.Len()
	if len(w.sent) > settled {
		w.settle()
	}
	all := w.encode(w.text.String()[w.from:])
	if !slices.Equal(all[:min(len(all), len(w.sent))], w.sent) || len(all) < len(w.sent) {
		// What was settled is written otherwise now: the rest is read alone.
		w.settle()
		all = w.encode(w.text.String()[w.from:])
	}
	keep := held
	if last {
		keep = 0
	}
	n := len(all) - keep
	if n <= len(w.sent) {
		return nil
	}
	fresh := all[len(w.sent):n]
	w.sent = all[:n:n]
	w.given += len(fresh)
	return fresh
}

// settle leaves what was sent as it is; the rest is read without it.
func (w *writing) settle() {
	for _, t := range w.sent {
		w.from += len(w.tokenizer.Piece(t))
	}
	w.from = min(w.from, w.text.Len())
	w.sent = nil
}

// encode reads text that follows other text: without the space that some
// tokenizers put before a beginning.
func (w *writing) encode(text string) []core.Token {
	before := w.tokenizer.Encode("\n", token.Options{})
	all := w.tokenizer.Encode("\n"+text, token.Options{})
	if len(all) >= len(before) && slices.Equal(all[:len(before)], before) {
		return all[len(before):]
	}
	return w.tokenizer.Encode(text, token.Options{})
}
