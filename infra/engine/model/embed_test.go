package model

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

var allPoolings = []core.Pooling{core.PoolMean, core.PoolCLS, core.PoolLast}

func embed(t testing.TB, m *Model, input []core.Token, pooling core.Pooling) []float32 {
	t.Helper()
	v, err := m.Embed(context.Background(), [][]core.Token{input}, pooling)
	if err != nil {
		t.Fatal(err)
	}
	return v[0]
}

func (r *reference) pooled(input []core.Token, pooling core.Pooling) []float32 {
	r.run(input)
	acc := make([]float32, r.m.width)
	for i, h := range r.states {
		if pooling == core.PoolMean || pooling == core.PoolCLS && i == 0 || pooling == core.PoolLast && i == len(input)-1 {
			spec.PoolStep(acc, h)
		}
	}
	if pooling == core.PoolMean {
		spec.PoolMean(acc, len(input))
	}
	if !spec.Unit(acc) {
		r.t.Fatal("no unit vector")
	}
	return acc
}

func TestEmbeddingsEqualTheSpecification(t *testing.T) {
	spread(t)
	for _, shape := range []tiny{standard, shapes[4], shapes[5]} {
		ref := newReference(t, shape)
		m := shape.open(t, Options{Threads: 3, PrefillRows: 7})
		for _, n := range []int{1, 2, 21} {
			input := prompt(m, n, uint64(n))
			for _, pooling := range allPoolings {
				want := ref.pooled(input, pooling)
				if got := embed(t, m, input, pooling); !slices.Equal(got, want) {
					t.Errorf("%v, %d tokens, %s: %v, want %v", shape, n, pooling, got[:4], want[:4])
				}
			}
		}
	}
}

func TestEmbeddingsDoNotDependOnTheirSurroundings(t *testing.T) {
	spread(t)
	alone := standard.open(t, Options{Threads: 1})
	m := standard.open(t, Options{Threads: 2, PrefillRows: 33, MaxBatch: 4})
	input := prompt(m, 200, 4)
	s := start(t, m, core.SequenceInput{Input: slices.Concat(input[:150], prompt(m, 9, 5)), Sampler: warm(30)})
	finish(t, m, s)
	s.Release() // leaves a cached prefix
	for _, pooling := range allPoolings {
		want := embed(t, alone, input, pooling)
		var squares float64
		for _, v := range want {
			squares += float64(v) * float64(v)
		}
		if math.Abs(squares-1) > 1e-5 {
			t.Errorf("%s: length %v", pooling, math.Sqrt(squares))
		}
		for range 2 {
			if got := embed(t, m, input, pooling); !slices.Equal(got, want) {
				t.Errorf("%s: the embedding changes with chunks, threads or cached prefixes", pooling)
			}
		}
	}
	inputs := [][]core.Token{input, input[:1], input[:2], input[:50], input[:160], input[:33], input[3:40], {1}}
	for _, pooling := range allPoolings {
		got, err := m.Embed(context.Background(), inputs, pooling)
		if err != nil {
			t.Fatal(err)
		}
		for i := range inputs {
			if !slices.Equal(got[i], embed(t, alone, inputs[i], pooling)) {
				t.Errorf("%s: input %d among others has another embedding", pooling, i)
			}
		}
	}
	if m.cache.used+m.cache.promised+m.live != 0 {
		t.Error("memory was not given back")
	}
}

func TestEmbeddingsThatAreRefused(t *testing.T) {
	m := standard.open(t, Options{})
	for name, c := range map[string]struct {
		input   []core.Token
		pooling core.Pooling
		code    core.Code
	}{
		"nothing":  {nil, core.PoolMean, core.CodeInvalid},
		"pooling":  {prompt(m, 3, 1), "rank", core.CodeInvalid},
		"token":    {[]core.Token{1, 307}, core.PoolMean, core.CodeInvalid},
		"too long": {prompt(m, 513, 1), core.PoolLast, core.CodeContextLength},
	} {
		if _, err := m.Embed(context.Background(), [][]core.Token{{1}, c.input}, c.pooling); core.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	embed(t, m, prompt(m, 512, 1), core.PoolMean) // just fits
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Embed(ctx, [][]core.Token{prompt(m, 5, 1)}, core.PoolMean); err == nil {
		t.Error("a cancelled embedding succeeded")
	}
	m.Close()
	if _, err := m.Embed(context.Background(), [][]core.Token{prompt(m, 5, 1)}, core.PoolMean); core.CodeOf(err) != core.CodeUnavailable {
		t.Errorf("a closed engine: %v", err)
	}
}

func TestAFileSaysHowItsEmbeddingsArePooled(t *testing.T) {
	for n, want := range map[uint32]core.Pooling{0: "", 1: core.PoolMean, 2: core.PoolCLS, 3: core.PoolLast, 4: ""} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			shape := standard
			shape.change = func(b *gguf.Builder) { b.Set("qwen2.pooling_type", n) }
			if got := shape.open(t, Options{}).Info(); got.Pooling != want || got.Width != 64 {
				t.Errorf("pooling %q, width %d", got.Pooling, got.Width)
			}
		})
	}
	if got := standard.open(t, Options{}).Info().Pooling; got != "" {
		t.Errorf("a silent file has pooling %q", got)
	}
}
