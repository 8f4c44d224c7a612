package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/payment"
	"github.com/koinon-network/koinon/middleware/apikey"
)

// Call is one question on its way through the network.
type Call struct {
	Model core.Manifest
	// Tier is the only one whose providers are asked; "" stands for exact.
	Tier     core.Tier
	Codec    *Codec
	Input    []core.Token
	Sampler  core.Sampler
	UserSeed *uint64
	// Pooling, when set, asks for the embedding of Input instead of an answer.
	Pooling core.Pooling

	route *preference // nil leaves the choice to the router
}

// Answer is what came of a call. It is filled as far as things got, also when
// an error is returned with it.
type Answer struct {
	ID       core.RequestID // of the first attempt; receipts are found by it
	Provider core.Provider  // that answered last
	Offer    core.Offer
	Tried    int
	Usage    core.Usage
	Cost     core.Amount // paid in all, over all attempts
	Finish   core.FinishReason
	Receipt  *core.SignedReceipt // of the attempt that finished
	Latency  time.Duration       // to the first token
	Left     core.Amount         // on the channel that paid last
	// Embedding is the vector, when one was asked for.
	Embedding []float32
}

// attemptID names attempt n of an answer, so that receipts of later attempts
// are found by the answer's id.
func attemptID(answer core.RequestID, n int) core.RequestID {
	if n == 0 {
		return answer
	}
	b := append([]byte("koinon/attempt/1"), answer[:]...)
	return sha256.Sum256(binary.BigEndian.AppendUint32(b, uint32(n)))
}

func randomHash() (h core.Hash) {
	_, _ = rand.Read(h[:]) // never fails
	return h
}

// run carries the state of one answer across its attempts.
type run struct {
	*Gateway
	call    Call
	caller  *apikey.Bearer // who pays the owner's money; nil is the owner
	answer  Answer
	start   time.Time
	output  []core.Token // delivered over all attempts
	resume  *core.Progress
	emit    func([]core.Token, []core.TokenLogprobs) error
	begun   func(*Answer) // before the first token, once
	started bool
}

// Answer asks the network. It calls begun once, when the first provider that
// delivers is known, and emit for each run of tokens, both from the calling
// goroutine. When emit fails or ctx ends, the work is cancelled and what was
// delivered is paid. A provider that fails is replaced, and the answer goes on
// where it stopped.
func (g *Gateway) Answer(ctx context.Context, call Call, begun func(*Answer), emit func([]core.Token) error) (*Answer, error) {
	return g.answer(ctx, randomHash(), call, begun, func(ts []core.Token, _ []core.TokenLogprobs) error { return emit(ts) })
}

// answer is Answer under a given id, whose emit gets log-probabilities too.
func (g *Gateway) answer(ctx context.Context, id core.RequestID, call Call, begun func(*Answer), emit func([]core.Token, []core.TokenLogprobs) error) (*Answer, error) {
	r := &run{Gateway: g, call: call, caller: callerOf(ctx), start: time.Now(), emit: emit, begun: begun}
	r.answer.ID = id
	err := r.attempts(ctx)
	g.report(r, err)
	r.caller.Count(call.Model.Name, r.answer.Usage)
	return &r.answer, err
}

func (g *Gateway) report(r *run, err error) {
	s := Settled{Time: time.Now(), ID: r.answer.ID, Model: r.call.Model.Name, Provider: r.answer.Provider.Moniker, Tried: r.answer.Tried,
		Usage: r.answer.Usage, Cost: r.answer.Cost, Latency: r.answer.Latency, Took: time.Since(r.start), Finish: string(r.answer.Finish)}
	if r.answer.Receipt != nil {
		s.Receipt = r.answer.Receipt.Digest()
	}
	if r.answer.Finish == core.FinishCancelled {
		err = nil
	}
	if err != nil {
		s.Finish = string(core.CodeOf(err))
		g.cfg.Log.Warn("answer failed", "id", s.ID.Short(), "model", s.Model, "tried", s.Tried, "err", err)
	}
	g.settle(s, err)
}

