package referee

import (
	"errors"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

var errStep = errors.New("the step does not give what was committed to")

// Work bounds the multiplications, or operations as costly, of the next move's
// check: what a chain charges before it works.
func (s *State) Work(m *Model) uint64 {
	switch {
	case s.Phase == NeedTiles && s.summing():
		return commit.TileLen * 64 // exponentials
	case s.Phase != NeedStep || s.counting():
		return 1000
	}
	o := s.operator(m)
	switch o.Kind {
	case Linear:
		return uint64(o.Weights.GroupRows()) * commit.TileLen
	case Rotate:
		return uint64(commit.TileLen+2*m.headDim) * 64 // sines in binary64
	}
	return commit.TileLen * 32
}

// step executes the last step: an error means that it does not hold.
func (s *State) step(m *Model, v *Step) error {
	if s.counting() {
		return s.countStep(v)
	}
	o := s.operator(m)
	switch o.Kind {
	case Embed:
		return s.embedStep(m, o, v)
	case Norm:
		return s.normStep(m, o, v)
	case Linear:
		return s.linearStep(m, o, v)
	case Score:
		return s.scoreStep(m, o, v)
	case Exp:
		return s.expStep(o, v)
	case Mix:
		return s.mixStep(m, o, v)
	}
	return s.elementStep(m, o, v)
}

// operand is the commitment to an operand of the disputed operator.
func (s *State) operand(i int) core.Hash {
	if i == Input {
		return s.Input
	}
	return s.Results[i]
}

// range of the disputed tile within the result.
func (s *State) tileRange(o *Operator) (from, to int) {
	from = int(s.Tile) * commit.TileLen
	return from, min(o.Len, from+commit.TileLen)
}

// gives reports whether x has the committed hash. A NaN gives nothing: its bits
// differ between processors, and an answer that holds one has no receipt.
func gives(x []float32, h core.Hash) bool {
	for _, v := range x {
		if v != v {
			return false
		}
	}
	return commit.Tile(x) == h
}

func (s *State) produces(x []float32) error {
	if !gives(x, s.Target) {
		return errStep
	}
	return nil
}

func tokenAt(root core.Hash, t core.Token, at, of uint64, path []core.Hash) error {
	if !merkle.Verify(root, core.TokenLeaf(t), merkle.Proof[core.Hash]{Index: at, Size: of, Path: path}) {
		return fmt.Errorf("token %d does not stand at place %d of %d", t, at, of)
	}
	return nil
}

func (s *State) embedStep(m *Model, o *Operator, v *Step) error {
	if err := s.tokenOf(v.Token, s.Claim.Position, v.Path); err != nil {
		return err
	}
	if v.Token < 0 || int(v.Token) >= o.Weights.Rows {
		return errors.New("the token is not in the vocabulary")
	}
	w := o.Weights
	group := int(v.Token) / w.GroupRows()
	data, err := v.Weights.open(m, w, group, int(s.Tile))
	if err != nil {
		return err
	}
	from, to := s.tileRange(o)
	x := make([]float32, to-from)
	first, _ := w.Group(group)
	w.Decode(x, data[int(v.Token)-first])
	return s.produces(x)
}

func (s *State) normStep(m *Model, o *Operator, v *Step) error {
	tile := int(s.Chunk)
	sums := tile < o.tiles()
	if !sums {
		tile = int(s.Tile)
	}
	from := tile * commit.TileLen
	x, err := v.A.open(s.operand(o.A), o.Len, from, min(o.Len, from+commit.TileLen))
	if err != nil {
		return err
	}
	if sums {
		lanes := s.Lanes[0]
		lanes.AddSquares(x)
		return equalLanes(lanes, s.Lanes[1])
	}
	data, err := v.Weights.open(m, o.Weights, 0, tile)
	if err != nil {
		return err
	}
	g := make([]float32, len(x))
	o.Weights.Decode(g, data[0])
	y := make([]float32, len(x))
	// The running sums before the result are the last ones.
	spec.RMSNormScale(y, x, g, spec.RMSNormInverse(s.Lanes[0].Total(), o.Len, m.eps))
	return s.produces(y)
}

func equalLanes(a, b spec.Lanes) error {
	for i := range a {
		if a[i] != a[i] || math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return errStep
		}
	}
	return nil
}

