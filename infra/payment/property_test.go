package payment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/koinon-network/koinon/core"
)

// order is one request in the random world.
type order struct {
	r        *Reservation
	tab      core.Tab
	due      uint64 // charged and seen by the consumer
	paid     uint64 // of due, what Pay was asked for
	max      uint64
	tillGone bool // the provider crashed meanwhile
}

// machine drives purse, till and chain through random histories. Its steps are
// what happens to real ones: requests, chunks, payments, vouchers that arrive
// late, twice or never, claims whose answers get lost, and kill -9 on either
// side.
type machine struct {
	w     *world
	total core.Amount
	open  []*order
	wire  []core.Voucher // sent, maybe not arrived
	top   map[core.ChannelID]core.Amount
	dues  core.Amount // everything the consumer agreed to pay
}

func (m *machine) pick(t *rapid.T) *order {
	if len(m.open) == 0 {
		t.Skip("no order")
	}
	return m.open[rapid.IntRange(0, len(m.open)-1).Draw(t, "order")]
}

func (m *machine) Order(t *rapid.T) {
	n := rapid.IntRange(1, 300).Draw(t, "tokens")
	_, r, err := m.w.purse.Channel(context.Background(), m.w.provider.Address(), amount(uint64(n)))
	if err != nil {
		if core.CodeOf(err) == core.CodeInternal {
			t.Fatal(err)
		}
		t.Skip(err.Error())
	}
	m.w.nextID++
	req := m.w.sign(r.Channel, core.Hash{m.w.nextID, byte(len(m.top))}, 0, n)
	if rapid.Bool().Draw(t, "embedding") {
		req = m.w.embedding(r.Channel, req.ID, n)
	}
	if v, ok, err := m.w.purse.Voucher(r.Channel); err != nil {
		t.Fatal(err)
	} else if ok {
		req.Voucher = &v
	}
	tab, err := m.w.till.Admit(context.Background(), req)
	if total, owes := Arrears(err); owes {
		v, perr := m.w.purse.PayArrears(context.Background(), r.Channel, total)
		if perr != nil {
			t.Fatalf("honest arrears refused: %v", perr)
		}
		// What broken answers turn out to have cost.
		m.dues = m.dues.Add(v.Amount.Less(m.top[v.Channel]))
		m.track(t, v)
		req.Voucher = &v
		tab, err = m.w.till.Admit(context.Background(), req)
	}
	if err != nil {
		t.Fatalf("an honest request was refused: %v", err)
	}
	m.open = append(m.open, &order{r: r, tab: tab, max: uint64(n)})
}

func (m *machine) Deliver(t *rapid.T) {
	o := m.pick(t)
	if o.tillGone || o.due == o.max {
		t.Skip("nothing to deliver")
	}
	o.due += uint64(rapid.IntRange(1, int(o.max-o.due)).Draw(t, "chunk"))
	o.tab.Charge(amount(o.due))
}

func (m *machine) Pay(t *rapid.T) {
	o := m.pick(t)
	v, err := m.w.purse.Pay(context.Background(), o.r, amount(o.due))
	if err != nil {
		t.Fatal(err)
	}
	m.dues = m.dues.Add(amount(o.due - o.paid))
	o.paid = o.due
	m.track(t, v)
	m.wire = append(m.wire, v)
}

// track holds every voucher that ever left the purse against the promise: never
// above the deposit, never below an earlier one.
func (m *machine) track(t *rapid.T, v core.Voucher) {
	if v.Amount.Cmp(m.top[v.Channel]) < 0 {
		t.Fatalf("voucher %v after %v", v.Amount, m.top[v.Channel])
	}
	m.top[v.Channel] = v.Amount
	c, err := m.w.l.Channel(context.Background(), v.Channel)
	if err != nil || v.Amount.Cmp(c.Deposit) > 0 {
		t.Fatalf("voucher %v above the deposit %v (%v)", v.Amount, c.Deposit, err)
	}
}

func (m *machine) Arrive(t *rapid.T) {
	if len(m.wire) == 0 {
		t.Skip("nothing on the wire")
	}
	i := rapid.IntRange(0, len(m.wire)-1).Draw(t, "voucher")
	v := m.wire[i]
	if rapid.Bool().Draw(t, "last time") {
		m.wire = append(m.wire[:i], m.wire[i+1:]...)
	}
	if err := m.w.till.Accept(context.Background(), v); err != nil {
		t.Fatalf("an honest voucher was refused: %v", err)
	}
}

func (m *machine) Finish(t *rapid.T) {
	o := m.pick(t)
	m.drop(o)
	o.tab.Close()
	if o.paid == o.due {
		m.w.purse.Release(o.r)
	} else {
		m.w.purse.Abandon(o.r)
	}
}

func (m *machine) drop(o *order) {
	for i := range m.open {
		if m.open[i] == o {
			m.open = append(m.open[:i], m.open[i+1:]...)
			return
		}
	}
}

func (m *machine) KillPurse(t *rapid.T) {
	killPurse(m.w.purse)
	for _, o := range m.open {
		o.tab.Close() // the provider sees the connection break
	}
	m.open = nil
	m.w.openPurse()
}

