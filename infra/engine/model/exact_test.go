package model

import (
	"context"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// finish steps a sequence alone to its end.
func finish(t testing.TB, m *Model, s core.Sequence) {
	t.Helper()
	for s.Finish() == "" {
		if err := m.Step(context.Background(), []core.Sequence{s}); err != nil {
			t.Fatal(err)
		}
	}
}

func start(t testing.TB, m *Model, in core.SequenceInput) core.Sequence {
	t.Helper()
	s, err := m.NewSequence(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// result is everything that must not depend on circumstances.
type result struct {
	output []core.Token
	finish core.FinishReason
	leaves []core.Hash
}

func (r result) compare(t testing.TB, name string, o result) {
	t.Helper()
	if !slices.Equal(r.output, o.output) {
		t.Errorf("%s: output %v, want %v", name, o.output, r.output)
	}
	if r.finish != o.finish {
		t.Errorf("%s: finish %q, want %q", name, o.finish, r.finish)
	}
	if !slices.Equal(r.leaves, o.leaves) {
		t.Errorf("%s: the boundary leaves differ (%d and %d)", name, len(o.leaves), len(r.leaves))
	}
}

func take(s core.Sequence) result {
	return result{slices.Clone(s.Output()), s.Finish(), s.Boundaries()}
}

func answer(t testing.TB, m *Model, in core.SequenceInput) result {
	t.Helper()
	s := start(t, m, in)
	defer s.Release()
	finish(t, m, s)
	return take(s)
}

func TestEqualsTheSpecification(t *testing.T) {
	for _, shape := range everyShape() {
		t.Run(shape.String(), func(t *testing.T) {
			m := shape.open(t, Options{Threads: 2, PrefillRows: 5})
			r := newReference(t, shape)
			in := core.SequenceInput{Input: prompt(m, 11, shape.seed), Sampler: warm(6), Seed: core.Seed{1}, Salt: core.Hash{2}, Trace: true}
			output, leaves := r.answer(in, 6)
			result{output, core.FinishLength, leaves}.compare(t, "engine", answer(t, m, in))
			logits, _ := r.run(append(slices.Clone(in.Input), output[:5]...))
			if got := m.work.logits[:shape.vocabulary]; !slices.Equal(got, logits[len(logits)-1]) {
				t.Error("the last logits differ")
			}
		})
	}
}

func TestAcrossPages(t *testing.T) {
	shape := standard
	shape.layers = 1
	m := shape.open(t, Options{Threads: 2, PrefillRows: 50})
	r := newReference(t, shape)
	in := core.SequenceInput{Input: prompt(m, 126, 1), Sampler: warm(4), Trace: true}
	output, leaves := r.answer(in, 4)
	result{output, core.FinishLength, leaves}.compare(t, "engine", answer(t, m, in))
}

// spread makes even the smallest pieces of work go to all threads.
func spread(t testing.TB) {
	old := threadWork
	threadWork = 1
	t.Cleanup(func() { threadWork = old })
}

func TestChunkingAndThreadsChangeNothing(t *testing.T) {
	spread(t)
	in := core.SequenceInput{Sampler: warm(12), Seed: core.Seed{7}, Salt: core.Hash{3}, Trace: true}
	var want result
	for i, o := range []Options{{Threads: 1, PrefillRows: 1}, {Threads: 1, PrefillRows: 256}, {Threads: 2, PrefillRows: 3},
		{Threads: 4, PrefillRows: 64}, {Threads: 2, PrefillRows: 77}, {Threads: 4, PrefillRows: 1}} {
		m := standard.open(t, o)
		in.Input = prompt(m, 150, 9)
		got := answer(t, m, in)
		if i == 0 {
			want = got // prefill token by token, as decode does
			continue
		}
		want.compare(t, "other chunks or threads", got)
	}
}

func TestBatchCompositionChangesNothing(t *testing.T) {
	spread(t)
	m := standard.open(t, Options{Threads: 2, PrefillRows: 16})
	const n = 7
	inputs := make([]core.SequenceInput, n)
	want := make([]result, n)
	for i := range inputs {
		inputs[i] = core.SequenceInput{Input: prompt(m, 1+i*17, uint64(100+i)), Sampler: warm(uint32(3 + 5*i)),
			Seed: core.Seed{byte(i)}, Salt: core.Hash{byte(i)}, Trace: i%3 != 1}
		want[i] = answer(t, m, inputs[i])
	}
	for _, order := range [][]int{{0, 1, 2, 3, 4, 5, 6}, {6, 5, 4, 3, 2, 1, 0}, {3, 3, 0, 6, 1}} {
		fresh := standard.open(t, Options{Threads: 2, PrefillRows: 16})
		var batch []core.Sequence
		got := map[core.Sequence]int{}
		for step := 0; len(batch) > 0 || step < len(order); step++ {
			if step < len(order) { // one joins with each step
				s := start(t, fresh, inputs[order[step]])
				got[s] = order[step]
				batch = append(batch, s)
			}
			if err := fresh.Step(context.Background(), batch); err != nil {
				t.Fatal(err)
			}
			batch = slices.DeleteFunc(batch, func(s core.Sequence) bool {
				if s.Finish() == "" {
					return false
				}
				want[got[s]].compare(t, "in a batch", take(s))
				s.Release()
				return true
			})
			if step > 500 {
				t.Fatal("the batch does not end")
			}
		}
	}
}

func TestEveryStepAdvancesEverySequence(t *testing.T) {
	m := standard.open(t, Options{Threads: 1, PrefillRows: 8})
	var batch []core.Sequence
	for i := range 5 {
		batch = append(batch, start(t, m, core.SequenceInput{Input: prompt(m, 100-i, uint64(i)), Sampler: warm(4)}))
	}
	decoding := start(t, m, core.SequenceInput{Input: prompt(m, 1, 50), Sampler: warm(100)})
	batch = append(batch, decoding, decoding) // twice: must count once
	for step := range 20 {
		before := make([]int, len(batch))
		for i, s := range batch {
			before[i] = s.(*sequence).processed
		}
		if err := m.Step(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
		if rows := cap(m.work.rows); rows > 64 {
			t.Fatalf("a pass of %d rows", rows)
		}
		if got := len(decoding.Output()); got != step+1 {
			t.Fatalf("after %d steps the answer has %d tokens", step+1, got)
		}
		for i, s := range batch {
			if s.Finish() == "" && s.(*sequence).processed == before[i] {
				t.Fatalf("step %d left sequence %d where it was", step, i)
			}
		}
	}
}

func TestResumedAnswersContinueTheSameText(t *testing.T) {
	m := standard.open(t, Options{Threads: 2})
	in := core.SequenceInput{Input: prompt(m, 30, 4), Sampler: warm(20), Seed: core.Seed{5}, Salt: core.Hash{1}, Trace: true}
	whole := answer(t, m, in)
	for _, k := range []int{1, 7, 19} {
		other := standard.open(t, Options{Threads: 1}) // another provider
		resumed := in
		resumed.Input = slices.Concat(in.Input, whole.output[:k])
		resumed.Base = k
		got := answer(t, other, resumed)
		if !slices.Equal(got.output, whole.output[k:]) || got.finish != whole.finish {
			t.Errorf("continued after %d tokens: %v, want %v", k, got.output, whole.output[k:])
		}
		if !slices.Equal(got.leaves, whole.leaves) {
			t.Errorf("continued after %d tokens: other leaves", k)
		}
	}
	ended := in
	ended.Input, ended.Base = slices.Concat(in.Input, whole.output), len(whole.output)
	if _, err := m.NewSequence(ended); core.CodeOf(err) != core.CodeInvalid {
		t.Errorf("an answer that has ended was continued: %v", err)
	}
}

// TestEveryArchitectureIsAFunction answers alone, in other chunks, on other
// threads, among neighbours, from the prefix cache and as a replay.
func TestEveryArchitectureIsAFunction(t *testing.T) {
	spread(t)
	for _, shape := range variants {
		shape.format = gguf.Q8_0
		t.Run(shape.String(), func(t *testing.T) {
			m := shape.open(t, Options{Threads: 1, PrefillRows: 1})
			in := core.SequenceInput{Input: prompt(m, 75, 9), Sampler: warm(12), Seed: core.Seed{4}, Salt: core.Hash{1}, Trace: true}
			want := answer(t, m, in)
			other := shape.open(t, Options{Threads: 3, PrefillRows: 31})
			neighbours := []core.Sequence{
				start(t, other, core.SequenceInput{Input: prompt(other, 40, 1), Sampler: warm(50)}),
				start(t, other, core.SequenceInput{Input: prompt(other, 3, 2), Sampler: warm(50), Trace: true}),
			}
			s := start(t, other, in)
			for s.Finish() == "" {
				if err := other.Step(context.Background(), append(neighbours, s)); err != nil {
					t.Fatal(err)
				}
			}
			want.compare(t, "in a batch", take(s))
			s.Release()
			s = start(t, other, in)
			if s.Cached() < 64 {
				t.Errorf("%d positions are cached", s.Cached())
			}
			finish(t, other, s)
			want.compare(t, "from the cache", take(s))
			replayed, err := other.Replay(context.Background(), in, want.output)
			if err != nil || !slices.Equal(replayed.Tokens, want.output) || !slices.Equal(replayed.Boundaries, want.leaves) {
				t.Errorf("the replay differs: %v", err)
			}
		})
	}
}
