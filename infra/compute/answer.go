package compute

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Chunks go out at once when the consumer has waited for pause, or earlier when
// so many tokens are ready.
const (
	pause      = 20 * time.Millisecond
	chunkReady = 8
	chunkMost  = 64
)

// errCancelled ends a stream by the consumer's wish.
var errCancelled = errors.New("the consumer cancelled")

// answer is one accepted request until its end.
type answer struct {
	w   *Worker
	r   *core.SignedRequest
	s   Stream
	tab core.Tab
	job *job // nil for an embedding

	nonce core.Hash
	proof core.Bytes
	seed  core.Seed

	sent  []core.Token
	probs []core.TokenLogprobs // sent with them, when ordered
	// vector is the embedding, when one was ordered.
	vector core.Bytes

	chain core.Hash       // TokenChain over the whole answer
	stop  func(err error) // ends streaming
	live  context.Context // ends when streaming must
	paid  chan struct{}   // closed when no more vouchers can come
}

// commit proves the VRF, exchanges it for the nonce and derives the seed.
func (a *answer) commit(ctx context.Context) error {
	var output []byte
	if a.r.UserSeed == nil {
		proof, out, err := a.w.cfg.VRF.Prove(a.r.VRFInput())
		if err != nil {
			return &core.Error{Code: core.CodeInternal, Message: "the provider could not prove its randomness", Err: err}
		}
		a.proof, output = proof, out
	}
	running, waiting := a.w.sched.load()
	if running < a.w.cfg.Slots {
		waiting = 0
	}
	nonce, err := a.s.Accept(ctx, core.Accepted{Proof: a.proof, Queue: waiting})
	if err != nil {
		return err
	}
	if sha256.Sum256(nonce[:]) != a.r.NonceCommit {
		return invalid("nonce_commit", "the nonce does not open the request's commitment")
	}
	a.nonce, a.seed = nonce, a.r.DeriveSeed(nonce, output)
	return nil
}

// run generates, delivers and settles.
func (a *answer) run(ctx context.Context) error {
	w := a.w
	w.cfg.Observe(Event{Kind: EventAccepted, Request: a.r.ID, Channel: a.r.Channel})
	live, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	a.live, a.stop = live, stop
	a.paid = make(chan struct{})
	over := make(chan struct{})
	defer func() { close(over); <-a.paid }()
	go a.listen(over)

	finish, err := a.produce()
	if a.job != nil {
		defer w.sched.release(a.job)
	}
	if errors.Is(err, errCancelled) {
		finish, err = core.FinishCancelled, nil
	}
	if err == nil {
		err = a.end(ctx, finish)
	}
	if err != nil {
		return a.failed(err)
	}
	// The last voucher is on its way; the channel stays barred without it.
	select {
	case <-a.paid:
	case <-w.ctx.Done():
	case <-time.After(w.cfg.PayTimeout):
	}
	return nil
}

// produce makes what was ordered: an embedding at once, an answer token by token.
func (a *answer) produce() (core.FinishReason, error) {
	w := a.w
	if a.r.Pooling != "" {
		vector, err := w.embed.compute(a.live, &a.r.Request)
		if err != nil {
			return "", err
		}
		a.vector = core.EncodeVector(vector)
		if _, err := core.DecodeVector(a.vector); err != nil {
			return "", engineError(err)
		}
		return core.FinishStop, nil
	}
	a.job = w.sched.submit(core.SequenceInput{
		Input: a.r.Input, Sampler: a.r.Sampler, Seed: a.seed, Base: len(a.r.Input) - int(a.r.Prompt),
		Salt: a.r.Salt(a.seed), Trace: w.cfg.Offer.Tier == core.TierExact,
	}, a.r.Channel)
	defer w.sched.stop(a.job)
	return a.stream()
}

// due is the cumulative price of the delivered output.
func (a *answer) due() core.Amount { return a.r.PriceOut.Mul(uint64(len(a.sent))) }

func (a *answer) failed(err error) error {
	a.w.meter.fail()
	a.w.cfg.Observe(Event{Kind: EventFailed, Request: a.r.ID, Channel: a.r.Channel, Due: a.due(), Err: err})
	var e *core.Error
	if !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Charge = a.due()
	return &c
}

