package x402

import (
	"context"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// settleTime is how long before its end an authorization is refused: a block
// must still take it. The standard's facilitators use the same.
const settleTime = 6 * time.Second

// exactPayload is the payload of scheme exact.
type exactPayload struct {
	Signature     signature `json:"signature"`
	Authorization struct {
		From        address `json:"from"`
		To          address `json:"to"`
		Value       number  `json:"value"`
		ValidAfter  number  `json:"validAfter"`
		ValidBefore number  `json:"validBefore"`
		Nonce       hash    `json:"nonce"`
	} `json:"authorization"`
}

// transfer is a checked payment of scheme exact.
type transfer struct {
	voucher.Authorization
	signature core.Signature
}

// exact checks a payment against what was required. It reads the chain and
// changes nothing.
func (f *Facilitator) exact(ctx context.Context, p Payload, want Requirements) (*transfer, error) {
	if err := f.fits(p, want, SchemeExact, "invalid_exact_evm_"); err != nil {
		return nil, err
	}
	var in exactPayload
	if err := decodeJSON(p.Payload, &in); err != nil {
		return nil, refused("invalid_payload", "scheme exact: %v", err)
	}
	a := in.Authorization
	t := &transfer{voucher.Authorization{From: a.From.Address, To: a.To.Address, Value: a.Value.Amount,
		ValidAfter: a.ValidAfter.Amount, ValidBefore: a.ValidBefore.Amount, Nonce: a.Nonce.Hash}, in.Signature.Signature}
	return t, f.checkTransfer(ctx, t, want)
}

func (f *Facilitator) checkTransfer(ctx context.Context, t *transfer, want Requirements) error {
	const codes = "invalid_exact_evm_"
	if !sameAddress(want.PayTo, t.To) {
		return refused(codes+"recipient_mismatch", "the authorization pays %s, not %s", t.To, want.PayTo)
	}
	if t.Value.String() != want.Amount || t.Value.IsZero() {
		return refused(codes+"payload_authorization_value_mismatch", "the authorization is for %s, not for %s", t.Value, want.Amount)
	}
	if err := f.inTime(codes+"payload_authorization_", t.Authorization); err != nil {
		return err
	}
	if err := voucher.VerifyDigest(t.TransferDigest(f.token), t.signature, t.From); err != nil {
		return &Refusal{codes + "signature", err.Error(), err}
	}
	return f.funded(ctx, t.Authorization, codes+"nonce_already_used", codes+"insufficient_balance")
}

// inTime checks when an authorization holds.
func (f *Facilitator) inTime(codes string, a voucher.Authorization) error {
	now := f.now()
	if a.ValidAfter.Cmp(core.NewAmount(uint64(now.Unix()))) >= 0 {
		return refused(codes+"valid_after", "it holds after %s only", a.ValidAfter)
	}
	if a.ValidBefore.Cmp(core.NewAmount(uint64(now.Add(settleTime).Unix()))) < 0 {
		return refused(codes+"valid_before", "it ends at %s, too soon for a block", a.ValidBefore)
	}
	return nil
}

// funded checks nonce and balance on the chain.
func (f *Facilitator) funded(ctx context.Context, a voucher.Authorization, used, poor string) error {
	spent, err := f.cfg.Ledger.Used(ctx, a.From, a.Nonce)
	if err != nil {
		return unreadable(err)
	}
	if spent {
		return refused(used, "nonce %s", hexOf(a.Nonce))
	}
	have, err := f.cfg.Ledger.Balance(ctx, a.From)
	if err != nil {
		return unreadable(err)
	}
	if have.Cmp(a.Value) < 0 {
		return refused(poor, "%s holds %s, the payment is %s", a.From, have, a.Value)
	}
	return nil
}

func unreadable(err error) error {
	return &core.Error{Code: core.CodeUnavailable, Message: "the ledger does not answer", Next: "try again; nothing was charged", Err: err}
}
