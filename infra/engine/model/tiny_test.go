package model

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// tiny describes a model with random weights.
type tiny struct {
	arch                    string
	layers, width, hidden   int
	heads, kvHeads, headDim int
	vocabulary, context     int
	format                  gguf.Type
	tied                    bool
	ropeDim                 int  // 0: the head dimension
	factors                 bool // rope_freqs
	linear                  float32
	seed                    uint64
	change                  func(b *gguf.Builder)
	skip                    string // a tensor to leave out
	reshape                 string // a tensor to give a wrong shape
	extra                   string // a tensor without a place
	ropeBase                float32
	experts, used           int
	expertHidden            int
	keys                    map[string]any // of the architecture
}

func (m tiny) String() string {
	if m.experts > 0 {
		return fmt.Sprintf("%s-%v-%d-experts-of-%d", m.arch, m.format, m.experts, m.expertHidden)
	}
	return fmt.Sprintf("%s-%v-%dx%d-h%dkv%dd%d-v%d-tied=%v", m.arch, m.format, m.layers, m.width, m.heads, m.kvHeads, m.headDim, m.vocabulary, m.tied)
}

// vocabulary has the 256 bytes, two-letter tokens and at the end <|im_end|>.
func vocabulary(n int) (texts []string, kinds []int32) {
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = next
			next++
		}
		texts = append(texts, string(r))
	}
	for i := 0; len(texts) < n-1; i++ {
		texts = append(texts, string([]rune{rune('a' + i/26%26), rune('a' + i%26)}))
	}
	texts = append(texts[:n-1], "<|im_end|>")
	kinds = make([]int32, n)
	for i := range kinds {
		kinds[i] = 1
	}
	kinds[n-1] = 3
	return texts, kinds
}

