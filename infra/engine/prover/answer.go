package prover

import (
	"context"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// ErrNothing says that a challenger finds nothing wrong with what the other
// side has shown.
var ErrNothing = errors.New("nothing that was shown is wrong")

// Answer is one receipt's computation, as this side has it.
type Answer struct {
	prover *Prover
	tokens []core.Token // input and output
	inputs int
	leaves []core.Hash // under the receipt's boundary root
	salt   core.Hash   // the receipt's salt key

	claim referee.Claim
	trace *trace
	draw  *draw // of a token
}

// Answer prepares the moves of disputes about a receipt. leaves are those under
// its boundary root, [position][layer]. The challenger's side can do without,
// except in a search, where it needs those of its own computation.
func (p *Prover) Answer(input, output []core.Token, leaves []core.Hash, salt core.Hash) *Answer {
	return &Answer{prover: p, tokens: append(append([]core.Token(nil), input...), output...), inputs: len(input), leaves: leaves, salt: salt}
}

// TokenPath is the place of an output token among the output's.
func (a *Answer) TokenPath(output int) ([]core.Hash, error) {
	return tokenPath(a.tokens[a.inputs:], output)
}

func tokenPath(tokens []core.Token, i int) ([]core.Hash, error) {
	leaves := make([]core.Hash, len(tokens))
	for i, t := range tokens {
		leaves[i] = core.TokenLeaf(t)
	}
	p, err := merkle.Prove(leaves, i)
	return p.Path, err
}

// tokenAt shows the token at a position of input and output.
func (a *Answer) tokenAt(at int) (core.Token, []core.Hash, error) {
	list, i := a.tokens[:a.inputs], at
	if at >= a.inputs {
		list, i = a.tokens[a.inputs:], at-a.inputs
	}
	path, err := tokenPath(list, i)
	return a.tokens[at], path, err
}

// Move returns the next move of the side whose turn it is. For the challenger
// it fails with [ErrNothing] where it agrees with everything.
func (a *Answer) Move(ctx context.Context, s *referee.State) (referee.Move, error) {
	if s.Phase == referee.NeedNodes || s.Phase == referee.NeedNode {
		return a.search(s)
	}
	if err := a.compute(ctx, s); err != nil {
		return nil, err
	}
	switch s.Phase {
	case referee.NeedLayer:
		return a.reveal(s)
	case referee.NeedTiles:
		if s.Draw != nil && s.Draw.Hi > s.Draw.Lo {
			return a.sums(s)
		}
		return a.tiles(s), nil
	case referee.NeedChunks:
		if s.Draw != nil && s.Draw.Count != nil {
			return a.counts(s), nil
		}
		return a.chunks(s)
	case referee.NeedStep:
		return a.step(ctx, s)
	}
	last, err := referee.DecodeMove(s.Last)
	if err != nil {
		return nil, err
	}
	switch v := last.(type) {
	case *referee.Layer:
		return a.pickOperator(v)
	case *referee.Claims:
		return a.pickFromClaims(s, v)
	case *referee.Sums:
		return a.pickSum(s, v.Sums)
	case *referee.Logits:
		return a.pickFromTile(s, v)
	case *referee.Counts:
		return a.pickRun(s, v)
	case *referee.Tiles:
		return a.pickTile(s, v)
	case *referee.Chunks:
		return a.pickChunk(s, v)
	}
	return nil, fmt.Errorf("there is no move in phase %s", s.Phase)
}

// search opens the node in question, or points at the first below it that this
// side has otherwise.
func (a *Answer) search(s *referee.State) (referee.Move, error) {
	at, levels := s.Searched()
	if at.From+at.Len > uint64(len(a.leaves)) {
		return nil, fmt.Errorf("a search reaches leaf %d, and %d are at hand", at.From+at.Len, len(a.leaves))
	}
	own := &referee.Nodes{}
	for _, part := range at.Split(levels) {
		own.Nodes = append(own.Nodes, merkle.Node(a.leaves, part))
	}
	if s.Phase == referee.NeedNodes {
		return own, nil
	}
	last, err := referee.DecodeMove(s.Last)
	if err != nil {
		return nil, err
	}
	shown, ok := last.(*referee.Nodes)
	if !ok {
		return nil, fmt.Errorf("there is no move in phase %s", s.Phase)
	}
	i := firstDifference(shown.Nodes, own.Nodes)
	if i < 0 {
		return nil, ErrNothing
	}
	return &referee.PickNode{Node: uint32(i)}, nil
}

// compute traces the disputed leaf or token once.
func (a *Answer) compute(ctx context.Context, s *referee.State) (err error) {
	t, l := int(s.Claim.Position), int(s.Claim.Layer)
	if a.trace != nil && a.claim.Position == s.Claim.Position && a.claim.Layer == s.Claim.Layer && (a.claim.Token == nil) == (s.Claim.Token == nil) {
		a.claim = s.Claim
		return nil
	}
	a.draw = nil
	if t >= len(a.tokens) {
		return fmt.Errorf("the answer has no position %d", t)
	}
	if s.Claim.Token != nil {
		a.trace, err = a.prover.tokenTrace(ctx, a.tokens, t)
	} else {
		a.trace, err = a.prover.trace(ctx, a.tokens, t, l)
	}
	a.claim = s.Claim
	return err
}

func (a *Answer) operator(s *referee.State) (*referee.Operator, *result) {
	return &a.trace.program.Ops[s.Operator], &a.trace.results[s.Operator]
}

// boundary opens leaf (t,l), whose contents are given.
func (a *Answer) boundary(t, l int, x, k, v core.Hash) (*referee.Boundary, error) {
	i := t*(a.prover.Model.Layers+1) + l
	p, err := merkle.Prove(a.leaves, i)
	return &referee.Boundary{Salt: core.BoundarySalt(a.salt, uint32(t), uint32(l)), X: x, K: k, V: v, Path: p.Path}, err
}

func (a *Answer) before(p int) (*referee.Boundary, error) {
	b := &a.trace.before
	var k, v core.Hash
	if b.Keys != nil {
		k, v = commit.Vector(b.Keys[p]), commit.Vector(b.Values[p])
	}
	l := int(a.claim.Layer) - 1
	if a.claim.Token != nil {
		l++
	}
	return a.boundary(p, l, b.States[p], k, v)
}

// reveal is the provider's first move.
func (a *Answer) reveal(s *referee.State) (referee.Move, error) {
	if s.Claim.Token != nil {
		return a.claims(s)
	}
	tr, p := a.trace, a.trace.program
	m := &referee.Layer{}
	for i := range tr.results {
		m.Results = append(m.Results, tr.results[i].commitment())
		if segment := tr.results[i].segment; segment != nil {
			m.Heads = append(m.Heads, segment)
		}
	}
	var k, v core.Hash
	if p.K >= 0 {
		k, v = m.Results[p.K], m.Results[p.V]
	}
	leaf, err := a.boundary(int(s.Claim.Position), int(s.Claim.Layer), m.Results[p.X], k, v)
	if err != nil {
		return nil, err
	}
	m.Leaf = *leaf
	if s.Claim.Search {
		m.Leaf.Path = nil
	}
	if s.Claim.Layer > 0 {
		m.Before, err = a.before(int(s.Claim.Position))
	}
	return m, err
}

func (a *Answer) tiles(s *referee.State) referee.Move {
	o, r := a.operator(s)
	m := &referee.Tiles{Segments: r.segment}
	switch o.Kind {
	case referee.Score, referee.Exp:
		m.Tiles = commit.Tiles(nil, r.heads[s.Head])
		if o.Kind == referee.Exp {
			m.Softmax, m.Running = &r.softmax[s.Head], running(r.heads[s.Head])
		}
		return m
	case referee.Mix:
		m.Segments = a.parts(r.values)
	}
	m.Tiles = commit.Tiles(nil, r.values)
	return m
}

// parts are the hashes of the heads' parts of an attention's result.
func (a *Answer) parts(x []float32) (out []core.Hash) {
	d := a.prover.Model.HeadDim()
	for at := 0; at < len(x); at += d {
		out = append(out, commit.Tile(x[at:at+d]))
	}
	return out
}

func (a *Answer) chunks(s *referee.State) (referee.Move, error) {
	o, r := a.operator(s)
	switch {
	case s.Logit != nil:
		sums, err := a.prover.partial(a.prover.Model.Head(), int(s.Tile), a.trace.results[0].values)
		if err != nil {
			return nil, err
		}
		return &referee.Chunks{Values: sums[len(sums)-1], Sums: hashes(nil, sums), Seen: a.seenOf(s)}, nil
	case o.Kind == referee.Norm:
		return &referee.Chunks{Lanes: runningSquares(a.trace.operand(o.A))}, nil
	case o.Kind == referee.Linear:
		return a.linearChunks(s, o, r)
	case o.Kind == referee.Score:
		return &referee.Chunks{Values: tile(r.heads[s.Head], int(s.Tile))}, nil
	}
	return a.mixChunks(s, o, r), nil
}

func tile(x []float32, i int) []float32 {
	return x[i*commit.TileLen : min(len(x), (i+1)*commit.TileLen)]
}

func hashes(dst []core.Hash, sums [][]float32) []core.Hash {
	for _, s := range sums {
		dst = append(dst, commit.Tile(s))
	}
	return dst
}

func (a *Answer) linearChunks(s *referee.State, o *referee.Operator, r *result) (referee.Move, error) {
	m := &referee.Chunks{Values: tile(r.values, int(s.Tile))}
	first, n := s.Groups(o)
	for g := range n {
		sums, err := a.prover.partial(o.Weights, first+g, a.trace.operand(o.A))
		if err != nil {
			return nil, err
		}
		m.Sums = hashes(m.Sums, sums)
	}
	return m, nil
}

// mixSums are the sums of the disputed head after each run of positions.
func (a *Answer) mixSums(s *referee.State, o *referee.Operator) (sums [][]float32) {
	p, exps := a.prover, &a.trace.results[o.A]
	h := int(s.Tile)
	lo, hi := int(s.Lo), int(s.Hi)
	acc := p.mixed(a.trace, make([]float32, p.Model.HeadDim()), exps.heads[h], h, 0, lo)
	n, length := referee.Runs(hi - lo)
	for i := range n {
		from := lo + i*length
		acc = p.mixed(a.trace, acc, exps.heads[h], h, from, min(hi, from+length))
		sums = append(sums, acc)
	}
	return sums
}

func (a *Answer) mixChunks(s *referee.State, o *referee.Operator, r *result) referee.Move {
	sums := a.mixSums(s, o)
	m := &referee.Chunks{Sums: hashes(nil, sums)}
	if s.Linked {
		return m
	}
	exps, h := &a.trace.results[o.A], int(s.Tile)
	m.Values = sums[len(sums)-1]
	m.Exp = &referee.HeadExp{Segments: exps.segment, Weights: exps.weights[h], Softmax: exps.softmax[h]}
	from := h * a.prover.Model.HeadDim()
	m.Result = open(r.values, from, from+1)
	return m
}

// open shows the tiles of x that hold the numbers from position from to to.
func open(x []float32, from, to int) *referee.Vector {
	first, last := from/commit.TileLen, (to-1)/commit.TileLen
	return &referee.Vector{Tiles: commit.Tiles(nil, x), First: uint32(first),
		Values: x[first*commit.TileLen : min(len(x), (last+1)*commit.TileLen)]}
}

// step is the provider's last move.
func (a *Answer) step(_ context.Context, s *referee.State) (_ referee.Move, err error) {
	if s.Draw != nil && s.Draw.Count != nil {
		return a.countStep(s)
	}
	o, _ := a.operator(s)
	m, p := &referee.Step{}, a.prover
	from := int(s.Tile) * commit.TileLen
	to := min(o.Len, from+commit.TileLen)
	operand := func() []float32 { return a.trace.operand(o.A) }
	switch {
	case s.Logit != nil:
		return a.linearStep(s, &referee.Operator{Weights: p.Model.Head()}, a.trace.results[0].values)
	case o.Kind == referee.Linear:
		return a.linearStep(s, o, operand())
	case o.Kind == referee.Embed:
		at := int(s.Claim.Position)
		if m.Token, m.Path, err = a.tokenAt(at); err != nil {
			return nil, err
		}
		m.Weights, err = p.weights(o.Weights, int(m.Token)/o.Weights.GroupRows(), int(s.Tile))
	case o.Kind == referee.Norm:
		x := operand()
		if c := int(s.Chunk); c < commit.Count(len(x)) {
			m.A = open(x, c*commit.TileLen, min(len(x), (c+1)*commit.TileLen))
			break
		}
		m.A = open(x, from, to)
		m.Weights, err = p.weights(o.Weights, 0, int(s.Tile))
	case o.Kind == referee.Score:
		at, d := from+int(s.Chunk), p.Model.HeadDim()
		m.A = open(operand(), int(s.Head)*d, (int(s.Head)+1)*d)
		m.Boundary, m.Row, err = a.row(at, int(s.Head), false)
	case o.Kind == referee.Exp:
		if s.Part == referee.PartSum {
			m.Values = tile(a.trace.results[s.Operator].heads[s.Head], int(s.Tile))
			break
		}
		scores := &a.trace.results[o.A]
		m.Segments, m.A = scores.segment, open(scores.heads[s.Head], from, to)
	case o.Kind == referee.Mix:
		return a.mixStep(s, o)
	case o.Kind == referee.Rotate:
		m.A = open(operand(), from, to) // whole heads: their length divides a tile's
		if f := p.Model.Factors(); f.First != 0 {
			m.Weights, err = p.weights(f, 0, 0)
		}
	case o.Kind == referee.Bias:
		m.A = open(operand(), from, to)
		m.Weights, err = p.weights(o.Weights, 0, int(s.Tile))
	default:
		m.A, m.B = open(operand(), from, to), open(a.trace.operand(o.B), from, to)
	}
	return m, err
}

// row opens the leaf at a position and this head's part of its key or value.
func (a *Answer) row(at, head int, value bool) (*referee.Boundary, *referee.Vector, error) {
	b, err := a.before(at)
	x := a.trace.before.Keys[at]
	if value {
		x = a.trace.before.Values[at]
	}
	m := a.prover.Model
	from := head / (m.Heads() / m.KVHeads()) * m.HeadDim()
	return b, open(x, from, from+m.HeadDim()), err
}

func (a *Answer) linearStep(s *referee.State, o *referee.Operator, x []float32) (referee.Move, error) {
	w := o.Weights
	columns := commit.Count(w.Cols)
	first, _ := s.Groups(o)
	group, column := first+int(s.Chunk)/columns, int(s.Chunk)%columns
	m := &referee.Step{A: open(x, column*commit.TileLen, min(w.Cols, (column+1)*commit.TileLen))}
	if column > 0 {
		sums, err := a.prover.partial(w, group, x)
		if err != nil {
			return nil, err
		}
		m.Before = sums[column-1]
	}
	var err error
	m.Weights, err = a.prover.weights(w, group, column)
	return m, err
}

func (a *Answer) mixStep(s *referee.State, o *referee.Operator) (referee.Move, error) {
	p, at, h := a.prover, int(s.Lo), int(s.Tile)
	weights := a.trace.results[o.A].heads[h]
	m := &referee.Step{A: open(weights, at, at+1)}
	if at > 0 {
		m.Before = p.mixed(a.trace, make([]float32, p.Model.HeadDim()), weights, h, 0, at)
	}
	var err error
	m.Boundary, m.Row, err = a.row(at, h, true)
	return m, err
}
