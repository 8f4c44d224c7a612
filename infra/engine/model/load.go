package model

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// layer is one transformer block. Parts that the architecture does not have
// are nil.
type layer struct {
	attentionNorm, attentionOutputNorm []float32
	queryNorm, keyNorm                 []float32 // of each head
	bias                               []float32 // query, key and value rows one after the other
	q, k, v, o                         *kernel.Matrix

	feedNorm, feedOutputNorm []float32
	feed                     feed
	router                   *kernel.Matrix
	experts                  []feed
	shared                   feed
	sharedGate               *kernel.Matrix
}

// feed is a gated feed-forward network.
type feed struct{ gate, up, down *kernel.Matrix }

// weights are a model's parameters, packed for the kernels.
type weights struct {
	embedding  embedding
	layers     []layer
	finalNorm  []float32
	head       *kernel.Matrix
	parameters uint64
}

// embedding looks up token rows in the file's own encoding.
type embedding struct {
	format spec.Format
	rows   int
	data   []byte
}

func (e *embedding) row(dst []float32, t core.Token) {
	size := len(e.data) / e.rows
	e.format.Decode(dst, e.data[int(t)*size:(int(t)+1)*size])
}

// loader takes tensors by name, checks their shapes and finds their packed
// matrices. After the first failure it does nothing.
type loader struct {
	file    *gguf.File
	storage *storage
	used    map[string]bool
	err     error
}

// load reads all weights. Every tensor of the file must have a place in the
// architecture: one left over would mean a model that computes something else.
func load(s *storage, c *config, vocabulary int) (*weights, error) {
	f := s.file
	l := &loader{file: f, storage: s, used: map[string]bool{}}
	w := &weights{layers: make([]layer, c.Layers)}
	w.embedding = l.embedding("token_embd.weight", vocabulary, c.Width)
	l.vector(&w.finalNorm, "output_norm.weight", c.Width)
	s.stage = c.Layers
	if _, ok := f.Tensor("output.weight"); ok {
		l.matrix(&w.head, "output.weight", vocabulary, c.Width)
	} else {
		l.matrix(&w.head, "token_embd.weight", vocabulary, c.Width)
	}
	for i := range w.layers {
		s.stage = i
		l.layer(&w.layers[i], fmt.Sprintf("blk.%d.", i), c)
	}
	l.factors(c)
	for i := range f.Tensors {
		t := &f.Tensors[i]
		w.parameters += uint64(t.Elements())
		if !l.used[t.Name] {
			l.fail(fmt.Errorf("the tensor %q has no place in the architecture %s", t.Name, c.Architecture))
		}
	}
	return w, l.err
}

func (l *loader) layer(w *layer, prefix string, c *config) {
	l.vector(&w.attentionNorm, prefix+"attn_norm.weight", c.Width)
	l.vector(&w.feedNorm, prefix+"ffn_norm.weight", c.Width)
	if c.Family.OutputNorms {
		l.vector(&w.attentionOutputNorm, prefix+"post_attention_norm.weight", c.Width)
		l.vector(&w.feedOutputNorm, prefix+"post_ffw_norm.weight", c.Width)
	}
	l.heads(w, prefix, c)
	l.matrix(&w.o, prefix+"attn_output.weight", c.Width, c.QWidth())
	switch {
	case c.Experts.Count > 0:
		l.experts(w, prefix, c)
	case c.Family.GateInUp:
		l.parts(prefix+"ffn_up.weight", []int{c.Width, 2 * c.Hidden}, part{&w.feed.gate, c.Hidden}, part{&w.feed.up, c.Hidden})
		l.matrix(&w.feed.down, prefix+"ffn_down.weight", c.Width, c.Hidden)
	default:
		l.feed(&w.feed, prefix, "", c.Width, c.Hidden)
	}
}

// heads loads what makes queries, keys and values: one tensor each, or all in one.
func (l *loader) heads(w *layer, prefix string, c *config) {
	q, kv := c.QWidth(), c.KVWidth()
	if _, fused := l.file.Tensor(prefix + "attn_qkv.weight"); fused {
		l.parts(prefix+"attn_qkv.weight", []int{c.Width, q + 2*kv}, part{&w.q, q}, part{&w.k, kv}, part{&w.v, kv})
	} else {
		l.matrix(&w.q, prefix+"attn_q.weight", q, c.Width)
		l.matrix(&w.k, prefix+"attn_k.weight", kv, c.Width)
		l.matrix(&w.v, prefix+"attn_v.weight", kv, c.Width)
	}
	if c.Family.HeadNorms {
		l.vector(&w.queryNorm, prefix+"attn_q_norm.weight", c.HeadDim)
		l.vector(&w.keyNorm, prefix+"attn_k_norm.weight", c.HeadDim)
	}
	_, biased := l.file.Tensor(prefix + "attn_q.bias")
	if c.Family.Biases == architecture.Always || c.Family.Biases == architecture.Optional && biased {
		var q, k, v []float32
		l.vector(&q, prefix+"attn_q.bias", c.QWidth())
		l.vector(&k, prefix+"attn_k.bias", kv)
		l.vector(&v, prefix+"attn_v.bias", kv)
		w.bias = append(append(q, k...), v...)
	}
}

