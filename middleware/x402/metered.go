package x402

import (
	"context"
	"net/http"

	"github.com/koinon-network/koinon/core"
)

// batchBill is paid out of a channel: its voucher must allow exactly what was
// charged so far and this call's worst case. extra takes the state that lets a
// client correct its own.
func (p *Paywall) batchBill(ctx context.Context, in Payload, want Requirements, extra map[string]any) (*Bill, error) {
	b, err := p.f.batch(ctx, in, want)
	if err != nil {
		return nil, err
	}
	if b.kind == kindRefund {
		return nil, refused(batchCodes+"payload_type", "a refund is asked for with GET")
	}
	id := b.voucher.Channel
	if !p.hold(id) {
		return nil, refused(batchCodes+"channel_busy", "the channel pays another call at this moment")
	}
	bill, err := p.meteredBill(b, want, extra)
	if err != nil {
		p.release(id)
	}
	return bill, err
}

func (p *Paywall) meteredBill(b *batch, want Requirements, extra map[string]any) (*Bill, error) {
	rec, err := p.books.get(b.voucher.Channel)
	if err != nil {
		return nil, err
	}
	rec.observe(b)
	most, err := core.ParseAmount(want.Amount)
	if err != nil {
		return nil, refused("invalid_payment_requirements", "%v", err)
	}
	if b.voucher.Amount.Cmp(rec.Charged.Add(most)) != 0 {
		reason := batchCodes + "cumulative_amount_mismatch"
		if b.voucher.Amount.Cmp(b.channel.Claimed) <= 0 {
			reason = batchCodes + "cumulative_below_claimed"
		}
		extra["channelState"] = rec.state(b.channel.Deposit)
		if !rec.Voucher.Amount.IsZero() {
			extra["voucherState"] = map[string]any{"signedMaxClaimable": rec.Voucher.Amount.String(), "signature": core.Bytes(rec.Voucher.Signature[:])}
		}
		return nil, refused(reason, "the voucher says %s; charged were %s and the call costs up to %s", b.voucher.Amount, rec.Charged, most)
	}
	bill := &Bill{
		p: p, payer: b.config.Payer, amount: most,
		write: func(h http.Header, s Settlement) { h.Set(HeaderResponse, encode(s)) },
		free:  func() { p.release(b.voucher.Channel) },
		settle: func(ctx context.Context) (Settlement, error) {
			s := Settlement{Success: true, Payer: b.config.Payer.String(), Network: p.f.Network()}
			tx, err := p.f.pay(ctx, b)
			if err != nil {
				return s, err
			}
			if b.deposit != nil {
				s.Transaction, s.Amount = tx, b.deposit.Amount.String()
			}
			rec.Voucher = b.voucher // on disk before anything is given for it
			return s, p.books.put(rec)
		},
	}
	bill.charge = func(cost core.Amount) (core.Amount, map[string]any, error) {
		charged := p.metered(cost)
		if charged.Cmp(most) > 0 {
			charged = most // a call never costs more than was quoted
		}
		rec.Charged = rec.Charged.Add(charged)
		return charged, rec.state(b.balance()), p.books.put(rec)
	}
	return bill, nil
}

// hold takes a channel for one call: two at once could not both know what was
// charged.
func (p *Paywall) hold(id core.ChannelID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight[id] {
		return false
	}
	p.inFlight[id] = true
	return true
}

func (p *Paywall) release(id core.ChannelID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.inFlight, id)
}

// ServeRefund answers a stock client that asks for the rest of its channel: a GET
// with a refund payload returns what is left, a GET without one says how to pay.
func (p *Paywall) ServeRefund(w http.ResponseWriter, r *http.Request) {
	q := Quote{Most: core.NewAmount(1), Description: "the rest of a channel"}
	required := Required{X402Version: Version, Resource: resourceOf(r, q.Description), Accepts: p.accepts(q)}
	header := r.Header.Get(HeaderSignature)
	if header == "" {
		required.Error = "PAYMENT-SIGNATURE header is required"
		p.refuse(w, r, q, required, nil)
		return
	}
	in, err := DecodePayload(header)
	var s Settlement
	if err == nil {
		s, err = p.refund(r.Context(), in, required.Accepts[1])
	}
	if err != nil {
		p.refuse(w, r, q, required, err)
		return
	}
	w.Header().Set(HeaderResponse, encode(s))
	answer(w, http.StatusOK, s)
}

// refund claims what is owed and returns the rest, or the part that was asked for.
func (p *Paywall) refund(ctx context.Context, in Payload, want Requirements) (Settlement, error) {
	s := Settlement{Network: p.f.Network()}
	want.Amount = in.Accepted.Amount
	b, err := p.f.batch(ctx, in, want)
	if err != nil {
		return s, err
	}
	if b.kind != kindRefund {
		return s, refused(batchCodes+"refund_payload", "the payload's type is %.20q", b.kind)
	}
	id := b.voucher.Channel
	if !p.hold(id) {
		return s, refused(batchCodes+"channel_busy", "the channel pays another call at this moment")
	}
	defer p.release(id)
	rec, err := p.books.get(id)
	if err != nil {
		return s, err
	}
	rec.observe(b)
	if b.voucher.Amount.Cmp(rec.Charged) != 0 {
		want.Extra["channelState"] = rec.state(b.channel.Deposit)
		if !rec.Voucher.Amount.IsZero() {
			want.Extra["voucherState"] = map[string]any{"signedMaxClaimable": rec.Voucher.Amount.String(), "signature": core.Bytes(rec.Voucher.Signature[:])}
		}
		return s, refused(batchCodes+"cumulative_amount_mismatch", "the voucher says %s, charged were %s", b.voucher.Amount, rec.Charged)
	}
	left := b.channel.Deposit.Less(rec.Charged)
	amount := b.refund
	if amount.IsZero() {
		amount = left
	}
	switch {
	case left.IsZero():
		return s, refused(batchCodes+"refund_no_balance", "nothing is left in the channel")
	case amount.Cmp(left) > 0:
		return s, refused(batchCodes+"refund_amount_invalid", "%s are left, not %s", left, amount)
	}
	s.Transaction, err = p.f.submit(ctx, batchCodes+"refund_transaction_failed", func(ctx context.Context) (core.Hash, error) {
		if rec.Charged.Cmp(b.channel.Claimed) > 0 {
			if _, err := p.f.cfg.Ledger.Claim(ctx, []Claim{rec.claim()}); err != nil {
				return core.Hash{}, err
			}
			rec.Claimed = rec.Charged
		}
		return p.f.cfg.Ledger.Refund(ctx, id, amount)
	})
	if err != nil {
		return s, err
	}
	s.Success, s.Payer, s.Amount = true, b.config.Payer.String(), amount.String()
	s.Extra = map[string]any{"channelState": rec.state(b.channel.Deposit.Less(amount))}
	return s, p.books.put(rec)
}
