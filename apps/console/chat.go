package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/middleware/gateway"
)

// Limits of what the console remembers.
const (
	maxSessions = 64
	maxTurns    = 40
	maxPrompt   = 16 << 10
)

// session is one open page's conversation. It lives in memory only.
type session struct {
	mu     sync.Mutex
	turns  []gateway.Message
	next   int // number of the next bubble
	cancel context.CancelFunc
	used   int // order of last use
}

func newSessionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// session finds or makes a session; the one unused for longest gives way.
func (c *Console) session(id string) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := 0
	for _, s := range c.sessions {
		newest = max(newest, s.used)
	}
	s := c.sessions[id]
	if s == nil {
		if len(c.sessions) >= maxSessions {
			oldest := ""
			for k, s := range c.sessions {
				if oldest == "" || s.used < c.sessions[oldest].used {
					oldest = k
				}
			}
			delete(c.sessions, oldest)
		}
		s = &session{}
		c.sessions[id] = s
	}
	s.used = newest + 1
	return s
}

// chat asks the network and streams the answer into the page.
func (c *Console) chat(w http.ResponseWriter, r *http.Request) {
	in, ok := signalsOf(w, r)
	if !ok {
		return
	}
	prompt := strings.TrimSpace(in.Prompt)
	if q := r.URL.Query().Get("q"); q != "" {
		prompt = q
	}
	if prompt == "" || len(prompt) > maxPrompt || len(in.Session) > 64 {
		http.Error(w, fmt.Sprintf("a question needs 1 to %d bytes", maxPrompt), http.StatusBadRequest)
		return
	}
	s := c.session(in.Session)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	n, history, ok := s.begin(prompt, cancel)
	if !ok {
		http.Error(w, "an answer is on its way already", http.StatusConflict)
		return
	}
	defer s.end()
	out := open(w, r)
	_ = out.signals(map[string]any{"prompt": "", "busy": true})
	defer func() { _ = out.signals(map[string]any{"busy": false}) }()
	_ = out.append("#log", bubbles(n, prompt))
	text, a, err := c.answer(ctx, in.Model, history, func(piece string) error {
		return out.append(fmt.Sprintf("#text-%d", n), plain(piece))
	})
	if ctx.Err() != nil && r.Context().Err() == nil {
		err = nil // the Stop button: what came is kept
	}
	if err != nil {
		s.forget()
		_ = out.morph(failure(n, describe(err)))
		return
	}
	s.keep(text)
	_ = out.morph(meta(n, summary(a)))
}

func (c *Console) answer(ctx context.Context, model string, history []gateway.Message, show func(string) error) (string, *gateway.Answer, error) {
	call, err := c.cfg.Gateway.Ask(ctx, model, history)
	if err != nil {
		return "", nil, err
	}
	visible := call.Codec.Text(call.Sampler.Stop)
	var text strings.Builder
	put := func(t string) error {
		if t == "" {
			return nil
		}
		text.WriteString(t)
		return show(t)
	}
	a, err := c.cfg.Gateway.Answer(ctx, call, nil, func(ts []core.Token) error { return put(visible.Add(ts)) })
	if err != nil {
		return text.String(), a, err
	}
	return text.String(), a, put(visible.End())
}

// begin adds a turn unless one is being answered.
func (s *session) begin(prompt string, cancel context.CancelFunc) (n int, history []gateway.Message, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		return 0, nil, false
	}
	s.cancel = cancel
	s.turns = append(s.turns, gateway.Message{Role: "user", Content: prompt})
	if over := len(s.turns) - maxTurns; over > 0 {
		s.turns = s.turns[over+over%2:]
	}
	s.next++
	return s.next, append([]gateway.Message(nil), s.turns...), true
}

func (s *session) end() { s.mu.Lock(); s.cancel = nil; s.mu.Unlock() }

func (s *session) keep(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns = append(s.turns, gateway.Message{Role: "assistant", Content: text})
}

// forget takes back a turn that got no answer.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.turns); n > 0 && s.turns[n-1].Role == "user" {
		s.turns = s.turns[:n-1]
	}
}

func (c *Console) stop(w http.ResponseWriter, r *http.Request) {
	in, ok := signalsOf(w, r)
	if !ok {
		return
	}
	s := c.session(in.Session)
	s.mu.Lock()
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	open(w, r) // an empty stream: the page waits for one
}

// renew starts a new conversation on the same page.
func (c *Console) renew(w http.ResponseWriter, r *http.Request) {
	in, ok := signalsOf(w, r)
	if !ok {
		return
	}
	s := c.session(in.Session)
	s.mu.Lock()
	s.turns = nil
	s.mu.Unlock()
	out := open(w, r)
	_ = out.remove("#log > *")
}

func describe(err error) failureView {
	var e *core.Error
	if !errors.As(err, &e) {
		e = &core.Error{Message: err.Error()}
	}
	v := failureView{Cause: e.Cause(), Next: e.Next, Charge: "nothing was charged"}
	if !e.Charge.IsZero() {
		v.Charge = "charged " + e.Charge.Format()
	}
	return v
}

func summary(a *gateway.Answer) metaView {
	if a == nil {
		return metaView{}
	}
	v := metaView{Provider: a.Provider.Moniker, Cost: koin(a.Cost), Tokens: fmt.Sprint(a.Usage.Output), Seconds: fmt.Sprintf("%.2f s", a.Latency.Seconds()), Tried: a.Tried}
	if t := a.Offer.Tier; t != core.TierExact {
		v.Provider += " (" + string(t) + ")"
	}
	if a.Receipt != nil {
		v.Receipt = a.Receipt.Digest().String()
	}
	return v
}
