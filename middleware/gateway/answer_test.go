package gateway

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
	"github.com/koinon-network/koinon/infra/verify"
)

// world is a network small enough to script: providers that answer the
// alphabet, each with its own misbehaviour.
type world struct {
	t         *testing.T
	mu        sync.Mutex
	providers []core.Provider
	behave    map[core.Address]behaviour
	paid      map[core.Address]core.Amount
	wallet    core.Amount
	reserved  int
	requests  []core.SignedRequest
	archive   []core.Evidence
	template  string // of the model; the last message alone when empty
}

type behaviour struct {
	text      string // answerText when empty
	refuse    *core.Error
	dieAfter  int // tokens; 0 = never
	tokenTime time.Duration
}

const answerText = "abcdefghijklmnopqrst"

var testModel = core.Manifest{ID: core.Hash{7}, Name: "toy", Context: 64, Semantics: 1}

func newWorld(t *testing.T, bs ...behaviour) *world {
	w := &world{t: t, behave: map[core.Address]behaviour{}, paid: map[core.Address]core.Amount{}, wallet: core.NewAmount(1 << 40)}
	for i, b := range bs {
		a := core.Address{byte(i + 1)}
		w.providers = append(w.providers, core.Provider{Address: a, Moniker: fmt.Sprintf("p%d", i+1), Addrs: []string{"/x"},
			Offers: []core.Offer{{Model: testModel.ID, Tier: core.TierExact, PriceIn: core.NewAmount(uint64(10 + i)), PriceOut: core.NewAmount(uint64(100 + i)), Slots: 4}}})
		w.behave[a] = b
	}
	return w
}

func (w *world) Status(context.Context) (core.ChainStatus, error) { return core.ChainStatus{}, nil }
func (w *world) Balance(context.Context, core.Address) (core.Amount, error) {
	return core.Amount{}, nil
}
func (w *world) Manifests(context.Context) ([]core.Manifest, error) {
	return []core.Manifest{testModel}, nil
}
func (w *world) Providers(context.Context) ([]core.Provider, error) { return w.providers, nil }
func (w *world) Channel(context.Context, core.ChannelID) (core.Channel, error) {
	return core.Channel{}, nil
}
func (w *world) Channels(context.Context, core.Address) ([]core.Channel, error) { return nil, nil }
func (w *world) Batches(context.Context, core.Address, int) ([]core.ReceiptBatch, error) {
	return nil, nil
}

func (w *world) Address() core.Address                  { return core.Address{99} }
func (w *world) Sign(core.Hash) (core.Signature, error) { return core.Signature{}, nil }
func (w *world) Put(e core.Evidence) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.archive = append(w.archive, e)
	return nil
}
func (w *world) Get(id core.Hash) (core.Evidence, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.archive, func(e core.Evidence) bool { return e.Request.ID == id || e.Receipt.Digest() == id })
	if i < 0 {
		return core.Evidence{}, verify.ErrUnknown
	}
	return w.archive[i], nil
}
func (w *world) List(int, int) ([]verify.Summary, error) { return nil, nil }

type worldPayment struct {
	w    *world
	to   core.Address
	paid core.Amount
}

func (w *world) Reserve(_ context.Context, p core.Address, need core.Amount) (Payment, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if need.Cmp(w.wallet) > 0 {
		return nil, &core.Error{Code: core.CodeUnpaid, Message: "the wallet holds too little", Next: "koinon wallet fund"}
	}
	w.reserved++
	return &worldPayment{w: w, to: p}, nil
}
func (p *worldPayment) Channel() core.Channel { return core.Channel{ID: core.Hash{1}} }
func (p *worldPayment) Pay(_ context.Context, due core.Amount) (core.Voucher, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	d, ok := due.Sub(p.paid)
	if !ok {
		p.w.t.Error("a payment shrank")
	}
	p.paid = due
	p.w.paid[p.to] = p.w.paid[p.to].Add(d)
	return core.Voucher{Amount: due}, nil
}
func (p *worldPayment) Left() core.Amount              { return core.NewAmount(1 << 40).Less(p.paid) }
func (p *worldPayment) Latest() (*core.Voucher, error) { return nil, nil }
func (p *worldPayment) PayArrears(context.Context, core.Amount) (core.Voucher, error) {
	return core.Voucher{}, core.Errorf(core.CodeUnpaid, "no arrears here")
}
func (p *worldPayment) Abandon() { p.Release() }
func (p *worldPayment) Release() { p.w.mu.Lock(); p.w.reserved--; p.w.mu.Unlock() }

