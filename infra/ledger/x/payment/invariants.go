package payment

import (
	"context"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// CheckInvariants verifies that the module account holds exactly what the
// channels that are not closed still owe and the credits for audits, that no channel paid more than its
// deposit, and that every channel with a future closing is queued for it.
func (k Keeper) CheckInvariants(goCtx context.Context) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	owed, now := math.ZeroInt(), ctx.BlockTime().Unix()
	err := k.channels.Walk(ctx, nil, func(_ []byte, c Channel) (bool, error) {
		if err := c.validate(); err != nil {
			return true, fmt.Errorf("payment: channel %x: %w", c.Id, err)
		}
		owed = owed.Add(c.remaining())
		queued, err := k.queue.Has(ctx, collections.Join(c.closing(), c.Id))
		switch {
		case err != nil:
		case c.State == StateClosed && queued:
			err = fmt.Errorf("payment: channel %x is closed and still queued", c.Id)
		case c.State != StateClosed && !queued && c.closing() > now:
			err = fmt.Errorf("payment: channel %x is not queued for %d", c.Id, c.closing())
		}
		return err != nil, err
	})
	if err != nil {
		return err
	}
	err = k.credits.Walk(ctx, nil, func(_ sdk.AccAddress, amount math.Int) (bool, error) {
		if !amount.IsPositive() {
			return true, fmt.Errorf("payment: a credit of %s", amount)
		}
		owed = owed.Add(amount)
		return false, nil
	})
	if err != nil {
		return err
	}
	if held := k.bank.GetBalance(ctx, k.self(), core.BaseDenom).Amount; !held.Equal(owed) {
		return fmt.Errorf("payment: holds %s, owes %s", held, owed)
	}
	return k.queue.Walk(ctx, nil, func(at byTime) (bool, error) {
		c, err := k.Channel(ctx, at.K2())
		if err == nil && (c.State == StateClosed || at.K1() != c.closing()) {
			err = fmt.Errorf("payment: channel %x is queued wrongly for %d", c.Id, at.K1())
		}
		return err != nil, err
	})
}
