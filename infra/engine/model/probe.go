package model

import (
	"context"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
)

// Probed are boundary values of one layer, for every position of an input.
type Probed struct {
	// States commit to the residual streams that enter the layer; State is the
	// last position's itself.
	States []core.Hash
	State  []float32
	// Keys and Values are the rows that the layer computes, keys after rotation;
	// none after the last layer.
	Keys, Values [][]float32
}

// probe collects what passes the layer boundary.
type probe struct {
	layer int
	Probed
}

func (p *probe) take(at int, x, k, v []float32) {
	p.States[at] = commit.Vector(x)
	if at == len(p.States)-1 {
		p.State = append([]float32(nil), x...)
	}
	if k != nil {
		p.Keys[at], p.Values[at] = append([]float32(nil), k...), append([]float32(nil), v...)
	}
}

// Probe computes the input's positions anew and returns the boundary values of
// a layer, 0 to the number of layers: what a party of a dispute has to show.
// Steps of other sequences go on between its chunks.
func (m *Model) Probe(ctx context.Context, input []core.Token, layer int) (Probed, error) {
	if layer < 0 || layer > m.config.Layers {
		return Probed{}, fmt.Errorf("there is no layer boundary %d", layer)
	}
	if len(input) == 0 || len(input) > m.context {
		return Probed{}, tooLong("the input has %d tokens and the context here is %d", len(input), m.context)
	}
	if err := m.checkTokens(input); err != nil {
		return Probed{}, err
	}
	n := len(input)
	p := &probe{layer: layer, Probed: Probed{States: make([]core.Hash, n)}}
	if layer < m.config.Layers {
		p.Keys, p.Values = make([][]float32, n), make([][]float32, n)
	}
	s := &sequence{model: m, tokens: input, probe: p, ending: &ending{}}
	s.in.Input = input
	if err := m.admit(s, n, false); err != nil {
		return Probed{}, err
	}
	defer s.Release()
	for s.processed < n {
		if err := m.replaySome(ctx, s, nil); err != nil {
			return Probed{}, err
		}
	}
	return p.Probed, nil
}
