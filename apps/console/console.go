package console

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/payment"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/middleware/gateway"
)

//go:embed assets/*.js assets/*.css assets/*.svg
var assets embed.FS

// Verdict is what re-executing an answer came to.
type Verdict struct {
	Matches bool
	Text    string // one line for a person
}

// Config is what the console shows.
type Config struct {
	Gateway *gateway.Gateway
	Chain   core.Chain
	Purse   *payment.Purse
	// Verify re-executes an answer on this machine.
	Verify func(ctx context.Context, e core.Evidence) Verdict
	// Newest lists the latest receipts.
	Newest func(limit int) ([]verify.Summary, error)
	// Disputes lists the newest disputes on the chain first.
	Disputes func(ctx context.Context, limit int) ([]core.Dispute, error)
}

// Console serves the page. It is safe for concurrent use.
type Console struct {
	cfg      Config
	etag     string // of the assets
	mu       sync.Mutex
	sessions map[string]*session
}

// New returns a console.
func New(cfg Config) *Console {
	return &Console{cfg: cfg, etag: version(), sessions: map[string]*session{}}
}

func version() string {
	h := sha256.New()
	_ = fs.WalkDir(assets, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, _ := assets.ReadFile(p)
			h.Write(b)
		}
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Handler serves the page and its events.
func (c *Console) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page)
	mux.HandleFunc("GET /console/live", c.live)
	mux.HandleFunc("POST /console/chat", c.chat)
	mux.HandleFunc("POST /console/stop", c.stop)
	mux.HandleFunc("POST /console/new", c.renew)
	mux.HandleFunc("POST /console/verify/{id}", c.reexecute)
	files, _ := fs.Sub(assets, "assets") // the embedded folder is always there
	static := http.StripPrefix("/console/assets/", http.FileServerFS(files))
	mux.HandleFunc("GET /console/assets/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		static.ServeHTTP(w, r)
	})
	return secure(mux)
}

// secure forbids the page everything it does not need. Datastar evaluates the
// expressions in the page's own attributes, hence 'unsafe-eval'.
func secure(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		h.ServeHTTP(w, r)
	})
}

func (c *Console) page(w http.ResponseWriter, r *http.Request) {
	v := pageView{Session: newSessionID(), Assets: c.etag, Network: c.network(r.Context(), nil)}
	v.Models = c.served(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = page(v).Render(r.Context(), w)
}

// served names the models that somebody serves, once per tier.
func (c *Console) served(ctx context.Context) (names []string) {
	ms, err := c.cfg.Chain.Manifests(ctx)
	if err != nil {
		return nil // the page says that the chain does not answer
	}
	ps, err := c.cfg.Chain.Providers(ctx)
	if err != nil {
		return nil
	}
	for _, m := range ms {
		for _, t := range []core.Tier{core.TierExact, core.TierStatistical} {
			if slices.ContainsFunc(ps, func(p core.Provider) bool {
				return slices.ContainsFunc(p.Offers, func(o core.Offer) bool { return o.Model == m.ID && o.Tier == t })
			}) {
				names = append(names, gateway.Named(m.Name, t))
			}
		}
	}
	return names
}

// signalsOf reads the page's signals from a request; where it can't, it has
// answered the request and returns false.
func signalsOf(w http.ResponseWriter, r *http.Request) (s pageSignals, ok bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256<<10))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return s, err == nil
}

type pageSignals struct {
	Prompt  string `json:"prompt"`
	Session string `json:"session"`
	Model   string `json:"model"`
}

// reexecute checks the answer behind a receipt and shows the verdict.
func (c *Console) reexecute(w http.ResponseWriter, r *http.Request) {
	id, err := core.ParseHash(r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	at := r.URL.Query().Get("at")
	if at != "log" {
		at = "list"
	}
	s := open(w, r)
	_ = s.morph(verdictLine(at, id.String(), "working", "re-executing ..."))
	start := time.Now()
	e, err := c.cfg.Gateway.Evidence(id)
	if err != nil {
		_ = s.morph(verdictLine(at, id.String(), "bad", err.Error()))
		return
	}
	v := c.cfg.Verify(r.Context(), e)
	state := "bad"
	if v.Matches {
		state = "good"
	}
	_ = s.morph(verdictLine(at, id.String(), state, v.Text+" ("+time.Since(start).Round(time.Millisecond).String()+")"))
}