func (s *State) linearStep(m *Model, o *Operator, v *Step) error {
	w, columns := o.Weights, commit.Count(o.Weights.Cols)
	first, _ := s.Groups(o)
	group, column := first+int(s.Chunk)/columns, int(s.Chunk)%columns
	from := column * commit.TileLen
	x, err := v.A.open(s.operand(o.A), w.Cols, from, min(w.Cols, from+commit.TileLen))
	if err != nil {
		return err
	}
	rows, err := v.Weights.open(m, w, group, column)
	if err != nil {
		return err
	}
	sums, err := s.before(v, len(rows))
	if err != nil {
		return err
	}
	w.Accumulate(sums, rows, x)
	if !gives(sums, s.Sums[1]) {
		return errStep
	}
	return nil
}

// before returns the partial sums that the step starts from: those committed
// to, or zeros.
func (s *State) before(v *Step, n int) ([]float32, error) {
	if s.Sums[0].IsZero() {
		if len(v.Before) != 0 {
			return nil, errors.New("the first step starts from zero")
		}
		return make([]float32, n), nil
	}
	if len(v.Before) != n || commit.Tile(v.Before) != s.Sums[0] {
		return nil, errors.New("the partial sums before the step are not those committed to")
	}
	return append([]float32(nil), v.Before...), nil
}

// row opens this head's part of the key (or value) row at position p.
func (s *State) row(m *Model, v *Step, p, head int, value bool) ([]float32, error) {
	if v.Boundary == nil {
		return nil, errors.New("the leaf of the position is not opened")
	}
	if err := v.Boundary.check(s, p, int(s.Claim.Layer)-1); err != nil {
		return nil, err
	}
	c := v.Boundary.K
	if value {
		c = v.Boundary.V
	}
	from := head / (m.heads / m.kvHeads) * m.headDim
	return v.Row.open(c, m.kvWidth(), from, from+m.headDim)
}

func (s *State) scoreStep(m *Model, o *Operator, v *Step) error {
	at := int(s.Tile)*commit.TileLen + int(s.Chunk)
	k, err := s.row(m, v, at, int(s.Head), false)
	if err != nil {
		return err
	}
	from := int(s.Head) * m.headDim
	q, err := v.A.open(s.operand(o.A), m.qWidth(), from, from+m.headDim)
	if err != nil {
		return err
	}
	own := spec.AttentionScore(q, k, spec.AttentionScale(m.headDim))
	if own != own || math.Float32bits(own) != math.Float32bits(s.Value) {
		return errStep
	}
	return nil
}

func (s *State) expStep(o *Operator, v *Step) error {
	from, to := s.tileRange(o)
	if s.Part == PartSum {
		if err := s.produces(v.Values); err != nil {
			return errors.New("the weights are not those of the tile")
		}
		lanes := s.Lanes[0]
		lanes.Add(v.Values)
		return equalLanes(lanes, s.Lanes[1])
	}
	// Scores are committed by head.
	if int(s.Head) >= len(v.Segments) || len(v.Segments) != o.Heads || HeadsCommitment(v.Segments) != s.operand(o.A) {
		return errors.New("the heads are not those of the scores")
	}
	x, err := v.A.open(v.Segments[s.Head], o.Len, from, to)
	if err != nil {
		return err
	}
	if s.Part == PartMax {
		return s.Softmax.checkMax(x, from)
	}
	y := append([]float32(nil), x...)
	new(spec.Lanes).AddExp(y, s.Softmax.Max)
	return s.produces(y)
}

// checkMax holds the scores from position first on against the maximum: it is
// the first of the greatest.
func (m *Softmax) checkMax(x []float32, first int) error {
	at := int(m.At)
	for i, v := range x {
		if p := first + i; v > m.Max || p < at && v == m.Max || p == at && math.Float32bits(v) != math.Float32bits(m.Max) {
			return errStep
		}
	}
	return nil
}

