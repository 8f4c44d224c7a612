package p2p

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/koinon-network/koinon/core"
)

// VerifyVRF returns the output that proof proves for message under an ed25519
// public key, or an error.
type VerifyVRF func(key, message, proof []byte) (output []byte, err error)

// Client is the consumer's side of a host; it implements [core.Dialer].
type Client struct {
	h      *Host
	verify VerifyVRF
}

var _ core.Dialer = (*Client)(nil)

// Client returns a dialer that checks VRF proofs with verify.
func (h *Host) Client(verify VerifyVRF) *Client { return &Client{h, verify} }

// Infer opens an exchange and returns once the provider has accepted the
// request, its proof was checked and the nonce was revealed. ctx bounds the
// opening only. The first event is *core.Accepted.
//
// Errors are *core.Error: the provider's own refusal, or CodeProvider when it
// can't be reached, does not answer, or breaks its word.
func (c *Client) Infer(ctx context.Context, p core.Provider, r core.SignedRequest, nonce core.Hash) (core.Exchange, error) {
	if r.Provider != p.Address {
		return nil, core.Errorf(core.CodeInvalid, "the request names provider %v, not %v", r.Provider, p.Address)
	}
	if sha256.Sum256(nonce[:]) != r.NonceCommit || int64(r.Prompt) > int64(len(r.Input)) {
		return nil, core.Errorf(core.CodeInvalid, "the nonce does not open the request's commitment, or the prompt is longer than the input")
	}
	if !c.h.begin() {
		return nil, core.Errorf(core.CodeUnavailable, "the node is shutting down")
	}
	x := &exchange{h: c.h, promise: newPromise(p, r), events: make(chan core.Event, 4), quit: make(chan struct{})}
	if err := c.open(ctx, x, nonce); err != nil {
		if x.w != nil {
			x.w.abort(resetGone)
		}
		c.h.busy.Done()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	go x.pump()
	return x, nil
}

// open takes x through request, acceptance and nonce.
func (c *Client) open(ctx context.Context, x *exchange, nonce core.Hash) (err error) {
	p, r, cfg := x.promise.p, &x.promise.r, c.h.cfg
	if x.w, err = c.h.dial(ctx, p, ProtocolInfer); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { x.w.s.ResetWithError(resetGone) })()
	if err := x.w.write(frameRequest, r, cfg.Slow); err != nil {
		return broken(p, "%s", describe(err, cfg.Slow))
	}
	x.w.startHeart(cfg.Heartbeat, cfg.Slow)
	deadline := time.Now().Add(cfg.Admission)
	f, err := x.w.read(cfg.Admission, func() time.Time { return deadline }, frameAccepted, frameError)
	if err != nil {
		return broken(p, "did not accept the request: it %s", describe(err, cfg.Admission))
	}
	if f.typ == frameError {
		return x.refusal(f)
	}
	var a core.Accepted
	if err := f.decode(&a); err != nil {
		return broken(p, "%s", describe(err, 0))
	}
	var output []byte
	if r.UserSeed == nil {
		key, err := PeerKey(p.PeerID)
		if err != nil {
			return broken(p, "has no ed25519 identity: %v", err)
		}
		if output, err = c.verify(key, r.VRFInput(), a.Proof); err != nil {
			x.w.abort(resetViolation)
			return broken(p, "sent an invalid VRF proof: %v", err)
		}
	} else {
		a.Proof = nil
	}
	x.promise.seed = r.DeriveSeed(nonce, output)
	x.progress(cfg.Stall)
	if err := x.w.write(frameNonce, nonceBody{nonce}, cfg.Slow); err != nil {
		return broken(p, "%s", describe(err, cfg.Slow))
	}
	x.events <- &a
	return nil
}

type nonceBody struct {
	Nonce core.Hash `json:"nonce"`
}

// exchange implements core.Exchange.
type exchange struct {
	h       *Host
	w       *wire
	promise *promise
	stall   atomic.Int64 // Unix nanoseconds by which progress is due

	events chan core.Event
	quit   chan struct{} // closed by Close
	once   sync.Once
	err    error // why events was closed
	done   atomic.Bool
}

func (x *exchange) progress(within time.Duration) {
	x.stall.Store(time.Now().Add(within).UnixNano())
}

