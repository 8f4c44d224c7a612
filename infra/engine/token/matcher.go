package token

import "github.com/koinon-network/koinon/core"

// matcher finds special tokens in text, the leftmost first and of several at
// one place the longest.
type matcher struct {
	first [256]bool
	nodes []matchNode
}

type matchNode struct {
	next map[byte]int32
	id   core.Token // None, or the token that ends here
	kind Kind
}

func newMatcher(texts []string, kinds []Kind) *matcher {
	m := &matcher{nodes: []matchNode{{id: None}}}
	for i, s := range texts {
		if len(s) > 0 && isSpecial(kinds[i]) {
			m.add(s, core.Token(i), kinds[i])
		}
	}
	return m
}

// isSpecial reports whether tokens of this kind are found in the text itself:
// user-defined ones always, the others on request.
func isSpecial(k Kind) bool { return k == Control || k == UserDefined || k == Unknown }

func (m *matcher) add(s string, id core.Token, kind Kind) {
	m.first[s[0]] = true
	at := int32(0)
	for i := range len(s) {
		n := &m.nodes[at]
		if n.next == nil {
			n.next = map[byte]int32{}
		}
		to, ok := n.next[s[i]]
		if !ok {
			to = int32(len(m.nodes))
			n.next[s[i]] = to
			m.nodes = append(m.nodes, matchNode{id: None})
		}
		at = to
	}
	if n := &m.nodes[at]; n.id == None {
		n.id, n.kind = id, kind
	}
}

// next returns where the next special token begins, its length and its id;
// len(text), 0, None when there is none. Tokens that are not user-defined count
// only on request.
func (m *matcher) next(text string, control bool) (at, n int, id core.Token) {
	for at = range len(text) {
		if !m.first[text[at]] {
			continue
		}
		id, node := None, int32(0)
		for i := at; i < len(text); i++ {
			to, ok := m.nodes[node].next[text[i]]
			if !ok {
				break
			}
			node = to
			if x := &m.nodes[node]; x.id != None && (control || x.kind == UserDefined) {
				id, n = x.id, i+1-at
			}
		}
		if id != None {
			return at, n, id
		}
	}
	return len(text), 0, None
}