func (m tiny) builder(t testing.TB) *gguf.Builder {
	t.Helper()
	b := &gguf.Builder{}
	b.Set("general.architecture", m.arch)
	b.Set("general.name", "tiny")
	key := func(k string) string { return m.arch + "." + k }
	b.Set(key("block_count"), uint32(m.layers))
	b.Set(key("embedding_length"), uint32(m.width))
	b.Set(key("feed_forward_length"), uint32(m.hidden))
	b.Set(key("context_length"), uint32(m.context))
	b.Set(key("attention.head_count"), uint32(m.heads))
	b.Set(key("attention.head_count_kv"), uint32(m.kvHeads))
	b.Set(key("attention.layer_norm_rms_epsilon"), float32(1e-5))
	b.Set(key("attention.key_length"), uint32(m.headDim))
	b.Set(key("attention.value_length"), uint32(m.headDim))
	if m.ropeBase > 0 {
		b.Set(key("rope.freq_base"), m.ropeBase)
	}
	if m.ropeDim > 0 {
		b.Set(key("rope.dimension_count"), uint32(m.ropeDim))
	}
	if m.linear > 0 {
		b.Set(key("rope.scaling.type"), "linear")
		b.Set(key("rope.scaling.factor"), m.linear)
	}
	if m.experts > 0 {
		b.Set(key("expert_count"), uint32(m.experts))
		b.Set(key("expert_used_count"), uint32(m.used))
		b.Set(key("expert_feed_forward_length"), uint32(m.expertHidden))
	}
	for k, v := range m.keys {
		b.Set(key(k), v)
	}
	texts, kinds := vocabulary(m.vocabulary)
	b.Set("tokenizer.ggml.model", "gpt2")
	b.Set("tokenizer.ggml.pre", "qwen2")
	b.Set("tokenizer.ggml.tokens", texts)
	b.Set("tokenizer.ggml.token_type", kinds)
	b.Set("tokenizer.ggml.merges", []string{"a b"})
	b.Set("tokenizer.ggml.eos_token_id", uint32(m.vocabulary-1))
	b.Set("tokenizer.chat_template", "{{ messages }}")

	r := rand.New(rand.NewPCG(m.seed, 77))
	add := func(name string, format gguf.Type, mean, deviation float64, dims ...int) {
		if name == m.skip {
			return
		}
		if name == m.reshape {
			dims[len(dims)-1]++
		}
		n := 1
		for _, d := range dims {
			n *= d
		}
		if mean == 0 { // wide models have the same logits as narrow ones
			deviation *= math.Sqrt(64 / float64(max(64, m.width)))
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(mean + deviation*r.NormFloat64())
		}
		if err := b.AddFloats(name, format, dims, values); err != nil {
			t.Fatal(err)
		}
	}
	traits := architecture.Families[m.arch]
	q, kv := m.heads*m.headDim, m.kvHeads*m.headDim
	add("token_embd.weight", m.format, 0, 0.3, m.width, m.vocabulary)
	if !m.tied {
		add("output.weight", m.format, 0, 0.3, m.width, m.vocabulary)
	}
	add("output_norm.weight", gguf.F32, 1, 0.1, m.width)
	if m.factors && traits.LongFactors {
		add("rope_factors_long.weight", gguf.F32, 3, 0.5, m.headDim/2)
		add("rope_factors_short.weight", gguf.F32, 1.5, 0.1, m.headDim/2)
	} else if m.factors {
		add("rope_freqs.weight", gguf.F32, 3, 0.5, m.headDim/2)
	}
	for i := range m.layers {
		p := fmt.Sprintf("blk.%d.", i)
		add(p+"attn_norm.weight", gguf.F32, 1, 0.1, m.width)
		add(p+"ffn_norm.weight", gguf.F32, 1, 0.1, m.width)
		if traits.GateInUp {
			add(p+"attn_qkv.weight", m.format, 0, 0.3, m.width, q+2*kv)
		} else {
			add(p+"attn_q.weight", m.format, 0, 0.3, m.width, q)
			add(p+"attn_k.weight", m.format, 0, 0.3, m.width, kv)
			add(p+"attn_v.weight", m.format, 0, 0.2, m.width, kv)
		}
		add(p+"attn_output.weight", m.format, 0, 0.2, q, m.width)
		switch {
		case m.experts > 0:
			add(p+"ffn_gate_inp.weight", gguf.F32, 0, 0.3, m.width, m.experts)
			add(p+"ffn_gate_exps.weight", m.format, 0, 0.2, m.width, m.expertHidden, m.experts)
			add(p+"ffn_up_exps.weight", m.format, 0, 0.2, m.width, m.expertHidden, m.experts)
			add(p+"ffn_down_exps.weight", m.format, 0, 0.2, m.expertHidden, m.width, m.experts)
		case traits.GateInUp:
			add(p+"ffn_up.weight", m.format, 0, 0.2, m.width, 2*m.hidden)
		default:
			add(p+"ffn_gate.weight", m.format, 0, 0.2, m.width, m.hidden)
			add(p+"ffn_up.weight", m.format, 0, 0.2, m.width, m.hidden)
		}
		if m.experts == 0 {
			add(p+"ffn_down.weight", m.format, 0, 0.2, m.hidden, m.width)
		}
		if traits.SharedExpert {
			add(p+"ffn_gate_inp_shexp.weight", gguf.F32, 0, 0.3, m.width)
			add(p+"ffn_gate_shexp.weight", m.format, 0, 0.2, m.width, m.hidden)
			add(p+"ffn_up_shexp.weight", m.format, 0, 0.2, m.width, m.hidden)
			add(p+"ffn_down_shexp.weight", m.format, 0, 0.2, m.hidden, m.width)
		}
		if traits.HeadNorms {
			add(p+"attn_q_norm.weight", gguf.F32, 1, 0.1, m.headDim)
			add(p+"attn_k_norm.weight", gguf.F32, 1, 0.1, m.headDim)
		}
		if traits.OutputNorms {
			add(p+"post_attention_norm.weight", gguf.F32, 1, 0.1, m.width)
			add(p+"post_ffw_norm.weight", gguf.F32, 1, 0.1, m.width)
		}
		if traits.Biases == architecture.Always {
			add(p+"attn_q.bias", gguf.F32, 0, 0.5, q)
			add(p+"attn_k.bias", gguf.F32, 0, 0.5, kv)
			add(p+"attn_v.bias", gguf.F32, 0, 0.5, kv)
		}
	}
	if m.extra != "" {
		add(m.extra, gguf.F32, 0, 1, 4)
	}
	if m.change != nil {
		m.change(b)
	}
	return b
}

