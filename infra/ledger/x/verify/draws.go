package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/big"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

const (
	// lookBack bounds how many heights are asked for a beacon at a time.
	lookBack = 64
	// turn is how many strata of one batch are drawn before others have their turn.
	turn = 8
	// fullWait is how many blocks a batch waits whose provider has too many audits
	// open.
	fullWait = 10
)

// await puts a batch that was just committed into the queue of draws.
func (k Keeper) await(ctx sdk.Context, p AuditParams, b Batch) error {
	if k.beacon == nil || p.Interval == 0 {
		return nil
	}
	id, err := k.audit.nextWaiting.Next(ctx)
	if err != nil {
		return err
	}
	from, err := k.unforeseen(ctx, p, b.Height)
	if err != nil {
		return err
	}
	w := Waiting{Provider: b.Provider, Sequence: b.Sequence, Turn: from, Id: id}
	return k.audit.waiting.Set(ctx, collections.Join(w.Turn, w.Id), w)
}

// unforeseen is the first height whose beacon may draw over what a block settled.
func (k Keeper) unforeseen(ctx context.Context, p AuditParams, height int64) (int64, error) {
	lead, err := k.beacon.Lead(ctx)
	return height + max(lead, int64(p.BeaconDelay)), err
}

// beaconAfter is the first beacon that may draw over what the block of a height
// settled.
func (k Keeper) beaconAfter(ctx sdk.Context, p AuditParams, height int64) (core.Hash, bool, error) {
	from, err := k.unforeseen(ctx, p, height)
	if err != nil {
		return core.Hash{}, false, err
	}
	now := ctx.BlockHeight()
	for h := max(from, now-lookBack); h <= now; h++ {
		v, ok, err := k.beacon.At(ctx, h)
		if err != nil || ok {
			return v, ok, err
		}
	}
	return core.Hash{}, false, nil
}

// drawBatches draws receipts and auditors for the batches whose turn it is, at
// most max_draws strata.
func (k Keeper) drawBatches(ctx sdk.Context, p AuditParams) error {
	if k.beacon == nil || p.Interval == 0 {
		return nil
	}
	left := int(p.MaxDraws)
	var ready []Waiting
	now := new(collections.Range[turnKey]).EndExclusive(collections.PairPrefix[int64, uint64](ctx.BlockHeight() + 1))
	err := k.audit.waiting.Walk(ctx, now, func(_ turnKey, w Waiting) (bool, error) {
		ready = append(ready, w)
		return len(ready) >= left, nil
	})
	if err != nil {
		return err
	}
	seats := map[string][]candidate{}
	for _, w := range ready {
		if left <= 0 {
			break
		}
		used, err := k.drawBatch(ctx, p, w, min(left, turn), seats)
		if err != nil {
			return err
		}
		left -= used
	}
	return nil
}

// drawBatch draws up to limit strata of one batch and says how much it did.
func (k Keeper) drawBatch(ctx sdk.Context, p AuditParams, w Waiting, limit int, seats map[string][]candidate) (used int, err error) {
	if err := k.audit.waiting.Remove(ctx, collections.Join(w.Turn, w.Id)); err != nil {
		return 0, err
	}
	provider, err := k.account(w.Provider)
	if err != nil {
		return 0, err
	}
	if known, err := k.market.Registered(ctx, provider); err != nil || !known {
		return 1, err
	}
	b, err := k.batches.Get(ctx, collections.Join(provider, w.Sequence))
	if err != nil {
		return 0, err
	}
	again := func(blocks int64) error {
		w.Turn = ctx.BlockHeight() + blocks
		return k.audit.waiting.Set(ctx, collections.Join(w.Turn, w.Id), w)
	}
	if len(w.Seed) == 0 {
		v, ok, err := k.beaconAfter(ctx, p, b.Height)
		if err != nil {
			return 1, err
		}
		if !ok {
			return 1, again(1)
		}
		seed := core.AuditDraw(v, core.ReceiptBatch{Provider: core.Address(provider), Sequence: b.Sequence, Root: core.Hash(b.Root)})
		w.Seed = seed[:]
	}
	candidates, ok := seats[string(b.Model)]
	if !ok {
		if candidates, err = k.candidates(ctx, p, b.Model); err != nil {
			return 1, err
		}
		seats[string(b.Model)] = candidates
	}
	strata := uint32((uint64(b.Count) + uint64(p.Interval) - 1) / uint64(p.Interval))
	for used = 1; w.Stratum < strata; used++ {
		if used > limit {
			return used, again(1)
		}
		if n, err := k.openAudits(ctx, provider, int(p.MaxOpen)); err != nil {
			return used, err
		} else if n >= int(p.MaxOpen) {
			return used, again(fullWait)
		}
		r := sha256.Sum256(binary.BigEndian.AppendUint64(w.Seed[:len(w.Seed):len(w.Seed)], uint64(w.Stratum)))
		index := uint64(w.Stratum)*uint64(p.Interval) + binary.BigEndian.Uint64(r[:])%uint64(p.Interval)
		w.Stratum++
		if index >= uint64(b.Count) {
			continue
		}
		if err := k.newAudit(ctx, p, provider, b, uint32(index), pick(candidates, b.Height, provider, r, int(p.Auditors))); err != nil {
			return used, err
		}
	}
	return used, nil
}

