package sample

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
)

func someLogits(r *rand.Rand, n int) []float32 {
	logits := make([]float32, n)
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 3)
	}
	return logits
}

var standSamplers = []core.Sampler{
	{}, {Temperature: 1_000_000}, {Temperature: 300_000, TopK: 5}, {Temperature: 1_500_000, TopP: 800_000},
	{Temperature: 1_000_000, MinP: 50_000}, {Temperature: 2_000_000, TopK: 40, TopP: 950_000, MinP: 10_000},
}

// What is drawn stands best; where nothing is filtered, any other token stays
// behind by at least the gap.
func TestStandAgreesWithDraw(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var d Drawer
	for n := range 300 {
		logits := someLogits(r, 200)
		for k, s := range standSamplers {
			at := Point{Seed: core.Seed{byte(n)}, Position: uint32(k)}
			drawn, _, err := d.Draw(slices.Clone(logits), &s, at)
			if err != nil {
				t.Fatal(err)
			}
			v, err := d.Stand(slices.Clone(logits), &s, at, drawn, true)
			if err != nil || v.Margin != 0 && s.TopK == 0 && s.TopP == 0 && s.MinP == 0 || v.Margin > 2*slack {
				t.Fatalf("sampler %d: the drawn token stands %+v, %v", k, v, err)
			}
			other := core.Token(r.IntN(len(logits)))
			w, err := d.Stand(slices.Clone(logits), &s, at, other, true)
			if err != nil || w.Gap != v.Gap || other != drawn && s.TopK+s.TopP+s.MinP == 0 && w.Margin < w.Gap {
				t.Fatalf("sampler %d: token %d instead of %d stands %+v, the drawn one %+v, %v", k, other, drawn, w, v, err)
			}
		}
	}
}

// The expected surprise is the mean of what draws give.
func TestExpectedSurprise(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	logits := someLogits(r, 200)
	var d Drawer
	for _, s := range []core.Sampler{{Temperature: 1_000_000}, {Temperature: 600_000}} {
		sum, mean, n := 0.0, 0.0, 4000
		for i := range n {
			at := Point{Seed: core.Seed{byte(i), byte(i >> 8)}}
			drawn, _, _ := d.Draw(slices.Clone(logits), &s, at)
			v, err := d.Stand(slices.Clone(logits), &s, at, drawn, false)
			if err != nil || v.Gap != 0 || v.Margin != 0 {
				t.Fatal(v, err)
			}
			sum, mean = sum+v.Surprise/float64(n), v.Expected
		}
		if math.Abs(sum-mean) > 0.1 {
			t.Errorf("tokens surprise by %.3f, %.3f is expected", sum, mean)
		}
	}
}

// With all tokens listed, the same token is drawn as from the logits.
func TestDrawListedIsDraw(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	var d Drawer
	same, all := 0, 0
	for n := range 300 {
		logits := someLogits(r, 60)
		ln := 0.0
		for _, l := range logits {
			ln += math.Exp(float64(l))
		}
		listed := make([]Listed, len(logits))
		for i, l := range logits {
			listed[i] = Listed{core.Token(i), float64(l) - math.Log(ln)}
		}
		for k, s := range standSamplers {
			at := Point{Seed: core.Seed{byte(n)}, Position: uint32(k)}
			want, _, err := d.Draw(slices.Clone(logits), &s, at)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := DrawListed(listed, &s, at.Seed, at.Position)
			if all++; ok && got == want {
				same++
			}
		}
	}
	if same < all*998/1000 { // a score may round the other way
		t.Errorf("%d of %d draws agree", same, all)
	}
	if _, ok := DrawListed([]Listed{{-1, 0}, {3, math.NaN()}}, &core.Sampler{}, core.Seed{}, 0); ok {
		t.Error("something was drawn from nothing usable")
	}
}
