package model_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/bench"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
)

// BenchmarkLongContext measures a token of a 1.1B Llama shape far into a
// context: drawn, and as one of the last 512 of a prompt. The positions before
// are filled with random keys and values instead of being computed.
func BenchmarkLongContext(b *testing.B) {
	shape := bench.One
	shape.Context = 64 << 10
	file, err := shape.Builder(gguf.Q8_0)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "random.gguf")
	if err := file.Create(path); err != nil {
		b.Fatal(err)
	}
	file = nil
	for _, kv8 := range []bool{false, true} {
		b.Run(fmt.Sprintf("kv8=%v", kv8), func(b *testing.B) {
			m, err := model.Open(path, model.Options{KV8: kv8, KVBudget: 4 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			for _, n := range []int{1 << 10, 8 << 10, 32 << 10} {
				b.Run(fmt.Sprintf("position=%d", n), func(b *testing.B) { longContext(b, m, n) })
			}
		})
	}
}

func longContext(b *testing.B, m *model.Model, n int) {
	const chunk = 512
	s, err := m.NewSequence(core.SequenceInput{Input: bench.Prompt(m, n+1, 1), Sampler: core.Sampler{MaxTokens: 10_000, IgnoreEOS: true}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Release()
	if !model.Occupy(s, n) {
		b.Fatal("no memory for so many positions")
	}
	step := func(b *testing.B) {
		if err := m.Step(context.Background(), []core.Sequence{s}); err != nil {
			b.Fatal(err)
		}
	}
	step(b) // weights and buffers are in memory now
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			model.Rewind(s, n)
			step(b)
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/token")
		debug.FreeOSMemory()
		if now, _ := bench.ResidentBytes(); now > 0 {
			b.ReportMetric(float64(now)/(1<<20), "MiB-resident")
		}
	})
	b.Run("prefill", func(b *testing.B) {
		for b.Loop() {
			model.Rewind(s, n-chunk)
			for range chunk / model.DefaultPrefillRows {
				step(b)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N*chunk), "ms/token")
	})
}
