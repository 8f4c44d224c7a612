package sample

import (
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// The token that is drawn wins against every other one, and no other does.
func TestTheDrawnTokenWinsAgainstAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var d Drawer
	for round := range 200 {
		logits := make([]float32, 300)
		for i := range logits {
			logits[i] = float32(rng.NormFloat64() * 4)
			if rng.IntN(10) == 0 && i > 0 {
				logits[i] = logits[i-1] // ties
			}
		}
		s := core.Sampler{MaxTokens: 1, Temperature: uint32(rng.IntN(3)) * 500_000, MinP: uint32(rng.IntN(2)) * 50_000}
		seed := core.Seed{byte(round)}
		drawn, _, err := d.Draw(logits, &s, Point{Seed: seed, Position: 3})
		if err != nil {
			t.Fatal(err)
		}
		top := logits[0]
		for _, l := range logits {
			top = max(top, l)
		}
		best := Candidate{drawn, logits[drawn]}
		for i, l := range logits {
			if other := (Candidate{core.Token(i), l}); other != best &&
				(!Wins(s, seed, 3, top, best, other) || Wins(s, seed, 3, top, other, best)) {
				t.Fatalf("round %d: %v does not win against %v (%+v)", round, best, other, s)
			}
		}
	}
}

func TestOnlyPlainDrawsAreJudged(t *testing.T) {
	plain := core.Sampler{MaxTokens: 1, Temperature: 700_000, MinP: 10_000, TopP: 1_000_000, Stop: []string{"x"}}
	if !Judged(plain) {
		t.Error("a plain sampler is not judged")
	}
	for name, change := range map[string]func(*core.Sampler){
		"top-k": func(s *core.Sampler) { s.TopK = 40 }, "top-p": func(s *core.Sampler) { s.TopP = 900_000 },
		"repetition": func(s *core.Sampler) { s.RepetitionPenalty = 1_100_000 }, "bias": func(s *core.Sampler) { s.Bias = []core.TokenBias{{Token: 1, Bias: 1}} },
		"constraint": func(s *core.Sampler) { s.Constraint = &core.Constraint{Grammar: "root ::= \"a\""} },
	} {
		s := plain
		if change(&s); Judged(s) {
			t.Errorf("%s is judged", name)
		}
	}
}
