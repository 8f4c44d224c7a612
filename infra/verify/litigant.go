package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// LitigantOptions say what a [Litigant] works with. Court, Evidence, Engine and
// Advocate are required.
type LitigantOptions struct {
	Court core.Court
	// Evidence is where the account keeps what it needs to know of its receipts.
	Evidence func(core.ReceiptID) (core.Evidence, error)
	// Engine and Advocate return those of a model, nil where it is not at hand.
	Engine   func(core.ModelID) core.Engine
	Advocate func(core.ModelID) core.Advocate
	// Every is the pause between two looks at the chain. Default 1 s.
	Every time.Duration
	// Report is told what happens. Optional.
	Report func(Incident)
	Log    *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o LitigantOptions) withDefaults() LitigantOptions {
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Report == nil {
		o.Report = func(Incident) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Incident is something that happened to a receipt.
type Incident struct {
	Kind     IncidentKind   `json:"kind"`
	Receipt  core.ReceiptID `json:"receipt"`
	Provider core.Address   `json:"provider"`
	Dispute  uint64         `json:"dispute,omitempty"`
	Side     string         `json:"side,omitempty"` // who moved
	Text     string         `json:"text"`
}

// IncidentKind is a sort of incident.
type IncidentKind string

// Kinds of incidents.
const (
	Audited  IncidentKind = "audit"   // an answer was re-executed and is wrong
	Opened   IncidentKind = "dispute" // a dispute was opened
	Moved    IncidentKind = "move"    // this side moved
	Refused  IncidentKind = "refused" // this side's move does not hold
	Verdicts IncidentKind = "verdict"
)

// Litigant makes one account's moves in the disputes that it is a party of: a
// provider defends its receipts, an auditor pursues what it accused. It keeps
// nothing but what chain and evidence hold, so that it goes on after any stop.
type Litigant struct {
	opt  LitigantOptions
	open map[uint64]*pursued // disputes that were not over at the last look
}

// pursued is what is known of an open dispute.
type pursued struct {
	moves   uint32      // moves in all after this side's last one
	refusal string      // of the last attempt
	leaves  []core.Hash // of the answer computed again, once that was necessary
}

// NewLitigant returns a litigant; [Litigant.Run] works.
func NewLitigant(o LitigantOptions) *Litigant {
	return &Litigant{opt: o.withDefaults(), open: map[uint64]*pursued{}}
}

// Run looks at the chain and moves, until ctx ends.
func (l *Litigant) Run(ctx context.Context) {
	every(ctx, l.opt.Every, func() {
		if err := l.Round(ctx); err != nil && ctx.Err() == nil {
			l.opt.Log.Warn("disputes", "err", err)
		}
	})
}

func every(ctx context.Context, pause time.Duration, work func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		work()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// inFlight is how many moves wait for their blocks at a time: whoever faces many
// challengers at once must not answer them one block after the other.
const inFlight = 16

// Round makes every move that is due, the most urgent first, and returns when
// they are final.
func (l *Litigant) Round(ctx context.Context) error {
	ds, err := l.opt.Court.OpenDisputes(ctx, l.opt.Court.Address())
	if err != nil {
		return err
	}
	slices.SortStableFunc(ds, func(a, b core.Dispute) int { return cmp.Compare(a.Deadline, b.Deadline) })
	errs := []error{l.verdicts(ctx, ds)}
	var (
		mu    sync.Mutex
		work  sync.WaitGroup
		slots = make(chan struct{}, inFlight)
	)
	failed := func(d *core.Dispute, err error) {
		mu.Lock()
		defer mu.Unlock()
		l.refused(d, err)
		errs = append(errs, fmt.Errorf("dispute %d: %w", d.ID, err))
	}
	var mine []*core.Dispute
	for i := range ds {
		if l.due(&ds[i]) {
			mine = append(mine, &ds[i])
		}
	}
	for _, d := range mine {
		move, err := l.prepare(ctx, d)
		if err != nil {
			failed(d, err)
			continue
		}
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			if err := l.opt.Court.MoveDispute(ctx, d.ID, move); err != nil {
				failed(d, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			l.moved(d, len(move))
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// verdicts reports how disputes ended that were open at the last look.
func (l *Litigant) verdicts(ctx context.Context, open []core.Dispute) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(l.open)) {
		if slices.ContainsFunc(open, func(d core.Dispute) bool { return d.ID == id }) {
			continue
		}
		d, err := l.opt.Court.Dispute(ctx, id)
		if err != nil || d.Winner == "" {
			errs = append(errs, err)
			continue
		}
		delete(l.open, id)
		l.opt.Report(Incident{Verdicts, d.Receipt, d.Provider, d.ID, d.Winner, verdictText(&d)})
	}
	return errors.Join(errs...)
}

// due reports whether it is this account's turn, as far as it knows.
func (l *Litigant) due(d *core.Dispute) bool {
	if l.open[d.ID] == nil {
		l.open[d.ID] = &pursued{}
	}
	me := l.opt.Court.Address()
	return d.Moves > l.open[d.ID].moves && // else the list is older than the move
		(d.Turn == core.SideProvider && d.Provider == me || d.Turn == core.SideChallenger && d.Challenger == me)
}

// verdictText is a verdict's cause and what it moved.
func verdictText(d *core.Dispute) string {
	if d.Slashed.IsZero() {
		return d.Cause
	}
	return fmt.Sprintf("%s; %s slashed, %s back to the consumer, %s to the challenger, the rest burned", d.Cause, d.Slashed.Format(), d.Refund.Format(), d.Bounty.Format())
}

// refused reports once why this side has no move that holds.
func (l *Litigant) refused(d *core.Dispute, err error) {
	p := l.open[d.ID]
	if core.CodeOf(err) != core.CodeInvalid || p.refusal == err.Error() {
		return
	}
	p.refusal = err.Error()
	l.opt.Report(Incident{Refused, d.Receipt, d.Provider, d.ID, d.Turn, err.Error()})
}

// prepare finds this side's move.
func (l *Litigant) prepare(ctx context.Context, listed *core.Dispute) ([]byte, error) {
	d, err := l.opt.Court.Dispute(ctx, listed.ID)
	if err != nil {
		return nil, err
	}
	advocate := l.opt.Advocate(d.Model)
	if advocate == nil {
		return nil, core.Errorf(core.CodeUnavailable, "the model %s is not at hand", d.Model.Short())
	}
	ev, err := l.opt.Evidence(d.Receipt)
	if err != nil {
		return nil, err
	}
	c, err := computation(&ev)
	if err != nil {
		return nil, err
	}
	if c.Boundaries, err = l.leaves(ctx, &d, c); err != nil {
		return nil, err
	}
	return advocate.Move(ctx, c, d.State)
}

// moved notes a move that is final.
func (l *Litigant) moved(d *core.Dispute, size int) {
	l.open[d.ID].moves = d.Moves
	text := fmt.Sprintf("points at the %s", d.Phase)
	if d.Turn == core.SideProvider {
		text = fmt.Sprintf("shows the %s, %d bytes", d.Phase, size)
	}
	l.opt.Report(Incident{Moved, d.Receipt, d.Provider, d.ID, d.Turn, text})
}

// input is what the engine answered a request from.
func input(ev *core.Evidence, seed core.Seed) core.SequenceInput {
	q := &ev.Request.Request
	return core.SequenceInput{Input: q.Input, Sampler: q.Sampler, Seed: seed, Base: len(q.Input) - int(q.Prompt), Salt: q.Salt(seed), Trace: true}
}

// leaves are those that the next move needs: a provider's are the ones under its
// root, computed again where they were not kept; a challenger's are its own, and
// needed to point in a search.
func (l *Litigant) leaves(ctx context.Context, d *core.Dispute, c core.Computation) ([]core.Hash, error) {
	if d.Turn == core.SideProvider && len(c.Boundaries) > 0 {
		return c.Boundaries, nil
	}
	if d.Turn == core.SideChallenger && d.Phase != referee.NeedNode.String() {
		return nil, nil
	}
	p := l.open[d.ID]
	if len(p.leaves) == 0 {
		engine := l.opt.Engine(d.Model)
		if engine == nil {
			return nil, core.Errorf(core.CodeUnavailable, "the model %s is not at hand", d.Model.Short())
		}
		own, err := engine.Replay(ctx, c.Input, c.Output)
		if err != nil {
			return nil, err
		}
		p.leaves = own.Boundaries
	}
	return p.leaves, nil
}

// computation opens evidence.
func computation(ev *core.Evidence) (core.Computation, error) {
	report, seed := check(ev, Facts{})
	if report.Verdict != Matches {
		return core.Computation{}, core.Errorf(core.CodeInvalid, "the evidence at hand is no evidence: %s", report.Message)
	}
	return core.Computation{Receipt: ev.Receipt.Receipt, Request: ev.Request.Head(), Input: input(ev, seed), Output: ev.Output, Finish: ev.Receipt.Finish, Root: ev.Receipt.BoundaryRoot, Boundaries: ev.Boundaries}, nil
}
