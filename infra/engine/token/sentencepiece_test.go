package token

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
)

// joinedByDefinition applies SentencePiece's rule as it is written, a join at a time.
func joinedByDefinition(tok *Tokenizer, text string) (out []core.Token) {
	ids := map[string]core.Token{}
	for i, s := range tok.texts {
		if _, taken := ids[s]; tok.kinds[i] == Normal && !taken {
			ids[s] = core.Token(i)
		}
	}
	sp := tok.model.(*sentencePiece)
	if sp.prefix {
		text = " " + text
	}
	text = strings.ReplaceAll(text, " ", lowLine)
	var parts []string
	for len(text) > 0 {
		_, n := utf8.DecodeRuneInString(text)
		parts, text = append(parts, text[:n]), text[n:]
	}
	for {
		best := -1
		score := float32(0)
		for i := range max(0, len(parts)-1) {
			if id, ok := ids[parts[i]+parts[i+1]]; ok && (best < 0 || sp.scores[id] > score) {
				best, score = i, sp.scores[id]
			}
		}
		if best < 0 {
			break
		}
		parts[best] += parts[best+1]
		parts = slices.Delete(parts, best+1, best+2)
	}
	for _, s := range parts {
		if id, ok := ids[s]; ok {
			out = append(out, id)
			continue
		}
		for _, c := range []byte(s) {
			out = append(out, sp.bytes[c])
		}
	}
	return out
}

func TestSentencePieceJoinsByItsDefinition(t *testing.T) {
	var pieces []string
	for _, m := range unsplit(peerTexts(2, 600, ""), 256+600) {
		if p := fromAlphabet(strings.Replace(m, " ", "", 1)); utf8.ValidString(p) {
			pieces = append(pieces, strings.ReplaceAll(p, " ", lowLine))
		}
	}
	m := pieceModel(append(pieces, "aa", "\xff\xff", "\ufffdx", "x\ufffd"))
	scores, _ := m.Floats("tokenizer.ggml.scores")
	for i := range scores { // many alike, so that position decides
		scores[i] = float32(int(scores[i]) / 50)
	}
	m.Set("tokenizer.ggml.scores", scores)
	tok := mustNew(t, m)
	texts := append(peerTexts(9, 700, ""), "x\xff\xff\xffx \xe4\xb8", "a▁b c", "▁▁ ▁", strings.Repeat("a", 99))
	for _, text := range texts {
		if text == "" {
			continue
		}
		if got, want := tok.Encode(text, Options{}), joinedByDefinition(tok, text); !slices.Equal(got, want) {
			t.Errorf("%q gives\n %s, want\n %s", text, spelt(tok, got), spelt(tok, want))
		}
	}
}
