package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// folder is a model in Hugging Face's layout.
type folder struct {
	config  map[string]any
	tensors map[string][]int // shapes
	dtype   string
	files   int
}

const (
	layers, width, hidden = 2, 32, 64
	heads, kvHeads, dim   = 4, 2, 8
	vocabularySize        = 300
)

func modelFolder(kind string) *folder {
	f := &folder{dtype: "F32", files: 1, tensors: map[string][]int{
		"model.embed_tokens.weight": {vocabularySize, width}, "model.norm.weight": {width}, "lm_head.weight": {vocabularySize, width}},
		config: map[string]any{"model_type": kind, "num_hidden_layers": layers, "hidden_size": width, "intermediate_size": hidden, "num_attention_heads": heads,
			"num_key_value_heads": kvHeads, "head_dim": dim, "max_position_embeddings": 256, "vocab_size": vocabularySize, "rms_norm_eps": 1e-5,
			"rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": false, "bos_token_id": 256, "eos_token_id": []int{257}}}
	if kind == "gemma3" {
		return multimodal()
	}
	gemma := strings.HasPrefix(kind, "gemma")
	if gemma {
		delete(f.tensors, "lm_head.weight")
		f.config["hidden_activation"], f.config["tie_word_embeddings"] = "gelu_pytorch_tanh", true
	}
	for l := range layers {
		add := func(name string, shape ...int) { f.tensors[fmt.Sprintf("model.layers.%d.%s", l, name)] = shape }
		add("input_layernorm.weight", width)
		add("post_attention_layernorm.weight", width)
		if kind == "gemma2" || kind == "gemma3_text" {
			add("pre_feedforward_layernorm.weight", width)
			add("post_feedforward_layernorm.weight", width)
		}
		add("self_attn.o_proj.weight", width, heads*dim)
		if kind == "phi3" {
			add("self_attn.qkv_proj.weight", (heads+2*kvHeads)*dim, width)
			add("mlp.gate_up_proj.weight", 2*hidden, width)
			add("mlp.down_proj.weight", width, hidden)
			continue
		}
		for name, n := range map[string]int{"q": heads, "k": kvHeads, "v": kvHeads} {
			add("self_attn."+name+"_proj.weight", n*dim, width)
			if strings.HasPrefix(kind, "qwen2") {
				add("self_attn."+name+"_proj.bias", n*dim)
			}
			if (strings.HasPrefix(kind, "qwen3") || kind == "gemma3_text") && name != "v" {
				add("self_attn."+name+"_norm.weight", dim)
			}
		}
		f.feed(kind, add)
	}
	return f
}

// multimodal is a Gemma 3 with a tower for images.
func multimodal() *folder {
	f := modelFolder("gemma3_text")
	text := f.config
	for _, k := range []string{"rms_norm_eps", "rope_theta", "hidden_activation", "hidden_act"} { // as published files do
		delete(text, k)
	}
	f.config = map[string]any{"model_type": "gemma3", "text_config": text, "eos_token_id": []int{257, 5}}
	inner := f.tensors
	f.tensors = map[string][]int{"vision_tower.vision_model.embeddings.patch_embedding.weight": {8, 3, 2, 2}, "multi_modal_projector.mm_input_projection_weight": {8, width}}
	for name, shape := range inner {
		f.tensors["language_model."+name] = shape
	}
	return f
}

