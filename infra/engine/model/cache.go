package model

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// block holds keys, values and boundary digests of all layers for
// kernel.PageTokens consecutive positions. A published block is immutable and
// found by the tokens that lead up to and through it.
type block struct {
	pages   []kernel.KVPage // [layer]
	digests []core.Hash     // [position in block][layer boundary], when traced
	traced  bool

	refs      int           // sequences that use it
	idle      *list.Element // its place among the evictable, when published and unused
	published bool
	parent    core.Hash    // key of the tokens before the block
	key       core.Hash    // key of the tokens through the block, when full
	tokens    []core.Token // its own tokens, at most kernel.PageTokens
}

// cache is the pool of blocks with a fixed capacity, and the index of those
// that hold the beginnings of earlier sequences.
//
// A lease is promised blocks, and can then take them at any time:
// used + promised <= capacity. Blocks that are published and unused are evicted
// when a promise falls due, the least recently used first.
type cache struct {
	layers   int
	shape    kernel.KVShape
	capacity int

	mu        sync.Mutex
	allocated int // blocks in existence
	used      int // blocks with references
	promised  int
	free      []*block
	idle      *list.List // of *block, most recently used first
	index     map[core.Hash][]*block
}

func newCache(layers int, shape kernel.KVShape, capacity int) *cache {
	return &cache{layers: layers, shape: shape, capacity: capacity, idle: list.New(), index: map[core.Hash][]*block{}}
}

// blocksFor is the number of blocks that hold n positions.
func blocksFor(n int) int { return (n + kernel.PageTokens - 1) / kernel.PageTokens }

// chainKey extends the key of a token prefix by one full block.
func chainKey(parent core.Hash, tokens []core.Token) core.Hash {
	b := make([]byte, 32, 32+4*kernel.PageTokens)
	copy(b, parent[:])
	for _, t := range tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return sha256.Sum256(b)
}

// lease is what a sequence holds of the cache.
type lease struct {
	blocks   []*block
	promised int
	keys     []core.Hash // keys[i] names the tokens through block i, for full blocks
}

// admit leases blocks for positions 0 to n-1, or for what is cached where that is
// more, and fills in the longest cached
// prefix of tokens; it returns its length. With traced, only blocks with
// boundary digests count. It returns false when memory is short.
func (c *cache) admit(tokens []core.Token, n int, traced, reuse bool) (*lease, int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &lease{}
	var partial *block
	cached := 0
	if reuse {
		l.blocks, partial, cached = c.match(tokens, traced)
	}
	for _, b := range l.blocks {
		l.keys = append(l.keys, b.key)
		c.hold(b)
	}
	l.promised = max(0, blocksFor(max(n, cached))-len(l.blocks)) // also the block that is copied
	if c.used+c.promised+l.promised > c.capacity {
		for i := len(l.blocks) - 1; i >= 0; i-- {
			c.drop(l.blocks[i])
		}
		return nil, 0, false
	}
	c.promised += l.promised
	if partial != nil {
		common := cached - len(l.blocks)*kernel.PageTokens
		c.extend(l, traced, partial, common)
	}
	return l, cached, true
}

// match finds the blocks that hold the beginning of tokens: whole ones to
// share, and perhaps one of which only a part fits.
func (c *cache) match(tokens []core.Token, traced bool) (whole []*block, partial *block, n int) {
	var at core.Hash
	for n < len(tokens) {
		var best *block
		longest := 0
		for _, b := range c.index[at] {
			if traced && !b.traced {
				continue
			}
			if k := commonPrefix(b.tokens, tokens[n:]); k > longest {
				best, longest = b, k
			}
		}
		n += longest
		if longest < kernel.PageTokens {
			return whole, best, n
		}
		whole = append(whole, best)
		at = best.key
	}
	return whole, nil, n
}

func commonPrefix(a, b []core.Token) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// grow makes sure that the lease covers positions up to n-1; it returns false
// when that takes more than was promised and memory is short.
func (c *cache) grow(l *lease, n int, traced bool) bool {
	need := blocksFor(n) - len(l.blocks)
	if need <= 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if more := need - l.promised; more > 0 {
		if c.used+c.promised+more > c.capacity {
			return false
		}
		c.promised += more
		l.promised += more
	}
	for blocksFor(n) > len(l.blocks) {
		c.extend(l, traced, nil, 0)
	}
	return true
}

