package verify

import (
	"context"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

const (
	// maxPiece bounds the bytes of one piece of a payload.
	maxPiece = 64 << 10
	// openGas is the price of one byte of a payload that the chain opens itself.
	openGas = 20
)

// awaits reports whether a demanded payload is not there yet.
func (d *Duty) awaits() bool { return d.Due != 0 && (d.Size_ == 0 || d.Received < d.Size_) }

func (s msgServer) Demand(goCtx context.Context, msg *MsgDemand) (*MsgDemandResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	_, a, d, err := s.party(ctx, msg.Auditor, msg.Audit, core.PhaseCommit)
	if err != nil {
		return nil, err
	}
	if len(msg.Key) != 32 || core.Hash(msg.Key).IsZero() {
		return nil, ErrInvalid.Wrap("a key has 32 bytes, not all zero")
	}
	if d.Due != 0 || len(d.Commitment) != 0 {
		return nil, ErrAudit.Wrap("this auditor has demanded or committed already")
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if ctx.BlockTime().Unix() > a.Drawn+int64(p.Audits.CommitTime) {
		return nil, ErrAudit.Wrap("it is too late to demand; the commit phase goes on for others only")
	}
	d.Key, d.Due = msg.Key, ctx.BlockTime().Unix()+int64(p.Audits.SupplyTime)
	return &MsgDemandResponse{Due: d.Due}, s.endAt(ctx, &a, max(a.Deadline, d.Due))
}

func (s msgServer) Supply(goCtx context.Context, msg *MsgSupply) (*MsgSupplyResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	provider, err := s.account(msg.Provider)
	if err != nil {
		return nil, err
	}
	x, a, d, err := s.party(ctx, msg.Auditor, msg.Audit, core.PhaseCommit)
	if err != nil {
		return nil, err
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	n := uint32(len(msg.Data))
	switch {
	case s.canonical(provider) != a.Provider:
		return nil, ErrAudit.Wrap("another provider is audited")
	case !d.awaits() || ctx.BlockTime().Unix() > d.Due:
		return nil, ErrAudit.Wrap("nothing is demanded, or it is too late")
	case n == 0 || n > maxPiece:
		return nil, ErrInvalid.Wrapf("a piece has 1 to %d bytes", maxPiece)
	case msg.Offset != d.Received:
		return nil, ErrSequence.Wrapf("%d bytes are there, the next piece begins with them", d.Received)
	case msg.Size_ > p.Audits.MaxPayload || msg.Size_ < msg.Offset || n > msg.Size_-msg.Offset || d.Size_ != 0 && msg.Size_ != d.Size_:
		return nil, ErrInvalid.Wrapf("a payload of %d bytes, at %d of %d; at most %d are possible", msg.Size_, msg.Offset, d.Size_, p.Audits.MaxPayload)
	}
	if len(a.Receipt) == 0 {
		if err := s.show(ctx, p.Audits, &a, msg.Receipt, msg.Path); err != nil {
			return nil, err
		}
	}
	piece := Piece{Audit: a.Id, Auditor: d.Auditor, Offset: msg.Offset, Data: msg.Data}
	if err := s.audit.pieces.Set(ctx, collections.Join3(a.Id, x, msg.Offset), piece); err != nil {
		return nil, err
	}
	d.Size_, d.Received = msg.Size_, d.Received+n
	deadline := a.Deadline
	if d.Received == d.Size_ {
		deadline = max(deadline, ctx.BlockTime().Unix()+int64(p.Audits.CommitTime))
	}
	return &MsgSupplyResponse{}, s.endAt(ctx, &a, deadline)
}

// sealed joins the pieces of a payload.
func (k Keeper) sealed(ctx context.Context, audit uint64, auditor sdk.AccAddress) (b []byte, err error) {
	r := collections.NewSuperPrefixedTripleRange[uint64, sdk.AccAddress, uint32](audit, auditor)
	err = k.audit.pieces.Walk(ctx, r, func(_ pieceKey, p Piece) (bool, error) {
		b = append(b, p.Data...)
		return false, nil
	})
	return b, err
}

// dropPieces removes the payloads of an audit.
func (k Keeper) dropPieces(ctx context.Context, audit uint64) error {
	return k.audit.pieces.Clear(ctx, collections.NewPrefixedTripleRange[uint64, sdk.AccAddress, uint32](audit))
}

func (s msgServer) Expose(goCtx context.Context, msg *MsgExpose) (*MsgExposeResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	x, a, d, err := s.party(ctx, msg.Auditor, msg.Audit, core.PhaseCommit)
	if err != nil {
		return nil, err
	}
	if len(d.Commitment) != 0 || d.Due == 0 || d.awaits() {
		return nil, ErrAudit.Wrap("there is no payload to expose, or it was taken")
	}
	if !core.OneTimeKey(msg.Key, core.Hash(d.Key)) {
		return nil, ErrInvalid.Wrap("this is not the private key of the demand's")
	}
	r, err := s.receipt(ctx, a.Signed)
	if err != nil {
		return nil, err
	}
	ctx.GasMeter().ConsumeGas(openGas*uint64(d.Size_), "opening a payload")
	sealed, err := s.sealed(ctx, a.Id, x)
	if err != nil {
		return nil, err
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	fault := ""
	if v, err := core.OpenPayload(msg.Key, a.Id, core.Address(x), sealed); err != nil {
		fault = "it cannot be opened or read"
	} else {
		fault = v.Check(&r.Receipt)
	}
	if fault == "" {
		err = s.penalize(ctx, p, &a, d, outcomeExposed, p.Audits.MissPenalty, false)
	} else {
		err = s.withhold(ctx, p, &a, d, outcomeWithheld, "the payload is none: "+fault)
	}
	if err != nil {
		return nil, err
	}
	return &MsgExposeResponse{Fault: fault}, s.goOn(ctx, &a)
}

// withhold frees an auditor who got no payload. The provider pays once for an
// audit; the bounty is the auditor's.
func (k Keeper) withhold(ctx sdk.Context, p Params, a *Audit, d *Duty, outcome, cause string) error {
	d.Outcome = outcome
	if a.Withheld {
		return k.announceDuty(ctx, a, d)
	}
	a.Withheld = true
	provider, err := k.account(a.Provider)
	if err != nil {
		return err
	}
	x, err := k.account(d.Auditor)
	if err != nil {
		return err
	}
	taken := math.ZeroInt()
	if known, err := k.market.Registered(ctx, provider); err != nil {
		return err
	} else if known {
		if taken, err = k.market.Fine(ctx, provider, p.Audits.WithheldPenalty, ModuleName); err != nil {
			return err
		}
		if err := k.divide(ctx, p, taken, x); err != nil {
			return err
		}
		if err := k.earn(ctx, x, d, taken.MulRaw(int64(p.BountyPoints)).QuoRaw(Basis)); err != nil {
			return err
		}
	}
	if err := ctx.EventManager().EmitTypedEvent(&EventWithheld{Id: a.Id, Provider: a.Provider, Penalty: taken.String(), Cause: cause}); err != nil {
		return err
	}
	return k.announceDuty(ctx, a, d)
}
