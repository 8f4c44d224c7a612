package model

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

func TestSequencesComeAndGoWhileStepsRun(t *testing.T) {
	spread(t)
	m := standard.open(t, Options{Threads: 2, PrefillRows: 24, MaxBatch: 100})
	quiet := standard.open(t, Options{Threads: 1})
	const kinds = 6
	inputs, want := make([]core.SequenceInput, kinds), make([]result, kinds)
	for i := range inputs {
		inputs[i] = core.SequenceInput{Input: prompt(m, 40+30*i, uint64(i%2)), Sampler: warm(uint32(8 + i)), Seed: core.Seed{byte(i)}, Trace: i%2 == 0}
		want[i] = answer(t, quiet, inputs[i])
	}
	var (
		mu      sync.Mutex
		running []core.Sequence
		stop    atomic.Bool
		stepper sync.WaitGroup
		clients sync.WaitGroup
	)
	// One stepper, as in a provider; finished sequences are handed to their owner.
	done := map[core.Sequence]chan struct{}{}
	stepper.Go(func() {
		for !stop.Load() {
			mu.Lock()
			batch := slices.Clone(running)
			mu.Unlock()
			if err := m.Step(context.Background(), batch); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			running = slices.DeleteFunc(running, func(s core.Sequence) bool {
				if s.Finish() == "" {
					return false
				}
				close(done[s])
				return true
			})
			mu.Unlock()
		}
	})
	for client := range 4 {
		clients.Go(func() {
			for round := range 6 {
				kind := (client + round) % kinds
				s, err := m.NewSequence(inputs[kind])
				if err != nil {
					t.Error(err)
					return
				}
				end := make(chan struct{})
				mu.Lock()
				running, done[s] = append(running, s), end
				mu.Unlock()
				if (client+round)%3 == 0 { // the consumer goes away
					time.Sleep(time.Millisecond)
					mu.Lock()
					running = slices.DeleteFunc(running, func(o core.Sequence) bool { return o == s })
					mu.Unlock()
					s.Release()
					continue
				}
				<-end
				want[kind].compare(t, "under load", take(s))
				s.Release()
				if client == 0 {
					if r, err := m.Replay(context.Background(), inputs[kind], want[kind].output); err != nil || !slices.Equal(r.Tokens, want[kind].output) {
						t.Errorf("replay under load: %v", err)
					}
				}
			}
		})
	}
	clients.Wait()
	stop.Store(true)
	stepper.Wait()
	if m.live != 0 || m.cache.used != 0 || m.cache.promised != 0 {
		t.Errorf("live %d, used %d, promised %d blocks remain", m.live, m.cache.used, m.cache.promised)
	}
}

func TestReleaseAtAnyMomentLeavesACorrectCache(t *testing.T) {
	in := core.SequenceInput{Sampler: warm(12), Seed: core.Seed{1}, Trace: true}
	m := standard.open(t, Options{Threads: 1, PrefillRows: 13})
	in.Input = prompt(m, 100, 8)
	want := answer(t, standard.open(t, Options{Threads: 1}), in)
	for steps := range 21 {
		fresh := standard.open(t, Options{Threads: 1, PrefillRows: 13})
		s := start(t, fresh, in)
		for range steps {
			if err := fresh.Step(context.Background(), []core.Sequence{s}); err != nil {
				t.Fatal(err)
			}
		}
		s.Release()
		if err := fresh.Step(context.Background(), []core.Sequence{s}); err != nil {
			t.Fatal(err) // a released sequence is passed over
		}
		want.compare(t, "after a cancellation", answer(t, fresh, in))
		fresh.Close()
	}
}

func TestAnEndedContextLeavesEverySequenceWhereItWas(t *testing.T) {
	m := standard.open(t, Options{PrefillRows: 20})
	in := core.SequenceInput{Input: prompt(m, 50, 8), Sampler: warm(8), Trace: true}
	want := answer(t, standard.open(t, Options{}), in)
	s := start(t, m, in)
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	for s.Finish() == "" {
		before := s.(*sequence).processed
		if err := m.Step(dead, []core.Sequence{s}); !errors.Is(err, context.Canceled) || s.(*sequence).processed != before {
			t.Fatalf("error %v, processed %d, before %d", err, s.(*sequence).processed, before)
		}
		if err := m.Step(context.Background(), []core.Sequence{s}); err != nil {
			t.Fatal(err)
		}
	}
	want.compare(t, "with interrupted steps", take(s))
	s.Release()
}

