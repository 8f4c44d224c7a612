package referee

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Architectures lists those whose computation is judged.
var Architectures = []string{"llama", "qwen2"}

// Admission shows a model's shape under its root.
type Admission struct {
	Description []byte // the metadata outside the tokenizer part, canonical
	Index       []byte // the tensor index, canonical
	Leaves      uint64 // leaves under the root

	DescriptionPath, IndexPath []core.Hash // siblings from the leaf upwards
}

// MaxAdmission bounds description and index together, in bytes.
const MaxAdmission = 256 << 10

// Matrix is a tensor of the model and where its weight leaves begin.
type Matrix struct {
	Name       string
	Format     gguf.Type
	Rows, Cols int
	First      uint64 // the first weight leaf; 0 stands for no tensor

	spec spec.Format
}

// layer are the tensors of one transformer block.
type layer struct {
	attentionNorm, feedNorm    Matrix
	q, k, v, o, gate, up, down Matrix
	biasQ, biasK, biasV        Matrix
}

// Model is a model's shape.
type Model struct {
	Root       core.Hash
	Leaves     uint64
	Layers     int
	Vocabulary int

	width, hidden           int
	heads, kvHeads, headDim int
	eps                     float32
	rope                    spec.RoPE
	factors                 Matrix
	embedding, norm, head   Matrix
	layers                  []layer
}

// RoPE is the rotary embedding, without its factors.
func (m *Model) RoPE() spec.RoPE { return m.rope }

// Factors is the tensor of the rotary factors; First is 0 where there is none.
func (m *Model) Factors() Matrix { return m.factors }

// Head is the output matrix.
func (m *Model) Head() Matrix { return m.head }

// Heads is the number of query heads.
func (m *Model) Heads() int { return m.heads }

// KVHeads is the number of key-value heads.
func (m *Model) KVHeads() int { return m.kvHeads }

// HeadDim is the size of a head.
func (m *Model) HeadDim() int { return m.headDim }

// Epsilon is the norms'.
func (m *Model) Epsilon() float32 { return m.eps }

func (m *Model) qWidth() int  { return m.heads * m.headDim }
func (m *Model) kvWidth() int { return m.kvHeads * m.headDim }

// Admit checks an admission against the model root and reads the model's
// shape. A model whose computation is not judged is refused by name.
func Admit(root core.Hash, a Admission) (*Model, error) {
	if len(a.Description)+len(a.Index) > MaxAdmission {
		return nil, fmt.Errorf("description and index take %d bytes, at most %d are possible", len(a.Description)+len(a.Index), MaxAdmission)
	}
	for _, part := range []struct {
		name string
		leaf core.Hash
		at   uint64
		path []core.Hash
	}{
		{"description", gguf.DescriptionLeaf(a.Description), gguf.LeafMetadata, a.DescriptionPath},
		{"index", gguf.IndexLeaf(a.Index), gguf.LeafIndex, a.IndexPath},
	} {
		if !merkle.Verify(root, part.leaf, merkle.Proof[core.Hash]{Index: part.at, Size: a.Leaves, Path: part.path}) {
			return nil, fmt.Errorf("the %s is not the one under the model root", part.name)
		}
	}
	f, err := gguf.Parse(a.Description)
	if err != nil {
		return nil, err
	}
	tensors, err := gguf.ParseIndex(a.Index)
	if err != nil {
		return nil, err
	}
	m := &Model{Root: root, Leaves: a.Leaves}
	if err := m.describe(f.Metadata); err != nil {
		return nil, err
	}
	return m, m.place(tensors)
}

// keys that the reading of a description accounts for, behind the
// architecture's name; any other could change the computation.
var keys = []string{"block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
	"attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
	"attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.dimension_count", "rope.scaling.type", "rope.scaling.factor"}