// extend redeems one promise. With a source, the new block starts as a copy of
// it as far as its first common positions are concerned.
func (c *cache) extend(l *lease, traced bool, source *block, common int) {
	b := c.take(source)
	if traced && b.digests == nil {
		b.digests = make([]core.Hash, kernel.PageTokens*(c.layers+1))
	}
	b.traced = traced
	b.refs = 1
	c.used++
	c.promised--
	l.promised--
	l.blocks = append(l.blocks, b)
	if source == nil || source == b {
		return
	}
	for i, p := range source.pages {
		b.pages[i].Copy(p)
	}
	if traced {
		copy(b.digests, source.digests[:common*(c.layers+1)])
	}
}

// take finds memory for a block; the promise guarantees that there is some. It
// gives away the source itself only as the last resort.
func (c *cache) take(source *block) *block {
	if n := len(c.free); n > 0 {
		b := c.free[n-1]
		c.free = c.free[:n-1]
		return b
	}
	if c.allocated < c.capacity {
		c.allocated++
		return c.newBlock()
	}
	e := c.idle.Back()
	if e.Value == source && e.Prev() != nil {
		e = e.Prev()
	}
	b := e.Value.(*block)
	c.idle.Remove(e)
	b.idle = nil
	c.unpublish(b)
	return b
}

func (c *cache) newBlock() *block {
	return &block{pages: c.shape.NewPages(c.layers)}
}

// publish offers block i of a lease, which holds these tokens, to later
// sequences. A full block may be published while it is in use.
func (c *cache) publish(l *lease, i int, tokens []core.Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publishLocked(l, i, tokens)
}

func (c *cache) publishLocked(l *lease, i int, tokens []core.Token) {
	b := l.blocks[i]
	var parent core.Hash
	if i > 0 {
		parent = l.keys[i-1]
	}
	var key core.Hash
	if len(tokens) == kernel.PageTokens {
		if len(l.keys) == i {
			l.keys = append(l.keys, chainKey(parent, tokens))
		}
		key = l.keys[i]
	}
	if b.published {
		return
	}
	for _, other := range c.index[parent] {
		if commonPrefix(other.tokens, tokens) < min(len(tokens), len(other.tokens)) {
			continue
		}
		if len(other.tokens) >= len(tokens) && (other.traced || !b.traced) {
			return // nothing new
		}
		if len(other.tokens) <= len(tokens) && (b.traced || !other.traced) {
			c.retire(other)
			break
		}
	}
	b.published, b.parent, b.key = true, parent, key
	b.tokens = append(b.tokens[:0], tokens...)
	c.index[parent] = append(c.index[parent], b)
}

// retire takes a block out of the index because a better one replaces it.
func (c *cache) retire(b *block) {
	c.unpublish(b)
	if b.idle != nil {
		c.idle.Remove(b.idle)
		b.idle = nil
		c.free = append(c.free, b)
	}
}

func (c *cache) unpublish(b *block) {
	siblings := c.index[b.parent]
	for i, s := range siblings {
		if s == b {
			last := len(siblings) - 1
			siblings[i], siblings[last] = siblings[last], nil
			siblings = siblings[:last]
			break
		}
	}
	if len(siblings) == 0 {
		delete(c.index, b.parent)
	} else {
		c.index[b.parent] = siblings
	}
	b.published, b.tokens = false, b.tokens[:0]
}

func (c *cache) hold(b *block) {
	if b.refs == 0 {
		c.used++
		c.idle.Remove(b.idle)
		b.idle = nil
	}
	b.refs++
}

func (c *cache) drop(b *block) {
	b.refs--
	if b.refs > 0 {
		return
	}
	c.used--
	if b.published {
		b.idle = c.idle.PushFront(b)
	} else {
		c.free = append(c.free, b)
	}
}

// release ends a lease whose first n positions hold these tokens; keep says
// whether they are worth publishing.
func (c *cache) release(l *lease, tokens []core.Token, keep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 0; keep && i*kernel.PageTokens < len(tokens); i++ {
		c.publishLocked(l, i, tokens[i*kernel.PageTokens:min(len(tokens), (i+1)*kernel.PageTokens)])
	}
	// Later blocks are useless without earlier ones: they go first.
	for i := len(l.blocks) - 1; i >= 0; i-- {
		c.drop(l.blocks[i])
	}
	c.promised -= l.promised
	l.blocks, l.keys, l.promised = nil, nil, 0
}

// close forgets all blocks that no sequence holds.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free, c.idle, c.index = nil, list.New(), map[core.Hash][]*block{}
}
