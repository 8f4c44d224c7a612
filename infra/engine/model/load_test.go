package model

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

func TestModelsThatAreRefused(t *testing.T) {
	set := func(key string, v any) func(*gguf.Builder) { return func(b *gguf.Builder) { b.Set(key, v) } }
	for says, shape := range map[string]tiny{
		`architecture "mamba"`:                     {change: set("general.architecture", "mamba")},
		`tensor "blk.1.attn_k.weight" is missing`:  {skip: "blk.1.attn_k.weight"},
		`tensor "blk.0.attn_q.bias" is missing`:    {skip: "blk.0.attn_q.bias"},
		`tensor "token_embd.weight" is missing`:    {skip: "token_embd.weight"},
		`tensor "output_norm.weight" is missing`:   {skip: "output_norm.weight"},
		`"blk.1.ffn_up.weight" has the shape [64`:  {reshape: "blk.1.ffn_up.weight"},
		`"token_embd.weight" has the shape [64 30`: {reshape: "token_embd.weight"},
		`"blk.0.lora_a" has no place`:              {extra: "blk.0.lora_a"},
		`"blk.2.attn_q.weight" has no place`:       {extra: "blk.2.attn_q.weight"},
		"block_count":                              {change: func(b *gguf.Builder) { b.Delete("qwen2.block_count") }},
		"block_count is 0":                         {change: set("qwen2.block_count", uint32(0))},
		"head_count_kv is 3000":                    {change: set("qwen2.attention.head_count_kv", uint32(3000))},
		"3 key-value heads":                        {change: set("qwen2.attention.head_count_kv", uint32(3))},
		"values of length 8":                       {change: set("qwen2.attention.value_length", uint32(8))},
		"17 rotated elements":                      {change: set("qwen2.rope.dimension_count", uint32(17))},
		`scaling "ntk"`:                            {change: set("qwen2.rope.scaling.type", "ntk")},
		"original_context_length: key is missing":  {change: set("qwen2.rope.scaling.type", "yarn")},
		"sliding windows are not supported":        {change: set("qwen2.attention.sliding_window", uint32(8))},
		"some.new_trick is not supported":          {change: set("qwen2.some.new_trick", true)},
		"scaled by the factor 1e-09":               {change: set("qwen2.rope.scaling.factor", float32(1e-9))},
		"freq_base is 1":                           {change: set("qwen2.rope.freq_base", float32(1))},
		"experts":                                  {change: set("qwen2.expert_count", uint32(8))},
		"logit_scale":                              {change: set("qwen2.logit_scale", float32(2))},
		"rms_epsilon":                              {change: set("qwen2.attention.layer_norm_rms_epsilon", float32(math.NaN()))},
		`tokenizer model "t5"`:                     {change: set("tokenizer.ggml.model", "t5")},
		"template cannot be used: chat: ":          {change: set("tokenizer.chat_template", "{% for m in messages %}")},
		"leaves out what the user says":            {change: set("tokenizer.chat_template", "hello")},
		"nosuchfilter":                             {change: set("tokenizer.chat_template", "{{ messages[0].content | nosuchfilter }}")},
	} {
		shape.arch, shape.layers, shape.width, shape.hidden = "qwen2", 2, 64, 96
		shape.heads, shape.kvHeads, shape.headDim = 4, 2, 16
		shape.vocabulary, shape.context, shape.format, shape.tied = 307, 512, gguf.Q8_0, true
		m, err := OpenBytes(shape.bytes(t), Options{})
		if err == nil {
			m.Close()
			t.Errorf("%s: opened", says)
			continue
		}
		if core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got: %v", says, err)
		}
		var e *core.Error
		if errors.As(err, &e) && e.Next == "" && !strings.Contains(says, "tokenizer") {
			t.Errorf("%q does not say what to do: %v", says, err)
		}
	}
}

