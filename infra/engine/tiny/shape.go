// Package tiny makes small models with random weights, of every architecture, for
// trials of disputes.
//
// Start with a [Shape] and its [Shape.Bytes], or with [All].
package tiny

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// Shape is a model with random weights.
type Shape struct {
	Arch                                           string
	Layers, Width, Hidden, Heads, KVHeads, HeadDim int
	Format                                         gguf.Type
	Tied                                           bool
	Factors                                        bool // rotary factors
	Fused                                          bool // query, key and value in one tensor
	Experts, Used, ExpertHidden                    int
	Tokens                                         int    // 0: Vocabulary
	EOS                                            uint32 // ends answers, unless 0

	Keys map[string]any // further keys of the architecture
	KV8  bool           // keys and values are kept as int8
}

// Vocabulary is the number of tokens of most models.
const Vocabulary = 400

// String names the shape.
func (s Shape) String() string {
	name := fmt.Sprintf("%s-%v", s.Arch, s.Format)
	if s.Experts > 0 {
		name += fmt.Sprintf("-%d-experts", s.Experts)
	}
	if kind, ok := s.Keys["rope.scaling.type"]; ok {
		name += fmt.Sprintf("-%v", kind)
	}
	if s.Factors {
		name += "-factors"
	}
	if s.KV8 {
		name += "-kv8"
	}
	return name
}

// All has a model of every architecture and of every option that a dispute may
// be about. Some parts of tensors begin within a weight leaf, some heads lie
// across two tiles.
func All() []Shape {
	window := func(n uint32) map[string]any { return map[string]any{"attention.sliding_window": n} }
	return []Shape{
		{Arch: "llama", Layers: 2, Width: 64, Hidden: 96, Heads: 4, KVHeads: 2, HeadDim: 16, Format: gguf.Q8_0, Keys: window(9)},
		{Arch: "llama", Layers: 2, Width: 64, Hidden: 96, Heads: 4, KVHeads: 2, HeadDim: 32, Format: gguf.Q5_1, Keys: window(40), KV8: true},
		{Arch: "llama", Layers: 1, Width: 64, Hidden: 96, Heads: 4, KVHeads: 2, HeadDim: 16, Format: gguf.Q4_0, Factors: true, Keys: map[string]any{"rope.freq_base": float32(5e5)}},
		{Arch: "llama", Layers: 1, Width: 64, Hidden: 96, Heads: 4, KVHeads: 2, HeadDim: 16, Format: gguf.BF16,
			Keys: map[string]any{"rope.scaling.type": "linear", "rope.scaling.factor": float32(4), "rope.dimension_count": uint32(8)}},
		{Arch: "llama", Layers: 2, Width: 64, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 16, Format: gguf.Q4_1, Experts: 5, Used: 2, ExpertHidden: 96},
		{Arch: "qwen2", Layers: 2, Width: 320, Hidden: 352, Heads: 5, KVHeads: 1, HeadDim: 64, Format: gguf.Q8_0, Tied: true},
		{Arch: "qwen2moe", Layers: 1, Width: 64, Hidden: 96, Heads: 4, KVHeads: 4, HeadDim: 16, Format: gguf.Q5_0, Experts: 6, Used: 3, ExpertHidden: 32,
			Keys: map[string]any{"expert_shared_feed_forward_length": uint32(96)}},
		{Arch: "qwen3", Layers: 2, Width: 64, Hidden: 96, Heads: 4, KVHeads: 2, HeadDim: 32, Format: gguf.F16, Tied: true,
			Keys: map[string]any{"rope.scaling.type": "yarn", "rope.scaling.factor": float32(4), "rope.scaling.original_context_length": uint32(128)}},
		{Arch: "qwen3", Layers: 1, Width: 256, Hidden: 256, Heads: 4, KVHeads: 2, HeadDim: 64, Format: gguf.Q5_K, Tied: true, KV8: true},
		{Arch: "qwen3moe", Layers: 1, Width: 64, Hidden: 96, Heads: 4, KVHeads: 2, HeadDim: 32, Format: gguf.Q8_0, Experts: 8, Used: 3, ExpertHidden: 64,
			Keys: map[string]any{"expert_weights_scale": float32(1.5)}},
		{Arch: "gemma", Layers: 1, Width: 256, Hidden: 256, Heads: 4, KVHeads: 1, HeadDim: 64, Format: gguf.Q4_K, Tied: true},
		{Arch: "gemma2", Layers: 3, Width: 64, Hidden: 96, Heads: 4, KVHeads: 2, HeadDim: 32, Format: gguf.Q8_0, Tied: true,
			Keys: map[string]any{"attention.sliding_window": uint32(8), "attn_logit_softcapping": float32(3), "final_logit_softcapping": float32(6)}},
		{Arch: "gemma3", Layers: 3, Width: 256, Hidden: 256, Heads: 8, KVHeads: 2, HeadDim: 32, Format: gguf.Q6_K, Tied: true,
			Keys: map[string]any{"attention.sliding_window": uint32(8), "attention.sliding_window_pattern": uint32(2), "rope.freq_base": float32(1e6),
				"rope.scaling.type": "linear", "rope.scaling.factor": float32(8)}},
		{Arch: "phi3", Layers: 2, Width: 96, Hidden: 96, Heads: 3, KVHeads: 1, HeadDim: 96, Format: gguf.Q4_0, Fused: true},
		{Arch: "phi3", Layers: 1, Width: 64, Hidden: 72, Heads: 4, KVHeads: 4, HeadDim: 20, Format: gguf.F32, Fused: true, Factors: true,
			Keys: map[string]any{"rope.scaling.type": "longrope", "rope.scaling.original_context_length": uint32(16), "rope.scaling.attn_factor": float32(1.19), "attention.sliding_window": uint32(11)}},
	}
}

