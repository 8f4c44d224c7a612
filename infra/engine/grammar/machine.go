package grammar

import (
	"math"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/sample"
)

const (
	// stepCost is what a step counts in a mask's effort beside its own.
	stepCost = 32
	// maxMaskEffort bounds the different steps of one mask.
	maxMaskEffort = 1 << 17
	// maxCached is how many bytes of states and masks a machine keeps at most
	// between two calls.
	maxCached = 8 << 20
)

// Machine is a constraint over a vocabulary. It is safe for concurrent use.
type Machine struct {
	vocabulary *Vocabulary
	prog       *program
	trigger    string
	fall       []int // of the trigger: where to go on when a byte does not fit

	mu         sync.Mutex
	table      *table
	generation uint32
}

// State is where an answer stands; it belongs to its machine.
type State struct{ at *stacks }

// NewMachine compiles a constraint.
func NewMachine(v *Vocabulary, c core.Constraint) (*Machine, error) {
	prog, err := compile(c.Grammar, c.Trigger)
	if err != nil {
		return nil, err
	}
	m := &Machine{vocabulary: v, prog: prog, trigger: c.Trigger, fall: failures(c.Trigger)}
	m.renew()
	if (State{m.table.start()}).Dead() {
		return nil, refuse(c.Grammar, 0, "too much is possible at the beginning of a sentence; simplify the alternatives").err
	}
	return m, nil
}

// failures is the failure function of Knuth, Morris and Pratt.
func failures(s string) []int {
	fall := make([]int, len(s)+1)
	for i, k := 1, 0; i < len(s); i++ {
		for k > 0 && s[i] != s[k] {
			k = fall[k]
		}
		if s[i] == s[k] {
			k++
		}
		fall[i+1] = k
	}
	return fall
}

// table is the automaton as far as it is determinised. State 0 is the end of
// all hope.
type table struct {
	*arena
	states []*stacks
	cells  []cell   // [state][class of bytes]
	effort []uint16 // of the cells
	masks  map[int32]*sample.Mask
	walk   uint32
	path   []int32  // of the walk: the states after the bytes so far
	words  []uint64 // of the walk: the tokens found
}

// cell is a transition: the next state, or unseen, and the last walk over the
// trie that took it.
type cell struct {
	next int32
	walk uint32
}

func (m *Machine) renew() {
	m.generation++
	t := &table{arena: newArena(m.prog, m.generation), masks: map[int32]*sample.Mask{}, path: make([]int32, m.vocabulary.longest+1),
		words: make([]uint64, (m.vocabulary.size+63)/64)}
	m.table = t
	t.number(t.nothing)
}

// number makes a set a state.
func (t *table) number(s *stacks) int32 {
	if s.state == unseen {
		s.state = int32(len(t.states))
		t.states = append(t.states, s)
		for range t.prog.classes {
			t.cells = append(t.cells, cell{next: unseen})
		}
		t.effort = append(t.effort, make([]uint16, t.prog.classes)...)
		t.bytes += 10 * t.prog.classes
	}
	return s.state
}

// Start is the state before the first token.
func (m *Machine) Start() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trigger != "" {
		return State{m.table.intern(stacks{free: 1})}
	}
	return State{m.table.start()}
}

// Dead reports whether the text is no beginning of a sentence.
func (s State) Dead() bool { return s.at.free == 0 && !s.at.empty && len(s.at.entries) == 0 }

// Complete reports whether the answer may end here.
func (s State) Complete() bool { return s.at.free > 0 || s.at.empty }

// Ended reports whether the text is a sentence that cannot go on.
func (s State) Ended() bool { return s.at.empty && len(s.at.entries) == 0 }

// Next is the state after a token of any kind. After one that Mask does not
// allow it is dead.
func (m *Machine) Next(s State, t core.Token) State {
	m.mu.Lock()
	defer m.mu.Unlock()
	tab := m.at(&s)
	if t < 0 || int(t) >= m.vocabulary.size {
		return State{tab.nothing}
	}
	at := s.at
	switch {
	case m.vocabulary.isEnd[t]:
		if !s.Complete() {
			at = tab.nothing
		}
		return State{at}
	case len(m.vocabulary.pieces[t]) == 0 && at.free == 0:
		return State{tab.nothing}
	}
	state := tab.number(at)
	for _, b := range m.vocabulary.pieces[t] {
		state = m.take(state, m.prog.class[b]).next
	}
	return State{tab.states[state]}
}

// at returns the table, renewed where it has grown too large, and brings s into
// it; the lock is held.
func (m *Machine) at(s *State) *table {
	if m.table.bytes > maxCached || m.table.walk == math.MaxUint32 {
		m.renew()
	}
	s.at = m.table.adopt(s.at)
	return m.table
}

// take returns the transition of a state.
func (m *Machine) take(state int32, class uint8) *cell {
	t := m.table
	i := int(state)*m.prog.classes + int(class)
	if t.cells[i].next == unseen {
		next, effort := m.advance(t.states[state], m.prog.sample[class])
		number := t.number(next) // may move the cells
		t.cells[i].next, t.effort[i] = number, uint16(min(effort, math.MaxUint16))
	}
	return &t.cells[i]
}

// advance takes a byte, before the trigger or after it.
func (m *Machine) advance(s *stacks, b byte) (*stacks, int) {
	if s.free == 0 {
		return m.table.advance(s, b)
	}
	k := s.free - 1
	for k > 0 && m.trigger[k] != b {
		k = m.fall[k]
	}
	if m.trigger[k] == b {
		k++
	}
	if k == len(m.trigger) {
		return m.table.start(), 0
	}
	return m.table.intern(stacks{free: 1 + k}), 0
}

// Mask returns the tokens that may come next, nil for all. It is empty where no
// token of the vocabulary leads on and the text is no sentence, and where
// finding out would take more than the bounds of spec/grammar.md allow.
func (m *Machine) Mask(s State) *sample.Mask {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.at(&s)
	at := t.number(t.plain(s.at, int32(m.vocabulary.longest)))
	mask, ok := t.masks[at]
	if !ok {
		mask = m.find(at)
		t.masks[at] = mask
		if mask != nil {
			t.bytes += mask.Bytes()
		}
	}
	return mask
}

// find computes a mask: it follows all tokens from a state at once and leaves
// out what begins with bytes that lead nowhere.
func (m *Machine) find(at int32) *sample.Mask {
	v, t, classes := m.vocabulary, m.table, m.prog.classes
	words := t.words
	clear(words)
	t.walk++
	t.path[0] = at
	effort := 0
	for i := 0; i < len(v.trie); {
		n := &v.trie[i]
		class := m.prog.class[n.value]
		index := int(t.path[n.depth-1])*classes + int(class)
		if c := &t.cells[index]; c.walk != t.walk {
			m.take(t.path[n.depth-1], class).walk = t.walk
			if effort += stepCost + int(t.effort[index]); effort > maxMaskEffort {
				return &sample.Mask{}
			}
		}
		next := t.cells[index].next
		if next == 0 {
			i = int(n.skip)
			continue
		}
		t.path[n.depth] = next
		if n.token >= 0 {
			v.add(words, i)
		}
		i++
	}
	s := State{t.states[at]}
	if s.at.free > 0 {
		mark(words, v.silent)
	}
	if s.Complete() {
		mark(words, v.ends)
	}
	mask := sample.MaskOf(words)
	if mask.Len() == v.size {
		return nil
	}
	return mask
}

func mark(words []uint64, tokens []core.Token) {
	for _, t := range tokens {
		words[t>>6] |= 1 << (t & 63)
	}
}
