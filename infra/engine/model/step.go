package model

import (
	"context"
	"slices"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Step implements core.Engine. Every sequence advances: those that draw get
// their token, prompts share the rest of the pass, the shortest first.
// Sequences that are finished or released are passed over, and those wait for
// which there is no memory. When ctx ends, Step returns its error and nothing
// has advanced.
func (m *Model) Step(ctx context.Context, batch []core.Sequence) error {
	stuck, err := m.step(ctx, batch)
	if !stuck {
		return err
	}
	// Replays and embeddings hold the memory. They need the pass that this call
	// would otherwise ask for again and again.
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// step returns true when sequences could advance but none has memory.
func (m *Model) step(ctx context.Context, batch []core.Sequence) (stuck bool, err error) {
	m.pass.Lock()
	defer m.pass.Unlock()
	live, err := m.enter(batch)
	defer m.leave(live)
	if err != nil || len(live) == 0 {
		return false, err
	}
	m.plan(m.secure(live))
	if len(m.work.rows) == 0 {
		return true, nil
	}
	if err := m.forward(ctx); err != nil {
		for _, s := range live {
			s.invalid = false
		}
		return false, err
	}
	m.settle()
	return false, nil
}

// enter selects the sequences that can advance and keeps their memory until
// leave.
func (m *Model) enter(batch []core.Sequence) ([]*sequence, error) {
	m.life.Lock()
	defer m.life.Unlock()
	if m.closed {
		return nil, errClosed()
	}
	m.passes++
	live := m.entered[:0]
	for _, item := range batch {
		s, ok := item.(*sequence)
		if !ok || s.model != m {
			return live, core.Errorf(core.CodeInternal, "a sequence of another engine was stepped")
		}
		if s.life.released || s.finish != "" || s.pass == m.passes {
			continue
		}
		s.pass = m.passes
		s.life.stepping = true
		live = append(live, s)
	}
	m.entered = live
	return live, nil
}

// leave ends a pass for its sequences and frees those released meanwhile.
func (m *Model) leave(live []*sequence) {
	m.life.Lock()
	defer m.life.Unlock()
	for _, s := range live {
		s.life.stepping = false
		if s.life.released {
			s.free()
		}
	}
	clear(m.entered[:cap(m.entered)])
	clear(m.runnable[:cap(m.runnable)])
}

// plan fills the workspace with the rows of a pass.
func (m *Model) plan(live []*sequence) {
	m.work.rows = m.work.rows[:0]
	prefills := m.prefills[:0]
	for _, s := range live {
		if len(s.tokens)-s.processed == 1 {
			m.addRows(s, 1)
		} else {
			prefills = append(prefills, s)
		}
	}
	budget := m.prefillRows
	if len(m.work.rows) > 0 {
		budget = (budget + 1) / 2 // answers in progress should not wait long
	}
	slices.SortStableFunc(prefills, func(a, b *sequence) int {
		return (len(a.tokens) - a.processed) - (len(b.tokens) - b.processed)
	})
	floor := max(1, budget/4/max(1, len(prefills)))
	for i, s := range prefills {
		others := floor * (len(prefills) - 1 - i)
		n := min(len(s.tokens)-s.processed, max(floor, budget-others))
		m.addRows(s, n)
		budget = max(0, budget-n)
	}
	clear(prefills)
	m.prefills = prefills
}

// addRows adds the next n unprocessed positions; the last token's is drawn from.
func (m *Model) addRows(s *sequence, n int) {
	s.reserve(s.processed + n)
	for i := s.processed; i < s.processed+n; i++ {
		m.work.rows = append(m.work.rows, row{sequence: s, token: s.tokens[i], position: i, draw: i == len(s.tokens)-1, state: s.guide})
	}
}

// settle commits a pass to its sequences.
func (m *Model) settle() {
	for i := range m.work.rows {
		r := &m.work.rows[i]
		s := r.sequence
		s.commit(r.position + 1)
		switch {
		case r.bad:
			s.finish = FinishInvalid
		case r.draw && r.drawn < 0:
			s.invalid, s.finish = true, FinishInvalid
		case r.draw:
			s.append(r.drawn, r.logprobs)
		}
	}
	clear(m.work.rows)
}