// Failer is a test.
type Failer interface {
	Helper()
	Fatal(args ...any)
}

// File is [Shape.Bytes] for tests.
func (s Shape) File(t Failer) []byte {
	t.Helper()
	b, err := s.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Bytes is the model's GGUF file; equal shapes give equal files.
func (s Shape) Bytes() ([]byte, error) {
	w := &writer{Shape: s, r: rand.New(rand.NewPCG(7, uint64(s.Width)))}
	w.header()
	w.weights()
	var buf bytes.Buffer
	_, err := w.b.WriteTo(&buf)
	return buf.Bytes(), errors.Join(w.err, err)
}

// writer makes one file; the first failure remains.
type writer struct {
	Shape
	b   gguf.Builder
	r   *rand.Rand
	err error
}

func (w *writer) header() {
	s := &w.Shape
	set := func(k string, v any) { w.b.Set(s.Arch+"."+k, v) }
	w.b.Set("general.architecture", s.Arch)
	for _, k := range []struct {
		name  string
		value int
	}{{"block_count", s.Layers}, {"embedding_length", s.Width}, {"feed_forward_length", s.Hidden}, {"context_length", 600},
		{"attention.head_count", s.Heads}, {"attention.head_count_kv", s.KVHeads}, {"attention.key_length", s.HeadDim}, {"attention.value_length", s.HeadDim}} {
		set(k.name, uint32(k.value))
	}
	set("attention.layer_norm_rms_epsilon", float32(1e-5))
	if s.Experts > 0 {
		set("expert_count", uint32(s.Experts))
		set("expert_used_count", uint32(s.Used))
		set("expert_feed_forward_length", uint32(s.ExpertHidden))
	}
	for k, v := range s.Keys {
		set(k, v)
	}
	texts := make([]string, cmp.Or(s.Tokens, Vocabulary))
	for i := range texts {
		if texts[i] = fmt.Sprintf("t%d", i); i < 256 {
			texts[i] = byteRune(i)
		}
	}
	w.b.Set("tokenizer.ggml.model", "gpt2")
	if s.EOS != 0 {
		w.b.Set("tokenizer.ggml.eos_token_id", s.EOS)
	}
	w.b.Set("tokenizer.ggml.pre", "qwen2")
	w.b.Set("tokenizer.ggml.tokens", texts)
	w.b.Set("tokenizer.ggml.merges", []string{"a b"})
}

func (w *writer) add(name string, f gguf.Type, mean, deviation float64, dims ...int) {
	w.tensor(name+".weight", f, mean, deviation, dims...)
}

// tensor writes normally distributed numbers.
func (w *writer) tensor(name string, f gguf.Type, mean, deviation float64, dims ...int) {
	n := 1
	for _, d := range dims {
		n *= d
	}
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(mean + deviation*w.r.NormFloat64())
	}
	if err := w.b.AddFloats(name, f, dims, x); err != nil && w.err == nil {
		w.err = fmt.Errorf("%s: %w", name, err)
	}
}

