package referee

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Phase says what the next move is.
type Phase uint8

// The phases, in the order of a game.
const (
	NeedLayer    Phase = iota + 1 // provider: *Layer, or *Claims where a token is disputed
	NeedOperator                  // challenger: *PickOperator, or *PickLogit
	NeedTiles                     // provider: *Tiles
	NeedTile                      // challenger: *PickTile
	NeedChunks                    // provider: *Chunks
	NeedChunk                     // challenger: *PickChunk
	NeedStep                      // provider: *Step
	Held                          // the step held: the provider has won

	// A search for the first wrong leaf comes before the rest.
	NeedNodes // provider: *Nodes
	NeedNode  // challenger: *PickNode

	Proven // the claim itself shows the fault: the challenger has won
)

// Side is whose move it is.
func (p Phase) Side() Side {
	switch p {
	case NeedNodes, NeedLayer, NeedTiles, NeedChunks, NeedStep:
		return Provider
	case NeedNode, NeedOperator, NeedTile, NeedChunk:
		return Challenger
	}
	return 0
}

func (p Phase) String() string {
	names := [...]string{"?", "layer", "operator", "tiles", "tile", "chunks", "chunk", "step", "held", "nodes", "node", "proven"}
	if int(p) < len(names) {
		return names[p]
	}
	return names[0]
}

// Claim is what a challenger says of a receipt.
type Claim struct {
	// Position and Layer name a leaf of the boundary tree.
	Position, Layer uint32
	// Search says instead that some leaf is wrong, whose place the challenger
	// does not know: he has not seen the provider's leaves.
	Search bool
	// Token, if set, disputes an output token instead.
	Token *TokenClaim
	// End, if set, disputes where the answer ends.
	End *EndClaim
}

// State is a game between two moves.
type State struct {
	// What the receipt fixes. Semantics are the rules of the game, from its
	// beginning to its end.
	Semantics                           uint32
	Receipt                             core.Hash // its id
	BoundaryRoot, InputHash, OutputHash core.Hash
	Inputs, Outputs                     uint32
	Positions, Layers                   uint32
	Claim                               Claim

	Phase   Phase
	From    uint64      // of a search: the first leaf below the node in question
	Len     uint64      // how many leaves lie below it
	Node    core.Hash   // the node, unless it is the topmost
	Results []core.Hash // commitments, one for each operator
	Input   core.Hash   // commitment to the residual stream of the leaf before
	Draw    *Draw       // of a token
	Experts []uint32    // that the leaf's program uses, as the provider says

	Operator, Head, Tile, Part uint32
	Logit                      *PickLogit
	Target                     core.Hash    // hash of the tile in question
	Softmax                    *Softmax     // of the head in question
	Sums                       [2]core.Hash // partial sums before and after the chunk in question
	Lanes                      [2]spec.Lanes
	Chunk                      uint32
	Value                      float32 // of a score
	Lo, Hi                     uint32  // positions of a mix's run
	Linked                     bool    // a mix's first round is over
	Fault                      string  // once it is proven
	Last                       []byte  // the provider's last move, for whoever moves next
}

// errWrong marks a move that is not the one that is due.
var errWrong = errors.New("this move is not due")

// Open starts a game over a receipt on a model. It checks everything in the
// claim that needs no computation of the model.
func Open(m *Model, r *core.Receipt, c Claim) (*State, error) {
	if err := judged(r.Semantics); err != nil {
		return nil, err
	}
	if r.Model != m.ID || r.Semantics != m.Semantics {
		return nil, errors.New("the receipt is for another model, or another semantics version")
	}
	if r.Output == 0 || r.Input == 0 || uint64(r.Input)+uint64(r.Output) > m.Reach() {
		return nil, fmt.Errorf("a receipt over %d and %d tokens is not judged, at most one over %d", r.Input, r.Output, m.Reach())
	}
	s := &State{
		Semantics: r.Semantics, Receipt: r.Digest(), BoundaryRoot: r.BoundaryRoot, InputHash: r.InputHash, OutputHash: r.OutputHash, Inputs: r.Input, Outputs: r.Output,
		Positions: r.Input + r.Output - 1, Layers: uint32(m.Layers), Claim: c, Phase: NeedLayer,
	}
	if c.Search {
		return s, s.openSearch()
	}
	if c.End != nil {
		s.Claim = Claim{}
		return s, s.openEnd(m, r, c.End)
	}
	if t := c.Token; t != nil {
		return s, s.openToken(m, r, t)
	}
	if c.Position >= s.Positions || c.Layer > s.Layers {
		return nil, fmt.Errorf("there is no leaf (%d,%d): there are %d positions and %d layers", c.Position, c.Layer, s.Positions, s.Layers)
	}
	return s, nil
}