func TestWeightsThatAreNotFiniteAreRefused(t *testing.T) {
	b := standard.bytes(t)
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"blk.0.ffn_down.weight", "blk.1.attn_norm.weight"} {
		tensor, _ := f.Tensor(name)
		old := [4]byte(b[tensor.Offset:])
		copy(b[tensor.Offset:], []byte{0, 0x7c, 0x80, 0x7f}) // Inf as F16 scale, and as F32
		if _, err := OpenBytes(b, Options{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s with an infinity: %v", name, err)
		}
		copy(b[tensor.Offset:], old[:])
	}
}

func TestOpenReadsFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small model.gguf")
	shape := standard
	shape.change = func(b *gguf.Builder) { b.Delete("general.name") }
	if err := os.WriteFile(path, shape.bytes(t), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	info := m.Info()
	if info.Name != "small model" || info.Architecture != "qwen2" || info.Layers != 2 || info.Vocabulary != 307 ||
		info.ContextLength != 512 || info.Semantics != 1 || info.ID != m.Root() || info.ID.IsZero() || info.Parameters < 60_000 {
		t.Errorf("%+v", info)
	}
	if m.Template() != "{{ messages }}" || m.Tokenizer().Size() != 307 {
		t.Error("template or tokenizer are not the file's")
	}
	if other := standard.open(t, Options{}); other.Root() == m.Root() {
		t.Error("different metadata, the same root")
	}
	in := core.SequenceInput{Input: prompt(m, 10, 1), Sampler: warm(5), Trace: true}
	answer(t, standard.open(t, Options{}), in).compare(t, "from a file", answer(t, m, in))
	if _, err := Open(filepath.Join(t.TempDir(), "none.gguf"), Options{}); err == nil {
		t.Error("a file that does not exist was opened")
	}
	if _, err := OpenBytes(shape.bytes(t), Options{KVBudget: 1000}); core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), "budget") {
		t.Errorf("a budget of 1000 bytes: %v", err)
	}
}

// FuzzOpen varies the hyperparameters and the weights of a small model: it
// opens and answers within its limits, or it is refused.
func FuzzOpen(f *testing.F) {
	shape := tiny{layers: 1, width: 8, hidden: 8, heads: 2, kvHeads: 1, headDim: 4, vocabulary: 258, context: 32, format: gguf.F32, tied: true}
	keys := []string{"block_count", "embedding_length", "feed_forward_length", "context_length", "attention.head_count",
		"attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count", "attention.sliding_window",
		"attention.sliding_window_pattern", "expert_count", "expert_used_count", "rope.scaling.original_context_length"}
	f.Add(uint8(0), uint32(2), []byte{})
	f.Add(uint8(26), uint32(0), []byte{})
	for i := range Architectures {
		f.Add(uint8(16*i+11), uint32(2), []byte{0, 0, 0x80, 0x3f})
	}
	f.Add(uint8(3), uint32(1<<31), []byte{0, 0, 0xc0, 0x7f})
	f.Add(uint8(8), uint32(3), []byte{1})
	f.Add(uint8(5), uint32(2), []byte{0xff, 0xff, 0x7f, 0x7f, 0xff, 0xff, 0x7f, 0x7f})
	f.Fuzz(func(t *testing.T, key uint8, value uint32, weights []byte) {
		shape := shape
		shape.arch = Architectures[int(key)/16%len(Architectures)]
		if architecture.Families[shape.arch].Experts == architecture.Always {
			shape.experts, shape.used, shape.expertHidden = 3, 2, 8
		}
		shape.change = func(b *gguf.Builder) {
			if i := int(key) % 16; i < len(keys) {
				b.Set(shape.arch+"."+keys[i], value)
			}
		}
		b := shape.bytes(t)
		file, err := gguf.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		tensor, _ := file.Tensor("token_embd.weight")
		copy(b[tensor.Offset:tensor.Offset+tensor.Size], weights)
		m, err := OpenBytes(b, Options{Threads: 1, KVBudget: 1 << 20})
		if err != nil {
			return
		}
		defer m.Close()
		in := core.SequenceInput{Input: []core.Token{0, 1, 2}, Sampler: warm(3), Trace: true}
		s, err := m.NewSequence(in)
		if err != nil {
			return
		}
		finish(t, m, s)
		s.Release()
	})
}
