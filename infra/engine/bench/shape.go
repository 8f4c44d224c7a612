package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"unicode/utf8"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Shape describes a model to be filled with random weights: speed depends on
// sizes and formats, not on what the weights say.
type Shape struct {
	Name           string
	Architecture   string // "llama" or "qwen2"
	Layers, Width  int
	Heads, KVHeads int
	Hidden         int
	Vocabulary     int
	Context        int
	Tied           bool // the output matrix is the embedding
}

// Shapes that the published figures refer to.
var (
	Half = Shape{Name: "0.5B", Architecture: "qwen2", Layers: 24, Width: 896, Heads: 14, KVHeads: 2, Hidden: 4864,
		Vocabulary: 151936, Context: 32768, Tied: true}
	One = Shape{Name: "1.1B", Architecture: "llama", Layers: 22, Width: 2048, Heads: 32, KVHeads: 4, Hidden: 5632,
		Vocabulary: 32000, Context: 2048}
)

// Builder returns a file of the shape with random weights of type t, Q8_0 or
// Q4_0, in its matrices, from a fixed seed. Matrices share their random bytes,
// so that its memory is about that of the largest one.
func (s Shape) Builder(t gguf.Type) (*gguf.Builder, error) {
	if t != gguf.Q8_0 && t != gguf.Q4_0 {
		return nil, fmt.Errorf("random weights of type %v", t)
	}
	b := &gguf.Builder{}
	r := rand.New(rand.NewPCG(uint64(s.Width), uint64(t)))
	s.describe(b, r)
	f := &filler{builder: b, format: t, random: r, rows: map[int][]byte{}}
	kv := s.Width / s.Heads * s.KVHeads
	f.matrix("token_embd.weight", s.Width, s.Vocabulary)
	if !s.Tied {
		f.matrix("output.weight", s.Width, s.Vocabulary)
	}
	f.vector("output_norm.weight", s.Width, 1)
	for i := range s.Layers {
		p := fmt.Sprintf("blk.%d.", i)
		f.vector(p+"attn_norm.weight", s.Width, 1)
		f.vector(p+"ffn_norm.weight", s.Width, 1)
		f.matrix(p+"attn_q.weight", s.Width, s.Width)
		f.matrix(p+"attn_k.weight", s.Width, kv)
		f.matrix(p+"attn_v.weight", s.Width, kv)
		f.matrix(p+"attn_output.weight", s.Width, s.Width)
		f.matrix(p+"ffn_gate.weight", s.Width, s.Hidden)
		f.matrix(p+"ffn_up.weight", s.Width, s.Hidden)
		f.matrix(p+"ffn_down.weight", s.Hidden, s.Width)
		if s.Architecture == "qwen2" {
			f.vector(p+"attn_q.bias", s.Width, 0)
			f.vector(p+"attn_k.bias", kv, 0)
			f.vector(p+"attn_v.bias", kv, 0)
		}
	}
	return b, f.err
}

func (s Shape) describe(b *gguf.Builder, r *rand.Rand) {
	b.Set("general.architecture", s.Architecture)
	b.Set("general.name", s.Name+" of random weights")
	key := func(k string) string { return s.Architecture + "." + k }
	b.Set(key("block_count"), uint32(s.Layers))
	b.Set(key("embedding_length"), uint32(s.Width))
	b.Set(key("feed_forward_length"), uint32(s.Hidden))
	b.Set(key("context_length"), uint32(s.Context))
	b.Set(key("attention.head_count"), uint32(s.Heads))
	b.Set(key("attention.head_count_kv"), uint32(s.KVHeads))
	b.Set(key("attention.layer_norm_rms_epsilon"), float32(1e-6))
	b.Set(key("rope.dimension_count"), uint32(s.Width/s.Heads))
	b.Set(key("rope.freq_base"), float32(10000))
	texts, kinds, merges := vocabulary(r, s.Vocabulary)
	b.Set("tokenizer.ggml.model", "gpt2")
	b.Set("tokenizer.ggml.pre", "qwen2")
	b.Set("tokenizer.ggml.tokens", texts)
	b.Set("tokenizer.ggml.token_type", kinds)
	b.Set("tokenizer.ggml.merges", merges)
	b.Set("tokenizer.ggml.eos_token_id", uint32(s.Vocabulary-1))
	b.Set("tokenizer.ggml.bos_token_id", uint32(s.Vocabulary-1))
	b.Set("tokenizer.ggml.add_bos_token", false)
}

// vocabulary makes up n byte-level tokens, as many merges as they need, and at
// the end <|im_end|>.
func vocabulary(r *rand.Rand, n int) (texts []string, kinds []int32, merges []string) {
	next := rune(256)
	known := map[string]bool{}
	for b := range 256 {
		c := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			c = next
			next++
		}
		texts = append(texts, string(c))
		known[string(c)] = true
	}
	// Letters first, behind a space or not: words grow out of them.
	parts := []string{"Ġ"}
	for c := 'a'; c <= 'z'; c++ {
		parts = append(parts, string(c))
	}
	for len(texts) < n-1 {
		left, right := parts[r.IntN(len(parts))], parts[1+r.IntN(min(len(parts), 4000)-1)]
		if whole := left + right; right[0] < utf8.RuneSelf && len(whole) < 20 && !known[whole] {
			known[whole] = true
			texts, merges, parts = append(texts, whole), append(merges, left+" "+right), append(parts, whole)
		}
	}
	texts = append(texts, "<|im_end|>")
	kinds = make([]int32, n)
	for i := range kinds {
		kinds[i] = 1
	}
	kinds[n-1] = 3
	return texts, kinds, merges
}

// filler adds tensors until the first failure.
type filler struct {
	builder *gguf.Builder
	format  gguf.Type
	random  *rand.Rand
	rows    map[int][]byte // random rows by their number of columns, shared by tensors
	err     error
}

func (f *filler) add(name string, t gguf.Type, data []byte, dims ...int) {
	if f.err == nil {
		f.err = f.builder.Add(name, t, dims, data)
	}
}

func (f *filler) vector(name string, n int, value float32) {
	data := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(value))
	}
	f.add(name, gguf.F32, data, n)
}

// matrix adds random weights whose products with unit activations have about
// unit variance: quants are noise, scales follow from the width.
func (f *filler) matrix(name string, cols, rows int) {
	need := f.format.RowSize(cols) * rows
	if len(f.rows[cols]) < need {
		f.rows[cols] = f.fill(need, cols)
	}
	f.add(name, f.format, f.rows[cols][:need], cols, rows)
}

func (f *filler) fill(n, cols int) []byte {
	data := make([]byte, (n+7)&^7)
	for i := 0; i < len(data); i += 8 {
		binary.LittleEndian.PutUint64(data[i:], f.random.Uint64())
	}
	deviation := 73.9 // of uniform bytes
	if f.format == gguf.Q4_0 {
		deviation = 4.6
	}
	scale := spec.FloatToHalf(float32(1 / (deviation * math.Sqrt(float64(cols)))))
	_, size := f.format.Block()
	for i := 0; i < n; i += size {
		binary.LittleEndian.PutUint16(data[i:], scale)
	}
	return data[:n]
}
