package apikey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Owner is what a gateway's owner does with keys; a [Book] does it, and so does a
// [Client] of a gateway that runs.
type Owner interface {
	Create(t Terms) (secret string, k Key, err error)
	Revoke(id string) (Key, error)
	List() ([]Standing, error)
	Statement(id string) (Statement, error)
	Close() error
}

type created struct {
	Secret string `json:"secret"`
	Key    Key    `json:"key"`
}

const maxAdmin = 1 << 20 // bytes of a request

// Serve lets programs of the same user manage the book's keys at the Unix socket
// path, until the returned server is closed.
func Serve(path string, b *Book) (*http.Server, error) {
	_ = os.Remove(path) // left behind by a crash
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /keys", func(w http.ResponseWriter, r *http.Request) {
		var t Terms
		if err := json.NewDecoder(io.LimitReader(r.Body, maxAdmin)).Decode(&t); err != nil {
			reply(w, nil, core.Errorf(core.CodeInvalid, "the terms could not be read: %v", err))
			return
		}
		secret, k, err := b.Create(t)
		reply(w, created{secret, k}, err)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		ks, err := b.List()
		reply(w, ks, err)
	})
	mux.HandleFunc("DELETE /keys/{id}", func(w http.ResponseWriter, r *http.Request) {
		k, err := b.Revoke(r.PathValue("id"))
		reply(w, k, err)
	})
	mux.HandleFunc("GET /keys/{id}", func(w http.ResponseWriter, r *http.Request) {
		s, err := b.Statement(r.PathValue("id"))
		reply(w, s, err)
	})
	s := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	return s, nil
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		var e *core.Error
		if !errors.As(err, &e) {
			e = &core.Error{Code: core.CodeInternal, Message: err.Error()}
		}
		w.WriteHeader(http.StatusBadRequest)
		v = e
	}
	_ = json.NewEncoder(w).Encode(v)
}

// Client manages the keys of a gateway that runs.
type Client struct{ http http.Client }

// Dial connects to a gateway at the Unix socket path; false when none listens.
func Dial(path string) (*Client, bool) {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return nil, false
	}
	_ = c.Close()
	return &Client{http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}}, true
}

func (c *Client) do(method, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, "http://gateway"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return &core.Error{Code: core.CodeUnavailable, Message: "the gateway does not answer", Next: "look at its log", Err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		e := &core.Error{}
		if json.NewDecoder(resp.Body).Decode(e) != nil || e.Message == "" {
			return fmt.Errorf("the gateway answered %s", resp.Status)
		}
		return e
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// Create implements [Owner].
func (c *Client) Create(t Terms) (string, Key, error) {
	var out created
	err := c.do(http.MethodPost, "/keys", t, &out)
	return out.Secret, out.Key, err
}

// Revoke implements [Owner].
func (c *Client) Revoke(id string) (k Key, err error) {
	err = c.do(http.MethodDelete, "/keys/"+url.PathEscape(id), nil, &k)
	return
}

// List implements [Owner].
func (c *Client) List() (ks []Standing, err error) {
	err = c.do(http.MethodGet, "/keys", nil, &ks)
	return
}

// Statement implements [Owner].
func (c *Client) Statement(id string) (s Statement, err error) {
	err = c.do(http.MethodGet, "/keys/"+url.PathEscape(id), nil, &s)
	return
}

// Close implements [Owner].
func (c *Client) Close() error { c.http.CloseIdleConnections(); return nil }