// pump reads frames, checks them and queues the events, until the end.
func (x *exchange) pump() {
	defer x.h.busy.Done()
	defer close(x.events)
	defer x.h.protect(x.w.s.Conn().RemotePeer(), x.w.s.ID())()
	for {
		ev, err := x.next()
		if err != nil {
			x.err = err
			return
		}
		if d, ok := ev.(*core.Done); ok {
			x.done.Store(true)
			x.err = io.EOF
			if d.Receipt.Request.IsZero() { // cancelled before there was anything
				return
			}
		}
		select {
		case x.events <- ev:
		case <-x.quit:
			x.err = errors.New("the exchange was closed")
			return
		case <-x.h.ctx.Done():
			x.err = x.charged(core.Errorf(core.CodeUnavailable, "the node is shutting down"))
			return
		}
		if x.err != nil {
			return
		}
	}
}

// next returns the next event that keeps the provider's word, or the error
// that ends the exchange.
func (x *exchange) next() (core.Event, error) {
	stall := func() time.Time { return time.Unix(0, x.stall.Load()) }
	f, err := x.w.read(x.h.cfg.Silence, stall, frameChunk, frameDone, frameError)
	if err != nil {
		x.w.abort(resetGone)
		return nil, x.charged(broken(x.promise.p, "%s", describe(err, x.h.cfg.Silence)))
	}
	var ev core.Event
	switch f.typ {
	case frameError:
		x.w.abort(resetGone)
		return nil, x.charged(x.refusal(f))
	case frameChunk:
		c := new(core.Chunk)
		if err = f.decode(c); err == nil {
			err = x.promise.chunk(c)
		}
		ev = c
		if !x.promise.cancelled.Load() {
			x.progress(x.h.cfg.Stall)
		}
	case frameDone:
		d := new(core.Done)
		if err = f.decode(d); err == nil {
			err = x.promise.done(d)
		}
		ev = d
	}
	if err == nil {
		return ev, nil
	}
	x.w.abort(resetViolation)
	if errors.Is(err, errFrame) {
		err = broken(x.promise.p, "%s", describe(err, 0))
	}
	return nil, x.charged(err)
}

// charged notes in the error what the delivered output costs.
func (x *exchange) charged(err error) error {
	var e *core.Error
	if errors.As(err, &e) {
		e.Charge = x.promise.due()
	}
	return err
}

// refusal turns the provider's error into ours. Before acceptance its code
// stands; afterwards anything but an unpaid bill is the provider's failure.
func (x *exchange) refusal(f frame) error {
	var e core.Error
	if err := f.decode(&e); err != nil {
		return broken(x.promise.p, "%s", describe(err, 0))
	}
	e.Message, e.Next, e.Param = truncate(e.Message, 500), truncate(e.Next, 300), truncate(e.Param, 120)
	e.Charge = core.Amount{}
	e.RetryAfter = min(max(e.RetryAfter, 0), 10*time.Minute)
	accepted := x.stall.Load() != 0
	switch e.Code {
	case core.CodeUnpaid:
	case core.CodeInvalid, core.CodeTooLarge, core.CodeContextLength, core.CodeUnauthorized, core.CodeUnknownModel,
		core.CodeBusy, core.CodeUnavailable:
		if accepted {
			e.Code = core.CodeProvider
		}
	default:
		e.Code = core.CodeProvider
	}
	if e.Code == core.CodeProvider {
		e.Message = fmt.Sprintf("%s gave up: %s", name(x.promise.p), e.Message)
	}
	return &e
}

// Recv implements [core.Exchange]. An answer that was cancelled before its first
// token costs nothing and has no receipt: it ends with io.EOF and without Done.
func (x *exchange) Recv(ctx context.Context) (core.Event, error) {
	select {
	case ev, ok := <-x.events:
		if !ok {
			return nil, x.err
		}
		return ev, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Pay implements [core.Exchange].
func (x *exchange) Pay(v core.Voucher) error { return x.w.write(frameVoucher, v, x.h.cfg.Slow) }

// Cancel implements [core.Exchange]. The provider has as long as for an
// admission to answer with Done.
func (x *exchange) Cancel() error {
	if x.promise.cancelled.Swap(true) {
		return nil
	}
	x.progress(x.h.cfg.Admission)
	return x.w.write(frameCancel, nil, x.h.cfg.Slow)
}

// Close implements [core.Exchange]. After Done it lets the last voucher
// arrive; before, the provider sees that the consumer is gone.
func (x *exchange) Close() error {
	x.once.Do(func() {
		close(x.quit)
		if !x.done.Load() {
			x.w.abort(network.StreamNoError)
			return
		}
		x.w.finish()
		x.w.s.CloseRead()
		x.w.s.Close()
	})
	return nil
}
