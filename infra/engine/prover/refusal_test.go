package prover

import (
	"maps"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// What is not judged is refused by name when a model is admitted.
func TestModelsAreRefusedByName(t *testing.T) {
	usual := map[string]any{"block_count": uint32(1), "embedding_length": uint32(64), "feed_forward_length": uint32(64), "context_length": uint32(600),
		"attention.head_count": uint32(4), "attention.layer_norm_rms_epsilon": float32(1e-5)}
	mixture := map[string]any{"expert_count": uint32(300), "expert_used_count": uint32(2)}
	for name, c := range map[string]struct {
		arch      string
		keys      map[string]any
		tensor    gguf.Tensor
		semantics uint32
		says      string
	}{
		"architecture":      {arch: "mamba", says: `the architecture "mamba" is not supported`},
		"unknown key":       {arch: "llama", keys: map[string]any{"attention.sinks": true}, says: "llama.attention.sinks is not supported"},
		"wide heads":        {arch: "llama", keys: map[string]any{"attention.key_length": uint32(512), "attention.value_length": uint32(512)}, says: "models with heads of 512 are not judged, at most of 256"},
		"many heads":        {arch: "llama", keys: map[string]any{"attention.head_count": uint32(512), "attention.key_length": uint32(16), "attention.value_length": uint32(16)}, says: "a leaf has 1024 segments"},
		"many experts":      {arch: "llama", keys: mixture, says: "mixtures that use 2 of 300 experts are not judged, at most 16 of 256"},
		"odd heads in int8": {arch: "llama", semantics: core.SemanticsKV8, says: "need heads of a multiple of 32 elements, these have 16"},
		"wide rows in int8": {arch: "llama", semantics: core.SemanticsKV8, keys: map[string]any{"attention.head_count": uint32(64), "attention.key_length": uint32(256), "attention.value_length": uint32(256)},
			says: "int8 rows of 16384 elements are not judged, at most of 8192"},
		"unknown semantics": {arch: "llama", semantics: 1 | 1<<20, says: "semantics version 1048577 is not judged"},
		"long rows": {arch: "llama", keys: map[string]any{"embedding_length": uint32(1 << 16), "attention.key_length": uint32(64), "attention.value_length": uint32(64)},
			tensor: gguf.Tensor{Name: "token_embd.weight", Type: gguf.Q8_0, Dims: []uint64{1 << 16, 300}}, says: `a tile of the tensor "token_embd.weight" has 1024 partial sums, at most 960 are possible`},
		"a missing tensor": {arch: "qwen3", says: `the tensor "token_embd.weight" is missing`},
	} {
		t.Run(name, func(t *testing.T) {
			var m gguf.Metadata
			m.Set("general.architecture", c.arch)
			keys := maps.Clone(usual)
			maps.Copy(keys, c.keys)
			for k, v := range keys {
				m.Set(c.arch+"."+k, v)
			}
			if c.tensor.Name == "" {
				c.tensor = gguf.Tensor{Name: "none", Type: gguf.F32, Dims: []uint64{4}}
			}
			a := referee.Admission{Semantics: max(c.semantics, core.SemanticsV1), Description: gguf.Description(m), Vocabulary: gguf.VocabularyOf(m).Encode(),
				Index: gguf.Index(&gguf.File{Tensors: []gguf.Tensor{c.tensor}})}
			var err error
			if a.Root, err = admitted(&a); err != nil {
				t.Fatal(err)
			}
			if _, err := referee.Admit(core.ModelVariant(a.Root, a.Semantics), a); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
		})
	}
}
