package grammar

import (
	"container/list"
	"sync"

	"github.com/koinon-network/koinon/core"
)

// machines is how many constraints a cache keeps.
const machines = 16

// Cache keeps the machines of the latest constraints over one vocabulary. It is
// safe for concurrent use.
type Cache struct {
	vocabulary func() *Vocabulary

	mu     sync.Mutex
	recent *list.List // of *cached, the latest first
	known  map[core.Constraint]*list.Element
}

type cached struct {
	constraint core.Constraint
	machine    *Machine
}

// NewCache starts a cache; it asks for the vocabulary when it needs it, more
// than once.
func NewCache(vocabulary func() *Vocabulary) *Cache {
	return &Cache{vocabulary: vocabulary, recent: list.New(), known: map[core.Constraint]*list.Element{}}
}

// Machine compiles a constraint, or returns the machine of an equal one. It fails
// with CodeInvalid.
func (c *Cache) Machine(constraint core.Constraint) (*Machine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.known[constraint]; ok {
		c.recent.MoveToFront(e)
		return e.Value.(*cached).machine, nil
	}
	m, err := NewMachine(c.vocabulary(), constraint)
	if err != nil {
		return nil, err
	}
	c.known[constraint] = c.recent.PushFront(&cached{constraint, m})
	if c.recent.Len() > machines {
		oldest := c.recent.Back()
		delete(c.known, c.recent.Remove(oldest).(*cached).constraint)
	}
	return m, nil
}
