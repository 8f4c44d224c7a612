package p2p

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// Codes with which a stream is reset, for the other side's log.
const (
	resetGone      = network.StreamShutdown
	resetViolation = network.StreamProtocolViolation
)

// wire is a stream of frames with deadlines. One goroutine reads; any may
// write.
type wire struct {
	s  network.Stream
	rw io.ReadWriter // s, or the lazily negotiating wrapper around it

	mu   sync.Mutex // guards writing
	last time.Time  // of the last written frame
	beat *time.Timer
	dead bool
}

func newWire(s network.Stream, rw io.ReadWriter) *wire { return &wire{s: s, rw: rw, last: time.Now()} }

// write sends one frame, or fails when the other side takes longer than limit
// to make room for it.
func (w *wire) write(typ frameType, body any, limit time.Duration) error {
	b, err := encodeFrame(typ, body)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return network.ErrReset
	}
	return w.send(b, limit)
}

func (w *wire) send(b []byte, limit time.Duration) error {
	w.s.SetWriteDeadline(time.Now().Add(limit))
	_, err := w.rw.Write(b)
	if err != nil {
		// Half a frame may be out: nothing sensible can follow it.
		w.dead = true
		w.s.ResetWithError(resetGone)
	}
	w.last = time.Now()
	return err
}

// errMemory means that this host has no memory to spare for a frame.
var errMemory = errors.New("no memory for a large frame")

// errStalled means that a peer lives but does not go on.
var errStalled = errors.New("stalled")

// read returns the next frame of the wanted types that is not a heartbeat. It
// times out after silence without any frame, and with
// errStalled when only heartbeats came until the time that stall returns.
func (w *wire) read(silence time.Duration, stall func() time.Time, want ...frameType) (frame, error) {
	want = append(want, frameAlive)
	for {
		w.s.SetReadDeadline(time.Now().Add(silence))
		f, err := readFrame(w.rw, w.reserve, want...)
		if err != nil || f.typ != frameAlive {
			return f, err
		}
		if stall != nil && time.Now().After(stall()) {
			return frame{}, errStalled
		}
	}
}

// reserve books memory for a large frame, which decodes to a few times its
// size, until the stream ends.
func (w *wire) reserve(n int) error {
	if err := w.s.Scope().ReserveMemory(4*n, network.ReservationPriorityHigh); err != nil {
		return errMemory
	}
	return nil
}

// startHeart sends a heartbeat whenever nothing was sent for every; limit is
// how long one may wait for room.
func (w *wire) startHeart(every, limit time.Duration) {
	alive, _ := encodeFrame(frameAlive, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beat = time.AfterFunc(every, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.dead {
			return
		}
		wait := every - time.Since(w.last)
		if wait <= 0 {
			wait = every
			if w.send(alive, limit) != nil {
				return
			}
		}
		w.beat.Reset(wait)
	})
}

// finish ends writing in good order; what was written still arrives.
func (w *wire) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil
	}
	w.stop()
	return w.s.CloseWrite()
}

// abort drops the stream at once; the other side sees a reset.
func (w *wire) abort(code network.StreamErrorCode) {
	// The reset comes first: it frees a writer that holds the lock.
	w.s.ResetWithError(code)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop()
}

func (w *wire) stop() {
	w.dead = true
	if w.beat != nil {
		w.beat.Stop()
	}
}

// timedOut reports whether a deadline passed; the multiplexer has an error of
// its own for it.
func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// describe says in words why reading or writing a peer's stream failed.
func describe(err error, silence time.Duration) string {
	switch {
	case errors.Is(err, errStalled):
		return "made no progress in time"
	case timedOut(err):
		return "sent nothing for " + silence.Round(time.Millisecond).String()
	case errors.Is(err, errFrame):
		return "broke the protocol: " + err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed the stream in the middle"
	default:
		return "lost the connection"
	}
}
