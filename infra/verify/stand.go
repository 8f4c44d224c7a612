package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/koinon-network/koinon/core"
)

// Stand checks the evidence of an answer of the statistical tier as [Check] does
// and finds how its tokens stand in the reference's own draws. The report's
// verdict is [Unproven] where everything is consistent: no single answer of this
// tier proves anything. It returns an error only when the engine could not do
// the work.
func Stand(ctx context.Context, ev core.Evidence, engine core.Reference) ([]core.Standing, Report, error) {
	out, seed := check(&ev, Facts{})
	if out.Verdict != Matches {
		return nil, out, nil
	}
	known := ev // tokens that no model has are not excused
	if i := slices.IndexFunc(ev.Output, func(t core.Token) bool { return int(t) >= engine.Info().Vocabulary }); i >= 0 {
		known.Output = ev.Output[:i]
	}
	if bad := sameModel(&known, engine.Info()); bad != nil {
		bad.Receipt, bad.Consumer = out.Receipt, out.Consumer
		return nil, bad.Report, nil //nolint:nilerr // the verdict is the answer
	}
	standings, err := engine.Stand(ctx, input(&ev, seed), ev.Output, ev.Receipt.Finish, seeded(&ev))
	if err != nil {
		return nil, Report{}, fmt.Errorf("the answer could not be compared: %w", err)
	}
	own, most := 0, 0.0
	for _, s := range standings {
		if s.Margin == 0 {
			own++
		} else if s != core.Unthinkable {
			most = max(most, s.Margin)
		}
	}
	out.Verdict = Unproven
	out.Message = fmt.Sprintf("an answer of the statistical tier: %d of %d tokens are this engine's own, the others stay behind by up to %.3f logits", own, len(standings), most)
	if !seeded(&ev) {
		out.Message = fmt.Sprintf("an answer of the statistical tier, whose %d tokens the provider's server drew without the seed", len(ev.Output))
	}
	out.Message += "; no single answer of this tier proves anything"
	return standings, out, nil
}

// seeded reports whether the seed drove the draws, as far as they depend on it.
func seeded(ev *core.Evidence) bool {
	return !ev.Receipt.Seed.IsZero() || ev.Request.Sampler.Temperature == 0
}
