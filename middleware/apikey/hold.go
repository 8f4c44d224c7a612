package apikey

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
)

// Bearer is a caller who has shown a key. A nil Bearer is the gateway's owner,
// who has no budget.
type Bearer struct {
	book *Book
	a    *account
}

// Allows reports whether the bearer may ask a model.
func (c *Bearer) Allows(model string) bool { return c == nil || c.a.Allows(model) }

// Statement is the bearer's own.
func (c *Bearer) Statement() (Statement, error) { return c.book.Statement(c.a.ID) }

// Valid fails once the key has expired or was revoked.
func (c *Bearer) Valid() error {
	if c == nil {
		return nil
	}
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	if why := c.a.dead(c.book.opt.Now()); why != "" {
		return &core.Error{Code: core.CodeUnauthorized, Message: "the API key " + why + " during the answer", Next: "ask the gateway's owner for another one"}
	}
	return nil
}

// Hold is money of a key set aside for one request to one model. A nil Hold is
// the owner's.
type Hold struct {
	c     *Bearer
	model string
	left  core.Amount
}

// Hold sets need aside, so that nothing else can spend it. It fails with
// CodeUnpaid when the budget, or the day's, has less left.
func (c *Bearer) Hold(model string, need core.Amount) (*Hold, error) {
	if c == nil {
		return nil, nil
	}
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	a := c.a
	for _, bound := range []struct {
		name        string
		most, spent core.Amount
	}{{"budget", a.Budget, a.spent}, {"budget of this day", a.PerDay, a.on(c.book.today())}} {
		if bound.most.IsZero() || bound.spent.Add(a.held).Add(need).Cmp(bound.most) <= 0 {
			continue
		}
		e := &core.Error{Code: core.CodeUnpaid, Next: "ask for fewer tokens, or the gateway's owner for more",
			Message: fmt.Sprintf("the API key's %s has %s left, and this answer may cost %s", bound.name, bound.most.Less(bound.spent.Add(a.held)).Format(), need.Format())}
		if !a.held.IsZero() {
			e.Message += fmt.Sprintf("; answers under way hold %s", a.held.Format())
		}
		return nil, e
	}
	a.held = a.held.Add(need)
	return &Hold{c, model, need}, nil
}

// Spend notes that amount leaves the held money; it is on disk when Spend
// returns. It fails with CodeUnpaid beyond what is held.
func (h *Hold) Spend(amount core.Amount) error {
	if h == nil || amount.IsZero() {
		return nil
	}
	b, a := h.c.book, h.c.a
	b.mu.Lock()
	left, ok := h.left.Sub(amount)
	if !ok {
		b.mu.Unlock()
		return &core.Error{Code: core.CodeUnpaid, Message: "the answer costs more than its API key holds for it", Next: "try again"}
	}
	h.left, a.held, a.spent = left, a.held.Less(amount), a.spent.Add(amount)
	p := place{b.today(), h.model}
	r := a.row(p)
	r.Cost = r.Cost.Add(amount)
	b.mu.Unlock()
	return b.writer.Do(b.write(a, p))
}

// Release gives back what was not spent.
func (h *Hold) Release() {
	if h == nil {
		return
	}
	h.c.book.mu.Lock()
	defer h.c.book.mu.Unlock()
	h.c.a.held, h.left = h.c.a.held.Less(h.left), core.Amount{}
}

// Count adds a request and its tokens to the statement. Unlike money they may be
// lost in a crash.
func (c *Bearer) Count(model string, u core.Usage) {
	if c == nil {
		return
	}
	b := c.book
	b.mu.Lock()
	p := place{b.today(), model}
	r := c.a.row(p)
	r.Requests, r.Input, r.Output = r.Requests+1, r.Input+uint64(u.Input), r.Output+uint64(u.Output)
	b.mu.Unlock()
	b.writer.Go(b.write(c.a, p))
}

func (a *account) row(p place) *row {
	if a.rows[p] == nil {
		a.rows[p] = &row{}
	}
	return a.rows[p]
}

// write puts a row on disk as it is when the disk's turn comes: never less than
// when it was asked for.
func (b *Book) write(a *account, p place) func(tx *bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		b.mu.Lock()
		v, err := json.Marshal(a.rows[p])
		b.mu.Unlock()
		if err != nil {
			return err
		}
		return tx.Bucket(usageBucket).Put([]byte(a.ID+"\x00"+p.day+"\x00"+p.model), v)
	}
}
