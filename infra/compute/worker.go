package compute

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Stream is one exchange with a consumer as the transport offers it. It is an
// alias, so that a transport can name the same type without importing this
// package.
type Stream = interface {
	// Accept commits the provider and returns the nonce that the consumer
	// reveals in turn.
	Accept(ctx context.Context, a core.Accepted) (core.Hash, error)
	// Send delivers a chunk. It blocks while the consumer is slow and fails
	// when it is too slow or gone.
	Send(ctx context.Context, c core.Chunk) error
	// Finish delivers the end; vouchers are still received afterwards.
	Finish(ctx context.Context, d core.Done) error
	// Vouchers carries the consumer's payments and is closed when it has left.
	Vouchers() <-chan core.Voucher
	// Cancelled is closed when the consumer wants no more.
	Cancelled() <-chan struct{}
}

// Config is what a worker needs. Zero limits take the value named beside them.
type Config struct {
	ChainID uint64 // EVM chain id that requests must name
	Engine  core.Engine
	Offer   core.Offer // Model and Tier fixed; prices may change by SetOffer
	Signer  core.Signer
	VRF     core.VRF
	Cashier core.Cashier
	Notary  core.Notary
	// Registered reports whether an account is a provider on chain. Answers
	// that another provider began are continued only with its signature.
	Registered func(ctx context.Context, a core.Address) (bool, error)
	// Admit refuses samplers that the engine cannot run, after the request's
	// signature was checked and before anything is promised: whether a grammar
	// can be compiled, say. Optional.
	Admit func(core.Sampler) error
	// Observe is told what happens; it must not block. Optional.
	Observe func(Event)

	Slots       int           // Offer.Slots, or 8: sequences in the batch
	Queue       int           // 32: requests waiting for a slot
	CreditTok   int           // 64: unpaid output tokens before a pause
	PayTimeout  time.Duration // 10 s: a pause for payment, or for the last voucher
	MaxLifetime time.Duration // 1 h: how far ahead a request's expiry may lie
}

func (c Config) withDefaults() (Config, error) {
	if c.Engine == nil || c.Signer == nil || c.VRF == nil || c.Cashier == nil || c.Notary == nil || c.Registered == nil {
		return c, errors.New("compute: engine, signer, VRF, cashier, notary and registry are required")
	}
	if c.Offer.Model != c.Engine.Info().ID {
		return c, errors.New("compute: the offer is for another model than the engine's")
	}
	if t := core.TierOf(c.Engine.Info().Semantics); c.Offer.Tier != t && c.Offer.Tier != core.TierNone {
		return c, fmt.Errorf("compute: the offer says tier %s, the engine's answers are of tier %s", c.Offer.Tier, t)
	}
	if c.Slots <= 0 {
		if c.Slots = int(c.Offer.Slots); c.Slots == 0 {
			c.Slots = 8
		}
	}
	if c.Queue <= 0 {
		c.Queue = 32
	}
	if c.CreditTok <= 0 {
		c.CreditTok = 64
	}
	if c.PayTimeout <= 0 {
		c.PayTimeout = 10 * time.Second
	}
	if c.MaxLifetime <= 0 {
		c.MaxLifetime = time.Hour
	}
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	if c.Admit == nil {
		c.Admit = func(core.Sampler) error { return nil }
	}
	return c, nil
}

// Worker answers requests for one model. Its methods are safe for concurrent
// use.
type Worker struct {
	cfg   Config
	info  core.ModelInfo
	offer atomic.Pointer[core.Offer]
	sched *scheduler
	embed *embedder
	meter *meter

	ctx    context.Context // ends when answers must be handed over
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	idle     sync.Cond // signalled when load falls
	load     int       // requests admitted and not ended
	draining bool
}

// New starts a worker. End it with Drain or Close; the engine stays open.
func New(cfg Config) (*Worker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, info: cfg.Engine.Info(), meter: newMeter()}
	w.idle.L = &w.mu
	w.offer.Store(&cfg.Offer)
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	w.sched = newScheduler(cfg.Engine, cfg.Slots, w.meter)
	w.embed = newEmbedder(w.ctx, cfg.Engine)
	go w.sched.run()
	return w, nil
}

// Offer returns what the worker now asks.
func (w *Worker) Offer() core.Offer { return *w.offer.Load() }

// SetOffer changes the prices for requests to come.
func (w *Worker) SetOffer(o core.Offer) error {
	if o.Model != w.info.ID || o.Tier != w.cfg.Offer.Tier {
		return errors.New("compute: an offer's model and tier cannot change")
	}
	w.offer.Store(&o)
	return nil
}

var errShutdown = core.Errorf(core.CodeProvider, "the provider is shutting down; another one can continue from the last chunk")

// Drain refuses new requests and waits until the running ones have ended or
// ctx ends. Those are then broken off so that another provider continues them.
func (w *Worker) Drain(ctx context.Context) {
	w.mu.Lock()
	w.draining = true
	w.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { w.cancel(errShutdown) })
	defer stop()
	w.mu.Lock()
	for w.load > 0 {
		w.idle.Wait()
	}
	w.mu.Unlock()
	w.cancel(errShutdown)
	w.sched.close()
	w.embed.wait()
}

// Close is Drain without patience.
func (w *Worker) Close() {
	w.cancel(errShutdown)
	w.Drain(w.ctx)
}

// enter takes a place in the batch or the queue.
func (w *Worker) enter() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining {
		return core.Errorf(core.CodeUnavailable, "the provider is shutting down")
	}
	if w.load >= w.cfg.Slots+w.cfg.Queue {
		e := core.Errorf(core.CodeBusy, "all %d slots are busy and %d requests wait", w.cfg.Slots, w.cfg.Queue)
		// By then half of the queue has found a slot, so that there is room for
		// those who were told the same.
		e.RetryAfter = w.meter.wait(w.cfg.Queue/2+1, w.cfg.Slots)
		return e
	}
	w.load++
	return nil
}

func (w *Worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.load--
	w.idle.Broadcast()
}

// Infer answers one request on s and returns when the exchange is over. The
// error, always a *core.Error unless the consumer is gone, is for the consumer.
func (w *Worker) Infer(ctx context.Context, peer string, r core.SignedRequest, s Stream) error {
	if err := w.check(ctx, &r); err != nil {
		return w.refused(&r, err)
	}
	if err := w.enter(); err != nil {
		return w.refused(&r, err)
	}
	defer w.leave()
	tab, err := w.cfg.Cashier.Admit(ctx, &r)
	if err != nil {
		return w.refused(&r, err)
	}
	defer tab.Close()
	if r.Pooling == "" {
		if err := w.cfg.Admit(r.Sampler); err != nil {
			return w.refused(&r, err)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(w.ctx, func() { cancel(context.Cause(w.ctx)) })()

	a := &answer{w: w, r: &r, s: s, tab: tab, chain: core.TokenChain(core.Hash{}, r.Input[r.Prompt:])}
	if err := a.commit(ctx); err != nil {
		return w.refused(&r, err)
	}
	return a.run(ctx)
}

func (w *Worker) refused(r *core.SignedRequest, err error) error {
	w.meter.refuse()
	w.cfg.Observe(Event{Kind: EventRefused, Request: r.ID, Channel: r.Channel, Err: err})
	return err
}