func (w *writer) norm(name string, n int)         { w.add(name, gguf.F32, 1, 0.1, n) }
func (w *writer) matrix(name string, dims ...int) { w.add(name, w.Format, 0, 0.2, dims...) }
func (w *writer) feed(p, suffix string, dims ...int) {
	up := append([]int{w.Width}, dims...)
	down := append([]int{dims[0], w.Width}, dims[1:]...)
	w.matrix(p+"ffn_gate"+suffix, up...)
	w.matrix(p+"ffn_up"+suffix, up...)
	w.matrix(p+"ffn_down"+suffix, down...)
}

func (w *writer) weights() {
	family := architecture.Families[w.Arch]
	tokens := cmp.Or(w.Tokens, Vocabulary)
	w.add("token_embd", w.Format, 0, 0.3, w.Width, tokens)
	if !w.Tied {
		w.add("output", w.Format, 0, 0.3, w.Width, tokens)
	}
	w.norm("output_norm", w.Width)
	if pairs := w.HeadDim / 2; w.Factors && family.LongFactors {
		w.add("rope_factors_long", gguf.F32, 3, 0.5, pairs)
		w.add("rope_factors_short", gguf.F32, 1.5, 0.1, pairs)
	} else if w.Factors {
		w.add("rope_freqs", gguf.F32, 3, 0.5, pairs)
	}
	for i := range w.Layers {
		w.layer(fmt.Sprintf("blk.%d.", i), family)
	}
}

func (w *writer) layer(p string, family architecture.Family) {
	q, kv := w.Heads*w.HeadDim, w.KVHeads*w.HeadDim
	w.norm(p+"attn_norm", w.Width)
	w.norm(p+"ffn_norm", w.Width)
	if w.Fused {
		w.matrix(p+"attn_qkv", w.Width, q+2*kv)
	} else {
		w.matrix(p+"attn_q", w.Width, q)
		w.matrix(p+"attn_k", w.Width, kv)
		w.matrix(p+"attn_v", w.Width, kv)
	}
	w.matrix(p+"attn_output", q, w.Width)
	switch {
	case w.Experts > 0:
		w.add(p+"ffn_gate_inp", gguf.F32, 0, 0.3, w.Width, w.Experts)
		w.feed(p, "_exps", w.ExpertHidden, w.Experts)
	case family.GateInUp:
		w.matrix(p+"ffn_up", w.Width, 2*w.Hidden)
		w.matrix(p+"ffn_down", w.Hidden, w.Width)
	default:
		w.feed(p, "", w.Hidden)
	}
	if family.SharedExpert {
		w.add(p+"ffn_gate_inp_shexp", gguf.F32, 0, 0.3, w.Width)
		w.feed(p, "_shexp", w.Hidden)
	}
	if family.HeadNorms {
		w.norm(p+"attn_q_norm", w.HeadDim)
		w.norm(p+"attn_k_norm", w.HeadDim)
	}
	if family.OutputNorms {
		w.norm(p+"post_attention_norm", w.Width)
		w.norm(p+"post_ffw_norm", w.Width)
	}
	if family.Biases == architecture.Always {
		w.tensor(p+"attn_q.bias", gguf.F32, 0, 0.5, q)
		w.tensor(p+"attn_k.bias", gguf.F32, 0, 0.5, kv)
		w.tensor(p+"attn_v.bias", gguf.F32, 0, 0.5, kv)
	}
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
