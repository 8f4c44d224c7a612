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
