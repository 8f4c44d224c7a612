package grammar

import (
	"bytes"
	"slices"

	"github.com/koinon-network/koinon/core"
)

// Vocabulary is a model's tokens by the bytes they stand for, as a trie.
type Vocabulary struct {
	size    int
	pieces  [][]byte
	ends    []core.Token // tokens that end an answer
	silent  []core.Token // other tokens without bytes
	isEnd   []bool
	longest int
	trie    []trieNode
	twins   map[int][]core.Token // further tokens of a trie node
}

// trieNode is one byte of the trie, which lies in memory in depth-first order.
type trieNode struct {
	depth uint16 // 1 for the first byte of a token
	value byte
	twins bool
	skip  uint32 // where to go on past the bytes that follow this one
	token core.Token
}

// NewVocabulary takes n tokens: the bytes that each adds to the text, which it
// keeps, and whether it ends an answer. A piece has less than 65536 bytes.
func NewVocabulary(n int, piece func(core.Token) []byte, isEnd func(core.Token) bool) *Vocabulary {
	v := &Vocabulary{size: n, pieces: make([][]byte, n), isEnd: make([]bool, n), twins: map[int][]core.Token{}}
	var spoken []core.Token
	for t := range core.Token(n) {
		v.pieces[t], v.isEnd[t] = piece(t), isEnd(t)
		switch {
		case v.isEnd[t]:
			v.ends = append(v.ends, t)
		case len(v.pieces[t]) == 0:
			v.silent = append(v.silent, t)
		default:
			spoken = append(spoken, t)
			v.longest = max(v.longest, len(v.pieces[t]))
		}
	}
	slices.SortFunc(spoken, func(a, b core.Token) int { return bytes.Compare(v.pieces[a], v.pieces[b]) })
	var last []byte
	path := []int{} // the nodes of last
	for _, t := range spoken {
		p := v.pieces[t]
		common := 0
		for common < len(p) && common < len(last) && p[common] == last[common] {
			common++
		}
		v.close(path[common:])
		path = path[:common]
		for _, b := range p[common:] {
			path = append(path, len(v.trie))
			v.trie = append(v.trie, trieNode{depth: uint16(len(path)), value: b, token: -1})
		}
		at := path[len(p)-1]
		if n := &v.trie[at]; n.token < 0 {
			n.token = t
		} else {
			n.twins = true
			v.twins[at] = append(v.twins[at], t)
		}
		last = p
	}
	v.close(path)
	return v
}

func (v *Vocabulary) close(path []int) {
	for _, i := range path {
		v.trie[i].skip = uint32(len(v.trie))
	}
}

// add puts the tokens that end at a trie node into a set.
func (v *Vocabulary) add(words []uint64, i int) {
	n := &v.trie[i]
	words[n.token>>6] |= 1 << (n.token & 63)
	if n.twins {
		for _, t := range v.twins[i] {
			words[t>>6] |= 1 << (t & 63)
		}
	}
}
