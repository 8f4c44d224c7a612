package referee

import (
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Admission shows a model's shape under its root.
type Admission struct {
	Root        core.Hash // of the weights; the model's id, but for options of the semantics
	Semantics   uint32
	Description []byte // the metadata outside the tokenizer part, canonical
	Index       []byte // the tensor index, canonical
	Vocabulary  []byte // the vocabulary's summary
	Leaves      uint64 // leaves under the root

	DescriptionPath, IndexPath, VocabularyPath []core.Hash // siblings from the leaf upwards
}

// MaxAdmission bounds description, index and vocabulary together, in bytes.
const MaxAdmission = 256 << 10

// Model is a model's shape.
type Model struct {
	ID         core.ModelID // its name on the network
	Semantics  uint32
	Root       core.Hash // of the tree of weights
	Leaves     uint64
	Layers     int
	Vocabulary int

	config                *architecture.Config
	tokens                gguf.Vocabulary
	int8                  bool   // keys and values are kept as int8
	factors               Matrix // of the first rotary embedding
	embedding, norm, head Matrix
	layers                []layer
}

// layer are the tensors of one transformer block; those that the architecture
// does not have stand for no tensor.
type layer struct {
	attentionNorm, attentionOutputNorm Matrix
	queryNorm, keyNorm                 Matrix // of each head
	q, k, v, o                         Matrix
	biasQ, biasK, biasV                Matrix

	feedNorm, feedOutputNorm Matrix
	feed                     feed // with experts: those of all, one below the other
	router                   Matrix
	shared                   feed
	sharedGate               Matrix
}

// feed is a gated feed-forward network.
type feed struct{ gate, up, down Matrix }

// Head is the output matrix.
func (m *Model) Head() Matrix { return m.head }

// Heads is the number of query heads.
func (m *Model) Heads() int { return m.config.Heads }

// HeadDim is the size of a head.
func (m *Model) HeadDim() int { return m.config.HeadDim }

// Config is what the model computes.
func (m *Model) Config() *architecture.Config { return m.config }

// Int8 reports whether keys and values are kept as int8.
func (m *Model) Int8() bool { return m.int8 }

// Logit is a logit, given the product that it is made of.
func (m *Model) Logit(product float32) float32 {
	if m.config.LogitCap == 0 {
		return product
	}
	x := []float32{product}
	spec.SoftCap(x, m.config.LogitCap)
	return x[0]
}

// Part is how many numbers of an attention's result are summed and disputed
// together: a head, or a block of a head where values are kept as int8.
func (m *Model) Part() int {
	if m.int8 {
		return spec.Block
	}
	return m.config.HeadDim
}

// Parts is how many parts there are.
func (m *Model) Parts() int { return m.config.QWidth() / m.Part() }

// HeadOf is the query head that a part belongs to.
func (m *Model) HeadOf(part int) int { return part * m.Part() / m.config.HeadDim }

// PartRange is where the row of keys or values holds what belongs to a part of
// the result.
func (m *Model) PartRange(part int) (from, to int) {
	c := m.config
	h, rest := m.HeadOf(part), part*m.Part()%c.HeadDim
	from = h/(c.Heads/c.KVHeads)*c.HeadDim + rest
	return from, from + m.Part()
}

// HeadRange is where the row of keys or values holds what a query head uses.
func (m *Model) HeadRange(head int) (from, to int) {
	c := m.config
	from = head / (c.Heads / c.KVHeads) * c.HeadDim
	return from, from + c.HeadDim
}

// Admit checks an admission against the model's id and reads the model's shape.
// A model whose computation is not judged is refused by name.
func Admit(id core.ModelID, a Admission) (*Model, error) {
	if n := len(a.Description) + len(a.Index) + len(a.Vocabulary); n > MaxAdmission {
		return nil, fmt.Errorf("description, index and vocabulary take %d bytes, at most %d are possible", n, MaxAdmission)
	}
	if err := judged(a.Semantics); err != nil {
		return nil, err
	}
	if core.ModelVariant(a.Root, a.Semantics) != id {
		return nil, fmt.Errorf("the root and semantics version %d are not those of the model", a.Semantics)
	}
	for _, part := range []struct {
		name string
		leaf core.Hash
		at   uint64
		path []core.Hash
	}{
		{"description", gguf.DescriptionLeaf(a.Description), gguf.LeafMetadata, a.DescriptionPath},
		{"index", gguf.IndexLeaf(a.Index), gguf.LeafIndex, a.IndexPath},
		{"vocabulary", gguf.VocabularyLeaf(a.Vocabulary), gguf.LeafVocabulary, a.VocabularyPath},
	} {
		if !merkle.Verify(a.Root, part.leaf, merkle.Proof[core.Hash]{Index: part.at, Size: a.Leaves, Path: part.path}) {
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
	m := &Model{ID: id, Semantics: a.Semantics, Root: a.Root, Leaves: a.Leaves, int8: a.Semantics == core.SemanticsKV8}
	if m.tokens, err = gguf.ParseVocabulary(a.Vocabulary); err != nil {
		return nil, err
	}
	if m.config, err = architecture.Read(f.Metadata); err != nil {
		return nil, err
	}
	m.Layers = m.config.Layers
	if err := m.limits(); err != nil {
		return nil, err
	}
	return m, m.place(tensors)
}

// Limits of what is judged, so that a step and a message stay small.
const (
	maxVocabulary = 1 << 28
	maxHeadDim    = commit.TileLen
	maxExperts    = 256
	maxUsed       = 16
	maxInt8Width  = 8192 // of a key or value row
	maxSums       = 960  // partial sums of a tile of a product
	maxSegments   = 896  // of a leaf's attention
	maxMessage    = 35_000
)

// limits refuses what would make a message or a step too large.
func (m *Model) limits() error {
	c := m.config
	switch {
	case c.HeadDim > maxHeadDim:
		return fmt.Errorf("models with heads of %d are not judged, at most of %d", c.HeadDim, maxHeadDim)
	case c.Experts.Count > maxExperts || c.Experts.Used > maxUsed:
		return fmt.Errorf("mixtures that use %d of %d experts are not judged, at most %d of %d", c.Experts.Used, c.Experts.Count, maxUsed, maxExperts)
	case m.int8 && c.HeadDim%spec.Block != 0:
		return fmt.Errorf("int8 keys and values need heads of a multiple of %d elements, these have %d", spec.Block, c.HeadDim)
	case m.segments() > maxSegments:
		return fmt.Errorf("models with %d query heads of %d are not judged: a leaf has %d segments of attention, at most %d are possible", c.Heads, c.HeadDim, m.segments(), maxSegments)
	case m.int8 && c.KVWidth() > maxInt8Width:
		return fmt.Errorf("int8 rows of %d elements are not judged, at most of %d", c.KVWidth(), maxInt8Width)
	}
	return nil
}

// segments is how many segments score, exp and weigh have.
func (m *Model) segments() int {
	if m.int8 {
		return 2*m.config.Heads + m.Parts()
	}
	return 2 * m.config.Heads
}

// Reach is how many positions a receipt may have whose leaves are judged: the
// tiles of a head's weights, each with its hash and running sums, fit into a
// message.
func (m *Model) Reach() uint64 {
	return uint64(maxMessage-1000-32*m.config.Heads) / 64 * commit.TileLen
}
