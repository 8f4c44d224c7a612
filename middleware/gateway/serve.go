package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/verify"
)

// Handler serves the APIs:
//
//	GET  /v1/models, /v1/models/{name}
//	POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses
//	POST /v1/messages, /v1/messages/count_tokens
//	POST /api/chat, /api/generate, /api/embed, /api/show
//	GET  /api/tags, /api/ps, /api/version
//	GET  /v1/receipts, /v1/receipts/{id}
//	GET  /v1/key
//	GET  /healthz
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", g.listModels)
	mux.HandleFunc("GET /v1/models/{name...}", g.showModel)
	mux.HandleFunc("POST /v1/chat/completions", g.limited(handle(&openAI, g.chatCompletions)))
	mux.HandleFunc("POST /v1/completions", g.limited(handle(&openAI, g.completions)))
	mux.HandleFunc("POST /v1/embeddings", g.limited(handle(&embedding, g.embeddings)))
	mux.HandleFunc("POST /v1/responses", g.limited(handle(&responses, g.respond)))
	mux.HandleFunc("POST /v1/messages", g.limited(handle(&anthropic, g.messages)))
	mux.HandleFunc("POST /v1/messages/count_tokens", g.limited(handle(&anthropic, g.countTokens)))
	mux.HandleFunc("POST /api/chat", g.limited(handle(&ollama, g.ollamaChat)))
	mux.HandleFunc("POST /api/generate", g.limited(handle(&ollama, g.ollamaGenerate)))
	mux.HandleFunc("POST /api/embed", g.limited(handle(&ollama, g.ollamaEmbed)))
	mux.HandleFunc("POST /api/show", handle(&ollama, g.ollamaShow))
	mux.HandleFunc("GET /api/tags", g.ollamaTags)
	mux.HandleFunc("GET /api/ps", g.ollamaRunning)
	mux.HandleFunc("GET /api/version", g.ollamaVersion)
	mux.HandleFunc("GET /v1/receipts", g.listReceipts)
	mux.HandleFunc("GET /v1/receipts/{id}", g.showReceipt)
	mux.HandleFunc("GET /v1/key", g.showKey)
	mux.HandleFunc("GET /healthz", g.health)
	unknown := func(w http.ResponseWriter, r *http.Request) {
		e := core.Errorf(core.CodeInvalid, "%s %s is not part of this API", r.Method, r.URL.Path)
		e.Next = "docs/api.md lists what is"
		_, body := dialectOf(r.URL.Path).failure(e)
		writeJSON(w, http.StatusNotFound, body)
	}
	mux.HandleFunc("/v1/", unknown)
	mux.HandleFunc("/api/", unknown)
	return g.Guard(g.admitted(mux))
}

// Guard refuses calls under foreign host names and from foreign web pages: a
// gateway on loopback spends its owner's money for whoever reaches it.
func (g *Gateway) Guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(g.cfg.Hosts) > 0 && !slices.Contains(g.cfg.Hosts, hostOnly(r.Host)) {
			refuse(w, r, fmt.Sprintf("the host name %q is not served here", r.Host), "use "+g.cfg.Hosts[0])
			return
		}
		if o := r.Header.Get("Origin"); o != "" {
			if u, err := url.Parse(o); err != nil || !strings.EqualFold(u.Host, r.Host) {
				refuse(w, r, fmt.Sprintf("web pages of %q may not use this gateway", o), "call it from a program, or from its own console")
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, r *http.Request, cause, next string) {
	_, body := dialectOf(r.URL.Path).failure(&core.Error{Code: core.CodeUnauthorized, Message: cause, Next: next})
	writeJSON(w, http.StatusForbidden, body)
}

func hostOnly(h string) string {
	if host, _, err := net.SplitHostPort(h); err == nil {
		return host
	}
	return strings.Trim(h, "[]")
}

// limited bounds the requests in flight.
func (g *Gateway) limited(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.stats.Requests++
		g.mu.Unlock()
		select {
		case g.slots <- struct{}{}:
			defer func() { <-g.slots }()
			f(w, r)
		default:
			dialectOf(r.URL.Path).refuse(w, &core.Error{Code: core.CodeBusy, Message: "the gateway has as many requests as it takes", Next: "try again", RetryAfter: time.Second})
		}
	}
}

func (g *Gateway) health(w http.ResponseWriter, r *http.Request) {
	st, err := g.cfg.Chain.Status(r.Context())
	if err != nil {
		writeError(w, &core.Error{Code: core.CodeUnavailable, Message: "the ledger does not answer", Err: err})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "chain": st})
}

// modelObject is a model as OpenAI's clients read it, and Anthropic's.
type modelObject struct {
	ID        string      `json:"id"`
	Object    string      `json:"object"`
	Created   int64       `json:"created"`
	OwnedBy   string      `json:"owned_by"`
	Type      string      `json:"type"`
	Name      string      `json:"display_name"`
	CreatedAt string      `json:"created_at"`
	Koinon    modelMarket `json:"koinon"`
}

// modelMarket is what the market knows of a model.
type modelMarket struct {
	Root      core.ModelID `json:"root"`
	Context   uint32       `json:"context_length"`
	Providers int          `json:"providers"`
	Tier      core.Tier    `json:"tier,omitempty"`
	PriceIn   *core.Amount `json:"price_in,omitempty"`  // lowest, akoin per token
	PriceOut  *core.Amount `json:"price_out,omitempty"` // lowest, akoin per token
}

