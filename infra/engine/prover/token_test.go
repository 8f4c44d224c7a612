package prover

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/tiny"
)

// wide has a vocabulary of 36 tiles, whose sums take two rounds.
var wide = tiny.Shape{Arch: "llama", Layers: 1, Width: 64, Hidden: 64, Heads: 2, KVHeads: 2, HeadDim: 32, Format: gguf.Q8_0, Tokens: 9000}

// samplers that filter and penalise, each in its own way.
var samplers = map[string]core.Sampler{
	"top-k":       {Temperature: 900_000, TopK: 40},
	"top-p":       {Temperature: 700_000, TopP: 800_000},
	"all filters": {Temperature: 1_200_000, TopK: 300, TopP: 950_000, MinP: 20_000},
	"penalties":   {Temperature: 800_000, RepetitionPenalty: 1_300_000, FrequencyPenalty: 900_000, PresencePenalty: -400_000},
	"everything": {Temperature: 600_000, TopK: 500, TopP: 900_000, MinP: 1000, RepetitionPenalty: 1_200_000, FrequencyPenalty: -300_000, PresencePenalty: 500_000,
		Bias: []core.TokenBias{{Token: 7, Bias: 3_000_000}, {Token: 300, Bias: -2_000_000}}},
	"greedy with a bias": {Bias: []core.TokenBias{{Token: 11, Bias: 1_000_000}}},
}

func drawScene(t testing.TB, s core.Sampler, base int) *scene {
	t.Helper()
	s.MaxTokens, s.IgnoreEOS = uint32(6+base), true
	sc := newSampledScene(t, wide, 40, base, s)
	return sc
}

func TestTrueDrawsAreDefended(t *testing.T) {
	for name, s := range samplers {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			sc := drawScene(t, s, 3)
			a := sc.answer()
			for range 60 {
				output, better := r.IntN(len(sc.output)), core.Token(r.IntN(wide.Tokens))
				if better == sc.output[output] {
					continue
				}
				s := sc.open(sc.tokenClaim(a, output, better))
				if o := play(t, sc.prover.Model, s, a.mover(), anywhere(sc.prover.Model, r)); s.Phase != referee.Held {
					t.Fatalf("output %d against %d: %v has no move: %v", output, better, o.stuck, o.why)
				}
				if o := play(t, sc.prover.Model, sc.open(sc.tokenClaim(a, output, better)), a.mover(), a.mover()); !errors.Is(o.why, ErrNothing) {
					t.Fatalf("an honest challenger accuses: %+v", o)
				}
			}
		})
	}
}

// fabulist is a provider that says something false of a draw, and all that
// follows from it.
type fabulist struct {
	*Answer
	r     *rand.Rand
	reach map[string]bool // kinds of moves that it was brought to
}

// lies of a fabulist, each about the draw that it computed.
var lies = map[string]func(r *rand.Rand, d *draw, given, better core.Token){
	"logit of its token": func(_ *rand.Rand, d *draw, given, _ core.Token) { d.logits[given] += 60 },
	"logit of the other": func(_ *rand.Rand, d *draw, _, better core.Token) { d.logits[better] -= 60 },
	"logit of a third":   func(r *rand.Rand, d *draw, _, _ core.Token) { d.logits[r.IntN(len(d.logits))] += 60 },
	"count of the other": func(_ *rand.Rand, d *draw, _, better core.Token) {
		n := d.seen[better]
		n.Answer += 3
		d.seen[better] = n
	},
	"count in the prompt": func(_ *rand.Rand, d *draw, _, better core.Token) {
		n := d.seen[better]
		n.Prompt ^= 1
		d.seen[better] = n
	},
	"counts of many": func(r *rand.Rand, d *draw, _, _ core.Token) {
		for range 400 {
			d.seen[core.Token(r.IntN(len(d.logits)))] = sample.Seen{Prompt: 1}
		}
	},
	"top-k ends before": func(_ *rand.Rand, d *draw, _, better core.Token) { d.cut.K = d.before(better) },
	"top-p ends before": func(_ *rand.Rand, d *draw, _, better core.Token) { d.cut.P = d.before(better) },
	"top-k ends with its own": func(_ *rand.Rand, d *draw, given, _ core.Token) {
		d.cut.K = &sample.Candidate{Token: given, Logit: d.adjusted[given]}
	},
	"top-p ends with its own": func(_ *rand.Rand, d *draw, given, _ core.Token) {
		d.cut.P = &sample.Candidate{Token: given, Logit: d.adjusted[given]}
	},
}

