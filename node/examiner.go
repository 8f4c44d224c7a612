package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/p2p"
	"github.com/koinon-network/koinon/infra/verify"
)

// ExaminerConfig is what the role of a drawn auditor needs.
type ExaminerConfig struct {
	Dir     string // its books
	Client  *client.Client
	Wallet  *client.Wallet
	PeerKey ed25519.PrivateKey
	// Models that it holds; the caller closes them afterwards.
	Models map[core.ModelID]*model.Model
	Bond   core.Amount // what shall be bonded at least
	// Report is told of wrong answers and of the disputes about them. Optional.
	Report func(verify.Incident)
	Log    *slog.Logger
}

// Examiner audits what the chain draws its account for, and is paid for it.
type Examiner struct {
	host    *p2p.Host
	archive *verify.Archive
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// StartExaminer bonds the account as far as it is not bonded yet, and works from
// where the last one on the same folder stopped.
func StartExaminer(ctx context.Context, cfg ExaminerConfig) (_ *Examiner, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &Examiner{cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.archive, err = verify.OpenArchive(filepath.Join(cfg.Dir, "audits.db"), verify.ArchiveOptions{}); err != nil {
		return e, err
	}
	if e.host, err = p2p.New(p2p.Config{Key: cfg.PeerKey}); err != nil {
		return e, err
	}
	if err := enrol(ctx, cfg); err != nil {
		return e, fmt.Errorf("registering the auditor: %w", err)
	}
	o := party(cfg.Wallet, e.archive.Get, cfg.Models, cfg.Report, cfg.Log)
	st, err := cfg.Client.Status(ctx)
	if err != nil {
		return e, err
	}
	examiner := verify.NewExaminer(verify.ExaminerOptions{LitigantOptions: o, Docket: cfg.Wallet, Archive: e.archive,
		Fetch: func(ctx context.Context, provider core.Address, audit uint64) (core.Handed, error) {
			ps, err := cfg.Client.Providers(ctx)
			if err != nil {
				return core.Handed{}, err
			}
			i := slices.IndexFunc(ps, func(p core.Provider) bool { return p.Address == provider })
			if i < 0 {
				return core.Handed{}, core.Errorf(core.CodeProvider, "provider %v is no longer registered", provider)
			}
			return e.host.FetchAudit(ctx, ps[i], st.EVMChainID, audit, cfg.Wallet)
		}})
	unhurried := o
	unhurried.Every = 2 * time.Second
	volunteer, err := verify.NewAuditor(verify.AuditorOptions{LitigantOptions: unhurried, Archive: e.archive})
	if err != nil {
		return e, err
	}
	litigant := verify.NewLitigant(o)
	e.work.Go(func() { examiner.Run(background) })
	e.work.Go(func() { litigant.Run(background) })
	e.work.Go(func() { volunteer.RunStandIn(background) })
	return e, nil
}

// enrol brings the chain's record of the auditor up to date.
func enrol(ctx context.Context, cfg ExaminerConfig) error {
	var models []core.ModelID
	for id := range cfg.Models {
		models = append(models, id)
	}
	slices.SortFunc(models, func(a, b core.ModelID) int { return bytes.Compare(a[:], b[:]) })
	all, err := cfg.Client.Auditors(ctx)
	if err != nil {
		return err
	}
	missing := cfg.Bond
	if i := slices.IndexFunc(all, func(a core.Auditing) bool { return a.Account == cfg.Wallet.Address() }); i >= 0 {
		if all[i].Leaves != 0 {
			return &core.Error{Code: core.CodeInvalid, Message: "this auditor leaves; its bond returns at " + time.Unix(all[i].Leaves, 0).Format(time.DateTime), Next: "start again afterwards, or with another --key"}
		}
		var short bool
		if missing, short = cfg.Bond.Sub(all[i].Bond); !short {
			missing = core.Amount{}
		}
		if missing.IsZero() && slices.Equal(models, all[i].Models) {
			return nil
		}
	}
	return cfg.Wallet.RegisterAuditor(ctx, missing, models)
}

// Close stops after what is being done.
func (e *Examiner) Close() error {
	e.cancel()
	e.work.Wait()
	var errs []error
	if e.host != nil {
		errs = append(errs, e.host.Close())
	}
	if e.archive != nil {
		errs = append(errs, e.archive.Close())
	}
	return errors.Join(errs...)
}
