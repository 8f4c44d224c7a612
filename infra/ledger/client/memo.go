package client

import (
	"context"
	"sync"
)

// memo remembers answers until the next block and lets concurrent callers of
// the same question share one query.
type memo struct {
	mu      sync.Mutex
	answers map[string]*answer
}

type answer struct {
	ready chan struct{} // closed when value and err are set
	value any
	err   error
}

// forget drops everything: a new block has come.
func (m *memo) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers = nil
}

// remember returns the answer to key, fetching it at most once per block.
// Failures are not remembered.
func remember[T any](ctx context.Context, m *memo, key string, fetch func(context.Context) (T, error)) (T, error) {
	for {
		m.mu.Lock()
		a := m.answers[key]
		if a == nil {
			a = &answer{ready: make(chan struct{})}
			if m.answers == nil {
				m.answers = make(map[string]*answer)
			}
			m.answers[key] = a
			m.mu.Unlock()
			v, err := fetch(ctx)
			if err != nil {
				m.mu.Lock()
				if m.answers[key] == a {
					delete(m.answers, key)
				}
				m.mu.Unlock()
			}
			a.value, a.err = v, err
			close(a.ready)
			return v, err
		}
		m.mu.Unlock()
		select {
		case <-a.ready:
		case <-ctx.Done():
			var zero T
			return zero, ctx.Err()
		}
		if a.err == nil {
			return a.value.(T), nil
		}
		// The caller who asked may have given up: ask ourselves.
	}
}
