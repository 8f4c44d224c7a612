package gateway

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
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
		{`{` + ok + `,"max_tokens":0}`, "max_tokens"},
		{`{` + ok + `,"max_tokens":-5}`, "max_tokens"},
		{`{` + ok + `,"max_tokens":1.5}`, "max_tokens"},
		{`{` + ok + `,"max_completion_tokens":-5}`, "max_completion_tokens"},
		{`{` + ok + `,"stop":["1","2","3","4","5"]}`, "stop"},
		{`{` + ok + `,"stop":[""]}`, "stop"},
		{`{` + ok + `,"stop":3}`, "stop"},
		{`{` + ok + `,"top_k":-1,"n":8,"presence_penalty":-2,"frequency_penalty":2,"repetition_penalty":1.1,"logit_bias":{"5":-100,"7":1.5}}`, ""},
		{`{` + ok + `,"logprobs":true,"top_logprobs":20,"user":"me","metadata":{"a":"b"},"store":false,"service_tier":"auto","modalities":["text"],"audio":null}`, ""},
		{`{` + ok + `,"top_k":-2}`, "top_k"},
		{`{` + ok + `,"n":9}`, "n"},
		{`{` + ok + `,"n":0}`, "n"},
		{`{` + ok + `,"top_logprobs":3}`, "top_logprobs"},
		{`{` + ok + `,"logprobs":true,"top_logprobs":21}`, "top_logprobs"},
		{`{` + ok + `,"presence_penalty":2.1}`, "presence_penalty"},
		{`{` + ok + `,"frequency_penalty":-3}`, "frequency_penalty"},
		{`{` + ok + `,"repetition_penalty":0.9}`, "repetition_penalty"},
		{`{` + ok + `,"logit_bias":{"1":101}}`, "logit_bias"},
		{`{` + ok + `,"logit_bias":{"-1":1}}`, "logit_bias"},
		{`{` + ok + `,"logit_bias":{"01":1}}`, "logit_bias"},
		{`{` + ok + `,"logit_bias":{"1":"x"}}`, "logit_bias"},
		{`{` + ok + `,"response_format":{"type":"yaml"}}`, "response_format.type"},
		{`{` + ok + `,"response_format":{}}`, "response_format.type"},
		{`{` + ok + `,"response_format":{"type":"json_schema"}}`, "response_format.json_schema.schema"},
		{`{` + ok + `,"grammar":""}`, "grammar"},
		{`{` + ok + `,"frobnicate":1}`, "frobnicate"},
		{`{` + ok + `,"store":true}`, "store"},
		{`{` + ok + `,"service_tier":"flex"}`, "service_tier"},
		{`{` + ok + `,"functions":[{"name":"f"}]}`, "functions"},
		{`{` + ok + `,"reasoning_effort":"high"}`, "reasoning_effort"},
		{`{` + ok + `,"web_search_options":{}}`, "web_search_options"},
		{`{` + ok + `,"modalities":["text","audio"]}`, "modalities"},
		{`{` + ok + `,"chat_template_kwargs":{"messages":[]}}`, "chat_template_kwargs"},
		{`{` + ok + `,"tools":[{"type":"custom","custom":{"name":"x"}}]}`, "tools"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"a b"}}]}`, "tools"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"f"}}]}`, "tools"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"maybe"}`, "tool_choice"},
		{`{` + ok + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"g"}}}`, "tool_choice"},
		{`{` + ok + `,"tool_choice":"required"}`, "tool_choice"},
		{`{` + ok + `,"tool_choice":"none","parallel_tool_calls":true}`, ""},
		{`{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"1"}]}`, ""},
		{`{"model":"m","messages":[{"role":"tool","tool_call_id":"c1","content":"1"}]}`, "messages[0].tool_call_id"},
		{`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"user","content":"x"}]}`, "messages"},
		{`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"nope"}}]}]}`, "messages[0].tool_calls[0]"},
		{`{"model":"m","messages":[{"role":"user","content":"x","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]}]}`, "messages[0].tool_calls"},
		{`{` + ok + `,"tools":[{}]}`, "tools"},
	} {
		var body chatRequest
		err := openAI.decode([]byte(c.body), &body)
		if err == nil {
			_, err = body.plan()
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
		if err := openAI.readBody(w, r, &v); err != nil {
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
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":""}],` +
		`"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"a":{"enum":[1]}}}}}],"tool_choice":"required","response_format":{"type":"json_object"},"logit_bias":{"1":2}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var body chatRequest
		if openAI.decode(b, &body) != nil {
			return
		}
		if s, err := body.sampler(core.Sampler{}); err == nil && (s.Temperature > 2*micro || s.TopP > micro) {
			t.Fatalf("%s passes as %+v", b, s)
		}
		p, err := body.plan()
		if err != nil {
			return
		}
		if p.n < 1 || p.n > maxN || p.logprobs > core.MaxLogprobs || len(p.messages) == 0 {
			t.Fatalf("%s passes as %+v", b, p)
		}
		if p.tools != nil {
			c, err := p.tools.constraint(chat.Hermes(), p.format)
			if err == nil && c != nil && (c.Grammar == "" || len(c.Grammar) > core.MaxGrammar) {
				t.Fatalf("%s gives %+v", b, c)
			}
		}
		if (*toolbox)(nil).told(p.messages); p.tools != nil {
			p.tools.told(p.messages)
		}
	})
}

func FuzzOtherRequests(f *testing.F) {
	f.Add([]byte(`{"model":"m","prompt":["a"],"n":2,"logprobs":3,"echo":true}`))
	f.Add([]byte(`{"model":"m","input":[[1,2]],"dimensions":3,"encoding_format":"base64"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c completionRequest
		if openAI.decode(b, &c) == nil && c.check() == nil {
			if n, _ := c.count(); n*len(c.Prompt) < 1 || n*len(c.Prompt) > maxChoices || c.logprobs() > core.MaxLogprobs {
				t.Fatalf("%s passes", b)
			}
		}
		var e embeddingRequest
		if openAI.decode(b, &e) == nil && e.check() == nil && (len(e.Input) == 0 || len(e.Input) > maxInputs) {
			t.Fatalf("%s passes", b)
		}
	})
}
