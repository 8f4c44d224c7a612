package sample

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// anySampler draws any sampler without a constraint.
func anySampler(r *rand.Rand, vocabulary int) core.Sampler {
	s := core.Sampler{MaxTokens: 1, Temperature: uint32(r.IntN(4)) * 500_000}
	some := func(set func()) {
		if r.IntN(2) == 0 {
			set()
		}
	}
	some(func() { s.TopK = 1 + r.Uint32N(uint32(vocabulary)+20) })
	some(func() { s.TopP = r.Uint32N(1_000_001) })
	some(func() { s.MinP = r.Uint32N(100_000) })
	some(func() { s.RepetitionPenalty = 1_000_000 + r.Uint32N(1_000_000) })
	some(func() { s.FrequencyPenalty = int32(r.IntN(4_000_000) - 2_000_000) })
	some(func() { s.PresencePenalty = int32(r.IntN(4_000_000) - 2_000_000) })
	some(func() {
		for t := r.IntN(40); t < vocabulary; t += 1 + r.IntN(60) {
			s.Bias = append(s.Bias, core.TokenBias{Token: core.Token(t), Bias: int32(r.IntN(8_000_000) - 4_000_000)})
		}
	})
	return s
}

// Token by token the rules say what the drawer does: the token that is drawn
// wins against every other one, no other does, and the cuts are where the sums
// say.
func TestTheDrawnTokenWinsAgainstAll(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var d Drawer
	for round := range 400 {
		logits := make([]float32, 300)
		for i := range logits {
			logits[i] = float32(r.NormFloat64() * []float64{0.3, 4, 20}[round%3])
			if r.IntN(10) == 0 && i > 0 {
				logits[i] = logits[i-1] // ties
			}
		}
		s := anySampler(r, len(logits))
		const prompt, answer = 30, 9
		h, seen := NewHistory(prompt), make([]Seen, len(logits))
		for i := range prompt + answer + 4 {
			v := core.Token(r.IntN(40))
			h.Append(v)
			switch {
			case i < prompt:
				seen[v].Prompt++
			case i < prompt+answer:
				seen[v].Answer++
			}
		}
		seed := core.Seed{byte(round)}
		drawn, _, err := d.Draw(slices.Clone(logits), &s, Point{Seed: seed, Position: answer, Past: h.Before(prompt + answer)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range logits {
			logits[i] = Adjusted(&s, core.Token(i), logits[i], seen[i])
		}
		cut := NewCut(&s, logits)
		best := Candidate{drawn, logits[drawn]}
		var sum Sum
		for i, l := range logits {
			other := Candidate{core.Token(i), l}
			n, _ := cut.Weigh(&s, other)
			sum.Add(n)
			if other != best && (!cut.Wins(&s, seed, answer, best, other) || cut.Wins(&s, seed, answer, other, best)) {
				t.Fatalf("round %d: %v does not win against %v (%+v)", round, best, other, s)
			}
		}
		if err := cut.Check(&s, sum, len(logits)); err != nil {
			t.Fatalf("round %d: %v (%+v)", round, err, s)
		}
		// No other last token, and no other sum, passes.
		order := make([]Candidate, 0, len(logits))
		for i, l := range logits {
			order = append(order, Candidate{core.Token(i), l})
		}
		wrong := order[r.IntN(len(order))]
		for _, last := range []**Candidate{&cut.K, &cut.P} {
			if *last == nil || **last == wrong {
				continue
			}
			kept := *last
			*last = &wrong
			var sum Sum
			for _, c := range order {
				n, _ := cut.Weigh(&s, c)
				sum.Add(n)
			}
			if cut.Check(&s, sum, len(logits)) == nil {
				t.Fatalf("round %d: %v passes for %v (%+v)", round, wrong, *kept, s)
			}
			*last = kept
		}
	}
}

func TestDrawsUnderAConstraintAreNotJudged(t *testing.T) {
	s := core.Sampler{MaxTokens: 1, Temperature: 700_000, MinP: 10_000, TopP: 900_000, TopK: 3, RepetitionPenalty: 1_100_000, Stop: []string{"x"}}
	if !Judged(&s) {
		t.Error("a sampler is not judged")
	}
	if s.Constraint = (&core.Constraint{Grammar: "root ::= \"a\""}); Judged(&s) {
		t.Error("a constraint is judged")
	}
	if s = (core.Sampler{}); Judged(&s) {
		t.Error("a sampler that no engine runs is judged")
	}
}
