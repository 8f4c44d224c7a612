package payment

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
)

// EventKind says what changed in a purse.
type EventKind string

// Kinds of events.
const (
	EventOpened      EventKind = "opened"
	EventToppedUp    EventKind = "topped_up"
	EventSigned      EventKind = "signed"   // a voucher left the purse
	EventReleased    EventKind = "released" // a request ended
	EventClaimed     EventKind = "claimed"  // the provider was paid on chain
	EventWithdrawing EventKind = "withdrawing"
	EventClosed      EventKind = "closed"
	EventTrouble     EventKind = "trouble" // something will be tried again
	EventAlarm       EventKind = "alarm"   // the channel is barred
)

// Account is a channel as the purse sees it.
type Account struct {
	Channel  core.Channel `json:"channel"`
	Signed   core.Amount  `json:"signed"`   // cumulative, as in the last voucher
	Reserved core.Amount  `json:"reserved"` // what running or broken-off requests may still cost
	Free     core.Amount  `json:"free"`     // deposit - signed - reserved
	Requests int          `json:"requests"` // running
	Problem  string       `json:"problem,omitempty"`
}

// Totals sums the channels that are not closed.
type Totals struct {
	Deposit  core.Amount `json:"deposit"`
	Signed   core.Amount `json:"signed"`
	Claimed  core.Amount `json:"claimed"`
	Reserved core.Amount `json:"reserved"`
	Free     core.Amount `json:"free"`
	Spent    core.Amount `json:"spent"` // signed over all channels, closed ones too
	Channels int         `json:"channels"`
}

// Event is one change, with the account after it.
type Event struct {
	Kind    EventKind `json:"kind"`
	Account Account   `json:"account"`
	Text    string    `json:"text,omitempty"`
	Time    time.Time `json:"time"`
}

// Accounts lists all channels, open ones first, then by id.
func (p *Purse) Accounts() []Account {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Account, 0, len(p.accounts))
	for _, a := range p.accounts {
		out = append(out, a.view())
	}
	rank := map[core.ChannelState]int{core.ChannelOpen: 0, core.ChannelWithdrawing: 1, core.ChannelClosed: 2}
	slices.SortFunc(out, func(x, y Account) int {
		if d := rank[x.Channel.State] - rank[y.Channel.State]; d != 0 {
			return d
		}
		return slices.Compare(x.Channel.ID[:], y.Channel.ID[:])
	})
	return out
}

func (a *account) view() Account {
	v := Account{Channel: a.Channel, Signed: a.Signed, Reserved: a.Held.Add(a.Unsettled), Requests: len(a.held), Problem: a.Problem}
	if a.Channel.State == core.ChannelOpen {
		v.Free = a.free()
	}
	return v
}

// Totals sums the books.
func (p *Purse) Totals() (t Totals) {
	for _, a := range p.Accounts() {
		t.Spent = t.Spent.Add(a.Signed)
		if a.Channel.State == core.ChannelClosed {
			continue
		}
		t.Deposit = t.Deposit.Add(a.Channel.Deposit)
		t.Signed = t.Signed.Add(a.Signed)
		t.Claimed = t.Claimed.Add(a.Channel.Claimed)
		t.Reserved = t.Reserved.Add(a.Reserved)
		t.Free = t.Free.Add(a.Free)
		t.Channels++
	}
	return t
}

// Subscribe returns the changes from now on, until ctx ends or the purse is
// closed. A subscriber that reads too slowly misses the oldest ones.
func (p *Purse) Subscribe(ctx context.Context) <-chan Event {
	ch := p.feed.add()
	context.AfterFunc(ctx, func() { p.feed.remove(ch) })
	return ch
}

func (p *Purse) announce(kind EventKind, id core.ChannelID, text string) {
	if !p.feed.heard() {
		return
	}
	p.mu.Lock()
	a := p.accounts[id]
	if a == nil {
		p.mu.Unlock()
		return
	}
	e := Event{Kind: kind, Account: a.view(), Text: text, Time: p.opt.Now()}
	p.mu.Unlock()
	p.feed.send(e)
}

// feed hands events to subscribers without ever waiting for one.
type feed struct {
	mu     sync.Mutex
	subs   map[chan Event]struct{}
	closed bool
}

func (f *feed) add() chan Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan Event, 64)
	if f.closed {
		close(ch)
		return ch
	}
	if f.subs == nil {
		f.subs = map[chan Event]struct{}{}
	}
	f.subs[ch] = struct{}{}
	return ch
}

func (f *feed) remove(ch chan Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.subs[ch]; ok {
		delete(f.subs, ch)
		close(ch)
	}
}

func (f *feed) heard() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs) > 0
}

func (f *feed) send(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		select {
		case ch <- e:
		default:
			select {
			case <-ch:
			default:
			}
			ch <- e
		}
	}
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for ch := range f.subs {
		delete(f.subs, ch)
		close(ch)
	}
}