// candidate is an auditor who may be drawn.
type candidate struct {
	account sdk.AccAddress
	bond    math.Int
	since   int64
}

// candidates are a model's auditors with enough bond who are no providers, in
// order of accounts.
func (k Keeper) candidates(ctx sdk.Context, p AuditParams, model []byte) (cs []candidate, err error) {
	as, err := k.seated(ctx, model)
	if err != nil {
		return nil, err
	}
	for _, a := range as {
		v, err := k.Auditor(ctx, a)
		if err != nil {
			return nil, err
		}
		provides, err := k.market.Registered(ctx, a)
		if err != nil {
			return nil, err
		}
		if !provides && v.Bond.GTE(p.MinBond) {
			cs = append(cs, candidate{a, v.Bond, v.Since})
		}
	}
	return cs, nil
}

// pick draws n of those who were there before the batch, one after the other,
// with the weight of their bonds.
func pick(cs []candidate, before int64, provider sdk.AccAddress, r core.Hash, n int) (drawn []sdk.AccAddress) {
	left := make([]candidate, 0, len(cs))
	total := math.ZeroInt()
	for _, c := range cs {
		if c.since < before && !c.account.Equals(provider) {
			left, total = append(left, c), total.Add(c.bond)
		}
	}
	for j := 0; j < n && len(left) > 0; j++ {
		h := sha256.Sum256(binary.BigEndian.AppendUint32(r[:len(r):len(r)], uint32(j)))
		at := math.NewIntFromBigInt(new(big.Int).Mod(new(big.Int).SetBytes(h[:]), total.BigInt()))
		i := 0
		for ; at.GTE(left[i].bond); i++ {
			at = at.Sub(left[i].bond)
		}
		drawn = append(drawn, left[i].account)
		total = total.Sub(left[i].bond)
		left = append(left[:i:i], left[i+1:]...)
	}
	return drawn
}

// openAudits counts an account's open audits, up to limit.
func (k Keeper) openAudits(ctx context.Context, a sdk.AccAddress, limit int) (n int, err error) {
	err = k.audit.parties.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](a), func(partyKey) (bool, error) {
		n++
		return n >= limit, nil
	})
	return n, err
}

// newAudit begins an audit; without auditors there is none.
func (k Keeper) newAudit(ctx sdk.Context, p AuditParams, provider sdk.AccAddress, b Batch, index uint32, auditors []sdk.AccAddress) error {
	if len(auditors) == 0 {
		return nil
	}
	id, err := k.audit.nextAudit.Next(ctx)
	if err != nil {
		return err
	}
	now, zero := ctx.BlockTime().Unix(), math.ZeroInt()
	a := Audit{Id: id, Provider: b.Provider, Sequence: b.Sequence, Index: index, Model: b.Model, Phase: core.PhaseCommit, Drawn: now, Pay: zero}
	for _, x := range auditors {
		a.Duties = append(a.Duties, Duty{Auditor: k.canonical(x), Paid: zero, Lost: zero})
		v, err := k.Auditor(ctx, x)
		if err != nil {
			return err
		}
		v.Open++
		if err := k.audit.auditors.Set(ctx, x, v); err != nil {
			return err
		}
	}
	if err := k.listParties(ctx, &a, provider, true); err != nil {
		return err
	}
	if err := k.endAt(ctx, &a, now+int64(p.CommitTime)); err != nil {
		return err
	}
	event := &EventDrawn{Id: id, Provider: a.Provider, Sequence: a.Sequence, Index: index}
	for _, d := range a.Duties {
		event.Auditors = append(event.Auditors, d.Auditor)
	}
	return ctx.EventManager().EmitTypedEvent(event)
}

// listParties puts an audit on the lists of its parties, or takes it off.
func (k Keeper) listParties(ctx context.Context, a *Audit, provider sdk.AccAddress, on bool) error {
	set := k.audit.parties.Remove
	if on {
		set = k.audit.parties.Set
	}
	if err := set(ctx, collections.Join(provider, a.Id)); err != nil {
		return err
	}
	for _, d := range a.Duties {
		x, err := k.account(d.Auditor)
		if err != nil {
			return err
		}
		if err := set(ctx, collections.Join(x, a.Id)); err != nil {
			return err
		}
	}
	return nil
}

// endAt stores an audit with the deadline of its phase.
func (k Keeper) endAt(ctx context.Context, a *Audit, deadline int64) error {
	if a.Deadline != 0 {
		if err := k.audit.deadlines.Remove(ctx, collections.Join(a.Deadline, a.Id)); err != nil {
			return err
		}
	}
	a.Deadline = deadline
	if deadline != 0 {
		if err := k.audit.deadlines.Set(ctx, collections.Join(deadline, a.Id)); err != nil {
			return err
		}
	}
	return k.audit.audits.Set(ctx, a.Id, *a)
}
