package merkle

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

func leavesOf(n int) []Hash {
	ls := make([]Hash, n)
	for i := range ls {
		ls[i] = sha256.Sum256(fmt.Append(nil, i))
	}
	return ls
}

func TestEveryLeafOfEverySize(t *testing.T) {
	roots := map[Hash]int{}
	for n := range 40 {
		ls := leavesOf(n)
		r := Root(ls)
		if m, ok := roots[r]; ok {
			t.Fatalf("sizes %d and %d share a root", m, n)
		}
		roots[r] = n
		for i := range ls {
			p, err := Prove(ls, i)
			if err != nil {
				t.Fatal(err)
			}
			if !Verify(r, ls[i], p) {
				t.Fatalf("leaf %d of %d does not verify", i, n)
			}
			q := p
			q.Index = (p.Index + 1) % p.Size
			if n > 1 && Verify(r, ls[i], q) {
				t.Fatalf("leaf %d of %d verifies at %d", i, n, q.Index)
			}
			q = p
			q.Size++
			if Verify(r, ls[i], q) {
				t.Fatalf("leaf %d of %d verifies in a larger tree", i, n)
			}
			if n > 1 && Verify(r, ls[(i+1)%n], p) {
				t.Fatalf("another leaf verifies in place of %d of %d", i, n)
			}
		}
	}
}

func TestSecondPreimages(t *testing.T) {
	ls := leavesOf(4)
	inner := []Hash{node(leaf(0, ls[0]), leaf(1, ls[1])), node(leaf(2, ls[2]), leaf(3, ls[3]))}
	if Root(ls) == Root(inner) {
		t.Fatal("inner nodes pass as leaves")
	}
	if Root(ls[:3]) == Root(append(ls[:3:3], ls[2])) {
		t.Fatal("a duplicated odd leaf keeps the root")
	}
	if Verify(Root(ls), ls[0], Proof[Hash]{Index: 0, Size: 1 << 60}) {
		t.Fatal("an absurd size verifies")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(uint64(1), uint64(4), []byte("x"))
	root := Root(leavesOf(4))
	f.Fuzz(func(t *testing.T, index, size uint64, path []byte) {
		p := Proof[Hash]{Index: index, Size: size}
		for len(path) >= 32 {
			p.Path = append(p.Path, Hash(path))
			path = path[32:]
		}
		if Verify(root, Hash{1}, p) {
			t.Fatal("a leaf that is not in the tree verifies")
		}
	})
}
