package train

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Weights are the parameters of a model. Matrices are row-major with one row
// per output.
type Weights struct {
	Config Config
	all    []float32
	embed  []float32 // Vocabulary x Dim, also the output matrix
	layers []layer
	norm   []float32 // Dim
}

// layer holds one block's parameters; qkv is query, key and value rows in this
// order, gateUp gate rows and then up rows.
type layer struct {
	attnNorm []float32 // Dim
	qkv      []float32 // (Heads+2*KVHeads)*HeadDim x Dim
	out      []float32 // Dim x Heads*HeadDim
	ffnNorm  []float32 // Dim
	gateUp   []float32 // 2*FeedForward x Dim
	down     []float32 // Dim x FeedForward
}

// view lays a model over all, which has c.Parameters() elements.
func view(c Config, all []float32) *Weights {
	w := &Weights{Config: c, all: all}
	take := func(n int) []float32 {
		p := all[:n:n]
		all = all[n:]
		return p
	}
	w.embed = take(c.Vocabulary * c.Dim)
	for range c.Layers {
		w.layers = append(w.layers, layer{
			attnNorm: take(c.Dim), qkv: take(c.qkvDim() * c.Dim), out: take(c.Dim * c.attnDim()),
			ffnNorm: take(c.Dim), gateUp: take(2 * c.FeedForward * c.Dim), down: take(c.Dim * c.FeedForward),
		})
	}
	w.norm = take(c.Dim)
	return w
}

// Tensor is one weight tensor as GGUF files name and lay it out.
type Tensor struct {
	Name string
	Dims []int // fastest-varying first
	Data []float32
}

// Tensors lists the weights in the order of a GGUF file. Data is not copied.
func (w *Weights) Tensors() []Tensor {
	c := w.Config
	q, kv := c.attnDim()*c.Dim, c.KVHeads*c.HeadDim*c.Dim
	list := []Tensor{{"token_embd.weight", []int{c.Dim, c.Vocabulary}, w.embed}}
	for i, l := range w.layers {
		add := func(name string, data []float32, dims ...int) {
			list = append(list, Tensor{fmt.Sprintf("blk.%d.%s.weight", i, name), dims, data})
		}
		add("attn_norm", l.attnNorm, c.Dim)
		add("attn_q", l.qkv[:q], c.Dim, c.attnDim())
		add("attn_k", l.qkv[q:q+kv], c.Dim, c.KVHeads*c.HeadDim)
		add("attn_v", l.qkv[q+kv:], c.Dim, c.KVHeads*c.HeadDim)
		add("attn_output", l.out, c.attnDim(), c.Dim)
		add("ffn_norm", l.ffnNorm, c.Dim)
		add("ffn_gate", l.gateUp[:c.FeedForward*c.Dim], c.Dim, c.FeedForward)
		add("ffn_up", l.gateUp[c.FeedForward*c.Dim:], c.Dim, c.FeedForward)
		add("ffn_down", l.down, c.FeedForward, c.Dim)
	}
	return append(list, Tensor{"output_norm.weight", []int{c.Dim}, w.norm})
}

// Digest is SHA-256 over all weights as little-endian float32, embedding
// first, then layer by layer in the order of type layer, then the final norm.
func (w *Weights) Digest() [32]byte {
	h := sha256.New()
	var b []byte
	for _, v := range w.all {
		if b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v)); len(b) == 1<<14 {
			h.Write(b)
			b = b[:0]
		}
	}
	h.Write(b)
	return [32]byte(h.Sum(nil))
}

// Load makes weights from tensors in the form that [Weights.Tensors] lists
// them; every one of the configuration must be there, with its shape.
func Load(c Config, tensors []Tensor) (*Weights, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	w := view(c, make([]float32, c.Parameters()))
	for _, want := range w.Tensors() {
		i := slices.IndexFunc(tensors, func(t Tensor) bool { return t.Name == want.Name })
		if i < 0 || !slices.Equal(tensors[i].Dims, want.Dims) || len(tensors[i].Data) != len(want.Data) {
			return nil, fmt.Errorf("train: the tensor %s is missing or not of shape %v", want.Name, want.Dims)
		}
		copy(want.Data, tensors[i].Data)
	}
	return w, nil
}
