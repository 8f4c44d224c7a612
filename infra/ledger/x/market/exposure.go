package market

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// slices divide the time to finality: what a provider earns in one of them
// becomes final together.
const slices = 16

// maxHeld bounds the payouts of held earnings that wait for one provider.
const maxHeld = 2 * slices

type earningKey = collections.Pair[sdk.AccAddress, int64] // provider, final at

// sliceEnd is when what is earned now is final: finality from now, to the end of
// a slice.
func (p Params) sliceEnd(now int64) int64 {
	width := max(int64(p.Finality)/slices, 1)
	return (now+int64(p.Finality))/width*width + width
}

// Earn notes what a provider's vouchers brought in, and decides how much of own,
// its part, is held as a further stake until it is final: what lies above the
// cover, stake / kappa. The caller sends that amount to this module's account.
// Earnings of an account that is no provider are not held: nobody can dispute
// its receipts.
func (k Keeper) Earn(goCtx context.Context, a sdk.AccAddress, amount, own math.Int) (held math.Int, err error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	held = math.ZeroInt()
	if err := k.addClaimed(ctx, a, amount); err != nil {
		return held, err
	}
	if known, err := k.providers.Has(ctx, a); err != nil || !known {
		return held, err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return held, err
	}
	stake, err := k.Stake(ctx, a)
	if err != nil {
		return held, err
	}
	exposure, err := k.Exposure(ctx, a)
	if err != nil {
		return held, err
	}
	free := math.MaxInt(p.cover(stake).Sub(exposure), math.ZeroInt())
	held = math.MinInt(math.MaxInt(amount.Sub(free), math.ZeroInt()), own)
	until := p.sliceEnd(ctx.BlockTime().Unix())
	if err := k.addEarning(ctx, a, until, amount); err != nil {
		return held, err
	}
	if !held.IsPositive() {
		return held, nil
	}
	if err := k.hold(ctx, a, held, until); err != nil {
		return held, err
	}
	return held, ctx.EventManager().EmitTypedEvent(&EventHeld{Provider: k.canonical(a), Amount: held.String(), Until: until})
}

// cover is the earnings that a stake covers while they are not final.
func (p Params) cover(stake math.Int) math.Int { return stake.QuoRaw(int64(p.Kappa)) }

// Stake is what a conviction would take: bond and pending unbondings.
func (k Keeper) Stake(ctx context.Context, a sdk.AccAddress) (math.Int, error) {
	v, err := k.Provider(ctx, a)
	if err != nil {
		return math.ZeroInt(), err
	}
	waiting, err := k.waiting(ctx, a)
	total := v.Bond
	for _, u := range waiting {
		total = total.Add(u.Amount)
	}
	return total, err
}

// waiting are a provider's pending unbondings in order of time.
func (k Keeper) waiting(ctx context.Context, a sdk.AccAddress) (list []Unbonding, err error) {
	err = k.pending.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, due](a), func(at collections.Pair[sdk.AccAddress, due]) (bool, error) {
		u, err := k.unbondings.Get(ctx, at.K2())
		list = append(list, u)
		return err != nil, err
	})
	return list, err
}

// Exposure is what a provider earned that is not final yet.
func (k Keeper) Exposure(goCtx context.Context, a sdk.AccAddress) (math.Int, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	sum := math.ZeroInt()
	err := k.earnings.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, int64](a), func(at earningKey, amount math.Int) (bool, error) {
		if at.K2() > ctx.BlockTime().Unix() {
			sum = sum.Add(amount)
		}
		return false, nil
	})
	return sum, err
}

// addEarning notes earnings and forgets those of the provider that are final.
func (k Keeper) addEarning(ctx sdk.Context, a sdk.AccAddress, until int64, amount math.Int) error {
	var final []earningKey
	err := k.earnings.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, int64](a), func(at earningKey, _ math.Int) (bool, error) {
		if at.K2() <= ctx.BlockTime().Unix() {
			final = append(final, at)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	for _, at := range final {
		if err := k.earnings.Remove(ctx, at); err != nil {
			return err
		}
	}
	at := collections.Join(a, until)
	old, err := k.earnings.Get(ctx, at)
	if errors.Is(err, collections.ErrNotFound) {
		old, err = math.ZeroInt(), nil
	}
	if err != nil {
		return err
	}
	return k.earnings.Set(ctx, at, old.Add(amount))
}

// hold makes an unbonding of held earnings, or adds to one that waits.
func (k Keeper) hold(ctx sdk.Context, a sdk.AccAddress, amount math.Int, until int64) error {
	waiting, err := k.waiting(ctx, a)
	if err != nil {
		return err
	}
	count, last := 0, Unbonding{}
	for _, u := range waiting {
		if u.Held {
			count, last = count+1, u
		}
	}
	if count > 0 && (last.Completes == until || count >= maxHeld) {
		if err := k.dequeue(ctx, a, last); err != nil {
			return err
		}
		last.Amount, last.Completes = last.Amount.Add(amount), max(last.Completes, until)
		return k.enqueue(ctx, a, last)
	}
	id, err := k.next.Next(ctx)
	if err != nil {
		return err
	}
	return k.enqueue(ctx, a, Unbonding{Id: id, Provider: k.canonical(a), Amount: amount, Completes: until, Held: true})
}
