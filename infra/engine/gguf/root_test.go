package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

func rootOf(t testing.TB, b *Builder) core.ModelID {
	t.Helper()
	f, err := Parse(encode(t, b))
	if err != nil {
		t.Fatal(err)
	}
	root, err := Root(f)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestWeightLeaves recomputes leaves from spec/model.md for the last tile of a
// Q8_0 matrix of 70 x 512 and for a ragged F32 vector.
func TestWeightLeaves(t *testing.T) {
	f, err := Parse(encode(t, sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := Leaves(f)
	if err != nil {
		t.Fatal(err)
	}
	// half 1x2, norm 1x2, q4 1x2, q8 2x2 tiles.
	if len(leaves) != LeafWeights+2+2+2+4 {
		t.Fatalf("%d leaves", len(leaves))
	}
	q8, _ := f.Tensor("q8")
	data, _ := f.Data(q8)
	h := sha256.New()
	h.Write([]byte("koinon/weights/1"))
	for row := 64; row < 70; row++ {
		h.Write(data[row*16*34+8*34 : (row+1)*16*34])
	}
	if got := leaves[len(leaves)-1]; !bytes.Equal(got[:], h.Sum(nil)) {
		t.Error("the last tile of q8 differs")
	}
	norm, _ := f.Tensor("norm")
	data, _ = f.Data(norm)
	if got, want := leaves[LeafWeights+3], sha256.Sum256(append([]byte("koinon/weights/1"), data[1024:]...)); got != want {
		t.Error("the edge of norm differs")
	}
	proof, err := merkle.Prove(leaves, LeafTokenizer)
	if err != nil {
		t.Fatal(err)
	}
	if root, _ := Root(f); !merkle.Verify(root, TokenizerHash(f.Metadata), proof) {
		t.Error("the tokenizer hash cannot be proven under the root")
	}
}

func TestRootNamesContentNotLayout(t *testing.T) {
	base := rootOf(t, sample(t))
	var other Builder
	first := sample(t)
	for _, k := range first.Keys() {
		v, _ := first.Lookup(k)
		other.Copy(k, v)
	}
	other.Set("general.alignment", uint32(256))
	for i := len(first.tensors) - 1; i >= 0; i-- {
		other.tensors, other.data = append(other.tensors, first.tensors[i]), append(other.data, first.data[i])
	}
	if rootOf(t, &other) != base {
		t.Error("the root depends on alignment or the order of tensors")
	}
	seen := map[core.ModelID]string{base: "the original"}
	for name, change := range map[string]func(*Builder){
		"a flipped weight bit":  func(b *Builder) { flipLast(b, 2) },
		"another template":      func(b *Builder) { b.Set("tokenizer.chat_template", "{{ 1 }}") },
		"another vocabulary":    func(b *Builder) { b.Set("tokenizer.ggml.tokens", []string{"a", "b", "ü"}) },
		"another rope base":     func(b *Builder) { b.Set("llama.rope.freq_base", float32(10001)) },
		"a value of other type": func(b *Builder) { b.Set("llama.context_length", uint64(64)) },
		"a renamed tensor":      func(b *Builder) { b.tensors[0].Name = "norn" },
		"another shape":         func(b *Builder) { b.tensors[1].Dims = []uint64{960} },
	} {
		b := sample(t)
		change(b)
		root := rootOf(t, b)
		if before, ok := seen[root]; ok {
			t.Errorf("%s has the root of %s", name, before)
		}
		seen[root] = name
	}
}

func TestBundle(t *testing.T) {
	b := sample(t)
	bundle, want := ExportBundle(b.Metadata), TokenizerHash(b.Metadata)
	m, err := OpenBundle(bundle, want)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := m.Strings("tokenizer.ggml.tokens"); len(s) != 3 || m.Has("general.name") {
		t.Error("the bundle holds the wrong keys")
	}
	b.Set("general.name", "fine-tune")
	if TokenizerHash(b.Metadata) != want {
		t.Error("the tokenizer hash depends on the name")
	}
	bundle[len(bundle)-1] ^= 1
	if _, err := OpenBundle(bundle, want); core.CodeOf(err) != core.CodeProvider {
		t.Error(err)
	}
	loose := append(ExportBundle(b.Metadata), 0)
	if _, err := OpenBundle(loose, sha256.Sum256(loose)); err == nil || !strings.Contains(err.Error(), "canonical") {
		t.Error(err)
	}
}

func TestHostileHeadersAreRefused(t *testing.T) {
	good := encode(t, sample(t))
	at := func(name string) int { return bytes.Index(good, []byte(name)) + len(name) }
	put := func(offset int, v uint64) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[offset:], v) }
	}
	q8 := at("\x02\x00\x00\x00\x00\x00\x00\x00q8") // dims count, 2 dims, type, offset
	for want, change := range map[string]func([]byte){
		"not a GGUF file":      func(b []byte) { b[0] = 'X' },
		"version 9":            func(b []byte) { b[4] = 9 },
		"big-endian":           func(b []byte) { b[4], b[7] = 0, 3 },
		"tensors are too many": put(8, 1<<40),
		"entries are too many": put(16, 1<<40),
		"key of":               put(24, 1<<40),
		"not aligned":          put(q8+24, 33),
		"outside the file":     put(q8+24, 1<<40),
		"overlap":              put(q8+24, 0),
		"impossible dim":       put(q8+4, 1<<62),
		"no whole number":      put(q8+4, 513),
		"unknown tensor type":  func(b []byte) { b[q8+20] = 99 },
		"withdrawn":            func(b []byte) { b[q8+20] = 4 },
	} {
		b := bytes.Clone(good)
		change(b)
		if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	for n := range 200 {
		if _, err := Parse(good[:n]); err == nil {
			t.Errorf("a file cut to %d bytes is accepted", n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, sample(f)))
	f.Add(ExportBundle(sample(f).Metadata))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Parse(b)
		if _, err2 := New(bytes.NewReader(b), int64(len(b))); (err == nil) != (err2 == nil) {
			t.Fatalf("in memory %v, by reading %v", err, err2)
		}
		if err != nil {
			return
		}
		for _, k := range g.Keys() {
			g.Text(k)
			g.Strings(k)
			g.Ints(k)
			g.Floats(k)
			g.Uint(k)
			g.Bool(k)
		}
		for i := range g.Tensors {
			if d, err := g.Data(&g.Tensors[i]); err == nil && uint64(len(d)) != g.Tensors[i].Size {
				t.Fatal("short data")
			}
		}
		Root(g)
		bundle := ExportBundle(g.Metadata)
		if _, err := OpenBundle(bundle, TokenizerHash(g.Metadata)); err != nil {
			t.Fatalf("a bundle cannot be opened: %v", err)
		}
	})
}

// flipLast changes the last byte of a tensor.
func flipLast(b *Builder, i int) {
	write := b.data[i]
	b.data[i] = func(w io.Writer) error {
		var data bytes.Buffer
		if err := write(&data); err != nil {
			return err
		}
		data.Bytes()[data.Len()-1] ^= 1
		_, err := w.Write(data.Bytes())
		return err
	}
}
