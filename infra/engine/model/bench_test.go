package model

import (
	"context"
	"fmt"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// small is a model of 8 million parameters, the size of a model that fits into
// a repository.
var small = tiny{arch: "llama", layers: 8, width: 256, hidden: 704, heads: 8, kvHeads: 4, headDim: 32,
	vocabulary: 4099, context: 4096, format: gguf.Q8_0, tied: true}

func BenchmarkPrefill(b *testing.B) {
	m := small.open(b, Options{KVBudget: 256 << 20})
	for _, traced := range []bool{false, true} {
		b.Run(fmt.Sprintf("trace=%v", traced), func(b *testing.B) {
			tokens := 0
			for i := 0; b.Loop(); i++ {
				in := core.SequenceInput{Input: prompt(m, 512, uint64(i)), Sampler: core.Sampler{MaxTokens: 1}, Trace: traced}
				s := start(b, m, in)
				finish(b, m, s)
				tokens += len(in.Input) - s.Cached()
				s.Release()
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tok/s")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	m := small.open(b, Options{KVBudget: 256 << 20})
	for _, batch := range []int{1, 8} {
		for _, traced := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/trace=%v", batch, traced), func(b *testing.B) {
				var all []core.Sequence
				renew := func() {
					for _, s := range all {
						s.Release()
					}
					all = all[:0]
					for i := range batch {
						s := start(b, m, core.SequenceInput{Input: prompt(m, 16, uint64(i)), Sampler: warm(1000), Trace: traced})
						for len(s.Output()) == 0 {
							m.Step(context.Background(), []core.Sequence{s})
						}
						all = append(all, s)
					}
				}
				renew()
				for n := 0; b.Loop(); n++ {
					if all[0].Finish() != "" {
						b.StopTimer()
						renew()
						b.StartTimer()
					}
					if err := m.Step(context.Background(), all); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "tok/s")
				for _, s := range all {
					s.Release()
				}
			})
		}
	}
}

// BenchmarkDigest takes the digests that a trace adds to one token in the shapes
// of models of 0.5 and 1.1 billion parameters, on one thread: set beside a token's
// time, it is the trace's share.
func BenchmarkDigest(b *testing.B) {
	for _, shape := range []struct {
		name              string
		layers, width, kv int
	}{{"0.5B", 24, 896, 128}, {"1.1B", 22, 2048, 256}} {
		b.Run(shape.name, func(b *testing.B) {
			x, k, v := make([]float32, shape.width), make([]float32, shape.kv), make([]float32, shape.kv)
			for b.Loop() {
				for range shape.layers {
					digest(x, k, v)
				}
				digest(x, nil, nil)
			}
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	m := small.open(b, Options{KVBudget: 256 << 20})
	in := core.SequenceInput{Input: prompt(m, 256, 1), Sampler: warm(256), Trace: true}
	got := answer(b, m, in)
	for b.Loop() {
		if _, err := m.Replay(context.Background(), in, got.output); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(512*b.N)/b.Elapsed().Seconds(), "tok/s")
}

// BenchmarkExperts compares a mixture with the plain feed-forward layer that
// reads as many weights per token.
func BenchmarkExperts(b *testing.B) {
	plain := tiny{arch: "llama", layers: 2, width: 1024, hidden: 3072, heads: 16, kvHeads: 4, headDim: 64, vocabulary: 515, context: 2048, format: gguf.Q8_0, tied: true}
	mixture := plain
	mixture.arch, mixture.experts, mixture.used, mixture.expertHidden = "qwen3moe", 16, 4, 768
	for _, shape := range []tiny{plain, mixture} {
		for _, rows := range []int{1, 8, 128} {
			b.Run(fmt.Sprintf("%s/rows=%d", shape.arch, rows), func(b *testing.B) {
				m := shape.open(b, Options{KVBudget: 256 << 20})
				if err := m.storage.ready(0); err != nil {
					b.Fatal(err)
				}
				var all []core.Sequence
				for i := range min(rows, 8) {
					all = append(all, start(b, m, core.SequenceInput{Input: prompt(m, 4, uint64(i)), Sampler: warm(2000)}))
				}
				for n := 0; b.Loop(); n++ {
					if rows == 128 {
						in := core.SequenceInput{Input: prompt(m, 128, uint64(n)), Sampler: core.Sampler{MaxTokens: 1}}
						s := start(b, m, in)
						finish(b, m, s)
						s.Release()
						continue
					}
					if err := m.Step(context.Background(), all); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "tok/s")
				for _, s := range all {
					s.Release()
				}
			})
		}
	}
}