// attempts tries providers in the router's order until one finishes.
func (r *run) attempts(ctx context.Context) error {
	asked := map[core.Address]bool{}
	var last error
	for n := range r.cfg.Attempts {
		c, err := r.next(ctx, asked)
		if err != nil {
			return cmp.Or(r.exhausted(last), err)
		}
		asked[c.provider.Address] = true
		r.answer.Tried++
		err = r.attempt(ctx, n, c)
		if err == nil || !retryable(err) {
			return err
		}
		if core.CodeOf(last) != core.CodeBusy { // room will come, whoever else is dead
			last = err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.cfg.Log.Info("provider replaced", "id", r.answer.ID.Short(), "provider", c.provider.Moniker, "delivered", len(r.output), "err", err)
	}
	return r.exhausted(last)
}

// retryable reports whether another provider may do better.
func retryable(err error) bool {
	switch core.CodeOf(err) {
	case core.CodeProvider, core.CodeBusy, core.CodeUnavailable, core.CodeInternal:
		return true
	}
	return false
}

// exhausted words the end of all attempts; nil when there was none.
func (r *run) exhausted(last error) error {
	if last == nil {
		return nil
	}
	e := *asError(last)
	e.Charge = r.answer.Cost
	if e.Code == core.CodeBusy {
		e.Message = "all providers of " + r.call.Model.Name + " are busy"
		return &e
	}
	return &core.Error{Code: core.CodeProvider, Charge: r.answer.Cost, Next: "try again; koinon models shows who serves",
		Message: fmt.Sprintf("%d provider(s) of %s failed after %d delivered tokens", r.answer.Tried, r.call.Model.Name, len(r.output)), Err: last}
}

// next picks the best provider that was not asked yet.
func (r *run) next(ctx context.Context, asked map[core.Address]bool) (candidate, error) {
	all, err := r.candidates(ctx, r.call.Model)
	if err != nil {
		return candidate{}, err
	}
	cs, route := ofTier(all, r.call.Tier), r.call.route
	if len(cs) == 0 && len(ofTier(all, core.TierStatistical)) > 0 {
		return candidate{}, &core.Error{Code: core.CodeNoProvider, Message: "no provider offers " + r.call.Model.Name + " with exact proofs right now", RetryAfter: 5 * time.Second,
			Next: "ask for the model " + r.call.Model.Name + statisticalSuffix + ", whose answers are only tested for plausibility"}
	}
	offers := len(cs)
	if cs = slices.DeleteFunc(cs, func(c candidate) bool { return !route.allows(c) }); len(cs) == 0 && offers > 0 {
		return candidate{}, route.excluded(r.call.Model.Name, offers)
	}
	cs = slices.DeleteFunc(cs, func(c candidate) bool { return asked[c.provider.Address] || len(asked) > 0 && route.one() })
	if len(cs) == 0 {
		return candidate{}, &core.Error{Code: core.CodeNoProvider, Message: "no provider offers " + r.call.Model.Name + " right now",
			Next: "start one with: koinon provider start --model FILE.gguf", RetryAfter: 5 * time.Second}
	}
	order := r.order()
	worst := order.Worst()
	if cs = slices.DeleteFunc(cs, func(c candidate) bool {
		return !r.router.covered(c, worst.Cost(c.offer.PriceIn, c.offer.PriceOut))
	}); len(cs) == 0 {
		return candidate{}, &core.Error{Code: core.CodeNoProvider, Message: "no provider of " + r.call.Model.Name + " has enough at stake for another answer before earlier ones are final",
			Next: "ask for a shorter answer, or wait: answers are final a day after they were given"}
	}
	cs = r.router.rank(cs, len(r.call.Input), int(r.call.Sampler.MaxTokens))
	return route.arrange(cs, r.router.Observed)[0], nil
}

func (g *Gateway) candidates(ctx context.Context, m core.Manifest) ([]candidate, error) {
	ps, err := g.cfg.Chain.Providers(ctx)
	if err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "the ledger does not answer", Err: err}
	}
	var cs []candidate
	for _, p := range ps {
		for _, o := range p.Offers {
			if g.shunned(p.Address, m.ID, o.Tier) {
				continue
			}
			if o.Model == m.ID && !p.Jailed && len(p.Addrs) > 0 {
				cs = append(cs, candidate{p, o})
			}
		}
	}
	return cs, nil
}

// order is what is left to ask for.
func (r *run) order() core.Request {
	return core.Request{Input: slices.Concat(r.call.Input, r.output), Prompt: uint32(len(r.call.Input)), Sampler: r.call.Sampler, Pooling: r.call.Pooling}
}

