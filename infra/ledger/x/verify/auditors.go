package verify

import (
	"bytes"
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// Beacon is the chain's randomness: a value per height that nobody knew before.
// A height may have none.
type Beacon interface {
	At(ctx context.Context, height int64) (value [32]byte, ok bool, err error)
	// Lead is how many blocks lie between what is drawn over and the first beacon
	// that nobody could foresee then.
	Lead(ctx context.Context) (int64, error)
}

// WithBeacon returns the keeper with the beacon that draws audits. Without one
// no audit is drawn.
func (k Keeper) WithBeacon(b Beacon) Keeper {
	k.beacon = b
	return k
}

type (
	seatKey   = collections.Pair[[]byte, sdk.AccAddress] // model, auditor
	leaveKey  = collections.Pair[int64, sdk.AccAddress]  // time, auditor
	turnKey   = collections.Pair[int64, uint64]          // height, waiting
	partyKey  = collections.Pair[sdk.AccAddress, uint64] // provider or auditor, audit
	shownKey  = collections.Pair[[]byte, uint64]         // receipt, audit
	pieceKey  = collections.Triple[uint64, sdk.AccAddress, uint32]
	canaryKey = collections.Pair[sdk.AccAddress, []byte] // committer, hash
)

// auditStore is what audits keep.
type auditStore struct {
	auditors    collections.Map[sdk.AccAddress, Auditor]
	seats       collections.KeySet[seatKey]
	leaving     collections.KeySet[leaveKey]
	waiting     collections.Map[turnKey, Waiting]
	audits      collections.Map[uint64, Audit]
	deadlines   collections.KeySet[dueKey] // of phases that time ends
	spots       collections.KeySet[uint64] // audits that wait for the beacon
	parties     collections.KeySet[partyKey]
	shown       collections.KeySet[shownKey]
	pieces      collections.Map[pieceKey, Piece]
	canaries    collections.Map[[]byte, Canary]
	committed   collections.KeySet[canaryKey]
	nextAudit   collections.Sequence
	nextWaiting collections.Sequence
}

func newAuditStore(b *collections.SchemaBuilder, cdc codec.BinaryCodec) auditStore {
	at := func(n int) collections.Prefix { return collections.NewPrefix(n) }
	timed := collections.PairKeyCodec(collections.Int64Key, collections.Uint64Key)
	return auditStore{
		auditors:    collections.NewMap(b, at(16), "auditors", sdk.AccAddressKey, codec.CollValue[Auditor](cdc)),
		seats:       collections.NewKeySet(b, at(17), "seats", collections.PairKeyCodec(collections.BytesKey, sdk.AccAddressKey)),
		leaving:     collections.NewKeySet(b, at(18), "leaving", collections.PairKeyCodec(collections.Int64Key, sdk.AccAddressKey)),
		waiting:     collections.NewMap(b, at(19), "waiting", timed, codec.CollValue[Waiting](cdc)),
		audits:      collections.NewMap(b, at(20), "audits", collections.Uint64Key, codec.CollValue[Audit](cdc)),
		deadlines:   collections.NewKeySet(b, at(21), "deadlines", timed),
		spots:       collections.NewKeySet(b, at(22), "spots", collections.Uint64Key),
		parties:     collections.NewKeySet(b, at(23), "parties", collections.PairKeyCodec(sdk.AccAddressKey, collections.Uint64Key)),
		shown:       collections.NewKeySet(b, at(24), "shown", collections.PairKeyCodec(collections.BytesKey, collections.Uint64Key)),
		pieces:      collections.NewMap(b, at(25), "pieces", collections.TripleKeyCodec(collections.Uint64Key, sdk.AccAddressKey, collections.Uint32Key), codec.CollValue[Piece](cdc)),
		canaries:    collections.NewMap(b, at(26), "canaries", collections.BytesKey, codec.CollValue[Canary](cdc)),
		committed:   collections.NewKeySet(b, at(27), "committed", collections.PairKeyCodec(sdk.AccAddressKey, collections.BytesKey)),
		nextAudit:   collections.NewSequence(b, at(28), "next_audit"),
		nextWaiting: collections.NewSequence(b, at(29), "next_waiting"),
	}
}

// DefaultAuditParams are those of a public network: one receipt in twenty, two
// auditors, an hour to examine.
func DefaultAuditParams() AuditParams {
	koin := func(n uint64) math.Int { return math.NewIntFromBigInt(core.Koin(n).Big()) }
	return AuditParams{
		Interval: 20, Auditors: 2, MinBond: koin(50), UnbondDelay: 3 * 24 * 3600, MaxSeats: 128, MaxModels: 64,
		BeaconDelay: 2, MaxDraws: 32, MaxSteps: 64, MaxOpen: 64,
		CommitTime: 3600, SupplyTime: 1800, RevealTime: 1800, Keep: 2 * 24 * 3600,
		PayPoints: 5_000, MissPenalty: koin(1), FalsePenalty: koin(20), WithheldPenalty: koin(20),
		MaxPayload: core.MaxPayload, CanaryDeposit: koin(1), MaxCanaries: 64,
	}
}

// Validate checks the bounds within which governance may move.
func (p AuditParams) Validate() error {
	const week = 7 * 24 * 3600
	for _, v := range []math.Int{p.MinBond, p.MissPenalty, p.FalsePenalty, p.WithheldPenalty, p.CanaryDeposit} {
		if v.IsNil() || v.IsNegative() || v.BigIntMut().BitLen() > 128 {
			return errors.New("bonds and penalties of audits must lie in [0, 2^128)")
		}
	}
	switch {
	case p.Interval > Basis:
		return errors.New("interval must be at most 10,000")
	case p.Interval == 0:
		return nil // no audits
	case p.Auditors == 0 || p.Auditors > 7:
		return errors.New("auditors must lie in [1, 7]")
	case !p.MinBond.IsPositive() || p.MissPenalty.GT(p.MinBond) || p.FalsePenalty.GT(p.MinBond):
		return errors.New("min_bond must be positive and cover miss_penalty and false_penalty")
	case p.MaxSeats < p.Auditors || p.MaxSeats > 1024 || p.MaxModels == 0 || p.MaxModels > 1024:
		return errors.New("max_seats must lie in [auditors, 1024] and max_models in [1, 1024]")
	case p.BeaconDelay < 2 || p.BeaconDelay > 1000:
		return errors.New("beacon_delay must lie in [2, 1000]")
	case p.MaxDraws == 0 || p.MaxDraws > 1024 || p.MaxSteps == 0 || p.MaxSteps > 1024 || p.MaxOpen == 0 || p.MaxOpen > 1<<16:
		return errors.New("max_draws and max_steps must lie in [1, 1024], max_open in [1, 65536]")
	case p.CommitTime == 0 || p.CommitTime > week || p.SupplyTime == 0 || p.SupplyTime > week || p.RevealTime == 0 || p.RevealTime > week:
		return errors.New("the times of an audit must lie in [1 s, 7 days]")
	case p.Keep > p.UnbondDelay || p.UnbondDelay > 365*24*3600:
		return errors.New("keep must not exceed unbond_delay, nor that a year: who leaves must not escape a conviction")
	case p.PayPoints > Basis:
		return errors.New("pay_points must be at most 10,000")
	case p.MaxPayload > core.MaxPayload || p.MaxPayload < maxPiece:
		return errors.New("max_payload must lie in [64 KiB, 2 MiB]")
	case p.MaxCanaries > 1<<16:
		return errors.New("max_canaries must be at most 65,536")
	}
	return nil
}

// Auditor returns a registered auditor, or [ErrAuditor].
func (k Keeper) Auditor(ctx context.Context, a sdk.AccAddress) (Auditor, error) {
	v, err := k.audit.auditors.Get(ctx, a)
	if errors.Is(err, collections.ErrNotFound) {
		return v, ErrAuditor.Wrapf("%s is no auditor", k.canonical(a))
	}
	return v, err
}

func (s msgServer) RegisterAuditor(goCtx context.Context, msg *MsgRegisterAuditor) (*MsgRegisterAuditorResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, err := s.account(msg.Auditor)
	if err != nil {
		return nil, err
	}
	all, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	p := all.Audits
	if err := checkModels(p, msg.Models); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if msg.Bond.IsNil() || msg.Bond.IsNegative() || msg.Bond.BigIntMut().BitLen() > 128 {
		return nil, ErrInvalid.Wrap("the bond must lie in [0, 2^128)")
	}
	if provides, err := s.market.Registered(ctx, a); err != nil {
		return nil, err
	} else if provides {
		return nil, ErrAuditor.Wrap("a provider does not audit; use another account")
	}
	v, err := s.Auditor(ctx, a)
	if errors.Is(err, ErrAuditor) {
		zero := math.ZeroInt()
		v, err = Auditor{Account: s.canonical(a), Bond: zero, Earned: zero, Lost: zero}, nil
	}
	if err != nil {
		return nil, err
	}
	if v.Leaves != 0 {
		return nil, ErrAuditor.Wrapf("it leaves at %d; register again afterwards", v.Leaves)
	}
	v.Bond = v.Bond.Add(msg.Bond)
	if v.Bond.LT(p.MinBond) {
		return nil, ErrFunds.Wrapf("the bond would be %s, at least %s%s is needed", v.Bond, p.MinBond, core.BaseDenom)
	}
	if msg.Bond.IsPositive() {
		if err := s.bank.SendCoinsFromAccountToModule(ctx, a, ModuleName, coins(msg.Bond)); err != nil {
			return nil, ErrFunds.Wrap(err.Error())
		}
	}
	if err := s.leaveSeats(ctx, a, v.Models); err != nil {
		return nil, err
	}
	for _, m := range msg.Models {
		if err := s.takeSeat(ctx, p, m, a, v.Bond); err != nil {
			return nil, err
		}
	}
	v.Models, v.Since = msg.Models, ctx.BlockHeight()
	return &MsgRegisterAuditorResponse{}, s.audit.auditors.Set(ctx, a, v)
}

func checkModels(p AuditParams, models [][]byte) error {
	if len(models) == 0 || len(models) > int(p.MaxModels) {
		return errors.New("an auditor names at least one model, and at most max_models")
	}
	for i, m := range models {
		if len(m) != 32 || i > 0 && bytes.Compare(models[i-1], m) >= 0 {
			return errors.New("models are ids of 32 bytes in rising order")
		}
	}
	return nil
}

func (k Keeper) leaveSeats(ctx context.Context, a sdk.AccAddress, models [][]byte) error {
	for _, m := range models {
		if err := k.audit.seats.Remove(ctx, collections.Join(m, a)); err != nil {
			return err
		}
	}
	return nil
}

// seated lists who sits for a model, in order of accounts.
func (k Keeper) seated(ctx context.Context, model []byte) (as []sdk.AccAddress, err error) {
	err = k.audit.seats.Walk(ctx, collections.NewPrefixedPairRange[[]byte, sdk.AccAddress](model), func(at seatKey) (bool, error) {
		as = append(as, at.K2())
		return false, nil
	})
	return as, err
}

// takeSeat seats an auditor for a model. When all seats are taken, the one with
// the least bond makes room for a greater one.
func (k Keeper) takeSeat(ctx context.Context, p AuditParams, model []byte, a sdk.AccAddress, bond math.Int) error {
	taken, err := k.seated(ctx, model)
	if err != nil {
		return err
	}
	if len(taken) >= int(p.MaxSeats) {
		var least sdk.AccAddress
		var poorest Auditor
		for _, b := range taken {
			v, err := k.Auditor(ctx, b)
			if err != nil {
				return err
			}
			if least == nil || v.Bond.LT(poorest.Bond) {
				least, poorest = b, v
			}
		}
		if !bond.GT(poorest.Bond) {
			return ErrAuditor.Wrapf("all %d seats of model %x are taken; a bond above %s%s takes one", p.MaxSeats, model[:4], poorest.Bond, core.BaseDenom)
		}
		if err := k.audit.seats.Remove(ctx, collections.Join(model, least)); err != nil {
			return err
		}
		kept := poorest.Models[:0]
		for _, m := range poorest.Models {
			if !bytes.Equal(m, model) {
				kept = append(kept, m)
			}
		}
		poorest.Models = kept
		if err := k.audit.auditors.Set(ctx, least, poorest); err != nil {
			return err
		}
	}
	return k.audit.seats.Set(ctx, collections.Join(model, a))
}

func (s msgServer) LeaveAuditing(goCtx context.Context, msg *MsgLeaveAuditing) (*MsgLeaveAuditingResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, err := s.account(msg.Auditor)
	if err != nil {
		return nil, err
	}
	v, err := s.Auditor(ctx, a)
	if err != nil {
		return nil, err
	}
	if v.Leaves != 0 {
		return nil, ErrAuditor.Wrapf("it leaves at %d already", v.Leaves)
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.leaveSeats(ctx, a, v.Models); err != nil {
		return nil, err
	}
	v.Models, v.Leaves = nil, ctx.BlockTime().Unix()+int64(p.Audits.UnbondDelay)
	if err := s.audit.leaving.Set(ctx, collections.Join(v.Leaves, a)); err != nil {
		return nil, err
	}
	return &MsgLeaveAuditingResponse{Leaves: v.Leaves}, s.audit.auditors.Set(ctx, a, v)
}

// busyWait is how long the bond of somebody who left waits at a time for an
// audit of his to end, in seconds.
const busyWait = 60

// payLeavers returns the bonds of those whose time has come, at most limit.
func (k Keeper) payLeavers(ctx sdk.Context, limit int) error {
	var ready []leaveKey
	now := new(collections.Range[leaveKey]).EndExclusive(collections.PairPrefix[int64, sdk.AccAddress](ctx.BlockTime().Unix() + 1))
	err := k.audit.leaving.Walk(ctx, now, func(at leaveKey) (bool, error) {
		ready = append(ready, at)
		return len(ready) >= limit, nil
	})
	if err != nil {
		return err
	}
	for _, at := range ready {
		if err := k.payLeaver(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

func (k Keeper) payLeaver(ctx sdk.Context, at leaveKey) error {
	a := at.K2()
	v, err := k.Auditor(ctx, a)
	if err != nil {
		return err
	}
	if err := k.audit.leaving.Remove(ctx, at); err != nil {
		return err
	}
	if v.Open > 0 {
		v.Leaves = ctx.BlockTime().Unix() + busyWait
		if err := k.audit.leaving.Set(ctx, collections.Join(v.Leaves, a)); err != nil {
			return err
		}
		return k.audit.auditors.Set(ctx, a, v)
	}
	if err := k.audit.auditors.Remove(ctx, a); err != nil {
		return err
	}
	return k.pay(ctx, a, v.Bond)
}

// punish takes at most amount from an auditor's bond. bounty_points of it go to
// whom the bounty is for, if to anybody; the rest is burned.
func (k Keeper) punish(ctx sdk.Context, p Params, a sdk.AccAddress, amount math.Int, bounty sdk.AccAddress) (lost math.Int, err error) {
	v, err := k.Auditor(ctx, a)
	if errors.Is(err, ErrAuditor) {
		return math.ZeroInt(), nil // long gone
	}
	if err != nil {
		return math.ZeroInt(), err
	}
	lost = math.MinInt(amount, v.Bond)
	if !lost.IsPositive() {
		return math.ZeroInt(), nil
	}
	v.Bond, v.Lost = v.Bond.Sub(lost), v.Lost.Add(lost)
	if err := k.audit.auditors.Set(ctx, a, v); err != nil {
		return lost, err
	}
	return lost, k.divide(ctx, p, lost, bounty)
}

// divide gives the bounty's share of a penalty to somebody and burns the rest.
func (k Keeper) divide(ctx sdk.Context, p Params, penalty math.Int, bounty sdk.AccAddress) error {
	given := math.ZeroInt()
	if bounty != nil {
		given = penalty.MulRaw(int64(p.BountyPoints)).QuoRaw(Basis)
		if err := k.pay(ctx, bounty, given); err != nil {
			return err
		}
	}
	return k.burn(ctx, penalty.Sub(given))
}
