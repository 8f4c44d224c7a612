package model

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"pgregory.net/rapid"
)

// narrow is so small that many sequences can be tried.
var narrow = tiny{arch: "llama", layers: 1, width: 32, hidden: 32, heads: 2, kvHeads: 1, headDim: 16,
	vocabulary: 307, context: 384, format: standard.format, tied: true, seed: 9}

// budget is the memory of so many blocks.
func (m tiny) budget(blocks int) int64 {
	size, _ := (&config{Config: &architecture.Config{Layers: m.layers, KVHeads: m.kvHeads, HeadDim: m.headDim}}).blockBytes()
	return int64(blocks) * size
}

func TestManySequencesShareTooLittleMemory(t *testing.T) {
	const n = 64
	roomy := narrow.open(t, Options{Threads: 2, MaxBatch: n, KVBudget: narrow.budget(6 * n)})
	m := narrow.open(t, Options{Threads: 2, MaxBatch: n, KVBudget: narrow.budget(80)}) // a quarter of what all could need
	var inputs []core.SequenceInput
	var want []result
	var running []core.Sequence
	for i := range n {
		in := core.SequenceInput{Input: prompt(m, 20, uint64(i)), Sampler: warm(300), Seed: core.Seed{byte(i)}, Trace: i%2 == 0}
		inputs = append(inputs, in)
		running = append(running, start(t, m, in))
	}
	for _, in := range inputs[:8] {
		want = append(want, answer(t, roomy, in))
	}
	if _, err := m.NewSequence(inputs[0]); core.CodeOf(err) != core.CodeBusy {
		t.Fatalf("one more than fit: %v", err)
	}
	waited := false
	for steps := 0; slices.ContainsFunc(running, func(s core.Sequence) bool { return s.Finish() == "" }); steps++ {
		if steps > 100000 {
			t.Fatal("no end")
		}
		if err := m.Step(context.Background(), running); err != nil {
			t.Fatal(err)
		}
		waited = waited || m.queue.waiting()
		if m.cache.used+m.cache.promised > m.cache.capacity || m.cache.allocated > 80 {
			t.Fatalf("used %d, promised %d, allocated %d", m.cache.used, m.cache.promised, m.cache.allocated)
		}
	}
	if !waited {
		t.Error("memory never ran short: the test shows nothing")
	}
	for i, s := range running {
		if i < len(want) {
			want[i].compare(t, fmt.Sprintf("sequence %d", i), take(s))
		}
		s.Release()
	}
	if m.live != 0 || m.cache.used+m.cache.promised != 0 || len(m.queue.all) != 0 {
		t.Errorf("live %d, used %d, promised %d", m.live, m.cache.used, m.cache.promised)
	}
}

// Whatever is admitted, paused, stepped and released in whatever order, under
// whatever budget: answers and leaves are those of a sequence alone, also in
// mid-answer.
func TestShortMemoryChangesNothing(t *testing.T) {
	alone := narrow.open(t, Options{Threads: 1, KVBudget: narrow.budget(20)})
	known := map[int]result{}
	input := func(kind int) core.SequenceInput {
		return core.SequenceInput{Input: prompt(alone, 5+kind*37%150, uint64(kind%3)), Sampler: warm(uint32(20 + kind*53%200)), Seed: core.Seed{byte(kind)}, Trace: kind%2 == 0}
	}
	for kind := range 12 {
		known[kind] = answer(t, alone, input(kind))
	}
	rapid.Check(t, func(rt *rapid.T) {
		m, err := OpenBytes(narrow.bytes(t), Options{Threads: 1, KVBudget: narrow.budget(rapid.IntRange(6, 14).Draw(rt, "blocks")),
			PrefillRows: rapid.SampledFrom([]int{10, 64, 200}).Draw(rt, "rows")})
		if err != nil {
			rt.Fatal(err)
		}
		defer m.Close()
		type live struct {
			kind int
			s    core.Sequence
		}
		var all []live
		check := func(l live) {
			want, got := known[l.kind], l.s.Output()
			if !slices.Equal(got, want.output[:len(got)]) {
				rt.Fatalf("kind %d: another answer", l.kind)
			}
			leaves := l.s.Boundaries()
			if n := len(input(l.kind).Input) + len(got) - 1; l.kind%2 == 0 && len(got) > 0 && !slices.Equal(leaves, want.leaves[:n*2]) {
				rt.Fatalf("kind %d: other leaves after %d tokens: %d of %d", l.kind, len(got), len(leaves), n*2)
			}
		}
		step := func(batch []live) {
			var s []core.Sequence
			for _, l := range batch {
				s = append(s, l.s)
			}
			if err := m.Step(context.Background(), s); err != nil {
				rt.Fatal(err)
			}
		}
		for range rapid.IntRange(5, 30).Draw(rt, "operations") {
			switch rapid.IntRange(0, 4).Draw(rt, "operation") {
			case 0, 1:
				kind := rapid.IntRange(0, 11).Draw(rt, "kind")
				if s, err := m.NewSequence(input(kind)); err == nil {
					all = append(all, live{kind, s})
				} else if core.CodeOf(err) != core.CodeBusy {
					rt.Fatal(err)
				}
			case 2:
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(rt, "which")
					check(all[i])
					all[i].s.Release()
					all = slices.Delete(all, i, i+1)
				}
			default:
				paused := rapid.IntRange(0, len(all)).Draw(rt, "paused")
				for range rapid.IntRange(1, 60).Draw(rt, "steps") {
					step(append(slices.Clone(all[:paused]), all[min(len(all), paused+1):]...))
				}
			}
		}
		for steps := 0; slices.ContainsFunc(all, func(l live) bool { return l.s.Finish() == "" }); steps++ {
			if steps > 20000 {
				rt.Fatal("no end")
			}
			step(all)
		}
		for _, l := range all {
			check(l)
			if len(l.s.Output()) != len(known[l.kind].output) {
				rt.Fatalf("kind %d ended early", l.kind)
			}
			l.s.Release()
		}
		if m.cache.used+m.cache.promised+m.live != 0 {
			rt.Fatal("memory was not given back")
		}
	})
}
