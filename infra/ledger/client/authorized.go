package client

import (
	"context"
	"errors"
	"time"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/x/authz"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/token"
	"github.com/koinon-network/koinon/infra/voucher"
)

// AuthorizationUsed reports whether an owner's nonce is spent or cancelled.
func (c *Client) AuthorizationUsed(ctx context.Context, owner core.Address, nonce core.Hash) (bool, error) {
	r, err := token.NewQueryClient(c).Authorization(ctx, &token.QueryAuthorizationRequest{Owner: Bech32(owner), Nonce: nonce.String()})
	if err != nil {
		return false, readError("an authorization cannot be read", err)
	}
	return r.Used, nil
}

// TransferAuthorized brings on chain what a's owner has signed away; this wallet
// pays the fee.
func (w *Wallet) TransferAuthorized(ctx context.Context, a voucher.Authorization, s core.Signature) (Result, error) {
	return w.Submit(ctx, &token.MsgTransferWithAuthorization{
		Sender: w.account, From: Bech32(a.From), To: Bech32(a.To), Value: integer(a.Value),
		ValidAfter: integer(a.ValidAfter), ValidBefore: integer(a.ValidBefore), Nonce: a.Nonce[:], Signature: s[:],
	})
}

// DepositAuthorized opens or tops up a channel with money that its payer has
// signed away; this wallet pays the fee.
func (w *Wallet) DepositAuthorized(ctx context.Context, d payment.SignedDeposit) (Result, error) {
	return w.Submit(ctx, &payment.MsgDeposit{
		Sender: w.account, Payer: Bech32(d.Config.Payer), Signer: Bech32(d.Config.PayerAuthorizer), Provider: Bech32(d.Config.Receiver),
		Salt: d.Config.Salt[:], WithdrawDelay: d.Config.WithdrawDelay, Amount: integer(d.Amount),
		ValidAfter: integer(d.ValidAfter), ValidBefore: integer(d.ValidBefore), AuthorizationSalt: d.Salt[:], Signature: d.Signature,
	})
}

// MeteredClaim takes Total of what a voucher allows; both are cumulative.
type MeteredClaim struct {
	Voucher core.Voucher
	Total   core.Amount
}

// ClaimMetered cashes parts of vouchers, all or none.
func (w *Wallet) ClaimMetered(ctx context.Context, claims []MeteredClaim) (Result, error) {
	msg := &payment.MsgClaim{Provider: w.account}
	for _, c := range claims {
		msg.Claims = append(msg.Claims, payment.Claim{
			Channel: c.Voucher.Channel[:], Amount: integer(c.Voucher.Amount), Signature: c.Voucher.Signature[:], Total: integer(c.Total),
		})
	}
	return w.Submit(ctx, msg)
}

// Refund returns part of what this provider's channel holds to its payer.
func (w *Wallet) Refund(ctx context.Context, id core.ChannelID, amount core.Amount) (Result, error) {
	return w.Submit(ctx, &payment.MsgRefund{Provider: w.account, Channel: id[:], Amount: integer(amount)})
}

// AllowClaims lets another account claim in this provider's name, until the given
// time. What it claims is paid to this account.
func (w *Wallet) AllowClaims(ctx context.Context, to core.Address, until time.Time) error {
	what, err := codectypes.NewAnyWithValue(authz.NewGenericAuthorization(sdk.MsgTypeURL(&payment.MsgClaim{})))
	if err != nil {
		return err
	}
	_, err = w.Submit(ctx, &authz.MsgGrant{Granter: w.account, Grantee: Bech32(to), Grant: authz.Grant{Authorization: what, Expiration: &until}})
	return err
}

// ClaimsAllowed reports until when an account may claim in a provider's name.
func (c *Client) ClaimsAllowed(ctx context.Context, provider, by core.Address) (until time.Time, ok bool, err error) {
	r, err := authz.NewQueryClient(c).Grants(ctx, &authz.QueryGrantsRequest{Granter: Bech32(provider), Grantee: Bech32(by), MsgTypeUrl: sdk.MsgTypeURL(&payment.MsgClaim{})})
	var refused *refusal
	switch {
	case errors.As(err, &refused), err == nil && len(r.Grants) == 0: // the module answers so when there is none
		return until, false, nil
	case err != nil:
		return until, false, readError("a grant cannot be read", err)
	}
	if e := r.Grants[0].Expiration; e != nil {
		return *e, true, nil
	}
	return time.Unix(1<<40, 0), true, nil
}

// ClaimAs cashes vouchers in the name of a provider that has allowed it, all or
// none.
func (w *Wallet) ClaimAs(ctx context.Context, provider core.Address, vouchers []core.Voucher) error {
	msg := &payment.MsgClaim{Provider: Bech32(provider)}
	for _, v := range vouchers {
		msg.Claims = append(msg.Claims, payment.Claim{Channel: v.Channel[:], Amount: integer(v.Amount), Signature: v.Signature[:]})
	}
	exec := authz.NewMsgExec(nil, []sdk.Msg{msg})
	exec.Grantee = w.account
	_, err := w.Submit(ctx, &exec)
	return err
}
