package x402

import (
	"context"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Ledger is the chain as payments need it. Writing methods return after the
// transaction is final, with its hash, and are paid for by the node's account.
type Ledger interface {
	Balance(ctx context.Context, a core.Address) (core.Amount, error)
	// Channel fails with CodeInvalid where there is none.
	Channel(ctx context.Context, id core.ChannelID) (core.Channel, error)
	// Used reports whether an authorization's nonce is spent or cancelled.
	Used(ctx context.Context, owner core.Address, nonce core.Hash) (bool, error)

	Transfer(ctx context.Context, a voucher.Authorization, s core.Signature) (core.Hash, error)
	Deposit(ctx context.Context, d Deposit) (core.Hash, error)
	// Claim claims for the node's account, all or none.
	Claim(ctx context.Context, claims []Claim) (core.Hash, error)
	Refund(ctx context.Context, id core.ChannelID, amount core.Amount) (core.Hash, error)
}

// Deposit is money on its way into a channel, with the payer's signature under
// the authorization that [Deposit.Authorization] returns.
type Deposit struct {
	Config                  voucher.ChannelConfig
	Amount                  core.Amount
	ValidAfter, ValidBefore core.Amount
	Salt                    core.Hash // of the authorization's nonce
	Signature               core.Signature
}

// Authorization is what the payer signed, as a receive authorization.
func (d Deposit) Authorization(id core.ChannelID) voucher.Authorization {
	return voucher.Authorization{From: d.Config.Payer, To: voucher.DepositCollector, Value: d.Amount,
		ValidAfter: d.ValidAfter, ValidBefore: d.ValidBefore, Nonce: voucher.DepositNonce(id, d.Salt)}
}

// Claim takes Total of what a voucher allows; both are cumulative.
type Claim struct {
	Voucher core.Voucher
	Total   core.Amount
}
