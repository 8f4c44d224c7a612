package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/koinon-network/koinon/core"
)

// Handler answers requests. ctx ends when the consumer is gone or the host
// closes. An error is sent to the consumer; anything but a *core.Error is
// replaced by a plain CodeInternal.
type Handler interface {
	Infer(ctx context.Context, peer string, r core.SignedRequest, s ServerStream) error
}

// ServerStream is the provider's side of one exchange. It is an alias, so that
// a worker can name the same type without importing this package.
type ServerStream = interface {
	// Accept commits the provider and returns the nonce that the consumer
	// reveals in turn.
	Accept(ctx context.Context, a core.Accepted) (core.Hash, error)
	// Send delivers a chunk. It blocks while the consumer is slow and fails
	// when it is too slow or gone.
	Send(ctx context.Context, c core.Chunk) error
	// Finish delivers the end; vouchers are still received afterwards.
	Finish(ctx context.Context, d core.Done) error
	// Vouchers carries the consumer's payments; of several that wait, only the
	// largest is kept. It is closed when the consumer is gone, or has paid and
	// left.
	Vouchers() <-chan core.Voucher
	// Cancelled is closed when the consumer wants no more.
	Cancelled() <-chan struct{}
}

// Serve answers infer streams with handler, which Close waits for.
func (h *Host) Serve(handler Handler) {
	h.handle(ProtocolInfer, func(s network.Stream) {
		w := newWire(s, s)
		defer w.abort(network.StreamNoError)
		peer := s.Conn().RemotePeer()
		if !h.doors.enter(peer) {
			h.refuse(w, &core.Error{Code: core.CodeBusy, Message: "too many requests from this node", RetryAfter: time.Second})
			return
		}
		defer h.doors.leave(peer)
		defer h.protect(peer, s.ID())()
		h.serve(w, peer.String(), handler)
	})
}

// requestTime is how long a consumer may take to send its request.
const requestTime = 15 * time.Second

func (h *Host) serve(w *wire, peer string, handler Handler) {
	deadline := time.Now().Add(requestTime)
	f, err := w.read(requestTime, func() time.Time { return deadline }, frameRequest)
	switch {
	case errors.Is(err, errFrame):
		h.refuse(w, core.Errorf(core.CodeInvalid, "%v", err))
		return
	case errors.Is(err, errMemory):
		h.refuse(w, &core.Error{Code: core.CodeBusy, Message: "this node is out of memory for requests", RetryAfter: time.Second})
		return
	case err != nil:
		return
	}
	var r core.SignedRequest
	if err := f.decode(&r); err != nil {
		h.refuse(w, core.Errorf(core.CodeInvalid, "%v", err))
		return
	}
	w.startHeart(h.cfg.Heartbeat, h.cfg.Slow)
	ctx, cancel := context.WithCancelCause(h.ctx)
	defer cancel(nil)
	st := &serverStream{w: w, cfg: h.cfg, nonce: make(chan core.Hash, 1), vouchers: make(chan core.Voucher, 1), cancelled: make(chan struct{}), lost: cancel, gone: make(chan struct{})}
	go st.pump()
	if err := shielded(ctx, handler, peer, r, st); err != nil {
		h.refuse(w, err)
	} else {
		w.finish()
	}
	select {
	case <-st.gone:
	case <-time.After(h.cfg.Heartbeat): // the consumer need not hurry to hang up
	case <-h.ctx.Done():
	}
	w.s.Close()
	<-st.gone
}

// shielded runs the handler; a request that makes it panic costs that request
// alone.
func shielded(ctx context.Context, handler Handler, peer string, r core.SignedRequest, st ServerStream) (err error) {
	defer func() {
		if v := recover(); v != nil {
			slog.Error("a request made its handler panic", "peer", peer, "request", r.ID.String(), "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return handler.Infer(ctx, peer, r, st)
}

// refuse sends an error and ends writing.
func (h *Host) refuse(w *wire, err error) {
	var e *core.Error
	if !errors.As(err, &e) {
		e = core.Errorf(core.CodeInternal, "the provider failed at this request")
	}
	c := *e
	if c.Err != nil {
		c.Message += ": " + c.Err.Error()
	}
	c.Message = truncate(c.Message, 500)
	w.write(frameError, &c, h.cfg.Slow)
	w.finish()
	w.s.Close()
}

// serverStream implements ServerStream.
type serverStream struct {
	w   *wire
	cfg Config

	nonce     chan core.Hash
	vouchers  chan core.Voucher
	cancelled chan struct{}
	lost      context.CancelCauseFunc
	gone      chan struct{} // closed when nothing more will be read
}

// Consumers pay about once a second; a burst of frames beyond these numbers is
// abuse.
const (
	frameRate  = 200.0 // frames per second
	frameBurst = 400.0
)

// pump reads what the consumer sends until it leaves or breaks the protocol.
func (st *serverStream) pump() {
	defer close(st.gone)
	defer close(st.vouchers)
	err := st.receive()
	st.lost(errors.New("the consumer " + describe(err, st.cfg.Silence)))
	if errors.Is(err, errFrame) {
		st.w.abort(resetViolation)
	}
}

func (st *serverStream) receive() error {
	budget, last := frameBurst, time.Now()
	revealed, cancelled := false, false
	for {
		f, err := st.w.read(st.cfg.Silence, nil, frameNonce, frameVoucher, frameCancel)
		if err != nil {
			return err
		}
		now := time.Now()
		budget = min(frameBurst, budget+frameRate*now.Sub(last).Seconds()) - 1
		if last = now; budget < 0 {
			return fmt.Errorf("%w: too many frames", errFrame)
		}
		switch f.typ {
		case frameNonce:
			var b nonceBody
			if err := f.decode(&b); err != nil {
				return err
			}
			if revealed {
				return fmt.Errorf("%w: a second nonce", errFrame)
			}
			revealed = true
			st.nonce <- b.Nonce
		case frameVoucher:
			var v core.Voucher
			if err := f.decode(&v); err != nil {
				return err
			}
			st.keep(v)
		case frameCancel:
			if !cancelled {
				cancelled = true
				close(st.cancelled)
			}
		}
	}
}

// keep replaces a waiting voucher unless that is worth more.
func (st *serverStream) keep(v core.Voucher) {
	select {
	case old := <-st.vouchers:
		if old.Channel == v.Channel && old.Amount.Cmp(v.Amount) > 0 {
			v = old
		}
	default:
	}
	st.vouchers <- v
}

func (st *serverStream) Accept(ctx context.Context, a core.Accepted) (core.Hash, error) {
	if err := st.w.write(frameAccepted, a, st.cfg.Slow); err != nil {
		return core.Hash{}, err
	}
	t := time.NewTimer(st.cfg.Admission)
	defer t.Stop()
	select {
	case n := <-st.nonce:
		return n, nil
	case <-ctx.Done():
		return core.Hash{}, context.Cause(ctx)
	case <-t.C:
		return core.Hash{}, core.Errorf(core.CodeInvalid, "the consumer did not reveal its nonce")
	}
}

func (st *serverStream) Send(ctx context.Context, c core.Chunk) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return st.w.write(frameChunk, c, st.cfg.Slow)
}

func (st *serverStream) Finish(ctx context.Context, d core.Done) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return st.w.write(frameDone, d, st.cfg.Slow)
}

func (st *serverStream) Vouchers() <-chan core.Voucher { return st.vouchers }

func (st *serverStream) Cancelled() <-chan struct{} { return st.cancelled }
