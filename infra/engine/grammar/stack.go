package grammar

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Bounds on one step of the automaton. They count the same whatever is cached:
// see spec/grammar.md.
const (
	maxDepth  = 512  // frames on a stack
	maxEffort = 4096 // frames and unions of one step
)

// frame is a node to go on from, with how often a repetition has run, packed so
// that frames have an order.
type frame uint64

func newFrame(node, count int32) frame { return frame(uint32(node))<<32 | frame(uint32(count)) }

func (f frame) node() int32  { return int32(f >> 32) }
func (f frame) count() int32 { return int32(uint32(f)) }

// stacks is a set of stacks as a graph: the frames that are on top of some, in
// order, each with the set of what lies below it. Equal sets of one arena are
// the same pointer. It is immutable but for what the arena notes in it.
type stacks struct {
	entries []entry
	empty   bool // the empty stack is in the set: a sentence may end here
	depth   int
	free    int // in the state before a trigger: 1 + bytes of it that are there

	id         uint32
	generation uint32  // of the arena that the next two belong to
	state      int32   // its number as a state, or unseen
	plain      *stacks // see arena.plain
}

const unseen = -1

type entry struct {
	frame frame
	below *stacks
}

// arena owns sets of stacks and keeps equal ones together.
type arena struct {
	prog       *program
	generation uint32
	sets       map[uint64][]*stacks
	count      uint32
	bytes      int
	bottom     *stacks // the empty stack alone
	nothing    *stacks // no stack at all: no text leads on

	step closure
}

func newArena(prog *program, generation uint32) *arena {
	a := &arena{prog: prog, generation: generation, sets: map[uint64][]*stacks{}}
	a.nothing = a.intern(stacks{})
	a.bottom = a.intern(stacks{empty: true})
	a.step.arena = a
	a.step.seen, a.step.unions = map[pair]bool{}, map[string]*stacks{}
	return a
}

func (a *arena) intern(s stacks) *stacks {
	h := uint64(14695981039346656037)
	mix := func(v uint64) { h = (h ^ v) * 1099511628211; h ^= h >> 29 }
	mix(uint64(s.free))
	if s.empty {
		mix(1)
	}
	for _, e := range s.entries {
		mix(uint64(e.frame))
		mix(uint64(e.below.id))
	}
	for _, other := range a.sets[h] {
		if other.empty == s.empty && other.free == s.free && slices.Equal(other.entries, s.entries) {
			return other
		}
	}
	own := s
	own.entries = slices.Clone(s.entries)
	own.depth = 0
	for _, e := range own.entries {
		own.depth = max(own.depth, 1+e.below.depth)
	}
	own.id, own.generation, own.state, own.plain = a.count, a.generation, unseen, nil
	a.count++
	a.bytes += 160 + 16*len(own.entries)
	a.sets[h] = append(a.sets[h], &own)
	return &own
}

// adopt brings a set of another arena into this one.
func (a *arena) adopt(s *stacks) *stacks {
	known := map[*stacks]*stacks{}
	var bring func(s *stacks) *stacks
	bring = func(s *stacks) *stacks {
		if s.generation == a.generation {
			return s
		}
		if own, ok := known[s]; ok {
			return own
		}
		copied := stacks{empty: s.empty, free: s.free}
		for _, e := range s.entries {
			copied.entries = append(copied.entries, entry{e.frame, bring(e.below)})
		}
		own := a.intern(copied)
		known[s] = own
		return own
	}
	return bring(s)
}

// start is the state before the first byte.
func (a *arena) start() *stacks {
	c := &a.step
	c.begin()
	c.enter(newFrame(a.prog.start, 0), a.bottom)
	s, _ := c.end()
	return s
}

// advance is the state after a byte, and what it took to find it.
func (a *arena) advance(s *stacks, b byte) (*stacks, int) {
	c := &a.step
	c.begin()
	for _, e := range s.entries {
		if n := &a.prog.nodes[e.frame.node()]; n.set.has(b) {
			c.enter(newFrame(n.next, 0), e.below)
		}
	}
	return c.end()
}

type pair struct {
	a frame
	b uint32
}

// closure finds all that can be reached without a byte.
type closure struct {
	arena  *arena
	seen   map[pair]bool
	work   []entry
	found  []entry // points that wait for a byte
	empty  bool
	effort int
	unions map[string]*stacks // by the ids of the sets
}

func (c *closure) begin() {
	clear(c.seen)
	clear(c.unions)
	c.work, c.found, c.empty, c.effort = c.work[:0], c.found[:0], false, 0
}

