package sample

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/koinon-network/koinon/core"
)

// blockTokens is how many consecutive token ids share one ChaCha8 block.
const blockTokens = 16

const (
	// gumbelConst is round(-ln(ln 2) * 2^24).
	gumbelConst = 6149066
	// ln2Q27 is round(ln 2 * 2^27).
	ln2Q27 = 93032640
	// gumbelMax bounds Gumbel over all 2^32 words.
	gumbelMax = 23 << 24
)

// noiseKey is the ChaCha8 key of one output position.
func noiseKey(seed core.Seed, position uint32) (k [8]uint32) {
	var b [52]byte
	copy(b[:], "koinon/noise/1\x00\x00")
	copy(b[16:], seed[:])
	binary.BigEndian.PutUint32(b[48:], position)
	h := sha256.Sum256(b[:])
	for i := range k {
		k[i] = binary.LittleEndian.Uint32(h[4*i:])
	}
	return k
}

// chacha8 writes block number n of the ChaCha8 key stream with a zero nonce
// (RFC 8439 with 8 rounds instead of 20), as 16 words.
func chacha8(out *[blockTokens]uint32, key *[8]uint32, n uint32) {
	const c0, c1, c2, c3 = 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574
	x0, x1, x2, x3 := uint32(c0), uint32(c1), uint32(c2), uint32(c3)
	x4, x5, x6, x7 := key[0], key[1], key[2], key[3]
	x8, x9, x10, x11 := key[4], key[5], key[6], key[7]
	x12, x13, x14, x15 := n, uint32(0), uint32(0), uint32(0)
	for range 4 {
		x0, x4, x8, x12 = quarter(x0, x4, x8, x12)
		x1, x5, x9, x13 = quarter(x1, x5, x9, x13)
		x2, x6, x10, x14 = quarter(x2, x6, x10, x14)
		x3, x7, x11, x15 = quarter(x3, x7, x11, x15)
		x0, x5, x10, x15 = quarter(x0, x5, x10, x15)
		x1, x6, x11, x12 = quarter(x1, x6, x11, x12)
		x2, x7, x8, x13 = quarter(x2, x7, x8, x13)
		x3, x4, x9, x14 = quarter(x3, x4, x9, x14)
	}
	*out = [blockTokens]uint32{
		x0 + c0, x1 + c1, x2 + c2, x3 + c3,
		x4 + key[0], x5 + key[1], x6 + key[2], x7 + key[3],
		x8 + key[4], x9 + key[5], x10 + key[6], x11 + key[7],
		x12 + n, x13, x14, x15,
	}
}

func quarter(a, b, c, d uint32) (uint32, uint32, uint32, uint32) {
	a += b
	d = bits.RotateLeft32(d^a, 16)
	c += d
	b = bits.RotateLeft32(b^c, 12)
	a += b
	d = bits.RotateLeft32(d^a, 8)
	c += d
	b = bits.RotateLeft32(b^c, 7)
	return a, b, c, d
}

// Word is the 32-bit random word of (seed, position, token).
func Word(seed core.Seed, position uint32, t core.Token) uint32 {
	key := noiseKey(seed, position)
	var b [blockTokens]uint32
	chacha8(&b, &key, uint32(t)/blockTokens)
	return b[t%blockTokens]
}

// Gumbel maps a uniform word u to -ln(-ln((2u+1)/2^33)) in units of 2^-24, by
// integer arithmetic alone. It never decreases with u.
func Gumbel(u uint32) int64 {
	e := 33<<56 - log2(2*uint64(u)+1, 56)
	g := int64(log2(e, 30)) - 56<<30
	return gumbelConst - g*ln2Q27>>33
}

// log2 returns the base-2 logarithm of n >= 1 with f fractional bits, by
// squaring the truncated 64-bit mantissa.
func log2(n uint64, f int) uint64 {
	e := bits.Len64(n) - 1
	y, r := n<<(63-e), uint64(e)
	for range f {
		hi, lo := bits.Mul64(y, y)
		r <<= 1
		if hi>>63 == 1 {
			y, r = hi, r|1
		} else {
			y = hi<<1 | lo>>63
		}
	}
	return r
}

// gumbelBound is a cheap upper bound of Gumbel(u): with z = 1 - (2u+1)/2^33,
// -ln(-ln(1-z)) <= -ln z, and z >= 2^-(1 + leading zeros of the complement).
func gumbelBound(u uint32) int64 {
	const ln2Q24 = 11629081 // rounded up, with room for the rounding of Gumbel
	return int64(bits.LeadingZeros32(^u)+1)*ln2Q24 + 16
}
