package model

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// layer is one transformer block.
type layer struct {
	attentionNorm, feedNorm []float32
	bias                    []float32 // query, key and value rows one after the other, or nil
	q, k, v, o              *kernel.Matrix
	gate, up, down          *kernel.Matrix
}

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
	format gguf.Type
	rows   int
	data   []byte
}

func (e *embedding) row(dst []float32, t core.Token) {
	size := len(e.data) / e.rows
	row := e.data[int(t)*size : (int(t)+1)*size]
	switch e.format {
	case gguf.F32:
		spec.DecodeF32(dst, row)
	case gguf.F16:
		spec.DecodeF16(dst, row)
	case gguf.Q8_0:
		spec.DequantizeQ8(dst, row)
	case gguf.Q4_0:
		spec.DequantizeQ4(dst, row)
	}
}

// loader takes tensors by name, checks their shapes and packs them in parallel.
// After the first failure it does nothing.
type loader struct {
	file *gguf.File
	used map[string]bool

	tasks sync.WaitGroup
	slots chan struct{}
	mu    sync.Mutex
	err   error
}

// load reads all weights. Every tensor of the file must have a place in the
// architecture: one left over would mean a model that computes something else.
func load(f *gguf.File, c *config, vocabulary, threads int) (*weights, error) {
	l := &loader{file: f, used: map[string]bool{}, slots: make(chan struct{}, max(1, min(threads, runtime.NumCPU())))}
	w := &weights{layers: make([]layer, c.layers)}
	w.embedding = l.embedding("token_embd.weight", vocabulary, c.width)
	l.vector(&w.finalNorm, "output_norm.weight", c.width)
	if _, ok := f.Tensor("output.weight"); ok {
		l.matrix(&w.head, "output.weight", vocabulary, c.width)
	} else {
		l.matrix(&w.head, "token_embd.weight", vocabulary, c.width)
	}
	for i := range w.layers {
		l.layer(&w.layers[i], fmt.Sprintf("blk.%d.", i), c)
	}
	if _, ok := f.Tensor("rope_freqs.weight"); ok {
		l.vector(&c.rope.Factors, "rope_freqs.weight", c.rope.Dim/2)
	}
	l.tasks.Wait()
	for i := range f.Tensors {
		t := &f.Tensors[i]
		w.parameters += uint64(t.Elements())
		if !l.used[t.Name] {
			l.fail(fmt.Errorf("the tensor %q has no place in the architecture %s", t.Name, c.architecture))
		}
	}
	for _, v := range c.rope.Factors {
		if v <= 0 {
			l.fail(fmt.Errorf("tensor \"rope_freqs.weight\" holds the factor %v", v))
		}
	}
	return w, l.err
}

func (l *loader) layer(w *layer, prefix string, c *config) {
	l.vector(&w.attentionNorm, prefix+"attn_norm.weight", c.width)
	l.vector(&w.feedNorm, prefix+"ffn_norm.weight", c.width)
	l.matrix(&w.q, prefix+"attn_q.weight", c.qWidth(), c.width)
	l.matrix(&w.k, prefix+"attn_k.weight", c.kvWidth(), c.width)
	l.matrix(&w.v, prefix+"attn_v.weight", c.kvWidth(), c.width)
	l.matrix(&w.o, prefix+"attn_output.weight", c.width, c.qWidth())
	l.matrix(&w.gate, prefix+"ffn_gate.weight", c.hidden, c.width)
	l.matrix(&w.up, prefix+"ffn_up.weight", c.hidden, c.width)
	l.matrix(&w.down, prefix+"ffn_down.weight", c.width, c.hidden)

	_, biased := l.file.Tensor(prefix + "attn_q.bias")
	if c.architecture == "qwen2" || biased {
		var q, k, v []float32
		l.vector(&q, prefix+"attn_q.bias", c.qWidth())
		l.vector(&k, prefix+"attn_k.bias", c.kvWidth())
		l.vector(&v, prefix+"attn_v.bias", c.kvWidth())
		w.bias = append(append(q, k...), v...)
	}
}

func (l *loader) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *loader) failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// take returns the bytes of a tensor of rows x cols (rows 0: a vector).
func (l *loader) take(name string, rows, cols int) (*gguf.Tensor, []byte) {
	if l.failed() {
		return nil, nil
	}
	t, ok := l.file.Tensor(name)
	if !ok {
		l.fail(fmt.Errorf("the tensor %q is missing", name))
		return nil, nil
	}
	l.used[name] = true
	want := []uint64{uint64(cols)}
	if rows > 0 {
		want = append(want, uint64(rows))
	}
	shape := t.Dims
	for len(shape) > len(want) && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	if fmt.Sprint(shape) != fmt.Sprint(want) {
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

func (l *loader) embedding(name string, rows, cols int) embedding {
	t, data := l.take(name, rows, cols)
	if t == nil {
		return embedding{}
	}
	return embedding{format: t.Type, rows: rows, data: data}
}

func (l *loader) vector(dst *[]float32, name string, n int) {
	t, data := l.take(name, 0, n)
	if t == nil {
		return
	}
	*dst = make([]float32, n)
	gguf.Dequantize(t.Type, data, *dst)
	if !spec.Finite(*dst) {
		l.fail(fmt.Errorf("the tensor %q holds a value that is not finite", name))
	}
}

var formats = map[gguf.Type]kernel.Format{
	gguf.F32: kernel.F32, gguf.F16: kernel.F16, gguf.Q8_0: kernel.Q8_0, gguf.Q4_0: kernel.Q4_0,
}

func (l *loader) matrix(dst **kernel.Matrix, name string, rows, cols int) {
	t, data := l.take(name, rows, cols)
	if t == nil {
		return
	}
	l.slots <- struct{}{}
	l.tasks.Go(func() {
		defer func() { <-l.slots }()
		m, err := kernel.NewMatrix(formats[t.Type], rows, cols, data)
		if err != nil {
			l.fail(fmt.Errorf("the tensor %q: %w", name, err))
			return
		}
		*dst = m
	})
}

// blockBytes is the memory of one block of the KV cache: keys, values and
// boundary digests of all layers for kernel.PageTokens positions.
func (c *config) blockBytes() (int64, bool) {
	hi, floats := bits.Mul64(uint64(c.layers)*2, uint64(c.kvWidth())*kernel.PageTokens)
	total := 4*floats + uint64(c.layers+1)*kernel.PageTokens*uint64(len(core.Hash{}))
	return int64(total), hi == 0 && total < 1<<40
}