func (c *closure) enter(f frame, below *stacks) {
	key := pair{f, below.id}
	if c.seen[key] || c.effort > maxEffort {
		return
	}
	c.seen[key] = true
	c.effort++
	c.work = append(c.work, entry{f, below})
}

// push is enter with one more frame on the stack. What would lie too deep is
// left out.
func (c *closure) push(target int32, f frame, below *stacks) {
	if below.depth < maxDepth {
		c.enter(newFrame(target, 0), c.arena.intern(stacks{entries: []entry{{f, below}}}))
	}
}

// end works off what was entered. Beyond the bounds the result is nothing.
func (c *closure) end() (*stacks, int) {
	for len(c.work) > 0 {
		e := c.work[len(c.work)-1]
		c.work = c.work[:len(c.work)-1]
		n := &c.arena.prog.nodes[e.frame.node()]
		switch n.kind {
		case match:
			c.found = append(c.found, e)
		case pop:
			c.empty = c.empty || e.below.empty
			for _, up := range e.below.entries {
				c.enter(up.frame, up.below)
			}
		case call:
			c.push(n.target, newFrame(n.next, 0), e.below)
		case fork:
			for _, t := range n.targets {
				c.enter(newFrame(t, 0), e.below)
			}
		case again:
			c.repeat(n, e)
		}
	}
	result := c.arena.intern(stacks{entries: c.join(c.found), empty: c.empty})
	if c.effort > maxEffort {
		return c.arena.nothing, c.effort
	}
	return result, c.effort
}

func (c *closure) repeat(n *node, e entry) {
	count := e.frame.count()
	if count >= n.min {
		c.enter(newFrame(n.next, 0), e.below)
	}
	if count < n.max {
		count++
		if n.max == unlimited {
			count = min(count, n.min)
		}
		c.push(n.target, newFrame(e.frame.node(), count), e.below)
	}
}

// join sorts entries, in place, and unites what lies below equal frames.
func (c *closure) join(in []entry) []entry {
	slices.SortFunc(in, func(a, b entry) int { return cmp.Compare(a.frame, b.frame) })
	out := in[:0]
	for len(in) > 0 {
		n := 1
		for n < len(in) && in[n].frame == in[0].frame {
			n++
		}
		e := in[0]
		if n > 1 {
			below := make([]*stacks, n)
			for i := range below {
				below[i] = in[i].below
			}
			e.below = c.unite(below)
		}
		out, in = append(out, e), in[n:]
	}
	return out
}

// unite returns the union of sets. Beyond the bounds it is one of them.
func (c *closure) unite(sets []*stacks) *stacks {
	slices.SortFunc(sets, func(a, b *stacks) int { return cmp.Compare(a.id, b.id) })
	sets = slices.Compact(sets)
	if len(sets) == 1 || c.effort > maxEffort {
		return sets[0]
	}
	key := make([]byte, 0, 4*len(sets))
	for _, s := range sets {
		key = binary.NativeEndian.AppendUint32(key, s.id)
	}
	if u, ok := c.unions[string(key)]; ok {
		return u
	}
	var all []entry
	empty := false
	for _, s := range sets {
		all = append(all, s.entries...)
		empty = empty || s.empty
	}
	c.effort += len(all)
	u := c.arena.intern(stacks{entries: c.join(all), empty: empty})
	c.unions[string(key)] = u
	return u
}

// plain is the set with the counts of repetitions that may end already, and
// that are further from their limit than a token has bytes, at their least:
// that makes no difference within a token.
func (a *arena) plain(s *stacks, longest int32) *stacks {
	if s.plain != nil {
		return s.plain
	}
	c := &a.step
	c.begin()
	known := map[*stacks]*stacks{}
	var simplify func(s *stacks) *stacks
	simplify = func(s *stacks) *stacks {
		if p, ok := known[s]; ok {
			return p
		}
		entries := make([]entry, len(s.entries))
		for i, e := range s.entries {
			n, count := &a.prog.nodes[e.frame.node()], e.frame.count()
			if n.kind == again && count >= n.min && n.max-count > longest {
				count = n.min
			}
			entries[i] = entry{newFrame(e.frame.node(), count), simplify(e.below)}
		}
		p := a.intern(stacks{entries: c.join(entries), empty: s.empty, free: s.free})
		known[s] = p
		return p
	}
	s.plain = simplify(s)
	if c.effort > maxEffort {
		s.plain = s
	}
	return s.plain
}
