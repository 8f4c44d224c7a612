package model

import (
	"context"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Embed implements core.Engine: the normalised final states of an input's
// positions, pooled and scaled to length 1. Short inputs share passes. Only the
// last position's state can use the prefix cache, since the cache keeps no final
// states. Steps of other sequences go on between the passes.
func (m *Model) Embed(ctx context.Context, inputs [][]core.Token, pooling core.Pooling) ([][]float32, error) {
	for i, input := range inputs {
		if err := m.checkEmbed(i, input, pooling); err != nil {
			return nil, err
		}
	}
	e := embedder{model: m, pooling: pooling, inputs: inputs}
	defer e.release()
	for len(e.done) < len(inputs) {
		if err := e.pass(ctx); err != nil {
			return nil, err
		}
	}
	return e.done, nil
}

func (m *Model) checkEmbed(i int, input []core.Token, pooling core.Pooling) error {
	switch {
	case !slices.Contains([]core.Pooling{core.PoolMean, core.PoolCLS, core.PoolLast}, pooling):
		e := core.Errorf(core.CodeInvalid, "the pooling %.20q is not known", pooling)
		e.Next = "use mean, cls or last"
		return e
	case len(input) == 0:
		e := core.Errorf(core.CodeInvalid, "input %d has no tokens, so there is nothing to embed", i)
		e.Param = "input"
		return e
	case len(input) > m.context:
		e := core.Errorf(core.CodeContextLength, "input %d has %d tokens and the context is %d", i, len(input), m.context)
		e.Param, e.Next = "input", "shorten the input"
		return e
	}
	return m.checkTokens(input)
}

// embedder works through the inputs of one call in order.
type embedder struct {
	model   *Model
	pooling core.Pooling
	inputs  [][]core.Token
	started int
	active  []*pooled // started and not done
	done    [][]float32
}

// pooled is one input in the making.
type pooled struct {
	sequence *sequence
	sum      []float32 // of the states that are pooled so far
}

// pass runs the next rows of as many inputs as it has room for.
func (e *embedder) pass(ctx context.Context) error {
	m := e.model
	m.pass.Lock()
	defer m.pass.Unlock()
	if err := m.alive(); err != nil {
		return err
	}
	w := &m.work
	w.rows = w.rows[:0]
	for i := 0; len(w.rows) < m.prefillRows; i++ {
		if i == len(e.active) {
			if e.started == len(e.inputs) {
				break
			}
			if err := e.start(); err != nil {
				if len(w.rows) > 0 {
					break // its turn comes when the others are done
				}
				return err
			}
		}
		s := e.active[i].sequence
		m.addRows(s, min(m.prefillRows-len(w.rows), len(s.tokens)-s.processed))
	}
	for i := range w.rows {
		w.rows[i].draw = false
	}
	if err := m.forward(ctx); err != nil {
		return err
	}
	row := 0
	for len(e.active) > 0 && row < len(w.rows) {
		if row = e.pool(e.active[0], row); e.active[0].sequence.processed < len(e.active[0].sequence.tokens) {
			break
		}
		if err := e.finish(); err != nil {
			return err
		}
	}
	clear(w.rows)
	return nil
}

// start admits the next input.
func (e *embedder) start() error {
	input := e.inputs[e.started]
	if e.pooling == core.PoolCLS {
		input = input[:1] // attention is causal: later tokens cannot change it
	}
	s := &sequence{model: e.model, tokens: slices.Clone(input)}
	if err := e.model.admit(s, len(input), e.pooling == core.PoolLast); err != nil {
		return err
	}
	e.started++
	e.active = append(e.active, &pooled{s, make([]float32, e.model.config.Width)})
	return nil
}

// pool takes what the pass computed for one input, from a row on, and returns
// the next input's row.
func (e *embedder) pool(one *pooled, row int) int {
	m, s := e.model, one.sequence
	w, width := &m.work, m.config.Width
	for ; row < len(w.rows) && w.rows[row].sequence == s; row++ {
		if e.pooling == core.PoolMean || w.rows[row].position == len(s.tokens)-1 {
			h := at(w.normed, row, width)
			kernel.RMSNorm(h, at(w.x, row, width), m.weights.finalNorm, m.config.Eps)
			spec.PoolStep(one.sum, h)
		}
		s.commit(s.processed + 1)
	}
	return row
}

// finish turns the first active input's sum into its embedding.
func (e *embedder) finish() error {
	one := e.active[0]
	s := one.sequence
	if e.pooling == core.PoolMean {
		spec.PoolMean(one.sum, len(s.tokens))
	}
	if s.invalid || !spec.Unit(one.sum) {
		return core.Errorf(core.CodeInvalid, "the model's numbers leave the finite range for input %d", len(e.done))
	}
	s.Release()
	e.active, e.done = e.active[1:], append(e.done, one.sum)
	return nil
}

func (e *embedder) release() {
	for _, one := range e.active {
		one.sequence.Release()
	}
}

// alive fails when the model is closed.
func (m *Model) alive() error {
	m.life.Lock()
	defer m.life.Unlock()
	if m.closed {
		return errClosed()
	}
	return nil
}

// poolings are the values of pooling_type in GGUF files.
var poolings = map[int]core.Pooling{1: core.PoolMean, 2: core.PoolCLS, 3: core.PoolLast}

// readPooling is the pooling that a file asks for, "" where it is silent.
func readPooling(f gguf.Metadata, architecture string) (core.Pooling, error) {
	n, err := gguf.Or(f.Int(architecture + ".pooling_type"))(0)
	return poolings[n], err
}
