package commit

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// The definition, written out.
func TestVectorIsTagLengthAndTileHashes(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 257, 1000} {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(i) - 7.5
		}
		b := append([]byte{0, 0, 0, 15}, "koinon/vector/1"...)
		b = append(b, 0, 0, byte(n>>8), byte(n))
		for i := 0; i < n; i += TileLen {
			h := sha256.Sum256(Bytes(x[i:min(n, i+TileLen)]))
			b = append(b, h[:]...)
		}
		if got, want := Vector(x), core.Hash(sha256.Sum256(b)); got != want {
			t.Errorf("%d numbers: %v, want %v", n, got, want)
		}
		if got := Opened(n, Tiles(nil, x)); got != Vector(x) || Count(n) != len(Tiles(nil, x)) {
			t.Errorf("%d numbers: opened %v", n, got)
		}
	}
}

func TestBitsAndLengthAreBound(t *testing.T) {
	seen := map[core.Hash]string{}
	for name, x := range map[string][]float32{
		"nothing": nil, "zero": {0}, "minus zero": {float32(math.Copysign(0, -1))}, "two zeros": {0, 0}, "one": {1},
	} {
		h := Vector(x)
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s have one commitment", name, other)
		}
		seen[h] = name
	}
	a, b, c := Vector([]float32{1}), Vector([]float32{2}), Vector([]float32{3})
	if Boundary(a, b, c) == Boundary(b, a, c) || Boundary(a, b, c) == Boundary(a, c, b) {
		t.Error("a boundary does not bind the order")
	}
}

// A fixed value, so that another implementation can be compared.
func TestPublishedBoundary(t *testing.T) {
	d := Boundary(Vector([]float32{1, -2, 0.5}), Vector([]float32{3}), Vector([]float32{4}))
	if got := hex.EncodeToString(d[:]); got != "1514ba40b50d421989da267a9b7173886e22c9415e6bc20629765038287c720e" {
		t.Errorf("%s", got)
	}
}