// Finite weights whose products are not.
func TestNumbersOutOfRangeEndTheAnswerAsInvalid(t *testing.T) {
	shape := tiny{arch: "llama", layers: 2, width: 32, hidden: 32, heads: 2, kvHeads: 2, headDim: 16, vocabulary: 259, context: 64, format: gguf.F32}
	b := shape.bytes(t)
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, at int, v float32) {
		tensor, _ := f.Tensor(name)
		binary.LittleEndian.PutUint32(b[int(tensor.Offset)+4*at:], math.Float32bits(v))
	}
	// Only token 7 has a first element, and only its key overflows.
	for i := range shape.vocabulary {
		put("token_embd.weight", i*shape.width, 0)
	}
	put("token_embd.weight", 7*shape.width, 1000)
	put("blk.0.attn_k.weight", 0, math.MaxFloat32)
	m, err := OpenBytes(b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	bad := start(t, m, core.SequenceInput{Input: []core.Token{1, 7, 2}, Sampler: warm(5), Trace: true})
	good := start(t, m, core.SequenceInput{Input: []core.Token{1, 3, 2}, Sampler: warm(5), Trace: true})
	for bad.Finish() == "" || good.Finish() == "" {
		if err := m.Step(context.Background(), []core.Sequence{bad, good}); err != nil {
			t.Fatal(err)
		}
	}
	if bad.Finish() != FinishInvalid || len(bad.Output()) != 0 {
		t.Errorf("finish %q, output %v", bad.Finish(), bad.Output())
	}
	if good.Finish() != core.FinishLength || len(good.Output()) != 5 {
		t.Errorf("the neighbour suffered: %q", good.Finish())
	}
	bad.Release()
	good.Release()
	if r := replay(t, m, core.SequenceInput{Input: []core.Token{1, 3}, Sampler: warm(5)}, []core.Token{4, 7, 5}); r.Tokens[0] < 0 || r.Tokens[2] != -1 {
		t.Errorf("replay across an invalid position: %v", r.Tokens)
	}
}

func TestCloseEndsTheEngine(t *testing.T) {
	before := runtime.NumGoroutine()
	m := standard.open(t, Options{Threads: 4})
	in := core.SequenceInput{Input: prompt(m, 10, 1), Sampler: warm(50), Trace: true}
	s := start(t, m, in)
	if err := m.Step(context.Background(), []core.Sequence{s}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
	if err := m.Step(context.Background(), []core.Sequence{s}); core.CodeOf(err) != core.CodeUnavailable {
		t.Errorf("a closed engine was stepped: %v", err)
	}
	if _, err := m.NewSequence(in); core.CodeOf(err) != core.CodeUnavailable {
		t.Errorf("a closed engine took a request: %v", err)
	}
	if _, err := m.Replay(context.Background(), in, []core.Token{1}); core.CodeOf(err) != core.CodeUnavailable {
		t.Errorf("a closed engine replayed: %v", err)
	}
	s.Release()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func TestSteadyDecodeDoesNotGrow(t *testing.T) {
	m := standard.open(t, Options{Threads: 2})
	in := core.SequenceInput{Input: prompt(m, 10, 1), Sampler: warm(480), Trace: true}
	s := start(t, m, in)
	defer s.Release()
	batch := []core.Sequence{s}
	step := func() {
		if err := m.Step(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		step()
	}
	early := testing.AllocsPerRun(100, step)
	late := testing.AllocsPerRun(100, step)
	if late > early+4 {
		t.Errorf("%v allocations per token early, %v late", early, late)
	}
	if early > 100 {
		t.Errorf("%v allocations per token", early)
	}
	t.Logf("%v allocations per token", early)
}