// describeModel says what a model costs on each of its tiers: the exact one
// always, another one where somebody offers it.
func (g *Gateway) describeModel(ctx context.Context, m core.Manifest) ([]modelObject, error) {
	cs, err := g.candidates(ctx, m)
	if err != nil {
		return nil, err
	}
	out := []modelObject{describeOffers(m, m.Name, ofTier(cs, core.TierExact))}
	if others := ofTier(cs, core.TierStatistical); len(others) > 0 {
		out = append(out, describeOffers(m, Named(m.Name, core.TierStatistical), others))
	}
	return out, nil
}

func describeOffers(m core.Manifest, name string, cs []candidate) modelObject {
	const created = 1767225600 // the chain keeps no date
	o := modelObject{ID: name, Object: "model", Created: created, OwnedBy: m.Publisher.String(),
		Type: "model", Name: name, CreatedAt: time.Unix(created, 0).UTC().Format(time.RFC3339), Koinon: modelMarket{Root: m.ID, Context: m.Context}}
	o.Koinon.Providers = len(cs)
	for _, c := range cs {
		if o.Koinon.PriceOut == nil || c.offer.PriceOut.Cmp(*o.Koinon.PriceOut) < 0 {
			in, out := c.offer.PriceIn, c.offer.PriceOut
			o.Koinon.PriceIn, o.Koinon.PriceOut, o.Koinon.Tier = &in, &out, c.offer.Tier
		}
	}
	return o
}

func (g *Gateway) listModels(w http.ResponseWriter, r *http.Request) {
	ms, err := g.manifests(r.Context())
	if err != nil {
		writeError(w, err)
		return
	}
	list := struct {
		Object string        `json:"object"`
		Data   []modelObject `json:"data"`
		First  *string       `json:"first_id"`
		Last   *string       `json:"last_id"`
		More   bool          `json:"has_more"`
	}{Object: "list", Data: []modelObject{}}
	for _, m := range ms {
		os, err := g.describeModel(r.Context(), m)
		if err != nil {
			writeError(w, err)
			return
		}
		list.Data = append(list.Data, os...)
	}
	if n := len(list.Data); n > 0 {
		list.First, list.Last = &list.Data[0].ID, &list.Data[n-1].ID
	}
	writeJSON(w, http.StatusOK, list)
}

func (g *Gateway) showModel(w http.ResponseWriter, r *http.Request) {
	_, o, err := g.named(r.Context(), r.PathValue("name"))
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, o)
}

// named finds a model as clients call it, and what it costs on the tier that they
// name.
func (g *Gateway) named(ctx context.Context, called string) (core.Manifest, modelObject, error) {
	name, tier := tierOf(called)
	m, err := g.model(ctx, name)
	if err != nil {
		return m, modelObject{}, err
	}
	cs, err := g.candidates(ctx, m)
	return m, describeOffers(m, Named(m.Name, tier), ofTier(cs, tier)), err
}

func (g *Gateway) manifests(ctx context.Context) ([]core.Manifest, error) {
	ms, err := g.cfg.Chain.Manifests(ctx)
	if err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "the ledger does not answer", Err: err}
	}
	who := callerOf(ctx)
	return slices.DeleteFunc(slices.Clone(ms), func(m core.Manifest) bool { return !who.Allows(m.Name) }), nil
}

// model finds a model by name or by root.
func (g *Gateway) model(ctx context.Context, name string) (core.Manifest, error) {
	ms, err := g.manifests(ctx)
	if err != nil {
		return core.Manifest{}, err
	}
	for _, m := range ms {
		if m.Name == name || m.ID.String() == name {
			return m, nil
		}
	}
	e := core.Errorf(core.CodeUnknownModel, "the model %q does not exist", clip(name, 100))
	e.Param, e.Next = "model", "use one of: "+modelList(ms)
	return core.Manifest{}, e
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// maxReceipts bounds a listing.
const maxReceipts = 200

func (g *Gateway) listReceipts(w http.ResponseWriter, r *http.Request) {
	if callerOf(r.Context()) != nil {
		writeError(w, &core.Error{Code: core.CodeNotFound, Message: "receipts of all callers are listed for the owner alone", Next: "ask for yours by the id in X-Koinon-Receipt"})
		return
	}
	limit := 20
	if q := r.URL.Query().Get("limit"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 || n > maxReceipts {
			writeError(w, invalid("limit", "limit: must be 1 to %d", maxReceipts))
			return
		}
		limit = n
	}
	rows, err := g.cfg.Archive.List(0, limit)
	if err != nil {
		writeError(w, err)
		return
	}
	if rows == nil {
		rows = []verify.Summary{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": rows})
}

// Evidence finds a receipt by its id, by the answer's id or by a request id.
func (g *Gateway) Evidence(id core.Hash) (core.Evidence, error) {
	e, err := g.cfg.Archive.Get(id)
	for n := 1; n < g.cfg.Attempts && errors.Is(err, verify.ErrUnknown); n++ {
		e, err = g.cfg.Archive.Get(attemptID(id, n))
	}
	if errors.Is(err, verify.ErrUnknown) {
		return e, &core.Error{Code: core.CodeNotFound, Message: "there is no receipt " + id.Short() + " here", Next: "GET /v1/receipts lists them"}
	}
	return e, err
}

func (g *Gateway) showReceipt(w http.ResponseWriter, r *http.Request) {
	id, err := core.ParseHash(r.PathValue("id"))
	if err != nil {
		writeError(w, invalid("id", "%v", err))
		return
	}
	e, err := g.Evidence(id)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, e)
}

// gone reports whether err only says that the client went away.
func gone(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}
