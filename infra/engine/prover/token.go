package prover

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/sample"
)

// draw is what decides an output token.
type draw struct {
	sampler  *core.Sampler
	logits   []float32 // the model's own
	adjusted []float32
	seen     map[core.Token]sample.Seen // where the sampler has penalties
	top      core.Token                 // of the greatest adjusted logit
	cut      sample.Cut                 // where the filters cut, if they do
}

// drawn computes the disputed draw once.
func (a *Answer) drawn(s *referee.State) (*draw, error) {
	if a.draw != nil {
		return a.draw, nil
	}
	t := s.Claim.Token
	d := &draw{sampler: &t.Sampler, seen: map[core.Token]sample.Seen{}}
	if sample.HasPenalties(d.sampler) {
		for i, v := range a.tokens[:s.Claim.Position+1] {
			n := d.seen[v]
			if i < int(t.Request.Prompt) {
				n.Prompt++
			} else {
				n.Answer++
			}
			d.seen[v] = n
		}
	}
	var err error
	if d.logits, err = a.prover.linear(a.prover.Model.Head(), a.trace.results[0].values); err != nil {
		return nil, err
	}
	for i, l := range d.logits {
		d.logits[i] = a.prover.Model.Logit(l)
	}
	d.adjusted = make([]float32, len(d.logits))
	for i, l := range d.logits {
		d.adjusted[i] = sample.Adjusted(d.sampler, core.Token(i), l, d.seen[core.Token(i)])
		if d.adjusted[i] > d.adjusted[d.top] {
			d.top = core.Token(i)
		}
	}
	d.cut = sample.Cut{Top: d.adjusted[d.top]}
	if sample.Filtered(d.sampler) {
		d.cut = sample.NewCut(d.sampler, d.adjusted)
	}
	a.draw = d
	return d, nil
}

func (d *draw) shown(t core.Token) referee.Shown {
	return referee.Shown{Token: t, Logit: d.logits[t], Seen: d.seen[t]}
}

func (d *draw) last(c *sample.Candidate) *referee.Shown {
	if c == nil {
		return nil
	}
	v := d.shown(c.Token)
	return &v
}

// sums are those of the runs of the tiles lo to hi-1, by these cuts.
func (d *draw) sums(cut sample.Cut, lo, hi int) []sample.Sum {
	n, length := referee.Runs(hi - lo)
	out := make([]sample.Sum, n)
	for i := range out {
		from := (lo + i*length) * commit.TileLen
		for at := from; at < min(len(d.adjusted), from+length*commit.TileLen, hi*commit.TileLen); at++ {
			v, _ := cut.Weigh(d.sampler, sample.Candidate{Token: core.Token(at), Logit: d.adjusted[at]})
			out[i].Add(v)
		}
	}
	return out
}

// claims is the provider's first move for a token.
func (a *Answer) claims(s *referee.State) (referee.Move, error) {
	d, err := a.drawn(s)
	if err != nil {
		return nil, err
	}
	leaf, err := a.before(int(s.Claim.Position))
	if err != nil {
		return nil, err
	}
	t := s.Claim.Token
	m := &referee.Claims{Norm: a.trace.results[0].commitment(), Leaf: *leaf, Top: d.shown(d.top), Given: d.shown(t.Given), Better: d.shown(t.Better)}
	if sample.Filtered(d.sampler) {
		m.K, m.P, m.Sums = d.last(d.cut.K), d.last(d.cut.P), d.sums(d.cut, 0, commit.Count(len(d.logits)))
	}
	return m, nil
}

// sums divides the sum in question, or shows its only tile.
func (a *Answer) sums(s *referee.State) (referee.Move, error) {
	d, err := a.drawn(s)
	if err != nil {
		return nil, err
	}
	lo, hi := int(s.Draw.Lo), int(s.Draw.Hi)
	if hi-lo > 1 {
		return &referee.Sums{Sums: d.sums(s.Draw.Claims.Cut(d.sampler), lo, hi)}, nil
	}
	m := &referee.Logits{Values: tile(d.logits, lo)}
	for i := range m.Values {
		t := core.Token(lo*commit.TileLen + i)
		if n, ok := d.seen[t]; ok {
			m.Seen = append(m.Seen, referee.TokenSeen{Token: t, Seen: n})
		}
	}
	return m, nil
}

