package prover

import (
	"context"
	"fmt"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// Engine recomputes boundary values; *model.Model does.
type Engine interface {
	Info() core.ModelInfo
	Probe(ctx context.Context, input []core.Token, layer int) (model.Probed, error)
}

// Prover knows a model's weights and their tree.
type Prover struct {
	Model *referee.Model

	admission referee.Admission
	file      *gguf.File
	engine    Engine
	leaves    []core.Hash
	entries   func() []gguf.Entry // of the vocabulary
}

// New reads the whole file once, for the tree of its weights. The engine must
// have the same model open.
func New(f *gguf.File, e Engine) (*Prover, error) {
	leaves, err := gguf.Leaves(f)
	if err != nil {
		return nil, err
	}
	p := &Prover{file: f, engine: e, leaves: leaves, entries: sync.OnceValue(func() []gguf.Entry { return gguf.Entries(f.Metadata) })}
	p.admission = referee.Admission{Root: merkle.Root(leaves), Semantics: e.Info().Semantics,
		Description: gguf.Description(f.Metadata), Index: gguf.Index(f), Vocabulary: gguf.VocabularyOf(f.Metadata).Encode(), Leaves: uint64(len(leaves)),
		DescriptionPath: p.path(gguf.LeafMetadata), IndexPath: p.path(gguf.LeafIndex), VocabularyPath: p.path(gguf.LeafVocabulary)}
	p.Model, err = referee.Admit(core.ModelVariant(p.admission.Root, p.admission.Semantics), p.admission)
	return p, err
}

// Admission shows the model's shape under its root.
func (p *Prover) Admission() referee.Admission { return p.admission }

func (p *Prover) path(i int) []core.Hash {
	proof, err := merkle.Prove(p.leaves, i)
	if err != nil {
		panic(err) // the callers stay within the tree
	}
	return proof.Path
}

// rows returns rows from to to of a tensor, as the file has them.
func (p *Prover) rows(w referee.Matrix, from, to int) ([]byte, error) {
	t, ok := p.file.Tensor(w.Name)
	if !ok {
		return nil, fmt.Errorf("the model has no tensor %q", w.Name)
	}
	data, err := p.file.Data(t)
	if err != nil {
		return nil, err
	}
	size := t.Type.RowSize(t.Cols())
	return data[(w.Skip+from)*size : (w.Skip+to)*size], nil
}

// weights opens the weight leaf of a group of rows and a chunk of columns.
func (p *Prover) weights(w referee.Matrix, group, column int) (*referee.Weights, error) {
	from, to := w.LeafRange(group)
	whole := w
	whole.Skip = 0
	data, err := p.rows(whole, from, to)
	if err != nil {
		return nil, err
	}
	at := column * commit.TileLen
	width := min(w.Cols-at, commit.TileLen)
	rowSize, skip, size := w.Format.RowSize(w.Cols), w.Format.RowSize(at), w.Format.RowSize(width)
	out := &referee.Weights{Path: p.path(int(w.Leaf(group, column)))}
	for r := range to - from {
		out.Data = append(out.Data, data[r*rowSize+skip:r*rowSize+skip+size]...)
	}
	return out, nil
}

// linear computes all rows of w times x.
func (p *Prover) linear(w referee.Matrix, x []float32) ([]float32, error) {
	y := make([]float32, 0, w.Rows)
	for from := 0; from < w.Rows; from += commit.TileLen {
		sums, err := p.partial(w, from, min(w.Rows, from+commit.TileLen), x)
		if err != nil {
			return nil, err
		}
		y = append(y, sums[len(sums)-1]...)
	}
	return y, nil
}

// partial returns the sums of the rows from from to to-1 after each chunk of
// columns.
func (p *Prover) partial(w referee.Matrix, from, to int, x []float32) ([][]float32, error) {
	data, err := p.rows(w, from, to)
	if err != nil {
		return nil, err
	}
	rowSize := w.Format.RowSize(w.Cols)
	sums := make([]float32, to-from)
	var out [][]float32
	rows := make([][]byte, to-from)
	for at := 0; at < w.Cols; at += commit.TileLen {
		width := min(w.Cols-at, commit.TileLen)
		skip, size := w.Format.RowSize(at), w.Format.RowSize(width)
		for r := range rows {
			rows[r] = data[r*rowSize+skip : r*rowSize+skip+size]
		}
		w.Accumulate(sums, rows, x[at:at+width])
		out = append(out, append([]float32(nil), sums...))
	}
	return out, nil
}

// vector decodes a tensor of one row.
func (p *Prover) vector(w referee.Matrix) ([]float32, error) {
	data, err := p.rows(w, 0, 1)
	if err != nil {
		return nil, err
	}
	x := make([]float32, w.Cols)
	w.Decode(x, data)
	return x, nil
}