func (m *Model) describe(d gguf.Metadata) error {
	arch, err := d.Text("general.architecture")
	if err != nil {
		return err
	}
	if !slices.Contains(Architectures, arch) {
		return fmt.Errorf("models of the architecture %.40q are not judged, only of %q", arch, Architectures)
	}
	for _, k := range d.Keys() {
		if rest, ok := strings.CutPrefix(k, arch+"."); ok && !slices.Contains(keys, rest) {
			return fmt.Errorf("models with the key %.80q are not judged", k)
		}
	}
	size := func(name string, fallback int) int {
		n, e := d.Int(arch + "." + name)
		if fallback > 0 {
			n, e = gguf.Or(n, e)(fallback)
		}
		if e == nil && (n < 1 || n > 1<<20) {
			e = fmt.Errorf("%s is %d", name, n)
		}
		err = errors.Join(err, e)
		return max(n, 1)
	}
	number := func(name string, fallback float64) float32 {
		v, e := d.Float(arch + "." + name)
		if fallback > 0 {
			v, e = gguf.Or(v, e)(fallback)
		}
		if e == nil && !(v > 0 && v < 1e30) {
			e = fmt.Errorf("%s is %v", name, v)
		}
		err = errors.Join(err, e)
		return float32(v)
	}
	m.Layers, m.width, m.hidden = size("block_count", 0), size("embedding_length", 0), size("feed_forward_length", 0)
	m.heads = size("attention.head_count", 0)
	m.kvHeads = size("attention.head_count_kv", m.heads)
	m.headDim = size("attention.key_length", max(1, m.width/m.heads))
	values := size("attention.value_length", m.headDim)
	m.eps = number("attention.layer_norm_rms_epsilon", 0)
	m.rope = spec.RoPE{Dim: size("rope.dimension_count", m.headDim), Base: number("rope.freq_base", 10000)}
	if arch == "qwen2" {
		m.rope.Style = spec.RoPENeoX
	}
	scaling, e := gguf.Or(d.Text(arch + ".rope.scaling.type"))("none")
	err = errors.Join(err, e)
	switch factor := number("rope.scaling.factor", 1); scaling {
	case "none", "":
	case "linear":
		m.rope.Scale = 1 / factor
	default:
		err = errors.Join(err, fmt.Errorf("models with the position scaling %.40q are not judged", scaling))
	}
	switch {
	case err != nil:
		return err
	case m.heads%m.kvHeads != 0 || values != m.headDim || m.rope.Dim > m.headDim || m.rope.Dim%2 != 0 || m.headDim > 1<<10 || m.Layers > 1<<10:
		return errors.New("the model's heads have an impossible shape")
	case commit.TileLen%m.headDim != 0:
		return fmt.Errorf("models with heads of %d are not judged, only of divisors of %d", m.headDim, commit.TileLen)
	}
	return nil
}

// place finds every tensor of the architecture; none may be left over.
func (m *Model) place(tensors []gguf.Tensor) error {
	found := map[string]Matrix{}
	next := uint64(gguf.LeafWeights)
	for i := range tensors {
		t := &tensors[i]
		f, ok := t.Type.Format()
		if !ok {
			return fmt.Errorf("the tensor %.80q has the type %v", t.Name, t.Type)
		}
		rows := 1
		for _, d := range t.Dims[1:] {
			rows *= int(d)
		}
		found[t.Name] = Matrix{t.Name, t.Type, rows, int(t.Dims[0]), next, f}
		all, _ := gguf.WeightLeaves(t.Type, rows, int(t.Dims[0]))
		next += all
	}
	if next != m.Leaves {
		return fmt.Errorf("the index makes %d leaves, the root has %d", next, m.Leaves)
	}
	var err error
	take := func(name string, rows, cols int) Matrix {
		t, ok := found[name]
		delete(found, name)
		switch {
		case err != nil:
		case !ok:
			err = fmt.Errorf("the tensor %q is missing", name)
		case t.Rows != rows && rows > 0 || t.Cols != cols:
			err = fmt.Errorf("the tensor %q has %d rows of %d", name, t.Rows, t.Cols)
		}
		return t
	}
	optional := func(name string, rows, cols int) (t Matrix) {
		if _, ok := found[name]; ok {
			t = take(name, rows, cols)
		}
		return t
	}
	m.embedding = take("token_embd.weight", 0, m.width)
	m.Vocabulary = m.embedding.Rows
	m.norm = take("output_norm.weight", 1, m.width)
	if m.head = optional("output.weight", m.Vocabulary, m.width); m.head.First == 0 {
		m.head = m.embedding
	}
	m.factors = optional("rope_freqs.weight", 1, m.rope.Dim/2)
	q, kv := m.qWidth(), m.kvWidth()
	m.layers = make([]layer, m.Layers)
	for i := range m.layers {
		p := fmt.Sprintf("blk.%d.", i)
		m.layers[i] = layer{
			attentionNorm: take(p+"attn_norm.weight", 1, m.width), feedNorm: take(p+"ffn_norm.weight", 1, m.width),
			q: take(p+"attn_q.weight", q, m.width), k: take(p+"attn_k.weight", kv, m.width), v: take(p+"attn_v.weight", kv, m.width),
			o:    take(p+"attn_output.weight", m.width, q),
			gate: take(p+"ffn_gate.weight", m.hidden, m.width), up: take(p+"ffn_up.weight", m.hidden, m.width), down: take(p+"ffn_down.weight", m.width, m.hidden),
			biasQ: optional(p+"attn_q.bias", 1, q), biasK: optional(p+"attn_k.bias", 1, kv), biasV: optional(p+"attn_v.bias", 1, kv),
		}
		if err != nil {
			return err
		}
	}
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%d tensors have no place in the architecture", len(found))
	}
	return err
}
