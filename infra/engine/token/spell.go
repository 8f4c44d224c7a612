package token

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// Spell returns what [Tokenizer.Piece] and [Tokenizer.IsEnd] say of a token, from
// its own entry and the vocabulary's summary alone.
func Spell(v *gguf.Vocabulary, id core.Token, e gguf.Entry) (piece []byte, end bool) {
	k := Kind(min(e.Kind, uint32(Byte)))
	k = max(k, Normal)
	end = endTexts[e.Text]
	if end {
		k = Control
	}
	is := func(role uint32) bool { return role == uint32(id) }
	if (is(v.BOS) || is(v.EOS)) && k != UserDefined {
		k = Control
	}
	end = end || is(v.EOS) || is(v.EOT) || is(v.EOM)
	if v.Model == "llama" {
		return sentencePieceText(e.Text, k), end
	}
	return byteLevelText(e.Text, k), end
}