// program is the program of the disputed leaf or token.
func (s *State) program(m *Model) *Program {
	if s.Claim.Token != nil {
		return m.TokenProgram()
	}
	p := m.LeafProgram(int(s.Claim.Position), int(s.Claim.Layer))
	p.Choose(s.Experts)
	return p
}

// Apply takes a move. An error means that the move does not hold or is not due;
// the state is then unchanged.
func (s *State) Apply(m *Model, move Move) error {
	next := *s
	if err := next.apply(m, move); err != nil {
		return err
	}
	if move.side() == Provider {
		next.Last = EncodeMove(move)
	}
	*s = next
	return nil
}

// judged refuses semantics whose rules this program does not have.
func judged(semantics uint32) error {
	if !core.KnownSemantics(semantics) {
		return fmt.Errorf("semantics version %d is not judged", semantics)
	}
	return nil
}

func (s *State) apply(m *Model, move Move) error {
	if err := judged(s.Semantics); err != nil {
		return err
	}
	if move.side() != s.Phase.Side() {
		return fmt.Errorf("%w: it is the turn of the %s", errWrong, s.Phase.Side())
	}
	switch v := move.(type) {
	case *Nodes:
		return s.nodes(v)
	case *PickNode:
		return s.pickNode(v)
	case *WrongSalt:
		return s.wrongSalt(v)
	case *Layer:
		return s.layer(m, v)
	case *Claims:
		return s.claims(m, v)
	case *PickCount:
		return s.pickCount(v)
	case *PickSum:
		return s.pickSum(m, v)
	case *Sums:
		return s.sums(v)
	case *Logits:
		return s.logits(m, v)
	case *Counts:
		return s.counts(v)
	case *PickOperator:
		return s.pickOperator(m, v)
	case *PickLogit:
		return s.pickLogit(m, v)
	case *Tiles:
		return s.tiles(m, v)
	case *PickTile:
		return s.pickTile(m, v)
	case *Chunks:
		return s.chunks(m, v)
	case *PickChunk:
		return s.pickChunk(m, v)
	case *Step:
		if s.Phase != NeedStep {
			return errWrong
		}
		if err := s.step(m, v); err != nil {
			return err
		}
		s.Phase = Held
		return nil
	}
	return errWrong
}

func (s *State) layer(m *Model, v *Layer) error {
	if s.Phase != NeedLayer || s.Claim.Token != nil {
		return errWrong
	}
	p, t, l := s.program(m), int(s.Claim.Position), int(s.Claim.Layer)
	if len(v.Results) != len(p.Ops) {
		return fmt.Errorf("%d results for a program of %d operators", len(v.Results), len(p.Ops))
	}
	if err := s.disputed(&v.Leaf); err != nil {
		return err
	}
	if (l == 0) != (v.Before == nil) {
		return errors.New("exactly the leaves behind the first layer have one before")
	}
	if l > 0 {
		if err := v.Before.check(s, t, l-1); err != nil {
			return err
		}
		s.Input = v.Before.X
	}
	if v.Results[p.X] != v.Leaf.X {
		return errors.New("the program's result is not the leaf's residual stream")
	}
	if l < m.Layers && (v.Results[p.K] != v.Leaf.K || v.Results[p.V] != v.Leaf.V) {
		return errors.New("the program's results are not the leaf's key and value")
	}
	if l == m.Layers && (v.Leaf.K != core.Hash{} || v.Leaf.V != core.Hash{}) {
		return errors.New("the last leaf holds no key and value")
	}
	heads := v.Heads
	for i := range p.Ops {
		if o := &p.Ops[i]; o.Heads > 0 {
			if len(heads) == 0 || len(heads[0]) != o.Heads || HeadsCommitment(heads[0]) != v.Results[i] {
				return fmt.Errorf("the heads of the %s are not those of its result", o.Name)
			}
			heads = heads[1:]
		}
	}
	if len(heads) > 0 {
		return errors.New("heads of no operator")
	}
	if (p.Route >= 0) != (len(v.Routed) > 0) {
		return errors.New("exactly mixtures of experts show which are chosen")
	}
	if p.Route >= 0 {
		if commit.Vector(v.Routed) != v.Results[p.Route] {
			return errors.New("the chosen experts are not those of the result")
		}
		var err error
		if s.Experts, err = m.Chosen(v.Routed); err != nil {
			return err
		}
	}
	s.Results, s.Phase = v.Results, NeedOperator
	return nil
}