func (l *loader) feed(w *feed, prefix, suffix string, width, hidden int) {
	l.matrix(&w.gate, prefix+"ffn_gate"+suffix+".weight", hidden, width)
	l.matrix(&w.up, prefix+"ffn_up"+suffix+".weight", hidden, width)
	l.matrix(&w.down, prefix+"ffn_down"+suffix+".weight", width, hidden)
}

// experts loads a mixture: the experts' matrices are slices of tensors with a
// third dimension.
func (l *loader) experts(w *layer, prefix string, c *config) {
	e := &c.Experts
	w.experts = make([]feed, e.Count)
	gates, ups, downs := make([]part, e.Count), make([]part, e.Count), make([]part, e.Count)
	for i := range w.experts {
		f := &w.experts[i]
		gates[i], ups[i], downs[i] = part{&f.gate, e.Hidden}, part{&f.up, e.Hidden}, part{&f.down, c.Width}
	}
	l.matrix(&w.router, prefix+"ffn_gate_inp.weight", e.Count, c.Width)
	l.parts(prefix+"ffn_gate_exps.weight", []int{c.Width, e.Hidden, e.Count}, gates...)
	l.parts(prefix+"ffn_up_exps.weight", []int{c.Width, e.Hidden, e.Count}, ups...)
	l.parts(prefix+"ffn_down_exps.weight", []int{e.Hidden, c.Width, e.Count}, downs...)
	if e.SharedHidden > 0 {
		l.matrix(&w.sharedGate, prefix+"ffn_gate_inp_shexp.weight", 1, c.Width)
		l.feed(&w.shared, prefix, "_shexp", c.Width, e.SharedHidden)
	}
}

func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// take returns the bytes of a tensor with these dimensions, fastest-varying
// first; dimensions of 1 at the end do not matter.
func (l *loader) take(name string, dims ...int) (*gguf.Tensor, []byte) {
	if l.err != nil {
		return nil, nil
	}
	t, ok := l.file.Tensor(name)
	if !ok {
		l.fail(fmt.Errorf("the tensor %q is missing", name))
		return nil, nil
	}
	l.used[name] = true
	want := make([]uint64, len(dims))
	for i, n := range dims {
		want[i] = uint64(n)
	}
	if !slices.Equal(withoutOnes(t.Dims), withoutOnes(want)) {
		l.fail(fmt.Errorf("the tensor %q has the shape %v, not %v", name, t.Dims, want))
		return nil, nil
	}
	data, err := l.file.Data(t)
	if err != nil {
		l.fail(err)
		return nil, nil
	}
	return t, data
}

func withoutOnes(dims []uint64) []uint64 {
	for len(dims) > 1 && dims[len(dims)-1] == 1 {
		dims = dims[:len(dims)-1]
	}
	return dims
}

func (l *loader) embedding(name string, rows, cols int) embedding {
	t, data := l.take(name, cols, rows)
	if t == nil {
		return embedding{}
	}
	format, _ := t.Type.Format()
	return embedding{format: format, rows: rows, data: data}
}

func (l *loader) vector(dst *[]float32, name string, n int) {
	t, data := l.take(name, n)
	if t == nil {
		return
	}
	*dst = make([]float32, n)
	gguf.Dequantize(t.Type, data, *dst)
	if !spec.Finite(*dst) {
		l.fail(fmt.Errorf("the tensor %q holds a value that is not finite", name))
	}
}

func (l *loader) matrix(dst **kernel.Matrix, name string, rows, cols int) {
	l.parts(name, []int{cols, rows}, part{dst, rows})
}

// part is a matrix of some of a tensor's rows.
type part struct {
	dst  **kernel.Matrix
	rows int
}

// parts cuts a tensor into matrices.
func (l *loader) parts(name string, dims []int, parts ...part) {
	t, _ := l.take(name, dims...)
	if t == nil {
		return
	}
	first := 0
	for _, p := range parts {
		m, err := l.storage.matrix(t, first, p.rows)
		if err != nil {
			l.fail(fmt.Errorf("the tensor %q: %w", name, err))
			return
		}
		*p.dst = m
		first += p.rows
	}
}

// blockBytes is the memory of one block of the KV cache: keys, values and
// boundary digests of all layers for kernel.PageTokens positions.
func (c *config) blockBytes() (int64, bool) {
	hi, pages := bits.Mul64(uint64(c.Layers), uint64(c.shape().PageBytes()))
	total := pages + uint64(c.Layers+1)*kernel.PageTokens*uint64(len(core.Hash{}))
	return int64(total), hi == 0 && total < 1<<40
}
