package token

import (
	"math/bits"
	"math/rand/v2"

	"github.com/koinon-network/koinon/core"
)

// pieceTable finds tokens by their text. Texts of up to eight bytes, which are
// most, lie within an open-addressed table, so that a look-up reads one place.
type pieceTable struct {
	slots []pieceSlot
	shift uint
	seed  uint64 // unknown to whoever writes vocabularies
	long  map[string]core.Token
}

type pieceSlot struct {
	text   uint64
	length int32 // 0 in an empty slot
	id     core.Token
}

func newPieceTable(n int) *pieceTable {
	size := bits.Len(uint(n)) + 1
	return &pieceTable{make([]pieceSlot, 1<<size), uint(64 - size), rand.Uint64(), map[string]core.Token{}}
}

// slot returns the place of a text of 1 to 8 bytes.
func (t *pieceTable) slot(s string) (*pieceSlot, uint64) {
	x := eightBytes(s)
	h := (x ^ t.seed) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	for i := h >> t.shift; ; i = (i + 1) & uint64(len(t.slots)-1) {
		if p := &t.slots[i]; p.text == x && int(p.length) == len(s) || p.length == 0 {
			return p, x
		}
	}
}

// add files a token unless its text has one already.
func (t *pieceTable) add(s string, id core.Token) {
	if len(s) > 8 {
		if _, taken := t.long[s]; !taken {
			t.long[s] = id
		}
	} else if s != "" {
		if p, x := t.slot(s); p.length == 0 {
			*p = pieceSlot{x, int32(len(s)), id}
		}
	}
}

// find returns None for a text that is no token's.
func (t *pieceTable) find(s string) core.Token {
	if len(s) > 8 {
		if id, ok := t.long[s]; ok {
			return id
		}
	} else if s != "" {
		if p, _ := t.slot(s); p.length != 0 {
			return p.id
		}
	}
	return None
}

// eightBytes packs a text of 1 to 8 bytes into an integer.
func eightBytes(s string) uint64 {
	n := len(s)
	if n < 4 {
		return uint64(s[0]) | uint64(s[n/2])<<(n/2*8) | uint64(s[n-1])<<((n-1)*8)
	}
	t := s[n-4:]
	first := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
	last := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24
	return first | last<<((n-4)*8)
}
