package gguf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// inParts writes the sample model to n files, tensors dealt out in turn.
func inParts(t *testing.T, stem string, n int, change func(i int, b *Builder)) {
	t.Helper()
	all := sample(t)
	for i := range n {
		var b Builder
		if i == 0 {
			for _, k := range all.Keys() {
				v, _ := all.Lookup(k)
				b.Copy(k, v)
			}
			b.Set(splitTensors, int32(len(all.tensors)))
		}
		b.Set(splitNumber, uint16(i))
		b.Set(splitCount, uint16(n))
		for j := i; j < len(all.tensors); j += n {
			b.tensors, b.data = append(b.tensors, all.tensors[j]), append(b.data, all.data[j])
		}
		if change != nil {
			change(i, &b)
		}
		if err := b.Create(PartPath(stem, i, n)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPartsAreOneModel(t *testing.T) {
	dir := t.TempDir()
	stem := filepath.Join(dir, "model")
	if err := sample(t).Create(stem + ".gguf"); err != nil {
		t.Fatal(err)
	}
	single, err := Open(stem + ".gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	want, err := Root(single)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 3, 4, 6} { // 6: two files without a tensor
		inParts(t, stem, n, nil)
		f, err := Open(PartPath(stem, 0, n))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Root(f); err != nil || got != want {
			t.Errorf("%d parts: root %v, %v, want %v", n, got, err, want)
		}
		if f.Parts != n || len(f.Tensors) != len(single.Tensors) || f.Has(splitCount) {
			t.Errorf("%d parts with %d tensors", f.Parts, len(f.Tensors))
		}
		for i := range single.Tensors {
			mine, _ := single.Data(&single.Tensors[i])
			other, ok := f.Tensor(single.Tensors[i].Name)
			if !ok {
				t.Fatalf("no tensor %s", single.Tensors[i].Name)
			}
			if data, err := f.Data(other); err != nil || string(data) != string(mine) {
				t.Errorf("%d parts: tensor %s differs: %v", n, other.Name, err)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	// What merging leaves in the header is layout.
	merged := sample(t)
	merged.Set(splitCount, uint16(0))
	f, err := Parse(encode(t, merged))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Root(f); err != nil || got != want {
		t.Errorf("merged: root %v, %v", got, err)
	}
}

func TestPartsThatDoNotFit(t *testing.T) {
	for says, c := range map[string]struct {
		change func(i int, b *Builder)
		after  func(stem string)
		open   int
	}{
		"part 2 of 3 is missing":             {after: func(stem string) { os.Remove(PartPath(stem, 1, 3)) }},
		"it is part 3 of a model in 3 files": {open: 2},
		"says that it is part 3 of 3":        {after: func(stem string) { os.Rename(PartPath(stem, 2, 3), PartPath(stem, 1, 3)) }},
		"is not that of the first part": {change: func(i int, b *Builder) {
			if i == 1 {
				b.Set("general.name", "another")
			}
		}},
		"which another part has": {change: func(i int, b *Builder) {
			if i == 1 {
				b.tensors[0].Name = "norm"
			}
		}},
		"should hold 9": {change: func(i int, b *Builder) {
			if i == 0 {
				b.Set(splitTensors, int32(9))
			}
		}},
		"its name does not say so": {after: func(stem string) { os.Rename(PartPath(stem, 0, 3), PartPath(stem, 0, 4)) }, open: -1},
		"part 1 of 60000":          {change: func(_ int, b *Builder) { b.Set(splitCount, uint16(60000)) }},
	} {
		stem := filepath.Join(t.TempDir(), "model")
		inParts(t, stem, 3, c.change)
		if c.after != nil {
			c.after(stem)
		}
		path := PartPath(stem, max(0, c.open), 3)
		if c.open < 0 {
			path = PartPath(stem, 0, 4)
		}
		f, err := Open(path)
		if err == nil {
			f.Close()
			t.Errorf("%s: opened", says)
			continue
		}
		if core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
	for path, want := range map[string]string{"a/b.gguf": "b", "/x/b-00001-of-00002.gguf": "b", "c-1-of-2.gguf": "c-1-of-2"} {
		if got := ModelName(path); got != want {
			t.Errorf("%s is called %s", path, got)
		}
	}
	var lone Builder
	lone.Set(splitCount, uint16(2))
	if _, err := Parse(encode(t, &lone)); err == nil {
		t.Error("a lone part was opened")
	}
}
