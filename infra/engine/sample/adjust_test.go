package sample

import (
	"cmp"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// adjusted is spec/sampling.md read aloud: what the logits are after bias and
// penalties, over a history of prompt and answer.
func adjusted(logits []float32, p core.Sampler, prompt, answer []core.Token) []float32 {
	l := slices.Clone(logits)
	for _, b := range p.Bias {
		l[b.Token] = l[b.Token] + float32(b.Bias)/float32(1e6)
	}
	for v := range l {
		t := core.Token(v)
		count := 0
		for _, a := range answer {
			if a == t {
				count++
			}
		}
		if p.RepetitionPenalty > 0 && (count > 0 || slices.Contains(prompt, t)) {
			r := float32(p.RepetitionPenalty) / float32(1e6)
			if l[v] > 0 {
				l[v] = l[v] / r
			} else {
				l[v] = float32(l[v] * r)
			}
		}
		if count > 0 {
			l[v] = l[v] - float32(float32(count)*(float32(p.FrequencyPenalty)/float32(1e6)))
			l[v] = l[v] - float32(p.PresencePenalty)/float32(1e6)
		}
	}
	return l
}

// mask is a set over a vocabulary of n tokens.
func mask(n int, tokens ...core.Token) *Mask {
	words := make([]uint64, (n+63)/64)
	for _, t := range tokens {
		words[t/64] |= 1 << (t % 64)
	}
	return MaskOf(words)
}

func randomTokens(r *rand.Rand, n, vocabulary int) []core.Token {
	out := make([]core.Token, n)
	for i := range out {
		out[i] = core.Token(r.IntN(vocabulary))
	}
	return out
}

// adjustments adds biases and penalties to a sampler.
func adjustments(r *rand.Rand, p core.Sampler, vocabulary int) core.Sampler {
	pick := func(vs ...int32) int32 { return vs[r.IntN(len(vs))] }
	p.RepetitionPenalty = uint32(pick(0, 0, 1_000_000, 1_100_000, 1_999_999, 2_000_000))
	p.FrequencyPenalty = pick(0, 0, 1, 300_000, -2_000_000, 2_000_000)
	p.PresencePenalty = pick(0, 0, -1, 700_001, -2_000_000, 2_000_000)
	for t := range vocabulary {
		if r.IntN(8) == 0 && len(p.Bias) < 20 {
			p.Bias = append(p.Bias, core.TokenBias{Token: core.Token(t), Bias: pick(1, -1, 1_234_567, -5_000_000, 100_000_000, -100_000_000)})
		}
	}
	return p
}

func TestAdjustedDrawFollowsTheSpecification(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var d Drawer
	for range 3000 {
		logits := randomLogits(r)
		p := adjustments(r, randomSampler(r), len(logits))
		prompt, answer := randomTokens(r, r.IntN(40), len(logits)), randomTokens(r, r.IntN(40), len(logits))
		h := NewHistory(len(prompt))
		h.Append(prompt...)
		h.Append(answer...)
		known := r.IntN(len(answer) + 1) // a draw in the middle of what is known
		at := Point{Seed: core.Seed{byte(r.Uint32())}, Position: uint32(known), Past: h.Before(len(prompt) + known)}

		want := adjusted(logits, p, prompt, answer[:known])
		var allowed []int
		if r.IntN(2) == 0 {
			sparse := r.IntN(2) * 100
			var set []core.Token
			for v := range logits {
				if v%(7+sparse) == 0 || r.IntN(3+sparse) == 0 {
					set = append(set, core.Token(v))
					allowed = append(allowed, v)
				}
			}
			at.Allowed = mask(len(logits), set...)
			// What is forbidden might as well not be in the vocabulary.
			kept := make([]float32, len(allowed))
			for i, v := range allowed {
				kept[i] = want[v]
			}
			token := reference(kept, at.Seed, p, func(i int) core.Token { return core.Token(allowed[i]) }, at.Position)
			got, _, err := d.Draw(slices.Clone(logits), &p, at)
			if err != nil || got != token {
				t.Fatalf("%+v, %d of %d tokens: got %d, %v, want %d", p, len(allowed), len(logits), got, err, token)
			}
			continue
		}
		token := reference(want, at.Seed, p, nil, at.Position)
		got, _, err := d.Draw(slices.Clone(logits), &p, at)
		if err != nil || got != token {
			t.Fatalf("%+v on %d logits: got %d, %v, want %d", p, len(logits), got, err, token)
		}
	}
}

func TestOutcomesWithoutAToken(t *testing.T) {
	var d Drawer
	none := Point{Allowed: mask(3)}
	if _, _, err := d.Draw([]float32{1, 2, 3}, &core.Sampler{}, none); !errors.Is(err, ErrNoChoice) {
		t.Errorf("no token is allowed: %v", err)
	}
	// A forbidden token is checked like any other.
	only := Point{Allowed: mask(3, 1)}
	if _, _, err := d.Draw([]float32{float32(math.NaN()), 2, 3}, &core.Sampler{}, only); !errors.Is(err, ErrInvalid) {
		t.Errorf("a forbidden NaN: %v", err)
	}
	h := NewHistory(1)
	h.Append(1)
	overflow := Point{Past: h.Before(1)}
	if _, _, err := d.Draw([]float32{0, -3e38, 0}, &core.Sampler{RepetitionPenalty: 2_000_000}, overflow); !errors.Is(err, ErrInvalid) {
		t.Errorf("a logit beyond the finite range: %v", err)
	}
	if got, _, err := d.Draw([]float32{9, -3e38, 9}, &core.Sampler{TopK: 2}, only); got != 1 || err != nil {
		t.Errorf("the only allowed token: %d, %v", got, err)
	}
}

func TestLogprobs(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var d Drawer
	for range 500 {
		logits := randomLogits(r)
		p := adjustments(r, randomSampler(r), len(logits))
		p.Logprobs = 1 + r.Uint32N(21)
		h := NewHistory(0)
		h.Append(randomTokens(r, 9, len(logits))...)
		got, l, err := d.Draw(slices.Clone(logits), &p, Point{Past: h.Before(9)})
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]core.Token, len(logits))
		for i := range ids {
			ids[i] = core.Token(i)
		}
		slices.SortStableFunc(ids, func(a, b core.Token) int { return cmp.Compare(logits[b], logits[a]) })
		want := append([]core.Token{got}, ids[:min(len(ids), int(p.Logprobs)-1)]...)
		if len(l) != len(want) {
			t.Fatalf("%d log-probabilities, want %d", len(l), len(want))
		}
		exact := 0.0
		for _, x := range logits {
			exact += math.Exp(float64(x - logits[ids[0]]))
		}
		for i, v := range want {
			if l[i].Token != v {
				t.Fatalf("log-probability %d is of token %d, want %d", i, l[i].Token, v)
			}
			if w := logprob(logits, v); l[i].Value != w {
				t.Fatalf("log-probability of token %d is %d, want %d", v, l[i].Value, w)
			}
			if ln := float64(logits[v]-logits[ids[0]]) - math.Log(exact); ln > -1900 && math.Abs(ln*1e6-float64(l[i].Value)) > 2 {
				t.Fatalf("log-probability of token %d is %d, really %f", v, l[i].Value, ln*1e6)
			}
		}
	}
}

// logprob is spec/sampling.md read aloud, in integers without bounds.
func logprob(logits []float32, v core.Token) int32 {
	top := slices.Max(logits)
	sum := new(big.Int)
	for _, l := range logits {
		sum.Add(sum, big.NewInt(int64(math.Floor(float64(spec.Exp(l-top))*(1<<40)))))
	}
	ln := new(big.Int).Mul(big.NewInt(int64(log2(sum.Uint64(), 30))-40<<30), big.NewInt(93032640))
	ln.Rsh(ln, 33)
	x := big.NewInt(int64(math.Floor(float64(max(logits[v]-top, -2000)) * (1 << 24))))
	x.Sub(x, ln).Mul(x, big.NewInt(1e6)).Add(x, big.NewInt(1<<23)).Rsh(x, 24)
	return int32(x.Int64())
}

func TestMask(t *testing.T) {
	for _, n := range []int{130, 4000} { // as bits, and as a list
		m := mask(n, 0, 63, 64, 129, 63)
		if m.Len() != 4 || !m.Has(129) || m.Has(1) || m.Has(128) || m.Has(-1) || m.Has(5000) {
			t.Fatalf("%d tokens of %d", m.Len(), n)
		}
	}
}
