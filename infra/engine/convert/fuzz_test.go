package convert

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// FuzzSafetensors parses files and reads what they say they hold.
func FuzzSafetensors(f *testing.F) {
	add := func(header string, data int) {
		f.Add(slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), []byte(header), make([]byte, data)))
	}
	add(`{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}}`, 32)
	add(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, 0)
	add(`{"a":{"dtype":"I8","shape":[],"data_offsets":[0,1]},"__metadata__":{}}`, 1)
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 127})
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := parseSafetensors(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, s := range tensors {
			if _, err := s.kind(); err != nil || len(s.shape) == 0 {
				continue
			}
			n := 1
			for _, d := range s.shape[:len(s.shape)-1] {
				n *= d
			}
			if err := s.read(make([]float32, n*s.cols()), 0, n); err != nil {
				t.Fatalf("%v: %v", s.shape, err)
			}
		}
	})
}

// FuzzModelConfig converts configurations, with the tensors of a small model.
func FuzzModelConfig(f *testing.F) {
	for _, kind := range ModelTypes() {
		b, err := json.Marshal(modelFolder(kind).config)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"model_type":"llama","num_hidden_layers":1,"hidden_size":8,"num_attention_heads":3,"max_position_embeddings":9,"rope_scaling":{"type":"llama3","factor":2}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseModelConfig(b)
		if err != nil {
			return
		}
		var m gguf.Metadata
		_, _ = c.metadata(&m)
		files := &weightFiles{tensors: map[string]*stored{}}
		for name, shape := range modelFolder(c.ModelType).tensors {
			files.tensors[name] = &stored{name: name, dtype: "F32", shape: shape}
		}
		_, _ = c.assemble(files)
	})
}

// FuzzTokenizer converts tokenizers; one that is taken works in the engine.
func FuzzTokenizer(f *testing.F) {
	b, err := json.Marshal(byteLevelTokenizer())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"model":{"type":"BPE","byte_fallback":true,"vocab":{"<unk>":0,"a":1},"merges":[["a","a"]],"unk_token":"<unk>"},"added_tokens":[{"id":3,"content":"x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m gguf.Metadata
		_ = convertTokenizer(b, &tokenizerConfig{BOS: "<s>"}, &modelConfig{Vocabulary: 1000}, &m)
	})
}
