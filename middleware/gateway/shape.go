package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
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

// usageOf sums what answers billed.
func usageOf(as ...*Answer) *usageObject {
	u := &usageObject{}
	for _, a := range as {
		u.PromptTokens += a.Usage.Input
		u.CompletionTokens += a.Usage.Output
		u.Details.CachedTokens += a.Usage.Cached
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
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
	// Choices has the settlement of each choice where there are several; the
	// fields above are then the first one's, but Cost is the sum.
	Choices []*settlement `json:"choices,omitempty"`
}

// settlementOf sums up answers; spent was paid beside them.
func settlementOf(spent core.Amount, as ...*Answer) *settlement {
	var all []*settlement
	for _, a := range as {
		s := &settlement{Provider: a.Provider.Address, Moniker: a.Provider.Moniker, Tier: a.Offer.Tier, PriceIn: a.Offer.PriceIn,
			PriceOut: a.Offer.PriceOut, Cost: a.Cost, Tried: a.Tried, Left: a.Left}
		if a.Receipt != nil {
			s.Receipt, s.Channel = a.Receipt.Digest(), a.Receipt.Channel
		}
		all = append(all, s)
	}
	if len(all) == 1 {
		all[0].Cost = all[0].Cost.Add(spent)
		return all[0]
	}
	whole := *all[0]
	whole.Cost, whole.Choices = costOf(as).Add(spent), all
	return &whole
}

func costOf(as []*Answer) (sum core.Amount) {
	for _, a := range as {
		sum = sum.Add(a.Cost)
	}
	return sum
}

// setHeaders names model, provider, price and receipt before the body; ids are those of
// all answers, a is the first to begin. A receipt is found under its answer's id
// as soon as the answer is complete.
func setHeaders(w http.ResponseWriter, ids []core.RequestID, model string, a *Answer) {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = id.String()
	}
	h := w.Header()
	h.Set("X-Request-Id", names[0])
	h.Set("X-Koinon-Receipt", names[0])
	if len(names) > 1 {
		h.Set("X-Koinon-Receipts", strings.Join(names, ", "))
	}
	h.Set("X-Koinon-Model", model)
	h.Set("X-Koinon-Provider", a.Provider.Address.String())
	h.Set("X-Koinon-Provider-Name", a.Provider.Moniker)
	h.Set("X-Koinon-Tier", string(a.Offer.Tier))
	h.Set("X-Koinon-Price", fmt.Sprintf("in=%s out=%s unit=akoin/token", a.Offer.PriceIn, a.Offer.PriceOut))
}

// shape renders answers in one of the API's formats. Choices are numbered; only
// OpenAI's older calls have more than one.
type shape interface {
	framing() *framing
	// first are the stream's events with which a choice begins.
	first(i int) []any
	// pieces are events for what a choice has more.
	pieces(i int, d delta) []any
	// last are the events that end a choice; with the last choice's, usage and
	// settlement, where they have no event of their own.
	last(i int, c *choice, u *usageObject, s *settlement) []any
	// end is the event of stream_options.include_usage.
	end(u *usageObject, s *settlement) []any
	// fail are the events that end a stream which cannot go on.
	fail(e *core.Error) []any
	// whole is the body of an answer that is not streamed.
	whole(all []*choice, u *usageObject, s *settlement) any
}

// envelope is what every event and body has.
type envelope[C any] struct {
	ID      string          `json:"id"`
	Object  string          `json:"object"`
	Created int64           `json:"created"`
	Model   string          `json:"model"`
	System  string          `json:"system_fingerprint"`
	Choices []C             `json:"choices"`
	Usage   json.RawMessage `json:"usage,omitempty"`
	Koinon  *settlement     `json:"koinon,omitempty"`
}

// frame makes events and bodies of one call.
type frame[C any] struct {
	id, object, model, system string
	created                   int64
	usage                     json.RawMessage // null where the usage has an event of its own
}

func (f *frame[C]) framing() *framing { return &serverSent }

func (f *frame[C]) fail(e *core.Error) []any {
	_, body := describe(e)
	return []any{body}
}

func (f *frame[C]) end(u *usageObject, s *settlement) []any { return []any{f.settled(u, s)} }

func newFrame[C any](prefix, object string, m core.Manifest, id core.RequestID, ownUsage bool) frame[C] {
	f := frame[C]{id: prefix + id.String()[:32], object: object, model: m.Name, system: "fp_" + m.ID.String()[:10], created: time.Now().Unix()}
	if ownUsage {
		f.usage = json.RawMessage("null")
	}
	return f
}

func (f *frame[C]) event(cs ...C) envelope[C] {
	if cs == nil {
		cs = []C{}
	}
	return envelope[C]{ID: f.id, Object: f.object, Created: f.created, Model: f.model, System: f.system, Choices: cs, Usage: f.usage}
}

func (f *frame[C]) settled(u *usageObject, s *settlement, cs ...C) envelope[C] {
	e := f.event(cs...)
	if u != nil {
		e.Usage, _ = json.Marshal(u)
	}
	e.Koinon = s
	return e
}

