package prover

import (
	"context"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// trace holds every result of the program of one leaf or token.
type trace struct {
	program  *referee.Program
	position int
	before   model.Probed // of the layer before, positions 0 to position
	results  []result
}

// result is what one operator gives: a vector, or one for each head.
type result struct {
	values  []float32   // vectors side by side
	heads   [][]float32 // for score, exp and weigh, instead
	softmax []referee.Softmax
	weights []core.Hash // for exp: commitments to the heads' weights
	segment []core.Hash // for score, exp and weigh
	kept    []byte      // for keep, instead: the row as the cache holds it
}

// commitment is what a layer move holds.
func (r *result) commitment() core.Hash {
	if r.segment != nil {
		return referee.HeadsCommitment(r.segment)
	}
	if r.kept != nil {
		return commit.Encoded(r.kept)
	}
	return commit.Vector(r.values)
}

// tiles are the hashes of the result's tiles, of one head where it has some.
func (r *result) tiles(head uint32) []core.Hash {
	switch {
	case r.segment != nil:
		return commit.Tiles(nil, r.heads[head])
	case r.kept != nil:
		return referee.KeptTiles(r.kept)
	}
	return commit.Tiles(nil, r.values)
}

// trace computes the program of leaf (t,l) from the tokens before it.
func (p *Prover) trace(ctx context.Context, tokens []core.Token, t, l int) (*trace, error) {
	tr := &trace{program: p.Model.LeafProgram(t, l), position: t}
	if l > 0 {
		var err error
		if tr.before, err = p.engine.Probe(ctx, tokens[:t+1], l-1); err != nil {
			return nil, err
		}
	}
	return tr, p.run(tr, tokens[t])
}

// tokenTrace computes the normalised state that decides the token behind
// position t.
func (p *Prover) tokenTrace(ctx context.Context, tokens []core.Token, t int) (*trace, error) {
	tr := &trace{program: p.Model.TokenProgram(), position: t}
	var err error
	if tr.before, err = p.engine.Probe(ctx, tokens[:t+1], p.Model.Layers); err != nil {
		return nil, err
	}
	return tr, p.run(tr, tokens[t])
}

func (p *Prover) run(tr *trace, token core.Token) error {
	tr.results = make([]result, len(tr.program.Ops))
	for i := range tr.program.Ops {
		if err := p.operate(tr, i, token); err != nil {
			return fmt.Errorf("%s: %w", tr.program.Ops[i].Name, err)
		}
		if err := p.choose(tr, i); err != nil {
			return err
		}
	}
	return nil
}

// choose gives the program the experts that operator i chose, where it does that.
func (p *Prover) choose(tr *trace, i int) error {
	if i != tr.program.Route {
		return nil
	}
	experts, err := p.Model.Chosen(tr.results[i].values)
	if err != nil {
		return err
	}
	tr.program.Choose(experts)
	return nil
}

// operand is the vector that an operator takes.
func (tr *trace) operand(i int) []float32 {
	switch i {
	case referee.Input:
		return tr.before.State
	case referee.Nothing:
		return nil
	}
	return tr.results[i].values
}

func (p *Prover) operate(tr *trace, i int, token core.Token) (err error) {
	o, r, m := &tr.program.Ops[i], &tr.results[i], p.Model
	a := func() []float32 { return append([]float32(nil), tr.operand(o.A)...) }
	switch o.Kind {
	case referee.Embed:
		r.values, err = p.embed(o, token)
	case referee.Norm:
		var g []float32
		g, err = p.vector(o.Weights)
		r.values = make([]float32, o.Len)
		spec.RMSNorm(r.values, tr.operand(o.A), g, m.Config().Eps)
	case referee.Linear:
		r.values, err = p.linear(o.Weights, tr.operand(o.A))
	case referee.Bias:
		var b []float32
		b, err = p.vector(o.Weights)
		r.values = a()
		spec.Add(r.values, b)
	case referee.HeadNorm:
		var g []float32
		g, err = p.vector(o.Weights)
		r.values = a()
		m.NormHeads(r.values, g)
	case referee.Rotate:
		r.values = a()
		err = p.rotate(r.values, o.RoPE, tr.position)
	case referee.Keep:
		r.kept = referee.Kept(tr.operand(o.A))
	case referee.Score:
		p.score(tr, o, r)
	case referee.Exp:
		exp(&tr.results[o.A], r)
	case referee.Weigh:
		p.weigh(tr, o, r)
	case referee.Mix:
		p.mix(tr, o, r)
	case referee.Add:
		r.values = a()
		spec.Add(r.values, tr.operand(o.B))
	case referee.Gate:
		r.values = a()
		m.Gated(r.values, tr.operand(o.B))
	case referee.Route:
		r.values = m.Routed(tr.operand(o.A))
	case referee.Sigmoid:
		r.values = []float32{spec.Sigmoid(tr.operand(o.A)[0])}
	case referee.Blend:
		if r.values = a(); o.A == referee.Nothing {
			r.values = make([]float32, o.Len)
		}
		spec.MixExpert(r.values, tr.operand(o.B), tr.operand(o.C)[o.At])
	}
	return err
}

func (p *Prover) embed(o *referee.Operator, token core.Token) ([]float32, error) {
	data, err := p.rows(o.Weights, int(token), int(token)+1)
	if err != nil {
		return nil, err
	}
	x := make([]float32, o.Len)
	o.Weights.Decode(x, data)
	if scale := p.Model.Config().InputScale; scale != 0 {
		for i := range x {
			x[i] = float32(x[i] * scale)
		}
	}
	return x, nil
}

func (p *Prover) rotate(x []float32, rope, position int) (err error) {
	var factors []float32
	if f := p.Model.Factors(rope); f.There() {
		if factors, err = p.vector(f); err != nil {
			return err
		}
	}
	return p.Model.Rotate(x, rope, factors, position)
}

// kept are numbers from to to-1 of a row as an int8 cache keeps it.
func kept(row []float32, from, to int) spec.QuantizedRows { return spec.QuantizeRows(row[from:to]) }

func (p *Prover) score(tr *trace, o *referee.Operator, r *result) {
	m, q := p.Model, tr.operand(o.A)
	d := m.HeadDim()
	for h := range o.Heads {
		from, to := m.HeadRange(h)
		s := make([]float32, o.Len)
		for i := range s {
			own, at := q[h*d:(h+1)*d], o.Origin+i
			switch {
			case at < o.First:
				s[i] = spec.MaxStart()
			case m.Int8():
				k := kept(tr.before.Keys[at], from, to)
				s[i] = m.Score8(own, k.Q, k.Scales)
			default:
				s[i] = m.Score(own, tr.before.Keys[at][from:to])
			}
		}
		r.heads, r.segment = append(r.heads, s), append(r.segment, commit.Vector(s))
	}
}

// weigh multiplies each part's exponentials by the scales of its values.
func (p *Prover) weigh(tr *trace, o *referee.Operator, r *result) {
	m := p.Model
	exps := &tr.results[o.A]
	for part := range o.Heads {
		from, to := m.PartRange(part)
		a := exps.heads[m.HeadOf(part)]
		u := make([]float32, o.Len)
		for i := range u {
			if at := o.Origin + i; at >= o.First {
				u[i] = spec.AttentionWeight8(a[i], kept(tr.before.Values[at], from, to).Scales[0])
			}
		}
		r.heads, r.segment = append(r.heads, u), append(r.segment, commit.Vector(u))
	}
}

func exp(scores, r *result) {
	for _, s := range scores.heads {
		soft := referee.Softmax{Max: spec.Max(spec.MaxStart(), s)}
		for at, v := range s {
			if v == soft.Max {
				soft.At, soft.Max = uint32(at), v
				break
			}
		}
		a := append([]float32(nil), s...)
		soft.Lanes.AddExp(a, soft.Max)
		w := commit.Vector(a)
		r.heads, r.softmax, r.weights = append(r.heads, a), append(r.softmax, soft), append(r.weights, w)
		r.segment = append(r.segment, soft.Segment(w))
	}
}

// mixed returns a part's sums over positions lo to hi-1, continued from acc.
func (p *Prover) mixed(tr *trace, o *referee.Operator, acc []float32, part, lo, hi int) []float32 {
	m := p.Model
	acc = append([]float32(nil), acc...)
	weights := tr.results[o.A].heads[part*len(tr.results[o.A].heads)/m.Parts()]
	from, to := m.PartRange(part)
	for at := lo; at < hi; at++ {
		i := at - o.Origin
		if !m.Int8() {
			if at >= o.First {
				spec.AttentionMixStep(acc, weights[i:i+1], tr.before.Values[at][from:to], len(acc))
			}
			continue
		}
		first := i / spec.Block * spec.Block
		block := weights[first:min(len(weights), first+spec.Block)]
		if at >= o.First {
			referee.Gather8(acc, block, kept(tr.before.Values[at], from, to).Q, i-first)
		}
		if i+1 == first+len(block) {
			referee.Settle8(acc, block)
		}
	}
	return acc
}

func (p *Prover) mix(tr *trace, o *referee.Operator, r *result) {
	m := p.Model
	for part := range m.Parts() {
		acc := p.mixed(tr, o, make([]float32, m.MixState()), part, o.Origin, tr.position+1)[:m.Part()]
		spec.AttentionFinish(acc, tr.results[o.B].softmax[m.HeadOf(part)].Lanes.Total())
		r.values = append(r.values, acc...)
	}
}
