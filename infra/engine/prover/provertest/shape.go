// Package provertest makes small models with random weights for tests of
// disputes.
//
// Start with a [Shape] and its [Shape.File].
package provertest

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// Shape is a model with random weights.
type Shape struct {
	Arch                                           string
	Layers, Width, Hidden, Heads, KVHeads, HeadDim int
	Format                                         gguf.Type
	Tied                                           bool
	Factors                                        bool // rotary factors
	Tokens                                         int  // 0: Vocabulary
}

// Vocabulary is the number of tokens of most models.
const Vocabulary = 400

// File is the model's GGUF file; equal shapes give equal files.
func (s Shape) File(t testing.TB) []byte {
	t.Helper()
	b := &gguf.Builder{}
	key := func(k string) string { return s.Arch + "." + k }
	b.Set("general.architecture", s.Arch)
	for k, v := range map[string]int{"block_count": s.Layers, "embedding_length": s.Width, "feed_forward_length": s.Hidden, "context_length": 600,
		"attention.head_count": s.Heads, "attention.head_count_kv": s.KVHeads, "attention.key_length": s.HeadDim, "attention.value_length": s.HeadDim} {
		b.Set(key(k), uint32(v))
	}
	b.Set(key("attention.layer_norm_rms_epsilon"), float32(1e-5))
	tokens := cmp.Or(s.Tokens, Vocabulary)
	texts := make([]string, tokens)
	for i := range texts {
		if texts[i] = fmt.Sprintf("t%d", i); i < 256 {
			texts[i] = byteRune(i)
		}
	}
	b.Set("tokenizer.ggml.model", "gpt2")
	b.Set("tokenizer.ggml.pre", "qwen2")
	b.Set("tokenizer.ggml.tokens", texts)
	b.Set("tokenizer.ggml.merges", []string{"a b"})
	r := rand.New(rand.NewPCG(7, uint64(s.Width)))
	add := func(name string, f gguf.Type, mean, deviation float64, dims ...int) {
		n := 1
		for _, d := range dims {
			n *= d
		}
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(mean + deviation*r.NormFloat64())
		}
		if err := b.AddFloats(name, f, dims, x); err != nil {
			t.Fatal(err)
		}
	}
	q, kv := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	add("token_embd.weight", s.Format, 0, 0.3, s.Width, tokens)
	if !s.Tied {
		add("output.weight", s.Format, 0, 0.3, s.Width, tokens)
	}
	add("output_norm.weight", gguf.F32, 1, 0.1, s.Width)
	if s.Factors {
		add("rope_freqs.weight", gguf.F32, 3, 0.5, s.HeadDim/2)
	}
	for i := range s.Layers {
		p := fmt.Sprintf("blk.%d.", i)
		add(p+"attn_norm.weight", gguf.F32, 1, 0.1, s.Width)
		add(p+"ffn_norm.weight", gguf.F32, 1, 0.1, s.Width)
		for _, m := range []struct {
			name       string
			cols, rows int
		}{{"attn_q", s.Width, q}, {"attn_k", s.Width, kv}, {"attn_v", s.Width, kv}, {"attn_output", q, s.Width},
			{"ffn_gate", s.Width, s.Hidden}, {"ffn_up", s.Width, s.Hidden}, {"ffn_down", s.Hidden, s.Width}} {
			add(p+m.name+".weight", s.Format, 0, 0.2, m.cols, m.rows)
		}
		if s.Arch == "qwen2" {
			add(p+"attn_q.bias", gguf.F32, 0, 0.5, q)
			add(p+"attn_k.bias", gguf.F32, 0, 0.5, kv)
			add(p+"attn_v.bias", gguf.F32, 0, 0.5, kv)
		}
	}
	var buf bytes.Buffer
	if _, err := b.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// byteRune is the letter that stands for a byte in byte-level vocabularies.
func byteRune(b int) string {
	if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
		return string(rune(b))
	}
	n := 256
	for i := range b {
		if !(i >= '!' && i <= '~' || i >= 0xa1 && i <= 0xac || i >= 0xae) {
			n++
		}
	}
	return string(rune(n))
}
