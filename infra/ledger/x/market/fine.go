package market

import (
	"context"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// Fine takes at most amount from a provider's bond, hands it to a module and
// returns it. What unbonds already is not touched; [Keeper.Slash] takes that too.
// Offers of a provider that has less than min_bond left are taken down.
func (k Keeper) Fine(goCtx context.Context, a sdk.AccAddress, amount math.Int, module string) (math.Int, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	v, err := k.Provider(ctx, a)
	if err != nil {
		return math.ZeroInt(), err
	}
	taken := math.MinInt(amount, v.Bond)
	if !taken.IsPositive() {
		return math.ZeroInt(), nil
	}
	if err := k.bank.SendCoinsFromModuleToModule(ctx, ModuleName, module, coins(taken)); err != nil {
		return math.ZeroInt(), err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return taken, err
	}
	rest := v.Bond.Sub(taken)
	if rest.LT(p.MinBond) {
		if err := k.offers.Remove(ctx, a); err != nil {
			return taken, err
		}
	}
	return taken, k.setBond(ctx, a, v, rest)
}
