package referee

import "github.com/koinon-network/koinon/infra/engine/commit"

// Kind is an operator of a program.
type Kind uint8

// The operators.
const (
	Embed Kind = iota + 1
	Norm
	Linear
	Bias
	Rotate
	Score
	Exp
	Mix
	Add
	Gate
)

func (k Kind) String() string {
	names := [...]string{"?", "embed", "norm", "linear", "bias", "rope", "score", "exp", "mix", "add", "gate"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// Input is the operand that comes from the leaf before instead of from an
// operator: its residual stream.
const Input = -1

// Operator is one line of a program. Its result has Len numbers, for Score and
// Exp in each of Heads segments.
type Operator struct {
	Kind  Kind
	Name  string // of the result, for people
	Len   int
	Heads int

	A, B    int // operands: numbers of operators, or Input
	Weights Matrix
}

// Program is what computes one leaf from the earlier ones.
type Program struct {
	Ops []Operator
	// X, K, V are the operators whose results the leaf holds; K and V are -1
	// after the last layer, X is -1 in the program of a token.
	X, K, V int
}

func (p *Program) add(o Operator) int {
	p.Ops = append(p.Ops, o)
	return len(p.Ops) - 1
}

func (p *Program) linear(name string, a int, w, bias Matrix) int {
	out := p.add(Operator{Kind: Linear, Name: name, Len: w.Rows, A: a, Weights: w})
	if bias.First != 0 {
		out = p.add(Operator{Kind: Bias, Name: name + " + bias", Len: w.Rows, A: out, Weights: bias})
	}
	return out
}

// LeafProgram is the program of a leaf at layer boundary l, at position t.
func (m *Model) LeafProgram(t, l int) *Program {
	p := &Program{K: -1, V: -1}
	if l == 0 {
		p.X = p.add(Operator{Kind: Embed, Name: "embedding", Len: m.width, Weights: m.embedding})
	} else {
		p.X = m.block(p, &m.layers[l-1], t)
	}
	if l < m.Layers {
		w := &m.layers[l]
		h := p.add(Operator{Kind: Norm, Name: "normalised input of the next layer", Len: m.width, A: p.X, Weights: w.attentionNorm})
		k := p.linear("key", h, w.k, w.biasK)
		p.K = p.add(Operator{Kind: Rotate, Name: "rotated key", Len: m.kvWidth(), A: k})
		p.V = p.linear("value", h, w.v, w.biasV)
	}
	return p
}

// block adds a transformer block and returns its residual stream.
func (m *Model) block(p *Program, w *layer, t int) int {
	h := p.add(Operator{Kind: Norm, Name: "normalised input", Len: m.width, A: Input, Weights: w.attentionNorm})
	q := p.linear("query", h, w.q, w.biasQ)
	q = p.add(Operator{Kind: Rotate, Name: "rotated query", Len: m.qWidth(), A: q})
	s := p.add(Operator{Kind: Score, Name: "attention scores", Len: t + 1, Heads: m.heads, A: q})
	e := p.add(Operator{Kind: Exp, Name: "attention weights", Len: t + 1, Heads: m.heads, A: s})
	y := p.add(Operator{Kind: Mix, Name: "attention", Len: m.qWidth(), A: e})
	o := p.linear("attention output", y, w.o, Matrix{})
	x := p.add(Operator{Kind: Add, Name: "residual after attention", Len: m.width, A: Input, B: o})
	h = p.add(Operator{Kind: Norm, Name: "normalised feed-forward input", Len: m.width, A: x, Weights: w.feedNorm})
	g := p.linear("gate", h, w.gate, Matrix{})
	u := p.linear("up", h, w.up, Matrix{})
	z := p.add(Operator{Kind: Gate, Name: "hidden", Len: m.hidden, A: g, B: u})
	f := p.linear("down", z, w.down, Matrix{})
	return p.add(Operator{Kind: Add, Name: "residual", Len: m.width, A: x, B: f})
}

// tiles is the number of tiles of one segment of the operator's result.
func (o *Operator) tiles() int { return commit.Count(o.Len) }