// attempt asks one provider and pays it for what it delivers.
func (r *run) attempt(ctx context.Context, n int, c candidate) error {
	defer r.router.begin(c.provider.Address)()
	r.answer.Provider, r.answer.Offer = c.provider, c.offer

	order := r.order()
	need := order.Worst().Cost(c.offer.PriceIn, c.offer.PriceOut)
	hold, err := r.caller.Hold(r.call.Model.Name, need)
	if err != nil {
		return err
	}
	defer hold.Release()
	pay, err := r.cfg.Purse.Reserve(ctx, c.provider.Address, need)
	if err != nil {
		return err
	}
	nonce := randomHash()
	req, err := r.request(n, order, c, pay, nonce)
	if err != nil {
		pay.Release()
		return err
	}
	x, err := r.open(ctx, c, pay, req, nonce)
	if err != nil {
		err = c.refusal(err)
		pay.Release()
		r.blame(ctx, c, err)
		return err
	}
	defer x.Close()
	req.Voucher = nil
	a := &attempt{run: r, candidate: c, hold: hold, pay: pay, exchange: x, request: req, nonce: nonce, begin: time.Now(), paidAt: time.Now()}
	err = a.stream(ctx)
	if a.ours && !a.settled {
		pay.Abandon() // the provider may have delivered more than arrived
	} else {
		pay.Release()
	}
	r.answer.Usage.Output = uint32(len(r.output))
	if err != nil {
		r.blame(ctx, c, err)
	}
	return err
}

// refusal turns what a provider says of a request that this gateway has checked
// into a failure of the provider's, so that another one is asked and the client
// is not blamed.
func (c candidate) refusal(err error) error {
	if retryable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &core.Error{Code: core.CodeProvider, Message: c.provider.Moniker + " refuses the request", Err: err}
}

// blame remembers a failure that is the provider's.
func (r *run) blame(ctx context.Context, c candidate, err error) {
	switch core.CodeOf(err) {
	case core.CodeBusy:
		r.router.busy(c.provider.Address, asError(err).RetryAfter)
	case core.CodeProvider, core.CodeUnavailable, core.CodeInternal:
		if ctx.Err() == nil {
			r.router.failed(c.provider.Address)
		}
	}
}

// open starts the exchange. A provider that names arrears of earlier, broken
// streams is paid what they may have cost and asked once more.
func (r *run) open(ctx context.Context, c candidate, pay Payment, req core.SignedRequest, nonce core.Hash) (core.Exchange, error) {
	x, err := r.cfg.Dialer.Infer(ctx, c.provider, req, nonce)
	total, owed := payment.Arrears(err)
	if !owed {
		return x, err
	}
	v, perr := pay.PayArrears(ctx, total)
	if perr != nil {
		return nil, perr
	}
	req.Voucher = &v
	return r.cfg.Dialer.Infer(ctx, c.provider, req, nonce)
}

// request completes an order for one provider and signs it.
func (r *run) request(n int, q core.Request, c candidate, pay Payment, nonce core.Hash) (core.SignedRequest, error) {
	semantics, err := core.SemanticsFor(c.offer.Tier, r.call.Model.Semantics)
	if err != nil {
		return core.SignedRequest{}, err
	}
	q.ChainID, q.ID, q.Model, q.Semantics = r.cfg.ChainID, attemptID(r.answer.ID, n), r.call.Model.ID, semantics
	q.Provider, q.Channel = c.provider.Address, pay.Channel().ID
	q.UserSeed, q.NonceCommit = r.call.UserSeed, sha256.Sum256(nonce[:])
	q.PriceIn, q.PriceOut, q.Expiry = c.offer.PriceIn, c.offer.PriceOut, time.Now().Add(10*time.Minute).Unix()
	req := core.SignedRequest{Request: q}
	if len(r.output) > 0 {
		req.Resume = r.resume
	}
	sig, err := r.cfg.Signer.Sign(req.Digest())
	if err != nil {
		return req, &core.Error{Code: core.CodeInternal, Message: "the gateway cannot sign", Err: err}
	}
	req.Signature = sig
	req.Voucher, err = pay.Latest()
	return req, err
}

// attempt is one exchange with one provider.
type attempt struct {
	*run
	candidate
	hold     *apikey.Hold
	pay      Payment
	exchange core.Exchange
	request  core.SignedRequest
	nonce    core.Hash
	proof    core.Bytes
	begin    time.Time
	first    time.Duration
	unpaid   int         // delivered tokens since the last voucher
	paid     core.Amount // by this attempt
	paidAt   time.Time
	own      []core.Token // delivered by this attempt
	probs    []core.TokenLogprobs
	settled  bool // the provider has a voucher over all it asked
	ours     bool // we broke it off
}

// stream receives until Done, emitting and paying as it goes.
func (a *attempt) stream(ctx context.Context) error {
	for {
		ev, err := a.exchange.Recv(ctx)
		if ctx.Err() != nil {
			return a.abandon(ev, context.Cause(ctx))
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = core.Errorf(core.CodeProvider, "%s ended the answer without a receipt", a.provider.Moniker)
			}
			return err
		}
		switch ev := ev.(type) {
		case *core.Accepted:
			a.proof = ev.Proof
		case *core.Chunk:
			if err := a.chunk(ctx, ev); err != nil {
				return err
			}
		case *core.Done:
			return a.done(ctx, ev)
		}
	}
}