func (w *world) Infer(_ context.Context, p core.Provider, r core.SignedRequest, _ core.Hash) (core.Exchange, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r)
	b := w.behave[p.Address]
	if b.text == "" {
		b.text = answerText
	}
	if b.refuse != nil {
		return nil, b.refuse
	}
	x := &worldExchange{w: w, b: b, p: p, r: r, cancelled: make(chan struct{})}
	x.all = append(x.all, r.Input[r.Prompt:]...)
	return x, nil
}

type worldExchange struct {
	w         *world
	b         behaviour
	p         core.Provider
	r         core.SignedRequest
	all       []core.Token
	own       int
	ended     bool
	cancelled chan struct{}
	once      sync.Once
}

func (x *worldExchange) Pay(core.Voucher) error { return nil }
func (x *worldExchange) Cancel() error          { x.once.Do(func() { close(x.cancelled) }); return nil }
func (x *worldExchange) Close() error           { return nil }

func (x *worldExchange) Recv(ctx context.Context) (core.Event, error) {
	if x.ended {
		return nil, io.EOF
	}
	finish := core.FinishReason("")
	if x.r.Pooling != "" {
		x.ended = true
		u := core.Usage{Input: x.r.Prompt}
		rc := core.SignedReceipt{Receipt: core.Receipt{Request: x.r.ID, Provider: x.p.Address}}
		return &core.Done{Finish: core.FinishStop, Usage: u, Receipt: rc, Due: u.Cost(x.r.PriceIn, x.r.PriceOut), Embedding: core.EncodeVector(vectorOf(x.r.Input))}, nil
	}
	select {
	case <-x.cancelled:
		finish = core.FinishCancelled
	default:
		select {
		case <-time.After(x.b.tokenTime):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if x.b.dieAfter > 0 && x.own >= x.b.dieAfter {
		return nil, core.Errorf(core.CodeProvider, "%s is gone", x.p.Moniker)
	}
	n := len(x.all)
	switch {
	case finish != "":
	case n == len(x.b.text):
		finish = core.FinishStop
	case n == int(x.r.Sampler.MaxTokens):
		finish = core.FinishLength
	}
	u := core.Usage{Output: uint32(x.own)}
	if finish != "" {
		x.ended = true
		u.Input = x.r.Prompt
		rc := core.SignedReceipt{Receipt: core.Receipt{Request: x.r.ID, Provider: x.p.Address, Output: u.Output}}
		return &core.Done{Finish: finish, Usage: u, Receipt: rc, Due: u.Cost(x.r.PriceIn, x.r.PriceOut)}, nil
	}
	t := core.Token(x.b.text[n])
	x.all = append(x.all, t)
	x.own++
	u.Output++
	var probs []core.TokenLogprobs
	if k := x.r.Sampler.Logprobs; k > 0 {
		l := core.TokenLogprobs{{Token: t, Value: -100_000 * int32(n)}}
		for i := range int(k) - 1 {
			l = append(l, core.Logprob{Token: core.Token('A' + i), Value: -5_000_000})
		}
		probs = append(probs, l)
	}
	return &core.Chunk{Tokens: []core.Token{t}, Logprobs: probs, Due: u.Cost(x.r.PriceIn, x.r.PriceOut),
		Progress: core.Progress{ID: x.r.ID, Provider: x.p.Address, Count: uint32(len(x.all)), Tokens: core.TokenChain(core.Hash{}, x.all)}}, nil
}

// vectorOf is a vector of three numbers that depends on the input.
func vectorOf(in []core.Token) []float32 {
	if len(in)%2 == 0 {
		return []float32{0.6, 0, 0.8}
	}
	return []float32{0, 0.6, -0.8}
}

// byteCodec has a token per byte and a template that is the last message.
func byteCodec(t testing.TB) *Codec { return codecOf(t, "{{ messages[-1].content }}") }

// wholeTalk is a template that shows every turn.
const wholeTalk = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"

func codecOf(t testing.TB, template string) *Codec {
	v, err := token.TrainBPE("", 257, []string{"<end>"})
	if err != nil {
		t.Fatal(err)
	}
	var m gguf.Metadata
	if err := v.Describe(&m, "", "<end>"); err != nil {
		t.Fatal(err)
	}
	m.Set("tokenizer.chat_template", template)
	c, err := NewCodec(m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) gateway() *Gateway {
	return New(Config{Chain: w, Dialer: w, Signer: w, Purse: w, Archive: w, Hosts: []string{"127.0.0.1"}, PayTokens: 3,
		Codec: func(context.Context, core.Manifest) (*Codec, error) {
			return codecOf(w.t, cmp.Or(w.template, "{{ messages[-1].content }}")), nil
		}})
}

func (w *world) post(t *testing.T, g *Gateway, path, body string) *http.Response {
	t.Helper()
	s := httptest.NewServer(g.Handler())
	t.Cleanup(s.Close)
	resp, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

const hello = `{"model":"toy","messages":[{"role":"user","content":"hello"}]%s}`

func ask(extra string) string { return fmt.Sprintf(hello, extra) }

func body(t *testing.T, r *http.Response) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWholeAnswer(t *testing.T) {
	w := newWorld(t, behaviour{})
	resp := w.post(t, w.gateway(), "/v1/chat/completions", ask(""))
	b := body(t, resp)
	if resp.StatusCode != 200 {
		t.Fatal(b)
	}
	choice := b["choices"].([]any)[0].(map[string]any)
	if got := choice["message"].(map[string]any)["content"]; got != answerText {
		t.Errorf("content %q", got)
	}
	if choice["finish_reason"] != "stop" {
		t.Errorf("finish %v", choice["finish_reason"])
	}
	u := b["usage"].(map[string]any)
	if u["prompt_tokens"] != 5.0 || u["completion_tokens"] != 20.0 || u["total_tokens"] != 25.0 {
		t.Errorf("usage %v", u)
	}
	if got := w.paid[core.Address{1}].String(); got != "2050" {
		t.Errorf("paid %s, want 5*10 + 20*100", got)
	}
	if got := b["koinon"].(map[string]any)["cost"]; got != "2050" {
		t.Errorf("cost %v", got)
	}
	if got := b["koinon"].(map[string]any)["channel_left"]; got != fmt.Sprint(1<<40-2050) {
		t.Errorf("left %v", got)
	}
	for _, h := range []string{"X-Koinon-Cost", "X-Koinon-Channel-Left", "X-Koinon-Provider", "X-Koinon-Price", "X-Koinon-Receipt", "X-Request-Id"} {
		if resp.Header.Get(h) == "" {
			t.Errorf("header %s is missing", h)
		}
	}
	if w.reserved != 0 || len(w.archive) != 1 {
		t.Errorf("%d reservations left, %d receipts", w.reserved, len(w.archive))
	}
}

// events reads a stream to its end.
func events(t *testing.T, r io.Reader) (text string, last map[string]any, done bool) {
	t.Helper()
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			return text, last, true
		}
		last = nil
		if err := json.Unmarshal([]byte(data), &last); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if cs, _ := last["choices"].([]any); len(cs) > 0 {
			c := cs[0].(map[string]any)
			if d, ok := c["delta"].(map[string]any); ok {
				s, _ := d["content"].(string)
				text += s
			}
		}
	}
	return text, last, false
}

func TestStreamedAnswer(t *testing.T) {
	w := newWorld(t, behaviour{})
	resp := w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"stream":true`))
	text, last, done := events(t, resp.Body)
	if text != answerText || !done {
		t.Fatalf("%q done=%v", text, done)
	}
	if last["usage"] == nil || last["koinon"] == nil || len(last["choices"].([]any)) != 1 {
		t.Errorf("the last chunk lacks usage or price: %v", last)
	}
	id, err := core.ParseHash(resp.Header.Get("X-Koinon-Receipt"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.gateway().Evidence(id); err != nil {
		t.Errorf("the header's receipt is not found: %v", err)
	}
	resp = w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"stream":true,"stream_options":{"include_usage":true}`))
	if _, last, _ = events(t, resp.Body); len(last["choices"].([]any)) != 0 || last["usage"] == nil {
		t.Errorf("include_usage wants an event without choices: %v", last)
	}
}

