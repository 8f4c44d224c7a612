package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// parrot writes a model that answers "ok" to everything, with a context as long
// as programs need that bring prompts of 20,000 tokens along. What it says next
// depends on the last token alone; otherwise it computes like any Llama.
func parrot(t testing.TB) string {
	t.Helper()
	var corpus []byte
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"} {
		b, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		corpus = append(corpus, b...)
	}
	v, err := token.TrainBPE(string(corpus), 4096, []string{"<end>"})
	if err != nil {
		t.Fatal(err)
	}
	const width, hidden, head = 32, 32, 16
	var b gguf.Builder
	for key, value := range map[string]any{
		"general.architecture": "llama", "general.name": "parrot", "general.sampling.temp": float32(0),
		"llama.block_count": uint32(1), "llama.embedding_length": uint32(width), "llama.feed_forward_length": uint32(hidden), "llama.context_length": uint32(65536),
		"llama.attention.head_count": uint32(1), "llama.attention.head_count_kv": uint32(1), "llama.attention.layer_norm_rms_epsilon": float32(1e-5),
		"llama.attention.key_length": uint32(head), "llama.attention.value_length": uint32(head), "llama.rope.dimension_count": uint32(head),
	} {
		b.Set(key, value)
	}
	if err := v.Describe(&b.Metadata, "", "<end>"); err != nil {
		t.Fatal(err)
	}
	b.Set("tokenizer.chat_template", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:\n")
	tk, err := token.New(b.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	// Any token leads to o, o to k, and k to the end.
	n := tk.Size()
	o, k := tk.Encode("o", token.Options{})[0], tk.Encode("k", token.Options{})[0]
	embedding, output := make([]float32, n*width), make([]float32, n*width)
	for i := range n {
		embedding[i*width] = 1
	}
	embedding[int(o)*width], embedding[int(o)*width+1] = 0, 1
	embedding[int(k)*width], embedding[int(k)*width+2] = 0, 1
	output[int(o)*width], output[int(k)*width+1], output[int(tk.EOS())*width+2] = 9, 9, 9
	add := func(name string, values []float32, dims ...int) {
		size := 1
		for _, d := range dims {
			size *= d
		}
		if values == nil {
			values = make([]float32, size)
		}
		if err := b.AddFloats(name, gguf.F32, dims, values); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", name, err))
		}
	}
	ones := make([]float32, width)
	for i := range ones {
		ones[i] = 1
	}
	add("token_embd.weight", embedding, width, n)
	add("output.weight", output, width, n)
	add("output_norm.weight", ones, width)
	add("blk.0.attn_norm.weight", ones, width)
	add("blk.0.ffn_norm.weight", ones, width)
	add("blk.0.attn_q.weight", nil, width, head)
	add("blk.0.attn_k.weight", nil, width, head)
	add("blk.0.attn_v.weight", nil, width, head)
	add("blk.0.attn_output.weight", nil, head, width)
	add("blk.0.ffn_gate.weight", nil, width, hidden)
	add("blk.0.ffn_up.weight", nil, width, hidden)
	add("blk.0.ffn_down.weight", nil, hidden, width)
	path := filepath.Join(t.TempDir(), "parrot.gguf")
	if err := b.Create(path); err != nil {
		t.Fatal(err)
	}
	return path
}
