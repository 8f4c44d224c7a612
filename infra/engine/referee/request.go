package referee

import (
	"errors"

	"github.com/koinon-network/koinon/core"
)

// Opening shows what a request holds beside what its receipt repeats.
type Opening struct {
	Prompt      uint32 // input tokens before the answer
	UserSeed    *uint64
	NonceCommit core.Hash
	Expiry      uint64
	Resume      *core.Hash // digest of the resumed progress
	Pooling     string
}

// OpeningOf is the opening of a request.
func OpeningOf(h *core.RequestHead) Opening {
	return Opening{h.Prompt, h.UserSeed, h.NonceCommit, uint64(h.Expiry), h.Resume, string(h.Pooling)}
}

// check holds the opening against the receipt of an answer.
func (o *Opening) check(r *core.Receipt) error {
	h := core.RequestHead{ChainID: r.ChainID, ID: r.Request, Model: r.Model, Semantics: r.Semantics, Provider: r.Provider, Channel: r.Channel,
		Input: r.InputHash, Prompt: o.Prompt, Sampler: r.Sampler, UserSeed: o.UserSeed, NonceCommit: o.NonceCommit,
		PriceIn: r.PriceIn, PriceOut: r.PriceOut, Expiry: int64(o.Expiry), Resume: o.Resume, Pooling: core.Pooling(o.Pooling)}
	switch {
	case h.Digest() != r.RequestHash:
		return errors.New("the request is not the receipt's")
	case o.Pooling != "":
		return errors.New("an embedding has no tokens")
	case o.Prompt == 0 || o.Prompt > r.Input:
		return errors.New("the prompt is not a beginning of the input")
	}
	return nil
}
