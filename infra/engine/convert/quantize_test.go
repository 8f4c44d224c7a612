package convert

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

func plain(t *testing.T) string {
	t.Helper()
	var b gguf.Builder
	b.Set("general.architecture", "llama")
	b.Set("general.file_type", uint32(0))
	b.Set("general.alignment", uint32(64))
	r := rand.New(rand.NewPCG(1, 2))
	for _, x := range []struct {
		name string
		dims []int
	}{{"token_embd.weight", []int{256, 40}}, {"blk.0.attn_norm.weight", []int{256}}, {"blk.0.attn_q.weight", []int{256, 300}},
		{"blk.0.ffn_down.weight", []int{96, 256}}, {"blk.0.odd.weight", []int{20, 7}}, {"blk.0.ffn_up_exps.weight", []int{256, 5, 3}},
		{"blk.0.ffn_gate_inp.weight", []int{256, 3}}} {
		n := 1
		for _, d := range x.dims {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = float32(r.NormFloat64())
		}
		if err := b.AddFloats(x.name, gguf.F32, x.dims, values); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "plain.gguf")
	if err := b.Create(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *gguf.File {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestQuantize(t *testing.T) {
	defer func(n int) { bandValues = n }(bandValues)
	bandValues = 1 << 12
	src := open(t, plain(t))
	for _, name := range Types() {
		to, err := TypeNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name+".gguf")
		last := int64(0)
		if err := Quantize(context.Background(), src, to, path, func(done, total int64) { last = total - done }); err != nil {
			t.Fatal(name, err)
		}
		if last != 0 {
			t.Errorf("%s: the progress ends %d bytes before the end", name, last)
		}
		f := open(t, path)
		for i := range f.Tensors {
			q := &f.Tensors[i]
			s, _ := src.Tensor(q.Name)
			want := typeFor(q.Name, q.Rows(), q.Cols(), to, "token_embd.weight")
			if q.Type != want {
				t.Errorf("%s: %s is %v, want %v", name, q.Name, q.Type, want)
			}
			a, err1 := src.FloatData(s)
			b, err2 := f.FloatData(q)
			if err1 != nil || err2 != nil || len(a) != len(b) {
				t.Fatal(err1, err2)
			}
			whole, err := gguf.Quantize(want, a)
			if data, _ := f.Data(q); err != nil || string(data) != string(whole) {
				t.Errorf("%s: %s differs from what is quantised in one piece", name, q.Name)
			}
			worst := 0.0
			for j := range a {
				worst = max(worst, math.Abs(float64(a[j]-b[j])))
			}
			if worst > 0.6 {
				t.Errorf("%s: %s is off by %v", name, q.Name, worst)
			}
		}
		again := filepath.Join(t.TempDir(), "again.gguf")
		if err := Quantize(context.Background(), f, to, again, nil); err != nil {
			t.Fatal(err)
		}
		one, _ := os.ReadFile(path)
		two, _ := os.ReadFile(again)
		if string(one) != string(two) {
			t.Errorf("%s: quantised again to its own type it changes", name)
		}
	}
}

func TestTypesOfTensors(t *testing.T) {
	q4, _ := TypeNamed("q4_0")
	for name, c := range map[string]struct {
		rows, cols int
		want       gguf.Type
	}{
		"blk.0.attn_q.weight":       {8, 64, gguf.Q4_0},
		"blk.0.attn_q_norm.weight":  {2, 64, gguf.F32},
		"blk.0.attn_q.bias":         {2, 64, gguf.F32},
		"blk.0.ffn_gate_inp.weight": {4, 64, gguf.F32},
		"rope_freqs.weight":         {1, 64, gguf.F32},
		"blk.0.odd.weight":          {8, 40, gguf.F16},
	} {
		if got := typeFor(name, c.rows, c.cols, q4, "output.weight"); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := typeFor("blk.0.ffn_down.weight", 8, 96, gguf.Q4_K, ""); got != gguf.Q8_0 {
		t.Errorf("rows of 96: %v", got)
	}
	if got := typeFor("output.weight", 8, 256, gguf.Q4_K, "output.weight"); got != gguf.Q6_K {
		t.Errorf("the output matrix: %v", got)
	}
	if _, err := TypeNamed("IQ2_XXS"); err == nil {
		t.Error("a type that cannot be written was found")
	}
}

func TestQuantizeLeavesNothingBehind(t *testing.T) {
	src := open(t, plain(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	if err := Quantize(ctx, src, gguf.Q8_0, filepath.Join(dir, "x.gguf"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left behind", left)
	}
}
