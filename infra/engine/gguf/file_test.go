package gguf

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample(t testing.TB) *Builder {
	t.Helper()
	var b Builder
	b.Set("general.architecture", "llama")
	b.Set("general.name", "sample")
	b.Set("llama.context_length", uint32(64))
	b.Set("llama.rope.freq_base", float32(10000))
	b.Set("llama.tied", true)
	b.Set("llama.offset", int8(-3))
	b.Set("tokenizer.ggml.model", "gpt2")
	b.Set("tokenizer.ggml.tokens", []string{"a", "", "ü"})
	b.Set("tokenizer.ggml.scores", []float32{0, -1, 2.5})
	b.Set("tokenizer.ggml.token_type", []int32{1, 3, 1})
	ramp := make([]float32, 70*512)
	for i := range ramp {
		ramp[i] = float32(i%97) - 48
	}
	for _, x := range []struct {
		name string
		t    Type
		dims []int
	}{{"norm", F32, []int{300}}, {"half", F16, []int{320, 3}}, {"q8", Q8_0, []int{512, 70}}, {"q4", Q4_0, []int{288, 5}}} {
		n := 1
		for _, d := range x.dims {
			n *= d
		}
		if err := b.AddFloats(x.name, x.t, x.dims, ramp[:n]); err != nil {
			t.Fatal(err)
		}
	}
	return &b
}

func encode(t testing.TB, b *Builder) []byte {
	t.Helper()
	var w bytes.Buffer
	if n, err := b.WriteTo(&w); err != nil || n != int64(w.Len()) {
		t.Fatal(n, err)
	}
	return w.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := sample(t).Create(path); err != nil {
		t.Fatal(err)
	}
	mapped, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer mapped.Close()
	raw, _ := os.ReadFile(path)
	read, err := New(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*File{mapped, read} {
		if s, err := f.Text("general.name"); s != "sample" || err != nil {
			t.Error(s, err)
		}
		if n, err := f.Int("llama.context_length"); n != 64 || err != nil {
			t.Error(n, err)
		}
		if x, err := f.Float("llama.rope.freq_base"); x != 10000 || err != nil {
			t.Error(x, err)
		}
		if b, err := f.Bool("llama.tied"); !b || err != nil {
			t.Error(b, err)
		}
		if s, err := f.Strings("tokenizer.ggml.tokens"); !reflect.DeepEqual(s, []string{"a", "", "ü"}) || err != nil {
			t.Error(s, err)
		}
		if s, err := f.Floats("tokenizer.ggml.scores"); !reflect.DeepEqual(s, []float32{0, -1, 2.5}) || err != nil {
			t.Error(s, err)
		}
		if s, err := f.Ints("tokenizer.ggml.token_type"); !reflect.DeepEqual(s, []int64{1, 3, 1}) || err != nil {
			t.Error(s, err)
		}
		q8, _ := f.Tensor("q8")
		if q8.Rows() != 70 || q8.Cols() != 512 || q8.Size != 70*512/32*34 {
			t.Errorf("q8 is %+v", q8)
		}
		values, err := f.FloatData(q8)
		if err != nil || math.Abs(float64(values[100]-float32(100%97-48))) > 0.2 {
			t.Error(values[100], err)
		}
	}
	a, err1 := Root(mapped)
	b, err2 := Root(read)
	if a != b || err1 != nil || err2 != nil {
		t.Errorf("the root depends on how the file is read: %v %v %v %v", a, b, err1, err2)
	}
}

func TestGettersSayWhatIsWrong(t *testing.T) {
	f, err := Parse(encode(t, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Uint("nothing"); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if n, err := Or(f.Uint("nothing"))(7); n != 7 || err != nil {
		t.Error(n, err)
	}
	for _, c := range []struct{ err, want string }{
		{second(f.Uint("general.name")), "general.name is string, not an integer"},
		{second(f.Uint("llama.offset")), "negative: -3"},
		{second(f.Strings("tokenizer.ggml.scores")), "array of 3 float32, not an array of strings"},
		{second(Or(f.Bool("general.name"))(true)), "not a bool"},
	} {
		if !strings.Contains(c.err, c.want) {
			t.Errorf("error %q does not say %q", c.err, c.want)
		}
	}
}

func second[T any](_ T, err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestForeignTypesAreListedAndRefusedByName(t *testing.T) {
	var b Builder
	if err := b.Add("experts", 10, []int{256, 2}, make([]byte, 168)); err != nil {
		t.Fatal(err)
	}
	f, err := Parse(encode(t, &b))
	if err != nil {
		t.Fatal(err)
	}
	tensor, _ := f.Tensor("experts")
	if _, err := f.Data(tensor); err == nil || !strings.Contains(err.Error(), "Q2_K") {
		t.Error(err)
	}
	if _, err := Root(f); err == nil || !strings.Contains(err.Error(), "Q2_K") {
		t.Error(err)
	}
}

func TestOpeningHalfAGigabyteTakesMilliseconds(t *testing.T) {
	var b Builder
	tokens := make([]string, 150_000)
	merges := make([]string, 150_000)
	for i := range tokens {
		tokens[i], merges[i] = "token"+string(rune('a'+i%26)), "to ken"
	}
	b.Set("tokenizer.ggml.tokens", tokens)
	b.Set("tokenizer.ggml.merges", merges)
	path := filepath.Join(t.TempDir(), "big.gguf")
	if err := b.Add("w", F32, []int{1}, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	head := encode(t, &b)
	// Same header, with a sparse tensor of 512 MiB.
	at := bytes.LastIndex(head[:len(head)-4], []byte("w\x01\x00\x00\x00")) + 5
	copy(head[at:], []byte{0, 0, 0, 8, 0, 0, 0, 0})
	if err := os.WriteFile(path, head, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(head)-4+512<<20)); err != nil {
		t.Fatal(err)
	}
	best := time.Hour
	for range 5 {
		start := time.Now()
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
		if w, _ := f.Tensor("w"); w.Size != 512<<20 {
			t.Fatal(w)
		}
		f.Close()
	}
	t.Log("opened in", best)
	if best > 100*time.Millisecond {
		t.Errorf("opening took %v", best)
	}
}
