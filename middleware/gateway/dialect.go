package gateway

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
)

// dialect is what sets one family of APIs apart beside the shapes of requests
// and answers: which parameters it knows without honouring them, what it calls
// those that all have, and how it tells a failure.
type dialect struct {
	rules
	// names are this API's words for the parameters of OpenAI's chat, where they
	// differ: whole names, or what follows the index of a list.
	names map[string]string
	// failure renders an error that is told instead of an answer.
	failure func(e *core.Error) (status int, body any)
}

// rules say what becomes of members that a request's struct has no field for.
type rules struct {
	indifferent []string // say nothing about the answer: accepted, and go no further
	refusals    map[string]refusal
}

// refusal is a parameter that cannot be honoured.
type refusal struct {
	harmless []string // JSON values that ask for nothing and are accepted all the same
	why      string
}

// refuseUnknown names the first member of the JSON object b that v has no field
// for and that is not known to be without influence. null counts as absent.
func (k *rules) refuseUnknown(b []byte, v any) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(b, &members) != nil {
		return nil //nolint:nilerr // decoding says what is wrong
	}
	known := fields(reflect.TypeOf(v).Elem(), nil)
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		raw := members[name]
		if string(raw) == "null" || slices.Contains(known, name) || slices.Contains(k.indifferent, name) {
			continue
		}
		r, ok := k.refusals[name]
		if !ok {
			e := invalid(clip(name, 100), "%s: this call has no such parameter", clip(name, 100))
			e.Next = "leave it out; docs/api.md lists all of them"
			return e
		}
		var tight bytes.Buffer
		if json.Compact(&tight, raw) == nil && slices.Contains(r.harmless, tight.String()) {
			continue
		}
		e := invalid(name, "%s: not supported", name)
		e.Next = r.why
		return e
	}
	return nil
}

// part decodes a member of a request that has rules of its own.
func (k *rules) part(name string, b []byte, v any) error {
	d := dialect{rules: *k}
	err := d.decode(b, v)
	if err == nil {
		return nil
	}
	e := *asError(err)
	if e.Param == "" {
		e.Param, e.Message = name, name+": "+e.Message
	} else if !strings.HasPrefix(e.Param, name+".") {
		e.Param, e.Message = name+"."+e.Param, name+"."+e.Message
	}
	return &e
}

// fields lists the JSON names of a struct's exported fields, embedded ones included.
func fields(t reflect.Type, names []string) []string {
	for i := range t.NumField() {
		f := t.Field(i)
		switch name, _, _ := strings.Cut(f.Tag.Get("json"), ","); {
		case f.Anonymous && name == "":
			names = fields(f.Type, names)
		case f.IsExported():
			names = append(names, name)
		}
	}
	return names
}

// inWords is the error with its parameter called as this API calls it.
func (d *dialect) inWords(err error) *core.Error {
	e := *asError(err)
	head, tail := "", e.Param
	if strings.HasPrefix(tail, "messages[") && d.names["messages"] != "" {
		tail = "messages" // the template's turns are not the caller's items
	}
	if i := strings.LastIndex(tail, "]."); i >= 0 {
		head, tail = tail[:i+2], tail[i+2:]
	}
	own, ok := d.names[tail]
	if !ok {
		return &e
	}
	if rest, told := strings.CutPrefix(e.Message, head+tail); told && strings.IndexAny(rest, ":[ ") == 0 {
		e.Message = head + own + rest
	}
	e.Param = head + own
	return &e
}

// refuse answers with an error in the dialect's shape.
func (d *dialect) refuse(w http.ResponseWriter, err error) {
	e := d.inWords(err)
	status, body := d.failure(e)
	if e.Code == core.CodeBusy || e.RetryAfter > 0 {
		wait := max(e.RetryAfter, time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		w.Header().Set("Retry-After-Ms", strconv.FormatInt(max(e.RetryAfter, 50*time.Millisecond).Milliseconds(), 10))
	}
	writeJSON(w, status, body)
}

// handle answers a call whose body is a T; the error is one of preparing.
func handle[T any](d *dialect, answer func(w http.ResponseWriter, r *http.Request, body *T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		err := d.readBody(w, r, &body)
		if err == nil {
			err = answer(w, r, &body)
		}
		if err != nil {
			d.refuse(w, err)
		}
	}
}

// dialectOf is the dialect that a path is spoken to in.
func dialectOf(path string) *dialect {
	switch {
	case path == "/v1/messages" || strings.HasPrefix(path, "/v1/messages/"):
		return &anthropic
	case strings.HasPrefix(path, "/api/"):
		return &ollama
	}
	return &openAI
}