func (m tiny) bytes(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	if _, err := m.builder(t).WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (m tiny) open(t testing.TB, o Options) *Model {
	t.Helper()
	if o.KVBudget == 0 {
		o.KVBudget = 64 << 20
	}
	model, err := OpenBytes(m.bytes(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

// standard is the model of the tests that are not about shapes.
var standard = tiny{arch: "qwen2", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 16,
	vocabulary: 307, context: 512, format: gguf.Q8_0, tied: true, seed: 5}

var shapes = []tiny{
	standard,
	{arch: "llama", layers: 2, width: 64, hidden: 160, heads: 4, kvHeads: 4, headDim: 16, vocabulary: 301, context: 256, format: gguf.Q8_0},
	{arch: "llama", layers: 3, width: 32, hidden: 64, heads: 4, kvHeads: 4, headDim: 8, vocabulary: 259, context: 300, format: gguf.Q4_0, tied: true, seed: 1},
	{arch: "qwen2", layers: 1, width: 96, hidden: 96, heads: 7, kvHeads: 1, headDim: 32, vocabulary: 311, context: 256, format: gguf.Q4_0, seed: 2},
	{arch: "llama", layers: 2, width: 40, hidden: 52, heads: 2, kvHeads: 1, headDim: 20, vocabulary: 263, context: 256, format: gguf.F16, tied: true, seed: 3},
	{arch: "qwen2", layers: 2, width: 36, hidden: 44, heads: 3, kvHeads: 3, headDim: 12, vocabulary: 257, context: 256, format: gguf.F32, seed: 4},
	{arch: "llama", layers: 1, width: 64, hidden: 64, heads: 2, kvHeads: 2, headDim: 64, vocabulary: 283, context: 256, format: gguf.Q8_0,
		factors: true, ropeBase: 500000, seed: 6},
	{arch: "llama", layers: 1, width: 64, hidden: 64, heads: 2, kvHeads: 1, headDim: 32, vocabulary: 283, context: 256, format: gguf.Q8_0,
		ropeDim: 16, linear: 2, seed: 7},
}

// variants has a small model of each architecture and each of its options.
var variants = []tiny{
	{arch: "llama", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 16, vocabulary: 270, context: 512,
		keys: map[string]any{"attention.sliding_window": uint32(9)}, seed: 20},
	{arch: "llama", layers: 2, width: 64, hidden: 64, heads: 4, kvHeads: 2, headDim: 16, vocabulary: 270, context: 512, experts: 5, used: 2, expertHidden: 64, seed: 21},
	{arch: "qwen2moe", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 4, headDim: 16, vocabulary: 270, context: 512, experts: 6, used: 3, expertHidden: 32,
		keys: map[string]any{"expert_shared_feed_forward_length": uint32(96)}, seed: 22},
	{arch: "qwen3", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 32, vocabulary: 270, context: 512, tied: true, ropeBase: 1e6, seed: 23},
	{arch: "qwen3", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 32, vocabulary: 270, context: 512, tied: true, ropeBase: 1e6,
		keys: map[string]any{"rope.scaling.type": "yarn", "rope.scaling.factor": float32(4), "rope.scaling.original_context_length": uint32(128)}, seed: 24},
	{arch: "qwen3moe", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 32, vocabulary: 270, context: 512, experts: 8, used: 3, expertHidden: 32, seed: 25},
	{arch: "gemma", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 1, headDim: 32, vocabulary: 270, context: 512, tied: true, seed: 26},
	{arch: "gemma2", layers: 4, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 32, vocabulary: 270, context: 512, tied: true,
		keys: map[string]any{"attention.sliding_window": uint32(8), "attn_logit_softcapping": float32(3), "final_logit_softcapping": float32(6)}, seed: 27},
	{arch: "gemma3", layers: 7, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 32, vocabulary: 270, context: 512, tied: true, ropeBase: 1e6,
		keys: map[string]any{"attention.sliding_window": uint32(8), "rope.scaling.type": "linear", "rope.scaling.factor": float32(8)}, seed: 28},
	{arch: "phi3", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 16, vocabulary: 270, context: 512, seed: 29},
	{arch: "phi3", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 4, headDim: 16, vocabulary: 270, context: 512, factors: true,
		keys: map[string]any{"rope.scaling.original_context_length": uint32(16), "rope.scaling.attn_factor": float32(1.19), "attention.sliding_window": uint32(11)}, seed: 30},
}

// everyShape is shapes and, in both plain and quantised weights, variants.
func everyShape() []tiny {
	all := slices.Clone(shapes)
	for _, v := range variants {
		for _, format := range []gguf.Type{gguf.F32, gguf.Q8_0} {
			v.format = format
			all = append(all, v)
		}
	}
	return all
}

// prompt returns n tokens that look like text.
func prompt(m *Model, n int, seed uint64) []core.Token {
	r := rand.New(rand.NewPCG(seed, 3))
	out := make([]core.Token, n)
	for i := range out {
		out[i] = core.Token(r.IntN(m.info.Vocabulary - 1))
	}
	return out
}

func warm(max uint32) core.Sampler {
	return core.Sampler{Temperature: 900_000, TopP: 950_000, MaxTokens: max, IgnoreEOS: true}
}
