package gguf

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

// NoToken stands for a special token that a vocabulary does not have.
const NoToken = math.MaxUint32

// Vocabulary is what a tokenizer part says of single tokens, so that one can be
// shown without the others (spec/model.md).
type Vocabulary struct {
	Model              string // tokenizer.ggml.model
	BOS, EOS, EOT, EOM uint32 // NoToken where there is none
	Size               uint32
	Root               core.Hash // Merkle root over the entries' hashes
}

// Entry is one token of a vocabulary.
type Entry struct {
	Kind uint32 // as tokenizer.ggml.token_type has it; 1 without it
	Text string
}

// Hash is the entry's leaf under [Vocabulary.Root].
func (e Entry) Hash() core.Hash {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 64), e.Kind)
	return tagged("koinon/vocabulary-token/1", append(b, e.Text...))
}

// Entries lists the tokens of a tokenizer part; none where it has no list that
// can be read.
func Entries(m Metadata) []Entry {
	texts, err := m.Strings("tokenizer.ggml.tokens")
	if err != nil {
		return nil
	}
	kinds, err := m.Ints("tokenizer.ggml.token_type")
	known := err == nil && len(kinds) == len(texts)
	out := make([]Entry, len(texts))
	for i, s := range texts {
		out[i] = Entry{1, s}
		if known {
			out[i].Kind = uint32(kinds[i])
		}
	}
	return out
}

// VocabularyOf summarises the vocabulary of a tokenizer part.
func VocabularyOf(m Metadata) Vocabulary {
	entries := Entries(m)
	leaves := make([]core.Hash, len(entries))
	for i, e := range entries {
		leaves[i] = e.Hash()
	}
	v := Vocabulary{Size: uint32(len(entries)), Root: merkle.Root(leaves)}
	v.Model, _ = m.Text("tokenizer.ggml.model")
	role := func(name string, fallback uint32) uint32 {
		n, err := Or(m.Uint("tokenizer.ggml." + name + "_token_id"))(uint64(fallback))
		if err != nil || n >= uint64(v.Size) {
			return NoToken
		}
		return uint32(n)
	}
	bos, eos := uint32(NoToken), uint32(NoToken)
	if v.Model == "llama" { // SentencePiece's own defaults
		bos, eos = 1, 2
	}
	v.BOS, v.EOS, v.EOT, v.EOM = role("bos", bos), role("eos", eos), role("eot", NoToken), role("eom", NoToken)
	return v
}

// Encode writes the summary as the model root binds it.
func (v Vocabulary) Encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(v.Model)))
	b = append(b, v.Model...)
	for _, n := range []uint32{v.BOS, v.EOS, v.EOT, v.EOM, v.Size} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, v.Root[:]...)
}

// ParseVocabulary reads what [Vocabulary.Encode] wrote.
func ParseVocabulary(b []byte) (v Vocabulary, err error) {
	c := &cursor{b: b}
	v.Model = string(c.take(uint64(c.bigU32())))
	for _, n := range []*uint32{&v.BOS, &v.EOS, &v.EOT, &v.EOM, &v.Size} {
		*n = c.bigU32()
	}
	copy(v.Root[:], c.fixed(32))
	if c.err != nil || c.at != len(b) {
		return v, errors.New("gguf: this is no summary of a vocabulary")
	}
	return v, nil
}

// VocabularyLeaf is the leaf of the vocabulary's summary.
func VocabularyLeaf(summary []byte) core.Hash { return tagged("koinon/vocabulary/1", summary) }
