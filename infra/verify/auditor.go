package verify

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
)

// AuditorOptions say what an [Auditor] works with: those of a litigant, and an
// archive whose receipts it audits.
type AuditorOptions struct {
	LitigantOptions
	Archive *Archive
	// Share of the receipts that are audited, in 1/10,000. Which ones, no
	// provider can foresee. Default 500 (5 %).
	Share uint32
}

// Auditor re-executes a share of the receipts that arrive in an archive and
// disputes those that are wrong. It survives restarts: how far it got is in the
// archive, and what it opened is on chain.
type Auditor struct {
	opt    AuditorOptions
	lot    lot                         // decides which receipts are audited
	looked map[core.ReceiptID]struct{} // receipts of others' disputes that were audited
}

// lot is a secret by which an auditor draws receipts, so that nobody can foresee
// which.
type lot [32]byte

// draws decides whether a receipt is among a share, in 1/10,000.
func (l *lot) draws(id core.ReceiptID, share uint32) bool {
	h := sha256.Sum256(append(l[:], id[:]...))
	return binary.BigEndian.Uint32(h[:])%10_000 < share
}

// NewAuditor returns an auditor; [Auditor.Run] works. A [Litigant] of the same
// account pursues what it opens.
func NewAuditor(o AuditorOptions) (*Auditor, error) {
	o.LitigantOptions = o.withDefaults()
	if o.Share == 0 {
		o.Share = 500
	}
	a := &Auditor{opt: o, looked: map[core.ReceiptID]struct{}{}}
	_, err := rand.Read(a.lot[:])
	return a, err
}

// Run audits what arrives, until ctx ends.
func (a *Auditor) Run(ctx context.Context) {
	every(ctx, a.opt.Every, func() {
		if err := errors.Join(a.Round(ctx), a.StandIn(ctx)); err != nil && ctx.Err() == nil {
			a.opt.Log.Warn("audits", "err", err)
		}
	})
}

// RunStandIn only looks after others' disputes, until ctx ends.
func (a *Auditor) RunStandIn(ctx context.Context) {
	every(ctx, a.opt.Every, func() {
		if err := a.StandIn(ctx); err != nil && ctx.Err() == nil {
			a.opt.Log.Warn("disputes of others", "err", err)
		}
	})
}

// Round audits the receipts that arrived since the last one.
func (a *Auditor) Round(ctx context.Context) error {
	for {
		next, id, err := a.opt.Archive.following(auditedKey)
		if err != nil || next == 0 {
			return err
		}
		if a.lot.draws(id, a.opt.Share) {
			if err := a.audit(ctx, id); err != nil {
				return fmt.Errorf("receipt %s: %w", id.Short(), err) // tried again at the next round
			}
		}
		if err := a.opt.Archive.passed(auditedKey, next); err != nil {
			return err
		}
	}
}

// StandIn looks after the disputes that others have opened and do not pursue:
// where half of the challenger's time for a move is over and the receipt is in
// the archive, it is audited, drawn or not. If it is wrong, a dispute of this
// account's own is open before the other one is lost, and the provider's stake
// stays where it is.
func (a *Auditor) StandIn(ctx context.Context) error {
	ds, err := a.opt.Court.OpenDisputes(ctx, core.Address{})
	if err != nil {
		return err
	}
	now := a.opt.Now().Unix()
	var errs []error
	for i := range ds {
		d := &ds[i]
		if _, known := a.looked[d.Receipt]; known || d.Challenger == a.opt.Court.Address() || d.Turn != core.SideChallenger || now-d.Moved < (d.Deadline-d.Moved)/2 {
			continue
		}
		if err := a.audit(ctx, d.Receipt); err != nil {
			errs = append(errs, fmt.Errorf("receipt %s, whose challenger in dispute %d is silent: %w", d.Receipt.Short(), d.ID, err))
			continue // tried again at the next round
		}
		if len(a.looked) >= maxLooked {
			clear(a.looked)
		}
		a.looked[d.Receipt] = struct{}{}
	}
	return errors.Join(errs...)
}

// maxLooked bounds what an auditor remembers of others' disputes.
const maxLooked = 1 << 14

func (a *Auditor) audit(ctx context.Context, id core.ReceiptID) error {
	ev, err := a.opt.Archive.Get(id)
	if errors.Is(err, ErrUnknown) {
		return nil // pruned
	}
	if err != nil {
		return err
	}
	engine, advocate := a.opt.Engine(ev.Receipt.Model), a.opt.Advocate(ev.Receipt.Model)
	if engine == nil || advocate == nil || ev.Receipt.Expiry <= a.opt.Now().Unix() {
		return nil
	}
	report, own, err := examine(ctx, ev, engine, Facts{})
	if err != nil {
		return err
	}
	switch report.Verdict {
	case TokenDiffers, FinishDiffers, BoundaryDiffers:
	default:
		return nil
	}
	a.opt.Report(Incident{Kind: Audited, Receipt: id, Provider: ev.Receipt.Provider, Text: report.Message})
	err = a.opt.accuse(ctx, ev, own, advocate)
	if core.CodeOf(err) == core.CodeInvalid { // no court takes it
		a.opt.Log.Warn("a wrong answer cannot be disputed", "receipt", id, "err", err)
		return nil
	}
	return err
}

// accuse opens a dispute about a wrong answer, given what the engine itself made
// of it, unless this account has or another one was won.
func (o *LitigantOptions) accuse(ctx context.Context, ev core.Evidence, own core.Replayed, advocate core.Advocate) error {
	id := ev.Receipt.Digest()
	ended, err := o.Court.Disputes(ctx, 0)
	if err != nil {
		return err
	}
	open, err := o.Court.OpenDisputes(ctx, o.Court.Address())
	if err != nil {
		return err
	}
	for _, d := range append(open, ended...) {
		if d.Receipt == id && (d.Challenger == o.Court.Address() || d.Winner == core.SideChallenger) {
			return nil
		}
	}
	judged, err := o.Court.Judged(ctx, ev.Receipt.Model)
	if err != nil {
		return err
	}
	if !judged {
		admission, err := advocate.Admission()
		if err != nil {
			return err
		}
		if err := o.Court.AdmitModel(ctx, ev.Receipt.Model, admission); err != nil {
			return err
		}
	}
	c, err := computation(&ev)
	if err != nil {
		return err
	}
	claim, err := advocate.Accuse(ctx, c, own)
	if err != nil {
		return err
	}
	n, err := o.Court.OpenDispute(ctx, ev.Receipt, claim)
	if err != nil {
		return err
	}
	o.Report(Incident{Kind: Opened, Receipt: id, Provider: ev.Receipt.Provider, Dispute: n, Text: "opened"})
	// The claim itself may have been proof.
	if d, err := o.Court.Dispute(ctx, n); err == nil && d.Winner != "" {
		o.Report(Incident{Verdicts, id, ev.Receipt.Provider, n, d.Winner, verdictText(&d)})
	}
	return nil
}

var auditedKey = []byte("audited") // in the meta bucket: the last order looked at
