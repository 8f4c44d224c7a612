package gateway

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/middleware/apikey"
)

type callerKey struct{}

// callerOf is who pays for a call: the bearer of a key, or nil for the owner.
func callerOf(ctx context.Context) *apikey.Bearer {
	b, _ := ctx.Value(callerKey{}).(*apikey.Bearer)
	return b
}

// shown is the key that a request brings, in the way of any of the APIs.
func shown(r *http.Request) string {
	if k := r.Header.Get("X-Api-Key"); k != "" {
		return k
	}
	if kind, k, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(kind, "Bearer") {
		return strings.TrimSpace(k)
	}
	return ""
}

// closed reports whether calls need a key: on an address that others reach, and
// wherever a key was ever made.
func (g *Gateway) closed() bool { return g.cfg.NeedKey || g.cfg.Keys != nil && g.cfg.Keys.Used() }

// admitted lets callers in by their keys. Where none are needed, whatever a client
// sends that insists on a key is no key of ours, and the owner pays; what looks
// like one of ours is never taken for that.
func (g *Gateway) admitted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := shown(r)
		if r.URL.Path == "/healthz" || !g.closed() && !strings.HasPrefix(key, apikey.Prefix) {
			h.ServeHTTP(w, r)
			return
		}
		d := dialectOf(r.URL.Path)
		if key == "" || g.cfg.Keys == nil {
			d.refuse(w, &core.Error{Code: core.CodeUnauthorized, Message: "this gateway needs an API key", Next: "send one as a bearer token or x-api-key; its owner makes them: koinon key create"})
			return
		}
		b, err := g.cfg.Keys.Admit(key)
		if err != nil {
			d.refuse(w, err)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, b)))
	})
}

// Owned guards what is the owner's alone: where calls need keys, it is shown on
// this machine only, and not by way of a proxy that says that it is one.
func (g *Gateway) Owned(h http.Handler) http.Handler {
	return g.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.closed() && !local(r) {
			refuse(w, r, "this page is the owner's", "open it on the gateway's machine by 127.0.0.1, or through ssh -L")
			return
		}
		h.ServeHTTP(w, r)
	}))
}

func local(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	ip := net.ParseIP(hostOnly(r.RemoteAddr))
	host := hostOnly(r.Host)
	called := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() && (host == "localhost" || called != nil && called.IsLoopback())
}

// showKey tells a bearer what the key may do and has done.
func (g *Gateway) showKey(w http.ResponseWriter, r *http.Request) {
	b := callerOf(r.Context())
	if b == nil {
		writeError(w, &core.Error{Code: core.CodeNotFound, Message: "the call shows no key of this gateway's", Next: "send it as a bearer token or x-api-key"})
		return
	}
	s, err := b.Statement()
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, s)
}