func (s *State) pickOperator(m *Model, v *PickOperator) error {
	if s.Phase != NeedOperator {
		return errWrong
	}
	p := s.program(m)
	if int(v.Operator) >= len(p.Ops) {
		return fmt.Errorf("there is no operator %d of %d", v.Operator, len(p.Ops))
	}
	if o := &p.Ops[v.Operator]; int(v.Head) >= max(o.Heads, 1) {
		return fmt.Errorf("there is no head %d", v.Head)
	}
	s.Operator, s.Head, s.Phase = v.Operator, v.Head, NeedTiles
	return nil
}

// operator is the disputed operator; a logit is a group of a linear one.
func (s *State) operator(m *Model) *Operator {
	if s.Logit != nil {
		return &Operator{Kind: Linear, Name: "logits", Len: m.Vocabulary, A: 0, Weights: m.head}
	}
	return &s.program(m).Ops[s.Operator]
}

func (s *State) tiles(m *Model, v *Tiles) error {
	if s.Phase != NeedTiles || s.summing() {
		return errWrong
	}
	o := s.operator(m)
	if len(v.Tiles) != o.tiles() {
		return fmt.Errorf("%d tiles of %d", len(v.Tiles), o.tiles())
	}
	c := commit.Opened(o.Len, v.Tiles)
	if (o.Kind == Exp) != (v.Softmax != nil) {
		return errors.New("maximum and sums belong to exp")
	}
	if o.Kind == Exp {
		if len(v.Running) != len(v.Tiles) || equalLanes(v.Running[len(v.Running)-1], v.Softmax.Lanes) != nil || int(v.Softmax.At) >= o.Len {
			return errors.New("the running sums do not end in the sums, or the maximum is nowhere")
		}
		c = v.Softmax.Segment(c)
	}
	if o.Heads > 0 {
		if len(v.Segments) != o.Heads || v.Segments[s.Head] != c {
			return errors.New("the tiles are not those of the head")
		}
		c = HeadsCommitment(v.Segments)
	}
	if o.Kind == Mix && len(v.Segments) != m.Parts() {
		return fmt.Errorf("%d parts of %d", len(v.Segments), m.Parts())
	}
	if c != s.Results[s.Operator] {
		return errors.New("the tiles are not those of the result that was committed to")
	}
	s.Softmax, s.Phase = v.Softmax, NeedTile
	return nil
}

// lastTiles is the provider's last move, which was accepted as *Tiles.
func (s *State) lastTiles() (*Tiles, error) {
	v, err := DecodeMove(s.Last)
	t, ok := v.(*Tiles)
	if err != nil || !ok {
		return nil, errWrong
	}
	return t, nil
}

func (s *State) lastChunks() (*Chunks, error) {
	v, err := DecodeMove(s.Last)
	c, ok := v.(*Chunks)
	if err != nil || !ok {
		return nil, errWrong
	}
	return c, nil
}

func (s *State) pickTile(m *Model, v *PickTile) error {
	if s.Phase != NeedTile || s.summing() {
		return errWrong
	}
	o := s.operator(m)
	last, err := s.lastTiles()
	if err != nil {
		return err
	}
	choices := o.tiles()
	if o.Kind == Mix {
		choices = m.Parts()
	}
	if o.Kind == Exp && v.Part > PartSum || o.Kind != Exp && v.Part != 0 {
		return fmt.Errorf("there is no part %d", v.Part)
	}
	if int(v.Tile) >= choices {
		return fmt.Errorf("there is no tile %d of %d", v.Tile, choices)
	}
	s.Tile, s.Part = v.Tile, v.Part
	if o.Kind != Mix {
		s.Target = last.Tiles[v.Tile]
	}
	switch o.Kind {
	case Norm, Linear, Score, Weigh:
		s.Phase = NeedChunks
	case Mix:
		s.Phase, s.Lo, s.Hi = NeedChunks, uint32(o.Origin), s.Claim.Position+1
	case Exp:
		s.Lanes[0], s.Lanes[1] = spec.Lanes{}, last.Running[v.Tile]
		if v.Tile > 0 {
			s.Lanes[0] = last.Running[v.Tile-1]
		}
		s.Phase = NeedStep
	default:
		s.Phase = NeedStep
	}
	return nil
}

