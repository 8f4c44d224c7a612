package verify

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// initAudits loads the audits' part of a genesis state.
func (k Keeper) initAudits(ctx context.Context, g AuditState) error {
	if err := errors.Join(k.audit.nextAudit.Set(ctx, max(g.NextAudit, 1)), k.audit.nextWaiting.Set(ctx, max(g.NextWaiting, 1))); err != nil {
		return err
	}
	for _, v := range g.Auditors {
		if err := k.initAuditor(ctx, v); err != nil {
			return fmt.Errorf("auditor %s: %w", v.Account, err)
		}
	}
	for _, w := range g.Waiting {
		if w.Id >= g.NextWaiting {
			return fmt.Errorf("the waiting batch %d is not below the next id, %d", w.Id, g.NextWaiting)
		}
		if err := k.audit.waiting.Set(ctx, collections.Join(w.Turn, w.Id), w); err != nil {
			return err
		}
	}
	for _, a := range g.Audits {
		if err := k.initAudit(ctx, a, g.NextAudit); err != nil {
			return fmt.Errorf("audit %d: %w", a.Id, err)
		}
	}
	for _, p := range g.Pieces {
		x, err := k.account(p.Auditor)
		if err != nil {
			return err
		}
		if err := k.audit.pieces.Set(ctx, collections.Join3(p.Audit, x, p.Offset), p); err != nil {
			return err
		}
	}
	for _, c := range g.Canaries {
		a, err := k.account(c.Committer)
		if err != nil {
			return err
		}
		if c.Deposit.IsNil() || c.Deposit.IsNegative() {
			return fmt.Errorf("canary %x has no deposit", c.Hash)
		}
		if err := k.putCanary(ctx, a, c); err != nil {
			return err
		}
	}
	return nil
}

func (k Keeper) initAuditor(ctx context.Context, v Auditor) error {
	a, err := k.account(v.Account)
	if err != nil {
		return err
	}
	if v.Bond.IsNil() || v.Bond.IsNegative() || v.Earned.IsNil() || v.Lost.IsNil() {
		return errors.New("an amount is missing")
	}
	v.Open = 0 // counted with the audits
	if v.Leaves != 0 {
		if err := k.audit.leaving.Set(ctx, collections.Join(v.Leaves, a)); err != nil {
			return err
		}
	}
	for _, m := range v.Models {
		if err := k.audit.seats.Set(ctx, collections.Join(m, a)); err != nil {
			return err
		}
	}
	return k.audit.auditors.Set(ctx, a, v)
}

