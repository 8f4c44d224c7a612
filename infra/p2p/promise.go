package p2p

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/voucher"
)

// receiptLife is how long a receipt can be challenged; clockSkew is how far
// the two sides' clocks may differ.
const (
	receiptLife = 24 * time.Hour
	clockSkew   = 10 * time.Minute
)

// promise is one answer as the consumer follows it: what the provider owes by
// the request that it accepted, and what it has delivered so far.
type promise struct {
	p         core.Provider
	r         core.SignedRequest
	seed      core.Seed
	cancelled atomic.Bool

	output []core.Token // delivered in this exchange
	probs  []core.TokenLogprobs
	chain  core.Hash // TokenChain over the whole answer, resumed part included
}

func newPromise(p core.Provider, r core.SignedRequest) *promise {
	return &promise{p: p, r: r, chain: core.TokenChain(core.Hash{}, r.Input[r.Prompt:])}
}

func (x *promise) base() int { return len(x.r.Input) - int(x.r.Prompt) }

// due is the cumulative price of the delivered output.
func (x *promise) due() core.Amount { return x.r.PriceOut.Mul(uint64(len(x.output))) }

// chunk checks a chunk against everything before it and takes it in.
func (x *promise) chunk(c *core.Chunk) error {
	g := &c.Progress
	total := x.base() + len(x.output) + len(c.Tokens)
	switch {
	case x.r.Pooling != "":
		return broken(x.p, "sent tokens where an embedding was ordered")
	case len(c.Tokens) == 0:
		return broken(x.p, "sent an empty chunk")
	case total > int(x.r.Sampler.MaxTokens):
		return broken(x.p, "sent more tokens than the %d that were ordered", x.r.Sampler.MaxTokens)
	case g.ID != x.r.ID || g.Provider != x.r.Provider:
		return broken(x.p, "signed progress for another request")
	case int64(g.Count) != int64(total):
		return broken(x.p, "miscounted its tokens: %d signed, %d delivered", g.Count, total)
	}
	for _, t := range c.Tokens {
		if t < 0 {
			return broken(x.p, "sent token %d, which no vocabulary has", t)
		}
	}
	chain := core.TokenChain(x.chain, c.Tokens)
	if g.Tokens != chain {
		return broken(x.p, "signed other tokens than it delivered")
	}
	if due := x.r.PriceOut.Mul(uint64(len(x.output) + len(c.Tokens))); c.Due.Cmp(due) != 0 {
		return broken(x.p, "asks %v akoin for output that costs %v", c.Due, due)
	}
	if err := voucher.VerifyDigest(g.Digest(x.r.ChainID), g.Signature, x.r.Provider); err != nil {
		return broken(x.p, "sent a chunk without its valid signature: %v", err)
	}
	if err := checkLogprobs(c, x.r.Sampler.Logprobs); err != nil {
		return broken(x.p, "sent log-probabilities that %v", err)
	}
	x.chain = chain
	x.output, x.probs = append(x.output, c.Tokens...), append(x.probs, c.Logprobs...)
	return nil
}

// done checks the end of the answer. Without output there is nothing to
// commit to, and a cancelled answer ends without a receipt and for free.
func (x *promise) done(d *core.Done) error {
	if x.r.Pooling != "" && d.Finish != core.FinishCancelled {
		return x.embedded(d)
	}
	d.Embedding = nil
	n := len(x.output)
	switch {
	case d.Finish != core.FinishStop && d.Finish != core.FinishLength && d.Finish != core.FinishCancelled:
		return broken(x.p, "ended for the unknown reason %q", truncate(string(d.Finish), 20))
	case d.Finish == core.FinishCancelled && !x.cancelled.Load():
		return broken(x.p, "ended the answer as cancelled, which it was not")
	case n == 0 && d.Finish == core.FinishCancelled:
		if !d.Due.IsZero() || d.Usage.Input != 0 || d.Usage.Output != 0 {
			return broken(x.p, "asks %v akoin for nothing", d.Due)
		}
		d.Receipt, d.Boundaries = core.SignedReceipt{}, nil
		return nil
	case n == 0:
		return broken(x.p, "ended without any output")
	case int64(d.Usage.Output) != int64(n) || d.Usage.Input != x.r.Prompt || int64(d.Usage.Cached) > int64(len(x.r.Input)):
		return broken(x.p, "states usage of %d in, %d out; it is %d in, %d out", d.Usage.Input, d.Usage.Output, x.r.Prompt, n)
	}
	if err := x.settled(d, core.HashTokens(x.output)); err != nil {
		return err
	}
	if len(d.Boundaries) > 0 {
		if len(d.Boundaries)%(len(x.r.Input)+n-1) != 0 || merkle.Root(d.Boundaries) != d.Receipt.BoundaryRoot {
			return broken(x.p, "sent boundary leaves that do not belong to its receipt")
		}
	}
	return nil
}

