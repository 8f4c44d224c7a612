package node

import (
	"context"
	"crypto/sha256"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
)

// impostor computes with something else than the model whose name it bears, or
// something else than was asked.
type impostor struct {
	*model.Model // of other weights, or the true one
	info         core.ModelInfo
	change       func(in *core.SequenceInput)
}

func (e *impostor) Info() core.ModelInfo { return e.info }

// NewSequence starts what the impostor makes of the request. It claims as many
// positions as were asked for.
func (e *impostor) NewSequence(in core.SequenceInput) (core.Sequence, error) {
	asked := len(in.Input)
	if e.change != nil {
		e.change(&in)
	}
	s, err := e.Model.NewSequence(in)
	if err != nil || len(in.Input) == asked {
		return s, err
	}
	return &misfit{s, asked - len(in.Input), e.info.Layers + 1}, nil
}

// Step implements core.Engine.
func (e *impostor) Step(ctx context.Context, batch []core.Sequence) error {
	batch = slices.Clone(batch)
	for i, s := range batch {
		if m, ok := s.(*misfit); ok {
			batch[i] = m.Sequence
		}
	}
	return e.Model.Step(ctx, batch)
}

// Close leaves the model to whoever opened it.
func (e *impostor) Close() error { return nil }

var _ core.Engine = (*impostor)(nil)

// misfit is a sequence of another length than was asked for.
type misfit struct {
	core.Sequence
	missing int // positions that were not computed; below 0 those that are too many
	per     int // leaves of a position
}

// Boundaries are as many leaves as a true answer has: those of positions that
// were never computed are made up.
func (m *misfit) Boundaries() []core.Hash {
	leaves := m.Sequence.Boundaries()
	if leaves == nil {
		return nil
	}
	if m.missing < 0 {
		return leaves[-m.missing*m.per:]
	}
	invented := make([]core.Hash, m.missing*m.per, m.missing*m.per+len(leaves))
	for i := range invented {
		invented[i] = sha256.Sum256(append([]byte("invented"), byte(i), byte(i>>8), byte(i>>16)))
	}
	return append(invented, leaves...)
}
