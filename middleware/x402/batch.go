package x402

import (
	"context"
	"errors"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

const batchCodes = "invalid_batch_settlement_evm_"

// Kinds of batch-settlement payloads.
const (
	kindDeposit = "deposit"
	kindVoucher = "voucher"
	kindRefund  = "refund"
)

// batchPayload is the payload of scheme batch-settlement.
type batchPayload struct {
	Type          string        `json:"type"`
	ChannelConfig channelConfig `json:"channelConfig"`
	Voucher       struct {
		ChannelID hash      `json:"channelId"`
		Max       number    `json:"maxClaimableAmount"`
		Signature signature `json:"signature"`
	} `json:"voucher"`
	Deposit *struct {
		Amount        number `json:"amount"`
		Authorization struct {
			ERC3009 *struct {
				ValidAfter  number    `json:"validAfter"`
				ValidBefore number    `json:"validBefore"`
				Salt        hash      `json:"salt"`
				Signature   signature `json:"signature"`
			} `json:"erc3009Authorization"`
		} `json:"authorization"`
	} `json:"deposit"`
	Amount *number `json:"amount"` // of a refund
}

type channelConfig struct {
	Payer              address `json:"payer"`
	PayerAuthorizer    address `json:"payerAuthorizer"`
	Receiver           address `json:"receiver"`
	ReceiverAuthorizer address `json:"receiverAuthorizer"`
	Token              address `json:"token"`
	WithdrawDelay      uint64  `json:"withdrawDelay"`
	Salt               hash    `json:"salt"`
}

func (c channelConfig) ours() voucher.ChannelConfig {
	return voucher.ChannelConfig{Payer: c.Payer.Address, PayerAuthorizer: c.PayerAuthorizer.Address, Receiver: c.Receiver.Address,
		ReceiverAuthorizer: c.ReceiverAuthorizer.Address, Token: c.Token.Address, WithdrawDelay: c.WithdrawDelay, Salt: c.Salt.Hash}
}

// batch is a checked payment of scheme batch-settlement: signatures, times and
// what the chain says. Whether the voucher is the right one is the receiver's to
// say, who knows what it has charged.
type batch struct {
	kind    string
	config  voucher.ChannelConfig
	voucher core.Voucher
	deposit *Deposit
	refund  core.Amount  // zero: everything that is left
	channel core.Channel // zero id: not on the chain yet
}

// balance is what the channel holds with the payment's deposit, less nothing
// that was claimed.
func (b *batch) balance() core.Amount {
	if b.deposit == nil {
		return b.channel.Deposit
	}
	return b.channel.Deposit.Add(b.deposit.Amount)
}

// batch checks a payment and changes nothing. It returns what it could read
// beside an error.
func (f *Facilitator) batch(ctx context.Context, p Payload, want Requirements) (*batch, error) {
	if err := f.fits(p, want, SchemeBatch, batchCodes); err != nil {
		return nil, err
	}
	var in batchPayload
	if err := decodeJSON(p.Payload, &in); err != nil {
		return nil, refused("invalid_payload", "scheme batch-settlement: %v", err)
	}
	b := &batch{kind: in.Type, config: in.ChannelConfig.ours(),
		voucher: core.Voucher{Channel: in.Voucher.ChannelID.Hash, Amount: in.Voucher.Max.Amount, Signature: in.Voucher.Signature.Signature}}
	if in.Amount != nil {
		b.refund = in.Amount.Amount
	}
	if err := b.configured(f.channel, want); err != nil {
		return b, err
	}
	if err := voucher.Verify(f.channel, b.voucher, b.config.PayerAuthorizer); err != nil {
		return b, &Refusal{batchCodes + "voucher_signature", err.Error(), err}
	}
	if err := f.lookup(ctx, b); err != nil {
		return b, err
	}
	switch b.kind {
	case kindVoucher, kindRefund:
		if b.channel.ID.IsZero() {
			return b, refused(batchCodes+"channel_not_found", "channel %s is not on the chain: deposit first", hexOf(b.voucher.Channel))
		}
	case kindDeposit:
		if in.Deposit == nil || in.Deposit.Authorization.ERC3009 == nil {
			return b, refused(batchCodes+"erc3009_authorization_required", "deposits come with an EIP-3009 authorization")
		}
		a := in.Deposit.Authorization.ERC3009
		b.deposit = &Deposit{b.config, in.Deposit.Amount.Amount, a.ValidAfter.Amount, a.ValidBefore.Amount, a.Salt.Hash, a.Signature.Signature}
		if err := f.checkDeposit(ctx, b); err != nil {
			return b, err
		}
	default:
		return b, refused(batchCodes+"payload_type", "%.40q", b.kind)
	}
	if b.voucher.Amount.Cmp(b.balance()) > 0 {
		return b, refused(batchCodes+"cumulative_exceeds_balance", "the voucher says %s, the channel holds %s", b.voucher.Amount, b.balance())
	}
	return b, nil
}

// configured compares the channel's configuration with what was required.
func (b *batch) configured(d voucher.Domain, want Requirements) error {
	c := b.config
	authorizer, _ := want.Extra["receiverAuthorizer"].(string)
	switch {
	case !sameAddress(want.PayTo, c.Receiver):
		return refused(batchCodes+"receiver_mismatch", "the channel pays %s, not %s", c.Receiver, want.PayTo)
	case !sameAddress(authorizer, c.ReceiverAuthorizer) || c.ReceiverAuthorizer != c.Receiver:
		return refused(batchCodes+"receiver_authorizer_mismatch", "the receiver authorizer must be the receiver")
	case c.Token != voucher.NativeToken:
		return refused(batchCodes+"token_mismatch", "the channel's token is %s, not %s", c.Token, voucher.NativeToken)
	case c.WithdrawDelay < voucher.MinWithdrawDelay || c.WithdrawDelay > voucher.MaxWithdrawDelay:
		return refused(batchCodes+"withdraw_delay_out_of_range", "%d s", c.WithdrawDelay)
	case delayOf(want) != 0 && delayOf(want) != c.WithdrawDelay:
		return refused(batchCodes+"withdraw_delay_mismatch", "%d s, want %d s", c.WithdrawDelay, delayOf(want))
	case c.ID(d) != b.voucher.Channel:
		return refused(batchCodes+"channel_id_mismatch", "the configuration is that of channel %s", hexOf(c.ID(d)))
	}
	return nil
}

func delayOf(r Requirements) uint64 {
	switch v := r.Extra["withdrawDelay"].(type) {
	case float64: // from JSON
		return uint64(max(v, 0))
	case uint64:
		return v
	}
	return 0
}

// lookup reads the channel, if the chain has it.
func (f *Facilitator) lookup(ctx context.Context, b *batch) error {
	c, err := f.cfg.Ledger.Channel(ctx, b.voucher.Channel)
	var e *core.Error
	switch {
	case errors.As(err, &e) && e.Code == core.CodeInvalid:
		return nil
	case err != nil:
		return unreadable(err)
	}
	b.channel = c
	if !c.Usable(f.now()) {
		return refused(batchCodes+"missing_channel", "the channel is %s: its vouchers are worth nothing; choose another salt", c.State)
	}
	return nil
}

func (f *Facilitator) checkDeposit(ctx context.Context, b *batch) error {
	a := b.deposit.Authorization(b.voucher.Channel)
	if err := f.inTime(batchCodes+"payload_authorization_", a); err != nil {
		return err
	}
	if a.Value.IsZero() {
		return refused(batchCodes+"deposit_below_min_deposit", "a deposit of 0")
	}
	if err := voucher.VerifyDigest(a.ReceiveDigest(f.token), b.deposit.Signature, a.From); err != nil {
		return &Refusal{batchCodes + "receive_authorization_signature", err.Error(), err}
	}
	return f.funded(ctx, a, batchCodes+"deposit_simulation_failed", batchCodes+"insufficient_balance")
}

// pay brings a deposit on chain; it returns "" for a mere voucher.
func (f *Facilitator) pay(ctx context.Context, b *batch) (string, error) {
	if b.deposit == nil {
		return "", nil
	}
	return f.submit(ctx, batchCodes+"deposit_transaction_failed", func(ctx context.Context) (core.Hash, error) {
		return f.cfg.Ledger.Deposit(ctx, *b.deposit)
	})
}

// settleBatch brings a deposit on chain for another server.
func (f *Facilitator) settleBatch(ctx context.Context, b *batch, s *Settlement) (err error) {
	if b.kind == kindRefund {
		return refused(batchCodes+"authorizer_not_configured", "only a channel's receiver can refund it: ask its server")
	}
	if s.Transaction, err = f.pay(ctx, b); err != nil {
		return err
	}
	if b.deposit != nil {
		s.Amount = b.deposit.Amount.String()
	}
	s.Extra = map[string]any{"channelState": map[string]any{"channelId": hexOf(b.voucher.Channel), "balance": b.balance().String(),
		"totalClaimed": b.channel.Claimed.String(), "withdrawRequestedAt": 0, "refundNonce": "0"}}
	return nil
}
