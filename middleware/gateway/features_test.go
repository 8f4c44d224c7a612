package gateway

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

type object = map[string]any

// allEvents reads a stream that must end well.
func allEvents(t *testing.T, r *http.Response) (out []object) {
	t.Helper()
	sc := bufio.NewScanner(r.Body)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			return out
		}
		var e object
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	t.Fatalf("the stream broke off after %v", out)
	return nil
}

func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(object)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestSeveralChoices(t *testing.T) {
	w := newWorld(t, behaviour{}, behaviour{})
	resp := w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"n":3,"seed":7`))
	b := body(t, resp)
	if n := len(b["choices"].([]any)); n != 3 || at(b, "choices", 2, "message", "content") != answerText || at(b, "choices", 2, "index") != 2.0 {
		t.Fatalf("%d choices: %v", n, b)
	}
	if at(b, "usage", "prompt_tokens") != 15.0 || at(b, "usage", "completion_tokens") != 60.0 {
		t.Errorf("usage %v", b["usage"])
	}
	if len(w.archive) != 3 || len(at(b, "koinon", "choices").([]any)) != 3 {
		t.Errorf("%d receipts", len(w.archive))
	}
	sum := core.Amount{}
	for _, c := range at(b, "koinon", "choices").([]any) {
		a, _ := core.ParseAmount(at(c, "cost").(string))
		sum = sum.Add(a)
	}
	if at(b, "koinon", "cost") != sum.String() {
		t.Errorf("the sum %v is not %v", at(b, "koinon", "cost"), sum)
	}
	ids := strings.Split(resp.Header.Get("X-Koinon-Receipts"), ", ")
	for _, s := range ids {
		id, err := core.ParseHash(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.gateway().Evidence(id); err != nil {
			t.Error(err)
		}
	}
	seeds := map[uint64]bool{}
	for _, r := range w.requests {
		seeds[*r.UserSeed] = true
	}
	if len(ids) != 3 || len(seeds) != 3 || !seeds[7] {
		t.Errorf("ids %v, seeds %v", ids, seeds)
	}
}

func TestSeveralChoicesStreamed(t *testing.T) {
	for _, own := range []bool{false, true} {
		w := newWorld(t, behaviour{})
		extra := `,"n":4,"stream":true`
		if own {
			extra += `,"stream_options":{"include_usage":true}`
		}
		texts, finished := map[int]string{}, map[int]int{}
		es := allEvents(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(extra)))
		for i, e := range es {
			cs := e["choices"].([]any)
			if last := i == len(es)-1; len(cs) == 0 != (own && last) || (e["usage"] != nil) != last {
				t.Fatalf("event %d of %d: %v", i, len(es), e)
			}
			if _, there := e["usage"]; own && !there {
				t.Errorf("event %d has no usage, OpenAI's have null", i)
			}
			for _, c := range cs {
				n := int(at(c, "index").(float64))
				if at(c, "delta", "role") == "assistant" != (texts[n] == "" && at(c, "finish_reason") == nil && at(c, "delta", "content") == "") {
					t.Errorf("a role in %v", c)
				}
				if s, ok := at(c, "delta", "content").(string); ok {
					texts[n] += s
				}
				if at(c, "finish_reason") != nil {
					finished[n]++
				}
			}
		}
		for n := range 4 {
			if texts[n] != answerText || finished[n] != 1 {
				t.Errorf("choice %d: %q, finished %d times", n, texts[n], finished[n])
			}
		}
		if at(es[len(es)-1], "usage", "completion_tokens") != 80.0 {
			t.Error(es[len(es)-1])
		}
	}
}

// When one choice cannot be had, nothing is; what was delivered is named.
func TestAChoiceThatFailsEndsAll(t *testing.T) {
	w := newWorld(t, behaviour{dieAfter: 3})
	resp := w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"n":3`))
	b := body(t, resp)
	if resp.StatusCode != 502 || at(b, "error", "code") != "provider_failed" || at(b, "error", "charge") == "0" {
		t.Error(resp.StatusCode, b)
	}
	if w.reserved != 0 {
		t.Errorf("%d reservations left", w.reserved)
	}
}

