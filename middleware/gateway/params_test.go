package gateway

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

func TestChatParameters(t *testing.T) {
	const ok = `"model":"m","messages":[{"role":"user","content":"hi"}]`
	for _, c := range []struct{ body, param string }{
		{`{` + ok + `}`, ""},
		{`{` + ok + `,"temperature":0.5,"top_p":0.9,"stop":["a","b"],"seed":7,"user":"x","metadata":{}}`, ""},
		{`{` + ok + `,"stop":"x","n":1,"presence_penalty":0}`, ""},
		{`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`, ""},
		{`{"messages":[{"role":"user","content":"hi"}]}`, "model"},
		{`{"model":"m"}`, "messages"},
		{`{"model":"m","messages":[]}`, "messages"},
		{`{"model":"m","messages":"hi"}`, "messages"},
		{`{"model":7,"messages":[]}`, "model"},
		{`{"model":"m","messages":[{"content":"hi"}]}`, "messages[0].role"},
		{`{"model":"m","messages":[{"role":"wizard","content":"hi"}]}`, "messages[0].role"},
		{`{"model":"m","messages":[{"role":"user"}]}`, "messages[0].content"},
		{`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, "messages.content"},
		{`{` + ok + `,"temperature":-0.1}`, "temperature"},
		{`{` + ok + `,"temperature":2.1}`, "temperature"},
		{`{` + ok + `,"temperature":"hot"}`, "temperature"},
		{`{` + ok + `,"top_p":1.01}`, "top_p"},
		{`{` + ok + `,"top_k":-1}`, "top_k"},
		{`{` + ok + `,"max_tokens":0}`, "max_tokens"},
		{`{` + ok + `,"max_tokens":-5}`, "max_tokens"},
		{`{` + ok + `,"max_tokens":1.5}`, "max_tokens"},
		{`{` + ok + `,"max_completion_tokens":-5}`, "max_completion_tokens"},
		{`{` + ok + `,"n":2}`, "n"},
		{`{` + ok + `,"stop":["1","2","3","4","5"]}`, "stop"},
		{`{` + ok + `,"stop":[""]}`, "stop"},
		{`{` + ok + `,"stop":3}`, "stop"},
		{`{` + ok + `,"logprobs":true}`, "logprobs"},
		{`{` + ok + `,"tools":[{}]}`, "tools"},
		{`{` + ok + `,"frequency_penalty":1}`, "frequency_penalty"},
		{`{` + ok + `,"response_format":{"type":"json_object"}}`, "response_format"},
		{`{` + ok + `,"logit_bias":{"1":2}}`, "logit_bias"},
	} {
		var body chatRequest
		err := decode([]byte(c.body), &body)
		if err == nil {
			_, err = body.conversation()
		}
		if err == nil {
			_, err = body.sampler(core.Sampler{})
		}
		if c.param == "" {
			if err != nil {
				t.Errorf("%s: %v", c.body, err)
			}
			continue
		}
		var e *core.Error
		if !errors.As(err, &e) || e.Code != core.CodeInvalid || e.Param != c.param {
			t.Errorf("%s: got %v (%+v), want an error about %s", c.body, err, e, c.param)
		}
	}
}

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"not JSON", `hello`, 400},
		{"cut off", `{"model":"m"`, 400},
		{"empty", ``, 400},
		{"deep", strings.Repeat("[", 100000), 400},
		{"deep but closed", `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 400},
		{"brackets in a string", `{"model":"` + strings.Repeat("[", 100) + `"}`, 200},
		{"large", `{"model":"` + strings.Repeat("x", 50<<20) + `"}`, 413},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		if c.name == "large" {
			r.ContentLength = -1 // chunked: the length is not announced
		}
		var v chatRequest
		if err := readBody(w, r, &v); err != nil {
			writeError(w, err)
		}
		if w.Code != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, w.Code, c.status, w.Body)
		}
	}
}

func FuzzChatRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}],"stop":["a"]}`))
	f.Add([]byte(`{"messages":[{"content":[{"type":"text","text":"x"}]}],"temperature":1e300}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var body chatRequest
		if decode(b, &body) != nil {
			return
		}
		if s, err := body.sampler(core.Sampler{}); err == nil && (s.Temperature > 2*micro || s.TopP > micro) {
			t.Fatalf("%s passes as %+v", b, s)
		}
		_, _ = body.conversation()
	})
}
