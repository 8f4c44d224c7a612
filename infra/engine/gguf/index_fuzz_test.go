package gguf

import (
	"bytes"
	"testing"
)

// An index that is read is the one that would be written, or is refused.
func FuzzParseIndex(f *testing.F) {
	f.Add(encodeIndex([]*Tensor{{Name: "a.weight", Type: Q8_0, Dims: []uint64{64, 7}}, {Name: "b.weight", Type: F32, Dims: []uint64{5}}}))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := ParseIndex(b)
		if err != nil {
			return
		}
		pointers := make([]*Tensor, len(tensors))
		for i := range tensors {
			pointers[i] = &tensors[i]
		}
		if !bytes.Equal(encodeIndex(pointers), b) {
			t.Fatal("an index has two encodings")
		}
	})
}
