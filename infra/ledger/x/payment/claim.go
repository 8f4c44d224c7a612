package payment

import (
	"context"
	"encoding/hex"

	"cosmossdk.io/errors"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

func (s msgServer) Claim(goCtx context.Context, msg *MsgClaim) (*MsgClaimResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	provider, err := s.account(msg.Provider)
	if err != nil {
		return nil, err
	}
	if len(msg.Claims) == 0 || len(msg.Claims) > int(p.MaxClaims) {
		return nil, ErrInvalid.Wrapf("%d claims, a message has 1 to %d", len(msg.Claims), p.MaxClaims)
	}
	// The price depends on the message's size only and is paid before the work.
	ctx.GasMeter().ConsumeGas(p.GasPerVoucher*uint64(len(msg.Claims)), "vouchers")
	share := newSplit(s.Keeper, p, provider)
	for i, claim := range msg.Claims {
		if err := s.claim(ctx, p, msg.Provider, claim, share); err != nil {
			return nil, errors.Wrapf(err, "claim %d", i)
		}
	}
	if err := share.hold(ctx); err != nil {
		return nil, err
	}
	if err := share.pay(ctx); err != nil {
		return nil, err
	}
	return &MsgClaimResponse{Claimed: share.total}, nil
}

// claim cashes one voucher into share.
func (s msgServer) claim(ctx sdk.Context, p Params, provider string, claim Claim, share *split) error {
	c, err := s.live(ctx, claim.Channel, provider, providerOf)
	if err != nil {
		return err
	}
	if err := s.checkVoucher(c, claim); err != nil {
		return err
	}
	total, err := c.claimable(claim)
	if err != nil {
		return err
	}
	delta := total.Sub(c.Claimed)
	if err := s.attribute(ctx, p, claim, delta, share); err != nil {
		return err
	}
	c.Claimed = total
	if err := s.channels.Set(ctx, c.Id, c); err != nil {
		return err
	}
	return ctx.EventManager().EmitTypedEvent(&EventClaimed{
		Channel: hex.EncodeToString(c.Id), Provider: c.Provider, Amount: delta.String(), Cumulative: c.Claimed.String(),
	})
}

// checkVoucher checks amount and signature against the channel.
func (k Keeper) checkVoucher(c Channel, claim Claim) error {
	if !positive(claim.Amount) {
		return ErrInvalid.Wrap("the amount must lie in [1, 2^128)")
	}
	if len(claim.Signature) != len(core.Signature{}) {
		return ErrInvalid.Wrap("a signature has 65 bytes")
	}
	if _, err := c.claimable(claim); err != nil {
		return err
	}
	signer, err := k.account(c.Signer)
	if err != nil {
		return err
	}
	amount, err := core.AmountFromBig(claim.Amount.BigInt())
	if err != nil {
		return ErrInvalid.Wrap(err.Error())
	}
	v := core.Voucher{Channel: core.Hash(c.Id), Amount: amount, Signature: core.Signature(claim.Signature)}
	if err := voucher.Verify(k.domain, v, core.Address(signer)); err != nil {
		return ErrVoucher.Wrap(err.Error())
	}
	return nil
}

// claimable is the cumulative amount that a claim asks for: the whole voucher,
// or less of it.
func (c Channel) claimable(claim Claim) (math.Int, error) {
	total := claim.Total
	if total.IsNil() || total.IsZero() {
		total = claim.Amount
	}
	switch {
	case total.IsNegative() || total.GT(claim.Amount):
		return total, ErrOverClaim.Wrapf("the voucher says %s, the claim %s", claim.Amount, total)
	case total.LTE(c.Claimed):
		return total, ErrReplay.Wrapf("the claim says %s, %s was claimed", total, c.Claimed)
	case total.GT(c.Deposit):
		return total, ErrOverClaim.Wrapf("the claim says %s, the deposit is %s", total, c.Deposit)
	}
	return total, nil
}

// attribute divides what a claim adds among the models that earned it. A claim
// that names none is the provider's only offer's, if it has exactly one.
func (k Keeper) attribute(ctx context.Context, p Params, claim Claim, delta math.Int, share *split) error {
	if len(claim.Attributions) == 0 {
		id, err := k.soleOffer(ctx, share.provider)
		if err != nil {
			return err
		}
		return share.add(ctx, id, delta)
	}
	if len(claim.Attributions) > int(p.MaxAttributions) {
		return ErrAttribution.Wrapf("%d models, at most %d are allowed", len(claim.Attributions), p.MaxAttributions)
	}
	sum := math.ZeroInt()
	seen := make(map[string]bool, len(claim.Attributions))
	for _, a := range claim.Attributions {
		if !positive(a.Amount) || len(a.Model) != 32 || seen[string(a.Model)] {
			return ErrAttribution.Wrap("each attribution names another model and a positive amount")
		}
		seen[string(a.Model)] = true
		sum = sum.Add(a.Amount)
	}
	if !sum.Equal(delta) {
		return ErrAttribution.Wrapf("they sum to %s, the claim adds %s", sum, delta)
	}
	for _, a := range claim.Attributions {
		if err := share.add(ctx, a.Model, a.Amount); err != nil {
			return err
		}
	}
	return nil
}

func (k Keeper) soleOffer(ctx context.Context, provider sdk.AccAddress) ([]byte, error) {
	offers, err := k.market.Offers(ctx, provider)
	if err != nil || len(offers) != 1 {
		return nil, err
	}
	return offers[0].Model, nil
}
