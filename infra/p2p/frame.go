package p2p

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// frameType is the tag of a frame; its limit is known before its body is read.
type frameType byte

const (
	frameRequest  frameType = 1  // consumer: core.SignedRequest
	frameAccepted frameType = 2  // provider: core.Accepted
	frameError    frameType = 3  // provider: core.Error
	frameNonce    frameType = 4  // consumer: {"nonce": hash}
	frameChunk    frameType = 5  // provider: core.Chunk
	frameVoucher  frameType = 6  // consumer: core.Voucher
	frameCancel   frameType = 7  // consumer: empty
	frameDone     frameType = 8  // provider: core.Done
	frameAlive    frameType = 9  // both: empty
	frameQuery    frameType = 16 // consumer: blob or evidence query
	frameHeader   frameType = 17 // provider: {"size": n}, then n raw bytes
)

// frameLimits bounds the body of each frame in bytes. A type that is not
// listed is refused.
var frameLimits = map[frameType]int{
	frameRequest:  4 << 20,
	frameAccepted: 4 << 10,
	frameError:    16 << 10,
	frameNonce:    256,
	frameChunk:    128 << 10,
	frameVoucher:  1 << 10,
	frameCancel:   0,
	frameDone:     4 << 20,
	frameAlive:    0,
	frameQuery:    1 << 10,
	frameHeader:   256,
}

var frameNames = map[frameType]string{
	frameRequest: "request", frameAccepted: "accepted", frameError: "error", frameNonce: "nonce",
	frameChunk: "chunk", frameVoucher: "voucher", frameCancel: "cancel", frameDone: "done",
	frameAlive: "alive", frameQuery: "query", frameHeader: "header",
}

func (t frameType) String() string {
	if s, ok := frameNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type %d", byte(t))
}

// errFrame marks bytes that are no frame of this protocol.
var errFrame = errors.New("malformed frame")

// frame is one message: a tag and its JSON body.
type frame struct {
	typ  frameType
	body []byte
}

const frameHead = 5 // big-endian length of tag and body, then the tag

// largeFrame is the size in bytes above which memory is reserved for a frame.
const largeFrame = 64 << 10

// readFrame reads one frame whose tag is among want. It never allocates more
// than the bytes that really arrived, doubled, and asks reserve before it reads
// a large body. At a clean end between frames it returns io.EOF.
func readFrame(r io.Reader, reserve func(bytes int) error, want ...frameType) (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:4])
	typ := frameType(head[4])
	limit, known := frameLimits[typ]
	switch {
	case n == 0:
		return frame{}, fmt.Errorf("%w: empty", errFrame)
	case !known || !oneOf(typ, want):
		return frame{}, fmt.Errorf("%w: unexpected %v", errFrame, typ)
	case int64(n)-1 > int64(limit):
		return frame{}, fmt.Errorf("%w: %v of %d bytes, at most %d", errFrame, typ, n-1, limit)
	}
	if n > largeFrame && reserve != nil {
		if err := reserve(int(n)); err != nil {
			return frame{}, err
		}
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(n)-1); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	return frame{typ, b.Bytes()}, nil
}

func oneOf(t frameType, ts []frameType) bool {
	for _, u := range ts {
		if t == u {
			return true
		}
	}
	return false
}

// decode unmarshals the body into v.
func (f frame) decode(v any) error {
	if err := json.Unmarshal(f.body, v); err != nil {
		return fmt.Errorf("%w: %v: %w", errFrame, f.typ, err)
	}
	return nil
}

// encodeFrame returns the wire form; a nil body is empty.
func encodeFrame(typ frameType, body any) ([]byte, error) {
	var js []byte
	if body != nil {
		var err error
		if js, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	if len(js) > frameLimits[typ] {
		return nil, fmt.Errorf("a %v frame of %d bytes is over the limit of %d", typ, len(js), frameLimits[typ])
	}
	b := make([]byte, frameHead, frameHead+len(js))
	binary.BigEndian.PutUint32(b, uint32(1+len(js)))
	b[4] = byte(typ)
	return append(b, js...), nil
}
