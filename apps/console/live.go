package console

import (
	"context"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/payment"
)

// live keeps the page's panels up to date while it is open: whenever money
// moves or an answer settles, and at every tick. Only what changed is sent.
func (c *Console) live(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	settled, stop := c.cfg.Gateway.Watch()
	defer stop()
	money := c.cfg.Purse.Subscribe(ctx)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()

	out := open(w, r)
	sent := map[string]string{}
	var docket docket
	var blocks []blockView
	for {
		v := c.network(ctx, blocks)
		blocks = v.Blocks
		for name, panel := range map[string]templ.Component{"chain": chainPanel(v), "providers": providersPanel(v), "channels": channelsPanel(v), "receipts": receiptsPanel(v)} {
			html, err := render(ctx, panel)
			if err != nil {
				return
			}
			if sent[name] == html {
				continue
			}
			sent[name] = html
			if out.morph(panel) != nil {
				return
			}
		}
		if docket.send(out, v) != nil {
			return
		}
		if out.signals(map[string]int64{"beat": time.Now().UnixMilli()}) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-settled:
		case _, ok := <-money:
			if !ok {
				return
			}
			// Vouchers come in bursts: one picture for all of them.
			time.Sleep(50 * time.Millisecond)
			for len(money) > 0 {
				<-money
			}
		}
	}
}

// network gathers what the panels show. before holds the blocks seen so far.
func (c *Console) network(ctx context.Context, before []blockView) networkView {
	ctx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	v := networkView{Blocks: before}
	st, err := c.cfg.Chain.Status(ctx)
	if err != nil {
		v.Problem = "The ledger does not answer: " + err.Error()
		return v
	}
	v.ChainID, v.Height, v.Validators = st.ChainID, fmt.Sprint(st.Height), st.Validators
	v.Blocks = addBlock(before, st)
	v.BlockTime = blockTime(v.Blocks)

	monikers := map[core.Address]string{}
	ps, err := c.cfg.Chain.Providers(ctx)
	if err != nil {
		v.Problem = "The market does not answer: " + err.Error()
		return v
	}
	slices.SortFunc(ps, func(a, b core.Provider) int { return strings.Compare(a.Moniker, b.Moniker) })
	for _, p := range ps {
		monikers[p.Address] = p.Moniker
		v.Providers = append(v.Providers, c.provider(p))
	}
	as := c.cfg.Purse.Accounts()
	slices.SortStableFunc(as, func(a, b payment.Account) int {
		return strings.Compare(monikers[a.Channel.Provider], monikers[b.Channel.Provider])
	})
	for _, a := range as {
		if a.Channel.State == core.ChannelClosed {
			continue
		}
		v.Channels = append(v.Channels, channelView{Provider: monikers[a.Channel.Provider], ID: a.Channel.ID.Short(), Deposit: koin(a.Channel.Deposit),
			Left: exact(a.Channel.Deposit.Less(a.Signed)), Share: share(a.Channel.Deposit.Less(a.Signed), a.Channel.Deposit),
			State: string(a.Channel.State), Problem: a.Problem})
	}
	v.Spent = koin(c.cfg.Purse.Totals().Spent)
	es, err := c.cfg.Newest(8)
	if err != nil {
		v.Problem = "The receipts cannot be read: " + err.Error()
	}
	for _, e := range es {
		u := core.Usage{Input: e.Receipt.Billed, Output: e.Receipt.Output}
		v.Receipts = append(v.Receipts, receiptView{ID: e.ID.String(), Provider: monikers[e.Receipt.Provider],
			Tokens: fmt.Sprintf("%d + %d", u.Input, u.Output), Cost: koin(u.Cost(e.Receipt.PriceIn, e.Receipt.PriceOut)),
			Time: time.Unix(e.Receipt.Issued, 0).Format("15:04:05")})
	}
	ds, err := c.cfg.Disputes(ctx, docketLength)
	if err != nil {
		v.Problem = "The disputes cannot be read: " + err.Error()
	}
	for i := range ds {
		d := viewDispute(&ds[i], monikers, time.Now())
		d.Expanded = i == 0 || d.Verdict == ""
		v.Disputes = append(v.Disputes, d)
	}
	return v
}

func (c *Console) provider(p core.Provider) providerView {
	o := c.cfg.Gateway.Router().Observed(p.Address)
	x := providerView{Moniker: p.Moniker, Address: p.Address.String(), Speed: "–", Success: "–", Busy: o.InFlight > 0, State: "ready"}
	switch {
	case p.Jailed:
		x.State = "jailed"
		if p.Convictions > 0 {
			x.State = fmt.Sprintf("jailed, convicted %d ×", p.Convictions)
		}
	case len(p.Offers) == 0:
		x.State = "no offer"
	case o.InFlight > 0:
		x.State = "answering"
	}
	if o.Speed > 0 {
		x.Speed = fmt.Sprintf("%.0f", o.Speed)
	}
	if o.Answers+o.Failures > 0 {
		x.Success = fmt.Sprintf("%.0f %%", 100*o.Success)
	}
	if slices.ContainsFunc(p.Offers, func(o core.Offer) bool { return o.Tier != core.TierExact }) {
		x.State += ", " + string(p.Offers[0].Tier)
	}
	if len(p.Offers) > 0 {
		x.Price = koin(p.Offers[0].PriceOut.Mul(1_000_000))
	}
	return x
}

// strip is how many blocks the picture holds.
const strip = 40

func addBlock(bs []blockView, st core.ChainStatus) []blockView {
	if n := len(bs); n > 0 && bs[n-1].Height == st.Height {
		return bs
	}
	b := blockView{Height: st.Height, Time: st.Time}
	if n := len(bs); n > 0 && st.Height > bs[n-1].Height {
		b.Interval = float64(st.Time-bs[n-1].Time) / 1000 / float64(st.Height-bs[n-1].Height)
	}
	bs = append(bs[:len(bs):len(bs)], b)
	if len(bs) > strip {
		bs = bs[len(bs)-strip:]
	}
	return bs
}

func blockTime(bs []blockView) string {
	if len(bs) < 2 {
		return "–"
	}
	a, b := bs[0], bs[len(bs)-1]
	return fmt.Sprintf("%.1f s", float64(b.Time-a.Time)/1000/float64(b.Height-a.Height))
}

// exact writes an amount in koin with six decimals, so that small payments show.
func exact(a core.Amount) string {
	s := strings.TrimSuffix(a.Format(), " "+core.Denom)
	whole, frac, _ := strings.Cut(s, ".")
	return whole + "." + (frac + "000000")[:6]
}

// koin writes an amount in koin with at most six significant digits.
func koin(a core.Amount) string {
	s := strings.TrimSuffix(a.Format(), " "+core.Denom)
	whole, frac, ok := strings.Cut(s, ".")
	if !ok {
		return s
	}
	lead := len(frac) - len(strings.TrimLeft(frac, "0"))
	keep := max(0, 6-len(whole))
	if whole == "0" {
		keep = lead + 3
	}
	if len(frac) > keep {
		frac = strings.TrimRight(frac[:keep], "0")
	}
	if frac == "" {
		return whole
	}
	return whole + "." + frac
}

// share is a in percent of b, for a bar; at least 1 while anything is left.
func share(a, b core.Amount) int {
	if a.IsZero() || b.IsZero() {
		return 0
	}
	part, whole := new(big.Float).SetInt(a.Big()), new(big.Float).SetInt(b.Big())
	f, _ := part.Quo(part, whole).Float64()
	return min(100, max(1, int(100*f+0.5)))
}
