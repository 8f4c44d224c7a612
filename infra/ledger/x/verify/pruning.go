package verify

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// setMark marks a receipt as proven wrong; a mark that lasts longer stays.
func (k Keeper) setMark(ctx context.Context, receipt []byte, until int64) error {
	old, err := k.convicted.Get(ctx, receipt)
	switch {
	case errors.Is(err, collections.ErrNotFound):
	case err != nil:
		return err
	case old >= until:
		return nil
	default:
		if err := k.expiring.Remove(ctx, collections.Join(old, receipt)); err != nil {
			return err
		}
	}
	if err := k.convicted.Set(ctx, receipt, until); err != nil {
		return err
	}
	return k.expiring.Set(ctx, collections.Join(until, receipt))
}

// prune removes disputes that ended long ago and marks that are no longer
// needed, at most max_pruned of each.
func (k Keeper) prune(ctx sdk.Context, p Params) error {
	now := ctx.BlockTime().Unix()
	old, err := first(ctx, k.ended, collections.Join(now-int64(p.Keep), uint64(0)), p.MaxPruned)
	if err != nil {
		return err
	}
	for _, at := range old {
		if err := errors.Join(k.ended.Remove(ctx, at), k.disputes.Remove(ctx, at.K2())); err != nil {
			return err
		}
	}
	marks, err := first(ctx, k.expiring, collections.Join(now, []byte(nil)), p.MaxPruned)
	if err != nil {
		return err
	}
	for _, at := range marks {
		if err := errors.Join(k.expiring.Remove(ctx, at), k.convicted.Remove(ctx, at.K2())); err != nil {
			return err
		}
	}
	return nil
}
