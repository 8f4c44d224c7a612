package gateway

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// An answer is of the tier that its client named, or there is none.
func TestTiersAreNeverMixed(t *testing.T) {
	w := newWorld(t, behaviour{}, behaviour{})
	w.providers[0].Offers[0].Tier = core.TierStatistical // the cheaper one
	g := w.gateway()
	statistical := strings.Replace(ask(""), `"toy"`, `"toy:statistical"`, 1)
	for _, c := range []struct {
		body      string
		by        core.Address
		tier      string
		model     string
		semantics uint32
	}{
		{ask(""), core.Address{2}, "exact", "toy", core.SemanticsV1},
		{statistical, core.Address{1}, "statistical", "toy:statistical", core.SemanticsV1 | core.OptionStatistical},
	} {
		resp := w.post(t, g, "/v1/chat/completions", c.body)
		b := body(t, resp)
		r := w.requests[len(w.requests)-1]
		if resp.StatusCode != 200 || resp.Header.Get("X-Koinon-Tier") != c.tier || b["model"] != c.model || r.Provider != c.by || r.Semantics != c.semantics {
			t.Errorf("%s: %d, tier %s, model %v, by %v under semantics %d", c.model, resp.StatusCode, resp.Header.Get("X-Koinon-Tier"), b["model"], r.Provider, r.Semantics)
		}
	}
	list := body(t, get(t, g, "/v1/models"))["data"].([]any)
	var names []string
	for _, m := range list {
		names = append(names, m.(map[string]any)["id"].(string))
	}
	if !slices.Equal(names, []string{"toy", "toy:statistical"}) {
		t.Errorf("models are %v", names)
	}

	resp := w.post(t, g, "/v1/chat/completions", strings.Replace(statistical, "]", `],"frequency_penalty":1`, 1))
	if b := body(t, resp); resp.StatusCode != 400 || !strings.Contains(b["error"].(map[string]any)["message"].(string), "statistical tier") {
		t.Errorf("a penalty: %d %v", resp.StatusCode, b)
	}

	// Without an exact provider an exact order fails, and says what there is.
	asked := len(w.requests)
	w.providers = w.providers[:1]
	resp = w.post(t, g, "/v1/chat/completions", ask(""))
	if b := body(t, resp); resp.StatusCode != 503 || len(w.requests) != asked || !strings.Contains(b["error"].(map[string]any)["message"].(string), "exact") {
		t.Errorf("without an exact provider: %d %v", resp.StatusCode, b)
	}
	g.Shun(core.Address{1}, testModel.ID, core.TierStatistical)
	if resp = w.post(t, g, "/v1/chat/completions", statistical); resp.StatusCode != 503 || len(w.requests) != asked {
		t.Errorf("a shunned provider: %d", resp.StatusCode)
	}
}

func get(t *testing.T, g *Gateway, path string) *http.Response {
	t.Helper()
	s := httptest.NewServer(g.Handler())
	t.Cleanup(s.Close)
	resp, err := http.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
