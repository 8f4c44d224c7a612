package merkle

import "testing"

func TestSpansFoldToTheRoot(t *testing.T) {
	for n := 1; n < 70; n++ {
		ls := leavesOf(n)
		all := Span{Len: uint64(n)}
		for levels := range 8 {
			parts := all.Split(levels)
			if len(parts) > 1<<levels {
				t.Fatalf("%d leaves, %d levels: %d nodes", n, levels, len(parts))
			}
			var nodes []Hash
			next := uint64(0)
			for _, p := range parts {
				if p.From != next || p.Len == 0 || p.Depth() > max(0, all.Depth()-levels) {
					t.Fatalf("%d leaves, %d levels: %v", n, levels, parts)
				}
				next += p.Len
				nodes = append(nodes, Node(ls, p))
				if p.Len == 1 && Leaf(p.From, ls[p.From]) != nodes[len(nodes)-1] {
					t.Fatal("the node above one leaf is another")
				}
			}
			top, ok := Fold(all, levels, nodes)
			if !ok || Crown(uint64(n), top) != Root(ls) || next != uint64(n) {
				t.Fatalf("%d leaves, %d levels: the nodes do not give the root", n, levels)
			}
			if _, ok := Fold(all, levels, nodes[1:]); ok {
				t.Fatal("a missing node is not noticed")
			}
			if _, ok := Fold(all, levels, append(nodes, Hash{})); ok {
				t.Fatal("a node too many is not noticed")
			}
		}
	}
}
