// Package commit hashes an engine's intermediate values so that a dispute can
// open them a tile at a time (spec/verification.md).
//
// [Vector] commits to a vector by the hashes of its tiles, [Tiles] and
// [Boundary] to what a receipt's boundary leaves are made of.
//
// The guarantee: a commitment binds length and bits; two vectors that differ
// in the sign of a zero have different ones.
package commit

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/koinon-network/koinon/core"
)

// TileLen is how many consecutive numbers share a hash.
const TileLen = 256

// Count is the number of tiles of a vector of n numbers.
func Count(n int) int { return (n + TileLen - 1) / TileLen }

// Bytes are the little-endian bytes of x. The result may share x's memory.
func Bytes(x []float32) []byte {
	if hostIsLittleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
	}
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

var hostIsLittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Tile hashes one tile.
func Tile(x []float32) core.Hash { return sha256.Sum256(Bytes(x)) }

// Tiles appends the hashes of x's tiles to dst.
func Tiles(dst []core.Hash, x []float32) []core.Hash {
	for len(x) > TileLen {
		dst = append(dst, Tile(x[:TileLen]))
		x = x[TileLen:]
	}
	if len(x) > 0 {
		dst = append(dst, Tile(x))
	}
	return dst
}

const (
	vectorTag   = "koinon/vector/1"
	boundaryTag = "koinon/boundary/1"
)

// tagged starts a hash's input with its tag, as core's digests do.
func tagged(b []byte, tag string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(tag)))
	return append(b, tag...)
}

// Opened commits to a vector of n numbers whose tiles have these hashes.
func Opened(n int, tiles []core.Hash) core.Hash {
	var room [1024]byte
	b := binary.BigEndian.AppendUint32(tagged(room[:0], vectorTag), uint32(n))
	for i := range tiles {
		b = append(b, tiles[i][:]...)
	}
	return sha256.Sum256(b)
}

// Vector commits to x.
func Vector(x []float32) core.Hash {
	var room [24]core.Hash
	return Opened(len(x), Tiles(room[:0], x))
}

// Encoded is [Vector] of the numbers whose little-endian bytes b holds; a row of
// an int8 cache counts as 32-bit words like any other.
func Encoded(b []byte) core.Hash {
	var room [24]core.Hash
	n, tiles := len(b)/4, room[:0]
	for len(b) > 4*TileLen {
		tiles = append(tiles, sha256.Sum256(b[:4*TileLen]))
		b = b[4*TileLen:]
	}
	if len(b) > 0 {
		tiles = append(tiles, sha256.Sum256(b))
	}
	return Opened(n, tiles)
}

// Boundary is the digest of a layer boundary: residual stream, key row and
// value row. After the last layer k and v are zero.
func Boundary(x, k, v core.Hash) core.Hash {
	var room [160]byte
	b := append(tagged(room[:0], boundaryTag), x[:]...)
	b = append(b, k[:]...)
	return sha256.Sum256(append(b, v[:]...))
}

// Leaf is the salted leaf of a boundary digest.
func Leaf(salt, d core.Hash) core.Hash {
	var b [64]byte
	copy(b[:], salt[:])
	copy(b[32:], d[:])
	return sha256.Sum256(b[:])
}
