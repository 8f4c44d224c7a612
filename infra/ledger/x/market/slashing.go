package market

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// Freeze keeps a provider's money here while a dispute is open: unbondings wait.
// Each call needs one [Keeper.Thaw].
func (k Keeper) Freeze(ctx context.Context, a sdk.AccAddress) error {
	n, err := k.frozenCount(ctx, a)
	if err != nil {
		return err
	}
	return k.frozen.Set(ctx, a, n+1)
}

// Thaw undoes one Freeze.
func (k Keeper) Thaw(ctx context.Context, a sdk.AccAddress) error {
	n, err := k.frozenCount(ctx, a)
	switch {
	case err != nil:
		return err
	case n == 0:
		return errors.New("market: thawed more often than frozen")
	case n == 1:
		return k.frozen.Remove(ctx, a)
	}
	return k.frozen.Set(ctx, a, n-1)
}

func (k Keeper) frozenCount(ctx context.Context, a sdk.AccAddress) (uint64, error) {
	n, err := k.frozen.Get(ctx, a)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

// Slash takes a provider's whole bond and its pending unbondings, jails it,
// notes the conviction in its record and hands the money to a module. It returns
// the amount.
func (k Keeper) Slash(goCtx context.Context, a sdk.AccAddress, module string) (math.Int, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	v, err := k.Provider(ctx, a)
	if err != nil {
		return math.ZeroInt(), err
	}
	total := v.Bond
	waiting, err := k.waiting(ctx, a)
	if err != nil {
		return total, err
	}
	for _, u := range waiting {
		total = total.Add(u.Amount)
		if err := k.dequeue(ctx, a, u); err != nil {
			return total, err
		}
	}
	if total.IsPositive() {
		if err := k.bank.SendCoinsFromModuleToModule(ctx, ModuleName, module, coins(total)); err != nil {
			return total, err
		}
	}
	if err := k.jail(ctx, a, &v); err != nil {
		return total, err
	}
	if err := k.addConviction(ctx, a, total); err != nil {
		return total, err
	}
	return total, k.setBond(ctx, a, v, math.ZeroInt())
}
