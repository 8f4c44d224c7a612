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

// digests copies the boundary digests of the first n positions, as far as they
// were ever processed, [position][layer].
func (s *sequence) digests(n int) []core.Hash {
	perToken := s.model.config.Layers + 1
	if len(s.kept) > s.processed*perToken {
		return s.kept[:min(n*perToken, len(s.kept))]
	}
	n = min(n, s.processed)
	out := make([]core.Hash, 0, n*perToken)
	for t := 0; t < n; t += kernel.PageTokens {
		out = append(out, s.lease.blocks[t/kernel.PageTokens].digests[:min(kernel.PageTokens, n-t)*perToken]...)
	}
	return out
}

// leaves salts digests, which begin with position 0.
func (s *sequence) leaves(digests []core.Hash) []core.Hash {
	perToken := s.model.config.Layers + 1
	out := make([]core.Hash, len(digests))
	for i, d := range digests {
		out[i] = commit.Leaf(core.BoundarySalt(s.in.Salt, uint32(i/perToken), uint32(i%perToken)), d)
	}
	return out
}
