package sample

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// reference is spec/sampling.md read aloud: sort, filter, score everything.
// Logit i is of token name(i), where names keep the order.
func reference(logits []float32, seed core.Seed, p core.Sampler, name func(int) core.Token, position uint32) core.Token {
	if name == nil {
		name = func(i int) core.Token { return core.Token(i) }
	}
	ids := make([]int, len(logits))
	for i := range ids {
		ids[i] = i
	}
	slices.SortStableFunc(ids, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	top := logits[ids[0]]
	weight := func(i int) *big.Int {
		w := float64(spec.Exp(logits[i]-top)) * (1 << 30)
		return big.NewInt(int64(math.Floor(w)))
	}
	if p.TopK > 0 && int(p.TopK) < len(ids) {
		ids = ids[:p.TopK]
	}
	if p.MinP > 0 {
		limit := new(big.Int).Mul(big.NewInt(int64(p.MinP)), big.NewInt(1<<30))
		ids = slices.DeleteFunc(ids, func(i int) bool {
			return new(big.Int).Mul(weight(i), big.NewInt(1e6)).Cmp(limit) < 0
		})
	}
	if p.TopP > 0 && p.TopP < 1e6 {
		sum := new(big.Int)
		for _, i := range ids {
			sum.Add(sum, weight(i))
		}
		sum.Mul(sum, big.NewInt(int64(p.TopP)))
		have := new(big.Int)
		for n, i := range ids {
			have.Add(have, weight(i))
			if new(big.Int).Mul(have, big.NewInt(1e6)).Cmp(sum) >= 0 {
				ids = ids[:n+1]
				break
			}
		}
	}
	slices.Sort(ids)
	best, bestScore := -1, int64(0)
	for _, i := range ids {
		x := logits[i] - top
		if x < -64 {
			continue
		}
		score := int64(math.Floor(float64(x)*(1<<24)))*1_000_000 +
			int64(p.Temperature)*Gumbel(Word(seed, position, name(i)))
		if best < 0 || score > bestScore {
			best, bestScore = i, score
		}
	}
	return name(best)
}

func randomSampler(r *rand.Rand) core.Sampler {
	pick := func(vs ...uint32) uint32 { return vs[r.IntN(len(vs))] }
	return core.Sampler{
		Temperature: pick(0, 1, 9_999, 300_000, 1_000_000, 1_700_001, 2_000_000),
		TopK:        pick(0, 0, 1, 2, 5, 40, 1000),
		TopP:        pick(0, 1, 100_000, 500_000, 950_000, 999_999, 1_000_000),
		MinP:        pick(0, 0, 1, 50_000, 500_000, 1_000_000),
		MaxTokens:   1,
	}
}

func randomLogits(r *rand.Rand) []float32 {
	l := make([]float32, 1+r.IntN(400))
	scale := []float64{0, 0.01, 1, 5, 30, 1e30}[r.IntN(6)]
	for i := range l {
		l[i] = float32(r.NormFloat64() * scale)
		switch r.IntN(20) {
		case 0: // ties
			l[i] = l[r.IntN(i+1)]
		case 1:
			l[i] = float32(math.Copysign(0, -1))
		}
	}
	return l
}

// draw is a Draw without history and constraint.
func draw(d *Drawer, logits []float32, p core.Sampler, seed core.Seed, position uint32) (core.Token, error) {
	t, _, err := d.Draw(logits, &p, Point{Seed: seed, Position: position})
	return t, err
}

func TestDrawFollowsTheSpecification(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var d Drawer
	for range 4000 {
		logits, p := randomLogits(r), randomSampler(r)
		var seed core.Seed
		seed[0] = byte(r.Uint32())
		position := r.Uint32()
		got, err := draw(&d, logits, p, seed, position)
		if err != nil {
			t.Fatal(err)
		}
		if want := reference(logits, seed, p, nil, position); got != want {
			t.Fatalf("%+v on %d logits: got %d, want %d", p, len(logits), got, want)
		}
	}
}

func TestTemperatureZeroIsTheLowestArgmax(t *testing.T) {
	var d Drawer
	for seed := range 50 {
		got, err := draw(&d, []float32{-1, 3, 3 - 2e-7*3, 3, 2}, core.Sampler{}, core.Seed{byte(seed)}, 7)
		if err != nil || got != 1 {
			t.Fatalf("seed %d: token %d, %v", seed, got, err)
		}
	}
	// The smallest possible difference decides.
	a := float32(1e-30)
	b := math.Nextafter32(a, 1)
	if got, _ := draw(&d, []float32{a, b}, core.Sampler{}, core.Seed{}, 0); got != 1 {
		t.Fatal("the greater logit lost")
	}
}

func TestInvalidLogits(t *testing.T) {
	var d Drawer
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for at := range 3 {
			l := []float32{1, 2, 3}
			l[at] = bad
			if tok, err := draw(&d, l, core.Sampler{Temperature: 1e6}, core.Seed{}, 0); !errors.Is(err, ErrInvalid) {
				t.Errorf("%v at %d: token %d, error %v", bad, at, tok, err)
			}
		}
	}
	if _, err := draw(&d, nil, core.Sampler{}, core.Seed{}, 0); !errors.Is(err, ErrInvalid) {
		t.Error("no logits at all gave a token")
	}
}

