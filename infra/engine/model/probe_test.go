package model

import (
	"context"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
)

// What a probe returns is what the boundary leaves commit to.
func TestProbeOpensTheBoundaries(t *testing.T) {
	m := standard.open(t, Options{})
	input := prompt(m, 150, 3)
	in := core.SequenceInput{Input: input, Sampler: warm(1), Salt: core.Hash{4}, Trace: true}
	own, err := m.Replay(context.Background(), in, []core.Token{5})
	if err != nil {
		t.Fatal(err)
	}
	for l := range m.config.Layers + 1 {
		p, err := m.Probe(context.Background(), input, l)
		if err != nil {
			t.Fatal(err)
		}
		for at := range input {
			var k, v core.Hash
			if l < m.config.Layers {
				k, v = commit.Vector(p.Keys[at]), commit.Vector(p.Values[at])
			}
			leaf := commit.Leaf(core.BoundarySalt(in.Salt, uint32(at), uint32(l)), commit.Boundary(p.States[at], k, v))
			if leaf != own.Boundaries[at*(m.config.Layers+1)+l] {
				t.Fatalf("position %d, layer %d: another leaf", at, l)
			}
		}
		if commit.Vector(p.State) != p.States[len(input)-1] {
			t.Error("the last state is not the one committed to")
		}
	}
	if _, err := m.Probe(context.Background(), input, m.config.Layers+1); err == nil {
		t.Error("a layer beyond the last was probed")
	}
}
