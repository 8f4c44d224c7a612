package compute

import (
	"context"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute/computetest"
)

// On the statistical tier receipts say so and trace nothing; orders of another
// tier, and what the tier does not offer, are refused.
func TestStatisticalTier(t *testing.T) {
	b := newBench(t, func(e *computetest.Engine, c *Config) {
		e.Model.Semantics |= core.OptionStatistical
		c.Offer.Tier = core.TierStatistical
	})
	order := func(change func(*core.SignedRequest)) core.SignedRequest {
		r := b.request(12)
		r.Semantics |= core.OptionStatistical
		if change != nil {
			change(&r)
		}
		return b.sign(r)
	}
	r := order(nil)
	l := newLine(r.Channel)
	if err := b.w.Infer(t.Context(), "peer", r, l); err != nil {
		t.Fatal(err)
	}
	if c := l.done.Receipt; c.Tier() != core.TierStatistical || !c.BoundaryRoot.IsZero() || len(l.done.Boundaries) != 0 || c.Seed.IsZero() {
		t.Errorf("receipt %+v with %d leaves", c, len(l.done.Boundaries))
	}
	for param, change := range map[string]func(*core.SignedRequest){
		"semantics":         func(r *core.SignedRequest) { r.Semantics = core.SemanticsV1 },
		"frequency_penalty": func(r *core.SignedRequest) { r.Sampler.FrequencyPenalty = 1 },
		"logprobs":          func(r *core.SignedRequest) { r.Sampler.Logprobs = 2 },
		"pooling":           func(r *core.SignedRequest) { r.Pooling, r.Sampler = core.PoolMean, core.Sampler{} },
	} {
		r := order(change)
		if e := wantCode(t, b.w.Infer(t.Context(), "peer", r, newLine(r.Channel)), core.CodeInvalid); e.Param != param {
			t.Errorf("%s: %v at %q", param, e, e.Param)
		}
	}
	exact := newBench(t, nil)
	x := exact.request(5)
	x.Semantics |= core.OptionStatistical
	x = exact.sign(x)
	if e := wantCode(t, exact.w.Infer(t.Context(), "peer", x, newLine(x.Channel)), core.CodeInvalid); e.Param != "semantics" {
		t.Errorf("an exact worker: %v", e)
	}
}

// A worker does not start under a label that its engine does not have.
func TestNoTierIsPretended(t *testing.T) {
	e := computetest.NewEngine()
	e.Model.Semantics |= core.OptionStatistical
	k := key(t)
	_, err := New(Config{Engine: e, Signer: k, VRF: computetest.NewVRF(), Cashier: computetest.NewTill(k.Address()), Notary: &computetest.Notary{Key: k},
		Registered: func(context.Context, core.Address) (bool, error) { return true, nil }, Offer: core.Offer{Model: e.Model.ID, Tier: core.TierExact}})
	if err == nil {
		t.Error("an engine of the statistical tier serves an exact offer")
	}
}
