package merkle

import "math/bits"

// Span is a node of a tree: the one above the leaves From to From+Len-1.
type Span struct {
	From, Len uint64
}

// Depth is how many levels lie between the span's node and its deepest leaf.
func (s Span) Depth() int {
	if s.Len < 2 {
		return 0
	}
	return bits.Len64(s.Len - 1)
}

// Split returns the nodes that many levels below, from left to right; leaves
// that lie higher stand for themselves. At most 2^levels come back.
func (s Span) Split(levels int) []Span {
	if levels < 1 || s.Len < 2 {
		return []Span{s}
	}
	k := split(s.Len)
	return append(Span{s.From, k}.Split(levels-1), Span{s.From + k, s.Len - k}.Split(levels-1)...)
}

// Fold returns a span's node from those that [Span.Split] names, and whether
// there are as many.
func Fold[H ~[32]byte](s Span, levels int, nodes []H) (H, bool) {
	if len(nodes) != len(s.Split(levels)) {
		return H{}, false
	}
	h, _ := fold(s, levels, nodes)
	return H(h), true
}

// fold consumes the span's nodes and returns the rest.
func fold[H ~[32]byte](s Span, levels int, nodes []H) (Hash, []H) {
	if levels < 1 || s.Len < 2 {
		return Hash(nodes[0]), nodes[1:]
	}
	k := split(s.Len)
	l, nodes := fold(Span{s.From, k}, levels-1, nodes)
	r, nodes := fold(Span{s.From + k, s.Len - k}, levels-1, nodes)
	return node(l, r), nodes
}

// Node returns the node above some leaves of the tree over all of them. The
// span must lie in it and be one that [Span.Split] gives.
func Node[H ~[32]byte](leaves []H, s Span) H {
	return H(subtree(leaves[s.From:s.From+s.Len], s.From))
}

// Leaf returns the lowest node of a tree: that of the leaf at place i alone.
func Leaf[H ~[32]byte](i uint64, h H) H { return H(leaf(i, Hash(h))) }

// Crown returns the root of a tree of n leaves from its topmost node.
func Crown[H ~[32]byte](n uint64, top H) H { return H(crown(n, Hash(top))) }