// softmax is softmax(logits/T) over the tokens in keep.
func softmax(logits []float64, keep []int, temperature float64) map[int]float64 {
	sum, p := 0.0, map[int]float64{}
	for _, i := range keep {
		p[i] = math.Exp(logits[i] / temperature)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func TestDrawsAreDistributedAsSoftmax(t *testing.T) {
	logits := []float64{0, 1, 2, -1, 0.5, 2.5, -3, 1.5}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	// Falling: 5 2 7 1 4 0 3 6.
	for _, c := range []struct {
		name string
		p    core.Sampler
		keep []int
	}{
		{"T=1", core.Sampler{Temperature: 1_000_000}, all},
		{"T=0.5", core.Sampler{Temperature: 500_000}, all},
		{"T=2", core.Sampler{Temperature: 2_000_000}, all},
		{"top-k", core.Sampler{Temperature: 1_000_000, TopK: 3}, []int{5, 2, 7}},
		{"min-p", core.Sampler{Temperature: 1_500_000, MinP: 200_000}, []int{5, 2, 7, 1}}, // e^-1.5 = 0.223
		{"top-p", core.Sampler{Temperature: 1_000_000, TopP: 600_000}, []int{5, 2}},       // 0.395 + 0.239
		{"both", core.Sampler{Temperature: 1_000_000, TopK: 4, TopP: 900_000}, []int{5, 2, 7, 1}},
	} {
		want := softmax(logits, c.keep, float64(c.p.Temperature)/1e6)
		l := make([]float32, len(logits))
		for i, v := range logits {
			l[i] = float32(v)
		}
		const n = 40_000
		count := map[int]int{}
		var d Drawer
		for i := range n {
			tok, err := draw(&d, l, c.p, core.Seed{1, byte(i >> 12)}, uint32(i))
			if err != nil {
				t.Fatal(err)
			}
			count[int(tok)]++
		}
		chi := 0.0
		for i, p := range want {
			diff := float64(count[i]) - n*p
			chi += diff * diff / (n * p)
			delete(count, i)
		}
		if len(count) > 0 {
			t.Errorf("%s: tokens outside the filter were drawn: %v", c.name, count)
		}
		// 7 degrees of freedom at p = 0.001.
		if chi > 24.3 {
			t.Errorf("%s: chi-square %.1f", c.name, chi)
		}
	}
}

func TestDrawsAreIndependentOverPositionsAndTokens(t *testing.T) {
	var d Drawer
	logits := make([]float32, 10)
	last, pairs := 0, [10][10]float64{}
	const n = 50_000
	for i := range n {
		tok, _ := draw(&d, logits, core.Sampler{Temperature: 1e6}, core.Seed{9}, uint32(i))
		pairs[last][tok]++
		last = int(tok)
	}
	chi := 0.0
	for _, row := range pairs {
		for _, c := range row {
			chi += (c - n/100.) * (c - n/100.) / (n / 100.)
		}
	}
	if chi > 149 { // 99 degrees of freedom at p = 0.001
		t.Fatalf("successive draws depend on each other: chi-square %.1f", chi)
	}
}

func TestGumbelIsAccurateAndMonotone(t *testing.T) {
	last := int64(math.MinInt64)
	check := func(u uint32) {
		g := Gumbel(u)
		if g < last {
			t.Fatalf("Gumbel(%#x) = %d is below its predecessor", u, g)
		}
		last = g
		want := -math.Log(-math.Log1p(-(float64(2*(1<<32-1-uint64(u))+1) / (1 << 33))))
		if diff := math.Abs(float64(g)/(1<<24) - want); diff > 4.0/(1<<24) {
			t.Fatalf("Gumbel(%#x) = %v, want %v", u, float64(g)/(1<<24), want)
		}
		if g > gumbelBound(u) || g > gumbelMax {
			t.Fatalf("Gumbel(%#x) = %d exceeds its bounds", u, g)
		}
	}
	for u := uint32(0); u < 1000; u++ {
		check(u)
	}
	for u := uint32(1 << 16); u < math.MaxUint32-1<<17; u += 1<<16 - 1 {
		check(u)
	}
	for z := uint32(1 << 16); z > 0; z-- {
		check(-z)
	}
}

// The key stream of ECRYPT's ChaCha8 for the zero key and nonce.
func TestChaCha8(t *testing.T) {
	var b [blockTokens]uint32
	chacha8(&b, &[8]uint32{}, 0)
	if got := fmt.Sprintf("%08x %08x", b[0], b[1]); got != "2fef003e d6405f89" {
		t.Fatal(got)
	}
}

func TestFirstIsTheLowestOfTheGreatest(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	zeros := []float32{0, float32(math.Copysign(0, -1))}
	for _, n := range []int{1, 7, 8, 100, stretch - 1, stretch, stretch + 1, 3*stretch + 5} {
		for range 300 {
			logits := make([]float32, n)
			for i := range logits {
				logits[i] = -float32(1 + r.IntN(4))
			}
			want := 0
			if r.IntN(4) == 0 { // zeros of both signs are equal
				want = r.IntN(n)
				logits[want] = zeros[r.IntN(2)]
				for range 3 {
					logits[want+r.IntN(n-want)] = zeros[r.IntN(2)]
				}
			} else {
				for i, l := range logits {
					if l > logits[want] {
						want = i
					}
				}
			}
			got, err := argmax(logits)
			if err != nil || int(got) != want {
				t.Fatalf("of %d logits the first greatest is %d, not %d (%v)", n, want, got, err)
			}
			logits[r.IntN(n)] = float32(math.Inf(1 - 2*r.IntN(2)))
			if _, err := argmax(logits); err != ErrInvalid {
				t.Fatalf("an infinity among %d logits: %v", n, err)
			}
		}
	}
}

func TestDrawDoesNotAllocate(t *testing.T) {
	logits := randomLogits(rand.New(rand.NewPCG(3, 4)))
	var d Drawer
	p := core.Sampler{Temperature: 1e6, TopK: 40, TopP: 900_000}
	if n := testing.AllocsPerRun(50, func() { draw(&d, logits, p, core.Seed{}, 3) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkDraw(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	logits := make([]float32, 151_936)
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 2.5)
	}
	for _, c := range []struct {
		name string
		p    core.Sampler
	}{
		{"greedy", core.Sampler{}},
		{"temperature", core.Sampler{Temperature: 1_000_000}},
		{"top-p", core.Sampler{Temperature: 1_000_000, TopP: 950_000}},
		{"top-k", core.Sampler{Temperature: 1_000_000, TopK: 40}},
		{"logprobs", core.Sampler{Logprobs: 21}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d Drawer
			i := uint32(0)
			for b.Loop() {
				draw(&d, logits, c.p, core.Seed{}, i)
				i++
			}
		})
	}
}
