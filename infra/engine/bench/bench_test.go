package bench

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// tiny is the smallest shape that has everything.
var tiny = Shape{Name: "tiny", Architecture: "qwen2", Layers: 2, Width: 64, Heads: 4, KVHeads: 2, Hidden: 128, Vocabulary: 700, Context: 512, Tied: true}

func TestRunMeasuresAModel(t *testing.T) {
	untied := tiny
	untied.Architecture, untied.Tied = "llama", false
	b, err := untied.Builder(gguf.Q4_0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := b.Create(path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	r, err := Run(context.Background(), Options{Model: path, Prompt: 40, Tokens: 8, Rounds: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.Prefill <= 0 || r.Decode <= 0 || r.Sampled <= 0 || r.Bandwidth < 1e8 || r.BandwidthShare <= 0 || r.Tokenizer <= 0 ||
		len(r.Batches) != 4 || r.Batches[0].Scale != 1 || r.Open.First <= 0 || r.Open.Kept <= 0 || r.WeightBytes <= 0 || r.Random {
		t.Errorf("%+v", r)
	}
	if r.Table() == "" {
		t.Error("no table")
	}
}

func TestRandomModelsAreTheSameEveryTime(t *testing.T) {
	root := func() string {
		b, err := tiny.Builder(gguf.Q4_0)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "tiny.gguf")
		if err := b.Create(path); err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		id, err := gguf.Root(f)
		if err != nil {
			t.Fatal(err)
		}
		return id.String()
	}
	if a, b := root(), root(); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if _, err := tiny.Builder(gguf.F16); err == nil {
		t.Error("random weights in F16")
	}
}

func TestMedian(t *testing.T) {
	if m := Median([]float64{5, 1, 3}); m != 3 {
		t.Errorf("%v", m)
	}
	if m := Median([]float64{4, 1, 2, 9}); m != 3 {
		t.Errorf("%v", m)
	}
}
