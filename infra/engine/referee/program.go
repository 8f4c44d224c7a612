package referee

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Kind is an operator of a program.
type Kind uint8

// The operators.
const (
	Embed Kind = iota + 1
	Norm
	Linear
	Bias
	HeadNorm
	Rotate
	Keep
	Score
	Exp
	Weigh
	Mix
	Add
	Gate
	Route
	Sigmoid
	Blend
)

func (k Kind) String() string {
	names := [...]string{"?", "embed", "norm", "linear", "bias", "head norm", "rope", "keep", "score", "exp", "weigh", "mix", "add", "gate", "route", "sigmoid", "blend"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// Operands that are no results of operators.
const (
	Input   = -1 // the residual stream of the leaf before
	Nothing = -2 // zeros
)

// Operator is one line of a program. Its result has Len numbers, in each of
// Heads segments where those are more than 0.
type Operator struct {
	Kind  Kind
	Name  string // of the result, for people
	Len   int
	Heads int

	A, B, C int // operands: numbers of operators, Input or Nothing
	At, Of  int // blend: which number of C is the weight, and how many C has
	Weights Matrix
	RoPE    int // rope: which rotary embedding
	First   int // attention: the first position that is seen
	Origin  int // attention: the position of a segment's first number
	Slot    int // linear: 1 + which of the chosen experts has the weights; 0: none

	each int // rows of one expert
}

// Program is what computes one leaf from the earlier ones.
type Program struct {
	Ops []Operator
	// X, K, V are the operators whose results the leaf holds; K and V are -1
	// after the last layer, X is -1 in the program of a token.
	X, K, V int
	// Route is the operator that chooses experts, -1 where none does.
	Route int
}

func (p *Program) add(o Operator) int {
	p.Ops = append(p.Ops, o)
	return len(p.Ops) - 1
}

func (p *Program) linear(name string, a int, w, bias Matrix) int {
	out := p.add(Operator{Kind: Linear, Name: name, Len: w.Rows, A: a, Weights: w})
	if bias.There() {
		out = p.add(Operator{Kind: Bias, Name: name + " + bias", Len: w.Rows, A: out, Weights: bias})
	}
	return out
}

func (p *Program) norm(name string, a int, w Matrix) int {
	return p.add(Operator{Kind: Norm, Name: name, Len: w.Cols, A: a, Weights: w})
}

// sum adds to x what a half of a block gives, normalised where the architecture
// does that.
func (p *Program) sum(name string, x, y int, outputNorm Matrix, width int) int {
	if outputNorm.There() {
		y = p.norm("normalised output of the "+name, y, outputNorm)
	}
	return p.add(Operator{Kind: Add, Name: "residual after the " + name, Len: width, A: x, B: y})
}

// LeafProgram is the program of a leaf at layer boundary l, at position t. Where
// it chooses experts, their weights are known after [Program.Choose].
func (m *Model) LeafProgram(t, l int) *Program {
	p := &Program{K: -1, V: -1, Route: -1}
	if l == 0 {
		p.X = p.add(Operator{Kind: Embed, Name: "embedding", Len: m.config.Width, Weights: m.embedding})
	} else {
		p.X = m.block(p, l-1, t)
	}
	if l < m.Layers {
		w, kv := &m.layers[l], m.config.KVWidth()
		h := p.norm("normalised input of the next layer", p.X, w.attentionNorm)
		k := m.turned(p, "key", p.linear("key", h, w.k, w.biasK), kv, w.keyNorm, l)
		v := p.linear("value", h, w.v, w.biasV)
		if m.int8 {
			words := kv / spec.Block * (spec.Block/4 + 1)
			k = p.add(Operator{Kind: Keep, Name: "kept key", Len: words, A: k})
			v = p.add(Operator{Kind: Keep, Name: "kept value", Len: words, A: v})
		}
		p.K, p.V = k, v
	}
	return p
}

// turned adds what follows the product of queries or keys: the norm of each
// head, and the rotation.
func (m *Model) turned(p *Program, name string, x, n int, norm Matrix, l int) int {
	if norm.There() {
		x = p.add(Operator{Kind: HeadNorm, Name: name + ", heads normalised", Len: n, A: x, Weights: norm})
	}
	return p.add(Operator{Kind: Rotate, Name: "rotated " + name, Len: n, A: x, RoPE: m.config.Rotary[l]})
}

// block adds transformer block l and returns its residual stream.
func (m *Model) block(p *Program, l, t int) int {
	w, c := &m.layers[l], m.config
	h := p.norm("normalised input", Input, w.attentionNorm)
	q := m.turned(p, "query", p.linear("query", h, w.q, w.biasQ), c.QWidth(), w.queryNorm, l)
	y := m.attention(p, q, l, t)
	o := p.linear("attention output", y, w.o, Matrix{})
	x := p.sum("attention", Input, o, w.attentionOutputNorm, c.Width)
	h = p.norm("normalised feed-forward input", x, w.feedNorm)
	if c.Experts.Count > 0 {
		y = m.mixture(p, w, h)
	} else {
		y = m.feed(p, "", w.feed, h, 0)
	}
	return p.sum("feed-forward", x, y, w.feedOutputNorm, c.Width)
}

// attention adds the attention of all heads. Segments begin at a multiple of 32,
// so that lanes of sums and blocks of values go by position.
func (m *Model) attention(p *Program, q, l, t int) int {
	c := m.config
	first := spec.WindowStart(t, c.Windows[l])
	origin := first / spec.Block * spec.Block
	segment := func(kind Kind, name string, heads, from int) int {
		return p.add(Operator{Kind: kind, Name: name, Len: t + 1 - origin, Heads: heads, A: from, First: first, Origin: origin})
	}
	scores := segment(Score, "attention scores", c.Heads, q)
	exp := segment(Exp, "attention weights", c.Heads, scores)
	weights := exp
	if m.int8 {
		weights = segment(Weigh, "attention weights by scales", m.Parts(), exp)
	}
	return p.add(Operator{Kind: Mix, Name: "attention", Len: c.QWidth(), A: weights, B: exp, First: first, Origin: origin})
}

// feed adds a gated feed-forward network, of an expert where slot is not 0.
func (m *Model) feed(p *Program, name string, w feed, h, slot int) int {
	linear := func(what string, a int, w Matrix) int {
		o := Operator{Kind: Linear, Name: name + what, Len: w.Rows, A: a, Weights: w}
		if slot > 0 {
			o.Slot, o.each = slot, w.Rows/m.config.Experts.Count
			o.Weights = w.rows(0, o.each)
			o.Len = o.each
		}
		return p.add(o)
	}
	g, u := linear("gate", h, w.gate), linear("up", h, w.up)
	z := p.add(Operator{Kind: Gate, Name: name + "hidden", Len: p.Ops[g].Len, A: g, B: u})
	return linear("down", z, w.down)
}

// mixture adds the experts that the router chooses, and the one they share.
func (m *Model) mixture(p *Program, w *layer, h int) int {
	c, e := m.config, &m.config.Experts
	r := p.linear("router's logits", h, w.router, Matrix{})
	p.Route = p.add(Operator{Kind: Route, Name: "chosen experts and their weights", Len: 2 * e.Used, A: r})
	y := Nothing
	blend := func(name string, answer, weight, at int) {
		y = p.add(Operator{Kind: Blend, Name: name, Len: c.Width, A: y, B: answer, C: weight, At: at, Of: p.Ops[weight].Len})
	}
	for i := range e.Used {
		name := fmt.Sprintf("expert %d of %d: ", i+1, e.Used)
		blend(name+"sum", m.feed(p, name, w.feed, h, i+1), p.Route, e.Used+i)
	}
	if e.SharedHidden > 0 {
		g := p.linear("gate of the shared expert", h, w.sharedGate, Matrix{})
		g = p.add(Operator{Kind: Sigmoid, Name: "weight of the shared expert", Len: 1, A: g})
		blend("shared expert: sum", m.feed(p, "shared expert: ", w.shared, h, 0), g, 0)
	}
	return y
}

// Choose gives the operators of chosen experts their weights.
func (p *Program) Choose(experts []uint32) {
	for i := range p.Ops {
		if o := &p.Ops[i]; o.Slot > 0 && o.Slot <= len(experts) {
			o.Weights.Skip = int(experts[o.Slot-1]) * o.each
		}
	}
}

// Chosen reads a Route's result: the numbers of the experts, in rising order.
func (m *Model) Chosen(route []float32) ([]uint32, error) {
	e := &m.config.Experts
	if len(route) != 2*e.Used {
		return nil, fmt.Errorf("%d numbers about %d experts", len(route), e.Used)
	}
	var out []uint32
	for _, v := range route[:e.Used] {
		if !(v >= 0 && v < float32(e.Count)) || v != float32(uint32(v)) || len(out) > 0 && uint32(v) <= out[len(out)-1] {
			return nil, fmt.Errorf("the chosen are not experts in rising order")
		}
		out = append(out, uint32(v))
	}
	return out, nil
}

// Routed is a Route's result: the chosen experts' numbers, then their weights.
func (m *Model) Routed(logits []float32) []float32 {
	e := &m.config.Experts
	chosen, out := make([]int, e.Used), make([]float32, 2*e.Used)
	spec.Route(chosen, out[e.Used:], append([]float32(nil), logits...), e.Normalised, e.Scale)
	for i, k := range chosen {
		out[i] = float32(k)
	}
	return out
}

// tiles is the number of tiles of one segment of the operator's result.
func (o *Operator) tiles() int { return commit.Count(o.Len) }
