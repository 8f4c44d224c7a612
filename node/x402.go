package node

import (
	"context"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
	"github.com/koinon-network/koinon/middleware/x402"
)

// PaymentLedger lets a gateway be paid by x402 and settle with w.
func PaymentLedger(c *client.Client, w *client.Wallet) x402.Ledger { return paymentLedger{c, w} }

type paymentLedger struct {
	*client.Client
	wallet *client.Wallet
}

func (l paymentLedger) Used(ctx context.Context, owner core.Address, nonce core.Hash) (bool, error) {
	return l.AuthorizationUsed(ctx, owner, nonce)
}

func (l paymentLedger) Transfer(ctx context.Context, a voucher.Authorization, s core.Signature) (core.Hash, error) {
	r, err := l.wallet.TransferAuthorized(ctx, a, s)
	return r.Hash, err
}

func (l paymentLedger) Deposit(ctx context.Context, d x402.Deposit) (core.Hash, error) {
	r, err := l.wallet.DepositAuthorized(ctx, payment.SignedDeposit{
		Config: d.Config, Amount: d.Amount, ValidAfter: d.ValidAfter, ValidBefore: d.ValidBefore, Salt: d.Salt, Signature: d.Signature[:],
	})
	return r.Hash, err
}

func (l paymentLedger) Claim(ctx context.Context, claims []x402.Claim) (core.Hash, error) {
	metered := make([]client.MeteredClaim, len(claims))
	for i, c := range claims {
		metered[i] = client.MeteredClaim(c)
	}
	r, err := l.wallet.ClaimMetered(ctx, metered)
	return r.Hash, err
}

func (l paymentLedger) Refund(ctx context.Context, id core.ChannelID, amount core.Amount) (core.Hash, error) {
	r, err := l.wallet.Refund(ctx, id, amount)
	return r.Hash, err
}
