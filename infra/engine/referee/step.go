package referee

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/commit"
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
		return uint64(commit.TileLen+2*m.HeadDim()) * 64 // sines in binary64
	case Route:
		e := &m.config.Experts
		return uint64(e.Count * e.Used * e.Used)
	case Keep:
		return uint64(m.config.KVWidth()) * 8
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
	case Weigh:
		return s.weighStep(m, o, v)
	case Mix:
		return s.mixStep(m, o, v)
	case Keep:
		return s.keepStep(m, o, v)
	case Route:
		return s.routeStep(m, o, v)
	}
	return s.elementStep(m, o, v)
}

// operand is the commitment to an operand of the disputed operator.
func (s *State) operand(i int) core.Hash {
	switch i {
	case Input:
		return s.Input
	case Nothing:
		return core.Hash{}
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
	w, row := o.Weights, int(v.Token)
	group, _ := w.Groups(row, row+1)
	data, err := v.Weights.open(m, w, group, int(s.Tile), row, row+1)
	if err != nil {
		return err
	}
	from, to := s.tileRange(o)
	x := make([]float32, to-from)
	w.Decode(x, data[0])
	if scale := m.config.InputScale; scale != 0 {
		for i := range x {
			x[i] = float32(x[i] * scale)
		}
	}
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
	g, err := v.Weights.vector(m, o.Weights, tile)
	if err != nil {
		return err
	}
	y := make([]float32, len(x))
	// The running sums before the result are the last ones.
	spec.RMSNormScale(y, x, g, spec.RMSNormInverse(s.Lanes[0].Total(), o.Len, m.config.Eps))
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
	lo, hi := s.GroupRows(o, group)
	rows, err := v.Weights.open(m, w, group, column, lo, hi)
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

// same holds a number against the one that was shown.
func same(own, shown float32) error {
	if own != own || math.Float32bits(own) != math.Float32bits(shown) {
		return errStep
	}
	return nil
}

// elementStep executes operators whose tile needs the same tile of each operand;
// where they work on heads, the tiles of whole heads.
func (s *State) elementStep(m *Model, o *Operator, v *Step) error {
	from, to := s.tileRange(o)
	lo, hi := from, to
	if d := m.HeadDim(); o.Kind == Rotate || o.Kind == HeadNorm {
		lo, hi = from/d*d, min(o.Len, (to+d-1)/d*d)
	}
	var y []float32
	if o.A == Nothing {
		y = make([]float32, hi-lo)
	} else {
		a, err := v.A.open(s.operand(o.A), o.Len, lo, hi)
		if err != nil {
			return err
		}
		y = append(y, a...)
	}
	var b []float32
	var err error
	switch o.Kind {
	case Add, Gate, Blend:
		b, err = v.B.open(s.operand(o.B), o.Len, from, to)
	case Bias:
		b, err = v.Weights.vector(m, o.Weights, int(s.Tile))
	case HeadNorm:
		b, err = v.Weights.vector(m, o.Weights, 0)
	}
	if err != nil {
		return err
	}
	switch o.Kind {
	case Add, Bias:
		spec.Add(y, b)
	case Gate:
		m.Gated(y, b)
	case Sigmoid:
		for i, g := range y {
			y[i] = spec.Sigmoid(g)
		}
	case HeadNorm:
		m.NormHeads(y, b)
	case Rotate:
		factors, err := m.openFactors(o, v)
		if err != nil {
			return err
		}
		if err := m.Rotate(y, o.RoPE, factors, int(s.Claim.Position)); err != nil {
			return err
		}
	case Blend:
		w, err := v.C.open(s.operand(o.C), o.Of, o.At, o.At+1)
		if err != nil {
			return err
		}
		spec.MixExpert(y, b, w[0])
	}
	return s.produces(y[from-lo : to-lo])
}

// Gated sets gate to its activation times up.
func (m *Model) Gated(gate, up []float32) {
	if m.config.Family.GELU {
		spec.GELUMul(gate, up)
	} else {
		spec.SiLUMul(gate, up)
	}
}

// NormHeads normalises every head of x.
func (m *Model) NormHeads(x, weight []float32) {
	d := m.HeadDim()
	for h := 0; h < len(x); h += d {
		spec.RMSNorm(x[h:h+d], x[h:h+d], weight, m.config.Eps)
	}
}

// Factors is the tensor of a rotary embedding's factors, where it has some.
func (m *Model) Factors(rope int) Matrix {
	if rope != 0 {
		return Matrix{}
	}
	return m.factors
}

// Rotate rotates every head of x by a position's row of a rotary embedding. It
// fails where the factors are none that a model may have.
func (m *Model) Rotate(x []float32, rope int, factors []float32, position int) error {
	r := m.config.RoPEs[rope]
	r.Factors = factors
	for _, f := range factors {
		if !architecture.Stretch(f) {
			return fmt.Errorf("the frequency factors of positions hold %v", f)
		}
	}
	f := r.Frequencies()
	cos, sin := make([]float32, len(f)), make([]float32, len(f))
	spec.RoPERowGain(cos, sin, f, r.Gain(), position)
	d := m.HeadDim()
	for h := 0; h < len(x); h += d {
		spec.Rotate(x[h:h+d], cos, sin, r.Style)
	}
	return nil
}

// openFactors returns the rotary factors that the step opens, nil where there
// are none.
func (m *Model) openFactors(o *Operator, v *Step) ([]float32, error) {
	w := m.Factors(o.RoPE)
	if !w.There() {
		return nil, nil
	}
	return v.Weights.vector(m, w, 0)
}

// routeStep chooses the experts anew.
func (s *State) routeStep(m *Model, o *Operator, v *Step) error {
	n := m.config.Experts.Count
	logits, err := v.A.open(s.operand(o.A), n, 0, n)
	if err != nil {
		return err
	}
	return s.produces(m.Routed(logits))
}

// keepStep checks a tile of a row as the cache holds it.
func (s *State) keepStep(m *Model, o *Operator, v *Step) error {
	n := m.config.KVWidth()
	lo, hi := KeptFrom(n, int(s.Tile))
	x, err := v.A.open(s.operand(o.A), n, lo, hi)
	if err != nil {
		return err
	}
	if !spec.Finite(x) || sha256.Sum256(keptTile(x, lo, n, int(s.Tile))) != s.Target {
		return errStep
	}
	return nil
}
