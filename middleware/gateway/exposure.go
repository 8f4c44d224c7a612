package gateway

import (
	"slices"
	"time"

	"github.com/koinon-network/koinon/core"
)

// unfinished is money for answers that can be disputed until some time.
type unfinished struct {
	until  time.Time
	amount core.Amount
}

// grain joins answers whose time to finality ends together, about.
const grain = 10 * time.Minute

// owed notes the price of an answer that can be disputed until then.
func (r *Router) owed(a core.Address, price core.Amount, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.record(a)
	if n := len(x.open); n > 0 && until.Sub(x.open[n-1].until) < grain {
		x.open[n-1].amount = x.open[n-1].amount.Add(price)
		return
	}
	x.open = append(x.open, unfinished{until.Add(grain), price})
}

// exposure is the price of the answers of p that can still be disputed, as far
// as this gateway or the chain knows: both know a part, so it is at least the
// greater one.
func (r *Router) exposure(p core.Provider) core.Amount {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, now := r.record(p.Address), r.now()
	x.open = slices.DeleteFunc(x.open, func(u unfinished) bool { return !now.Before(u.until) })
	var own core.Amount
	for _, u := range x.open {
		own = own.Add(u.amount)
	}
	if own.Cmp(p.Exposure) < 0 {
		return p.Exposure
	}
	return own
}

// covered says whether the provider's stake covers one more answer of this price
// beside those that are not final. A provider about whose stake the chain says
// nothing is not limited.
func (r *Router) covered(c candidate, price core.Amount) bool {
	return c.provider.Cover.IsZero() || r.exposure(c.provider).Add(price).Cmp(c.provider.Cover) <= 0
}
