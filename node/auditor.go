package node

import (
	"context"
	"log/slog"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/verify"
)

// AuditorConfig is what the auditor role needs: an account with koin for bonds,
// the archive of a gateway, and the models.
type AuditorConfig struct {
	Court   core.Court
	Archive *verify.Archive
	Models  map[core.ModelID]*model.Model
	Share   uint32 // of the receipts, in 1/10,000
	// Report is told of wrong answers and of the disputes about them. Optional.
	Report func(verify.Incident)
	Log    *slog.Logger
}

// Auditor re-executes answers and disputes those that are wrong.
type Auditor struct {
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// StartAuditor begins where the last auditor of the same archive stopped.
func StartAuditor(ctx context.Context, cfg AuditorConfig) (*Auditor, error) {
	o := party(cfg.Court, cfg.Archive.Get, cfg.Models, cfg.Report, cfg.Log)
	auditor, err := verify.NewAuditor(verify.AuditorOptions{LitigantOptions: o, Archive: cfg.Archive, Share: cfg.Share})
	if err != nil {
		return nil, err
	}
	litigant := verify.NewLitigant(o)
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &Auditor{cancel: cancel}
	a.work.Go(func() { auditor.Run(background) })
	a.work.Go(func() { litigant.Run(background) })
	return a, nil
}

// Close stops after the move that is being made.
func (a *Auditor) Close() error {
	a.cancel()
	a.work.Wait()
	return nil
}