func (k Keeper) initAudit(ctx context.Context, a Audit, next uint64) error {
	if a.Id == 0 || a.Id >= next {
		return fmt.Errorf("the next id is %d", next)
	}
	if known, err := k.audit.audits.Has(ctx, a.Id); err != nil || known {
		return fmt.Errorf("the id occurs twice (%v)", err)
	}
	provider, err := k.account(a.Provider)
	if err != nil {
		return err
	}
	if len(a.Receipt) != 0 {
		if err := k.audit.shown.Set(ctx, collections.Join(a.Receipt, a.Id)); err != nil {
			return err
		}
	}
	switch a.Phase {
	case core.PhaseSpots:
		if err := k.audit.spots.Set(ctx, a.Id); err != nil {
			return err
		}
	case core.PhaseCommit, core.PhaseReveal, core.PhaseWaiting, core.PhaseDone:
		if err := k.audit.deadlines.Set(ctx, collections.Join(a.Deadline, a.Id)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("the phase %q is unknown", a.Phase)
	}
	if a.Phase != core.PhaseDone {
		if err := k.listParties(ctx, &a, provider, true); err != nil {
			return err
		}
		for _, d := range a.Duties {
			x, err := k.account(d.Auditor)
			if err != nil {
				return err
			}
			v, err := k.Auditor(ctx, x)
			if err != nil {
				return err
			}
			v.Open++
			if err := k.audit.auditors.Set(ctx, x, v); err != nil {
				return err
			}
		}
	}
	return k.audit.audits.Set(ctx, a.Id, a)
}

// exportAudits returns the audits' part of the state, in order of keys.
func (k Keeper) exportAudits(ctx context.Context) (g AuditState, err error) {
	err = errors.Join(
		k.audit.auditors.Walk(ctx, nil, func(_ sdk.AccAddress, v Auditor) (bool, error) {
			g.Auditors = append(g.Auditors, v)
			return false, nil
		}),
		k.audit.waiting.Walk(ctx, nil, func(_ turnKey, w Waiting) (bool, error) { g.Waiting = append(g.Waiting, w); return false, nil }),
		k.audit.audits.Walk(ctx, nil, func(_ uint64, a Audit) (bool, error) { g.Audits = append(g.Audits, a); return false, nil }),
		k.audit.pieces.Walk(ctx, nil, func(_ pieceKey, p Piece) (bool, error) { g.Pieces = append(g.Pieces, p); return false, nil }),
		k.audit.canaries.Walk(ctx, nil, func(_ []byte, c Canary) (bool, error) { g.Canaries = append(g.Canaries, c); return false, nil }),
	)
	if err != nil {
		return g, err
	}
	if g.NextAudit, err = k.audit.nextAudit.Peek(ctx); err != nil {
		return g, err
	}
	g.NextWaiting, err = k.audit.nextWaiting.Peek(ctx)
	return g, err
}

// checkAudits verifies that every list about audits is what the audits and
// auditors say, and returns what the module owes to auditors and for canaries.
func (k Keeper) checkAudits(ctx context.Context) (owed math.Int, err error) {
	owed = math.ZeroInt()
	open, parties, timed, spots, seats, leaving := map[string]uint32{}, 0, 0, 0, 0, 0
	err = k.audit.audits.Walk(ctx, nil, func(id uint64, a Audit) (bool, error) {
		if a.Phase == core.PhaseSpots {
			spots++
		} else {
			timed++
			if ok, err := k.audit.deadlines.Has(ctx, collections.Join(a.Deadline, id)); err != nil || !ok {
				return true, fmt.Errorf("verify: audit %d has no deadline (%v)", id, err)
			}
		}
		if a.Phase == core.PhaseDone {
			return false, nil
		}
		parties += 1 + len(a.Duties)
		for _, d := range a.Duties {
			open[d.Auditor]++
		}
		return false, nil
	})
	if err != nil {
		return owed, err
	}
	err = k.audit.auditors.Walk(ctx, nil, func(_ sdk.AccAddress, v Auditor) (bool, error) {
		owed, seats = owed.Add(v.Bond), seats+len(v.Models)
		if v.Leaves != 0 {
			leaving++
		}
		if v.Bond.IsNegative() || v.Open != open[v.Account] {
			return true, fmt.Errorf("verify: auditor %s has a bond of %s and %d open audits, %d are open", v.Account, v.Bond, v.Open, open[v.Account])
		}
		return false, nil
	})
	if err != nil {
		return owed, err
	}
	err = k.audit.canaries.Walk(ctx, nil, func(_ []byte, c Canary) (bool, error) { owed = owed.Add(c.Deposit); return false, nil })
	if err != nil {
		return owed, err
	}
	have := [5]int{}
	err = errors.Join(
		k.audit.parties.Walk(ctx, nil, func(partyKey) (bool, error) { have[0]++; return false, nil }),
		k.audit.deadlines.Walk(ctx, nil, func(dueKey) (bool, error) { have[1]++; return false, nil }),
		k.audit.spots.Walk(ctx, nil, func(uint64) (bool, error) { have[2]++; return false, nil }),
		k.audit.seats.Walk(ctx, nil, func(seatKey) (bool, error) { have[3]++; return false, nil }),
		k.audit.leaving.Walk(ctx, nil, func(leaveKey) (bool, error) { have[4]++; return false, nil }),
	)
	if want := [5]int{parties, timed, spots, seats, leaving}; err == nil && have != want {
		err = fmt.Errorf("verify: parties, deadlines, spots, seats and leavers listed %v, want %v", have, want)
	}
	return owed, err
}
