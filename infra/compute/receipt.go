package compute

import (
	"context"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

const (
	// receiptLife is how long a receipt can be challenged.
	receiptLife = 24 * time.Hour
	// leavesMost is how many boundary leaves travel and are kept with a receipt:
	// 1 MiB. The leaves of longer answers are derived when they are needed.
	leavesMost = 1 << 20 / 32
	// sealTime bounds the writing of a receipt.
	sealTime = 30 * time.Second
)

// end seals the receipt, tells the consumer and charges the prompt. An answer
// that was cancelled before its first token leaves nothing to seal or charge.
func (a *answer) end(ctx context.Context, finish core.FinishReason) error {
	if len(a.sent) == 0 && finish == core.FinishCancelled {
		a.w.meter.fail()
		a.w.cfg.Observe(Event{Kind: EventFailed, Request: a.r.ID, Channel: a.r.Channel, Finish: finish, Err: errCancelled})
		return a.s.Finish(ctx, core.Done{Finish: finish})
	}
	if len(a.sent) == 0 && a.r.Pooling == "" {
		return engineError(core.Errorf(core.CodeInternal, "the engine ended without a token"))
	}
	leaves, err := a.leaves()
	if err != nil {
		return engineError(err)
	}
	e := a.evidence(finish, leaves)
	sealing, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealTime)
	defer cancel()
	receipt, err := a.w.cfg.Notary.Seal(sealing, e)
	if err != nil {
		return &core.Error{Code: core.CodeProvider, Message: "the provider could not store the receipt", Err: err}
	}
	usage := core.Usage{Input: a.r.Prompt, Output: uint32(len(a.sent))}
	if a.job != nil {
		usage.Cached = uint32(a.job.seq.Cached())
	}
	done := core.Done{Finish: finish, Usage: usage, Receipt: receipt, Due: usage.Cost(a.r.PriceIn, a.r.PriceOut), Boundaries: e.Boundaries, Embedding: e.Embedding}
	if err := a.s.Finish(ctx, done); err != nil {
		return err
	}
	a.tab.Charge(done.Due)
	a.w.meter.serve()
	a.w.cfg.Observe(Event{
		Kind: EventServed, Request: a.r.ID, Channel: a.r.Channel, Receipt: receipt.Digest(), Usage: usage, Finish: finish, Due: done.Due,
	})
	return nil
}

// leaves returns the boundary leaves of the delivered answer, whose last token
// was never fed. The engine may be ahead of what was delivered.
func (a *answer) leaves() ([]core.Hash, error) {
	if a.w.cfg.Offer.Tier != core.TierExact || a.r.Pooling != "" {
		return nil, nil
	}
	all := a.job.seq.Boundaries()
	n := (len(a.r.Input) + len(a.sent) - 1) * (a.w.info.Layers + 1)
	if len(all) < n {
		return nil, core.Errorf(core.CodeInternal, "%d boundary leaves, %d are needed", len(all), n)
	}
	return all[:n], nil
}

// sequence is the engine's, nil for an embedding.
func (a *answer) sequence() core.Sequence {
	if a.job == nil {
		return nil
	}
	return a.job.seq
}

func (a *answer) evidence(finish core.FinishReason, leaves []core.Hash) core.Evidence {
	r := a.r
	now := time.Now()
	c := core.Receipt{
		ChainID: r.ChainID, Semantics: r.Semantics, Model: r.Model, Request: r.ID, RequestHash: r.Digest(),
		Provider: r.Provider, Channel: r.Channel, InputHash: core.HashTokens(r.Input), OutputHash: core.HashTokens(a.sent),
		Sampler: r.Sampler.Digest(), Seed: a.seed.Commitment(), Input: uint32(len(r.Input)), Output: uint32(len(a.sent)),
		Billed: r.Prompt, Finish: finish, PriceIn: r.PriceIn, PriceOut: r.PriceOut,
		Issued: now.Unix(), Expiry: now.Unix() + int64(receiptLife.Seconds()),
	}
	if a.r.Pooling != "" {
		c.OutputHash = core.HashEmbedding(a.vector)
	}
	c.Logprobs = core.HashLogprobs(a.probs)
	if s, ok := a.sequence().(core.Seedless); ok && s.Seedless() {
		c.Seed = core.Hash{}
	}
	if len(leaves) > 0 {
		c.BoundaryRoot = merkle.Root(leaves)
	}
	e := core.Evidence{
		Version: 1, Receipt: core.SignedReceipt{Receipt: c}, Request: *r, Nonce: a.nonce, VRF: a.proof,
		VRFKey: a.w.cfg.VRF.PublicKey(), Output: a.sent, Logprobs: a.probs, Embedding: a.vector, ModelName: a.w.info.Name,
	}
	e.Request.Voucher = nil
	if len(leaves) <= leavesMost {
		e.Boundaries = leaves
	}
	return e
}
