package verify

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

// Outcomes of a duty.
const (
	outcomePaid     = "paid"     // a verdict that stands
	outcomeUnproven = "unproven" // "wrong", and no dispute proved it
	outcomeMissed   = "missed"   // never committed
	outcomeSilent   = "silent"   // committed and never revealed
	outcomeFalse    = "false"    // "right" about a wrong answer
	outcomeWithheld = "withheld" // the provider did not hand over the payload
	outcomeExposed  = "exposed"  // exposed a payload in which nothing is wrong
)

// hashGas is the price of one step of a Merkle path.
const hashGas = 60

// openAudit returns an audit in a phase whose deadline has not passed.
func (k Keeper) openAudit(ctx sdk.Context, id uint64, phase string) (a Audit, err error) {
	a, err = k.audit.audits.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) {
		return a, ErrAudit.Wrapf("there is no audit %d", id)
	}
	if err == nil && (a.Phase != phase || ctx.BlockTime().Unix() > a.Deadline) {
		err = ErrAudit.Wrapf("audit %d is in phase %s until %d, not in %s", id, a.Phase, a.Deadline, phase)
	}
	return a, err
}

// duty returns an auditor's part of an audit.
func (a *Audit) duty(account string) (*Duty, error) {
	for i := range a.Duties {
		if a.Duties[i].Auditor == account {
			return &a.Duties[i], nil
		}
	}
	return nil, ErrAudit.Wrapf("%s is not drawn for audit %d", account, a.Id)
}

// party reads a sender and finds its duty.
func (k Keeper) party(ctx sdk.Context, sender string, id uint64, phase string) (sdk.AccAddress, Audit, *Duty, error) {
	x, err := k.account(sender)
	if err != nil {
		return nil, Audit{}, nil, err
	}
	a, err := k.openAudit(ctx, id, phase)
	if err != nil {
		return nil, a, nil, err
	}
	d, err := a.duty(k.canonical(x))
	if err == nil && d.Outcome != "" {
		err = ErrAudit.Wrapf("this auditor's part of audit %d is over: %s", id, d.Outcome)
	}
	return x, a, d, err
}

func (s msgServer) CommitVerdict(goCtx context.Context, msg *MsgCommitVerdict) (*MsgCommitVerdictResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	_, a, d, err := s.party(ctx, msg.Auditor, msg.Audit, core.PhaseCommit)
	if err != nil {
		return nil, err
	}
	if len(msg.Commitment) != 32 || core.Hash(msg.Commitment).IsZero() {
		return nil, ErrInvalid.Wrap("a commitment has 32 bytes, not all zero")
	}
	if len(d.Commitment) != 0 {
		return nil, ErrAudit.Wrap("this auditor has committed already")
	}
	d.Commitment = msg.Commitment
	return &MsgCommitVerdictResponse{}, s.goOn(ctx, &a)
}

