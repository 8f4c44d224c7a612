package model

import (
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// wide has heads that an int8 cache takes.
var wide = tiny{arch: "qwen2", layers: 2, width: 64, hidden: 96, heads: 4, kvHeads: 2, headDim: 32,
	vocabulary: 307, context: 512, format: gguf.Q8_0, tied: true, seed: 5}

func TestInt8CacheEqualsTheSpecification(t *testing.T) {
	spread(t)
	single := wide
	single.layers = 1
	type shapeAndInput struct {
		shape tiny
		input int
	}
	cases := []shapeAndInput{{wide, 11}, {single, 126}}
	for _, v := range variants {
		if v.headDim%32 == 0 {
			v.format = gguf.Q8_0
			cases = append(cases, shapeAndInput{v, 20})
		}
	}
	for _, c := range cases {
		m := c.shape.open(t, Options{Threads: 2, PrefillRows: 50, KV8: true})
		r := newReference(t, c.shape)
		r.int8 = true
		in := core.SequenceInput{Input: prompt(m, c.input, 1), Sampler: warm(5), Seed: core.Seed{1}, Salt: core.Hash{2}, Trace: true}
		output, leaves := r.answer(in, 5)
		got := answer(t, m, in)
		result{output, core.FinishLength, leaves}.compare(t, "engine", got)
		replayed := replay(t, m, in, got.output)
		if !slices.Equal(replayed.Tokens, output) || !slices.Equal(replayed.Boundaries, leaves) {
			t.Error("the replay differs")
		}
	}
}

func TestInt8CacheIsAnotherModelInAQuarterOfTheMemory(t *testing.T) {
	plain, small := wide.open(t, Options{}), wide.open(t, Options{KV8: true})
	if plain.Info().Semantics != core.SemanticsV1 || small.Info().Semantics != core.SemanticsKV8 {
		t.Errorf("semantics %d and %d", plain.Info().Semantics, small.Info().Semantics)
	}
	if small.Root() != core.ModelVariant(plain.Root(), core.SemanticsKV8) || small.Root() == plain.Root() {
		t.Errorf("roots %v and %v", plain.Root(), small.Root())
	}
	if a, b := plain.shape.PageBytes(), small.shape.PageBytes(); 100*b > 29*a {
		t.Errorf("a page takes %d bytes instead of %d", b, a)
	}
	in := core.SequenceInput{Input: prompt(plain, 100, 1), Sampler: warm(30), Trace: true}
	a, b := answer(t, plain, in), answer(t, small, in)
	if slices.Equal(a.leaves, b.leaves) {
		t.Error("the leaves do not show the difference")
	}
	for _, o := range []Options{{Threads: 1, PrefillRows: 1, KV8: true}, {Threads: 4, PrefillRows: 37, KV8: true}} {
		m := wide.open(t, o)
		b.compare(t, "other chunks or threads", answer(t, m, in))
		b.compare(t, "from the prefix cache", answer(t, m, in))
	}
	if _, err := OpenBytes(standard.bytes(t), Options{KV8: true}); core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), "multiple of 32") {
		t.Errorf("heads of 16: %v", err)
	}
}
