package node

import (
	"context"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/prover"
)

// lateAdvocate makes a model's advocate when it is first needed: the tree of a
// large file's weights takes a while, and most providers never see a court. A
// model that the chain does not judge has none.
type lateAdvocate struct {
	model *model.Model

	once sync.Once
	made *prover.Advocate
	err  error
}

var _ core.Advocate = (*lateAdvocate)(nil)

func newAdvocate(m *model.Model) *lateAdvocate { return &lateAdvocate{model: m} }

func (a *lateAdvocate) get() (*prover.Advocate, error) {
	a.once.Do(func() {
		p, err := prover.New(a.model.File(), a.model)
		if err != nil {
			a.err = &core.Error{Code: core.CodeInvalid, Message: "this model's answers are not judged on chain", Err: err}
			return
		}
		a.made = prover.NewAdvocate(p)
	})
	return a.made, a.err
}

// Admission implements core.Advocate.
func (a *lateAdvocate) Admission() ([]byte, error) {
	v, err := a.get()
	if err != nil {
		return nil, err
	}
	return v.Admission()
}

// Accuse implements core.Advocate.
func (a *lateAdvocate) Accuse(ctx context.Context, c core.Computation, own core.Replayed) ([]byte, error) {
	v, err := a.get()
	if err != nil {
		return nil, err
	}
	return v.Accuse(ctx, c, own)
}

// Move implements core.Advocate.
func (a *lateAdvocate) Move(ctx context.Context, c core.Computation, state []byte) ([]byte, error) {
	v, err := a.get()
	if err != nil {
		return nil, err
	}
	return v.Move(ctx, c, state)
}
