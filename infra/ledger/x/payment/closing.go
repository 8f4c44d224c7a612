package payment

import (
	"context"
	"encoding/hex"
	"math"

	"cosmossdk.io/collections"
	sdkmath "cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

// Reasons of [EventClosed].
const (
	reasonWithdrawal = "withdrawal"
	reasonExpiry     = "expiry"
	reasonProvider   = "provider"
)

func (s msgServer) RequestWithdrawal(goCtx context.Context, msg *MsgRequestWithdrawal) (*MsgRequestWithdrawalResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	c, err := s.live(ctx, msg.Channel, msg.Payer, payerOf)
	if err != nil {
		return nil, err
	}
	if c.State != StateOpen {
		return nil, ErrState.Wrapf("a withdrawal was requested and takes effect at %d", c.Withdrawable)
	}
	if err := s.queue.Remove(ctx, collections.Join(c.closing(), c.Id)); err != nil {
		return nil, err
	}
	c.State = StateWithdrawing
	c.Withdrawable = ctx.BlockTime().Unix() + int64(c.WithdrawDelay)
	if err := s.queue.Set(ctx, collections.Join(c.closing(), c.Id)); err != nil {
		return nil, err
	}
	if err := s.channels.Set(ctx, c.Id, c); err != nil {
		return nil, err
	}
	return &MsgRequestWithdrawalResponse{Withdrawable: c.closing()}, ctx.EventManager().EmitTypedEvent(
		&EventWithdrawalRequested{Channel: hex.EncodeToString(c.Id), Withdrawable: c.closing()})
}

func (s msgServer) FinalizeWithdrawal(goCtx context.Context, msg *MsgFinalizeWithdrawal) (*MsgFinalizeWithdrawalResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	c, err := s.party(ctx, msg.Channel, msg.Payer, payerOf)
	if err != nil {
		return nil, err
	}
	now := ctx.BlockTime().Unix()
	switch {
	case c.State == StateClosed:
		return nil, ErrState.Wrapf("channel %x is closed", c.Id)
	case now < c.closing() && c.State == StateOpen:
		return nil, ErrState.Wrap("request the withdrawal first")
	case now < c.closing():
		return nil, ErrNotYet.Wrapf("until %d, the block's time is %d", c.closing(), now)
	}
	refund, err := s.close(ctx, c, c.reason())
	return &MsgFinalizeWithdrawalResponse{Refund: refund}, err
}

func (s msgServer) Close(goCtx context.Context, msg *MsgClose) (*MsgCloseResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	c, err := s.live(ctx, msg.Channel, msg.Provider, providerOf)
	if err != nil {
		return nil, err
	}
	refund, err := s.close(ctx, c, reasonProvider)
	return &MsgCloseResponse{Refund: refund}, err
}

// reason says why a channel whose time has come closes.
func (c Channel) reason() string {
	if c.State == StateWithdrawing && c.Withdrawable <= c.Expiry {
		return reasonWithdrawal
	}
	return reasonExpiry
}

// close returns the rest to the payer for good.
func (k Keeper) close(ctx sdk.Context, c Channel, reason string) (sdkmath.Int, error) {
	refund := c.remaining()
	if err := k.queue.Remove(ctx, collections.Join(c.closing(), c.Id)); err != nil {
		return refund, err
	}
	payer, err := k.account(c.Payer)
	if err != nil {
		return refund, err
	}
	c.State = StateClosed
	if err := k.channels.Set(ctx, c.Id, c); err != nil {
		return refund, err
	}
	if refund.IsPositive() {
		if err := k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, payer, coins(refund)); err != nil {
			return refund, err
		}
	}
	return refund, ctx.EventManager().EmitTypedEvent(&EventClosed{
		Channel: hex.EncodeToString(c.Id), Payer: c.Payer, Provider: c.Provider, Refund: refund.String(), Reason: reason,
	})
}

// EndBlock closes the channels whose time has come, in order of time, at most
// max_closings of them.
func (k Keeper) EndBlock(goCtx context.Context) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	now := ctx.BlockTime().Unix()
	if now == math.MaxInt64 {
		return nil
	}
	var ready []byTime
	past := new(collections.Range[byTime]).EndExclusive(collections.PairPrefix[int64, []byte](now + 1))
	err = k.queue.Walk(ctx, past, func(at byTime) (bool, error) {
		ready = append(ready, at)
		return len(ready) >= int(p.MaxClosings), nil
	})
	if err != nil {
		return err
	}
	for _, at := range ready {
		if err := k.closeDue(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// closeDue closes one channel. A refund that the bank refuses must not stop the
// chain: its channel leaves the queue, and the payer can finalize it by message.
func (k Keeper) closeDue(ctx sdk.Context, at byTime) error {
	c, err := k.Channel(ctx, at.K2())
	if err != nil {
		return err
	}
	branch, commit := ctx.CacheContext()
	if _, err := k.close(branch, c, c.reason()); err != nil {
		ctx.Logger().Error("the bank refused a refund", "channel", hex.EncodeToString(c.Id), "error", err)
		return k.queue.Remove(ctx, at)
	}
	commit()
	return nil
}