func (f *folder) feed(kind string, add func(name string, shape ...int)) {
	const experts = 3
	switch kind {
	case "mixtral":
		f.config["num_local_experts"], f.config["num_experts_per_tok"] = experts, 2
		add("block_sparse_moe.gate.weight", experts, width)
		for e := range experts {
			add(fmt.Sprintf("block_sparse_moe.experts.%d.w1.weight", e), hidden, width)
			add(fmt.Sprintf("block_sparse_moe.experts.%d.w3.weight", e), hidden, width)
			add(fmt.Sprintf("block_sparse_moe.experts.%d.w2.weight", e), width, hidden)
		}
		return
	case "qwen2_moe", "qwen3_moe":
		f.config["num_experts"], f.config["num_experts_per_tok"], f.config["moe_intermediate_size"] = experts, 2, 32
		f.config["norm_topk_prob"], f.config["decoder_sparse_step"], f.config["mlp_only_layers"] = kind == "qwen3_moe", 1, []int{}
		add("mlp.gate.weight", experts, width)
		for e := range experts {
			add(fmt.Sprintf("mlp.experts.%d.gate_proj.weight", e), 32, width)
			add(fmt.Sprintf("mlp.experts.%d.up_proj.weight", e), 32, width)
			add(fmt.Sprintf("mlp.experts.%d.down_proj.weight", e), width, 32)
		}
		if kind == "qwen2_moe" {
			f.config["shared_expert_intermediate_size"] = hidden
			add("mlp.shared_expert_gate.weight", 1, width)
			add("mlp.shared_expert.gate_proj.weight", hidden, width)
			add("mlp.shared_expert.up_proj.weight", hidden, width)
			add("mlp.shared_expert.down_proj.weight", width, hidden)
		}
		return
	}
	add("mlp.gate_proj.weight", hidden, width)
	add("mlp.up_proj.weight", hidden, width)
	add("mlp.down_proj.weight", width, hidden)
}

// value is the i-th value of a tensor, exact in every dtype.
func value(name string, i int) float32 {
	h := uint32(len(name))
	for _, c := range name {
		h = h*31 + uint32(c)
	}
	return float32(int(h>>7+uint32(i)*7)%61-30) / 32
}

func (f *folder) write(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name string, v any) {
		b, err := json.Marshal(v)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("config.json", f.config)
	put("tokenizer.json", byteLevelTokenizer())
	put("tokenizer_config.json", map[string]any{"bos_token": map[string]any{"content": "<s>"}, "eos_token": "</s>", "chat_template": "{{ messages }}"})
	names := slices.Sorted(maps.Keys(f.tensors))
	index := map[string]string{}
	for i := range f.files {
		file := "model.safetensors"
		if f.files > 1 {
			file = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, f.files)
		}
		header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
		var data []byte
		for j := i; j < len(names); j += f.files {
			begin, shape, n := len(data), f.tensors[names[j]], 1
			for _, d := range shape {
				n *= d
			}
			for k := range n {
				bits := math.Float32bits(value(names[j], k))
				switch f.dtype {
				case "F32":
					data = binary.LittleEndian.AppendUint32(data, bits)
				case "BF16":
					data = binary.LittleEndian.AppendUint16(data, uint16(bits>>16))
				case "F16":
					data = binary.LittleEndian.AppendUint16(data, spec.FloatToHalf(value(names[j], k)))
				}
			}
			header[names[j]] = map[string]any{"dtype": f.dtype, "shape": shape, "data_offsets": []int{begin, len(data)}}
			index[names[j]] = file
		}
		head, err := json.Marshal(header)
		if err != nil {
			t.Fatal(err)
		}
		b := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
		if err := os.WriteFile(filepath.Join(dir, file), slices.Concat(b, head, data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if f.files > 1 {
		put("model.safetensors.index.json", map[string]any{"weight_map": index})
	}
	return dir
}

// byteLevelTokenizer is a tokenizer.json as Qwen's: 256 bytes and two special tokens.
func byteLevelTokenizer() map[string]any {
	vocabulary, next := map[string]int{}, rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = next
			next++
		}
		vocabulary[string(r)] = b
	}
	vocabulary["ab"] = 258
	expression := ""
	for e, name := range expressions {
		if name == "qwen2" {
			expression = e
		}
	}
	return map[string]any{
		"added_tokens": []any{map[string]any{"id": 256, "content": "<s>", "special": true}, map[string]any{"id": 257, "content": "</s>", "special": true}},
		"normalizer":   map[string]any{"type": "NFC"},
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Split", "pattern": map[string]any{"Regex": expression}, "behavior": "Isolated", "invert": false},
			map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}}},
		"post_processor": map[string]any{"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>", "type_id": 0}}}},
		"model":          map[string]any{"type": "BPE", "vocab": vocabulary, "merges": []any{"a b"}},
	}
}

