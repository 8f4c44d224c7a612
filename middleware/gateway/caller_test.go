package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/middleware/apikey"
)

// keyed is a gateway with a book of keys.
func (w *world) keyed(t *testing.T, need bool) (*Gateway, *apikey.Book) {
	t.Helper()
	b, err := apikey.Open(filepath.Join(t.TempDir(), "keys.db"), apikey.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	g := w.gateway()
	g.cfg.Keys, g.cfg.NeedKey = b, need
	return g, b
}

func (w *world) with(t *testing.T, g *Gateway, path, body string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8080"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	g.Handler().ServeHTTP(rec, r)
	resp := rec.Result()
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestWhoNeedsAKey(t *testing.T) {
	w := newWorld(t, behaviour{})
	g, book := w.keyed(t, false)
	status := func(headers ...string) int {
		return w.with(t, g, "/v1/chat/completions", ask(""), headers...).StatusCode
	}
	if status() != 200 || status("Authorization", "Bearer unused") != 200 {
		t.Error("a gateway on loopback without keys is not open")
	}
	if status("Authorization", "Bearer koinon_unknown") != 401 {
		t.Error("what looks like a key of ours is taken for the owner")
	}
	secret, k, err := book.Create(apikey.Terms{Models: []string{"toy"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range [][]string{{"Authorization", "Bearer " + secret}, {"authorization", "bearer " + secret}, {"x-api-key", secret}} {
		if status(h...) != 200 {
			t.Error(h)
		}
	}
	if status() != 401 || status("Authorization", "Bearer unused") != 401 || status("Authorization", "Basic "+secret) != 401 {
		t.Error("a gateway with keys lets others in")
	}
	for path, kind := range map[string]func(object) any{
		"/v1/chat/completions": func(b object) any { return at(b, "error", "code") }, "/v1/messages": func(b object) any { return at(b, "error", "type") }, "/api/chat": func(b object) any { return at(b, "koinon", "code") },
	} {
		b := body(t, w.with(t, g, path, `{}`))
		if got := kind(b); got != "unauthorized" && got != "authentication_error" {
			t.Errorf("%s: %v", path, b)
		}
	}
	if _, err := book.Revoke(k.ID); err != nil {
		t.Fatal(err)
	}
	if status("x-api-key", secret) != 401 || status() != 401 {
		t.Error("revoking the last key opens the gateway")
	}
	if g, _ = newWorld(t, behaviour{}).keyed(t, true); w.with(t, g, "/v1/chat/completions", ask("")).StatusCode != 401 {
		t.Error("an address that others reach is open")
	}
	r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
	r.Host = "127.0.0.1"
	rec := httptest.NewRecorder()
	if g.Handler().ServeHTTP(rec, r); rec.Code != 200 {
		t.Error("health needs a key")
	}
}

// A key pays what its answers cost, not a unit more than its budget, and can tell
// so; it sees its models and no list of others' receipts.
func TestBudgets(t *testing.T) {
	w := newWorld(t, behaviour{})
	w.providers = append(w.providers, core.Provider{Address: core.Address{9}})
	g, book := w.keyed(t, true)
	// An answer to hello with the default limit may cost 5*10 + 59*100.
	secret, k, err := book.Create(apikey.Terms{Budget: core.NewAmount(5950 + 2050), Models: []string{"toy"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		resp := w.with(t, g, "/v1/chat/completions", ask(""), "x-api-key", secret)
		b := body(t, resp)
		if want := []int{200, 200, 402}[i]; resp.StatusCode != want {
			t.Fatalf("answer %d: %d %v", i, resp.StatusCode, b)
		} else if want == 402 && (at(b, "error", "code") != "insufficient_funds" || !strings.Contains(fmt.Sprint(at(b, "error", "message")), "budget")) {
			t.Error(b)
		}
	}
	if resp := w.with(t, g, "/v1/chat/completions", ask(`,"max_tokens":3`), "x-api-key", secret); resp.StatusCode != 200 {
		t.Error("what fits is refused:", body(t, resp))
	}
	s, err := book.Statement(k.ID)
	if err != nil || s.Spent.Cmp(w.paid[core.Address{1}]) != 0 || s.Spent.String() != "4450" || !s.Held.IsZero() || s.Lines[0].Output != 43 || s.Lines[0].Requests != 4 {
		t.Errorf("%+v, paid %s, %v", s, w.paid[core.Address{1}], err)
	}
	get := func(path string) (int, object) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "127.0.0.1"
		r.Header.Set("Authorization", "Bearer "+secret)
		rec := httptest.NewRecorder()
		g.Handler().ServeHTTP(rec, r)
		var b object
		if err := json.Unmarshal(rec.Body.Bytes(), &b); err != nil {
			t.Fatal(err)
		}
		return rec.Code, b
	}
	if code, b := get("/v1/key"); code != 200 || b["spent"] != "4450" || b["id"] != k.ID {
		t.Error(code, b)
	}
	if code, b := get("/v1/receipts"); code != 404 {
		t.Error(code, b)
	}
	if code, b := get("/v1/models"); code != 200 || len(b["data"].([]any)) != 1 {
		t.Error(code, b)
	}
	other, _, err := book.Create(apikey.Terms{Models: []string{"another"}})
	if err != nil {
		t.Fatal(err)
	}
	if b := body(t, w.with(t, g, "/v1/chat/completions", ask(""), "x-api-key", other)); at(b, "error", "code") != "model_not_found" {
		t.Error(b)
	}
}

// Many answers at once on one key: together they never cost more than it has.
func TestConcurrentAnswersStayInBudget(t *testing.T) {
	w := newWorld(t, behaviour{tokenTime: time.Millisecond}, behaviour{tokenTime: time.Millisecond, dieAfter: 7})
	g, book := w.keyed(t, true)
	const budget = 13_000
	secret, k, err := book.Create(apikey.Terms{Budget: core.NewAmount(budget)})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 24 {
		group.Go(func() {
			resp := w.with(t, g, "/v1/chat/completions", ask(fmt.Sprintf(`,"stream":true,"max_tokens":%d`, 5+i)), "x-api-key", secret)
			_, _ = io.ReadAll(resp.Body)
		})
	}
	group.Wait()
	var paid core.Amount
	for _, a := range w.paid {
		paid = paid.Add(a)
	}
	s, err := book.Statement(k.ID)
	if err != nil || s.Spent.Cmp(paid) != 0 || paid.Cmp(core.NewAmount(budget)) > 0 || paid.IsZero() || !s.Held.IsZero() {
		t.Errorf("paid %s of %d, the book says %s, held %s, %v", paid, budget, s.Spent, s.Held, err)
	}
}

// A key that is revoked ends the answer under way, which is paid so far.
func TestRevokedWhileAnswering(t *testing.T) {
	w := newWorld(t, behaviour{tokenTime: 20 * time.Millisecond})
	g, book := w.keyed(t, true)
	secret, k, err := book.Create(apikey.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _, _ = book.Revoke(k.ID) })
	raw, _ := io.ReadAll(w.with(t, g, "/v1/chat/completions", ask(`,"stream":true`), "x-api-key", secret).Body)
	s, err := book.Statement(k.ID)
	if !strings.Contains(string(raw), `"code":"unauthorized"`) || strings.Contains(string(raw), "[DONE]") || s.Spent.IsZero() || s.Spent.Cmp(w.paid[core.Address{1}]) != 0 || err != nil {
		t.Errorf("%s\nspent %s, paid %s, %v", raw, s.Spent, w.paid[core.Address{1}], err)
	}
}

func TestOwnersPages(t *testing.T) {
	w := newWorld(t, behaviour{})
	g, _ := w.keyed(t, true)
	h := g.Owned(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	g.cfg.Hosts = nil
	for _, c := range []struct {
		remote, host, proxy string
		status              int
	}{{"127.0.0.1:5", "127.0.0.1:8080", "", 200}, {"[::1]:5", "localhost:8080", "", 200}, {"10.0.0.9:5", "127.0.0.1:8080", "", 403}, {"127.0.0.1:5", "ai.example", "", 403}, {"127.0.0.1:5", "127.0.0.1:8080", "10.0.0.9", 403}} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host = c.remote, c.host
		if c.proxy != "" {
			r.Header.Set("X-Forwarded-For", c.proxy)
		}
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, r); rec.Code != c.status {
			t.Errorf("%+v: %d", c, rec.Code)
		}
	}
}
