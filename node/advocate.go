package node

import (
	"context"
	"log/slog"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/prover"
	"github.com/koinon-network/koinon/infra/verify"
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

// party is what a litigant works with who holds several models.
func party(court core.Court, evidence func(core.ReceiptID) (core.Evidence, error), models map[core.ModelID]*model.Model, report func(verify.Incident), log *slog.Logger) verify.LitigantOptions {
	advocates := map[core.ModelID]core.Advocate{}
	for id, m := range models {
		advocates[id] = newAdvocate(m)
	}
	return verify.LitigantOptions{
		Court: court, Evidence: evidence, Report: report, Log: log,
		Engine: func(id core.ModelID) core.Engine {
			if m := models[id]; m != nil {
				return m
			}
			return nil
		},
		Advocate: func(id core.ModelID) core.Advocate { return advocates[id] },
	}
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
