package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/middleware/x402"
)

// choice is one of the answers to a call of the API.
type choice struct {
	id     core.RequestID
	call   Call
	read   *reader
	begun  bool
	all    delta // everything so far; of a stream, only the calls
	answer *Answer
}

// finish is OpenAI's reason for the answer's end.
func (c *choice) finish() string {
	if c.called() {
		return "tool_calls"
	}
	return string(c.answer.Finish)
}

// called reports whether the answer ends with calls of tools.
func (c *choice) called() bool { return len(c.all.calls) > 0 && c.answer.Finish == core.FinishStop }

// session is one call of the API: its choices, asked for at once, and where
// their events go.
type session struct {
	*Gateway
	w       http.ResponseWriter
	choices []*choice
	shape   shape
	// ownUsage gives usage and price an event of their own.
	ownUsage bool
	// spent was paid for the call before this session, on models that failed.
	spent core.Amount
	bill  *x402.Bill // nil when the caller does not pay by the call

	mu     sync.Mutex
	out    *eventStream // nil when the answer is sent as a whole
	opened bool
	unpaid error // why a payment is not binding
	ended  int   // choices
}

func (s *session) ids() []core.RequestID {
	ids := make([]core.RequestID, len(s.choices))
	for i, c := range s.choices {
		ids[i] = c.id
	}
	return ids
}

func (s *session) answers() (as []*Answer) {
	for _, c := range s.choices {
		if c.answer != nil {
			as = append(as, c.answer)
		}
	}
	return as
}

func (s *session) settled() (*usageObject, *settlement) {
	as := s.answers()
	return usageOf(as...), settlementOf(s.spent, as...)
}

// run asks for all choices and writes them. When one fails, the others are
// broken off: half of what was ordered is of no use. It returns the error of
// which nothing was told yet.
func (s *session) run(r *http.Request, stream bool) error {
	if told, err := s.toll(r); told || err != nil {
		return err
	}
	defer s.endBill()
	if stream {
		s.out = &eventStream{w: s.w, rc: http.NewResponseController(s.w), framing: s.shape.framing()}
	}
	group, ctx := errgroup.WithContext(r.Context())
	for i, c := range s.choices {
		group.Go(func() error { return s.ask(ctx, i, c) })
	}
	err := group.Wait()
	switch {
	case gone(r.Context(), err):
		return nil
	case err != nil:
		return s.fail(err)
	case stream:
		s.end()
	default:
		return s.whole(r.Context())
	}
	return nil
}

// ask follows one choice to its end.
func (s *session) ask(ctx context.Context, i int, c *choice) error {
	begun := func(a *Answer) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.out == nil || s.opened || s.unpaid != nil {
			return
		}
		if s.pay(ctx); s.unpaid == nil {
			s.opened = true
			setHeaders(s.w, s.ids(), c.call.Model.Name, a)
			s.out.open()
		}
	}
	a, err := s.answer(ctx, c.id, c.call, begun, func(ts []core.Token, ps []core.TokenLogprobs) error {
		return s.add(i, c, c.read.add(ts, ps))
	})
	s.mu.Lock()
	c.answer = a
	s.mu.Unlock()
	if err != nil {
		return err
	}
	begun(a) // an answer without a single token
	if s.unpaid != nil {
		return s.unpaid
	}
	if err := s.add(i, c, c.read.end()); err != nil || s.out == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
	var usage *usageObject
	var price *settlement
	if s.ended == len(s.choices) && !s.ownUsage {
		usage, price = s.settled()
	}
	return s.out.sendAll(append(s.start(i, c), s.shape.last(i, c, usage, price)...)...)
}

// start are the events with which a choice begins, once; the lock is held.
func (s *session) start(i int, c *choice) []any {
	if c.begun {
		return nil
	}
	c.begun = true
	return s.shape.first(i)
}

// add takes what a choice has more.
func (s *session) add(i int, c *choice, d delta) error {
	if d.empty() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		c.all.join(d)
		return nil
	}
	if s.unpaid != nil {
		return s.unpaid
	}
	c.all.calls = append(c.all.calls, d.calls...)
	return s.out.sendAll(append(s.start(i, c), s.shape.pieces(i, d)...)...)
}

// fail tells an error in the stream, if that has begun, or returns it.
func (s *session) fail(err error) error {
	e := *asError(err)
	e.Charge = costOf(s.answers()).Add(s.spent)
	if !s.opened {
		return &e
	}
	_ = s.out.sendAll(s.shape.fail(&e)...) // and no end: the stream did not end well
	return nil
}

func (s *session) end() {
	if s.ownUsage {
		_ = s.out.sendAll(s.shape.end(s.settled())...)
	}
	s.out.done()
}

func (s *session) whole(ctx context.Context) error {
	as := s.answers()
	if err := s.payWhole(ctx); err != nil {
		return err // not given: what it cost is the gateway's loss
	}
	setHeaders(s.w, s.ids(), s.choices[0].call.Model.Name, as[0])
	usage, price := s.settled()
	h := s.w.Header()
	h.Set("X-Koinon-Receipt-Digest", as[0].Receipt.Digest().String())
	h.Set("X-Koinon-Cost", price.Cost.String()+" akoin")
	h.Set("X-Koinon-Channel-Left", as[0].Left.String()+" akoin")
	writeJSON(s.w, http.StatusOK, s.shape.whole(s.choices, usage, price))
	return nil
}

// framing is how a stream's events are written.
type framing struct {
	content string // type
	before  string // each event
	after   string // each event
	end     string // of a stream that ended well
}

var (
	// serverSent is OpenAI's older way, plain data with a mark at the end.
	serverSent = framing{"text/event-stream; charset=utf-8", "data: ", "\n\n", "data: [DONE]\n\n"}
	// namedEvents have their type before the data; the last of them is known by it.
	namedEvents = framing{"text/event-stream; charset=utf-8", "data: ", "\n\n", ""}
	// lines are one JSON object each.
	lines = framing{"application/x-ndjson", "", "\n", ""}
)

// named is an event that is sent under its type.
type named map[string]any

// eventStream writes events and flushes each.
type eventStream struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	framing *framing
}

// writeTimeout is how long a client may take to accept one event.
const writeTimeout = 30 * time.Second

func (s *eventStream) open() {
	h := s.w.Header()
	h.Set("Content-Type", s.framing.content)
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
}

func (s *eventStream) sendAll(vs ...any) error {
	for _, v := range vs {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		head := s.framing.before
		if n, ok := v.(named); ok {
			head = "event: " + n["type"].(string) + "\n" + head
		}
		if err := s.write(head + string(b) + s.framing.after); err != nil {
			return err
		}
	}
	return nil
}

func (s *eventStream) done() {
	if s.framing.end != "" {
		_ = s.write(s.framing.end)
	}
}

func (s *eventStream) write(t string) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write([]byte(t)); err != nil {
		return err
	}
	return s.rc.Flush()
}
