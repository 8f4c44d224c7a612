package gateway

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/koinon-network/koinon/core"
)

// Three providers, p1 the cheapest: who answers follows the caller's wishes.
func TestProviderPreferences(t *testing.T) {
	for _, c := range []struct{ prefer, who string }{
		{`{}`, "p1"},
		{`{"order":["p3","p2"]}`, "p3"},
		{`{"order":["nobody","p2"]}`, "p2"},
		{`{"only":["p2","p3"]}`, "p2"},
		{`{"ignore":["p1","p2"]}`, "p3"},
		{`{"ignore":["0x0100000000000000000000000000000000000000"]}`, "p2"},
		{`{"sort":"price"}`, "p1"},
		{`{"max_price":{"completion":"101000000akoin"},"order":["p3","p2"]}`, "p2"},
		{`{"max_price":{"prompt":0.00000000001}}`, "p1"},
		{`{"tier":"exact"}`, "p1"},
		{`{"allow_fallbacks":false,"order":["p2"]}`, "p2"},
		{`{"require_parameters":true,"data_collection":"allow","zdr":false}`, "p1"},
		{`{"only":["nobody"]}`, "provider"},
		{`{"max_price":{"completion":"1akoin"}}`, "provider"},
		{`{"allow_fallbacks":false,"order":["nobody"]}`, "provider"},
		{`{"sort":"beauty"}`, "provider.sort"},
		{`{"max_price":{"request":1}}`, "provider.max_price.request"},
		{`{"max_price":{"prompt":"much"}}`, "provider.max_price"},
		{`{"tier":"holy"}`, "provider.tier"},
		{`{"zdr":true}`, "provider.zdr"},
		{`{"colour":"red"}`, "provider.colour"},
		{`{"order":"p1"}`, "provider.order"},
	} {
		w := newWorld(t, behaviour{}, behaviour{}, behaviour{})
		for path, q := range map[string]string{"/v1/chat/completions": ask(`,"provider":` + c.prefer), "/v1/completions": `{"model":"toy","prompt":"x","provider":` + c.prefer + `}`,
			"/v1/embeddings": `{"model":"toy","input":"x","provider":` + c.prefer + `}`, "/v1/responses": `{"model":"toy","input":"x","provider":` + c.prefer + `}`,
			"/v1/messages": `{"model":"toy","max_tokens":9,"messages":[{"role":"user","content":"x"}],"provider":` + c.prefer + `}`} {
			resp := w.post(t, w.gateway(), path, q)
			b := body(t, resp)
			if strings.HasPrefix(c.who, "p") && len(c.who) == 2 {
				if at(b, "koinon", "moniker") != c.who || resp.Header.Get("X-Koinon-Provider-Name") != c.who {
					t.Errorf("%s %s: answered by %v", path, c.prefer, at(b, "koinon", "moniker"))
				}
			} else if at(b, "error", "param") != c.who {
				t.Errorf("%s %s: %v", path, c.prefer, b)
			}
		}
	}
}

func TestFallbacks(t *testing.T) {
	gone := behaviour{refuse: core.Errorf(core.CodeProvider, "gone")}
	w := newWorld(t, gone, behaviour{})
	if b := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"provider":{"order":["p1"]}`))); at(b, "koinon", "moniker") != "p2" {
		t.Error(b)
	}
	for _, strict := range []string{`{"order":["p1"],"allow_fallbacks":false}`, `{"allow_fallbacks":false}`} {
		w = newWorld(t, gone, behaviour{})
		if b := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"provider":`+strict))); at(b, "error", "code") != "provider_failed" || len(w.requests) != 1 {
			t.Errorf("%s: %v after %d requests", strict, b, len(w.requests))
		}
	}
}

// several is a world whose market has more models than one.
type several struct {
	*world
	more []core.Manifest
}

func (s several) Manifests(context.Context) ([]core.Manifest, error) {
	return append([]core.Manifest{testModel}, s.more...), nil
}

