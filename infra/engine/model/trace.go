package model

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"
	"sync"
	"unsafe"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

var hashers = sync.Pool{New: func() any { return sha256.New() }}

// digest sets dst to SHA-256 over the rows as little-endian float32.
func digest(dst *core.Hash, rows ...[]float32) {
	h := hashers.Get().(hash.Hash)
	h.Reset()
	for _, r := range rows {
		h.Write(littleEndian(r))
	}
	h.Sum(dst[:0])
	hashers.Put(h)
}

var hostIsLittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

func littleEndian(x []float32) []byte {
	if hostIsLittleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
	}
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// leaves returns the salted leaves of positions 0 to n-1, [position][layer].
func (s *sequence) leaves(n int) []core.Hash {
	perToken := s.model.config.layers + 1
	out := make([]core.Hash, 0, n*perToken)
	var b [64]byte
	for t := range n {
		digests := s.lease.blocks[t/kernel.PageTokens].digests[t%kernel.PageTokens*perToken:][:perToken]
		for l, d := range digests {
			salt := core.BoundarySalt(s.in.Salt, uint32(t), uint32(l))
			copy(b[:], salt[:])
			copy(b[32:], d[:])
			out = append(out, sha256.Sum256(b[:]))
		}
	}
	return out
}
