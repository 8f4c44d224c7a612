package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/koinon-network/koinon/core"
)

// choice is one of the answers to a call of the API.
type choice struct {
	id     core.RequestID
	call   Call
	read   *reader
	begun  bool
	all    delta // everything so far
	answer *Answer
}

// finish is OpenAI's reason for the answer's end.
func (c *choice) finish() string {
	if len(c.all.calls) > 0 && c.answer.Finish == core.FinishStop {
		return "tool_calls"
	}
	return string(c.answer.Finish)
}

// session is one call of the API: its choices, asked for at once, and where
// their events go.
type session struct {
	*Gateway
	w       http.ResponseWriter
	choices []*choice
	shape   shape
	// ownUsage gives usage and price an event of their own.
	ownUsage bool

	mu     sync.Mutex
	out    *eventStream // nil when the answer is sent as a whole
	opened bool
	ended  int // choices
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

// run asks for all choices and writes them. When one fails, the others are
// broken off: half of what was ordered is of no use.
func (s *session) run(r *http.Request, stream bool) {
	if stream {
		s.out = &eventStream{w: s.w, rc: http.NewResponseController(s.w)}
	}
	group, ctx := errgroup.WithContext(r.Context())
	for i, c := range s.choices {
		group.Go(func() error { return s.ask(ctx, i, c) })
	}
	err := group.Wait()
	switch {
	case gone(r.Context(), err):
	case err != nil:
		s.fail(err)
	case stream:
		s.end()
	default:
		s.whole()
	}
}

// ask follows one choice to its end.
func (s *session) ask(ctx context.Context, i int, c *choice) error {
	begun := func(a *Answer) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.out != nil && !s.opened {
			s.opened = true
			setHeaders(s.w, s.ids(), a)
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
	if err := s.add(i, c, c.read.end()); err != nil || s.out == nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
	var usage *usageObject
	var price *settlement
	if s.ended == len(s.choices) && !s.ownUsage {
		usage, price = usageOf(s.answers()...), settlementOf(s.answers()...)
	}
	return s.out.sendAll(s.start(i, c), s.shape.last(i, c.finish(), usage, price))
}

// start is the event with which a choice begins, once; the lock is held.
func (s *session) start(i int, c *choice) any {
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
	c.all.calls = append(c.all.calls, d.calls...)
	if err := s.out.sendAll(s.start(i, c)); err != nil {
		return err
	}
	return s.out.sendAll(s.shape.pieces(i, d)...)
}

// fail reports an error: as an HTTP error, or in the stream that has begun.
func (s *session) fail(err error) {
	e := *asError(err)
	e.Charge = costOf(s.answers())
	if !s.opened {
		writeError(s.w, &e)
		return
	}
	_, body := describe(&e)
	_ = s.out.sendAll(body) // no [DONE]: the stream did not end well
}

func (s *session) end() {
	if s.ownUsage {
		as := s.answers()
		_ = s.out.sendAll(s.shape.end(usageOf(as...), settlementOf(as...)))
	}
	s.out.done()
}

func (s *session) whole() {
	as := s.answers()
	setHeaders(s.w, s.ids(), as[0])
	h := s.w.Header()
	h.Set("X-Koinon-Receipt-Digest", as[0].Receipt.Digest().String())
	h.Set("X-Koinon-Cost", costOf(as).String()+" akoin")
	h.Set("X-Koinon-Channel-Left", as[0].Left.String()+" akoin")
	writeJSON(s.w, http.StatusOK, s.shape.whole(s.choices, usageOf(as...), settlementOf(as...)))
}

// eventStream writes server-sent events and flushes each.
type eventStream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// writeTimeout is how long a client may take to accept one event.
const writeTimeout = 30 * time.Second

func (s *eventStream) open() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
}

// sendAll writes the events that are not nil.
func (s *eventStream) sendAll(vs ...any) error {
	for _, v := range vs {
		if v == nil {
			continue
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := s.write("data: " + string(b) + "\n\n"); err != nil {
			return err
		}
	}
	return nil
}

func (s *eventStream) done() { _ = s.write("data: [DONE]\n\n") }

func (s *eventStream) write(t string) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write([]byte(t)); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (g *Gateway) chatCompletions(w http.ResponseWriter, r *http.Request) {
	var body chatRequest
	err := readBody(w, r, &body)
	if err == nil {
		err = g.chat(w, r, &body)
	}
	if err != nil {
		writeError(w, err)
	}
}

// chat prepares a chat completion and answers it; the error is one of preparing.
func (g *Gateway) chat(w http.ResponseWriter, r *http.Request, body *chatRequest) error {
	p, err := body.plan()
	if err != nil {
		return err
	}
	call, err := g.call(r.Context(), &body.sampling, func(c *Codec, s *core.Sampler) ([]core.Token, error) {
		s.Logprobs = p.logprobs
		if err := p.constrain(c, s); err != nil {
			return nil, err
		}
		return c.chat(p.messages, p.tools, p.args)
	})
	if err != nil {
		return err
	}
	s := &session{Gateway: g, w: w, ownUsage: body.includeUsage()}
	for i := range p.n {
		c := &choice{id: randomHash(), call: call, read: call.Codec.reader(&call.Sampler, p.tools)}
		c.call.UserSeed = body.seed(i)
		s.choices = append(s.choices, c)
	}
	object := "chat.completion"
	if body.Stream {
		object += ".chunk"
	}
	s.shape = &chatShape{frame: newFrame[chatChoice]("chatcmpl-", object, call.Model, s.choices[0].id, body.Stream && s.ownUsage),
		codec: call.Codec, probs: body.LogProbs, ids: s.ids(), calls: map[int]int{}}
	s.run(r, body.Stream)
	return nil
}

// Ask is the API's chat call for callers inside the process.
func (g *Gateway) Ask(ctx context.Context, model string, ms []Message) (Call, error) {
	return g.call(ctx, &sampling{Model: model}, func(c *Codec, _ *core.Sampler) ([]core.Token, error) { return c.Chat(ms) })
}

// call prepares a call: model, sampler, tokens, and the check against the
// context window. encode may add to the sampler.
func (g *Gateway) call(ctx context.Context, p *sampling, encode func(*Codec, *core.Sampler) ([]core.Token, error)) (Call, error) {
	if _, err := p.sampler(core.Sampler{}); err != nil {
		return Call{}, err
	}
	name, tier := tierOf(p.Model)
	m, err := g.model(ctx, name)
	if err != nil {
		return Call{}, err
	}
	codec, err := g.codec(ctx, m)
	if err != nil {
		return Call{}, err
	}
	s, err := p.sampler(codec.Defaults)
	if err != nil {
		return Call{}, err
	}
	in, err := encode(codec, &s)
	if err != nil {
		return Call{}, err
	}
	if err := fit(in, &s, m, g.cfg.MaxAnswer); err != nil {
		return Call{}, err
	}
	if err := codec.accepts(&s); err != nil {
		if e := asError(err); p.Grammar != nil && e.Param == "response_format" {
			e.Param = "grammar"
		}
		return Call{}, err
	}
	if tier == core.TierStatistical {
		m.Name += statisticalSuffix // whatever speaks of this answer says so
		if err := s.Statistical(); err != nil {
			return Call{}, err
		}
	}
	return Call{Model: m, Tier: tier, Codec: codec, Input: in, Sampler: s, UserSeed: p.seed(0)}, nil
}

// fit checks that the prompt leaves room for an answer and bounds the answer by
// what is left of the context; one that runs into the bound says "length".
func fit(in []core.Token, s *core.Sampler, m core.Manifest, most uint32) error {
	n, window := uint32(len(in)), m.Context
	switch {
	case n == 0:
		return invalid("prompt", "the prompt has no tokens")
	case n >= window:
		return &core.Error{Code: core.CodeContextLength, Param: "messages", Next: "shorten the prompt or ask a model with a longer context",
			Message: fmt.Sprintf("the prompt has %d tokens, the context of %s has %d tokens and must hold the answer too", n, m.Name, window)}
	case s.MaxTokens == 0:
		s.MaxTokens = min(window-n, most)
	default:
		s.MaxTokens = min(s.MaxTokens, window-n)
	}
	return nil
}

func (g *Gateway) completions(w http.ResponseWriter, r *http.Request) {
	var body completionRequest
	err := readBody(w, r, &body)
	if err == nil {
		err = g.complete(w, r, &body)
	}
	if err != nil {
		writeError(w, err)
	}
}

// complete prepares plain completions and answers them.
func (g *Gateway) complete(w http.ResponseWriter, r *http.Request, body *completionRequest) error {
	if err := body.check(); err != nil {
		return err
	}
	if body.MaxTokens == nil && body.MaxCompletionTokens == nil {
		n := int64(16) // OpenAI's default for this call
		body.MaxTokens = &n
	}
	n, _ := body.count()
	s := &session{Gateway: g, w: w, ownUsage: body.includeUsage()}
	var echoes []string
	for _, p := range body.Prompt {
		call, err := g.call(r.Context(), &body.sampling, func(c *Codec, s *core.Sampler) ([]core.Token, error) {
			s.Logprobs = body.logprobs()
			return p.encode(c)
		})
		if err != nil {
			return err
		}
		for i := range n {
			c := &choice{id: randomHash(), call: call, read: call.Codec.reader(&call.Sampler, nil)}
			c.call.UserSeed = body.seed(i)
			s.choices = append(s.choices, c)
			if body.Echo {
				echoes = append(echoes, p.echo(call.Codec))
			}
		}
	}
	call := &s.choices[0].call
	s.shape = &textShape{frame: newFrame[textChoice]("cmpl-", "text_completion", call.Model, s.choices[0].id, body.Stream && s.ownUsage),
		codec: call.Codec, probs: body.LogProbs != nil, echoes: echoes, at: map[int]int{}}
	s.run(r, body.Stream)
	return nil
}