// before is the token that stands right before t in order.
func (d *draw) before(t core.Token) *sample.Candidate {
	at := sample.Candidate{Token: t, Logit: d.adjusted[t]}
	var out *sample.Candidate
	for i, l := range d.adjusted {
		c := sample.Candidate{Token: core.Token(i), Logit: l}
		if c.Logit > at.Logit && (out == nil || c.Logit < out.Logit) {
			out = &c
		}
	}
	if out == nil {
		return &at
	}
	return out
}

// follow makes everything else follow from the lie.
func (d *draw) follow() {
	cut := d.cut
	for i, l := range d.logits {
		if d.adjusted[i] = sample.Adjusted(d.sampler, core.Token(i), l, d.seen[core.Token(i)]); d.adjusted[i] > d.adjusted[d.top] {
			d.top = core.Token(i)
		}
	}
	d.cut = sample.NewCut(d.sampler, d.adjusted)
	if cut.K != nil && d.cut.K != nil {
		d.cut.K = cut.K
	}
	if cut.P != nil && d.cut.P != nil {
		d.cut.P = cut.P
	}
}

// fit changes sums, some at random, so that they pass where the true ones do not.
func (f *fabulist) fit(s *referee.State, m referee.Move) {
	switch v := m.(type) {
	case *referee.Claims:
		if len(v.Sums) == 0 {
			return
		}
		sampler := &s.Claim.Token.Sampler
		cut := v.Cut(sampler)
		at := &v.Sums[f.r.IntN(len(v.Sums))]
		sum := func() (n sample.Sum) {
			for _, o := range v.Sums {
				n.Add(o)
			}
			return n
		}
		if v.K != nil {
			at.Leading += sampler.TopK - sum().Leading
		}
		if v.P != nil {
			last, _ := cut.Weigh(sampler, sample.Candidate{Token: v.P.Token, Logit: sample.Adjusted(sampler, v.P.Token, v.P.Logit, v.P.Seen)})
			n := sum()
			at.Total += (n.Kept-last.Kept/2)*1_000_000/uint64(sampler.TopP) - n.Total
		}
	case *referee.Sums:
		at := &v.Sums[f.r.IntN(len(v.Sums))]
		var n sample.Sum
		for _, o := range v.Sums {
			n.Add(o)
		}
		at.Leading += s.Draw.Sum.Leading - n.Leading
		at.Total += s.Draw.Sum.Total - n.Total
		at.Kept += s.Draw.Sum.Kept - n.Kept
	case *referee.Counts:
		all := uint32(0)
		for _, n := range v.Counts {
			all += n
		}
		v.Counts[f.r.IntN(len(v.Counts))] += s.Draw.Occurs - all
	case *referee.Chunks:
		if s.Logit == nil {
			return
		}
		from, _ := f.prover.Model.Head().Group(int(s.Tile))
		v.Values[int(s.Logit.Token)-from] = f.draw.logits[s.Logit.Token]
		v.Sums[len(v.Sums)-1] = commit.Tile(v.Values)
	}
}

func (f *fabulist) Move(ctx context.Context, s *referee.State) (referee.Move, error) {
	m, err := f.Answer.Move(ctx, s)
	if err == nil {
		f.fit(s, m)
		f.reach[referee.Name(m)] = true
		if s.Draw != nil && s.Draw.Count != nil {
			f.reach["count "+referee.Name(m)] = true
		}
	}
	return m, err
}

