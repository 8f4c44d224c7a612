package prover

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// forge makes an answer one leaf of which is false, beginning with one result
// of its program; everything after that result follows from it.
func (sc *scene) forge(r *rand.Rand, at, l, operator int) (*Answer, *lie) {
	v := &lie{operator: operator, chunk: r.IntN(40)}
	return sc.falsify(at, l, operator, func(o *referee.Operator, res *result, _ []float32) { v.forge(r, o, res, sc.prover.Model) }), v
}

// falsify changes one result of a leaf's program, and everything after it with it.
func (sc *scene) falsify(at, l, operator int, change func(o *referee.Operator, res *result, operand []float32)) *Answer {
	sc.t.Helper()
	a := sc.answer()
	s := sc.open(leafClaim(at, l))
	if err := a.compute(context.Background(), s); err != nil {
		sc.t.Fatal(err)
	}
	tr := a.trace
	o := &tr.program.Ops[operator]
	change(o, &tr.results[operator], tr.operand(o.A))
	if err := sc.prover.choose(tr, operator); err != nil {
		sc.t.Fatal(err)
	}
	for i := operator + 1; i < len(tr.results); i++ {
		tr.results[i] = result{}
		if err := sc.prover.operate(tr, i, a.tokens[at]); err != nil {
			sc.t.Fatal(err)
		}
	}
	p := tr.program
	var k, val core.Hash
	if p.K >= 0 {
		k, val = tr.results[p.K].commitment(), tr.results[p.V].commitment()
	}
	leaf := commit.Leaf(core.BoundarySalt(sc.salt, uint32(at), uint32(l)), commit.Boundary(tr.results[p.X].commitment(), k, val))
	a.leaves = append([]core.Hash(nil), sc.leaves...)
	a.leaves[at*(sc.prover.Model.Layers+1)+l] = leaf
	return a
}

// bent is another number; behind a window's edge a score is none.
func bent(x float32) float32 {
	if math.IsInf(float64(x), 0) {
		return 0.75
	}
	if y := x + 0.75; y != x {
		return y
	}
	return next(x, -1)
}

// forgeRoute chooses another expert, or weighs one otherwise.
func forgeRoute(r *rand.Rand, route []float32, experts int) {
	used := len(route) / 2
	if used == experts || r.IntN(2) == 0 {
		route[used+r.IntN(used)] += 0.25
		return
	}
	for {
		other := float32(r.IntN(experts))
		if !slices.Contains(route[:used], other) {
			route[r.IntN(used)] = other
			slices.Sort(route[:used])
			return
		}
	}
}

// lie is where a forged trace departs from the truth.
type lie struct {
	operator, head, element, chunk int
	lanes                          bool
}

func (v *lie) forge(r *rand.Rand, o *referee.Operator, res *result, m *referee.Model) {
	switch {
	case o.Kind == referee.Exp:
		v.head = r.IntN(o.Heads)
		v.element = r.IntN(o.Len)
		v.forgeExp(r, res)
	case o.Heads > 0:
		v.head = r.IntN(o.Heads)
		x := res.heads[v.head]
		v.element = r.IntN(len(x))
		x[v.element] = bent(x[v.element])
		res.segment[v.head] = commit.Vector(x)
	case o.Kind == referee.Keep:
		res.kept[r.IntN(len(res.kept))] ^= 1 << r.IntN(8)
	case o.Kind == referee.Route:
		forgeRoute(r, res.values, m.Config().Experts.Count)
	default:
		v.element = r.IntN(o.Len)
		res.values[v.element] = bent(res.values[v.element])
	}
}

func (v *lie) forgeExp(r *rand.Rand, res *result) {
	x, soft := res.heads[v.head], &res.softmax[v.head]
	ways := 4
	if len(x) == 1 {
		ways = 3
	}
	switch r.IntN(ways) {
	case 0: // an exponential
		x[v.element] += 0.5
		soft.Lanes = running(x)[commit.Count(len(x))-1]
	case 1: // the sums
		soft.Lanes[r.IntN(8)] += 1
		v.lanes = true
	case 2: // the maximum, with exponentials that fit it
		soft.Max = bent(soft.Max)
	case 3: // its place
		soft.At = uint32((int(soft.At) + 1) % len(x))
	}
	res.weights[v.head] = commit.Vector(x)
	res.segment[v.head] = soft.Segment(res.weights[v.head])
}

// tell makes the lie's partial sums end in its false result: from some chunk on
// they are false.
func (v *lie) tell(a *Answer) mover {
	return func(s *referee.State) (referee.Move, error) {
		move, err := a.Move(context.Background(), s)
		if err != nil || int(s.Operator) != v.operator {
			return move, err
		}
		switch m := move.(type) {
		case *referee.Tiles:
			if v.lanes && int(s.Head) == v.head {
				m.Running[len(m.Running)-1] = m.Softmax.Lanes
			}
		case *referee.Chunks:
			v.bend(a, s, m)
		}
		return move, nil
	}
}

func (v *lie) bend(a *Answer, s *referee.State, m *referee.Chunks) {
	o, res := a.operator(s)
	switch o.Kind {
	case referee.Linear:
		first, n := s.Groups(o)
		columns := commit.Count(o.Weights.Cols)
		for g := range n {
			from, to := s.GroupRows(o, first+g)
			if v.element < from || v.element >= to {
				continue
			}
			sums, _ := a.prover.partial(o.Weights, from, to, a.trace.operand(o.A))
			for c := v.chunk % columns; c < columns; c++ {
				sums[c][v.element-from] = res.values[v.element]
				m.Sums[g*columns+c] = commit.Tile(sums[c])
			}
		}
	case referee.Mix:
		d := a.prover.Model.Part()
		if int(s.Tile) != v.element/d {
			return
		}
		// The false number that, divided, is the false result.
		total := a.trace.results[o.B].softmax[a.prover.Model.HeadOf(int(s.Tile))].Lanes.Total()
		sums := a.mixSums(s, o)
		n := len(sums)
		if s.Linked { // within a run: its last sum is false already
			m.Sums[n-1] = s.Sums[1]
			return
		}
		want := res.values[v.element]
		last := append([]float32(nil), sums[n-1]...)
		last[v.element%d] = want * total
		for range 1000 { // the rounding that fits
			if got := last[v.element%d] * (1 / total); got == want {
				break
			} else if got < want {
				last[v.element%d] = next(last[v.element%d], 1)
			} else {
				last[v.element%d] = next(last[v.element%d], -1)
			}
		}
		m.Values = last
		for c := v.chunk % n; c < n; c++ {
			sums[c] = append([]float32(nil), sums[c]...)
			sums[c][v.element%d] = last[v.element%d]
			m.Sums[c] = commit.Tile(sums[c])
		}
	}
}
