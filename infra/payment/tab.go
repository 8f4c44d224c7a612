package payment

import (
	"context"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
)

// tab is what one request owes; its fields are guarded by the till's lock.
type tab struct {
	till   *Till
	book   *book
	model  core.ModelID
	worst  core.Amount
	due    core.Amount
	credit core.Amount // as last granted by Settle
	closed bool
}

// Charge records the request's cumulative debt; it never shrinks.
func (b *tab) Charge(due core.Amount) {
	b.till.mu.Lock()
	defer b.till.mu.Unlock()
	if delta, more := due.Sub(b.due); more && !b.closed {
		b.due = due
		b.book.charge(b.model, delta)
	}
}

// Settle waits until the channel's debt is within the credit of its open
// requests, of which this one contributes credit: a request alone on its
// channel waits until at most credit is unpaid. It fails with CodeUnpaid when
// ctx ends first or when the payer begins to withdraw the channel.
func (b *tab) Settle(ctx context.Context, credit core.Amount) error {
	t := b.till
	for {
		t.mu.Lock()
		if !b.closed && b.credit.Cmp(credit) != 0 {
			b.credit = credit
			b.book.wake()
		}
		c, debt := b.book.Channel, b.book.debt()
		settled, changed := debt.Cmp(b.book.allowed()) <= 0, b.book.changed
		t.mu.Unlock()
		switch {
		case c.State != core.ChannelOpen:
			return &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("the payer withdrew channel %s during the answer", c.ID.Short()), Next: "open a new channel"}
		case c.Expiry <= t.opt.Now().Unix():
			return &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("channel %s expired during the answer", c.ID.Short()), Next: "open a new channel"}
		case settled:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("%s stayed unpaid on channel %s", debt.Format(), c.ID.Short()), Next: "pay with a voucher", Err: context.Cause(ctx)}
		}
	}
}

// Close ends the request. Debt that is still unpaid bars the channel from new
// requests until it is paid.
func (b *tab) Close() {
	b.till.mu.Lock()
	if b.closed {
		b.till.mu.Unlock()
		return
	}
	b.closed = true
	delete(b.book.tabs, b)
	b.book.wake()
	id := b.book.Channel.ID
	b.till.mu.Unlock()
	b.till.save(id)
}

func asError(err error) *core.Error {
	var e *core.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
