package referee

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Side is a party of a dispute.
type Side uint8

// The sides.
const (
	Challenger Side = iota + 1 // says that the receipt is wrong
	Provider                   // says that it is right
)

func (s Side) String() string {
	switch s {
	case Challenger:
		return "challenger"
	case Provider:
		return "provider"
	}
	return "nobody"
}

// Other is the opponent.
func (s Side) Other() Side { return Challenger + Provider - s }

// Move is one message of a game: *Nodes, *PickNode, *Layer, *Claims,
// *PickOperator, *PickLogit, *Tiles, *PickTile, *Chunks, *PickChunk or *Step; of a
// draw also *PickSum, *Sums, *Logits, *PickCount or *Counts.
type Move interface {
	side() Side
	tag() uint8
}

// Boundary opens a leaf under a receipt's boundary root.
type Boundary struct {
	Salt    core.Hash
	X, K, V core.Hash // commitments to residual stream, key row and value row
	Path    []core.Hash
}

// Nodes opens the node of the boundary tree in question: those some levels
// below it, from left to right.
type Nodes struct{ Nodes []core.Hash }

// PickNode names the first node that is wrong.
type PickNode struct{ Node uint32 }

// Layer commits to every result of a leaf's program, in order.
type Layer struct {
	Results []core.Hash
	Heads   [][]core.Hash // the segments of score, of exp and of weigh
	Routed  []float32     // where experts are chosen: their numbers, and their weights
	Before  *Boundary     // leaf (t,l-1), unless l = 0
	Leaf    Boundary      // leaf (t,l); after a search without its path
}

// PickOperator names the first result that is wrong.
type PickOperator struct {
	Operator uint32
	Head     uint32 // of a score or exp
}

// Softmax are the numbers of one head beside its weights.
type Softmax struct {
	Max   float32
	At    uint32     // the first position of the maximum
	Lanes spec.Lanes // sums of the weights, all positions
}

// Tiles opens the named result.
type Tiles struct {
	Segments []core.Hash // of all heads, for score and exp; for mix, the hashes of their parts of the result
	Tiles    []core.Hash
	Softmax  *Softmax     // for exp
	Running  []spec.Lanes // for exp: the lane sums after each tile
}

// Parts of an exp's tile that may be wrong.
const (
	PartMax = iota // a score of the tile exceeds the maximum, or the maximum is not where it is said to be
	PartExp        // an exponential
	PartSum        // the lane sums
)

// PickTile names the first wrong tile; of a mix the head.
type PickTile struct {
	Tile uint32
	Part uint32 // of an exp
}

// Chunks commits to the partial sums of the named tile.
type Chunks struct {
	// Values are the tile; of a logit its group of rows; of a mix the head's sums
	// before they are divided.
	Values []float32
	// Sums are hashes of partial sums: of a linear after each chunk of columns,
	// for one group of rows that share weight leaves after the other; of a mix
	// after each run of positions.
	Sums  []core.Hash
	Lanes []spec.Lanes // of a norm, after each tile of its operand
	// Seen goes with the logit of a token of which nothing was said, where the
	// sampler has penalties.
	Seen *sample.Seen
	// Exp and Result link a mix's first round to the commitments.
	Exp     *HeadExp
	Weighed []core.Hash // with int8 values: all parts of the weights by scales
	Result  *Vector     // the tiles of the result that hold the part
}

// HeadExp opens one head of an exp.
type HeadExp struct {
	Segments []core.Hash // of all heads
	Weights  core.Hash   // commitment to the head's weights
	Softmax  Softmax
}

// PickChunk names the first chunk after which the partial sum is wrong; of a
// score the number within the tile.
type PickChunk struct{ Chunk uint32 }

// Vector opens some tiles of a committed vector.
type Vector struct {
	Tiles  []core.Hash // of the whole vector
	First  uint32      // the first tile that is shown
	Values []float32   // whole tiles
}

// Weights opens a weight leaf under the model root.
type Weights struct {
	Data []byte
	Path []core.Hash
}

// Step is the last message: everything that one step needs.
type Step struct {
	A, B, C  *Vector // operands
	Weights  *Weights
	Before   []float32   // partial sums before the step; none for the first
	Values   []float32   // of an exp whose sums are in question: the tile
	Boundary *Boundary   // score and mix: the leaf at the position in question
	Row      *Vector     // its key or value row
	Kept     *KeptRow    // or the row as an int8 cache keeps it
	Exp      *HeadExp    // weigh: the head's exponentials
	Segments []core.Hash // of an exp: the score's heads
	Token    core.Token  // embed: the token at the position
	Path     []core.Hash // its place among the tokens
}

