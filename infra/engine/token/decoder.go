package token

import (
	"strings"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
)

// Decoder turns a stream of tokens into a stream of valid UTF-8. A rune whose
// bytes come in several tokens is held back until it is whole; bytes that are
// not UTF-8 become U+FFFD. Joined, the outputs do not depend on how the tokens
// were grouped.
type Decoder struct {
	t       *Tokenizer
	pending []byte // the beginning of a rune, at most 3 bytes
	shown   map[core.Token]bool
}

// NewDecoder starts a stream.
func (t *Tokenizer) NewDecoder() *Decoder { return &Decoder{t: t} }

// Show has a control token written out as the vocabulary spells it, where it
// would add nothing to the text. None and other tokens are ignored.
func (d *Decoder) Show(id core.Token) {
	if !d.t.IsControl(id) {
		return
	}
	if d.shown == nil {
		d.shown = map[core.Token]bool{}
	}
	d.shown[id] = true
}

// Write takes tokens and returns the text that is complete.
func (d *Decoder) Write(ids ...core.Token) string {
	b := d.pending
	for _, id := range ids {
		if d.shown[id] {
			b = append(b, d.t.Text(id)...)
			continue
		}
		b = append(b, d.t.Piece(id)...)
	}
	end := len(b)
	for i := max(0, end-utf8.UTFMax+1); i < end; i++ {
		if utf8.RuneStart(b[i]) && !utf8.FullRune(b[i:]) {
			end = i
		}
	}
	text := valid(b[:end])
	d.pending = append(d.pending[:0:0], b[end:]...)
	return text
}

// Flush ends the stream and returns what was held back.
func (d *Decoder) Flush() string {
	text := valid(d.pending)
	d.pending = nil
	return text
}

// valid replaces every byte that is not part of a rune, one by one.
func valid(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}
