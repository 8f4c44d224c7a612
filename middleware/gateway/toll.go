package gateway

import (
	"context"
	"net/http"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/middleware/x402"
)

type tollKey struct{}

// paid makes every call one that its caller pays for.
func (g *Gateway) paid(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tollKey{}, g.cfg.Paywall)))
	})
}

// PaidHandler serves answers to callers who have no account, key or
// registration, and pay for each with their wallet (x402, MPP):
//
//	GET  /v1/models, /v1/models/{name}
//	POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages
//	GET  the same, to ask for the rest of a payment channel
func (g *Gateway) PaidHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", g.listModels)
	mux.HandleFunc("GET /v1/models/{name...}", g.showModel)
	for path, h := range map[string]http.HandlerFunc{
		"/v1/chat/completions": handle(&openAI, g.chatCompletions),
		"/v1/completions":      handle(&openAI, g.completions),
		"/v1/responses":        handle(&responses, g.respond),
		"/v1/messages":         handle(&anthropic, g.messages),
	} {
		mux.HandleFunc("POST "+path, g.limited(h))
		mux.HandleFunc("GET "+path, g.limited(g.cfg.Paywall.ServeRefund))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		e := core.Errorf(core.CodeInvalid, "%s %s cannot be paid for by the call", r.Method, r.URL.Path)
		e.Next = "docs/api.md lists what can"
		_, body := openAI.failure(e)
		writeJSON(w, http.StatusNotFound, body)
	})
	return g.Guard(g.paid(mux))
}

// slack is how many times the lowest price a paid call may cost per token: room
// for another provider when the cheapest fails.
const slack = 2

// toll asks the caller of a paid call for its payment. told says that the caller
// was answered with how to pay.
func (s *session) toll(r *http.Request) (told bool, err error) {
	wall, _ := r.Context().Value(tollKey{}).(*x402.Paywall)
	if wall == nil {
		return false, nil
	}
	most := s.spent
	for _, c := range s.choices {
		worst, err := s.quote(r.Context(), &c.call)
		if err != nil {
			return false, err
		}
		most = most.Add(worst)
	}
	s.bill = wall.Admit(s.w, r, x402.Quote{Most: most, Description: "an answer of " + s.choices[0].call.Model.Name})
	return s.bill == nil, nil
}

// quote is what a call costs at most, and holds the call to it.
func (g *Gateway) quote(ctx context.Context, call *Call) (core.Amount, error) {
	all, err := g.candidates(ctx, call.Model)
	if err != nil {
		return core.Amount{}, err
	}
	cs := slices.DeleteFunc(ofTier(all, call.Tier), func(c candidate) bool { return !call.route.allows(c) })
	if len(cs) == 0 {
		return core.Amount{}, &core.Error{Code: core.CodeNoProvider, Message: "no provider offers " + call.Model.Name + " as you ask right now", Next: "try again"}
	}
	in, out := cs[0].offer.PriceIn, cs[0].offer.PriceOut
	for _, c := range cs[1:] {
		if c.offer.PriceIn.Cmp(in) < 0 {
			in = c.offer.PriceIn
		}
		if c.offer.PriceOut.Cmp(out) < 0 {
			out = c.offer.PriceOut
		}
	}
	// One offer may be cheap for prompts and another for answers: take in those too.
	roof := core.Offer{PriceIn: in.Mul(slack), PriceOut: out.Mul(slack)}
	if !slices.ContainsFunc(cs, func(c candidate) bool {
		return c.offer.PriceIn.Cmp(roof.PriceIn) <= 0 && c.offer.PriceOut.Cmp(roof.PriceOut) <= 0
	}) {
		roof = g.router.rank(cs, len(call.Input), int(call.Sampler.MaxTokens))[0].offer
	}
	route := preference{}
	if call.route != nil {
		route = *call.route
	}
	route.MaxPrice = &priceCaps{Prompt: perMillion{roof.PriceIn.Mul(1_000_000), true}, Completion: perMillion{roof.PriceOut.Mul(1_000_000), true}}
	call.route = &route
	order := core.Request{Input: call.Input, Prompt: uint32(len(call.Input)), Sampler: call.Sampler, Pooling: call.Pooling}
	return order.Worst().Cost(roof.PriceIn, roof.PriceOut), nil
}

// pay makes the payment of a paid stream binding; the lock is held.
func (s *session) pay(ctx context.Context) {
	if s.bill != nil {
		s.unpaid = s.bill.Open(ctx, s.w.Header())
	}
}

// payWhole does it for a whole answer.
func (s *session) payWhole(ctx context.Context) error {
	if s.bill == nil {
		return nil
	}
	return s.bill.Close(ctx, s.w.Header(), costOf(s.answers()).Add(s.spent))
}

// endBill ends the payment: a stream that has begun is charged for what it
// delivered, anything else costs nothing.
func (s *session) endBill() {
	if s.bill == nil {
		return
	}
	if s.opened {
		if err := s.bill.Close(context.Background(), nil, costOf(s.answers()).Add(s.spent)); err != nil {
			s.cfg.Log.Error("a stream was not charged", "err", err)
		}
	}
	s.bill.Drop()
}
