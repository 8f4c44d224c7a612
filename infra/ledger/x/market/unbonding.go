package market

import (
	"context"
	"math"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

func (k Keeper) enqueue(ctx context.Context, a sdk.AccAddress, u Unbonding) error {
	at := collections.Join(u.Completes, u.Id)
	if err := k.unbondings.Set(ctx, at, u); err != nil {
		return err
	}
	return k.pending.Set(ctx, collections.Join(a, at))
}

// countPending counts the unbondings that a asked for.
func (k Keeper) countPending(ctx context.Context, a sdk.AccAddress) (n int, err error) {
	waiting, err := k.waiting(ctx, a)
	for _, u := range waiting {
		if !u.Held {
			n++
		}
	}
	return n, err
}

// EndBlock pays the unbondings that are due, in order of time, at most
// max_payouts of them.
func (k Keeper) EndBlock(goCtx context.Context) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	var ready []Unbonding
	now := new(collections.Range[due]).EndInclusive(collections.Join(ctx.BlockTime().Unix(), uint64(math.MaxUint64)))
	err = k.unbondings.Walk(ctx, now, func(_ due, u Unbonding) (bool, error) {
		ready = append(ready, u)
		return len(ready) >= int(p.MaxPayouts), nil
	})
	if err != nil {
		return err
	}
	for _, u := range ready {
		if err := k.pay(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// dequeue takes an unbonding off the list.
func (k Keeper) dequeue(ctx context.Context, a sdk.AccAddress, u Unbonding) error {
	at := collections.Join(u.Completes, u.Id)
	if err := k.unbondings.Remove(ctx, at); err != nil {
		return err
	}
	return k.pending.Remove(ctx, collections.Join(a, at))
}

// frozenWait is how long an unbonding that is due waits at a time while its
// provider is in a dispute, in seconds.
const frozenWait = 60

func (k Keeper) pay(ctx sdk.Context, u Unbonding) error {
	a, err := k.account(u.Provider)
	if err != nil {
		return err
	}
	if err := k.dequeue(ctx, a, u); err != nil {
		return err
	}
	if n, err := k.frozenCount(ctx, a); err != nil {
		return err
	} else if n > 0 {
		u.Completes = ctx.BlockTime().Unix() + frozenWait
		return k.enqueue(ctx, a, u)
	}
	if err := k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, a, coins(u.Amount)); err != nil {
		return err
	}
	if err := k.forget(ctx, a); err != nil {
		return err
	}
	return ctx.EventManager().EmitTypedEvent(&EventUnbonded{Provider: u.Provider, Amount: u.Amount.String()})
}

// forget removes a provider that has nothing at stake any more. Its record
// stays; a provider in jail stays too, lest it come back as a new one.
func (k Keeper) forget(ctx context.Context, a sdk.AccAddress) error {
	v, err := k.Provider(ctx, a)
	if err != nil || !v.Bond.IsZero() || v.Jailed {
		return err
	}
	if waiting, err := k.waiting(ctx, a); err != nil || len(waiting) > 0 {
		return err
	}
	if err := k.peers.Remove(ctx, v.PeerId); err != nil {
		return err
	}
	return k.providers.Remove(ctx, a)
}