func imported(t *testing.T, f *folder, to *gguf.Type) *gguf.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.gguf")
	if err := Import(context.Background(), f.write(t), path, to, nil); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func TestImport(t *testing.T) {
	for _, kind := range ModelTypes() {
		t.Run(kind, func(t *testing.T) {
			f := modelFolder(kind)
			switch kind {
			case "gemma2":
				f.config["attn_logit_softcapping"], f.config["final_logit_softcapping"], f.config["query_pre_attn_scalar"], f.config["sliding_window"] = 50.0, 30.0, 16, 64
			case "gemma3_text":
				f.config["rope_local_base_freq"], f.config["sliding_window"], f.config["layer_types"] = 10000.0, 64, []string{"sliding_attention", "full_attention"}
			case "mistral":
				f.config["sliding_window"] = 32
			}
			one := imported(t, f, nil)
			checkTensors(t, f, kind, one)
			root, err := gguf.Root(one)
			if err != nil {
				t.Fatal(err)
			}
			f.files = 3
			if again, err := gguf.Root(imported(t, f, nil)); err != nil || again != root {
				t.Errorf("in three files it has another root: %v", err)
			}
			f.dtype = "BF16"
			half := imported(t, f, nil)
			checkTensors(t, f, kind, half)
			if q, _ := half.Tensor("token_embd.weight"); q.Type != gguf.BF16 {
				t.Errorf("of BF16 it makes %v", q.Type)
			}
			small := gguf.Q8_0
			f.dtype = "F16"
			answerOnce(t, imported(t, f, &small))
		})
	}
}

// checkTensors compares what was written with what it should be made of.
func checkTensors(t *testing.T, f *folder, kind string, got *gguf.File) {
	t.Helper()
	l := layouts[kind]
	checked := 0
	for _, name := range slices.Sorted(maps.Keys(f.tensors)) {
		to, expert, err := l.place(name)
		if err != nil {
			t.Fatal(err)
		}
		if to == "" {
			continue
		}
		g, ok := got.Tensor(to)
		if !ok {
			t.Fatalf("no tensor %s", to)
		}
		values, err := got.FloatData(g)
		if err != nil {
			t.Fatal(err)
		}
		shape, n := f.tensors[name], 1
		for _, d := range shape {
			n *= d
		}
		want := make([]float32, n)
		for i := range want {
			want[i] = value(name, i)
			if l.normsFromOne && strings.HasSuffix(name, "norm.weight") {
				want[i]++
			}
		}
		if expert > 0 {
			values = values[expert*n:]
		}
		if l.interleaved && (strings.Contains(name, "q_proj") || strings.Contains(name, "k_proj")) {
			want = interleave(want, shape[0]/dim, n/shape[0])
		}
		if !slices.Equal(values[:n], want) {
			t.Errorf("%s differs in %s", name, to)
		}
		checked += n
	}
	total := 0
	for i := range got.Tensors {
		if name := got.Tensors[i].Name; !strings.HasPrefix(name, "rope_") {
			total += got.Tensors[i].Elements()
		}
	}
	if total != checked {
		t.Errorf("%d values were written of %d", total, checked)
	}
}

// interleave moves rows i and i+d/2 of every head side by side.
func interleave(x []float32, heads, cols int) []float32 {
	out := make([]float32, 0, len(x))
	d := len(x) / cols / heads
	for h := range heads {
		for i := range d / 2 {
			for _, row := range []int{h*d + i, h*d + i + d/2} {
				out = append(out, x[row*cols:(row+1)*cols]...)
			}
		}
	}
	return out
}

// TestInterleavedRotations: rotating halves and then reordering is reordering
// and then rotating neighbours.
func TestInterleavedRotations(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := make([]float32, 16)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	frequencies := spec.RoPE{Dim: 16, Base: 100}.Frequencies()
	cos, sin := make([]float32, 8), make([]float32, 8)
	spec.RoPERow(cos, sin, frequencies, 5)
	moved := interleave(x, 1, 1)
	spec.Rotate(moved, cos, sin, spec.RoPENorm)
	spec.Rotate(x, cos, sin, spec.RoPENeoX)
	if !slices.Equal(moved, interleave(x, 1, 1)) {
		t.Error("the rotations differ")
	}
}

