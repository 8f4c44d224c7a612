package market

import (
	"context"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// Jail bars a provider from serving for jail_time at least, and takes its
// offers down.
func (k Keeper) Jail(goCtx context.Context, a sdk.AccAddress) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	v, err := k.Provider(ctx, a)
	if err != nil {
		return err
	}
	if err := k.jail(ctx, a, &v); err != nil {
		return err
	}
	return k.providers.Set(ctx, a, v)
}

// jail marks v, which the caller stores.
func (k Keeper) jail(ctx sdk.Context, a sdk.AccAddress, v *Provider) error {
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	if err := k.offers.Remove(ctx, a); err != nil {
		return err
	}
	v.Jailed, v.JailedUntil = true, max(v.JailedUntil, ctx.BlockTime().Unix()+int64(p.JailTime))
	return ctx.EventManager().EmitTypedEvent(&EventJailed{Provider: v.Address, Until: v.JailedUntil})
}

func (s msgServer) Unjail(goCtx context.Context, msg *MsgUnjail) (*MsgUnjailResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, v, p, err := s.own(ctx, msg.Provider)
	switch {
	case err != nil:
		return nil, err
	case !v.Jailed:
		return nil, ErrInvalid.Wrap("the provider is not jailed")
	case ctx.BlockTime().Unix() < v.JailedUntil:
		return nil, ErrJailed.Wrapf("until %d", v.JailedUntil)
	case v.Bond.LT(p.MinBond):
		return nil, ErrBond.Wrapf("have %s, need %s to serve again", v.Bond, p.MinBond)
	}
	v.Jailed, v.JailedUntil = false, 0
	if err := s.providers.Set(ctx, a, v); err != nil {
		return nil, err
	}
	return &MsgUnjailResponse{}, ctx.EventManager().EmitTypedEvent(&EventJailed{Provider: v.Address})
}

// addConviction notes a conviction in a provider's record.
func (k Keeper) addConviction(ctx sdk.Context, a sdk.AccAddress, slashed math.Int) error {
	r, err := k.record(ctx, a)
	if err != nil {
		return err
	}
	r.Convictions++
	r.Slashed, r.Convicted = r.Slashed.Add(slashed), ctx.BlockTime().Unix()
	return k.records.Set(ctx, a, r)
}

// AddRetracted counts a receipt that a provider took back.
func (k Keeper) AddRetracted(ctx context.Context, a sdk.AccAddress) error {
	r, err := k.record(ctx, a)
	if err != nil {
		return err
	}
	r.Retracted++
	return k.records.Set(ctx, a, r)
}
