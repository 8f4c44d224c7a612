package gateway

import (
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// statisticalSuffix behind a model's name asks for its statistical tier. A name
// alone asks for exact proofs: no answer is of a tier that its client did not
// name.
const statisticalSuffix = ":" + string(core.TierStatistical)

// Named is how clients ask for a model on a tier.
func Named(model string, t core.Tier) string {
	if t == core.TierStatistical {
		return model + statisticalSuffix
	}
	return model
}

// tierOf splits what a client calls a model into name and tier.
func tierOf(model string) (name string, t core.Tier) {
	if name, ok := strings.CutSuffix(model, statisticalSuffix); ok {
		return name, core.TierStatistical
	}
	return model, core.TierExact
}

// ofTier are the candidates that answer on this tier.
func ofTier(cs []candidate, t core.Tier) []candidate {
	if t == "" {
		t = core.TierExact
	}
	return slices.DeleteFunc(slices.Clone(cs), func(c candidate) bool { return c.offer.Tier != t })
}

// shunning names an offer that this gateway no longer accepts.
type shunning struct {
	provider core.Address
	model    core.ModelID
	tier     core.Tier
}

// Shun takes a provider's offer of a model on one tier out of this gateway's
// routes: what its own auditor found to be implausible. It lasts as long as the
// process; the auditor's books remember.
func (g *Gateway) Shun(provider core.Address, model core.ModelID, t core.Tier) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shun[shunning{provider, model, t}] = true
}

func (g *Gateway) shunned(provider core.Address, model core.ModelID, t core.Tier) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shun[shunning{provider, model, t}]
}
