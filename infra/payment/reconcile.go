package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Sync compares the books with the chain: deposits, claims, states, channels
// that a crash left unconfirmed. A channel on which the chain paid out more
// than this purse ever signed is barred for good and reported as an alarm: its
// key signed elsewhere, or these books are an old copy.
func (p *Purse) Sync(ctx context.Context) error {
	began := p.opt.Now()
	listed, err := p.chain.Channels(ctx, p.wallet.Address())
	if err != nil {
		return &core.Error{Code: core.CodeUnavailable, Message: "the channels cannot be read from the chain", Next: "check that the node runs", Err: err}
	}
	seen := map[core.ChannelID]bool{}
	for _, c := range listed {
		if c.Payer != p.wallet.Address() || c.Signer != p.opt.Signer.Address() {
			continue
		}
		seen[c.ID] = true
		if err := p.meet(c); err != nil {
			return err
		}
	}
	p.forget(seen, began)
	p.finalize(ctx)
	return nil
}

// meet takes in one channel as the chain has it.
func (p *Purse) meet(c core.Channel) error {
	p.mu.Lock()
	a := p.accounts[c.ID]
	if a == nil {
		_, intended := p.intents[c.Salt]
		if !intended {
			p.accounts[c.ID] = &account{purseRecord: purseRecord{Channel: c, Problem: "these books did not open it, so they cannot know what was signed"}, held: map[*Reservation]struct{}{}}
		}
		p.mu.Unlock()
		if intended {
			return p.adopt(c)
		}
		p.announce(EventAlarm, c.ID, "a channel of this account is not in these books")
		return nil
	}
	change, text := p.observe(a, c)
	p.mu.Unlock()
	if change != "" {
		p.save(c.ID)
		p.announce(change, c.ID, text)
	}
	return nil
}

// observe updates an account from the chain; p.mu is held. Deposit and Claimed
// only grow, so that an old reading does no harm.
func (p *Purse) observe(a *account, c core.Channel) (change EventKind, text string) {
	old := a.Channel
	c.Deposit, c.Claimed = larger(old.Deposit, c.Deposit), larger(old.Claimed, c.Claimed)
	if old.State == core.ChannelClosed || old.State == core.ChannelWithdrawing && c.State == core.ChannelOpen {
		c.State, c.Withdrawable = old.State, old.Withdrawable
	}
	a.Channel = c
	switch {
	case c.Claimed.Cmp(a.Signed) > 0 && a.Problem == "":
		a.Problem = fmt.Sprintf("the provider was paid %s but these books signed %s", c.Claimed.Format(), a.Signed.Format())
		p.opt.Log.Error("purse refuses a channel", "channel", c.ID.String(), "problem", a.Problem)
		return EventAlarm, a.Problem
	case c.State != old.State && c.State == core.ChannelClosed:
		return EventClosed, ""
	case c.State != old.State:
		return EventWithdrawing, ""
	case c.Claimed.Cmp(old.Claimed) > 0:
		return EventClaimed, ""
	case c.Deposit.Cmp(old.Deposit) > 0:
		return EventToppedUp, ""
	}
	return "", ""
}

// forget closes accounts that the chain no longer lists, unless they were
// opened after the list was read.
func (p *Purse) forget(seen map[core.ChannelID]bool, began time.Time) {
	var gone []core.ChannelID
	p.mu.Lock()
	for id, a := range p.accounts {
		if !seen[id] && a.adopted.Before(began) && a.Channel.State != core.ChannelClosed {
			a.Channel.State = core.ChannelClosed
			gone = append(gone, id)
		}
	}
	p.mu.Unlock()
	for _, id := range gone {
		p.save(id)
		p.announce(EventClosed, id, "the chain no longer lists this channel")
	}
}

// Withdraw asks for the channel's unspent deposit. The channel takes no new
// request from now on; the money returns after the challenge window. It fails
// with CodeBusy while requests run on the channel.
func (p *Purse) Withdraw(ctx context.Context, id core.ChannelID) error {
	p.mu.Lock()
	a := p.accounts[id]
	switch {
	case a == nil:
		p.mu.Unlock()
		return core.Errorf(core.CodeInvalid, "no channel %s in this purse", id.Short())
	case len(a.held) > 0:
		p.mu.Unlock()
		return &core.Error{Code: core.CodeBusy, Message: fmt.Sprintf("%d requests are running on channel %s", len(a.held), id.Short()), Next: "try again when they are done", RetryAfter: time.Second}
	case a.Channel.State != core.ChannelOpen:
		p.mu.Unlock()
		return nil
	}
	a.Draining = true
	p.mu.Unlock()
	if err := p.persist(id); err != nil {
		return err
	}
	txErr := p.wallet.RequestWithdrawal(ctx, id)
	if c, err := p.chain.Channel(ctx, id); err == nil {
		if err := p.meet(c); err != nil {
			return err
		}
		if c.State != core.ChannelOpen {
			return nil
		}
	}
	if txErr != nil {
		p.mu.Lock()
		a.Draining = false
		p.mu.Unlock()
		p.save(id)
		return chainError("the withdrawal could not be requested", txErr)
	}
	return nil
}

// finalize takes home what has passed its challenge window.
func (p *Purse) finalize(ctx context.Context) {
	now := p.opt.Now().Unix()
	var ripe []core.ChannelID
	p.mu.Lock()
	for id, a := range p.accounts {
		if c := a.Channel; c.State == core.ChannelWithdrawing && c.Withdrawable > 0 && c.Withdrawable <= now {
			ripe = append(ripe, id)
		}
	}
	p.mu.Unlock()
	for _, id := range ripe {
		if err := p.wallet.FinalizeWithdrawal(ctx, id); err != nil {
			p.opt.Log.Warn("withdrawal not finalised", "channel", id.Short(), "err", err)
			continue
		}
		p.mu.Lock()
		p.accounts[id].Channel.State = core.ChannelClosed
		p.mu.Unlock()
		p.save(id)
		p.announce(EventClosed, id, "")
	}
}

// refresh is the purse's background loop.
func (p *Purse) refresh() {
	tick := time.NewTicker(p.opt.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.Sync(p.ctx); err != nil && p.ctx.Err() == nil {
			p.opt.Log.Warn("purse not reconciled", "err", err)
		}
		for _, id := range p.unwanted() {
			if err := p.Withdraw(p.ctx, id); err != nil {
				p.opt.Log.Warn("idle channel not withdrawn", "channel", id.Short(), "err", err)
			}
		}
	}
}

// unwanted lists channels that were idle for too long, and those whose
// withdrawal a crash cut short.
func (p *Purse) unwanted() (ids []core.ChannelID) {
	before := p.opt.Now().Add(-p.opt.Idle).Unix()
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, a := range p.accounts {
		idle := a.Draining || p.opt.Idle > 0 && a.Used < before
		if idle && a.Problem == "" && a.Channel.State == core.ChannelOpen && len(a.held) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}
