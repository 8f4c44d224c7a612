package prover

import (
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// firstDifference is the first place at which the lists differ, or -1.
func firstDifference[T comparable](a, b []T) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

func sameBits(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }

func lanesDifference(a, b []spec.Lanes) int {
	for i := range min(len(a), len(b)) {
		for j := range a[i] {
			if !sameBits(a[i][j], b[i][j]) {
				return i
			}
		}
	}
	return -1
}

// running are the lane sums of x after each tile.
func running(x []float32) (out []spec.Lanes) {
	var lanes spec.Lanes
	for i := range commit.Count(len(x)) {
		lanes.Add(tile(x, i))
		out = append(out, lanes)
	}
	return out
}

func runningSquares(x []float32) (out []spec.Lanes) {
	var lanes spec.Lanes
	for i := range commit.Count(len(x)) {
		lanes.AddSquares(tile(x, i))
		out = append(out, lanes)
	}
	return out
}

func (a *Answer) pickOperator(v *referee.Layer) (referee.Move, error) {
	heads := v.Heads
	for i := range a.trace.results {
		r := &a.trace.results[i]
		var shown []core.Hash
		if r.segment != nil {
			shown, heads = heads[0], heads[1:]
		}
		if v.Results[i] == r.commitment() {
			continue
		}
		m := &referee.PickOperator{Operator: uint32(i)}
		if r.segment != nil {
			m.Head = uint32(firstDifference(shown, r.segment))
		}
		return m, nil
	}
	if t, l := a.claim.Position, a.claim.Layer; a.salted != nil && v.Leaf.Salt != core.BoundarySalt(a.salt, t, l) {
		return a.salted, nil
	}
	return nil, ErrNothing
}

func (a *Answer) pickTile(s *referee.State, v *referee.Tiles) (referee.Move, error) {
	o, r := a.operator(s)
	switch o.Kind {
	case referee.Exp:
		return a.pickExp(s, v, r)
	case referee.Mix:
		if h := firstDifference(v.Segments, a.parts(r.values)); h >= 0 {
			return &referee.PickTile{Tile: uint32(h)}, nil
		}
	}
	i := firstDifference(v.Tiles, r.tiles(s.Head))
	if i < 0 {
		return nil, ErrNothing
	}
	if o.Kind == referee.Mix { // the parts do not belong to the tile: any part of it shows that
		i = i * commit.TileLen / a.prover.Model.Part()
	}
	return &referee.PickTile{Tile: uint32(i)}, nil
}

func (a *Answer) pickExp(s *referee.State, v *referee.Tiles, r *result) (referee.Move, error) {
	own, weights := r.softmax[s.Head], r.heads[s.Head]
	if v.Softmax.At != own.At || !sameBits(v.Softmax.Max, own.Max) {
		at := own.At // where a greater, or an earlier, maximum stands
		if v.Softmax.Max > own.Max || v.Softmax.Max == own.Max && v.Softmax.At < own.At {
			at = v.Softmax.At // where it does not
		}
		return &referee.PickTile{Tile: at / commit.TileLen, Part: referee.PartMax}, nil
	}
	if i := firstDifference(v.Tiles, commit.Tiles(nil, weights)); i >= 0 {
		return &referee.PickTile{Tile: uint32(i), Part: referee.PartExp}, nil
	}
	if i := lanesDifference(v.Running, running(weights)); i >= 0 {
		return &referee.PickTile{Tile: uint32(i), Part: referee.PartSum}, nil
	}
	return nil, ErrNothing
}

func (a *Answer) pickChunk(s *referee.State, v *referee.Chunks) (referee.Move, error) {
	o, r := a.operator(s)
	pick := func(i int) (referee.Move, error) {
		if i < 0 {
			return nil, ErrNothing
		}
		return &referee.PickChunk{Chunk: uint32(i)}, nil
	}
	switch {
	case s.Logit != nil:
		head := a.prover.Model.Head()
		from, to := head.Group(int(s.Tile))
		sums, err := a.prover.partial(head, from, to, a.trace.results[0].values)
		if err != nil {
			return nil, err
		}
		if m, err := a.pickUnnamed(s, v); m != nil || err != nil {
			return m, err
		}
		return pick(firstDifference(v.Sums, hashes(nil, sums)))
	case o.Kind == referee.Norm:
		x := a.trace.operand(o.A)
		if i := lanesDifference(v.Lanes, runningSquares(x)); i >= 0 {
			return pick(i)
		}
		return pick(len(v.Lanes))
	case o.Kind == referee.Linear:
		own, err := a.linearChunks(s, o, r)
		if err != nil {
			return nil, err
		}
		return pick(firstDifference(v.Sums, own.(*referee.Chunks).Sums))
	case o.Kind == referee.Score || o.Kind == referee.Weigh:
		own := tile(r.heads[s.Head], int(s.Tile))
		for i := range min(len(own), len(v.Values)) {
			if !sameBits(own[i], v.Values[i]) {
				return pick(i)
			}
		}
		return nil, ErrNothing
	}
	return pick(firstDifference(v.Sums, hashes(nil, a.mixSums(s, o))))
}