// listen takes vouchers in and watches for the consumer's cancellation.
func (a *answer) listen(over <-chan struct{}) {
	defer close(a.paid)
	cancelled := a.s.Cancelled()
	for {
		select {
		case v, ok := <-a.s.Vouchers():
			if !ok {
				return
			}
			if err := a.accept(v); err != nil {
				a.stop(err)
			}
		case <-cancelled:
			a.stop(errCancelled)
			cancelled = nil
		case <-over:
			return
		}
	}
}

// accept credits a voucher, which survives whatever happens to the stream.
func (a *answer) accept(v core.Voucher) error {
	if v.Channel != a.r.Channel {
		return invalid("voucher", "the voucher is for another channel than the request")
	}
	if err := a.w.cfg.Cashier.Accept(context.WithoutCancel(a.live), v); err != nil {
		return &core.Error{Code: core.CodeUnpaid, Message: "the voucher was not accepted", Err: err, Next: "open or top up the channel and ask again"}
	}
	return nil
}

// stream delivers tokens until the sequence ends or delivery must.
func (a *answer) stream() (core.FinishReason, error) {
	var last time.Time
	for {
		p, finish, err := a.next(last.Add(pause))
		if err != nil {
			return "", err
		}
		if len(p.tokens) > 0 {
			if err := a.send(p); err != nil {
				return "", err
			}
			last = time.Now()
		}
		if finish != "" {
			return finish, nil
		}
	}
}

// next waits for the tokens of the next chunk, until due if they are few. A
// finish comes with the last tokens or alone.
func (a *answer) next(due time.Time) (piece, core.FinishReason, error) {
	for {
		if a.live.Err() != nil {
			return piece{}, "", context.Cause(a.live)
		}
		p, last, finish, err := a.w.sched.peek(a.job, len(a.sent), chunkMost)
		wait := time.Until(due)
		switch {
		case last && len(p.tokens) == 0 && err != nil:
			return piece{}, "", err
		case last && err == nil:
			return p, finish, nil
		case len(p.tokens) >= chunkReady, len(p.tokens) > 0 && (wait <= 0 || last):
			return p, "", nil
		}
		var timer <-chan time.Time
		if len(p.tokens) > 0 {
			timer = time.After(wait)
		}
		select {
		case <-a.job.signal:
		case <-timer:
		case <-a.live.Done():
		}
	}
}

// send delivers one signed chunk, books it, and waits while the consumer owes
// more than its credit.
func (a *answer) send(p piece) error {
	cfg, tokens := &a.w.cfg, p.tokens
	chain := core.TokenChain(a.chain, tokens)
	g := core.Progress{
		ID: a.r.ID, Provider: a.r.Provider, Tokens: chain,
		Count: uint32(len(a.r.Input) - int(a.r.Prompt) + len(a.sent) + len(tokens)),
	}
	var err error
	if g.Signature, err = cfg.Signer.Sign(g.Digest(a.r.ChainID)); err != nil {
		return &core.Error{Code: core.CodeProvider, Message: "the provider could not sign", Err: err}
	}
	due := a.r.PriceOut.Mul(uint64(len(a.sent) + len(tokens)))
	if err := a.s.Send(a.live, core.Chunk{Tokens: tokens, Logprobs: p.probs, Progress: g, Due: due}); err != nil {
		return err
	}
	a.sent, a.probs, a.chain = append(a.sent, tokens...), append(a.probs, p.probs...), chain
	a.tab.Charge(due)
	ctx, cancel := context.WithTimeoutCause(a.live, cfg.PayTimeout, errUnpaid)
	defer cancel()
	credit := a.r.PriceOut.Mul(uint64(cfg.CreditTok)).Add(a.r.PriceIn.Mul(uint64(a.r.Prompt)))
	if err := a.tab.Settle(ctx, credit); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	a.w.sched.take(a.job, len(a.sent))
	return nil
}

var errUnpaid = &core.Error{
	Code: core.CodeUnpaid, Message: "no voucher came for the tokens delivered so far",
	Next: "sign vouchers while the answer streams",
}
