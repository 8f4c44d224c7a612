package prover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/spec"
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

	salted *referee.WrongSalt // what shows a wrong salt, where it is at hand

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

// Salted gives the challenger's side what it needs to show that a leaf has
// another salt than its request.
func (a *Answer) Salted(r core.Receipt, h *core.RequestHead, seed core.Seed) error {
	b, err := json.Marshal(r)
	a.salted = &referee.WrongSalt{Receipt: b, Request: referee.OpeningOf(h), Seed: seed}
	return err
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
	switch {
	case b.Keys == nil:
	case a.prover.Model.Int8():
		k, v = commit.Encoded(referee.Kept(b.Keys[p])), commit.Encoded(referee.Kept(b.Values[p]))
	default:
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
	if p.Route >= 0 {
		m.Routed = tr.results[p.Route].values
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
	m := &referee.Tiles{Segments: r.segment, Tiles: r.tiles(s.Head)}
	switch o.Kind {
	case referee.Exp:
		m.Softmax, m.Running = &r.softmax[s.Head], running(r.heads[s.Head])
	case referee.Mix:
		m.Segments = a.parts(r.values)
	}
	return m
}

// parts are the hashes of an attention's parts.
func (a *Answer) parts(x []float32) (out []core.Hash) {
	d := a.prover.Model.Part()
	for at := 0; at < len(x); at += d {
		out = append(out, commit.Tile(x[at:at+d]))
	}
	return out
}

func (a *Answer) chunks(s *referee.State) (referee.Move, error) {
	o, r := a.operator(s)
	switch {
	case s.Logit != nil:
		head := a.prover.Model.Head()
		from, to := head.Group(int(s.Tile))
		sums, err := a.prover.partial(head, from, to, a.trace.results[0].values)
		if err != nil {
			return nil, err
		}
		return &referee.Chunks{Values: sums[len(sums)-1], Sums: hashes(nil, sums), Seen: a.seenOf(s)}, nil
	case o.Kind == referee.Norm:
		return &referee.Chunks{Lanes: runningSquares(a.trace.operand(o.A))}, nil
	case o.Kind == referee.Linear:
		return a.linearChunks(s, o, r)
	case o.Kind == referee.Score || o.Kind == referee.Weigh:
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
		from, to := s.GroupRows(o, first+g)
		sums, err := a.prover.partial(o.Weights, from, to, a.trace.operand(o.A))
		if err != nil {
			return nil, err
		}
		m.Sums = hashes(m.Sums, sums)
	}
	return m, nil
}

// mixSums are the sums of the disputed part after each run of positions.
func (a *Answer) mixSums(s *referee.State, o *referee.Operator) (sums [][]float32) {
	p, part := a.prover, int(s.Tile)
	lo, hi := int(s.Lo), int(s.Hi)
	acc := p.mixed(a.trace, o, make([]float32, p.Model.MixState()), part, o.Origin, lo)
	n, length := referee.Runs(hi - lo)
	for i := range n {
		from := lo + i*length
		acc = p.mixed(a.trace, o, acc, part, from, min(hi, from+length))
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
	model, part := a.prover.Model, int(s.Tile)
	m.Values = sums[len(sums)-1]
	m.Exp = headExp(&a.trace.results[o.B], model.HeadOf(part))
	if model.Int8() {
		m.Weighed = a.trace.results[o.A].segment
	}
	from, to := referee.PartsAround(model.Part(), o.Len, part)
	m.Result = open(r.values, from, to)
	return m
}

// headExp opens one head of an exp.
func headExp(exps *result, h int) *referee.HeadExp {
	return &referee.HeadExp{Segments: exps.segment, Weights: exps.weights[h], Softmax: exps.softmax[h]}
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
		group, _ := o.Weights.Groups(int(m.Token), int(m.Token)+1)
		m.Weights, err = p.weights(o.Weights, group, int(s.Tile))
	case o.Kind == referee.Norm:
		x := operand()
		if c := int(s.Chunk); c < commit.Count(len(x)) {
			m.A = open(x, c*commit.TileLen, min(len(x), (c+1)*commit.TileLen))
			break
		}
		m.A = open(x, from, to)
		m.Weights, err = p.weights(o.Weights, 0, int(s.Tile))
	case o.Kind == referee.Score:
		d, at := p.Model.HeadDim(), o.Origin+from+int(s.Chunk)
		if at < o.First {
			break
		}
		m.A = open(operand(), int(s.Head)*d, (int(s.Head)+1)*d)
		lo, hi := p.Model.HeadRange(int(s.Head))
		err = a.row(m, at, a.trace.before.Keys[at], lo, hi, true, true)
	case o.Kind == referee.Exp:
		if s.Part == referee.PartSum {
			m.Values = tile(a.trace.results[s.Operator].heads[s.Head], int(s.Tile))
			break
		}
		scores := &a.trace.results[o.A]
		m.Segments, m.A = scores.segment, open(scores.heads[s.Head], from, to)
	case o.Kind == referee.Weigh:
		i := from + int(s.Chunk)
		at := o.Origin + i
		if at < o.First {
			break
		}
		exps, h := &a.trace.results[o.A], p.Model.HeadOf(int(s.Head))
		m.Exp, m.A = headExp(exps, h), open(exps.heads[h], i, i+1)
		lo, hi := p.Model.PartRange(int(s.Head))
		err = a.row(m, at, a.trace.before.Values[at], lo, hi, false, true)
	case o.Kind == referee.Mix:
		return a.mixStep(s, o)
	case o.Kind == referee.Keep:
		lo, hi := referee.KeptFrom(len(operand()), int(s.Tile))
		m.A = open(operand(), lo, hi)
	case o.Kind == referee.Route:
		m.A = open(operand(), 0, len(operand()))
	default:
		err = a.elementStep(m, s, o, from, to)
	}
	return m, err
}

// elementStep opens what an operator needs that works on its operands' tiles.
func (a *Answer) elementStep(m *referee.Step, s *referee.State, o *referee.Operator, from, to int) (err error) {
	p, lo, hi := a.prover, from, to
	if d := p.Model.HeadDim(); o.Kind == referee.Rotate || o.Kind == referee.HeadNorm { // whole heads
		lo, hi = from/d*d, min(o.Len, (to+d-1)/d*d)
	}
	if o.A != referee.Nothing {
		m.A = open(a.trace.operand(o.A), lo, hi)
	}
	switch o.Kind {
	case referee.Blend:
		m.C = open(a.trace.operand(o.C), o.At, o.At+1)
		m.B = open(a.trace.operand(o.B), from, to)
	case referee.Add, referee.Gate:
		m.B = open(a.trace.operand(o.B), from, to)
	case referee.Bias:
		m.Weights, err = p.weights(o.Weights, 0, int(s.Tile))
	case referee.HeadNorm:
		m.Weights, err = p.weights(o.Weights, 0, 0)
	case referee.Rotate:
		if f := p.Model.Factors(o.RoPE); f.There() {
			m.Weights, err = p.weights(f, 0, 0)
		}
	}
	return err
}

// row opens the leaf at a position and some numbers of its key or value; of an
// int8 cache the quants, the scales or both.
func (a *Answer) row(m *referee.Step, at int, x []float32, from, to int, quants, scales bool) (err error) {
	if m.Boundary, err = a.before(at); err != nil {
		return err
	}
	if a.prover.Model.Int8() {
		m.Kept = referee.OpenKept(referee.Kept(x), len(x), from, to, quants, scales)
	} else {
		m.Row = open(x, from, to)
	}
	return nil
}

func (a *Answer) linearStep(s *referee.State, o *referee.Operator, x []float32) (referee.Move, error) {
	w := o.Weights
	columns := commit.Count(w.Cols)
	first, _ := s.Groups(o)
	group, column := first+int(s.Chunk)/columns, int(s.Chunk)%columns
	m := &referee.Step{A: open(x, column*commit.TileLen, min(w.Cols, (column+1)*commit.TileLen))}
	if column > 0 {
		from, to := s.GroupRows(o, group)
		sums, err := a.prover.partial(w, from, to, x)
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
	p, at, part := a.prover, int(s.Lo), int(s.Tile)
	heads := a.trace.results[o.A].heads
	weights, i := heads[part*len(heads)/p.Model.Parts()], at-o.Origin
	lo, hi := i, i+1
	if p.Model.Int8() {
		lo = i / spec.Block * spec.Block
		hi = min(len(weights), lo+spec.Block)
	}
	m := &referee.Step{A: open(weights, lo, hi)}
	if at > o.Origin {
		m.Before = p.mixed(a.trace, o, make([]float32, p.Model.MixState()), part, o.Origin, at)
	}
	if at < o.First {
		return m, nil
	}
	from, to := p.Model.PartRange(part)
	return m, a.row(m, at, a.trace.before.Values[at], from, to, true, false)
}