// chatShape renders chat completions.
type chatShape struct {
	frame[chatChoice]
	codec *Codec
	probs bool
	ids   []core.RequestID
	calls map[int]int // calls shown so far, by choice
}

type chatChoice struct {
	Index    int        `json:"index"`
	Delta    *chatDelta `json:"delta,omitempty"`
	Message  *chatReply `json:"message,omitempty"`
	LogProbs *chatProbs `json:"logprobs"`
	Finish   *string    `json:"finish_reason"`
}

type chatDelta struct {
	Role    string      `json:"role,omitempty"`
	Content *string     `json:"content,omitempty"`
	Calls   []callDelta `json:"tool_calls,omitempty"`
}

// callDelta is a part of a call: the first one has all but arguments, the next
// ones have only these.
type callDelta struct {
	Index    int          `json:"index"`
	ID       string       `json:"id,omitempty"`
	Type     string       `json:"type,omitempty"`
	Function functionPart `json:"function"`
}

type functionPart struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"`
}

type chatReply struct {
	Role    string          `json:"role"`
	Content *string         `json:"content"`
	Refusal *string         `json:"refusal"`
	Calls   []chat.ToolCall `json:"tool_calls,omitempty"`
}

func (c *chatShape) delta(i int, d chatDelta, ps []core.TokenLogprobs) any {
	x := chatChoice{Index: i, Delta: &d}
	if c.probs && len(ps) > 0 {
		x.LogProbs = c.codec.chatProbs(ps)
	}
	return c.event(x)
}

func (c *chatShape) first(i int) []any {
	empty := ""
	return []any{c.delta(i, chatDelta{Role: "assistant", Content: &empty}, nil)}
}

func (c *chatShape) pieces(i int, d delta) (out []any) {
	if d.text != "" || len(d.calls) == 0 {
		out = append(out, c.delta(i, chatDelta{Content: &d.text}, d.probs))
		d.probs = nil
	}
	for _, part := range d.calls {
		if part.begins {
			c.calls[i]++
		}
		call := callDelta{Index: c.calls[i] - 1, Function: functionPart{part.name, part.arguments}}
		if part.begins {
			call.ID, call.Type = c.callID(i, call.Index, part.id), "function"
		}
		out = append(out, c.delta(i, chatDelta{Calls: []callDelta{call}}, d.probs))
		d.probs = nil
	}
	return out
}

// callID names call n of choice i, unless the model did.
func (c *chatShape) callID(i, n int, own string) string {
	if own != "" {
		return own
	}
	return chat.CallID(c.ids[i].String(), n)
}

func (c *chatShape) last(i int, x *choice, u *usageObject, s *settlement) []any {
	finish := x.finish()
	return []any{c.settled(u, s, chatChoice{Index: i, Delta: &chatDelta{}, Finish: &finish})}
}

func (c *chatShape) whole(all []*choice, u *usageObject, s *settlement) any {
	var cs []chatChoice
	for i, x := range all {
		reply := &chatReply{Role: "assistant", Calls: x.all.whole()}
		for n := range reply.Calls {
			reply.Calls[n].ID = c.callID(i, n, reply.Calls[n].ID)
		}
		if x.all.text != "" || len(reply.Calls) == 0 {
			reply.Content = &x.all.text
		}
		finish := x.finish()
		one := chatChoice{Index: i, Message: reply, Finish: &finish}
		if c.probs {
			one.LogProbs = c.codec.chatProbs(x.all.probs)
		}
		cs = append(cs, one)
	}
	return c.settled(u, s, cs...)
}

// textShape renders plain completions.
type textShape struct {
	frame[textChoice]
	codec  *Codec
	probs  bool
	echoes []string    // what each choice begins with, where asked for
	at     map[int]int // characters of each choice so far
}

type textChoice struct {
	Index    int        `json:"index"`
	Text     string     `json:"text"`
	LogProbs *textProbs `json:"logprobs"`
	Finish   *string    `json:"finish_reason"`
}

func (t *textShape) choice(i int, d delta) textChoice {
	c := textChoice{Index: i, Text: d.text}
	if t.probs {
		at := t.at[i]
		c.LogProbs = t.codec.textProbs(d.probs, &at)
		t.at[i] = at
	}
	return c
}

func (t *textShape) first(i int) []any {
	if len(t.echoes) == 0 {
		return nil
	}
	return []any{t.event(textChoice{Index: i, Text: t.echoes[i]})}
}

func (t *textShape) pieces(i int, d delta) []any { return []any{t.event(t.choice(i, d))} }

func (t *textShape) last(i int, x *choice, u *usageObject, s *settlement) []any {
	finish := x.finish()
	return []any{t.settled(u, s, textChoice{Index: i, Finish: &finish})}
}

func (t *textShape) whole(all []*choice, u *usageObject, s *settlement) any {
	var cs []textChoice
	for i, x := range all {
		c := t.choice(i, x.all)
		if len(t.echoes) > 0 {
			c.Text = t.echoes[i] + c.Text
		}
		finish := x.finish()
		c.Finish = &finish
		cs = append(cs, c)
	}
	return t.settled(u, s, cs...)
}
