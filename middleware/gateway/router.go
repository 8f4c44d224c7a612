package gateway

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
)

// candidate is a provider together with its offer for the model at hand.
type candidate struct {
	provider core.Provider
	offer    core.Offer
}

// Router remembers how providers behaved and ranks them by expected price for
// work that arrives: asking price, divided by the chance of success, stretched
// by observed slowness and present load.
type Router struct {
	mu   sync.Mutex
	seen map[core.Address]*record
	now  func() time.Time
}

// record is what was observed of one provider. Speed and latency are
// exponentially weighted means.
type record struct {
	speed    float64 // output tokens per second; 0 = unknown
	latency  float64 // seconds to the first token; 0 = unknown
	success  float64 // in (0, 1]
	inflight int
	rest     time.Time // not asked before, after a failure or a busy answer
	answers  uint64
	failures uint64
	open     []unfinished // answers that can be disputed, in order of time
}

// Observation is a provider's record, for people.
type Observation struct {
	Speed    float64 `json:"tokens_per_second"`
	Latency  float64 `json:"first_token_seconds"`
	Success  float64 `json:"success"`
	InFlight int     `json:"in_flight"`
	Answers  uint64  `json:"answers"`
	Failures uint64  `json:"failures"`
}

// NewRouter returns a router without memories.
func NewRouter() *Router {
	return &Router{seen: map[core.Address]*record{}, now: time.Now}
}

func (r *Router) record(a core.Address) *record {
	x := r.seen[a]
	if x == nil {
		x = &record{success: 1}
		r.seen[a] = x
	}
	return x
}

// weight of a new observation in the means.
const weight = 0.2

func blend(old, x float64) float64 {
	if old == 0 {
		return x
	}
	return old + weight*(x-old)
}

// Rank orders the candidates, best first. Providers that rest after a failure
// come last rather than never: they are better than no answer.
func (r *Router) rank(cs []candidate, in, out int) []candidate {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	fastest := 0.0
	for _, c := range cs {
		fastest = max(fastest, r.record(c.provider.Address).speed)
	}
	score := make(map[core.Address]float64, len(cs))
	for _, c := range cs {
		x := r.record(c.provider.Address)
		s := price(c.offer, in, out)
		s /= x.success * x.success
		s *= 1 + float64(x.inflight)/float64(max(1, c.offer.Slots))
		if x.speed > 0 {
			s *= math.Sqrt(fastest / x.speed)
		}
		if now.Before(x.rest) {
			s *= 1e6
		}
		score[c.provider.Address] = s
	}
	out2 := slices.Clone(cs)
	slices.SortStableFunc(out2, func(a, b candidate) int {
		return cmp.Compare(score[a.provider.Address], score[b.provider.Address])
	})
	return out2
}

// price is the expected price in akoin as a float: only good for comparing.
func price(o core.Offer, in, out int) float64 {
	total := o.PriceIn.Mul(uint64(in)).Add(o.PriceOut.Mul(uint64(out)))
	f, _ := new(big.Float).SetInt(total.Big()).Float64()
	return f + 1
}

// begin notes that a request is on its way to a; the returned function ends it.
func (r *Router) begin(a core.Address) (end func()) {
	r.mu.Lock()
	r.record(a).inflight++
	r.mu.Unlock()
	var once sync.Once
	return func() {
		once.Do(func() {
			r.mu.Lock()
			r.record(a).inflight--
			r.mu.Unlock()
		})
	}
}

// answered notes an answer of n tokens: latency to the first, total duration.
func (r *Router) answered(a core.Address, n int, latency, total time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.record(a)
	x.answers++
	x.success = blend(x.success, 1)
	x.latency = blend(x.latency, latency.Seconds())
	if d := (total - latency).Seconds(); n > 8 && d > 0 {
		x.speed = blend(x.speed, float64(n-1)/d)
	}
	x.rest = time.Time{}
}

// failed notes a broken promise; the provider rests for a while.
func (r *Router) failed(a core.Address) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.record(a)
	x.failures++
	x.success = max(0.05, blend(x.success, 0))
	x.rest = r.now().Add(10 * time.Second)
}

// busy notes that a has no room until d has passed.
func (r *Router) busy(a core.Address, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.record(a).rest = r.now().Add(min(max(d, 200*time.Millisecond), 10*time.Second))
}

// Observed returns what is known of a provider.
func (r *Router) Observed(a core.Address) Observation {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.record(a)
	return Observation{x.speed, x.latency, x.success, x.inflight, x.answers, x.failures}
}
