package sample

import (
	"math"

	"github.com/koinon-network/koinon/core"
)

// slack is by how many logits another machine's logit may be off without that a
// filter's decision about the token is held against it.
const slack = 0.5

// unit is one logit in the scores of a race.
const unit = micro << 24

// Stand says how a claimed token stands in the draw at a point
// (spec/statistical.md). It may overwrite the logits. seeded says that the
// point's seed drove the claimed draw; otherwise the noise is unknown, and with
// a temperature only the likelihood tells something. It fails as
// [Drawer.Draw] does; a claimed token outside the vocabulary is
// [core.Unthinkable].
func (d *Drawer) Stand(logits []float32, p *core.Sampler, at Point, claimed core.Token, seeded bool) (core.Standing, error) {
	top, err := argmax(logits)
	if err != nil {
		return core.Standing{}, err
	}
	if changed, err := d.adjust(logits, p, at); err != nil {
		return core.Standing{}, err
	} else if changed {
		top = leading(logits, at.Allowed)
	}
	if claimed < 0 || int(claimed) >= len(logits) {
		return core.Unthinkable, nil
	}
	cutoff := d.cutoff(logits, top, p)
	var s core.Standing
	if p.Temperature > 0 {
		s.Surprise, s.Expected = surprise(logits, logits[top], cutoff-slack, p.Temperature, claimed)
	}
	if seeded || p.Temperature == 0 {
		s.Gap, s.Margin = d.stand(logits, top, cutoff, p, at, claimed)
	}
	return s, nil
}

// cutoff is how far below the greatest logit the last token lies that the
// filters keep.
func (d *Drawer) cutoff(logits []float32, top core.Token, p *core.Sampler) float32 {
	weigh := p.MinP > 0 || p.TopP > 0 && p.TopP < micro
	if !weigh && p.TopK == 0 {
		return -window
	}
	d.collect(logits, logits[top], weigh)
	d.filter(p)
	least := float32(0)
	for _, c := range d.cand {
		least = min(least, logits[c.id]-logits[top])
	}
	return least
}

// stand finds the best score among the tokens that every honest sampler keeps,
// the next one among those that some may keep, and the claimed token's.
func (d *Drawer) stand(logits []float32, top core.Token, cutoff float32, p *core.Sampler, at Point, claimed core.Token) (gap, margin float64) {
	r := &d.race
	r.start(logits[top], p.Temperature, at.Seed, at.Position)
	most := int64(p.Temperature) * gumbelMax
	best, bestScore := top, r.scoreOf(top, 0)
	next := int64(math.MinInt64)
	for i, l := range logits {
		x, t := l-logits[top], core.Token(i)
		if t == top || !(x >= cutoff-slack) || !(x >= -window) {
			continue
		}
		certain := x >= cutoff+slack || cutoff <= -window
		reachable := func(score int64) bool { return score > next || certain && score > bestScore }
		if !reachable(fixed(x)*micro + most) {
			continue
		}
		if r.temperature > 0 {
			r.load(int64(t) / blockTokens)
			if !reachable(fixed(x)*micro + r.temperature*gumbelBound(r.block[t%blockTokens])) {
				continue
			}
		}
		switch score := r.scoreOf(t, x); {
		case certain && score > bestScore:
			best, bestScore, next = t, score, max(next, bestScore)
		default:
			next = max(next, score)
		}
	}
	if next == math.MinInt64 {
		gap = math.MaxFloat64
	} else {
		gap = float64(bestScore-next) / unit
	}
	if claimed == best {
		return gap, 0
	}
	x := logits[claimed] - logits[top]
	if !(x >= -window) {
		return gap, float64(-x)
	}
	margin = max(0, float64(bestScore-r.scoreOf(claimed, x))/unit)
	if x < cutoff-slack {
		margin = max(margin, float64(cutoff-x))
	}
	return gap, margin
}

// scoreOf is the whole score of a token whose logit lies x from the greatest.
func (r *race) scoreOf(t core.Token, x float32) int64 {
	score := fixed(x) * micro
	if r.temperature > 0 {
		r.load(int64(t) / blockTokens)
		score += r.temperature * Gumbel(r.block[t%blockTokens])
	}
	return score
}

// surprise is the claimed token's negative log-probability at the temperature
// among the tokens whose logits lie at most -least below the greatest, and its
// mean over tokens drawn so; both bounded by core.MaxSurprise.
func surprise(logits []float32, top, least float32, temperature uint32, claimed core.Token) (claim, expected float64) {
	heat := float64(temperature) / micro
	sum, weighted := 0.0, 0.0
	for _, l := range logits {
		if x := l - top; x >= least {
			sum += math.Exp(float64(x) / heat)
		}
	}
	ln := math.Log(sum)
	for _, l := range logits {
		if x := l - top; x >= least {
			q := float64(x)/heat - ln
			weighted += float64(math.Exp(q) * min(-q, core.MaxSurprise))
		}
	}
	claim = core.MaxSurprise
	if x := logits[claimed] - top; x >= least {
		claim = min(ln-float64(x)/heat, core.MaxSurprise)
	}
	return claim, weighted
}
