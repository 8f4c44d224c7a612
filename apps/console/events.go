package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"
)

// stream writes Datastar's server-sent events (1.0.0-beta.11): fragments that
// are merged into the page and signals that its expressions see.
type stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	ctx context.Context
}

func open(w http.ResponseWriter, r *http.Request) *stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	return &stream{w, http.NewResponseController(w), r.Context()}
}

func (s *stream) event(kind string, lines ...string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "event: datastar-%s\n", kind)
	for _, l := range lines {
		fmt.Fprintf(&b, "data: %s\n", l)
	}
	b.WriteByte('\n')
	_ = s.rc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := s.w.Write([]byte(b.String())); err != nil {
		return err
	}
	return s.rc.Flush()
}

// morph replaces the element that has the component's id.
func (s *stream) morph(c templ.Component) error {
	return s.fragments(c)
}

// append adds the component at the end of the selected element.
func (s *stream) append(selector string, c templ.Component) error {
	return s.fragments(c, "selector "+selector, "mergeMode append")
}

// remove takes the selected elements out of the page.
func (s *stream) remove(selector string) error {
	return s.event("remove-fragments", "selector "+selector)
}

func (s *stream) fragments(c templ.Component, lines ...string) error {
	html, err := render(s.ctx, c)
	if err != nil {
		return err
	}
	for _, l := range strings.Split(html, "\n") {
		lines = append(lines, "fragments "+l)
	}
	return s.event("merge-fragments", lines...)
}

// signals sets the page's signals.
func (s *stream) signals(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.event("merge-signals", "signals "+string(b))
}

func render(ctx context.Context, c templ.Component) (string, error) {
	var b bytes.Buffer
	err := c.Render(ctx, &b)
	return b.String(), err
}