// A provider whose answer holds another token than the one drawn cannot make it
// win, whatever it says of logits, counts, cuts and sums.
func TestFalseDrawsAreConvicted(t *testing.T) {
	reached := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(samplers)) {
		s := samplers[name]
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(8, 6))
			sc := drawScene(t, s, 2)
			drawn := append([]core.Token(nil), sc.output...)
			for _, lie := range slices.Sorted(maps.Keys(lies)) {
				for range 6 {
					i := len(drawn) - 1 // what follows it would differ too
					sc.output = append([]core.Token(nil), drawn...)
					sc.output[i] = (drawn[i] + 1 + core.Token(r.IntN(wide.Tokens-1))) % core.Token(wide.Tokens)
					sc.sign()
					first := sc.answer()
					s := sc.open(sc.tokenClaim(first, i, drawn[i]))
					if err := first.compute(t.Context(), s); err != nil {
						t.Fatal(err)
					}
					d, err := first.drawn(s)
					if err != nil {
						t.Fatal(err)
					}
					lies[lie](r, d, sc.output[i], drawn[i])
					d.follow()
					if w := d.winner(sc.seed, uint32(sc.base+i)); w != drawn[i] {
						sc.output[i] = w // what would be drawn if the lie were true
					}
					sc.sign()
					a := &fabulist{sc.answer(), r, reached}
					a.trace, a.draw, a.claim = first.trace, d, first.claim
					s = sc.open(sc.tokenClaim(a.Answer, i, drawn[i]))
					o := play(t, sc.prover.Model, s, func(s *referee.State) (referee.Move, error) { return a.Move(t.Context(), s) }, sc.answer().mover())
					if s.Phase == referee.Held || o.stuck != referee.Provider {
						t.Fatalf("%s: %+v", lie, o)
					}
				}
			}
		})
	}
	for _, move := range []string{"claims", "sums", "logits", "counts", "chunks", "step", "count step"} {
		if !reached[move] {
			t.Errorf("no lie led to the move %q", move)
		}
	}
}

// winner is the token that these numbers draw.
func (d *draw) winner(seed core.Seed, position uint32) core.Token {
	best := sample.Candidate{Token: d.top, Logit: d.adjusted[d.top]}
	for i, l := range d.adjusted {
		if c := (sample.Candidate{Token: core.Token(i), Logit: l}); d.cut.Wins(d.sampler, seed, position, c, best) {
			best = c
		}
	}
	return best.Token
}

// Draws under a constraint are refused by name, and so is what is not the
// receipt's.
func TestWhatTokenClaimsAreRefused(t *testing.T) {
	sc := drawScene(t, samplers["top-k"], 2)
	a := sc.answer()
	good := func() referee.Claim { return sc.tokenClaim(a, 1, (sc.output[1]+1)%9000) }
	if _, err := referee.Open(sc.prover.Model, &sc.receipt, good()); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(c *referee.TokenClaim, r *core.Receipt){
		"another sampler": func(c *referee.TokenClaim, _ *core.Receipt) { c.Sampler.TopK++ },
		"a constraint": func(c *referee.TokenClaim, r *core.Receipt) {
			c.Sampler.IgnoreEOS, c.Sampler.Constraint = false, &core.Constraint{Grammar: `root ::= "a"`}
			r.Sampler = c.Sampler.Digest()
		},
		"another seed":    func(c *referee.TokenClaim, _ *core.Receipt) { c.Seed[0]++ },
		"another prompt":  func(c *referee.TokenClaim, _ *core.Receipt) { c.Request.Prompt++ },
		"another request": func(_ *referee.TokenClaim, r *core.Receipt) { r.RequestHash[0]++ },
		"no such output":  func(c *referee.TokenClaim, _ *core.Receipt) { c.Output = 6 },
		"another token":   func(c *referee.TokenClaim, _ *core.Receipt) { c.Given++; c.Better += 2 },
		"the same token":  func(c *referee.TokenClaim, _ *core.Receipt) { c.Better = c.Given },
		"no token":        func(c *referee.TokenClaim, _ *core.Receipt) { c.Better = 9000 },
	} {
		c, r := good(), sc.receipt
		if bend(c.Token, &r); name != "" {
			if _, err := referee.Open(sc.prover.Model, &r, c); err == nil {
				t.Errorf("%s: the claim is taken", name)
			}
		}
	}
}
