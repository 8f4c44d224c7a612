package referee

import (
	"errors"
	"fmt"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Matrix is some consecutive rows of a tensor of the model, and where the
// tensor's weight leaves begin.
type Matrix struct {
	Name       string
	Format     gguf.Type
	Rows, Cols int
	Skip       int    // rows of the tensor before these
	Total      int    // rows of the tensor
	First      uint64 // the tensor's first weight leaf; 0 stands for no tensor

	spec spec.Format
}

// There reports whether there is such a tensor.
func (w Matrix) There() bool { return w.First != 0 }

// rows are some of the rows.
func (w Matrix) rows(first, n int) Matrix {
	w.Skip, w.Rows = w.Skip+first, n
	return w
}

// Decode sets dst to a row's columns as numbers.
func (w Matrix) Decode(dst []float32, row []byte) { w.spec.Decode(dst, row) }

// Accumulate continues each row's sum over the columns x, of which there are at
// most 256.
func (w Matrix) Accumulate(sums []float32, rows [][]byte, x []float32) {
	in := spec.NewInput(x)
	for i, row := range rows {
		sums[i] = spec.LinearStep(w.spec, sums[i], row, in)
	}
}

// GroupRows is how many rows of the tensor share a weight leaf.
func (w Matrix) GroupRows() int { rows, _ := gguf.WeightLeaf(w.Format); return rows }

// Groups are the groups of rows that hold rows from to to-1: how many there are,
// and the number of the first.
func (w Matrix) Groups(from, to int) (first, n int) {
	first = (w.Skip + from) / w.GroupRows()
	return first, (w.Skip+to-1)/w.GroupRows() + 1 - first
}

// Group is the range of rows of a group, as far as they are the matrix's.
func (w Matrix) Group(i int) (from, to int) {
	n := w.GroupRows()
	return max(0, i*n-w.Skip), min(w.Rows, (i+1)*n-w.Skip)
}

// Leaf is the position of a weight leaf under the model root.
func (w Matrix) Leaf(group, column int) uint64 {
	_, across := gguf.WeightLeaves(w.Format, w.Total, w.Cols)
	return w.First + uint64(group)*across + uint64(column)
}

// LeafRange is which rows of the tensor a group's leaves hold.
func (w Matrix) LeafRange(group int) (from, to int) {
	n := w.GroupRows()
	return group * n, min(w.Total, (group+1)*n)
}

// open checks a weight leaf and returns the bytes of the rows from to to-1 of
// the matrix, which it holds.
func (v *Weights) open(m *Model, w Matrix, group, column, from, to int) ([][]byte, error) {
	if v == nil {
		return nil, errors.New("the weights are not opened")
	}
	p := merkle.Proof[core.Hash]{Index: w.Leaf(group, column), Size: m.Leaves, Path: v.Path}
	if !merkle.Verify(m.Root, gguf.WeightLeafHash(v.Data), p) {
		return nil, errors.New("the weights are not those under the model root")
	}
	first, end := w.LeafRange(group)
	at := column * commit.TileLen
	size := w.Format.RowSize(min(w.Cols-at, commit.TileLen))
	if len(v.Data) != (end-first)*size {
		return nil, errors.New("the weight leaf has another size")
	}
	rows := make([][]byte, to-from)
	for i := range rows {
		k := w.Skip + from + i - first
		rows[i] = v.Data[k*size : (k+1)*size]
	}
	return rows, nil
}

// vector decodes a tile of a tensor of one row from its opened leaf.
func (v *Weights) vector(m *Model, w Matrix, tile int) ([]float32, error) {
	rows, err := v.open(m, w, 0, tile, 0, 1)
	if err != nil {
		return nil, err
	}
	at := tile * commit.TileLen
	x := make([]float32, min(w.Cols-at, commit.TileLen))
	w.Decode(x, rows[0])
	return x, nil
}

// placer gives every tensor its place; the first failure remains.
type placer struct {
	found map[string]tensor
	err   error
}

type tensor struct {
	Matrix
	dims []uint64
}

// place finds every tensor of the architecture; none may be left over.
func (m *Model) place(tensors []gguf.Tensor) error {
	p := &placer{found: map[string]tensor{}}
	next := uint64(gguf.LeafWeights)
	for i := range tensors {
		t := &tensors[i]
		f, ok := t.Type.Format()
		if !ok {
			return fmt.Errorf("the tensor %.80q has the type %v", t.Name, t.Type)
		}
		rows, cols := t.Rows(), t.Cols()
		p.found[t.Name] = tensor{Matrix{Name: t.Name, Format: t.Type, Rows: rows, Cols: cols, Total: rows, First: next, spec: f}, t.Dims}
		all, _ := gguf.WeightLeaves(t.Type, rows, cols)
		next += all
	}
	if next != m.Leaves {
		return fmt.Errorf("the index makes %d leaves, the root has %d", next, m.Leaves)
	}
	c := m.config
	m.embedding = p.embedding(c.Width)
	m.Vocabulary = m.embedding.Rows
	m.norm = p.vector("output_norm.weight", c.Width)
	if m.head = m.embedding; p.has("output.weight") {
		m.head = p.product("output.weight", c.Width, m.Vocabulary)
	}
	m.placeFactors(p)
	m.layers = make([]layer, m.Layers)
	for i := range m.layers {
		p.layer(&m.layers[i], fmt.Sprintf("blk.%d.", i), c)
		if p.err != nil {
			return p.err
		}
	}
	if p.err == nil && len(p.found) > 0 {
		p.err = fmt.Errorf("%d tensors have no place in the architecture", len(p.found))
	}
	return p.err
}

func (p *placer) has(name string) bool {
	_, ok := p.found[name]
	return ok
}

// take finds a tensor with these dimensions, fastest-varying first; dimensions
// of 1 at the end do not matter.
func (p *placer) take(name string, dims ...int) Matrix {
	t, ok := p.found[name]
	delete(p.found, name)
	if p.err != nil {
		return Matrix{}
	}
	want := make([]uint64, len(dims))
	for i, n := range dims {
		want[i] = uint64(n)
	}
	switch {
	case !ok:
		p.err = fmt.Errorf("the tensor %q is missing", name)
	case !slices.Equal(withoutOnes(t.dims), withoutOnes(want)):
		p.err = fmt.Errorf("the tensor %q has the shape %v, not %v", name, t.dims, want)
	}
	return t.Matrix
}

func withoutOnes(dims []uint64) []uint64 {
	for len(dims) > 1 && dims[len(dims)-1] == 1 {
		dims = dims[:len(dims)-1]
	}
	return dims
}

// embedding takes the table of the tokens, whose number it decides.
func (p *placer) embedding(width int) Matrix {
	const name = "token_embd.weight"
	rows := 1
	if t, ok := p.found[name]; ok {
		if rows = t.Rows; rows < 1 || rows > maxVocabulary {
			p.err = fmt.Errorf("a vocabulary of %d tokens is not judged", rows)
		}
	}
	return p.product(name, width, rows)
}

func (p *placer) vector(name string, n int) Matrix { return p.take(name, n) }

// product takes the matrix of a linear operator.
func (p *placer) product(name string, dims ...int) Matrix {
	w := p.take(name, dims...)
	p.small(w, 0)
	return w
}

// parts takes a tensor that holds several matrices, one below the other. Any of
// them may begin within a weight leaf.
func (p *placer) parts(name string, dims ...int) Matrix {
	w := p.take(name, dims...)
	p.small(w, 1)
	return w
}

// small refuses matrices whose partial sums no message could hold. A tile has
// rows of so many groups more than it would fill.
func (p *placer) small(w Matrix, more int) {
	if p.err != nil {
		return
	}
	if n := (commit.TileLen/w.GroupRows() + more) * commit.Count(w.Cols); n > maxSums {
		p.err = fmt.Errorf("rows of %d numbers in %v are not judged: a tile of the tensor %q has %d partial sums, at most %d are possible", w.Cols, w.Format, w.Name, n, maxSums)
	}
}

func (m *Model) placeFactors(p *placer) {
	c := m.config
	pairs := c.RoPEs[0].Dim / 2
	if p.has("rope_freqs.weight") && c.Family.RoPEFreqs {
		m.factors = p.vector("rope_freqs.weight", pairs)
	}
	if p.has("rope_factors_long.weight") && c.Family.LongFactors {
		short, long := p.vector("rope_factors_short.weight", pairs), p.vector("rope_factors_long.weight", pairs)
		if m.factors = short; c.Context > c.OriginalContext {
			m.factors = long
		}
	}
}

func (p *placer) layer(w *layer, prefix string, c *architecture.Config) {
	w.attentionNorm, w.feedNorm = p.vector(prefix+"attn_norm.weight", c.Width), p.vector(prefix+"ffn_norm.weight", c.Width)
	if c.Family.OutputNorms {
		w.attentionOutputNorm, w.feedOutputNorm = p.vector(prefix+"post_attention_norm.weight", c.Width), p.vector(prefix+"post_ffw_norm.weight", c.Width)
	}
	p.heads(w, prefix, c)
	w.o = p.product(prefix+"attn_output.weight", c.QWidth(), c.Width)
	switch {
	case c.Experts.Count > 0:
		p.experts(w, prefix, c)
	case c.Family.GateInUp:
		both := p.parts(prefix+"ffn_up.weight", c.Width, 2*c.Hidden)
		w.feed = feed{both.rows(0, c.Hidden), both.rows(c.Hidden, c.Hidden), p.product(prefix+"ffn_down.weight", c.Hidden, c.Width)}
	default:
		w.feed = p.feed(prefix, "", c.Width, c.Hidden)
	}
}

// heads places what makes queries, keys and values: one tensor each, or all in one.
func (p *placer) heads(w *layer, prefix string, c *architecture.Config) {
	q, kv := c.QWidth(), c.KVWidth()
	if fused := prefix + "attn_qkv.weight"; p.has(fused) {
		all := p.parts(fused, c.Width, q+2*kv)
		w.q, w.k, w.v = all.rows(0, q), all.rows(q, kv), all.rows(q+kv, kv)
	} else {
		w.q, w.k, w.v = p.product(prefix+"attn_q.weight", c.Width, q), p.product(prefix+"attn_k.weight", c.Width, kv), p.product(prefix+"attn_v.weight", c.Width, kv)
	}
	if c.Family.HeadNorms {
		w.queryNorm, w.keyNorm = p.vector(prefix+"attn_q_norm.weight", c.HeadDim), p.vector(prefix+"attn_k_norm.weight", c.HeadDim)
	}
	if c.Family.Biases == architecture.Always || c.Family.Biases == architecture.Optional && p.has(prefix+"attn_q.bias") {
		w.biasQ, w.biasK, w.biasV = p.vector(prefix+"attn_q.bias", q), p.vector(prefix+"attn_k.bias", kv), p.vector(prefix+"attn_v.bias", kv)
	}
}

func (p *placer) feed(prefix, suffix string, width, hidden int) feed {
	return feed{p.product(prefix+"ffn_gate"+suffix+".weight", width, hidden), p.product(prefix+"ffn_up"+suffix+".weight", width, hidden),
		p.product(prefix+"ffn_down"+suffix+".weight", hidden, width)}
}

func (p *placer) experts(w *layer, prefix string, c *architecture.Config) {
	e := &c.Experts
	w.router = p.product(prefix+"ffn_gate_inp.weight", c.Width, e.Count)
	w.feed = feed{p.parts(prefix+"ffn_gate_exps.weight", c.Width, e.Hidden, e.Count), p.parts(prefix+"ffn_up_exps.weight", c.Width, e.Hidden, e.Count),
		p.parts(prefix+"ffn_down_exps.weight", e.Hidden, c.Width, e.Count)}
	if e.SharedHidden > 0 {
		w.sharedGate = p.product(prefix+"ffn_gate_inp_shexp.weight", c.Width, 1)
		w.shared = p.feed(prefix, "_shexp", c.Width, e.SharedHidden)
	}
}
