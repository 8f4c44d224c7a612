package compute

import (
	"context"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// maxPriceBits keeps sums over 32-bit counts far below 2^256.
const maxPriceBits = 128

func invalid(param, format string, args ...any) *core.Error {
	e := core.Errorf(core.CodeInvalid, format, args...)
	e.Param = param
	return e
}

// check holds a request against the worker's model, offer and limits. The
// consumer's signature, its money and repeated request ids are the cashier's to
// check.
func (w *Worker) check(ctx context.Context, r *core.SignedRequest) error {
	now := time.Now().Unix()
	switch {
	case r.ChainID != w.cfg.ChainID:
		return invalid("chain_id", "the request is for chain %d, this provider serves chain %d", r.ChainID, w.cfg.ChainID)
	case r.Provider != w.cfg.Signer.Address():
		return invalid("provider", "the request is for provider %v, this is %v", r.Provider, w.cfg.Signer.Address())
	case r.Model != w.info.ID:
		e := core.Errorf(core.CodeUnknownModel, "this provider does not serve model %s", r.Model.Short())
		e.Next = "it serves " + w.info.Name + ", " + w.info.ID.String()
		return e
	case r.Semantics != w.info.Semantics:
		return invalid("semantics", "numerics version %d is not served here, version %d is", r.Semantics, w.info.Semantics)
	case r.Expiry <= now:
		return invalid("expiry", "the request has expired; check the clock")
	case r.Expiry > now+int64(w.cfg.MaxLifetime.Seconds()):
		return invalid("expiry", "the request expires later than %v from now", w.cfg.MaxLifetime)
	}
	checks := []func(*core.SignedRequest) error{w.checkPrice, w.checkInput, w.checkSampler}
	if r.Pooling != "" {
		if w.cfg.Offer.Tier == core.TierStatistical {
			return invalid("pooling", "embeddings are not available on the statistical tier")
		}
		checks = []func(*core.SignedRequest) error{w.checkPrice, w.checkInput, checkEmbedding}
	}
	for _, f := range checks {
		if err := f(r); err != nil {
			return err
		}
	}
	if n := core.PayloadBound(&r.Request, w.info.Vocabulary); n > core.MaxPayload {
		e := core.Errorf(core.CodeTooLarge, "request and answer could take %d bytes; at most %d can be shown to an auditor on chain", n, core.MaxPayload)
		e.Next = "ask for fewer tokens, or with a smaller grammar"
		return e
	}
	return w.checkResume(ctx, r)
}

func (w *Worker) checkPrice(r *core.SignedRequest) error {
	o := w.offer.Load()
	for _, p := range []struct {
		name        string
		bid, demand core.Amount
	}{{"price_in", r.PriceIn, o.PriceIn}, {"price_out", r.PriceOut, o.PriceOut}} {
		if p.bid.Big().BitLen() > maxPriceBits {
			return invalid(p.name, "the price is beyond any supply")
		}
		if p.bid.Cmp(p.demand) < 0 {
			e := invalid(p.name, "%v akoin a token is below the offer of %v", p.bid, p.demand)
			e.Next = "read the offer again and sign a new request"
			return e
		}
	}
	return nil
}

func (w *Worker) checkInput(r *core.SignedRequest) error {
	n := len(r.Input)
	if n == 0 || r.Prompt == 0 || int64(r.Prompt) > int64(n) {
		return invalid("prompt", "a prompt of %d of %d input tokens is not possible", r.Prompt, n)
	}
	room := w.info.ContextLength
	if r.Pooling == "" {
		room-- // an answer has at least one token
	}
	if n > room {
		e := core.Errorf(core.CodeContextLength, "the input has %d tokens, the context holds %d including the answer", n, w.info.ContextLength)
		e.Param = "input"
		return e
	}
	for i, t := range r.Input {
		if t < 0 || int(t) >= w.info.Vocabulary {
			return invalid("input", "token %d at position %d is not in the vocabulary of %d", t, i, w.info.Vocabulary)
		}
	}
	if r.Pooling == "" && r.Worst().Output == 0 {
		return invalid("max_tokens", "%d output tokens were ordered and %d are there already", r.Sampler.MaxTokens, n-int(r.Prompt))
	}
	return nil
}

// checkEmbedding refuses an order for a vector that is also one for an answer.
func checkEmbedding(r *core.SignedRequest) error {
	switch {
	case r.Pooling != core.PoolMean && r.Pooling != core.PoolCLS && r.Pooling != core.PoolLast:
		return invalid("pooling", "the pooling %.20q is unknown", r.Pooling)
	case int64(r.Prompt) != int64(len(r.Input)):
		return invalid("prompt", "an embedding bills its whole input")
	case r.Sampler.Digest() != core.Sampler{}.Digest():
		return invalid("sampler", "an embedding draws nothing: its sampler must be zero")
	}
	return nil
}

// checkSampler leaves the grammar to the engine, which refuses a wrong one before
// the request takes a place.
func (w *Worker) checkSampler(r *core.SignedRequest) error {
	s := &r.Sampler
	if err := s.Check(); err != nil {
		return err
	}
	if w.cfg.Offer.Tier == core.TierStatistical {
		if err := s.Statistical(); err != nil {
			return err
		}
	}
	if n := len(s.Bias); n > 0 && int(s.Bias[n-1].Token) >= w.info.Vocabulary {
		return invalid("logit_bias", "token %d is not in the vocabulary of %d", s.Bias[n-1].Token, w.info.Vocabulary)
	}
	return nil
}

// checkResume verifies that input beyond the prompt was delivered by a
// registered provider: nobody else's words may be continued as an answer.
func (w *Worker) checkResume(ctx context.Context, r *core.SignedRequest) error {
	rest := r.Input[r.Prompt:]
	g := r.Resume
	if g == nil {
		if len(rest) > 0 {
			return invalid("resume", "%d input tokens are beyond the prompt without a provider's signature", len(rest))
		}
		return nil
	}
	switch {
	case len(rest) == 0:
		return invalid("resume", "there is nothing to resume: the input is the prompt")
	case int64(g.Count) != int64(len(rest)):
		return invalid("resume", "the signed progress counts %d tokens, the input holds %d beyond the prompt", g.Count, len(rest))
	case g.Tokens != core.TokenChain(core.Hash{}, rest):
		return invalid("resume", "the signed progress is over other tokens")
	case voucher.VerifyDigest(g.Digest(r.ChainID), g.Signature, g.Provider) != nil:
		return invalid("resume", "the progress is not signed by %v", g.Provider)
	}
	ok, err := w.cfg.Registered(ctx, g.Provider)
	if err != nil {
		return &core.Error{Code: core.CodeUnavailable, Message: "the provider could not look up who began the answer", Err: err}
	}
	if !ok {
		return invalid("resume", "%v, who signed the progress, is no registered provider", g.Provider)
	}
	return nil
}