func (m *machine) KillTill(t *rapid.T) {
	killTill(m.w.till)
	for _, o := range m.open {
		o.tillGone = true
	}
	// The consumer pays what had arrived, then looks elsewhere.
	for len(m.open) > 0 {
		o := m.open[0]
		v, err := m.w.purse.Pay(context.Background(), o.r, amount(o.due))
		if err != nil {
			t.Fatal(err)
		}
		m.dues = m.dues.Add(amount(o.due - o.paid))
		m.track(t, v)
		m.w.purse.Release(o.r)
		m.open = m.open[1:]
	}
	m.w.openTill()
}

func (m *machine) Claim(t *rapid.T) {
	lost := rapid.SampledFrom([]string{"", "", "before", "after"}).Draw(t, "fault")
	m.w.l.fault = func(string) (before, after error) {
		switch lost {
		case "before":
			return errors.New("not sent"), nil
		case "after":
			return nil, errors.New("answer lost")
		}
		return nil, nil
	}
	err := m.w.till.Claim(context.Background())
	m.w.l.fault = nil
	m.w.l.pass(10 * time.Second)
	if lost == "" && err != nil {
		t.Fatal(err)
	}
}

func (m *machine) Sync(t *rapid.T) {
	if err := m.w.purse.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// Check runs after every step.
func (m *machine) Check(t *rapid.T) {
	if got := m.w.l.total(); got.Cmp(m.total) != 0 {
		t.Fatalf("money: %v, was %v", got, m.total)
	}
	signed := core.Amount{}
	for _, a := range m.w.purse.Accounts() {
		signed = signed.Add(a.Signed)
		if a.Problem != "" {
			t.Fatalf("the purse barred its own channel: %s", a.Problem)
		}
		if a.Signed.Add(a.Reserved).Cmp(a.Channel.Deposit) > 0 {
			t.Fatalf("signed %v + reserved %v exceed the deposit %v", a.Signed, a.Reserved, a.Channel.Deposit)
		}
		if a.Channel.Claimed.Cmp(a.Signed) > 0 {
			t.Fatalf("claimed %v of %v signed", a.Channel.Claimed, a.Signed)
		}
	}
	if signed.Cmp(m.dues) != 0 {
		t.Fatalf("signed %v for answers that cost %v", signed, m.dues)
	}
	for _, b := range m.w.till.Books() {
		if b.Paid.Cmp(m.top[b.Channel.ID]) > 0 {
			t.Fatalf("the till has %v, the purse signed %v", b.Paid, m.top[b.Channel.ID])
		}
		sum := core.Amount{}
		for _, a := range b.Charged {
			sum = sum.Add(a)
		}
		if sum.Cmp(b.Owed) != 0 {
			t.Fatalf("charges sum to %v, owed is %v", sum, b.Owed)
		}
	}
}

// settle ends a history: everything is paid, delivered and claimed, and then
// chain, purse and till say the same.
func (m *machine) settle(t *rapid.T) {
	ctx := context.Background()
	for len(m.open) > 0 {
		o := m.open[0]
		m.Check(t)
		v, err := m.w.purse.Pay(ctx, o.r, amount(o.due))
		if err != nil {
			t.Fatal(err)
		}
		m.dues = m.dues.Add(amount(o.due - o.paid))
		m.track(t, v)
		o.tab.Close()
		m.w.purse.Release(o.r)
		m.open = m.open[1:]
	}
	for id := range m.top {
		v, ok, err := m.w.purse.Voucher(id)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			if err := m.w.till.Accept(ctx, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.w.l.pass(time.Minute)
	if err := m.w.till.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.w.till.Claim(ctx); err != nil {
		t.Fatal(err)
	}
	m.Sync(t)
	m.Check(t)
	got := m.w.l.balances[m.w.provider.Address()]
	if tot := m.w.purse.Totals(); tot.Signed.Cmp(tot.Claimed) != 0 || tot.Signed.Cmp(got) != 0 {
		t.Fatalf("signed %v, claimed %v, earned %v", tot.Signed, tot.Claimed, got)
	}
	for _, b := range m.w.till.Books() {
		if b.Paid.Cmp(m.top[b.Channel.ID]) != 0 || !b.Unclaimed.IsZero() {
			t.Fatalf("in the end the till has %+v, the purse signed %v", b, m.top[b.Channel.ID])
		}
	}
}

func TestBooksBalanceOverRandomHistories(t *testing.T) {
	base, runs := scratch(t), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, strconv.Itoa(runs))
		defer os.RemoveAll(dir)
		l := newLedger()
		w := &world{t: t, l: l, payer: l.wallet(t, 1, amount(20_000)), provider: l.wallet(t, 2, amount(0)), dir: dir}
		w.openPurse()
		w.openTill()
		defer func() { w.purse.Close(); w.till.Close() }()
		m := &machine{w: w, total: l.total(), top: map[core.ChannelID]core.Amount{}}
		rt.Repeat(map[string]func(*rapid.T){
			"order": m.Order, "deliver": m.Deliver, "deliver more": m.Deliver, "pay": m.Pay, "arrive": m.Arrive, "finish": m.Finish,
			"kill purse": m.KillPurse, "kill till": m.KillTill, "claim": m.Claim, "sync": m.Sync, "": m.Check,
		})
		m.settle(rt)
	})
}
