package referee

import (
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core/merkle"
)

// searchLevels is how many levels of the boundary tree a round opens at most:
// 64 nodes.
const searchLevels = 6

// Searched is the node of the boundary tree that a search has reached, and how
// many levels below it the next round opens. The levels that are left are shared
// out evenly over as few rounds as possible.
func (s *State) Searched() (node merkle.Span, levels int) {
	node = merkle.Span{From: s.From, Len: s.Len}
	rounds := (node.Depth() + searchLevels - 1) / searchLevels
	return node, (node.Depth() + rounds - 1) / max(rounds, 1)
}

// leaves is how many the boundary tree has.
func (s *State) leaves() uint64 { return uint64(s.Positions) * (uint64(s.Layers) + 1) }

func (s *State) openSearch() error {
	if s.Claim.Token != nil || s.Claim.Position != 0 || s.Claim.Layer != 0 {
		return errors.New("a search names no leaf and no token")
	}
	s.Len, s.Phase = s.leaves(), NeedNodes
	return nil
}

func (s *State) nodes(v *Nodes) error {
	if s.Phase != NeedNodes {
		return errWrong
	}
	at, levels := s.Searched()
	h, ok := merkle.Fold(at, levels, v.Nodes)
	if !ok {
		return fmt.Errorf("%d nodes do not open the one above %d leaves", len(v.Nodes), at.Len)
	}
	want := s.Node
	if at.Len == s.leaves() {
		h, want = merkle.Crown(at.Len, h), s.BoundaryRoot
	}
	if h != want {
		return errors.New("the nodes are not those under the receipt's boundary root")
	}
	s.Phase = NeedNode
	return nil
}

func (s *State) pickNode(v *PickNode) error {
	if s.Phase != NeedNode {
		return errWrong
	}
	move, err := DecodeMove(s.Last)
	last, ok := move.(*Nodes)
	if err != nil || !ok {
		return errWrong
	}
	at, levels := s.Searched()
	parts := at.Split(levels)
	if int(v.Node) >= len(parts) || len(parts) != len(last.Nodes) {
		return fmt.Errorf("there is no node %d of %d", v.Node, len(parts))
	}
	at = parts[v.Node]
	s.From, s.Len, s.Node, s.Phase = at.From, at.Len, last.Nodes[v.Node], NeedNodes
	if at.Len == 1 {
		per := uint64(s.Layers) + 1
		s.Claim.Position, s.Claim.Layer, s.Phase = uint32(at.From/per), uint32(at.From%per), NeedLayer
	}
	return nil
}

// disputed checks the opening of the disputed leaf, which a search has placed
// already.
func (s *State) disputed(b *Boundary) error {
	t, l := int(s.Claim.Position), int(s.Claim.Layer)
	if !s.Claim.Search {
		return b.check(s, t, l)
	}
	if len(b.Path) != 0 || merkle.Leaf(s.From, b.leafHash()) != s.Node {
		return fmt.Errorf("leaf (%d,%d) is not the one that the search has found", t, l)
	}
	return nil
}
