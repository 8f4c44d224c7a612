package model

import (
	"context"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"pgregory.net/rapid"
)

func TestPrefixesAreReusedAndChangeNothing(t *testing.T) {
	m := standard.open(t, Options{Threads: 2})
	system := prompt(m, 150, 1)
	input := func(tail []core.Token, trace bool) core.SequenceInput {
		return core.SequenceInput{Input: slices.Concat(system, tail), Sampler: warm(10), Seed: core.Seed{1}, Salt: core.Hash{4}, Trace: trace}
	}
	check := func(name string, in core.SequenceInput, cached int) {
		t.Helper()
		want := answer(t, standard.open(t, Options{Threads: 1}), in)
		s := start(t, m, in)
		if s.Cached() != cached {
			t.Errorf("%s: %d tokens from the cache, want %d", name, s.Cached(), cached)
		}
		finish(t, m, s)
		want.compare(t, name, take(s))
		s.Release()
	}
	first, second := prompt(m, 20, 2), prompt(m, 30, 3)
	check("cold", input(first, true), 0)
	check("the same request", input(first, true), 169) // the last token must be processed anew
	check("another question", input(second, true), 150)
	check("untraced", input(second, false), 179)
	check("shorter", core.SequenceInput{Input: system[:70], Sampler: warm(5), Trace: true}, 69)
	turn := input(first, true)
	turn.Input = slices.Concat(turn.Input, answer(t, m, turn).output, prompt(m, 9, 5))
	check("the conversation goes on", turn, 179)
	other := input(first, true)
	other.Input = slices.Clone(other.Input)
	other.Input[0]++
	check("a different beginning", other, 0)
}

func TestUntracedBlocksDoNotServeTraces(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 150, 1), Sampler: warm(5)}
	answer(t, m, in)
	in.Trace = true
	s := start(t, m, in)
	if s.Cached() != 0 {
		t.Fatal("blocks without digests were reused")
	}
	finish(t, m, s)
	leaves := s.Boundaries()
	s.Release()
	if again := answer(t, m, in); !slices.Equal(again.leaves, leaves) {
		t.Fatal("the leaves changed with the cache")
	}
	s = start(t, m, in)
	defer s.Release()
	if s.Cached() != 149 {
		t.Fatalf("traced blocks did not replace the others: %d", s.Cached())
	}
}

func TestRunningSequencesShareFullBlocks(t *testing.T) {
	m := standard.open(t, Options{})
	in := core.SequenceInput{Input: prompt(m, 140, 1), Sampler: warm(50)}
	a := start(t, m, in)
	for len(a.Output()) == 0 {
		if err := m.Step(context.Background(), []core.Sequence{a}); err != nil {
			t.Fatal(err)
		}
	}
	b := start(t, m, in)
	if b.Cached() != 128 {
		t.Fatalf("%d tokens shared, want the two full blocks", b.Cached())
	}
	a.Release()
	a.Release() // twice is once
	finish(t, m, b)
	answer(t, standard.open(t, Options{}), in).compare(t, "after the other left", take(b))
	b.Release()
}

func TestMemoryIsBoundedAndRefusalsSayBusy(t *testing.T) {
	size, _ := (&config{Config: &architecture.Config{Layers: 2, KVHeads: 2, HeadDim: 16}}).blockBytes()
	m := standard.open(t, Options{KVBudget: 9*size + 5})
	if got := m.Info().ContextLength; got != 512 {
		t.Fatalf("context %d", got)
	}
	in := core.SequenceInput{Input: prompt(m, 300, 1), Sampler: warm(100)} // 5 blocks for the prompt
	a := start(t, m, in)
	in2 := in
	in2.Input = prompt(m, 300, 2)
	if _, err := m.NewSequence(in2); core.CodeOf(err) != core.CodeBusy {
		t.Fatalf("memory for two: %v", err)
	}
	finish(t, m, a)
	a.Release()
	b := start(t, m, in2) // evicts what a left
	finish(t, m, b)
	b.Release()
	if m.cache.allocated > 9 {
		t.Fatalf("%d blocks allocated, 9 allowed", m.cache.allocated)
	}
	for i := range 40 {
		in.Input = prompt(m, 1+i*11, uint64(i))
		in.Sampler.MaxTokens = 3
		answer(t, m, in)
	}
	if m.cache.allocated > 9 || m.cache.used != 0 || m.cache.promised != 0 {
		t.Fatalf("allocated %d, used %d, promised %d", m.cache.allocated, m.cache.used, m.cache.promised)
	}
}