// Other models are tried before the first byte, whatever was paid on the way is
// told, and the one that answers is named.
func TestModelFallbacks(t *testing.T) {
	other := core.Manifest{ID: core.Hash{8}, Name: "spare", Context: 64, Semantics: 1}
	start := func(b behaviour) (several, *Gateway) {
		w := newWorld(t, b, behaviour{})
		w.providers[1].Offers[0].Model = other.ID
		s := several{w, []core.Manifest{other}}
		return s, New(Config{Chain: s, Dialer: w, Signer: w, Purse: w, Archive: w, PayTokens: 3, Codec: func(context.Context, core.Manifest) (*Codec, error) { return byteCodec(t), nil }})
	}
	s, g := start(behaviour{dieAfter: 6})
	resp := s.post(t, g, "/v1/chat/completions", ask(`,"models":["toy","nope","spare"]`))
	b := body(t, resp)
	if b["model"] != "spare" || resp.Header.Get("X-Koinon-Model") != "spare" || at(b, "choices", 0, "message", "content") != answerText {
		t.Fatal(b)
	}
	total := s.paid[s.providers[0].Address].Add(s.paid[s.providers[1].Address])
	if at(b, "koinon", "cost") != total.String() || s.paid[s.providers[0].Address].IsZero() {
		t.Errorf("cost %v, paid %s", at(b, "koinon", "cost"), total)
	}
	s, g = start(behaviour{dieAfter: 6})
	raw, _ := io.ReadAll(s.post(t, g, "/v1/chat/completions", ask(`,"models":["spare"],"stream":true`)).Body)
	if strings.Contains(string(raw), "spare") || strings.Contains(string(raw), "[DONE]") || !strings.Contains(string(raw), "provider_failed") {
		t.Errorf("another model went on with an answer that had begun:\n%s", raw)
	}
	s, g = start(behaviour{refuse: core.Errorf(core.CodeProvider, "gone")})
	if text, last, done := events(t, s.post(t, g, "/v1/chat/completions", ask(`,"models":["spare"],"stream":true`)).Body); text != answerText || !done || last["model"] != "spare" {
		t.Errorf("%q %v", text, last)
	}
	if b := body(t, s.post(t, g, "/v1/messages", `{"models":["toy","spare"],"max_tokens":5,"messages":[{"role":"user","content":"x"}]}`)); b["model"] != "spare" {
		t.Error(b)
	}
	if b := body(t, s.post(t, g, "/v1/embeddings", `{"models":["nope","spare"],"input":"x"}`)); b["model"] != "spare" {
		t.Error(b)
	}
	if b := body(t, s.post(t, g, "/v1/chat/completions", ask(`,"temperature":9,"models":["spare"]`))); at(b, "error", "param") != "temperature" {
		t.Error(b)
	}
}

// Whatever the wishes, who answers is somebody that they allow, and somebody
// does unless they exclude everybody.
func TestPreferencesAlwaysHold(t *testing.T) {
	names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"p1", "p2", "p3", "p4", "nobody"}), rapid.ID[string])
	rapid.Check(t, func(t *rapid.T) {
		p := &preference{Order: names.Draw(t, "order"), Only: names.Draw(t, "only"), Ignore: names.Draw(t, "ignore"), Sort: rapid.SampledFrom([]string{"", "price", "latency", "throughput"}).Draw(t, "sort")}
		var cs []candidate
		r := NewRouter()
		for i := range 4 {
			a := core.Address{byte(i + 1)}
			cs = append(cs, candidate{core.Provider{Address: a, Moniker: fmt.Sprintf("p%d", i+1)}, core.Offer{Tier: core.TierExact, PriceOut: core.NewAmount(rapid.Uint64Range(1, 9).Draw(t, "price"))}})
		}
		var allowed []candidate
		for _, c := range cs {
			if p.allows(c) {
				allowed = append(allowed, c)
			}
		}
		if len(allowed) == 0 {
			return
		}
		got := p.arrange(r.rank(allowed, 1, 1), r.Observed)
		if len(got) != len(allowed) {
			t.Fatalf("%d of %d are left", len(got), len(allowed))
		}
		best := place(p.Order, got[0].provider)
		for _, c := range got {
			if x := place(p.Order, c.provider); x >= 0 && (best < 0 || x < best) {
				t.Fatalf("%s comes before %s against the order %v", got[0].provider.Moniker, c.provider.Moniker, p.Order)
			}
			if best < 0 && p.Sort == "price" && c.offer.PriceOut.Cmp(got[0].offer.PriceOut) < 0 {
				t.Fatal("not the cheapest")
			}
		}
	})
}