func (*Layer) side() Side        { return Provider }
func (*Claims) side() Side       { return Provider }
func (*Tiles) side() Side        { return Provider }
func (*Chunks) side() Side       { return Provider }
func (*Step) side() Side         { return Provider }
func (*Nodes) side() Side        { return Provider }
func (*PickNode) side() Side     { return Challenger }
func (*PickOperator) side() Side { return Challenger }
func (*PickLogit) side() Side    { return Challenger }
func (*PickTile) side() Side     { return Challenger }
func (*PickChunk) side() Side    { return Challenger }

func (*Layer) tag() uint8        { return 1 }
func (*Claims) tag() uint8       { return 2 }
func (*PickOperator) tag() uint8 { return 3 }
func (*PickLogit) tag() uint8    { return 4 }
func (*Tiles) tag() uint8        { return 5 }
func (*PickTile) tag() uint8     { return 6 }
func (*Chunks) tag() uint8       { return 7 }
func (*PickChunk) tag() uint8    { return 8 }
func (*Step) tag() uint8         { return 9 }
func (*Nodes) tag() uint8        { return 10 }
func (*PickNode) tag() uint8     { return 11 }

// EncodeMove writes a move.
func EncodeMove(m Move) []byte { return append([]byte{m.tag()}, Encode(m)[4:]...) }

// DecodeMove reads what [EncodeMove] wrote, at most [MaxMove] bytes.
func DecodeMove(b []byte) (Move, error) {
	if len(b) == 0 || len(b) > MaxMove {
		return nil, fmt.Errorf("a move of %d bytes, possible are 1 to %d", len(b), MaxMove)
	}
	for _, m := range []Move{&Layer{}, &Claims{}, &PickOperator{}, &PickLogit{}, &Tiles{}, &PickTile{}, &Chunks{}, &PickChunk{}, &Step{}, &Nodes{}, &PickNode{},
		&PickCount{}, &PickSum{}, &Sums{}, &Logits{}, &Counts{}, &WrongSalt{}} {
		if m.tag() == b[0] {
			return m, Decode(b[1:], m)
		}
	}
	return nil, fmt.Errorf("there is no move of kind %d", b[0])
}

// leafHash is the leaf that an opening shows.
func (b *Boundary) leafHash() core.Hash { return commit.Leaf(b.Salt, commit.Boundary(b.X, b.K, b.V)) }

// check verifies the opening of leaf (t,l).
func (b *Boundary) check(g *State, t, l int) error {
	per := uint64(g.Layers) + 1
	p := merkle.Proof[core.Hash]{Index: uint64(t)*per + uint64(l), Size: uint64(g.Positions) * per, Path: b.Path}
	if !merkle.Verify(g.BoundaryRoot, b.leafHash(), p) {
		return fmt.Errorf("leaf (%d,%d) is not under the receipt's boundary root", t, l)
	}
	return nil
}

// open checks that v shows tiles of the vector of n numbers under commitment c,
// and returns the numbers from position from to to.
func (v *Vector) open(c core.Hash, n, from, to int) ([]float32, error) {
	if v == nil {
		return nil, fmt.Errorf("a vector is not opened")
	}
	first, last := from/commit.TileLen, (to-1)/commit.TileLen
	if len(v.Tiles) != commit.Count(n) || commit.Opened(n, v.Tiles) != c {
		return nil, fmt.Errorf("the tiles are not those of the vector that was committed to")
	}
	if from < 0 || to > n || from >= to || int(v.First) != first {
		return nil, fmt.Errorf("the opening shows the tiles from %d, asked are %d to %d", v.First, first, last)
	}
	start := first * commit.TileLen
	if len(v.Values) != min(n, (last+1)*commit.TileLen)-start {
		return nil, fmt.Errorf("the opening shows %d numbers", len(v.Values))
	}
	for i := first; i <= last; i++ {
		at := (i - first) * commit.TileLen
		if commit.Tile(v.Values[at:min(len(v.Values), at+commit.TileLen)]) != v.Tiles[i] {
			return nil, fmt.Errorf("tile %d is not the one committed to", i)
		}
	}
	return v.Values[from-start : to-start], nil
}

// HeadsCommitment commits to the segments of all heads.
func HeadsCommitment(segments []core.Hash) core.Hash {
	return tagged("koinon/heads/1", segments...)
}

// Segment commits to a head's weights and the numbers beside them.
func (s *Softmax) Segment(weights core.Hash) core.Hash {
	b := make([]byte, 0, 72)
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(s.Max))
	b = binary.BigEndian.AppendUint32(b, s.At)
	for _, v := range s.Lanes {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(v))
	}
	return taggedBytes("koinon/softmax/1", append(append([]byte(nil), weights[:]...), b...))
}

// Name is a move's kind, for people.
func Name(m Move) string {
	return map[uint8]string{1: "layer", 2: "claims", 3: "pick operator", 4: "pick logit", 5: "tiles", 6: "pick tile", 7: "chunks", 8: "pick chunk", 9: "step",
		10: "nodes", 11: "pick node", 20: "pick count", 21: "pick sum", 22: "sums", 23: "logits", 24: "counts", 40: "wrong salt"}[m.tag()]
}
