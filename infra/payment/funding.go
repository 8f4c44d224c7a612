package payment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// flight is one opening or top-up on its way; one per provider at a time.
type flight struct {
	done chan struct{}
	err  error
}

// takeoff starts funding for the provider, or joins what is already on its
// way. mine says that this call started it, for this need; then, when not nil,
// hears how it went.
func (p *Purse) takeoff(provider core.Address, need core.Amount, then func(error)) (f *flight, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.flights[provider]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	if p.ctx.Err() != nil {
		f.err = core.Errorf(core.CodeUnavailable, "the purse is closed")
		close(f.done)
		return f, true
	}
	p.flights[provider] = f
	// A transaction goes on when the request that asked for it is gone.
	p.work.Go(func() {
		f.err = p.fund(p.ctx, provider, need)
		p.mu.Lock()
		delete(p.flights, provider)
		p.mu.Unlock()
		close(f.done)
		if then != nil {
			then(f.err)
		}
	})
	return f, true
}

// Prepare opens or tops up channels with the providers that are likely to be
// used next, all at once, and returns when they are ready.
func (p *Purse) Prepare(ctx context.Context, providers ...core.Address) error {
	var waiting []*flight
	for _, provider := range providers {
		if !p.enough(provider) {
			f, _ := p.takeoff(provider, p.opt.MinFree, nil)
			waiting = append(waiting, f)
		}
	}
	var errs []error
	for _, f := range waiting {
		select {
		case <-f.done:
			errs = append(errs, f.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.Join(errs...)
}

func (p *Purse) enough(provider core.Address) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.usable(provider) {
		if a.free().Cmp(p.opt.MinFree) >= 0 {
			return true
		}
	}
	return false
}

// replenish tops a channel up in the background once little is free.
func (p *Purse) replenish(id core.ChannelID) {
	p.mu.Lock()
	a, now := p.accounts[id], p.opt.Now()
	if a == nil || a.free().Cmp(p.opt.MinFree) >= 0 || now.Before(a.retry) || p.flights[a.Channel.Provider] != nil || p.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	provider := a.Channel.Provider
	a.retry = now.Add(30 * time.Second)
	p.mu.Unlock()
	if p.enough(provider) {
		return
	}
	p.takeoff(provider, p.opt.MinFree, func(err error) {
		if err != nil {
			p.opt.Log.Warn("channel not topped up", "channel", id.Short(), "err", err)
			p.announce(EventTrouble, id, err.Error())
			return
		}
		p.mu.Lock()
		a.retry = time.Time{}
		p.mu.Unlock()
	})
}

// fund brings need within reach: it tops up the provider's channel that lasts
// longest, or opens one.
func (p *Purse) fund(ctx context.Context, provider core.Address, need core.Amount) error {
	p.mu.Lock()
	var target *account
	var free core.Amount
	if as := p.usable(provider); len(as) > 0 {
		target = as[len(as)-1]
		free = target.free()
	}
	p.mu.Unlock()
	if target != nil && free.Cmp(need) >= 0 && free.Cmp(p.opt.MinFree) >= 0 {
		return nil
	}
	amount, err := p.withdrawFromWallet(ctx, free, need)
	if err != nil {
		return err
	}
	defer func() {
		p.mu.Lock()
		p.pending = p.pending.Less(amount)
		p.mu.Unlock()
	}()
	if target != nil {
		return p.topUp(ctx, target.Channel.ID, amount)
	}
	return p.open(ctx, provider, amount)
}

// withdrawFromWallet decides how much to add to a channel that has free left,
// and marks it as pending, so that concurrent fundings do not spend it twice.
func (p *Purse) withdrawFromWallet(ctx context.Context, free, need core.Amount) (core.Amount, error) {
	if need.Cmp(p.opt.MaxDeposit) > 0 {
		return core.Amount{}, &core.Error{Code: core.CodeUnpaid,
			Message: fmt.Sprintf("the answer may cost %s, more than the %s that may be locked in one channel", need.Format(), p.opt.MaxDeposit.Format()),
			Next:    "lower max_tokens, or raise the gateway's maximum deposit"}
	}
	balance, err := p.chain.Balance(ctx, p.wallet.Address())
	if err != nil {
		return core.Amount{}, &core.Error{Code: core.CodeUnavailable, Message: "the wallet's balance cannot be read", Err: err}
	}
	target := larger(p.opt.Deposit, need.Add(p.opt.MinFree))
	if target.Cmp(p.opt.MaxDeposit) > 0 {
		target = p.opt.MaxDeposit
	}
	target = larger(target, need)

	p.mu.Lock()
	defer p.mu.Unlock()
	spendable := balance.Less(p.opt.FeeReserve).Less(p.pending)
	amount := target.Less(free)
	if spendable.Cmp(amount) < 0 {
		amount = spendable
	}
	if free.Add(amount).Cmp(need) < 0 || amount.IsZero() {
		return core.Amount{}, p.broke(balance, need.Less(free))
	}
	p.pending = p.pending.Add(amount)
	return amount, nil
}

func (p *Purse) broke(balance, missing core.Amount) error {
	a := p.wallet.Address()
	return &core.Error{Code: core.CodeUnpaid,
		Message: fmt.Sprintf("the escrow is spent and the wallet %s holds %s, but %s more must be set aside for this answer (and %s stay for fees)",
			a, balance.Format(), missing.Format(), p.opt.FeeReserve.Format()),
		Next: fmt.Sprintf("send koin to %s, for example with: koinon wallet fund %s", a, a)}
}

func larger(a, b core.Amount) core.Amount {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}

func (p *Purse) topUp(ctx context.Context, id core.ChannelID, amount core.Amount) error {
	txErr := p.wallet.TopUp(ctx, id, amount)
	c, err := p.chain.Channel(ctx, id)
	p.mu.Lock()
	a := p.accounts[id]
	before := a.Channel.Deposit
	switch {
	case err == nil:
		p.observe(a, c)
	case txErr == nil:
		a.Channel.Deposit = before.Add(amount)
	}
	grown := a.Channel.Deposit.Cmp(before) > 0
	p.mu.Unlock()
	if grown {
		p.save(id)
		p.announce(EventToppedUp, id, "")
		return nil
	}
	if txErr == nil {
		// The transaction is final, the reading was not yet there.
		txErr = errors.New("the chain does not show the top-up yet")
	}
	return chainError("the channel could not be topped up", txErr)
}

// open locks amount in a new channel. What was meant is on disk before the
// transaction leaves, so that a channel is recognised after a crash.
func (p *Purse) open(ctx context.Context, provider core.Address, amount core.Amount) error {
	c := core.Channel{Payer: p.wallet.Address(), Signer: p.opt.Signer.Address(), Provider: provider, Deposit: amount,
		WithdrawDelay: uint64(p.opt.WithdrawDelay / time.Second), Expiry: p.opt.Now().Add(p.opt.Expiry).Unix(), State: core.ChannelOpen}
	if _, err := rand.Read(c.Salt[:]); err != nil {
		return err
	}
	c.ID = voucher.ConfigOf(c).ID(p.domain)
	if err := p.intend(c); err != nil {
		return err
	}
	id, txErr := p.wallet.OpenChannel(ctx, c)
	if txErr == nil && id != c.ID {
		return core.Errorf(core.CodeInternal, "the chain names the new channel %s, its configuration hashes to %s", id.Short(), c.ID.Short())
	}
	// A failed transaction may be on chain all the same: the chain knows.
	seen, err := p.chain.Channel(ctx, c.ID)
	if err == nil {
		c = seen
	}
	if err != nil && txErr != nil {
		return chainError("the channel could not be opened", txErr)
	}
	return p.adopt(c)
}

func (p *Purse) intend(c core.Channel) error {
	p.mu.Lock()
	p.intents[c.Salt] = c
	p.mu.Unlock()
	return p.store.writer.Do(func(tx *bolt.Tx) error { return putJSON(tx.Bucket(intentBucket), c.Salt[:], c) })
}

// adopt enters a channel that this purse opened into the books.
func (p *Purse) adopt(c core.Channel) error {
	p.mu.Lock()
	delete(p.intents, c.Salt)
	if p.accounts[c.ID] == nil {
		a := &account{purseRecord: purseRecord{Channel: c, Used: p.opt.Now().Unix()}, held: map[*Reservation]struct{}{}, adopted: p.opt.Now()}
		p.accounts[c.ID] = a
	}
	p.mu.Unlock()
	err := p.store.writer.Do(func(tx *bolt.Tx) error {
		rec, _ := p.record(c.ID)
		if err := putJSON(tx.Bucket(accountBucket), c.ID[:], rec); err != nil {
			return err
		}
		return tx.Bucket(intentBucket).Delete(c.Salt[:])
	})
	if err == nil {
		p.announce(EventOpened, c.ID, "")
	}
	return err
}

// chainError keeps the chain's own words when it has them.
func chainError(message string, err error) error {
	var own *core.Error
	if errors.As(err, &own) {
		return err
	}
	return &core.Error{Code: core.CodeUnavailable, Message: message, Next: "try again; see `koinon wallet show` for the balance", Err: err}
}
