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

type msgServer struct{ Keeper }

// NewMsgServer serves the module's messages.
func NewMsgServer(k Keeper) MsgServer { return msgServer{k} }

func (s msgServer) Open(goCtx context.Context, msg *MsgOpen) (*MsgOpenResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	c, payer, provider, err := s.newChannel(msg)
	if err != nil {
		return nil, err
	}
	if err := p.allows(c, ctx.BlockTime().Unix()); err != nil {
		return nil, err
	}
	if s.bank.BlockedAddr(provider) {
		return nil, ErrInvalid.Wrap("the provider's account cannot receive money")
	}
	if used, err := s.channels.Has(ctx, c.Id); err != nil {
		return nil, err
	} else if used {
		return nil, ErrExists.Wrapf("%x; choose another salt", c.Id)
	}
	if err := s.bank.SendCoinsFromAccountToModule(ctx, payer, ModuleName, coins(c.Deposit)); err != nil {
		return nil, ErrFunds.Wrap(err.Error())
	}
	if err := s.index(ctx, c, payer, provider); err != nil {
		return nil, err
	}
	return &MsgOpenResponse{Channel: c.Id}, ctx.EventManager().EmitTypedEvent(&EventOpened{
		Channel: hex.EncodeToString(c.Id), Payer: c.Payer, Provider: c.Provider, Deposit: c.Deposit.String(),
	})
}

func (k Keeper) newChannel(msg *MsgOpen) (c Channel, payer, provider sdk.AccAddress, err error) {
	if payer, err = k.account(msg.Payer); err != nil {
		return
	}
	if provider, err = k.account(msg.Provider); err != nil {
		return
	}
	signer, err := k.account(msg.Signer)
	if err != nil {
		return
	}
	switch {
	case bytes.Equal(payer, provider):
		err = ErrInvalid.Wrap("payer and provider are the same account")
	case core.Address(signer).IsZero() || core.Address(provider).IsZero():
		err = ErrInvalid.Wrap("signer and provider must not be the zero account")
	case len(msg.Salt) != 32:
		err = ErrInvalid.Wrap("a salt has 32 bytes")
	case msg.Deposit.IsNil():
		err = ErrInvalid.Wrap("the deposit is missing")
	}
	if err != nil {
		return
	}
	c = Channel{
		Payer: k.canonical(payer), Signer: k.canonical(signer), Provider: k.canonical(provider), Deposit: msg.Deposit, Claimed: math.ZeroInt(),
		Salt: msg.Salt, WithdrawDelay: msg.WithdrawDelay, Expiry: msg.Expiry, State: StateOpen,
	}
	id := voucher.ConfigOf(core.Channel{
		Payer: core.Address(payer), Signer: core.Address(signer), Provider: core.Address(provider),
		WithdrawDelay: c.WithdrawDelay, Salt: core.Hash(c.Salt),
	}).ID(k.domain)
	c.Id = id[:]
	return
}

// allows checks a new channel against the parameters at time now.
func (p Params) allows(c Channel, now int64) error {
	if !positive(c.Deposit) || c.Deposit.LT(p.MinDeposit) {
		return ErrDepositRange.Wrapf("have %s, want %s to 2^%d-1", c.Deposit, p.MinDeposit, maxDepositBits)
	}
	if c.WithdrawDelay < p.MinWithdrawDelay || c.WithdrawDelay > p.MaxWithdrawDelay {
		return ErrInvalid.Wrapf("withdraw_delay %d lies outside of %d to %d seconds", c.WithdrawDelay, p.MinWithdrawDelay, p.MaxWithdrawDelay)
	}
	life := c.Expiry - now
	if c.Expiry < now || life < int64(p.MinLifetime) || life > int64(p.MaxLifetime) {
		return ErrInvalid.Wrapf("the expiry %d must lie %d to %d seconds after the block's time %d", c.Expiry, p.MinLifetime, p.MaxLifetime, now)
	}
	return nil
}

// index stores a new channel and queues its closing.
func (k Keeper) index(ctx context.Context, c Channel, payer, provider sdk.AccAddress) error {
	if err := k.channels.Set(ctx, c.Id, c); err != nil {
		return err
	}
	for _, a := range []sdk.AccAddress{payer, provider} {
		if err := k.parties.Set(ctx, collections.Join(a, c.Id)); err != nil {
			return err
		}
	}
	if c.State == StateClosed {
		return nil
	}
	return k.queue.Set(ctx, collections.Join(c.closing(), c.Id))
}

// live returns a channel that is not closed and whose closing time has not
// come, after checking that sender is the party picked by who.
func (k Keeper) live(ctx sdk.Context, id []byte, sender string, who func(Channel) string) (Channel, error) {
	c, err := k.party(ctx, id, sender, who)
	if err != nil {
		return c, err
	}
	if c.State == StateClosed || ctx.BlockTime().Unix() >= c.closing() {
		return c, ErrState.Wrapf("channel %x is closed", id)
	}
	return c, nil
}

func (k Keeper) party(ctx context.Context, id []byte, sender string, who func(Channel) string) (Channel, error) {
	if len(id) != 32 {
		return Channel{}, ErrInvalid.Wrap("a channel id has 32 bytes")
	}
	a, err := k.account(sender)
	if err != nil {
		return Channel{}, err
	}
	c, err := k.Channel(ctx, id)
	if err != nil {
		return c, err
	}
	want, err := k.account(who(c))
	if err != nil {
		return c, err
	}
	if !bytes.Equal(a, want) {
		return c, ErrNotParty.Wrapf("channel %x belongs to %s", id, who(c))
	}
	return c, nil
}

func payerOf(c Channel) string    { return c.Payer }
func providerOf(c Channel) string { return c.Provider }

func (s msgServer) TopUp(goCtx context.Context, msg *MsgTopUp) (*MsgTopUpResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	c, err := s.live(ctx, msg.Channel, msg.Payer, payerOf)
	if err != nil {
		return nil, err
	}
	if c.State != StateOpen {
		return nil, ErrState.Wrap("a withdrawal was requested")
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if !positive(msg.Amount) || msg.Amount.LT(p.MinDeposit) || !positive(c.Deposit.Add(msg.Amount)) {
		return nil, ErrDepositRange.Wrapf("add %s or more, in total below 2^%d", p.MinDeposit, maxDepositBits)
	}
	payer, err := s.account(c.Payer)
	if err != nil {
		return nil, err
	}
	if err := s.bank.SendCoinsFromAccountToModule(ctx, payer, ModuleName, coins(msg.Amount)); err != nil {
		return nil, ErrFunds.Wrap(err.Error())
	}
	c.Deposit = c.Deposit.Add(msg.Amount)
	if err := s.channels.Set(ctx, c.Id, c); err != nil {
		return nil, err
	}
	return &MsgTopUpResponse{}, ctx.EventManager().EmitTypedEvent(
		&EventToppedUp{Channel: hex.EncodeToString(c.Id), Deposit: c.Deposit.String()})
}

func (s msgServer) UpdateParams(ctx context.Context, msg *MsgUpdateParams) (*MsgUpdateParamsResponse, error) {
	if msg.Authority != s.authority {
		return nil, ErrAuthority.Wrap(msg.Authority)
	}
	if err := msg.Params.Validate(); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	return &MsgUpdateParamsResponse{}, s.params.Set(ctx, msg.Params)
}