func TestChatLogprobs(t *testing.T) {
	w := newWorld(t, behaviour{})
	b := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"logprobs":true,"top_logprobs":2,"stop":"lm"`)))
	content := at(b, "choices", 0, "logprobs", "content").([]any)
	text := at(b, "choices", 0, "message", "content").(string)
	if text != "abcdefghijk" || len(content) != len(text) {
		t.Fatalf("%q with %d log-probabilities", text, len(content))
	}
	for i, c := range content {
		if at(c, "token") != text[i:i+1] || at(c, "bytes", 0) != float64(text[i]) || at(c, "logprob") != -0.1*float64(i) && i > 0 && at(c, "logprob").(float64) > -0.09 ||
			len(at(c, "top_logprobs").([]any)) != 2 || at(c, "top_logprobs", 1, "token") != "B" || at(c, "top_logprobs", 1, "logprob") != -5.0 {
			t.Errorf("%d: %v", i, c)
		}
	}
	if w.requests[0].Sampler.Logprobs != 3 || len(w.archive[0].Logprobs) != len(w.archive[0].Output) {
		t.Error("the order or the evidence lacks them")
	}
	var streamed []any
	for _, e := range allEvents(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"logprobs":true,"top_logprobs":2,"stop":"lm","stream":true`))) {
		if l, ok := at(e, "choices", 0, "logprobs", "content").([]any); ok {
			streamed = append(streamed, l...)
		}
	}
	if fmt.Sprint(streamed) != fmt.Sprint(content) {
		t.Errorf("streamed: %v", streamed)
	}
	if b := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(``))); at(b, "choices", 0, "logprobs") != nil {
		t.Error("log-probabilities that nobody asked for")
	}
}

func TestCompletionLogprobsEchoAndPrompts(t *testing.T) {
	w := newWorld(t, behaviour{})
	b := body(t, w.post(t, w.gateway(), "/v1/completions", `{"model":"toy","prompt":"hi","max_tokens":4,"logprobs":1}`))
	l := at(b, "choices", 0, "logprobs")
	if fmt.Sprint(at(l, "tokens")) != "[a b c d]" || fmt.Sprint(at(l, "text_offset")) != "[0 1 2 3]" || at(l, "token_logprobs", 3) != -0.3 || at(l, "top_logprobs", 3, "A") != -5.0 {
		t.Error(l)
	}
	offset := 0
	for _, e := range allEvents(t, w.post(t, w.gateway(), "/v1/completions", `{"model":"toy","prompt":"hi","max_tokens":4,"logprobs":0,"stream":true}`)) {
		if o, ok := at(e, "choices", 0, "logprobs", "text_offset", 0).(float64); ok {
			if int(o) != offset {
				t.Errorf("offset %v, want %d", o, offset)
			}
			offset++
		}
	}
	if offset != 4 {
		t.Errorf("%d offsets", offset)
	}
	b = body(t, w.post(t, w.gateway(), "/v1/completions", `{"model":"toy","prompt":["one ","two "],"echo":true,"n":2,"max_tokens":3}`))
	for i, want := range []string{"one abc", "one abc", "two abc", "two abc"} {
		if at(b, "choices", i, "text") != want || at(b, "choices", i, "index") != float64(i) || at(b, "choices", i, "finish_reason") != "length" {
			t.Errorf("choice %d: %v", i, at(b, "choices", i))
		}
	}
	for bad, param := range map[string]string{`"logprobs":21`: "logprobs", `"best_of":3`: "best_of", `"echo":true,"logprobs":1`: "echo", `"suffix":"x"`: "suffix", `"tools":[]`: "tools"} {
		resp := w.post(t, w.gateway(), "/v1/completions", `{"model":"toy","prompt":"hi",`+bad+`}`)
		if b := body(t, resp); resp.StatusCode != 400 || at(b, "error", "param") != param {
			t.Errorf("%s: %v", bad, b)
		}
	}
}

