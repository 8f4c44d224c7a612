package p2p

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

func TestLogprobsArriveAndLiesAreNamed(t *testing.T) {
	chunk := func(f func(l core.TokenLogprobs) core.TokenLogprobs) func(*script) {
		return func(s *script) {
			s.bend.chunk = func(_ int, c *core.Chunk) { c.Logprobs[1] = f(slices.Clone(c.Logprobs[1])) }
		}
	}
	for name, c := range map[string]struct {
		says string
		bend func(s *script)
	}{
		"honest":         {"", func(*script) {}},
		"missing":        {"one for each", func(s *script) { s.bend.chunk = func(_ int, c *core.Chunk) { c.Logprobs = c.Logprobs[:1] } }},
		"none":           {"one for each", func(s *script) { s.bend.chunk = func(_ int, c *core.Chunk) { c.Logprobs = nil } }},
		"another token":  {"another token", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[0].Token++; return l })},
		"empty":          {"another token", chunk(func(core.TokenLogprobs) core.TokenLogprobs { return nil })},
		"too many":       {"more than", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { return append(l, core.Logprob{Token: 9, Value: -9e6}) })},
		"positive":       {"no distribution", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[1].Value = 1; return l })},
		"positive drawn": {"no distribution", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[0].Value = 5; return l })},
		"rising":         {"out of order", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[2].Value = -1; return l })},
		"twice":          {"twice", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[2].Token = 107; return l })},
		"too likely":     {"leave out", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[0].Value = -1_000_000; return l })},
		"above one": {"add up", chunk(func(l core.TokenLogprobs) core.TokenLogprobs {
			return core.TokenLogprobs{{Token: l[0].Token, Value: -400_000}, {Token: 7, Value: -300_000}, {Token: 8, Value: -400_000}}
		})},
		"contradiction": {"contradict", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[1].Token = l[0].Token; return l })},
		// A value that any distribution could have shows only against the receipt.
		"changed on the way": {"hash", chunk(func(l core.TokenLogprobs) core.TokenLogprobs { l[0].Value--; return l })},
		"receipt":            {"hash", func(s *script) { s.bend.done = func(d *core.Done) { d.Receipt.Logprobs[0]++ } }},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, h := stage(t)
			c.bend(s)
			r := order(p)
			r.Sampler.Logprobs = 3
			x, err := h.Client(verifyProof).Infer(t.Context(), p, r, testNonce)
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			_, done, err := drain(t, x)
			if c.says == "" {
				if err != nil || done.Receipt.Logprobs.IsZero() {
					t.Fatal(done, err)
				}
				return
			}
			if e := wantCode(t, err, core.CodeProvider); !strings.Contains(e.Message, c.says) {
				t.Errorf("%q does not say %q", e.Message, c.says)
			}
		})
	}
	s, p, h := stage(t)
	s.bend.chunk = func(_ int, c *core.Chunk) { c.Logprobs = probsOf(c.Tokens) }
	x, err := h.Client(verifyProof).Infer(t.Context(), p, order(p), testNonce)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if _, _, err := drain(t, x); err == nil || !strings.Contains(err.Error(), "nobody ordered") {
		t.Error(err)
	}
}

func TestEmbeddingsArriveAndLiesAreNamed(t *testing.T) {
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		says string
		bend func(s *script)
	}{
		"honest":     {"", func(*script) {}},
		"empty":      {"no embedding", func(s *script) { s.vector = []float32{} }},
		"not finite": {"not finite", func(s *script) { s.vector = []float32{1, nan} }},
		"too long":   {"unit length", func(s *script) { s.vector = []float32{1, 1} }},
		"broken":     {"4 bytes", func(s *script) { s.bend.done = func(d *core.Done) { d.Embedding = d.Embedding[1:] } }},
		"another":    {"output hash", func(s *script) { s.bend.done = func(d *core.Done) { d.Embedding = core.EncodeVector([]float32{0, 1}) } }},
		"dear":       {"asks 10", func(s *script) { s.bend.done = func(d *core.Done) { d.Due = core.NewAmount(10) } }},
		"usage":      {"usage", func(s *script) { s.bend.done = func(d *core.Done) { d.Usage.Output = 1 } }},
		"finish":     {"unknown reason", func(s *script) { s.bend.done = func(d *core.Done) { d.Finish = core.FinishLength } }},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, h := stage(t)
			c.bend(s)
			r := order(p)
			r.Pooling, r.Sampler = core.PoolMean, core.Sampler{}
			x, err := h.Client(verifyProof).Infer(t.Context(), p, r, testNonce)
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			tokens, done, err := drain(t, x)
			if c.says == "" {
				if err != nil || len(tokens) > 0 || len(done.Embedding) != 8 || done.Due.Cmp(core.NewAmount(9)) != 0 {
					t.Fatal(done, err)
				}
				return
			}
			if e := wantCode(t, err, core.CodeProvider); !strings.Contains(e.Message, c.says) {
				t.Errorf("%q does not say %q", e.Message, c.says)
			}
		})
	}
}

// The largest frames that honest sides exchange fit their limits.
func TestLargestFramesFit(t *testing.T) {
	c := core.Chunk{Due: core.Koin(1 << 40)}
	for range 64 {
		l := core.TokenLogprobs{}
		for range 21 {
			l = append(l, core.Logprob{Token: 299_999, Value: -200_000_000})
		}
		c.Tokens, c.Logprobs = append(c.Tokens, 299_999), append(c.Logprobs, l)
	}
	if _, err := encodeFrame(frameChunk, c); err != nil {
		t.Error(err)
	}
	r := core.SignedRequest{Voucher: &core.Voucher{}}
	r.Resume = &core.Progress{}
	for range 128 << 10 {
		r.Input = append(r.Input, 299_999)
	}
	for i := range 1024 {
		r.Sampler.Bias = append(r.Sampler.Bias, core.TokenBias{Token: core.Token(298_000 + i), Bias: -100_000_000})
	}
	r.Sampler.Constraint = &core.Constraint{Grammar: strings.Repeat("\"<\n\x01", 64<<10/5), Trigger: strings.Repeat("<", 256)}
	if _, err := encodeFrame(frameRequest, r); err != nil {
		t.Error(err)
	}
	if _, err := encodeFrame(frameDone, core.Done{Boundaries: make([]core.Hash, 1<<20/32), Embedding: make(core.Bytes, 4*core.MaxVector)}); err != nil {
		t.Error(err)
	}
}

func FuzzCheckLogprobs(f *testing.F) {
	f.Add(int32(3), int32(-5), int32(3), int32(-5), int32(4), int32(-9))
	f.Fuzz(func(t *testing.T, a, av, b, bv, c, cv int32) {
		l := core.TokenLogprobs{{Token: core.Token(a), Value: av}, {Token: core.Token(b), Value: bv}, {Token: core.Token(c), Value: cv}}
		if checkLogprobs(&core.Chunk{Tokens: []core.Token{core.Token(a)}, Logprobs: []core.TokenLogprobs{l}}, 3) == nil && (av > 0 || bv < cv || b == c) {
			t.Fatal(l)
		}
	})
}