// answerOnce runs a model.
func answerOnce(t *testing.T, f *gguf.File) {
	t.Helper()
	var b gguf.Builder
	b.Metadata = f.Metadata
	for i := range f.Tensors {
		x := &f.Tensors[i]
		data, err := f.Data(x)
		if err != nil {
			t.Fatal(err)
		}
		dims := make([]int, len(x.Dims))
		for d, n := range x.Dims {
			dims[d] = int(n)
		}
		if err := b.Add(x.Name, x.Type, dims, data); err != nil {
			t.Fatal(err)
		}
	}
	var w bytes.Buffer
	if _, err := b.WriteTo(&w); err != nil {
		t.Fatal(err)
	}
	m, err := model.OpenBytes(w.Bytes(), model.Options{Threads: 1, KVBudget: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := m.NewSequence(core.SequenceInput{Input: []core.Token{256, 1, 2}, Sampler: core.Sampler{MaxTokens: 3, IgnoreEOS: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	for s.Finish() == "" {
		if err := m.Step(context.Background(), []core.Sequence{s}); err != nil {
			t.Fatal(err)
		}
	}
	if s.Finish() != core.FinishLength || len(s.Output()) != 3 {
		t.Errorf("the answer %v ends by %s", s.Output(), s.Finish())
	}
}

func TestImportRefuses(t *testing.T) {
	set := func(key string, v any) func(*folder) { return func(f *folder) { f.config[key] = v } }
	for says, c := range map[string]struct {
		kind   string
		change func(*folder)
		after  func(dir string)
	}{
		`type "bert"`:                        {change: set("model_type", "bert")},
		`activation "relu"`:                  {change: set("hidden_act", "relu")},
		"no place in the architecture":       {change: func(f *folder) { f.tensors["model.layers.0.self_attn.o_proj.bias"] = []int{width} }},
		"vision_tower":                       {change: func(f *folder) { f.tensors["vision_tower.weight"] = []int{width} }},
		`"attn_k.weight" is missing`:         {change: func(f *folder) { delete(f.tensors, "model.layers.1.self_attn.k_proj.weight") }},
		`"output_norm.weight" has the shape`: {change: func(f *folder) { f.tensors["model.norm.weight"] = []int{width + 1} }},
		`scaling "dynamic"`:                  {change: set("rope_scaling", map[string]any{"type": "dynamic", "factor": 2.0})},
		"the factor of positions is 0":       {change: set("rope_scaling", map[string]any{"type": "linear"})},
		"quantization_config":                {change: set("quantization_config", map[string]any{"bits": 4})},
		"use_sliding_window":                 {kind: "qwen2", change: set("use_sliding_window", true)},
		"lacks expert 1":                     {kind: "mixtral", change: func(f *folder) { delete(f.tensors, "model.layers.0.block_sparse_moe.experts.1.w1.weight") }},
		"of expert 7": {kind: "mixtral", change: func(f *folder) {
			f.tensors["model.layers.0.block_sparse_moe.experts.7.w1.weight"] = []int{hidden, width}
		}},
		"is the file complete": {after: func(dir string) {
			os.Truncate(filepath.Join(dir, "model.safetensors"), 20000)
		}},
		"no model.safetensors.index.json": {after: func(dir string) { os.Remove(filepath.Join(dir, "model.safetensors")) }},
		"names the file": {after: func(dir string) {
			os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(`{"weight_map":{"a":"../model.safetensors"}}`), 0o644)
		}},
		"tokenizer.json: tokenizers of the type": {after: func(dir string) {
			os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(`{"model":{"type":"Unigram"}}`), 0o644)
		}},
		"num_hidden_layers is 0": {change: set("num_hidden_layers", 0)},
	} {
		kind := c.kind
		if kind == "" {
			kind = "llama"
		}
		f := modelFolder(kind)
		if c.change != nil {
			c.change(f)
		}
		dir := f.write(t)
		if c.after != nil {
			c.after(dir)
		}
		out := filepath.Join(t.TempDir(), "out.gguf")
		err := Import(context.Background(), dir, out, nil, nil)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "blk.1.", ""), says) {
			t.Errorf("want %q, got %v", says, err)
		}
		if core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%q has the code %v", says, core.CodeOf(err))
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%q leaves a file", says)
		}
	}
}
