package model

import (
	"cmp"
	"slices"
)

// queue are the sequences that Step advances, the oldest first, with or without
// memory. The life lock guards it.
//
// A sequence is admitted when there is memory for its prompt. What its answer
// needs comes block by block; when there is none left, the youngest sequence
// gives its memory up, those first that the running step does not advance. It is
// computed again, as far as the cache has not kept it, when there is room: the
// bits are the same. The oldest of a step's sequences never gives its memory up
// to another of the step and a whole context fits into the budget, so every
// sequence ends.
type queue struct {
	all  []*sequence
	ages uint64
}

func (q *queue) add(m *Model, s *sequence) {
	m.life.Lock()
	defer m.life.Unlock()
	q.ages++
	s.age = q.ages
	q.all = append(q.all, s)
}

func (q *queue) remove(s *sequence) {
	if i := slices.Index(q.all, s); i >= 0 {
		q.all = slices.Delete(q.all, i, i+1)
	}
}

// waiting reports whether a sequence has no memory.
func (q *queue) waiting() bool {
	return slices.ContainsFunc(q.all, func(s *sequence) bool { return s.lease == nil })
}

// secure gives the sequences of a step the memory for their next rows, the
// oldest first, and returns those that have it.
func (m *Model) secure(live []*sequence) []*sequence {
	m.life.Lock()
	defer m.life.Unlock()
	slices.SortFunc(live, func(a, b *sequence) int { return cmp.Compare(a.age, b.age) })
	ready := m.runnable[:0]
	for i, s := range live {
		if m.secureOne(s, i == 0) {
			ready = append(ready, s)
		}
	}
	m.runnable = ready
	return ready
}

// secureOne gives a sequence a lease and its next token's position a page.
func (m *Model) secureOne(s *sequence, oldest bool) bool {
	for s.lease == nil {
		if m.settleIn(s, len(s.tokens)) {
			break
		}
		// Only the oldest takes from others to begin again: two that did would
		// take from each other for ever.
		if !oldest || !m.evict(s) {
			return false
		}
	}
	for !s.reserve(s.processed + 1) {
		if m.evict(s) {
			continue
		}
		if !oldest {
			s.giveUp()
		}
		return false
	}
	return true
}

// evict takes the memory of the youngest sequence that is younger than s or not
// part of this step; it returns false where there is none.
func (m *Model) evict(s *sequence) bool {
	var victim *sequence
	for _, v := range m.queue.all {
		outside := v.pass != s.pass
		if v == s || v.lease == nil || !outside && v.age < s.age {
			continue
		}
		if victim == nil || outside || victim.pass == s.pass {
			victim = v
		}
	}
	if victim == nil {
		return false
	}
	victim.giveUp()
	return true
}

// giveUp returns a sequence's memory to the cache. Its digests stay: its owner
// may ask for them without advancing it again.
func (s *sequence) giveUp() {
	if perToken := s.model.config.Layers + 1; s.in.Trace && s.processed*perToken > len(s.kept) {
		s.kept = s.digests(s.processed)
	}
	s.model.cache.release(s.lease, s.tokens[:s.processed], !s.invalid)
	s.lease, s.pages, s.processed, s.published = nil, nil, 0, 0
}
