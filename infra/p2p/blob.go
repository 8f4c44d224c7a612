package p2p

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/koinon-network/koinon/core"
)

// MaxBlob bounds a blob in bytes, whatever limit a caller names.
const MaxBlob = 64 << 20

// blobTime is how long one blob or one evidence may take on its way.
const blobTime = 30 * time.Second

type blobQuery struct {
	Hash core.Hash `json:"hash"`
	Max  int64     `json:"max"` // bytes
}

type header struct {
	Size int64 `json:"size"` // bytes that follow
}

// ServeBlobs hands out the bytes that find returns for their SHA-256. An
// unknown hash is an error.
func (h *Host) ServeBlobs(find func(ctx context.Context, hash core.Hash) ([]byte, error)) {
	h.answer(ProtocolBlob, func(ctx context.Context, f frame) ([]byte, int64, error) {
		var q blobQuery
		if err := f.decode(&q); err != nil {
			return nil, 0, core.Errorf(core.CodeInvalid, "%v", err)
		}
		b, err := find(ctx, q.Hash)
		if err != nil {
			return nil, 0, &core.Error{Code: core.CodeInvalid, Message: "this node has no blob " + q.Hash.Short(), Err: err}
		}
		return b, min(q.Max, MaxBlob), nil
	})
}

// FetchBlob returns the bytes whose SHA-256 is hash from p. It fails when they
// are longer than limit or hash to anything else.
func (h *Host) FetchBlob(ctx context.Context, p core.Provider, hash core.Hash, limit int64) ([]byte, error) {
	limit = min(limit, MaxBlob)
	b, err := h.ask(ctx, p, ProtocolBlob, blobQuery{hash, limit}, limit)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(b) != hash {
		return nil, broken(p, "sent bytes that do not hash to %s", hash.Short())
	}
	return b, nil
}

// answer serves a protocol of one query and one answer of raw bytes, which
// must not exceed the limit that reply returns with it.
func (h *Host) answer(id protocolID, reply func(ctx context.Context, f frame) ([]byte, int64, error)) {
	h.handle(id, func(s network.Stream) {
		w := newWire(s, s)
		defer w.abort(network.StreamNoError)
		peer := s.Conn().RemotePeer()
		if !h.doors.enter(peer) {
			h.refuse(w, &core.Error{Code: core.CodeBusy, Message: "too many requests from this node", RetryAfter: time.Second})
			return
		}
		defer h.doors.leave(peer)
		ctx, cancel := context.WithTimeout(h.ctx, blobTime)
		defer cancel()
		deadline := time.Now().Add(requestTime)
		f, err := w.read(requestTime, func() time.Time { return deadline }, frameQuery)
		if err != nil {
			return
		}
		b, limit, err := reply(ctx, f)
		if err == nil && int64(len(b)) > limit {
			err = core.Errorf(core.CodeTooLarge, "the answer has %d bytes, more than the %d asked for", len(b), limit)
		}
		if err != nil {
			h.refuse(w, err)
			return
		}
		if w.write(frameHeader, header{int64(len(b))}, h.cfg.Slow) != nil {
			return
		}
		s.SetWriteDeadline(time.Now().Add(blobTime))
		if _, err := s.Write(b); err == nil {
			w.finish()
			s.Close()
		}
	})
}

// ask sends one query to p and returns its answer of at most limit bytes.
func (h *Host) ask(ctx context.Context, p core.Provider, id protocolID, query any, limit int64) ([]byte, error) {
	if !h.begin() {
		return nil, core.Errorf(core.CodeUnavailable, "the node is shutting down")
	}
	defer h.busy.Done()
	ctx, cancel := context.WithTimeout(ctx, blobTime)
	defer cancel()
	w, err := h.dial(ctx, p, id)
	if err != nil {
		return nil, err
	}
	defer w.abort(network.StreamNoError)
	defer context.AfterFunc(ctx, func() { w.s.ResetWithError(resetGone) })()
	fail := func(err error) error {
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ctx.Err()
		}
		return broken(p, "%s", describe(err, h.cfg.Admission))
	}
	if err := w.write(frameQuery, query, h.cfg.Slow); err != nil {
		return nil, fail(err)
	}
	deadline := time.Now().Add(h.cfg.Admission)
	f, err := w.read(h.cfg.Admission, func() time.Time { return deadline }, frameHeader, frameError)
	if err != nil {
		return nil, fail(err)
	}
	if f.typ == frameError {
		return nil, (&exchange{h: h, promise: &promise{p: p}}).refusal(f)
	}
	var size header
	if err := f.decode(&size); err != nil {
		return nil, fail(err)
	}
	if size.Size < 0 || size.Size > limit {
		return nil, broken(p, "offers %d bytes where at most %d were asked for", size.Size, limit)
	}
	w.s.SetReadDeadline(time.Now().Add(blobTime))
	b, err := io.ReadAll(io.LimitReader(w.rw, size.Size))
	if err == nil && int64(len(b)) != size.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fail(err)
	}
	w.s.Close()
	return b, nil
}
