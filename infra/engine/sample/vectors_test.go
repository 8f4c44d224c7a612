package sample

import (
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
)

var update = flag.Bool("update", false, "rewrite the published vectors")

const vectorFile = "../../../spec/vectors/sampling.json"

type vectors struct {
	Note   string         `json:"note"`
	Noise  []noiseVector  `json:"noise"`
	Gumbel []gumbelVector `json:"gumbel"`
	Draws  []drawVector   `json:"draws"`
	// Adjusted are draws with biases, penalties, constraints and log-probabilities.
	Adjusted []adjustedVector `json:"adjusted"`
}

type adjustedVector struct {
	drawVector
	Prompt   []core.Token       `json:"prompt"`
	Answer   []core.Token       `json:"answer"` // before the position
	Allowed  []core.Token       `json:"allowed,omitempty"`
	Logprobs core.TokenLogprobs `json:"logprobs,omitempty"`
}

func (v *adjustedVector) draw(d *Drawer) (core.Token, core.TokenLogprobs) {
	logits := make([]float32, len(v.Logits))
	for j, b := range v.Logits {
		logits[j] = math.Float32frombits(b)
	}
	h := NewHistory(len(v.Prompt))
	h.Append(v.Prompt...)
	h.Append(v.Answer...)
	at := Point{Seed: core.Seed(v.Seed), Position: v.Position, Past: h.Before(len(v.Prompt) + len(v.Answer))}
	if v.Allowed != nil {
		at.Allowed = mask(len(logits), v.Allowed...)
	}
	t, l, err := d.Draw(logits, &v.Sampler, at)
	if err != nil {
		return -1, nil
	}
	return t, l
}

func makeAdjusted() (out []adjustedVector) {
	r := rand.New(rand.NewPCG(2026, 2))
	var d Drawer
	for i := range 40 {
		logits := randomLogits(r)
		logits = logits[:min(len(logits), 24)]
		v := adjustedVector{Answer: randomTokens(r, r.IntN(12), len(logits)), Prompt: randomTokens(r, 1+r.IntN(12), len(logits))}
		v.Sampler = adjustments(r, randomSampler(r), len(logits))
		v.Position = uint32(len(v.Answer))
		for j := range v.Seed {
			v.Seed[j] = byte(r.Uint32())
		}
		for j, l := range logits {
			v.Logits = append(v.Logits, math.Float32bits(l))
			if i%3 == 0 && r.IntN(3) == 0 {
				v.Allowed = append(v.Allowed, core.Token(j))
			}
		}
		if i%2 == 0 {
			v.Sampler.Logprobs = 1 + r.Uint32N(6)
		}
		v.Token, v.Logprobs = v.draw(&d)
		out = append(out, v)
	}
	return out
}

type noiseVector struct {
	Seed     core.Hash  `json:"seed"`
	Position uint32     `json:"position"`
	Token    core.Token `json:"token"`
	Word     uint32     `json:"word"`
	Gumbel   int64      `json:"gumbel_q24"`
}

type gumbelVector struct {
	Word   uint32 `json:"word"`
	Gumbel int64  `json:"gumbel_q24"`
}

type drawVector struct {
	Logits   []uint32     `json:"logits_f32_bits"`
	Sampler  core.Sampler `json:"sampler"`
	Seed     core.Hash    `json:"seed"`
	Position uint32       `json:"position"`
	Token    core.Token   `json:"token"`
}

func makeVectors() vectors {
	r := rand.New(rand.NewPCG(2026, 1))
	v := vectors{Note: "Canonical sampling, semantics version 1; see spec/sampling.md. A token of -1 means that the outcome is invalid."}
	randomSeed := func() (h core.Hash) {
		for i := range h {
			h[i] = byte(r.Uint32())
		}
		return h
	}
	for range 24 {
		n := noiseVector{Seed: randomSeed(), Position: r.Uint32N(5000), Token: core.Token(r.IntN(200_000))}
		n.Word = Word(core.Seed(n.Seed), n.Position, n.Token)
		n.Gumbel = Gumbel(n.Word)
		v.Noise = append(v.Noise, n)
	}
	for _, u := range []uint32{0, 1, 2, 1 << 16, 1 << 30, 1<<31 - 1, 1 << 31, 3 << 30, 1<<32 - 65536, 1<<32 - 2, 1<<32 - 1} {
		v.Gumbel = append(v.Gumbel, gumbelVector{u, Gumbel(u)})
	}
	var d Drawer
	for i := range 200 {
		logits := randomLogits(r)
		logits = logits[:min(len(logits), 24)]
		if i%50 == 49 {
			logits[len(logits)/2] = float32(math.Inf(1 - i%100/50*2))
		}
		c := drawVector{Sampler: randomSampler(r), Seed: randomSeed(), Position: r.Uint32N(5000)}
		for _, l := range logits {
			c.Logits = append(c.Logits, math.Float32bits(l))
		}
		tok, err := draw(&d, logits, c.Sampler, core.Seed(c.Seed), c.Position)
		if err != nil {
			tok = -1
		}
		c.Token = tok
		v.Draws = append(v.Draws, c)
	}
	v.Adjusted = makeAdjusted()
	return v
}

func TestPublishedVectors(t *testing.T) {
	if *update {
		b, err := json.MarshalIndent(makeVectors(), "", " ")
		if err == nil {
			err = os.WriteFile(vectorFile, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Noise) == 0 || len(v.Gumbel) == 0 || len(v.Draws) == 0 || len(v.Adjusted) == 0 {
		t.Fatal("the vectors are incomplete")
	}
	for _, n := range v.Noise {
		if w := Word(core.Seed(n.Seed), n.Position, n.Token); w != n.Word || Gumbel(w) != n.Gumbel {
			t.Errorf("noise of %+v is %d, %d", n, w, Gumbel(w))
		}
	}
	for _, g := range v.Gumbel {
		if got := Gumbel(g.Word); got != g.Gumbel {
			t.Errorf("Gumbel(%d) = %d, want %d", g.Word, got, g.Gumbel)
		}
	}
	var d Drawer
	for i, c := range v.Draws {
		logits := make([]float32, len(c.Logits))
		for j, b := range c.Logits {
			logits[j] = math.Float32frombits(b)
		}
		got, err := draw(&d, logits, c.Sampler, core.Seed(c.Seed), c.Position)
		if err != nil {
			got = -1
		}
		if got != c.Token {
			t.Errorf("draw %d gives %d, want %d", i, got, c.Token)
		}
	}
	for i, c := range v.Adjusted {
		if got, l := c.draw(&d); got != c.Token || !slices.Equal(l, c.Logprobs) {
			t.Errorf("adjusted draw %d gives %d, %v, want %d, %v", i, got, l, c.Token, c.Logprobs)
		}
	}
}