func (s *State) mixStep(m *Model, o *Operator, v *Step) error {
	at, head := int(s.Lo), int(s.Tile)
	row, err := s.row(m, v, at, head, true)
	if err != nil {
		return err
	}
	// Target is the commitment to the head's weights since the first round.
	w, err := v.A.open(s.Target, int(s.Claim.Position)+1, at, at+1)
	if err != nil {
		return err
	}
	sums, err := s.before(v, m.headDim)
	if err != nil {
		return err
	}
	spec.AttentionMixStep(sums, w, row, m.headDim)
	if !gives(sums, s.Sums[1]) {
		return errStep
	}
	return nil
}

// elementStep executes operators whose tile needs one tile of each operand.
func (s *State) elementStep(m *Model, o *Operator, v *Step) error {
	from, to := s.tileRange(o)
	lo, hi := from, to
	if o.Kind == Rotate { // whole heads
		lo, hi = from/m.headDim*m.headDim, min(o.Len, (to+m.headDim-1)/m.headDim*m.headDim)
	}
	a, err := v.A.open(s.operand(o.A), o.Len, lo, hi)
	if err != nil {
		return err
	}
	y := append([]float32(nil), a...)
	switch o.Kind {
	case Bias:
		data, err := v.Weights.open(m, o.Weights, 0, int(s.Tile))
		if err != nil {
			return err
		}
		b := make([]float32, len(y))
		o.Weights.Decode(b, data[0])
		spec.Add(y, b)
	case Rotate:
		rope, err := m.ropeOf(v)
		if err != nil {
			return err
		}
		f := rope.Frequencies()
		cos, sin := make([]float32, len(f)), make([]float32, len(f))
		spec.RoPERow(cos, sin, f, int(s.Claim.Position))
		for h := 0; h < len(y); h += m.headDim {
			spec.Rotate(y[h:h+m.headDim], cos, sin, rope.Style)
		}
		y = y[from-lo : to-lo]
	case Add, Gate:
		b, err := v.B.open(s.operand(o.B), o.Len, from, to)
		if err != nil {
			return err
		}
		if o.Kind == Add {
			spec.Add(y, b)
		} else {
			spec.SiLUMul(y, b)
		}
	}
	return s.produces(y)
}

// ropeOf is the model's rotary embedding, with the factors that the step opens.
func (m *Model) ropeOf(v *Step) (spec.RoPE, error) {
	r := m.rope
	if m.factors.First == 0 {
		return r, nil
	}
	if m.factors.Cols > commit.TileLen {
		return r, errors.New("more than 256 rotary factors are not judged")
	}
	data, err := v.Weights.open(m, m.factors, 0, 0)
	if err != nil {
		return r, err
	}
	r.Factors = make([]float32, m.factors.Cols)
	m.factors.Decode(r.Factors, data[0])
	return r, nil
}

// GroupRows is how many rows share a weight leaf.
func (w Matrix) GroupRows() int { rows, _ := gguf.WeightLeaf(w.Format); return rows }

// Group is the range of rows of a group.
func (w Matrix) Group(i int) (from, to int) {
	n := w.GroupRows()
	return i * n, min(w.Rows, (i+1)*n)
}

// Leaf is the position of a weight leaf under the model root.
func (w Matrix) Leaf(group, column int) uint64 {
	_, across := gguf.WeightLeaves(w.Format, w.Rows, w.Cols)
	return w.First + uint64(group)*across + uint64(column)
}

// open checks a weight leaf and returns its rows' bytes.
func (v *Weights) open(m *Model, w Matrix, group, column int) ([][]byte, error) {
	if v == nil {
		return nil, errors.New("the weights are not opened")
	}
	p := merkle.Proof[core.Hash]{Index: w.Leaf(group, column), Size: m.Leaves, Path: v.Path}
	if !merkle.Verify(m.Root, gguf.WeightLeafHash(v.Data), p) {
		return nil, errors.New("the weights are not those under the model root")
	}
	from, to := w.Group(group)
	at := column * commit.TileLen
	size := w.Format.RowSize(min(w.Cols-at, commit.TileLen))
	if len(v.Data) != (to-from)*size {
		return nil, errors.New("the weight leaf has another size")
	}
	rows := make([][]byte, to-from)
	for i := range rows {
		rows[i] = v.Data[i*size : (i+1)*size]
	}
	return rows, nil
}
