package model

import (
	"math/rand/v2"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// Occupy makes the first n positions of a sequence processed, with the same page
// of random keys and values again and again: a long context without the time to
// compute it. It returns false where memory is short.
func Occupy(s core.Sequence, n int) bool {
	q := s.(*sequence)
	if !q.reserve(n) {
		return false
	}
	shape := q.model.shape
	page, r := shape.NewPage(), rand.New(rand.NewPCG(1, 2))
	row := [2][]float32{make([]float32, shape.Heads*shape.Dim), make([]float32, shape.Heads*shape.Dim)}
	for slot := range kernel.PageTokens {
		for _, x := range row {
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
		}
		if !shape.Int8 {
			shape.Store(page, slot, row[0], row[1])
			continue
		}
		k, v := make([]byte, shape.RowBytes()), make([]byte, shape.RowBytes())
		shape.Quantize(k, row[0])
		shape.Quantize(v, row[1])
		shape.StoreQuantized(page, slot, k, v)
	}
	for _, pages := range q.pages {
		for _, p := range pages {
			p.Copy(page)
		}
	}
	q.processed, q.published = n, len(q.lease.blocks)
	return true
}

// Rewind leaves the first n positions of a sequence processed, and forgets what
// was drawn from later ones.
func Rewind(s core.Sequence, n int) {
	q := s.(*sequence)
	q.processed = n
	q.tokens = q.tokens[:max(len(q.in.Input), n+1)]
}