const weather = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false},"strict":true}}]`

const twoCalls = "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Delos\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Naxos\"}}\n</tool_call>"

// wide is a model with room for tools in its prompt.
func wide(t *testing.T, b behaviour) *world {
	m := testModel
	t.Cleanup(func() { testModel = m })
	testModel.Context = 2048
	return newWorld(t, b)
}

func TestToolCalls(t *testing.T) {
	w := wide(t, behaviour{text: twoCalls})
	b := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,`+weather)))
	m := at(b, "choices", 0, "message")
	if at(m, "content") != "Let me see.\n" || len(at(m, "tool_calls").([]any)) != 2 || at(b, "choices", 0, "finish_reason") != "tool_calls" {
		t.Fatal(b)
	}
	first, second := at(m, "tool_calls", 0), at(m, "tool_calls", 1)
	if at(first, "type") != "function" || at(first, "function", "name") != "weather" || at(second, "function", "arguments") != `{"city": "Naxos"}` || at(first, "id") == at(second, "id") || at(first, "id") == "" {
		t.Error(first, second)
	}
	if s := w.requests[0].Sampler; s.Constraint == nil || s.Constraint.Trigger != "<tool_call>" {
		t.Errorf("the order's constraint is %+v", s.Constraint)
	}
	one := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"parallel_tool_calls":false,`+weather)))
	if n := len(at(one, "choices", 0, "message", "tool_calls").([]any)); n != 1 {
		t.Errorf("%d calls, parallel ones were not wanted", n)
	}
	none := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"tool_choice":"none",`+weather)))
	if at(none, "choices", 0, "message", "content") != twoCalls || at(none, "choices", 0, "message", "tool_calls") != nil || at(none, "choices", 0, "finish_reason") != "stop" {
		t.Error(none)
	}
	if len(w.requests[2].Input) != 5 || w.requests[2].Sampler.Constraint != nil {
		t.Error("tools that may not be called are in the prompt, or constrain the answer")
	}
	cut := body(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"max_tokens":60,`+weather)))
	if at(cut, "choices", 0, "finish_reason") != "length" {
		t.Error(cut)
	}
}

func TestToolCallsStreamed(t *testing.T) {
	w := wide(t, behaviour{text: twoCalls})
	type call struct{ id, kind, name, arguments string }
	var calls []call
	var text, finish string
	for i, e := range allEvents(t, w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"stream":true,`+weather))) {
		d := at(e, "choices", 0, "delta")
		if (i == 0) != (at(d, "role") == "assistant") {
			t.Errorf("event %d: %v", i, d)
		}
		if s, ok := at(d, "content").(string); ok {
			text += s
		}
		if f, ok := at(e, "choices", 0, "finish_reason").(string); ok {
			finish = f
		}
		parts, _ := at(d, "tool_calls").([]any)
		for _, p := range parts {
			n := int(at(p, "index").(float64))
			if n == len(calls) {
				calls = append(calls, call{at(p, "id").(string), at(p, "type").(string), at(p, "function", "name").(string), ""})
			} else if at(p, "id") != nil || at(p, "function", "name") != nil {
				t.Errorf("a second name for call %d: %v", n, p)
			}
			calls[n].arguments += at(p, "function", "arguments").(string)
		}
	}
	if text != "Let me see.\n" || finish != "tool_calls" || len(calls) != 2 || calls[1].name != "weather" || calls[0].arguments != `{"city": "Delos"}` || calls[0].kind != "function" || calls[0].id == calls[1].id {
		t.Errorf("%q %s %+v", text, finish, calls)
	}
}

func TestForcedCallsFollowAGrammar(t *testing.T) {
	w := wide(t, behaviour{text: strings.TrimPrefix(twoCalls, "Let me see.\n")})
	for _, choice := range []string{`"required"`, `{"type":"function","function":{"name":"weather"}}`, `{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"weather"}}]}}`} {
		resp := w.post(t, w.gateway(), "/v1/chat/completions", ask(`,"tool_choice":`+choice+`,`+weather))
		b := body(t, resp)
		if at(b, "choices", 0, "message", "content") != nil || len(at(b, "choices", 0, "message", "tool_calls").([]any)) != 2 {
			t.Error(b)
		}
		c := w.requests[len(w.requests)-1].Sampler.Constraint
		if c == nil || c.Trigger != "" || !strings.Contains(c.Grammar, `weather`) {
			t.Fatalf("%+v", c)
		}
	}
}

// A template without tools is told of them in words; a conversation with calls
// and results comes out whole.
func TestToolsForATemplateWithoutThem(t *testing.T) {
	var offer toolOffer
	if err := json.Unmarshal([]byte(`{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}`), &offer); err != nil {
		t.Fatal(err)
	}
	box := &toolbox{offers: []toolOffer{offer}, usable: []toolOffer{offer}}
	ms := []Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "Rain?"},
		{Role: "assistant", ToolCalls: []chat.ToolCall{{ID: "a", Name: "weather", Arguments: chat.JSON(`{"city": "Delos"}`)}, {ID: "b", Name: "weather", Arguments: chat.JSON(`{}`)}}},
		{Role: "tool", ToolCallID: "a", Content: "dry"}, {Role: "tool", ToolCallID: "b", Content: "wet"}, {Role: "user", Content: "So?"}}
	got := box.told(ms)
	if len(got) != 4 || got[0].Role != "system" || !strings.Contains(got[0].Content, `"name":"weather"`) || !strings.HasPrefix(got[0].Content, "Be brief.") ||
		got[2].Content != "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Delos\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {}}\n</tool_call>" ||
		got[3].Content != "<tool_response>\ndry\n</tool_response>\n<tool_response>\nwet\n</tool_response>\nSo?" {
		t.Errorf("%q", got)
	}
	p := chat.Hermes().Parser(nil)
	if ps := append(p.Write(got[2].Content), p.Close()...); len(ps) != 2 || ps[1].Call == nil {
		t.Errorf("the calls are not read back: %v", ps)
	}
}

