package compute

import (
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Stats is what a worker is doing and has done since it started.
type Stats struct {
	Running   int     `json:"running"`
	Waiting   int     `json:"waiting"`
	Slots     int     `json:"slots"`
	TokensSec float64 `json:"tokens_per_second"` // sampled, over the last 10 s
	Served    uint64  `json:"served"`            // answers that ended with a receipt
	Failed    uint64  `json:"failed"`            // accepted answers that did not
	Refused   uint64  `json:"refused"`           // requests not accepted
	Tokens    uint64  `json:"tokens"`            // sampled
	Steps     uint64  `json:"steps"`
	Batch     float64 `json:"batch"` // mean sequences per step
}

// Stats returns the worker's state.
func (w *Worker) Stats() Stats {
	st := w.meter.stats()
	st.Running, st.Waiting = w.sched.load()
	st.Slots = w.cfg.Slots
	return st
}

// EventKind names what happened to a request.
type EventKind string

// Kinds of events, in the order in which a request may pass through them.
const (
	EventRefused  EventKind = "refused"  // not accepted: Err
	EventAccepted EventKind = "accepted" // proof sent, nonce revealed
	EventServed   EventKind = "served"   // ended with a receipt: Receipt, Due
	EventFailed   EventKind = "failed"   // broken off: Err, Due for what was delivered
)

// Event is one moment of one request, for logs and consoles.
type Event struct {
	Kind    EventKind
	Request core.RequestID
	Channel core.ChannelID
	Receipt core.ReceiptID
	Usage   core.Usage
	Finish  core.FinishReason
	Due     core.Amount
	Err     error
}

const meterSeconds = 10

// meter counts and estimates.
type meter struct {
	mu      sync.Mutex
	s       Stats
	batched uint64
	buckets [meterSeconds + 1]int // tokens by second
	second  int64
	mean    time.Duration // time that an answer holds its slot
}

func newMeter() *meter { return &meter{second: time.Now().Unix()} }

func (m *meter) turn() {
	now := time.Now().Unix()
	for i := 0; m.second < now && i <= meterSeconds; i++ {
		m.second++
		m.buckets[m.second%int64(len(m.buckets))] = 0
	}
	m.second = now
}

func (m *meter) step(sequences, tokens int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	m.buckets[m.second%int64(len(m.buckets))] += tokens
	m.s.Steps++
	m.s.Tokens += uint64(tokens)
	m.batched += uint64(sequences)
}

func (m *meter) ran(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mean == 0 {
		m.mean = d
	} else {
		m.mean = (7*m.mean + d) / 8
	}
}

func (m *meter) refuse() { m.mu.Lock(); m.s.Refused++; m.mu.Unlock() }
func (m *meter) serve()  { m.mu.Lock(); m.s.Served++; m.mu.Unlock() }
func (m *meter) fail()   { m.mu.Lock(); m.s.Failed++; m.mu.Unlock() }

// wait estimates when a slot is free for the n-th in line: whole seconds from
// 1 to 60.
func (m *meter) wait(n, slots int) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.mean * time.Duration(n) / time.Duration(slots)
	return min(max((d+time.Second-1).Truncate(time.Second), time.Second), time.Minute)
}

func (m *meter) stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	s := m.s
	sum := 0
	for _, n := range m.buckets {
		sum += n
	}
	s.TokensSec = float64(sum) / meterSeconds
	if s.Steps > 0 {
		s.Batch = float64(m.batched) / float64(s.Steps)
	}
	return s
}
