package gguf

import (
	"testing"
)

func FuzzParseVocabulary(f *testing.F) {
	var m Metadata
	m.Set("tokenizer.ggml.model", "llama")
	m.Set("tokenizer.ggml.tokens", []string{"<unk>", "<s>", "</s>", "a"})
	f.Add(VocabularyOf(m).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseVocabulary(b); err == nil && string(v.Encode()) != string(b) {
			t.Fatal("a summary has two encodings")
		}
	})
}

func TestWhatAVocabularySaysOfItself(t *testing.T) {
	var m Metadata
	if v := VocabularyOf(m); v.Size != 0 || v.EOS != NoToken || v.BOS != NoToken {
		t.Errorf("%+v", v)
	}
	m.Set("tokenizer.ggml.model", "llama")
	m.Set("tokenizer.ggml.tokens", []string{"<unk>", "<s>", "</s>", "a"})
	v := VocabularyOf(m)
	if v.BOS != 1 || v.EOS != 2 || v.EOT != NoToken || v.Size != 4 {
		t.Errorf("%+v", v)
	}
	m.Set("tokenizer.ggml.eos_token_id", uint32(3))
	m.Set("tokenizer.ggml.eot_token_id", uint32(4)) // outside
	m.Set("tokenizer.ggml.token_type", []int32{2, 3, 3, 1})
	if w := VocabularyOf(m); w.EOS != 3 || w.EOT != NoToken || w.Root == v.Root {
		t.Errorf("%+v", w)
	}
}
