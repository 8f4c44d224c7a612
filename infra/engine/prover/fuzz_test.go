package prover

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/tiny"
)

// situation is a state with the move that comes next in a true game.
type situation struct {
	scene *scene
	state referee.State
	move  referee.Move
}

// situations are those of true games at every operator, and of some over a token.
func situations(f testing.TB, sc *scene) (out []situation) {
	r := rand.New(rand.NewPCG(1, 2))
	m := sc.prover.Model
	a := sc.answer()
	last := len(sc.input) + len(sc.output) - 2
	note := func(s *referee.State, provider, challenger mover) {
		keep := func(next mover) mover {
			return func(s *referee.State) (referee.Move, error) {
				move, err := next(s)
				out = append(out, situation{sc, *s, move})
				return move, err
			}
		}
		if o := play(f, m, s, keep(provider), keep(challenger)); o.why != nil {
			f.Fatal(o.why)
		}
	}
	for _, l := range []int{0, m.Layers} {
		for operator := range m.LeafProgram(last, l).Ops {
			note(sc.open(leafClaim(last, l)), a.mover(), aimed(operator, anywhere(m, r), m, r))
		}
	}
	note(sc.open(search), a.mover(), anywhere(m, r))
	better := core.Token(0)
	if sc.output[0] == better {
		better++
	}
	for range 12 {
		note(sc.open(sc.tokenClaim(a, 0, better)), a.mover(), anywhere(m, r))
	}
	return out
}

// A stranger's bytes are a move that holds, or an error that leaves the state as
// it was: never a panic.
func FuzzMove(f *testing.F) {
	sampler := samplers["everything"]
	sampler.TopK, sampler.MaxTokens, sampler.IgnoreEOS = 50, 3, true
	all := situations(f, newSampledScene(f, shapes[1], 12, 1, sampler))
	for _, s := range tiny.All() {
		if s.Experts > 0 || s.KV8 || s.Fused {
			all = append(all, situations(f, newScene(f, s, 42, 3))...)
		}
	}
	for i, s := range all {
		f.Add(uint(i), referee.EncodeMove(s.move))
	}
	f.Fuzz(func(t *testing.T, i uint, b []byte) {
		move, err := referee.DecodeMove(b)
		if err != nil {
			return
		}
		if again := referee.EncodeMove(move); string(again) != string(b) {
			t.Fatal("a move has two encodings")
		}
		sc, s := all[i%uint(len(all))].scene, all[i%uint(len(all))].state
		before := string(referee.Encode(s))
		if s.Apply(sc.prover.Model, move) != nil {
			if string(referee.Encode(s)) != before {
				t.Fatal("a move that does not hold changed the state")
			}
			return
		}
		if s.Phase == referee.Held {
			return
		}
		var again referee.State
		if err := referee.Decode(referee.Encode(s), &again); err != nil {
			t.Fatal(err)
		}
		if _, err := sc.answer().Move(context.Background(), &again); err != nil && again.Phase.Side() == 0 {
			t.Fatal(err)
		}
	})
}

// Whatever description and index an admission shows under a root of its own, the
// shape is one whose programs exist, or it is refused.
func FuzzAdmit(f *testing.F) {
	for _, s := range every {
		sc := newScene(f, s, 2, 1)
		a := sc.prover.Admission()
		f.Add(a.Description, a.Index, a.Vocabulary, s.KV8)
	}
	f.Fuzz(func(t *testing.T, description, index, vocabulary []byte, int8 bool) {
		if len(description)+len(index)+len(vocabulary) > referee.MaxAdmission {
			return
		}
		a := referee.Admission{Semantics: core.SemanticsV1, Description: description, Index: index, Vocabulary: vocabulary}
		root, err := admitted(&a)
		if err != nil {
			return
		}
		if a.Root = root; int8 {
			a.Semantics = core.SemanticsKV8
		}
		m, err := referee.Admit(core.ModelVariant(root, a.Semantics), a)
		if err != nil {
			return
		}
		for _, l := range []int{0, 1, m.Layers} {
			for _, o := range m.LeafProgram(7, min(l, m.Layers)).Ops {
				if o.Len < 1 || o.Heads < 0 {
					t.Fatalf("%s has the shape %d, %d", o.Name, o.Len, o.Heads)
				}
				if w := o.Weights; w.There() && (w.Rows < 1 || w.Skip+w.Rows > w.Total) {
					t.Fatalf("%s has the rows from %d to %d of %d", o.Name, w.Skip, w.Skip+w.Rows, w.Total)
				}
			}
		}
		if len(m.TokenProgram().Ops) != 1 || m.Vocabulary < 1 {
			t.Fatal("a token has no program")
		}
	})
}

// admitted gives an admission the paths of a root that an attacker can make: of
// as many leaves as the index says, whose weights nobody knows.
func admitted(a *referee.Admission) (root core.Hash, err error) {
	tensors, err := gguf.ParseIndex(a.Index)
	if err != nil {
		return root, err
	}
	n := uint64(gguf.LeafWeights)
	for i := range tensors {
		rows := uint64(1)
		for _, d := range tensors[i].Dims[1:] {
			rows *= d
		}
		if rows > 1<<20 || tensors[i].Dims[0] > 1<<20 || n > 1<<16 {
			return root, errors.New("more leaves than this test makes")
		}
		all, _ := gguf.WeightLeaves(tensors[i].Type, int(rows), int(tensors[i].Dims[0]))
		n += all
	}
	leaves := make([]core.Hash, n)
	leaves[gguf.LeafMetadata], leaves[gguf.LeafIndex], leaves[gguf.LeafVocabulary] = gguf.DescriptionLeaf(a.Description), gguf.IndexLeaf(a.Index), gguf.VocabularyLeaf(a.Vocabulary)
	a.Leaves = n
	for at, path := range map[int]*[]core.Hash{gguf.LeafMetadata: &a.DescriptionPath, gguf.LeafIndex: &a.IndexPath, gguf.LeafVocabulary: &a.VocabularyPath} {
		p, err := merkle.Prove(leaves, at)
		if err != nil {
			return root, err
		}
		*path = p.Path
	}
	return merkle.Root(leaves), nil
}
