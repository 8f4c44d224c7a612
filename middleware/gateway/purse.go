package gateway

import (
	"context"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/payment"
)

// FromPurse lets a gateway pay from p.
func FromPurse(p *payment.Purse) Purse { return purse{p} }

type purse struct{ *payment.Purse }

func (p purse) Reserve(ctx context.Context, provider core.Address, need core.Amount) (Payment, error) {
	c, r, err := p.Channel(ctx, provider, need)
	if err != nil {
		return nil, err
	}
	return &reservation{p.Purse, c, r}, nil
}

type reservation struct {
	purse   *payment.Purse
	channel core.Channel
	r       *payment.Reservation
}

func (r *reservation) Channel() core.Channel { return r.channel }

func (r *reservation) Left() core.Amount { return r.purse.Left(r.channel.ID) }

func (r *reservation) Latest() (*core.Voucher, error) {
	v, ok, err := r.purse.Voucher(r.channel.ID)
	if err != nil || !ok {
		return nil, err
	}
	return &v, nil
}

func (r *reservation) Pay(ctx context.Context, due core.Amount) (core.Voucher, error) {
	return r.purse.Pay(ctx, r.r, due)
}

func (r *reservation) PayArrears(ctx context.Context, total core.Amount) (core.Voucher, error) {
	return r.purse.PayArrears(ctx, r.channel.ID, total)
}

func (r *reservation) Release() { r.purse.Release(r.r) }

func (r *reservation) Abandon() { r.purse.Abandon(r.r) }
