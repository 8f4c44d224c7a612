package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Times that a server has.
const (
	dialTime   = 5 * time.Second
	headerTime = 50 * time.Second // prefill included: consumers give up at 60 s
	idleTime   = 45 * time.Second // between two events
)

// maxBody bounds an answer that is no stream, and what an error says.
const maxBody = 16 << 20

// client calls one server.
type client struct {
	endpoint string // of completions
	name     string // the model's, to the server
	key      string
	http     *http.Client
}

// newClient checks the server's address. Prompts are other people's: they go
// over loopback or TLS, and nowhere else than named.
func newClient(base, name, key string) (*client, error) {
	bad := func(format string, args ...any) (*client, error) {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the back end's address " + fmt.Sprintf(format, args...), Next: "give one such as http://127.0.0.1:8000 or https://HOST/v1"}
	}
	u, err := url.Parse(base)
	if err != nil {
		return bad("is none: %v", err)
	}
	switch {
	case u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return bad("%q is no address of a server", base)
	case u.User != nil:
		return bad("holds credentials; a key belongs into KOINON_BACKEND_KEY")
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme == "http":
		return bad("%q is neither loopback nor https: prompts would travel in the clear", base)
	default:
		return bad("%q is neither http nor https", base)
	}
	path := strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(path, "/v1") {
		path += "/v1"
	}
	u.Path = path + "/completions"
	return &client{endpoint: u.String(), name: name, key: key, http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext,
			ResponseHeaderTimeout: headerTime, TLSHandshakeTimeout: dialTime, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10},
	}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// order is a call of completions. Servers ignore what they do not know.
type order struct {
	Model       string         `json:"model"`
	Prompt      any            `json:"prompt"` // token ids, or their text
	MaxTokens   int            `json:"max_tokens"`
	Temperature float64        `json:"temperature"`
	TopP        *float64       `json:"top_p,omitempty"`
	TopK        *uint32        `json:"top_k,omitempty"`
	MinP        *float64       `json:"min_p,omitempty"`
	Logprobs    *int           `json:"logprobs,omitempty"`
	Stream      bool           `json:"stream"`
	Options     map[string]any `json:"stream_options"`
	// AsIDs asks vLLM for ids in place of texts of tokens, IDs for those of the
	// output; Special, left false, keeps it from adding to a prompt.
	AsIDs   bool `json:"return_tokens_as_token_ids"`
	IDs     bool `json:"return_token_ids"`
	Special bool `json:"add_special_tokens"`
	// Penalty switches Ollama's and llama.cpp's off.
	Penalty float64 `json:"repeat_penalty"`
}

// stream is an answer that arrives.
type stream struct {
	vocabulary *vocabulary
	body       io.ReadCloser
	events     *events // nil for a body that is one whole answer
	ctx        context.Context
	cancel     context.CancelCauseFunc
	ended      bool // a reason to end came
	done       bool
}

var errIdle = fmt.Errorf("the server sent nothing for %v", idleTime)

// complete orders a continuation. The caller closes the stream.
func (c *client) complete(ctx context.Context, o order, v *vocabulary) (*stream, error) {
	o.Model, o.Stream, o.Options, o.AsIDs, o.IDs, o.Penalty = c.name, true, map[string]any{"include_usage": true}, true, true, 1
	js, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(js))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	r, err := c.http.Do(req)
	if err != nil {
		cancel(nil)
		return nil, &core.Error{Code: core.CodeProvider, Message: "the back end does not answer", Err: err}
	}
	if r.StatusCode != http.StatusOK {
		err := refused(r)
		r.Body.Close()
		cancel(nil)
		return nil, err
	}
	s := &stream{vocabulary: v, body: r.Body, ctx: ctx, cancel: cancel}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		s.events = newEvents(r.Body)
	}
	return s, nil
}

// refused words an answer that is an error.
func refused(r *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(r.Body, 512))
	e := &core.Error{Code: core.CodeProvider, Message: fmt.Sprintf("the back end answers %s", r.Status), Err: &status{r.StatusCode, strings.TrimSpace(string(text))}}
	if r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusServiceUnavailable {
		e.Code = core.CodeBusy
		e.RetryAfter = time.Second
		if n, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && n > 0 {
			e.RetryAfter = min(time.Duration(n)*time.Second, time.Minute)
		}
	}
	return e
}

// status is the server's own error.
type status struct {
	code int
	text string
}

func (s *status) Error() string { return fmt.Sprintf("%.300q", s.text) }

// next returns the next part; io.EOF after the end. A stream that stops without
// a reason to end fails.
func (s *stream) next() (part, error) {
	if s.done {
		return part{}, io.EOF
	}
	idle := time.AfterFunc(idleTime, func() { s.cancel(errIdle) })
	defer idle.Stop()
	var data []byte
	var err error
	if s.events != nil {
		data, err = s.events.next()
	} else {
		s.done = true
		if data, err = io.ReadAll(io.LimitReader(s.body, maxBody+1)); err == nil && len(data) > maxBody {
			err = errStream
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && s.ended:
		s.done = true
		return part{}, io.EOF
	case errors.Is(err, io.EOF):
		return part{}, broke(io.ErrUnexpectedEOF)
	case s.ctx.Err() != nil:
		return part{}, broke(context.Cause(s.ctx))
	default:
		return part{}, broke(err)
	}
	if s.events != nil && string(bytes.TrimSpace(data)) == "[DONE]" {
		s.done = true
		if !s.ended {
			return part{}, broke(errors.New("it is done without a reason"))
		}
		return part{}, io.EOF
	}
	p, err := parse(data, s.vocabulary)
	if err != nil {
		return part{}, broke(err)
	}
	s.ended = s.ended || p.finish != ""
	return p, nil
}

func broke(err error) error {
	return &core.Error{Code: core.CodeProvider, Message: "the back end broke the answer off", Err: err}
}

func (s *stream) close() {
	s.cancel(nil)
	s.body.Close()
}