func TestEmbeddings(t *testing.T) {
	w := newWorld(t, behaviour{})
	get := func(extra string) (int, object) {
		resp := w.post(t, w.gateway(), "/v1/embeddings", `{"model":"toy",`+extra+`}`)
		return resp.StatusCode, body(t, resp)
	}
	_, b := get(`"input":["ab","abc","abcd"]`)
	if b["object"] != "list" || len(b["data"].([]any)) != 3 || at(b, "usage", "prompt_tokens") != 9.0 || at(b, "usage", "total_tokens") != 9.0 {
		t.Fatal(b)
	}
	if fmt.Sprint(at(b, "data", 0, "embedding")) != "[0.6 0 0.8]" || fmt.Sprint(at(b, "data", 1, "embedding")) != "[0 0.6 -0.8]" || at(b, "data", 2, "index") != 2.0 || at(b, "data", 2, "object") != "embedding" {
		t.Error(b)
	}
	if at(b, "koinon", "cost") != "90" || len(w.archive) != 3 || len(w.archive[0].Embedding) != 12 || w.reserved != 0 {
		t.Errorf("cost %v, %d receipts, %d reserved", at(b, "koinon", "cost"), len(w.archive), w.reserved)
	}
	if r := w.requests[0]; r.Pooling != core.PoolMean || r.Sampler.Digest() != (core.Sampler{}).Digest() {
		t.Errorf("%+v", r)
	}
	if _, b = get(`"input":"ab","encoding_format":"base64"`); true {
		raw, err := base64.StdEncoding.DecodeString(at(b, "data", 0, "embedding").(string))
		if err != nil || !slices.Equal(core.Bytes(raw), core.EncodeVector([]float32{0.6, 0, 0.8})) {
			t.Error(b)
		}
	}
	if _, b = get(`"input":[[1,2],[3]],"dimensions":2,"user":"me"`); fmt.Sprint(at(b, "data", 0, "embedding")) != "[1 0]" || fmt.Sprint(at(b, "data", 1, "embedding")) != "[0 1]" {
		t.Error(b)
	}
	if _, b = get(`"input":[1,2],"pooling":"last"`); len(b["data"].([]any)) != 1 || w.requests[len(w.requests)-1].Pooling != core.PoolLast {
		t.Error(b)
	}
	for bad, param := range map[string]string{`"x":1`: "x", `"input":""`: "input", `"input":[]`: "input", `"input":"a","dimensions":0`: "dimensions", `"input":"a","dimensions":4`: "dimensions",
		`"input":"a","encoding_format":"hex"`: "encoding_format", `"input":"a","pooling":"max"`: "pooling", `"input":[1000]`: "input", `"input":"` + strings.Repeat("x", 65) + `"`: "input"} {
		if status, b := get(bad); status != 400 || at(b, "error", "param") != param {
			t.Errorf("%s: %d %v", bad, status, b)
		}
	}
	if _, b = get(`"input":"` + strings.Repeat("x", 64) + `"`); b["object"] != "list" {
		t.Error("an input that fills the context is refused:", b)
	}
}

// Renaming touches names alone.
func TestPrefixedGrammars(t *testing.T) {
	in := "root ::= a-b2 (\"root \\\" a\" | [^a\\]b]){2,3} # root a\n a-b2 ::= \"x\"* root?"
	want := "p-root ::= p-a-b2 (\"root \\\" a\" | [^a\\]b]){2,3} # root a\n p-a-b2 ::= \"x\"* p-root?"
	if got := prefixed(in, "p-"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		if g := literal(s); prefixed(g, "p-") != g {
			t.Fatalf("%q changes", g)
		}
	})
}
