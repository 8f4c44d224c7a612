package model

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// digest commits to a layer boundary; k and v are nil after the last layer.
func digest(x, k, v []float32) core.Hash {
	if k == nil {
		return commit.Boundary(commit.Vector(x), core.Hash{}, core.Hash{})
	}
	return commit.Boundary(commit.Vector(x), commit.Vector(k), commit.Vector(v))
}

// digest8 is digest for rows of an int8 cache.
func digest8(x []float32, k, v []byte) core.Hash {
	return commit.Boundary(commit.Vector(x), commit.Encoded(k), commit.Encoded(v))
}

// leaves returns the salted leaves of positions 0 to n-1, [position][layer].
func (s *sequence) leaves(n int) []core.Hash {
	perToken := s.model.config.layers + 1
	out := make([]core.Hash, 0, n*perToken)
	for t := range n {
		digests := s.lease.blocks[t/kernel.PageTokens].digests[t%kernel.PageTokens*perToken:][:perToken]
		for l, d := range digests {
			salt := core.BoundarySalt(s.in.Salt, uint32(t), uint32(l))
			out = append(out, commit.Leaf(salt, d))
		}
	}
	return out
}