func (s *State) chunks(m *Model, v *Chunks) error {
	if s.Phase != NeedChunks || s.counting() {
		return errWrong
	}
	o := s.operator(m)
	var err error
	switch o.Kind {
	case Norm:
		err = s.normChunks(o, v)
	case Linear:
		err = s.linearChunks(m, o, v)
	case Score, Weigh:
		err = s.produces(v.Values)
	case Mix:
		err = s.mixChunks(m, o, v)
	}
	if err == nil {
		s.Phase = NeedChunk
	}
	return err
}

func (s *State) normChunks(o *Operator, v *Chunks) error {
	if len(v.Lanes) != o.tiles() {
		return fmt.Errorf("%d running sums for %d tiles", len(v.Lanes), o.tiles())
	}
	return nil
}

// Groups are the groups of rows in question: those of a tile, or a logit's one.
func (s *State) Groups(o *Operator) (first, n int) {
	if s.Logit != nil {
		return int(s.Tile), 1
	}
	from, to := s.tileRange(o)
	return o.Weights.Groups(from, to)
}

// GroupRows are the rows of a group that are in question: those of the tile, or
// a logit's whole group.
func (s *State) GroupRows(o *Operator, group int) (from, to int) {
	from, to = o.Weights.Group(group)
	if s.Logit == nil {
		lo, hi := s.tileRange(o)
		from, to = max(from, lo), min(to, hi)
	}
	return from, to
}

func (s *State) linearChunks(m *Model, o *Operator, v *Chunks) error {
	columns := commit.Count(o.Weights.Cols)
	first, n := s.Groups(o)
	if len(v.Sums) != n*columns {
		return fmt.Errorf("%d partial sums for %d groups of rows and %d chunks of columns", len(v.Sums), n, columns)
	}
	start, _ := s.GroupRows(o, first)
	_, end := s.GroupRows(o, first+n-1)
	if len(v.Values) != end-start {
		return fmt.Errorf("%d numbers for %d rows", len(v.Values), end-start)
	}
	if s.Logit == nil {
		if err := s.produces(v.Values); err != nil {
			return errors.New("the numbers are not those of the tile")
		}
	} else if err := s.checkLogit(m, m.Logit(v.Values[int(s.Logit.Token)-start]), v.Seen); err != nil {
		return err
	}
	for g := range n {
		from, to := s.GroupRows(o, first+g)
		if commit.Tile(v.Values[from-start:to-start]) != v.Sums[(g+1)*columns-1] {
			return errors.New("the last partial sums are not the result")
		}
	}
	return nil
}

func (s *State) pickChunk(m *Model, v *PickChunk) error {
	if s.Phase != NeedChunk {
		return errWrong
	}
	if s.counting() {
		return s.pickRun(v)
	}
	last, err := s.lastChunks()
	if err != nil {
		return err
	}
	o, c := s.operator(m), int(v.Chunk)
	choices := len(last.Sums)
	switch o.Kind {
	case Norm:
		choices = len(last.Lanes) + 1 // and the result itself
	case Score, Weigh:
		choices = len(last.Values)
	}
	if c >= choices {
		return fmt.Errorf("there is no chunk %d of %d", c, choices)
	}
	s.Chunk, s.Phase = v.Chunk, NeedStep
	switch o.Kind {
	case Norm:
		s.Lanes = [2]spec.Lanes{}
		if c > 0 {
			s.Lanes[0] = last.Lanes[c-1]
		}
		if c < len(last.Lanes) {
			s.Lanes[1] = last.Lanes[c]
		}
	case Linear:
		s.Sums = [2]core.Hash{{}, last.Sums[c]}
		if c%commit.Count(o.Weights.Cols) > 0 {
			s.Sums[0] = last.Sums[c-1]
		}
	case Score, Weigh:
		s.Value = last.Values[c]
	case Mix:
		if c > 0 {
			s.Sums[0] = last.Sums[c-1]
		}
		s.Sums[1] = last.Sums[c]
		_, length := Runs(int(s.Hi - s.Lo))
		lo := s.Lo + uint32(c*length)
		s.Lo, s.Hi = lo, min(s.Hi, lo+uint32(length))
		if s.Hi-s.Lo > 1 {
			s.Phase = NeedChunks
		}
	}
	return nil
}

func tagged(tag string, hashes ...core.Hash) core.Hash {
	b := make([]byte, 0, 32*len(hashes))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return taggedBytes(tag, b)
}

func taggedBytes(tag string, data []byte) core.Hash {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(tag)+len(data)), uint32(len(tag)))
	return sha256.Sum256(append(append(b, tag...), data...))
}
