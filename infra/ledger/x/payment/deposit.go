package payment

import (
	"bytes"
	"context"
	"encoding/hex"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// depositLife is how long after its last authorized deposit a channel closes by
// itself, in seconds: stock clients name no expiry.
const depositLife = 90 * 24 * 3600

// SignedDeposit is what a stock x402 client signs to pay into a channel: its
// configuration and a receive authorization to [voucher.DepositCollector] whose
// nonce commits to the channel.
type SignedDeposit struct {
	Config                  voucher.ChannelConfig
	Amount                  core.Amount
	ValidAfter, ValidBefore core.Amount
	Salt                    core.Hash // of the authorization's nonce
	Signature               []byte
}

// Deposit opens or tops up a channel with money that its payer has signed away.
// A top-up also puts the channel's expiry off.
func (k Keeper) Deposit(goCtx context.Context, d SignedDeposit) (core.ChannelID, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	if err := k.ours(d.Config); err != nil {
		return core.ChannelID{}, err
	}
	id := d.Config.ID(k.domain)
	err := k.token.SpendReceive(ctx, voucher.Authorization{
		From: d.Config.Payer, To: voucher.DepositCollector, Value: d.Amount, ValidAfter: d.ValidAfter, ValidBefore: d.ValidBefore,
		Nonce: voucher.DepositNonce(id, d.Salt),
	}, d.Signature)
	if err != nil {
		return id, err
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return id, err
	}
	payer := k.canonical(d.Config.Payer[:])
	amount := math.NewIntFromBigInt(d.Amount.Big())
	expiry := ctx.BlockTime().Unix() + min(depositLife, int64(p.MaxLifetime))
	known, err := k.channels.Has(ctx, id[:])
	if err != nil {
		return id, err
	}
	s := msgServer{k}
	if !known {
		_, err = s.Open(ctx, &MsgOpen{
			Payer: payer, Signer: k.canonical(d.Config.PayerAuthorizer[:]), Provider: k.canonical(d.Config.Receiver[:]), Deposit: amount,
			Salt: d.Config.Salt[:], WithdrawDelay: d.Config.WithdrawDelay, Expiry: expiry,
		})
		return id, err
	}
	if _, err := s.TopUp(ctx, &MsgTopUp{Payer: payer, Channel: id[:], Amount: amount}); err != nil {
		return id, err
	}
	return id, k.postpone(ctx, id[:], expiry)
}

// ours refuses configurations whose channel this chain cannot keep.
func (k Keeper) ours(c voucher.ChannelConfig) error {
	switch {
	case c.Token != voucher.NativeToken:
		return ErrInvalid.Wrapf("channels hold the token %s only, not %s", voucher.NativeToken, c.Token)
	case c.Receiver != c.ReceiverAuthorizer:
		return ErrInvalid.Wrap("the receiver authorizer must be the receiver")
	case c.WithdrawDelay >= 1<<40:
		return ErrInvalid.Wrap("the withdraw delay must be below 2^40")
	}
	return nil
}

// postpone moves a channel's expiry, and its place in the queue, to a later time.
func (k Keeper) postpone(ctx context.Context, id []byte, expiry int64) error {
	c, err := k.Channel(ctx, id)
	if err != nil || expiry <= c.Expiry {
		return err
	}
	if err := k.queue.Remove(ctx, collections.Join(c.closing(), c.Id)); err != nil {
		return err
	}
	c.Expiry = expiry
	if err := k.queue.Set(ctx, collections.Join(c.closing(), c.Id)); err != nil {
		return err
	}
	return k.channels.Set(ctx, c.Id, c)
}

// Refund returns amount of what the provider's channel holds to its payer. The
// channel stays as it is, also when nothing is left in it.
func (k Keeper) Refund(goCtx context.Context, provider core.Address, id core.ChannelID, amount math.Int) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	c, err := k.live(ctx, id[:], k.canonical(provider[:]), providerOf)
	if err != nil {
		return err
	}
	if !positive(amount) || amount.GT(c.remaining()) {
		return ErrInvalid.Wrapf("the channel holds %s, %s cannot be refunded", c.remaining(), amount)
	}
	if amount.Equal(c.Deposit) {
		// A deposit is never zero: the whole of an unused channel is its closing.
		_, err := k.close(ctx, c, reasonProvider)
		return err
	}
	payer, err := k.account(c.Payer)
	if err != nil {
		return err
	}
	c.Deposit = c.Deposit.Sub(amount)
	if err := k.channels.Set(ctx, c.Id, c); err != nil {
		return err
	}
	if err := k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, payer, coins(amount)); err != nil {
		return err
	}
	return ctx.EventManager().EmitTypedEvent(&EventRefunded{Channel: hex.EncodeToString(c.Id), Amount: amount.String()})
}

func (s msgServer) Deposit(goCtx context.Context, msg *MsgDeposit) (*MsgDepositResponse, error) {
	if _, err := s.account(msg.Sender); err != nil {
		return nil, err
	}
	d, err := s.signedDeposit(msg)
	if err != nil {
		return nil, err
	}
	id, err := s.Keeper.Deposit(goCtx, d)
	return &MsgDepositResponse{Channel: id[:]}, err
}

func (k Keeper) signedDeposit(msg *MsgDeposit) (d SignedDeposit, err error) {
	c := &d.Config
	for _, v := range []struct {
		to   *core.Address
		from string
	}{{&c.Payer, msg.Payer}, {&c.PayerAuthorizer, msg.Signer}, {&c.Receiver, msg.Provider}} {
		a, err := k.account(v.from)
		if err != nil {
			return d, err
		}
		*v.to = core.Address(a)
	}
	c.ReceiverAuthorizer, c.Token, c.WithdrawDelay = c.Receiver, voucher.NativeToken, msg.WithdrawDelay
	for _, v := range []struct {
		to   *core.Amount
		from math.Int
	}{{&d.Amount, msg.Amount}, {&d.ValidAfter, msg.ValidAfter}, {&d.ValidBefore, msg.ValidBefore}} {
		if v.from.IsNil() {
			return d, ErrInvalid.Wrap("amount, valid_after and valid_before must be given")
		}
		if *v.to, err = core.AmountFromBig(v.from.BigInt()); err != nil {
			return d, ErrInvalid.Wrap(err.Error())
		}
	}
	if len(msg.Salt) != 32 || len(msg.AuthorizationSalt) != 32 {
		return d, ErrInvalid.Wrap("a salt has 32 bytes")
	}
	c.Salt, d.Salt, d.Signature = core.Hash(msg.Salt), core.Hash(msg.AuthorizationSalt), bytes.Clone(msg.Signature)
	return d, nil
}

func (s msgServer) Refund(goCtx context.Context, msg *MsgRefund) (*MsgRefundResponse, error) {
	provider, err := s.account(msg.Provider)
	if err != nil {
		return nil, err
	}
	if len(msg.Channel) != 32 {
		return nil, ErrInvalid.Wrap("a channel id has 32 bytes")
	}
	if msg.Amount.IsNil() {
		return nil, ErrInvalid.Wrap("the amount is missing")
	}
	return &MsgRefundResponse{}, s.Keeper.Refund(goCtx, core.Address(provider), core.ChannelID(msg.Channel), msg.Amount)
}