// seenOf is said with the logit in question, of a token of which nothing was.
func (a *Answer) seenOf(s *referee.State) *sample.Seen {
	if s.Draw.Tile != nil || !sample.HasPenalties(&s.Claim.Token.Sampler) || s.Draw.Claims.Speaks(s.Logit.Token) {
		return nil
	}
	d, err := a.drawn(s)
	if err != nil {
		return nil
	}
	n := d.seen[s.Logit.Token]
	return &n
}

// counts divides the count in question.
func (a *Answer) counts(s *referee.State) referee.Move {
	n, length := referee.Runs(int(s.Hi - s.Lo))
	m := &referee.Counts{Counts: make([]uint32, n)}
	for i, t := range a.tokens[s.Lo:s.Hi] {
		if t == s.Draw.Count.Token {
			m.Counts[i/length]++
		}
	}
	return m
}

func (a *Answer) countStep(s *referee.State) (_ referee.Move, err error) {
	m := &referee.Step{}
	m.Token, m.Path, err = a.tokenAt(int(s.Lo))
	return m, err
}

// pickToken points at what is false of a token that was shown, or returns nil.
func (d *draw) pickToken(v referee.Shown) referee.Move {
	own := d.shown(v.Token)
	switch {
	case !sameBits(own.Logit, v.Logit):
		return &referee.PickLogit{Token: v.Token}
	case own.Seen.Prompt != v.Seen.Prompt:
		return &referee.PickCount{Token: v.Token}
	case own.Seen.Answer != v.Seen.Answer:
		return &referee.PickCount{Token: v.Token, Answer: true}
	}
	return nil
}

func (a *Answer) pickFromClaims(s *referee.State, v *referee.Claims) (referee.Move, error) {
	if v.Norm != a.trace.results[0].commitment() {
		return &referee.PickOperator{}, nil
	}
	d, err := a.drawn(s)
	if err != nil {
		return nil, err
	}
	for _, c := range []*referee.Shown{&v.Given, &v.Better, &v.Top, v.K, v.P} {
		if c == nil {
			continue
		}
		if m := d.pickToken(*c); m != nil {
			return m, nil
		}
	}
	if cut := v.Cut(d.sampler); d.adjusted[d.top] > cut.Top {
		return &referee.PickLogit{Token: d.top}, nil
	}
	return a.pickSum(s, v.Sums)
}

// pickSum points at the first sum that is false by the cuts that were claimed.
func (a *Answer) pickSum(s *referee.State, shown []sample.Sum) (referee.Move, error) {
	d, err := a.drawn(s)
	if err != nil {
		return nil, err
	}
	lo, hi := int(s.Draw.Lo), int(s.Draw.Hi)
	if hi == 0 {
		hi = commit.Count(len(d.logits))
	}
	i := firstDifference(shown, d.sums(s.Draw.Claims.Cut(d.sampler), lo, hi))
	if i < 0 {
		return nil, ErrNothing
	}
	return &referee.PickSum{Run: uint32(i)}, nil
}

func (a *Answer) pickFromTile(s *referee.State, v *referee.Logits) (referee.Move, error) {
	d, err := a.drawn(s)
	if err != nil {
		return nil, err
	}
	seen := map[core.Token]sample.Seen{}
	for _, n := range v.Seen {
		seen[n.Token] = n.Seen
	}
	for i, l := range v.Values {
		t := core.Token(int(s.Draw.Lo)*commit.TileLen + i)
		if m := d.pickToken(referee.Shown{Token: t, Logit: l, Seen: seen[t]}); m != nil {
			return m, nil
		}
	}
	return nil, ErrNothing
}

// pickUnnamed points at a false count of occurrences that was said with a logit,
// or returns nil.
func (a *Answer) pickUnnamed(s *referee.State, v *referee.Chunks) (referee.Move, error) {
	if v.Seen == nil {
		return nil, nil
	}
	d, err := a.drawn(s)
	if err != nil {
		return nil, err
	}
	return d.pickToken(referee.Shown{Token: s.Logit.Token, Logit: d.logits[s.Logit.Token], Seen: *v.Seen}), nil
}

func (a *Answer) pickRun(s *referee.State, v *referee.Counts) (referee.Move, error) {
	own := a.counts(s).(*referee.Counts)
	if i := firstDifference(v.Counts, own.Counts); i >= 0 {
		return &referee.PickChunk{Chunk: uint32(i)}, nil
	}
	return nil, ErrNothing
}
