package gguf

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
)

// MaxBundle bounds a bundle; the largest vocabularies in use take about 20 MiB.
const MaxBundle = 64 << 20

// ExportBundle returns the canonical bytes of the tokenizer part: a GGUF file
// without tensors, its keys in ascending order. It is all that a gateway needs
// to turn messages into tokens and tokens into text.
func ExportBundle(m Metadata) []byte { return appendMetadata(nil, TokenizerPart(m), 0) }

// TokenizerHash names the tokenizer part: the SHA-256 of its bundle, so that the
// bundle can be fetched by it from anybody.
func TokenizerHash(m Metadata) core.Hash { return sha256.Sum256(ExportBundle(m)) }

// OpenBundle checks that b is the bundle named want and opens it. It does not
// keep b.
func OpenBundle(b []byte, want core.Hash) (Metadata, error) {
	if len(b) > MaxBundle {
		return Metadata{}, fmt.Errorf("gguf: a tokenizer of %d bytes is too large", len(b))
	}
	if sha256.Sum256(b) != want {
		return Metadata{}, &core.Error{Code: core.CodeProvider,
			Message: "the tokenizer received is not the one in the model's manifest",
			Next:    "ask another provider"}
	}
	f, err := Parse(bytes.Clone(b))
	if err != nil {
		return Metadata{}, err
	}
	if !bytes.Equal(ExportBundle(f.Metadata), b) {
		return Metadata{}, errors.New("gguf: the tokenizer is not in canonical form")
	}
	return f.Metadata, nil
}
