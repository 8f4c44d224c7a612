package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/koinon-network/koinon/core"
)

// usageObject is OpenAI's usage.
type usageObject struct {
	PromptTokens     uint32 `json:"prompt_tokens"`
	CompletionTokens uint32 `json:"completion_tokens"`
	TotalTokens      uint32 `json:"total_tokens"`
	Details          struct {
		CachedTokens uint32 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func usageOf(a *Answer) *usageObject {
	u := &usageObject{PromptTokens: a.Usage.Input, CompletionTokens: a.Usage.Output, TotalTokens: a.Usage.Input + a.Usage.Output}
	u.Details.CachedTokens = a.Usage.Cached
	return u
}

// settlement is what an answer says about its price and proof, in the last
// chunk of a stream or in the body.
type settlement struct {
	Provider core.Address   `json:"provider"`
	Moniker  string         `json:"moniker"`
	Tier     core.Tier      `json:"tier"`
	PriceIn  core.Amount    `json:"price_in"`  // akoin per token
	PriceOut core.Amount    `json:"price_out"` // akoin per token
	Cost     core.Amount    `json:"cost"`      // akoin paid in all
	Tried    int            `json:"providers_tried"`
	Receipt  core.ReceiptID `json:"receipt"`
	Channel  core.ChannelID `json:"channel"`
	Left     core.Amount    `json:"channel_left"` // akoin unspent on the channel
}

func settlementOf(a *Answer) *settlement {
	s := &settlement{Provider: a.Provider.Address, Moniker: a.Provider.Moniker, Tier: a.Offer.Tier, PriceIn: a.Offer.PriceIn,
		PriceOut: a.Offer.PriceOut, Cost: a.Cost, Tried: a.Tried, Left: a.Left}
	if a.Receipt != nil {
		s.Receipt, s.Channel = a.Receipt.Digest(), a.Receipt.Channel
	}
	return s
}

// setHeaders names provider, price and receipt before the body. The receipt is
// found under the answer's id as soon as the answer is complete.
func setHeaders(w http.ResponseWriter, a *Answer) {
	h := w.Header()
	h.Set("X-Request-Id", a.ID.String())
	h.Set("X-Koinon-Receipt", a.ID.String())
	h.Set("X-Koinon-Provider", a.Provider.Address.String())
	h.Set("X-Koinon-Provider-Name", a.Provider.Moniker)
	h.Set("X-Koinon-Tier", string(a.Offer.Tier))
	h.Set("X-Koinon-Price", fmt.Sprintf("in=%s out=%s unit=akoin/token", a.Offer.PriceIn, a.Offer.PriceOut))
}

// shape renders an answer in one of the API's formats.
type shape interface {
	// piece is a stream event with text.
	piece(text string) any
	// last is the event that carries the finish reason; usage and settlement
	// ride on it unless the caller asked for an event of their own.
	last(a *Answer, u *usageObject, s *settlement) any
	// usage is the extra event of stream_options.include_usage.
	usage(u *usageObject, s *settlement) any
	// whole is the body of an answer that is not streamed.
	whole(text string, a *Answer, u *usageObject, s *settlement) any
}

// ask runs a call and writes its answer in the shape.
func (g *Gateway) ask(w http.ResponseWriter, r *http.Request, call Call, p *sampling, mk func(*Answer) shape) {
	if p.Stream {
		g.stream(w, r, call, p, mk)
		return
	}
	txt := call.Codec.Text(call.Sampler.Stop)
	var text []byte
	a, err := g.Answer(r.Context(), call, nil, func(ts []core.Token) error {
		text = append(text, txt.Add(ts)...)
		return nil
	})
	if err != nil {
		if !gone(r.Context(), err) {
			writeError(w, charged(err, a))
		}
		return
	}
	text = append(text, txt.End()...)
	setHeaders(w, a)
	w.Header().Set("X-Koinon-Receipt-Digest", a.Receipt.Digest().String())
	w.Header().Set("X-Koinon-Cost", a.Cost.String()+" akoin")
	w.Header().Set("X-Koinon-Channel-Left", a.Left.String()+" akoin")
	writeJSON(w, http.StatusOK, mk(a).whole(string(text), a, usageOf(a), settlementOf(a)))
}

// charged adds to an error what was paid before it.
func charged(err error, a *Answer) error {
	e := *asError(err)
	e.Charge = a.Cost
	return &e
}

// stream answers by server-sent events. Headers go out with the first token:
// until then a failure is an ordinary HTTP error.
func (g *Gateway) stream(w http.ResponseWriter, r *http.Request, call Call, p *sampling, mk func(*Answer) shape) {
	out := &eventStream{w: w, rc: http.NewResponseController(w)}
	txt := call.Codec.Text(call.Sampler.Stop)
	var sh shape
	begun := func(a *Answer) {
		sh = mk(a)
		setHeaders(w, a)
		out.open()
	}
	a, err := g.Answer(r.Context(), call, begun, func(ts []core.Token) error {
		if t := txt.Add(ts); t != "" {
			return out.send(sh.piece(t))
		}
		return nil
	})
	if gone(r.Context(), err) {
		return
	}
	if err != nil {
		if sh == nil {
			writeError(w, charged(err, a))
			return
		}
		_, body := describe(asError(charged(err, a)))
		_ = out.send(body)
		return // no [DONE]: the stream did not end well
	}
	if sh == nil { // an answer without a single token
		begun(a)
	}
	if t := txt.End(); t != "" {
		_ = out.send(sh.piece(t))
	}
	u, s := usageOf(a), settlementOf(a)
	if p.StreamOptions != nil && p.StreamOptions.IncludeUsage {
		_ = out.send(sh.last(a, nil, nil))
		_ = out.send(sh.usage(u, s))
	} else {
		_ = out.send(sh.last(a, u, s))
	}
	out.done()
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

func (s *eventStream) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write("data: " + string(b) + "\n\n")
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
	if err := readBody(w, r, &body); err != nil {
		writeError(w, err)
		return
	}
	call, err := g.chatCall(r.Context(), &body)
	if err != nil {
		writeError(w, err)
		return
	}
	g.ask(w, r, call, &body.sampling, func(a *Answer) shape {
		return &chatShape{ID: "chatcmpl-" + a.ID.String()[:32], Created: time.Now().Unix(), Model: call.Model.Name}
	})
}

func (g *Gateway) chatCall(ctx context.Context, body *chatRequest) (Call, error) {
	ms, err := body.conversation()
	if err != nil {
		return Call{}, err
	}
	return g.call(ctx, &body.sampling, func(c *Codec) ([]core.Token, error) { return c.Chat(ms) })
}

// Ask is the API's chat call for callers inside the process.
func (g *Gateway) Ask(ctx context.Context, model string, ms []Message) (Call, error) {
	return g.call(ctx, &sampling{Model: model}, func(c *Codec) ([]core.Token, error) { return c.Chat(ms) })
}

// call prepares a call: model, tokens, sampler, and the check against the
// context window.
func (g *Gateway) call(ctx context.Context, p *sampling, encode func(*Codec) ([]core.Token, error)) (Call, error) {
	if _, err := p.sampler(core.Sampler{}); err != nil {
		return Call{}, err
	}
	m, err := g.model(ctx, p.Model)
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
	in, err := encode(codec)
	if err != nil {
		return Call{}, err
	}
	if err := fit(in, &s, m, g.cfg.MaxAnswer); err != nil {
		return Call{}, err
	}
	return Call{Model: m, Codec: codec, Input: in, Sampler: s, UserSeed: p.seed()}, nil
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

// chatShape renders chat completions.
type chatShape struct {
	ID      string
	Created int64
	Model   string
}

type chatChunk struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *usageObject `json:"usage,omitempty"`
	Koinon  *settlement  `json:"koinon,omitempty"`
}

type chatChoice struct {
	Index    int                `json:"index"`
	Delta    *chatDelta         `json:"delta,omitempty"`
	Message  *chatReply         `json:"message,omitempty"`
	LogProbs any                `json:"logprobs"`
	Finish   *core.FinishReason `json:"finish_reason"`
}

type chatDelta struct {
	Role    string `json:"role,omitempty"`
	Content string `json:"content,omitempty"`
}

type chatReply struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

func (c *chatShape) chunk(choices ...chatChoice) chatChunk {
	if choices == nil {
		choices = []chatChoice{}
	}
	return chatChunk{ID: c.ID, Object: "chat.completion.chunk", Created: c.Created, Model: c.Model, Choices: choices}
}

func (c *chatShape) piece(text string) any {
	return c.chunk(chatChoice{Delta: &chatDelta{Role: "assistant", Content: text}})
}

func (c *chatShape) last(a *Answer, u *usageObject, s *settlement) any {
	x := c.chunk(chatChoice{Delta: &chatDelta{}, Finish: &a.Finish})
	x.Usage, x.Koinon = u, s
	return x
}

func (c *chatShape) usage(u *usageObject, s *settlement) any {
	x := c.chunk()
	x.Usage, x.Koinon = u, s
	return x
}

func (c *chatShape) whole(text string, a *Answer, u *usageObject, s *settlement) any {
	x := c.chunk(chatChoice{Message: &chatReply{Role: "assistant", Content: text}, Finish: &a.Finish})
	x.Object, x.Usage, x.Koinon = "chat.completion", u, s
	return x
}

func (g *Gateway) completions(w http.ResponseWriter, r *http.Request) {
	var body completionRequest
	err := readBody(w, r, &body)
	if err == nil {
		err = body.check()
	}
	if err != nil {
		writeError(w, err)
		return
	}
	if body.MaxTokens == nil && body.MaxCompletionTokens == nil {
		n := int64(16) // OpenAI's default for this call
		body.MaxTokens = &n
	}
	call, err := g.call(r.Context(), &body.sampling, func(c *Codec) ([]core.Token, error) {
		if body.Prompt.tokens != nil {
			return body.Prompt.tokens, c.check(body.Prompt.tokens)
		}
		return c.Plain(body.Prompt.text)
	})
	if err != nil {
		writeError(w, err)
		return
	}
	g.ask(w, r, call, &body.sampling, func(a *Answer) shape {
		return &textShape{ID: "cmpl-" + a.ID.String()[:32], Created: time.Now().Unix(), Model: call.Model.Name}
	})
}

// textShape renders plain completions.
type textShape struct {
	ID      string
	Created int64
	Model   string
}

type textChunk struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []textChoice `json:"choices"`
	Usage   *usageObject `json:"usage,omitempty"`
	Koinon  *settlement  `json:"koinon,omitempty"`
}

type textChoice struct {
	Index    int                `json:"index"`
	Text     string             `json:"text"`
	LogProbs any                `json:"logprobs"`
	Finish   *core.FinishReason `json:"finish_reason"`
}

func (t *textShape) chunk(choices ...textChoice) textChunk {
	if choices == nil {
		choices = []textChoice{}
	}
	return textChunk{ID: t.ID, Object: "text_completion", Created: t.Created, Model: t.Model, Choices: choices}
}

func (t *textShape) piece(text string) any { return t.chunk(textChoice{Text: text}) }

func (t *textShape) last(a *Answer, u *usageObject, s *settlement) any {
	return t.whole("", a, u, s)
}

func (t *textShape) usage(u *usageObject, s *settlement) any {
	x := t.chunk()
	x.Usage, x.Koinon = u, s
	return x
}

func (t *textShape) whole(text string, a *Answer, u *usageObject, s *settlement) any {
	x := t.chunk(textChoice{Text: text, Finish: &a.Finish})
	x.Usage, x.Koinon = u, s
	return x
}