func TestTheLastBlockIsTakenOverInPlace(t *testing.T) {
	shape := standard
	shape.context = 64
	size, _ := (&config{Config: &architecture.Config{Layers: 2, KVHeads: 2, HeadDim: 16}}).blockBytes()
	m := shape.open(t, Options{KVBudget: size})
	in := core.SequenceInput{Input: prompt(m, 20, 1), Sampler: warm(4), Trace: true}
	first := answer(t, m, in)
	s := start(t, m, in)
	defer s.Release()
	if s.Cached() != 19 {
		t.Fatalf("cached %d", s.Cached())
	}
	finish(t, m, s)
	first.compare(t, "in the same memory", take(s))
}

// The cache's books: blocks in use, promised, idle and free always add up,
// what is matched is what was published, and nobody's block is given away.
func TestCacheBooksBalance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 12
		c := newCache(1, kernel.KVShape{Heads: 1, Dim: 1}, capacity)
		type holder struct {
			lease  *lease
			tokens []core.Token
			n      int // positions promised
			traced bool
		}
		var live []*holder
		write := func(h *holder, from int) {
			for i := from; i < len(h.tokens); i++ {
				p := h.lease.blocks[i/kernel.PageTokens].pages[0]
				p.K[i%kernel.PageTokens], p.V[i%kernel.PageTokens] = float32(h.tokens[i]), float32(i)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "operations") {
			if len(live) > 0 && rapid.Bool().Draw(t, "release") {
				i := rapid.IntRange(0, len(live)-1).Draw(t, "which")
				h := live[i]
				for j, want := range h.tokens {
					p := h.lease.blocks[j/kernel.PageTokens].pages[0]
					if p.K[j%kernel.PageTokens] != float32(want) || p.V[j%kernel.PageTokens] != float32(j) {
						t.Fatalf("position %d was overwritten", j)
					}
				}
				c.release(h.lease, h.tokens, rapid.Bool().Draw(t, "keep"))
				live = slices.Delete(live, i, i+1)
			} else {
				n := rapid.IntRange(1, 300).Draw(t, "length")
				tokens := make([]core.Token, n)
				fork := rapid.SampledFrom([]int{0, 10, 64, 100, 128, 200}).Draw(t, "fork")
				for j := fork; j < n; j++ {
					tokens[j] = core.Token(rapid.IntRange(1, 2).Draw(t, "variant"))
				}
				h := &holder{tokens: tokens, n: n, traced: rapid.Bool().Draw(t, "traced")}
				var cached int
				var ok bool
				promised := rapid.SampledFrom([]int{n, n, max(1, n-100)}).Draw(t, "promised")
				if h.lease, cached, ok = c.admit(tokens[:n-1], promised, h.traced, true); ok {
					if !c.grow(h.lease, n, h.traced) {
						if promised == n {
							t.Fatal("what was promised was not given")
						}
						c.release(h.lease, tokens[:cached], true)
						continue
					}
					write(h, cached)
					for j := 0; (j+1)*kernel.PageTokens <= n; j++ {
						c.publish(h.lease, j, tokens[j*kernel.PageTokens:(j+1)*kernel.PageTokens])
					}
					live = append(live, h)
				}
			}
			held := map[*block]bool{}
			promised := 0
			for _, h := range live {
				promised += h.lease.promised
				for _, b := range h.lease.blocks {
					held[b] = true
				}
			}
			if len(held) != c.used || promised != c.promised || c.used+c.promised > capacity ||
				c.used+c.idle.Len()+len(c.free) != c.allocated || c.allocated > capacity {
				t.Fatalf("used %d (held %d), promised %d (%d), idle %d, free %d, allocated %d",
					c.used, len(held), c.promised, promised, c.idle.Len(), len(c.free), c.allocated)
			}
		}
	})
}
