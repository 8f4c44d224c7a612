package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/koinon-network/koinon/core"
)

// WatcherOptions say what a [Watcher] works with. Archive and Reference are
// required.
type WatcherOptions struct {
	Archive *Archive
	// Reference returns the engine of a model, nil where it is not at hand.
	Reference func(core.ModelID) core.Reference
	// Calibrations are the honest back ends that the auditor accepts.
	Calibrations []*Calibration
	// Share of the receipts that are weighed, in 1/10,000. Default 1000 (10 %).
	Share uint32
	// Every is the pause between two looks. Default 1 s.
	Every time.Duration
	// Found is told of each provider that turns out implausible, once. Optional.
	Found func(Suspicion)
	Log   *slog.Logger
}

// Watcher weighs the answers of the statistical tier that arrive in an archive
// and finds providers whose answers no accepted calibration explains. It
// survives restarts: what it knows is in the archive.
type Watcher struct {
	opt    WatcherOptions
	sticks map[core.ModelID]*yardstick
	lot    lot
}

// NewWatcher returns a watcher; [Watcher.Run] works.
func NewWatcher(o WatcherOptions) (*Watcher, error) {
	if o.Share == 0 {
		o.Share = 1000
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Found == nil {
		o.Found = func(Suspicion) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{opt: o, sticks: map[core.ModelID]*yardstick{}}
	of := map[core.ModelID][]*Calibration{}
	for _, c := range o.Calibrations {
		of[c.Model] = append(of[c.Model], c)
	}
	for id, cs := range of {
		w.sticks[id] = newYardstick(cs)
	}
	_, err := rand.Read(w.lot[:])
	return w, err
}

// Run weighs what arrives, until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	every(ctx, w.opt.Every, func() {
		if err := w.Round(ctx); err != nil && ctx.Err() == nil {
			w.opt.Log.Warn("plausibility", "err", err)
		}
	})
}

// Round weighs the receipts that arrived since the last one.
func (w *Watcher) Round(ctx context.Context) error {
	for {
		order, id, err := w.opt.Archive.following(weighedKey)
		if err != nil || order == 0 {
			return err
		}
		if err := w.one(ctx, order, id); err != nil {
			return fmt.Errorf("receipt %s: %w", id.Short(), err) // tried again at the next round
		}
	}
}

// one weighs a receipt, or passes it over.
func (w *Watcher) one(ctx context.Context, order uint64, id core.ReceiptID) error {
	ev, err := w.opt.Archive.Get(id)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return err
	}
	y := w.sticks[ev.Receipt.Model]
	if err != nil || y == nil || ev.Receipt.Tier() != core.TierStatistical || len(ev.Output) == 0 || !w.lot.draws(id, w.opt.Share) {
		return w.opt.Archive.passed(weighedKey, order)
	}
	engine := w.opt.Reference(ev.Receipt.Model)
	if engine == nil {
		return w.opt.Archive.passed(weighedKey, order)
	}
	standings, report, err := Stand(ctx, ev, engine)
	if core.CodeOf(err) == core.CodeInvalid || core.CodeOf(err) == core.CodeContextLength || err == nil && report.Verdict != Unproven {
		w.opt.Log.Warn("a receipt is not weighed", "receipt", id, "verdict", report.Verdict, "err", err)
		return w.opt.Archive.passed(weighedKey, order)
	}
	if err != nil {
		return err
	}
	s, found, err := w.opt.Archive.weigh(order, y, &ev, standings)
	if err == nil && found {
		w.opt.Found(s)
	}
	return err
}
