// Package merkle is the one Merkle tree of the protocol: SHA-256, leaf and node
// domains separated, the leaf's index and the tree's size bound in, and no odd
// leaf duplicated.
//
// Start with [Root] over leaf data hashes; [Prove] and [Verify] handle
// membership. A tree of n leaves splits at the largest power of two below n, as
// in RFC 6962; its root is then hashed together with n.
//
// The guarantee: under one root, a proof verifies for one index, one size and
// one leaf hash only; checking a stranger's proof takes a few dozen hashes at
// most.
package merkle

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
)

// Hash is a SHA-256 digest.
type Hash = [32]byte

// MaxLeaves bounds the size of a tree that Verify accepts.
const MaxLeaves = 1 << 40

func leaf(i uint64, h Hash) Hash {
	var b [41]byte
	binary.BigEndian.PutUint64(b[1:], i)
	copy(b[9:], h[:])
	return sha256.Sum256(b[:])
}

func node(l, r Hash) Hash {
	var b [65]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[33:], r[:])
	return sha256.Sum256(b[:])
}

func crown(n uint64, top Hash) Hash {
	var b [41]byte
	b[0] = 2
	binary.BigEndian.PutUint64(b[1:], n)
	copy(b[9:], top[:])
	return sha256.Sum256(b[:])
}

// split is the largest power of two below n, for n >= 2.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// Root returns the root over the leaves' hashes. The root of no leaves is the
// crown of zero.
func Root[H ~[32]byte](leaves []H) H {
	n := uint64(len(leaves))
	if n == 0 {
		return H(crown(0, Hash{}))
	}
	return H(crown(n, subtree(leaves, 0)))
}

func subtree[H ~[32]byte](leaves []H, base uint64) Hash {
	n := uint64(len(leaves))
	if n == 1 {
		return leaf(base, Hash(leaves[0]))
	}
	k := split(n)
	return node(subtree(leaves[:k], base), subtree(leaves[k:], base+k))
}

// Proof shows that a leaf stands at Index in a tree of Size leaves.
type Proof[H ~[32]byte] struct {
	Index uint64 `json:"index"`
	Size  uint64 `json:"size"`
	Path  []H    `json:"path"` // siblings from the leaf upwards
}

// Prove returns the proof for leaf i.
func Prove[H ~[32]byte](leaves []H, i int) (Proof[H], error) {
	if i < 0 || i >= len(leaves) {
		return Proof[H]{}, errors.New("merkle: no such leaf")
	}
	p := Proof[H]{Index: uint64(i), Size: uint64(len(leaves))}
	var walk func(ls []H, base, at uint64)
	walk = func(ls []H, base, at uint64) {
		n := uint64(len(ls))
		if n == 1 {
			return
		}
		k := split(n)
		if at < k {
			walk(ls[:k], base, at)
			p.Path = append(p.Path, H(subtree(ls[k:], base+k)))
		} else {
			walk(ls[k:], base+k, at-k)
			p.Path = append(p.Path, H(subtree(ls[:k], base)))
		}
	}
	walk(leaves, 0, p.Index)
	return p, nil
}

// Verify reports whether the proof places leaf h under root.
func Verify[H ~[32]byte](root, h H, p Proof[H]) bool {
	if p.Index >= p.Size || p.Size > MaxLeaves || len(p.Path) > 64 {
		return false
	}
	// The way down fixes on which side each sibling stands.
	var right []bool // from the root downwards: is our leaf in the right half?
	for at, n := p.Index, p.Size; n > 1; {
		k := split(n)
		right = append(right, at >= k)
		if at >= k {
			at, n = at-k, n-k
		} else {
			n = k
		}
	}
	if len(right) != len(p.Path) {
		return false
	}
	x := leaf(p.Index, Hash(h))
	for i, s := range p.Path {
		if right[len(right)-1-i] {
			x = node(Hash(s), x)
		} else {
			x = node(x, Hash(s))
		}
	}
	return H(crown(p.Size, x)) == root
}
