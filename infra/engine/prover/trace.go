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
	heads   [][]float32 // for score and exp, instead
	softmax []referee.Softmax
	weights []core.Hash // for exp: commitments to the heads' weights
	segment []core.Hash // for score and exp
}

// commitment is what a layer move holds.
func (r *result) commitment() core.Hash {
	if r.segment != nil {
		return referee.HeadsCommitment(r.segment)
	}
	return commit.Vector(r.values)
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
	}
	return nil
}

// operand is the vector that an operator takes.
func (tr *trace) operand(i int) []float32 {
	if i == referee.Input {
		return tr.before.State
	}
	return tr.results[i].values
}

func (p *Prover) operate(tr *trace, i int, token core.Token) (err error) {
	o, r := &tr.program.Ops[i], &tr.results[i]
	clone := func() []float32 { return append([]float32(nil), tr.operand(o.A)...) }
	switch o.Kind {
	case referee.Embed:
		data, err := p.rows(o.Weights, int(token), int(token)+1)
		if err != nil {
			return err
		}
		r.values = make([]float32, o.Len)
		o.Weights.Decode(r.values, data)
	case referee.Norm:
		g, err := p.vector(o.Weights)
		if err != nil {
			return err
		}
		r.values = make([]float32, o.Len)
		spec.RMSNorm(r.values, tr.operand(o.A), g, p.Model.Epsilon())
	case referee.Linear:
		r.values, err = p.linear(o.Weights, tr.operand(o.A))
	case referee.Bias:
		b, err := p.vector(o.Weights)
		if err != nil {
			return err
		}
		r.values = clone()
		spec.Add(r.values, b)
	case referee.Rotate:
		r.values = clone()
		return p.rotate(r.values, tr.position)
	case referee.Score:
		p.score(tr, r, tr.operand(o.A))
	case referee.Exp:
		exp(&tr.results[o.A], r)
	case referee.Mix:
		p.mix(tr, &tr.results[o.A], r)
	case referee.Add:
		r.values = clone()
		spec.Add(r.values, tr.operand(o.B))
	case referee.Gate:
		r.values = clone()
		spec.SiLUMul(r.values, tr.operand(o.B))
	}
	return err
}

func (p *Prover) rotate(x []float32, position int) error {
	rope, err := p.rope()
	if err != nil {
		return err
	}
	f := rope.Frequencies()
	cos, sin := make([]float32, len(f)), make([]float32, len(f))
	spec.RoPERow(cos, sin, f, position)
	for h := 0; h < len(x); h += p.Model.HeadDim() {
		spec.Rotate(x[h:h+p.Model.HeadDim()], cos, sin, rope.Style)
	}
	return nil
}

// head is the part of a key or value row that query head h uses.
func (p *Prover) head(row []float32, h int) []float32 {
	d := p.Model.HeadDim()
	from := h / (p.Model.Heads() / p.Model.KVHeads()) * d
	return row[from : from+d]
}

func (p *Prover) score(tr *trace, r *result, q []float32) {
	d := p.Model.HeadDim()
	scale := spec.AttentionScale(d)
	for h := range p.Model.Heads() {
		s := make([]float32, tr.position+1)
		for at := range s {
			s[at] = spec.AttentionScore(q[h*d:(h+1)*d], p.head(tr.before.Keys[at], h), scale)
		}
		r.heads, r.segment = append(r.heads, s), append(r.segment, commit.Vector(s))
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

// mixed returns the sums of a head's values over positions lo to hi-1, continued
// from acc.
func (p *Prover) mixed(tr *trace, acc []float32, weights []float32, h, lo, hi int) []float32 {
	acc = append([]float32(nil), acc...)
	for at := lo; at < hi; at++ {
		spec.AttentionMixStep(acc, weights[at:at+1], p.head(tr.before.Values[at], h), len(acc))
	}
	return acc
}

func (p *Prover) mix(tr *trace, exps, r *result) {
	for h, w := range exps.heads {
		acc := p.mixed(tr, make([]float32, p.Model.HeadDim()), w, h, 0, len(w))
		spec.AttentionFinish(acc, exps.softmax[h].Lanes.Total())
		r.values = append(r.values, acc...)
	}
}
