package referee

import (
	"errors"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// row checks the opening of the leaf that holds the keys and values of position
// p, and returns the commitment to one of its rows.
func (s *State) row(v *Step, p int, value bool) (core.Hash, error) {
	if v.Boundary == nil {
		return core.Hash{}, errors.New("the leaf of the position is not opened")
	}
	if err := v.Boundary.check(s, p, int(s.Claim.Layer)-1); err != nil {
		return core.Hash{}, err
	}
	if value {
		return v.Boundary.V, nil
	}
	return v.Boundary.K, nil
}

func (s *State) scoreStep(m *Model, o *Operator, v *Step) error {
	at := o.Origin + int(s.Tile)*commit.TileLen + int(s.Chunk)
	if at < o.First { // outside of the window
		return same(spec.MaxStart(), s.Value)
	}
	k, err := s.row(v, at, false)
	if err != nil {
		return err
	}
	head, d := int(s.Head), m.HeadDim()
	q, err := v.A.open(s.operand(o.A), m.config.QWidth(), head*d, (head+1)*d)
	if err != nil {
		return err
	}
	from, to := m.HeadRange(head)
	var own float32
	if m.int8 {
		quants, scales, err := v.openRow(m, k, from, to, true, true)
		if err != nil {
			return err
		}
		own = m.Score8(q, quants, scales)
	} else {
		row, err := v.Row.open(k, m.config.KVWidth(), from, to)
		if err != nil {
			return err
		}
		own = m.Score(q, row)
	}
	return same(own, s.Value)
}

// Score is the score of a query and a key of one head.
func (m *Model) Score(q, k []float32) float32 {
	return m.capped(spec.AttentionScore(q, k, m.config.ScoreScale))
}

// Score8 is [Model.Score] for a key that is kept as int8.
func (m *Model) Score8(q []float32, quants []int8, scales []float32) float32 {
	query := spec.QuantizeRows(q)
	dot := spec.AttentionScore8Step(0, query.Q, query.Scales, quants, scales)
	return m.capped(float32(dot * m.config.ScoreScale))
}

func (m *Model) capped(score float32) float32 {
	if m.config.ScoreCap == 0 {
		return score
	}
	x := []float32{score}
	spec.SoftCap(x, m.config.ScoreCap)
	return x[0]
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

// weighStep checks one weight by the scale of a block of an int8 value.
func (s *State) weighStep(m *Model, o *Operator, v *Step) error {
	i := int(s.Tile)*commit.TileLen + int(s.Chunk)
	if o.Origin+i < o.First {
		return same(0, s.Value)
	}
	a, err := s.weight(m, o, v, i)
	if err != nil {
		return err
	}
	row, err := s.row(v, o.Origin+i, true)
	if err != nil {
		return err
	}
	from, to := m.PartRange(int(s.Head))
	_, scales, err := v.openRow(m, row, from, to, false, true)
	if err != nil {
		return err
	}
	return same(spec.AttentionWeight8(a, scales[0]), s.Value)
}

// weight opens number i of the exponentials that the disputed part is made of.
func (s *State) weight(m *Model, o *Operator, v *Step, i int) (float32, error) {
	e := v.Exp
	head := m.HeadOf(int(s.Head))
	if e == nil || len(e.Segments) != m.Heads() || e.Segments[head] != e.Softmax.Segment(e.Weights) || HeadsCommitment(e.Segments) != s.operand(o.A) {
		return 0, errors.New("maximum and sums are not those of the head's exp")
	}
	a, err := v.A.open(e.Weights, o.Len, i, i+1)
	if err != nil {
		return 0, err
	}
	return a[0], nil
}

// Runs is the number of runs into which a mix's positions are cut, and their
// length.
func Runs(positions int) (n, length int) {
	length = (positions + mixFan - 1) / mixFan
	return (positions + length - 1) / length, length
}

// mixFan is how many runs of positions a round of a mix shows.
const mixFan = 32

func (s *State) mixChunks(m *Model, o *Operator, v *Chunks) error {
	n, _ := Runs(int(s.Hi - s.Lo))
	if len(v.Sums) != n {
		return fmt.Errorf("%d partial sums for %d runs", len(v.Sums), n)
	}
	if !s.Linked {
		return s.linkMix(m, o, v)
	}
	if v.Sums[n-1] != s.Sums[1] {
		return errors.New("the last partial sum is not the one of the run")
	}
	return nil
}

// linkMix checks a mix's first round: the part's last sums, divided, are its part
// of the result.
func (s *State) linkMix(m *Model, o *Operator, v *Chunks) error {
	part, last := int(s.Tile), len(v.Sums)-1
	e, head := v.Exp, m.HeadOf(part)
	if e == nil || len(e.Segments) != m.Heads() || e.Segments[head] != e.Softmax.Segment(e.Weights) || HeadsCommitment(e.Segments) != s.Results[o.B] {
		return errors.New("maximum and sums are not those of the head's exp")
	}
	weights := e.Weights
	if m.int8 {
		if len(v.Weighed) != m.Parts() || HeadsCommitment(v.Weighed) != s.Results[o.A] {
			return errors.New("the weights by scales are not those of the result")
		}
		weights = v.Weighed[part]
	}
	if err := s.linkParts(m, o, v); err != nil {
		return err
	}
	if len(v.Values) != m.MixState() || commit.Tile(v.Values) != v.Sums[last] {
		return errors.New("the last partial sum is not the part's")
	}
	shown, err := s.lastTiles()
	if err != nil {
		return err
	}
	own := append([]float32(nil), v.Values[:m.Part()]...)
	spec.AttentionFinish(own, e.Softmax.Lanes.Total())
	if !gives(own, shown.Segments[part]) {
		return errors.New("the sums do not give the part of the result")
	}
	s.Linked, s.Target = true, weights
	return nil
}

// linkParts checks that the parts which were shown are those of the tiles that
// hold the part in question.
func (s *State) linkParts(m *Model, o *Operator, v *Chunks) error {
	shown, err := s.lastTiles()
	if err != nil {
		return err
	}
	d := m.Part()
	from, to := PartsAround(d, o.Len, int(s.Tile))
	y, err := v.Result.open(s.Results[s.Operator], o.Len, from, to)
	if err != nil {
		return err
	}
	for at := from; at < to; at += d {
		if commit.Tile(y[at-from:at-from+d]) != shown.Segments[at/d] {
			return errors.New("the parts are not those of the tile")
		}
	}
	return nil
}

// PartsAround is the range of numbers of a vector of n, made of parts of d, that
// belong to the parts in the tiles that hold some of this part.
func PartsAround(d, n, part int) (from, to int) {
	from = part * d / commit.TileLen * commit.TileLen / d * d
	to = (((part+1)*d-1)/commit.TileLen + 1) * commit.TileLen
	return from, min(n, (to+d-1)/d*d)
}

func (s *State) mixStep(m *Model, o *Operator, v *Step) error {
	at, part, last := int(s.Lo), int(s.Tile), int(s.Claim.Position)
	sums, err := s.before(v, m.MixState())
	if err != nil {
		return err
	}
	// Target is the commitment to the part's weights since the first round.
	i, n := at-o.Origin, last+1-o.Origin
	lo := i
	if m.int8 {
		lo = i / spec.Block * spec.Block
	}
	hi := min(n, lo+m.mixed())
	w, err := v.A.open(s.Target, n, lo, hi)
	if err != nil {
		return err
	}
	if at >= o.First {
		row, err := s.row(v, at, true)
		if err != nil {
			return err
		}
		from, to := m.PartRange(part)
		if m.int8 {
			quants, _, err := v.openRow(m, row, from, to, true, false)
			if err != nil {
				return err
			}
			Gather8(sums, w, quants, i-lo)
		} else {
			values, err := v.Row.open(row, m.config.KVWidth(), from, to)
			if err != nil {
				return err
			}
			spec.AttentionMixStep(sums, w, values, len(sums))
		}
	}
	if m.int8 && i+1 == hi {
		Settle8(sums, w)
	}
	if !gives(sums, s.Sums[1]) {
		return errStep
	}
	return nil
}

// mixed is how many positions' weights a step of a mix depends on.
func (m *Model) mixed() int {
	if m.int8 {
		return spec.Block
	}
	return 1
}

// MixState is how many numbers a mix carries from one position to the next: the
// sums of a part and, where values are kept as int8, the block's sums of
// products of quants, which are whole numbers below 2^24.
func (m *Model) MixState() int {
	if m.int8 {
		return 2 * spec.Block
	}
	return m.config.HeadDim
}

// Gather8 adds the products of quants of the i-th position of a block, whose
// weights are w, to the second half of sums.
func Gather8(sums, w []float32, values []int8, i int) {
	q, _ := quantized(w)
	for d, v := range values {
		sums[spec.Block+d] += float32(int32(q[i]) * int32(v))
	}
}

// Settle8 ends a block: its sums of products, by the scale of the weights, go to
// the first half.
func Settle8(sums, w []float32) {
	_, scale := quantized(w)
	for d := range spec.Block {
		sums[d] += float32(sums[spec.Block+d] * scale)
		sums[spec.Block+d] = 0
	}
}

// quantized are a block's weights as they meet the values; a short block counts
// as filled up with zeros.
func quantized(w []float32) (q [spec.Block]int8, scale float32) {
	var u [spec.Block]float32
	copy(u[:], w)
	scale = spec.Quantize(q[:], u[:])
	return q, scale
}