// A provider that dies in mid-stream is replaced: the text is whole, every
// output token is paid once to whoever delivered it, the prompt once to the one
// that finished.
func TestFailover(t *testing.T) {
	for die := range len(answerText) {
		for second := range 8 {
			w := newWorld(t, behaviour{dieAfter: die + 1}, behaviour{dieAfter: second}, behaviour{})
			resp := w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"stream":true`))
			text, last, done := events(t, resp.Body)
			if text != answerText || !done {
				t.Fatalf("died after %d and %d: %q done=%v %v", die+1, second, text, done, last)
			}
			u := last["usage"].(map[string]any)
			if u["prompt_tokens"] != 5.0 || u["completion_tokens"] != 20.0 {
				t.Fatalf("usage %v", u)
			}
			var out, total uint64
			for i, p := range w.providers {
				paid := w.paid[p.Address].Big().Uint64()
				total += paid
				price := uint64(100 + i)
				if n := paid / price; n > 0 {
					out += n
				}
				_ = price
			}
			if got := last["koinon"].(map[string]any)["cost"]; got != fmt.Sprint(total) {
				t.Fatalf("cost says %v, paid %d", got, total)
			}
			if out > 20 {
				t.Fatalf("%d output tokens paid", out)
			}
			for _, r := range w.requests[1:] {
				if n := len(r.Input) - int(r.Prompt); n > 0 && (r.Resume == nil || int(r.Resume.Count) != n || r.Resume.Tokens != core.TokenChain(core.Hash{}, r.Input[r.Prompt:])) {
					t.Fatalf("a continuation without proof: %+v", r.Resume)
				}
			}
			id, _ := core.ParseHash(resp.Header.Get("X-Koinon-Receipt"))
			if _, err := w.gateway().Evidence(id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	busy := &core.Error{Code: core.CodeBusy, Message: "queue full", RetryAfter: 3 * time.Second}
	for _, c := range []struct {
		name   string
		w      *world
		body   string
		status int
		code   string
	}{
		{"unknown model", newWorld(t, behaviour{}), `{"model":"nope","messages":[{"role":"user","content":"x"}]}`, 404, "model_not_found"},
		{"nobody", newWorld(t), ask(""), 503, "no_provider"},
		{"all busy", newWorld(t, behaviour{refuse: busy}, behaviour{refuse: busy}), ask(""), 429, "overloaded"},
		{"busy or dead", newWorld(t, behaviour{refuse: busy}, behaviour{refuse: core.Errorf(core.CodeProvider, "gone")}), ask(""), 429, "overloaded"},
		{"all dead", newWorld(t, behaviour{dieAfter: 1}, behaviour{refuse: core.Errorf(core.CodeProvider, "gone")}), ask(""), 502, "provider_failed"},
		{"refused as if it were ours", newWorld(t, behaviour{refuse: core.Errorf(core.CodeInvalid, "I do not like it")}), ask(""), 502, "provider_failed"},
		{"a provider's own idea of the channel", newWorld(t, behaviour{refuse: core.Errorf(core.CodeUnpaid, "not enough")}), ask(""), 502, "provider_failed"},
		{"too long", newWorld(t, behaviour{}), fmt.Sprintf(hello, "")[:0] + strings.Replace(ask(""), "hello", strings.Repeat("x", 64), 1), 400, "context_length_exceeded"},
		{"poor", func() *world { w := newWorld(t, behaviour{}); w.wallet = core.NewAmount(5); return w }(), ask(""), 402, "insufficient_funds"},
	} {
		resp := c.w.post(t, c.w.gateway(), "/v1/chat/completions", c.body)
		b := body(t, resp)
		e, _ := b["error"].(map[string]any)
		if resp.StatusCode != c.status || e["code"] != c.code || e["message"] == "" {
			t.Errorf("%s: %d %v", c.name, resp.StatusCode, b)
		}
		if c.status == 429 && resp.Header.Get("Retry-After") != "3" {
			t.Errorf("%s: Retry-After %q", c.name, resp.Header.Get("Retry-After"))
		}
		if c.status == 404 && !strings.Contains(fmt.Sprint(e["message"]), "toy") {
			t.Errorf("the list of models is missing: %v", e)
		}
		if c.code == "context_length_exceeded" && (!strings.Contains(fmt.Sprint(e["message"]), "64 tokens, the context") || strings.Count(fmt.Sprint(e["message"]), "64") != 2) {
			t.Errorf("the error does not say both lengths: %v", e)
		}
		if c.w.reserved != 0 {
			t.Errorf("%s: %d reservations left", c.name, c.w.reserved)
		}
	}
}

func TestBusyProviderIsPassedOver(t *testing.T) {
	w := newWorld(t, behaviour{refuse: &core.Error{Code: core.CodeBusy, Message: "full"}}, behaviour{})
	resp := w.post(t, w.gateway(), "/v1/completions", `{"model":"toy","prompt":"hi","max_tokens":4}`)
	b := body(t, resp)
	c := b["choices"].([]any)[0].(map[string]any)
	if c["text"] != answerText[:4] || c["finish_reason"] != "length" {
		t.Fatal(b)
	}
}

// A client that goes away stops the work; it pays for what was delivered.
func TestClientGone(t *testing.T) {
	w := newWorld(t, behaviour{tokenTime: 5 * time.Millisecond})
	g := w.gateway()
	settled, stop := g.Watch()
	defer stop()
	s := httptest.NewServer(g.Handler())
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(ask(`,"stream":true`)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 300)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case e := <-settled:
		if e.Finish != "cancelled" || e.Usage.Output == 0 || e.Usage.Output >= 20 {
			t.Errorf("%+v", e)
		}
		want := e.Usage.Cost(core.NewAmount(10), core.NewAmount(100))
		if w.paid[core.Address{1}].Cmp(want) != 0 || e.Cost.Cmp(want) != 0 {
			t.Errorf("paid %s, cost %s, want %s", w.paid[core.Address{1}], e.Cost, want)
		}
		if len(w.archive) != 1 || uint32(len(w.archive[0].Output)) != e.Usage.Output {
			t.Errorf("the receipt of the cancelled answer is missing or incomplete")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the request did not settle")
	}
}

func TestForeignPages(t *testing.T) {
	w := newWorld(t, behaviour{})
	h := w.gateway().Handler()
	for _, c := range []struct {
		host, origin string
		status       int
	}{{"127.0.0.1:8080", "", 200}, {"127.0.0.1:8080", "http://127.0.0.1:8080", 200}, {"evil.example", "", 403}, {"127.0.0.1:8080", "http://evil.example", 403}, {"127.0.0.1:8080", "null", 403}} {
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader([]byte(ask(""))))
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != c.status {
			t.Errorf("host %s origin %s: %d, want %d", c.host, c.origin, rec.Code, c.status)
		}
	}
}