// settled checks the amount due and the receipt over output.
func (x *promise) settled(d *core.Done, output core.Hash) error {
	if due := d.Usage.Cost(x.r.PriceIn, x.r.PriceOut); d.Due.Cmp(due) != 0 {
		return broken(x.p, "asks %v akoin for an answer that costs %v", d.Due, due)
	}
	if field := x.receipt(&d.Receipt.Receipt, d.Finish, output); field != "" {
		return broken(x.p, "sent a receipt whose %s is not this answer's", field)
	}
	if err := voucher.VerifyDigest(d.Receipt.Digest(), d.Receipt.Signature, x.r.Provider); err != nil {
		return broken(x.p, "sent a receipt without its valid signature: %v", err)
	}
	return nil
}

// embedded checks the end of an order for an embedding.
func (x *promise) embedded(d *core.Done) error {
	d.Boundaries = nil
	if d.Finish != core.FinishStop {
		return broken(x.p, "ended for the unknown reason %q", truncate(string(d.Finish), 20))
	}
	if _, err := core.DecodeVector(d.Embedding); err != nil {
		return broken(x.p, "sent no embedding: %v", err)
	}
	if d.Usage != (core.Usage{Input: x.r.Prompt}) {
		return broken(x.p, "states usage of %d in, %d out; it is %d in, 0 out", d.Usage.Input, d.Usage.Output, x.r.Prompt)
	}
	return x.settled(d, core.HashEmbedding(d.Embedding))
}

// receipt returns the name of the first field that contradicts the answer.
func (x *promise) receipt(c *core.Receipt, finish core.FinishReason, output core.Hash) string {
	r := &x.r.Request
	now := time.Now()
	for _, f := range []struct {
		name string
		ok   bool
	}{
		{"chain id", c.ChainID == r.ChainID},
		{"semantics version", c.Semantics == r.Semantics},
		{"model", c.Model == r.Model},
		{"request id", c.Request == r.ID},
		{"request hash", c.RequestHash == r.Digest()},
		{"provider", c.Provider == r.Provider},
		{"channel", c.Channel == r.Channel},
		{"input hash", c.InputHash == core.HashTokens(r.Input)},
		{"output hash", c.OutputHash == output},
		{"log-probabilities' hash", c.Logprobs == core.HashLogprobs(x.probs)},
		{"sampler", c.Sampler == r.Sampler.Digest()},
		{"seed", c.Seed == x.seed.Commitment() || c.Seed.IsZero() && c.Tier() == core.TierStatistical},
		{"boundary root", c.BoundaryRoot.IsZero() || c.Tier() == core.TierExact},
		{"input length", int64(c.Input) == int64(len(r.Input))},
		{"output length", int64(c.Output) == int64(len(x.output))},
		{"billed input", c.Billed == r.Prompt},
		{"finish reason", c.Finish == finish},
		{"input price", c.PriceIn.Cmp(r.PriceIn) == 0},
		{"output price", c.PriceOut.Cmp(r.PriceOut) == 0},
		{"issue time", math.Abs(float64(c.Issued-now.Unix())) <= clockSkew.Seconds()},
		{"expiry", c.Expiry == c.Issued+int64(receiptLife.Seconds())},
	} {
		if !f.ok {
			return f.name
		}
	}
	return ""
}
