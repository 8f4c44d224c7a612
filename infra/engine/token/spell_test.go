package token

import (
	"bytes"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// A token read alone is what it is to the whole tokenizer.
func TestTokensAreSpeltAlone(t *testing.T) {
	for _, f := range fixedFamilies() {
		m := f.Metadata.metadata()
		for _, eot := range []int{-1, 5} {
			if eot >= 0 {
				m.Set("tokenizer.ggml.eot_token_id", uint32(eot))
			}
			tok, err := New(m)
			if err != nil {
				t.Fatal(err)
			}
			v, err := gguf.ParseVocabulary(gguf.VocabularyOf(m).Encode())
			if err != nil || int(v.Size) != tok.Size() {
				t.Fatalf("%s: %d tokens, %v", f.Name, v.Size, err)
			}
			ends := 0
			for i, e := range gguf.Entries(m) {
				piece, end := Spell(&v, core.Token(i), e)
				if !bytes.Equal(piece, tok.Piece(core.Token(i))) || end != tok.IsEnd(core.Token(i)) {
					t.Fatalf("%s: token %d (%q, kind %d) is %q, end %v alone; %q, end %v in the tokenizer", f.Name, i, e.Text, e.Kind, piece, end,
						tok.Piece(core.Token(i)), tok.IsEnd(core.Token(i)))
				}
				if end {
					ends++
				}
			}
			if eot >= 0 && ends == 0 {
				t.Errorf("%s has no end token", f.Name)
			}
		}
	}
}