// goOn stores an audit in the commit phase and closes the phase when nobody is
// waited for.
func (k Keeper) goOn(ctx sdk.Context, a *Audit) error {
	for _, d := range a.Duties {
		if len(d.Commitment) == 0 && d.Outcome == "" {
			return k.audit.audits.Set(ctx, a.Id, *a)
		}
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	return k.closeCommit(ctx, p, a)
}

// closeCommit ends the commit phase. Who demanded the payload and did not get it
// in time is free, and the provider pays.
func (k Keeper) closeCommit(ctx sdk.Context, p Params, a *Audit) error {
	committed := false
	for i := range a.Duties {
		d := &a.Duties[i]
		if len(d.Commitment) != 0 {
			committed = true
		} else if d.Outcome == "" && d.awaits() {
			if err := k.withhold(ctx, p, a, d, outcomeWithheld, "it did not supply the payload in time"); err != nil {
				return err
			}
		}
	}
	if !committed {
		return k.settleAudit(ctx, p, a)
	}
	a.Phase, a.Closed = core.PhaseSpots, ctx.BlockHeight()
	if err := k.audit.spots.Set(ctx, a.Id); err != nil {
		return err
	}
	if err := k.endAt(ctx, a, 0); err != nil {
		return err
	}
	return k.announcePhase(ctx, a)
}

func (k Keeper) announcePhase(ctx sdk.Context, a *Audit) error {
	return ctx.EventManager().EmitTypedEvent(&EventAuditPhase{Id: a.Id, Phase: a.Phase, Deadline: a.Deadline})
}

// show checks that a receipt is the audited one, and notes what matters of it.
func (k Keeper) show(ctx sdk.Context, p AuditParams, a *Audit, raw []byte, path [][]byte) error {
	r, err := k.receipt(ctx, raw)
	if err != nil {
		return err
	}
	provider, err := k.account(a.Provider)
	if err != nil {
		return err
	}
	b, err := k.batches.Get(ctx, collections.Join(provider, a.Sequence))
	if err != nil {
		return err
	}
	id := r.Digest()
	place, err := proof(ctx, uint64(a.Index), uint64(b.Count), path)
	if err != nil {
		return err
	}
	if !merkle.Verify(core.Hash(b.Root), id, place) {
		return ErrReceipt.Wrapf("it does not stand at place %d of batch %d", a.Index, a.Sequence)
	}
	if core.Address(provider) != r.Provider || core.Hash(a.Model) != r.Model {
		return ErrReceipt.Wrap("it is of another provider or model than the batch")
	}
	a.Receipt, a.Signed, a.BoundaryRoot = id[:], raw, r.BoundaryRoot[:]
	a.Traced = !r.BoundaryRoot.IsZero() && r.Output > 0
	a.Pay = cost(r).MulRaw(int64(p.PayPoints)).QuoRaw(Basis)
	return k.audit.shown.Set(ctx, collections.Join(a.Receipt, a.Id))
}

// proof reads a Merkle path and charges its steps.
func proof(ctx sdk.Context, index, size uint64, path [][]byte) (p merkle.Proof[core.Hash], err error) {
	if len(path) > 64 {
		return p, ErrInvalid.Wrap("a path has at most 64 steps")
	}
	ctx.GasMeter().ConsumeGas(hashGas*uint64(len(path)+1), "merkle path")
	p.Index, p.Size = index, size
	for _, h := range path {
		if len(h) != 32 {
			return p, ErrInvalid.Wrap("a step of a path has 32 bytes")
		}
		p.Path = append(p.Path, core.Hash(h))
	}
	return p, nil
}

func (s msgServer) RevealVerdict(goCtx context.Context, msg *MsgRevealVerdict) (*MsgRevealVerdictResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	x, a, d, err := s.party(ctx, msg.Auditor, msg.Audit, core.PhaseReveal)
	if err != nil {
		return nil, err
	}
	if len(d.Commitment) == 0 || d.Verdict != 0 {
		return nil, ErrAudit.Wrap("this auditor has not committed, or has revealed already")
	}
	if msg.Verdict != core.VerdictRight && msg.Verdict != core.VerdictWrong || len(msg.Trace) != 32 || len(msg.Salt) != 32 {
		return nil, ErrInvalid.Wrap("a verdict is 1 or 2, trace and salt have 32 bytes")
	}
	trace := core.Hash(msg.Trace)
	if core.AuditCommitment(a.Id, core.Address(x), msg.Verdict, trace, core.Hash(msg.Salt)) != core.Hash(d.Commitment) {
		return nil, ErrAudit.Wrap("this is not what was committed to")
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if len(a.Receipt) == 0 {
		if err := s.show(ctx, p.Audits, &a, msg.Receipt, msg.Path); err != nil {
			return nil, err
		}
	}
	if msg.Verdict == core.VerdictRight && a.Traced {
		if err := checkSpots(ctx, &a, core.Address(x), trace, msg.Spots); err != nil {
			return nil, err
		}
	}
	d.Verdict, d.Trace = msg.Verdict, msg.Trace
	for _, other := range a.Duties {
		if len(other.Commitment) != 0 && other.Verdict == 0 {
			return &MsgRevealVerdictResponse{}, s.audit.audits.Set(ctx, a.Id, a)
		}
	}
	return &MsgRevealVerdictResponse{}, s.settleAudit(ctx, p, &a)
}

// checkSpots holds the opened positions of a trace against the receipt.
func checkSpots(ctx sdk.Context, a *Audit, auditor core.Address, trace core.Hash, spots []Spot) error {
	if len(spots) != core.Spots {
		return ErrAudit.Wrapf("%d spots, a verdict opens %d", len(spots), core.Spots)
	}
	for j, s := range spots {
		place, err := proof(ctx, s.Index, s.Size_, s.Path)
		if err != nil {
			return err
		}
		named, err := proof(ctx, s.Index, s.Size_, s.TracePath)
		if err != nil {
			return err
		}
		if len(s.Leaf) != 32 {
			return ErrInvalid.Wrap("a leaf has 32 bytes")
		}
		spot := core.Spot{Leaf: core.Hash(s.Leaf), Place: place, Trace: named.Path}
		if !core.CheckSpot(core.Hash(a.Beacon), a.Id, auditor, uint32(j), spot, core.Hash(a.BoundaryRoot), trace) {
			return ErrAudit.Wrapf("spot %d is not the drawn leaf under the receipt and the trace", j)
		}
	}
	return nil
}

// settleAudit pays and punishes when the verdicts are in, unless a dispute has to
// decide first.
func (k Keeper) settleAudit(ctx sdk.Context, p Params, a *Audit) error {
	provider, err := k.account(a.Provider)
	if err != nil {
		return err
	}
	bad, err := k.provenWrong(ctx, a)
	if err != nil {
		return err
	}
	if !bad && a.accused() {
		open, err := k.about(ctx, a.Receipt, 1)
		if err != nil {
			return err
		}
		if len(open) > 0 {
			if a.Phase != core.PhaseWaiting {
				a.Phase = core.PhaseWaiting
				if err := k.announcePhase(ctx, a); err != nil {
					return err
				}
			}
			return k.endAt(ctx, a, ctx.BlockTime().Unix()+int64(p.MoveTime))
		}
	}
	for i := range a.Duties {
		if a.Duties[i].Outcome == "" {
			if err := k.settleDuty(ctx, p, a, &a.Duties[i], bad); err != nil {
				return err
			}
		}
		if err := k.count(ctx, &a.Duties[i]); err != nil {
			return err
		}
	}
	if err := k.dropPieces(ctx, a.Id); err != nil {
		return err
	}
	if err := k.listParties(ctx, a, provider, false); err != nil {
		return err
	}
	a.Phase, a.Ended = core.PhaseDone, ctx.BlockTime().Unix()
	if err := k.endAt(ctx, a, a.Ended+int64(p.Audits.Keep)); err != nil {
		return err
	}
	return k.announcePhase(ctx, a)
}

// provenWrong reports whether the audited receipt was convicted or is a canary.
func (k Keeper) provenWrong(ctx context.Context, a *Audit) (bool, error) {
	if a.Canary != "" || len(a.Receipt) == 0 {
		return a.Canary != "", nil
	}
	return k.convicted.Has(ctx, a.Receipt)
}

// accused reports whether somebody said "wrong".
func (a *Audit) accused() bool {
	for _, d := range a.Duties {
		if d.Verdict == core.VerdictWrong && d.Outcome == "" {
			return true
		}
	}
	return false
}

// settleDuty finds what an auditor earned or lost.
func (k Keeper) settleDuty(ctx sdk.Context, p Params, a *Audit, d *Duty, bad bool) error {
	switch {
	case len(d.Commitment) == 0:
		return k.penalize(ctx, p, a, d, outcomeMissed, p.Audits.MissPenalty, false)
	case d.Verdict == 0:
		if err := k.penalize(ctx, p, a, d, outcomeSilent, p.Audits.MissPenalty, false); err != nil || !bad {
			return err
		}
		return k.penalize(ctx, p, a, d, outcomeFalse, p.Audits.FalsePenalty, true)
	case d.Verdict == core.VerdictRight && bad:
		return k.penalize(ctx, p, a, d, outcomeFalse, p.Audits.FalsePenalty, true)
	case d.Verdict == core.VerdictWrong && !bad:
		d.Outcome = outcomeUnproven
		return k.announceDuty(ctx, a, d)
	}
	return k.reward(ctx, a, d)
}

// reward pays a verdict that stands.
func (k Keeper) reward(ctx sdk.Context, a *Audit, d *Duty) error {
	provider, err := k.account(a.Provider)
	if err != nil {
		return err
	}
	x, err := k.account(d.Auditor)
	if err != nil {
		return err
	}
	paid, err := k.payments.PayAudit(ctx, provider, x, a.Pay)
	if err != nil {
		return err
	}
	d.Outcome = outcomePaid
	if err := k.earn(ctx, x, d, paid); err != nil {
		return err
	}
	return k.announceDuty(ctx, a, d)
}

// earn notes what an auditor was paid.
func (k Keeper) earn(ctx context.Context, x sdk.AccAddress, d *Duty, paid math.Int) error {
	d.Paid = paid
	v, err := k.Auditor(ctx, x)
	if errors.Is(err, ErrAuditor) {
		return nil // long gone
	}
	if err != nil {
		return err
	}
	v.Earned = v.Earned.Add(paid)
	return k.audit.auditors.Set(ctx, x, v)
}

// penalize takes a penalty. The bounty of one for a canary is its committer's.
func (k Keeper) penalize(ctx sdk.Context, p Params, a *Audit, d *Duty, outcome string, amount math.Int, canary bool) error {
	x, err := k.account(d.Auditor)
	if err != nil {
		return err
	}
	var bounty sdk.AccAddress
	if canary && a.Canary != "" {
		if bounty, err = k.account(a.Canary); err != nil {
			return err
		}
	}
	lost, err := k.punish(ctx, p, x, amount, bounty)
	if err != nil {
		return err
	}
	d.Outcome, d.Lost = outcome, d.Lost.Add(lost)
	return k.announceDuty(ctx, a, d)
}

func (k Keeper) announceDuty(ctx sdk.Context, a *Audit, d *Duty) error {
	return ctx.EventManager().EmitTypedEvent(&EventDuty{Id: a.Id, Auditor: d.Auditor, Outcome: d.Outcome, Paid: d.Paid.String(), Lost: d.Lost.String()})
}

// count enters a finished duty into its auditor's record.
func (k Keeper) count(ctx context.Context, d *Duty) error {
	x, err := k.account(d.Auditor)
	if err != nil {
		return err
	}
	v, err := k.Auditor(ctx, x)
	if err != nil {
		return err
	}
	v.Open--
	v.Audits++
	switch {
	case d.Outcome == outcomeMissed || d.Outcome == outcomeSilent:
		v.Missed++
	case d.Verdict == core.VerdictRight:
		v.Right++
	case d.Verdict == core.VerdictWrong:
		v.Wrong++
	}
	return k.audit.auditors.Set(ctx, x, v)
}

// judgeAudits settles the finished audits of a receipt anew after it was proven
// wrong: who had said "right" pays, who had said "wrong" is paid.
func (k Keeper) judgeAudits(ctx sdk.Context, receipt []byte) error {
	ids, err := k.auditsOf(ctx, receipt)
	if err != nil || len(ids) == 0 {
		return err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		a, err := k.audit.audits.Get(ctx, id)
		if err != nil {
			return err
		}
		if a.Phase != core.PhaseDone {
			continue // it will be settled with the others
		}
		for i := range a.Duties {
			d := &a.Duties[i]
			switch {
			case d.saidRight() && d.Outcome != outcomeFalse:
				err = k.penalize(ctx, p, &a, d, outcomeFalse, p.Audits.FalsePenalty, true)
			case d.Outcome == outcomeUnproven:
				err = k.reward(ctx, &a, d)
			}
			if err != nil {
				return err
			}
		}
		if err := k.audit.audits.Set(ctx, id, a); err != nil {
			return err
		}
	}
	return nil
}

// saidRight reports whether a verdict was "right", or counts as such.
func (d *Duty) saidRight() bool {
	return d.Verdict == core.VerdictRight || d.Outcome == outcomeSilent
}

// maxJudged bounds the audits of one receipt that a proof concerns: a provider can
// put a receipt into batches as often as it likes.
const maxJudged = 64

// auditsOf lists the oldest audits of a receipt that are not forgotten.
func (k Keeper) auditsOf(ctx context.Context, receipt []byte) (ids []uint64, err error) {
	err = k.audit.shown.Walk(ctx, collections.NewPrefixedPairRange[[]byte, uint64](receipt), func(at shownKey) (bool, error) {
		ids = append(ids, at.K2())
		return len(ids) >= maxJudged, nil
	})
	return ids, err
}

// endAudits does the audits' part at the end of a block.
func (k Keeper) endAudits(ctx sdk.Context, p Params) error {
	if err := k.drawBatches(ctx, p.Audits); err != nil {
		return err
	}
	limit := int(max(p.Audits.MaxSteps, 1)) // audits that are open end, even if no more are drawn
	if err := k.drawSpots(ctx, p.Audits, limit); err != nil {
		return err
	}
	late, err := first(ctx, k.audit.deadlines, collections.Join(ctx.BlockTime().Unix(), uint64(0)), uint32(limit))
	if err != nil {
		return err
	}
	for _, at := range late {
		a, err := k.audit.audits.Get(ctx, at.K2())
		if err != nil {
			return err
		}
		switch a.Phase {
		case core.PhaseCommit:
			err = k.closeCommit(ctx, p, &a)
		case core.PhaseReveal, core.PhaseWaiting:
			err = k.settleAudit(ctx, p, &a)
		case core.PhaseDone:
			err = k.forgetAudit(ctx, &a)
		}
		if err != nil {
			return err
		}
	}
	return k.payLeavers(ctx, limit)
}

// drawSpots opens the reveal phase of the audits for which the beacon is there.
func (k Keeper) drawSpots(ctx sdk.Context, p AuditParams, limit int) error {
	if k.beacon == nil {
		return nil
	}
	ids, err := some(ctx, k.audit.spots, nil, limit)
	if err != nil {
		return err
	}
	for _, id := range ids {
		a, err := k.audit.audits.Get(ctx, id)
		if err != nil {
			return err
		}
		v, ok, err := k.beaconAfter(ctx, p, a.Closed)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := k.audit.spots.Remove(ctx, id); err != nil {
			return err
		}
		a.Phase, a.Beacon = core.PhaseReveal, v[:]
		if err := k.endAt(ctx, &a, ctx.BlockTime().Unix()+int64(p.RevealTime)); err != nil {
			return err
		}
		if err := k.announcePhase(ctx, &a); err != nil {
			return err
		}
	}
	return nil
}

// forgetAudit removes a finished audit.
func (k Keeper) forgetAudit(ctx context.Context, a *Audit) error {
	if err := k.audit.deadlines.Remove(ctx, collections.Join(a.Deadline, a.Id)); err != nil {
		return err
	}
	if len(a.Receipt) != 0 {
		if err := k.audit.shown.Remove(ctx, collections.Join(a.Receipt, a.Id)); err != nil {
			return err
		}
	}
	return k.audit.audits.Remove(ctx, a.Id)
}