func (a *attempt) chunk(ctx context.Context, c *core.Chunk) error {
	if len(a.own) == 0 {
		a.first = time.Since(a.begin)
	}
	a.deliver(c)
	if err := a.emitTokens(c); err != nil {
		return a.abandon(nil, err)
	}
	a.unpaid += len(c.Tokens)
	if a.unpaid < a.cfg.PayTokens && time.Since(a.paidAt) < a.cfg.PayEvery {
		return nil
	}
	if err := a.settleUp(ctx, c.Due); err != nil {
		return err
	}
	if err := a.caller.Valid(); err != nil {
		return a.abandon(nil, err)
	}
	return nil
}

func (a *attempt) deliver(c *core.Chunk) {
	a.own, a.probs = append(a.own, c.Tokens...), append(a.probs, c.Logprobs...)
	a.output = append(a.output, c.Tokens...)
	p := c.Progress
	// A continuation signs the chain over the whole answer, so its progress
	// alone proves everything delivered so far.
	a.resume = &p
}

func (a *attempt) emitTokens(c *core.Chunk) error {
	if !a.started {
		a.started = true
		a.answer.Latency = time.Since(a.start)
		if a.begun != nil {
			a.begun(&a.answer)
		}
	}
	return a.emit(c.Tokens, c.Logprobs)
}

// settleUp pays up to due, this attempt's cumulative debt.
func (a *attempt) settleUp(ctx context.Context, due core.Amount) error {
	if due.Cmp(a.paid) <= 0 {
		return nil
	}
	if err := a.hold.Spend(due.Less(a.paid)); err != nil {
		return err
	}
	v, err := a.pay.Pay(ctx, due)
	if err != nil {
		return err
	}
	a.answer.Cost = a.answer.Cost.Add(due.Less(a.paid))
	a.paid, a.paidAt, a.unpaid = due, time.Now(), 0
	return a.exchange.Pay(v)
}

// done pays the rest and keeps the receipt.
func (a *attempt) done(ctx context.Context, d *core.Done) error {
	a.answer.Finish = d.Finish
	a.answer.Usage = core.Usage{Input: d.Usage.Input, Output: uint32(len(a.output)), Cached: d.Usage.Cached}
	a.answer.Receipt = &d.Receipt
	if a.call.Pooling != "" && d.Finish != core.FinishCancelled {
		var err error
		if a.answer.Embedding, err = core.DecodeVector(d.Embedding); err != nil {
			return core.Errorf(core.CodeProvider, "%s sent no embedding: %v", a.provider.Moniker, err)
		}
		a.first = time.Since(a.begin)
		a.answer.Latency = time.Since(a.start)
	}
	// The answer is complete: paying and filing it must not depend on whether
	// the client still listens.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	ev := core.Evidence{Version: 1, Receipt: d.Receipt, Request: a.request, Nonce: a.nonce, VRF: a.proof, VRFKey: vrfKey(a.provider),
		Output: a.own, Logprobs: a.probs, Embedding: d.Embedding, Boundaries: d.Boundaries, ModelName: a.call.Model.Name}
	stored := make(chan error, 1)
	go func() { stored <- a.cfg.Archive.Put(ev) }() // both go to disk at once
	err := a.settleUp(ctx, d.Due)
	if err != nil {
		a.cfg.Log.Warn("final voucher not delivered", "id", a.answer.ID.Short(), "err", err)
	}
	a.settled = err == nil
	a.answer.Left = a.pay.Left()
	if err := <-stored; err != nil {
		a.cfg.Log.Error("receipt not stored", "id", a.answer.ID.Short(), "err", err)
	}
	a.router.answered(a.provider.Address, len(a.own), a.first, time.Since(a.begin))
	a.router.owed(a.provider.Address, d.Due, time.Unix(d.Receipt.Expiry, 0))
	return nil
}

// abandon cancels the work, takes what is still on the way (ev first, if not
// nil), and pays for what was delivered. It returns cause.
func (a *attempt) abandon(ev core.Event, cause error) error {
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
	defer stop()
	a.answer.Finish, a.ours = core.FinishCancelled, true
	err := a.exchange.Cancel()
	for {
		switch ev := ev.(type) {
		case *core.Accepted:
			a.proof = ev.Proof
		case *core.Chunk:
			a.deliver(ev)
		case *core.Done:
			_ = a.done(ctx, ev)
			return cause
		}
		if err != nil {
			return cause
		}
		ev, err = a.exchange.Recv(ctx)
	}
}

// modelList names all models, for the error that a wrong name gets.
func modelList(ms []core.Manifest) string {
	names := make([]string, len(ms))
	for i, m := range ms {
		names[i] = m.Name
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
