package gateway

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// namedStream reads server-sent events with their names, to the end of the body.
func namedStream(t *testing.T, r *http.Response) (kinds []string, events []object) {
	t.Helper()
	if ct := r.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		b, _ := io.ReadAll(r.Body)
		t.Fatalf("%d %s: %s", r.StatusCode, ct, b)
	}
	sc := bufio.NewScanner(r.Body)
	sc.Buffer(nil, 1<<20)
	name := ""
	for sc.Scan() {
		if n, ok := strings.CutPrefix(sc.Text(), "event: "); ok {
			name = n
		}
		if data, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			var e object
			if err := json.Unmarshal([]byte(data), &e); err != nil || e["type"] != name {
				t.Fatalf("event %q: %v %s", name, err, data)
			}
			kinds, events = append(kinds, name), append(events, e)
		}
	}
	return kinds, events
}

// jsonLines reads a stream of lines.
func jsonLines(t *testing.T, r *http.Response) (out []object) {
	t.Helper()
	d := json.NewDecoder(r.Body)
	for {
		var e object
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
}

// runs shortens repetitions: a b b b c is a b+ c.
func runs(kinds []string) string {
	var out []string
	for _, k := range kinds {
		switch n := len(out); {
		case n > 0 && (out[n-1] == k || out[n-1] == k+"+"):
			out[n-1] = k + "+"
		default:
			out = append(out, k)
		}
	}
	return strings.Join(out, " ")
}

const bareWeather = `{"name":"weather","description":"d","%s":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false},"strict":true}`

func TestResponses(t *testing.T) {
	w := newWorld(t, behaviour{})
	resp := w.post(t, w.gateway(), "/v1/responses", `{"model":"toy","input":"hello","temperature":0.5,"metadata":{"a":"b"}}`)
	b := body(t, resp)
	if at(b, "output", 0, "content", 0, "text") != answerText || b["status"] != "completed" || b["object"] != "response" || at(b, "output", 0, "status") != "completed" {
		t.Fatal(b)
	}
	if at(b, "usage", "input_tokens") != 5.0 || at(b, "usage", "output_tokens") != 20.0 || at(b, "koinon", "cost") != "2050" || b["store"] != false || b["temperature"] != 0.5 || at(b, "metadata", "a") != "b" {
		t.Error(b)
	}
	if resp.Header.Get("X-Koinon-Model") != "toy" || resp.Header.Get("X-Koinon-Receipt") == "" || resp.Header.Get("X-Koinon-Cost") != "2050 akoin" {
		t.Error(resp.Header)
	}
	b = body(t, w.post(t, w.gateway(), "/v1/responses", `{"model":"toy","input":[{"role":"user","content":[{"type":"input_text","text":"hello"}]}],"max_output_tokens":3}`))
	if b["status"] != "incomplete" || at(b, "incomplete_details", "reason") != "max_output_tokens" || at(b, "output", 0, "content", 0, "text") != "abc" || at(b, "output", 0, "status") != "incomplete" {
		t.Error(b)
	}
}

func TestResponsesStreamed(t *testing.T) {
	w := newWorld(t, behaviour{})
	kinds, es := namedStream(t, w.post(t, w.gateway(), "/v1/responses", `{"model":"toy","input":"hello","stream":true,"include":["message.output_text.logprobs"],"top_logprobs":2}`))
	want := "response.created response.in_progress response.output_item.added response.content_part.added response.output_text.delta+ response.output_text.done response.content_part.done response.output_item.done response.completed"
	if got := runs(kinds); got != want {
		t.Fatalf("%s\nwant %s", got, want)
	}
	text := ""
	for i, e := range es {
		if e["sequence_number"] != float64(i) {
			t.Errorf("event %d has number %v", i, e["sequence_number"])
		}
		if e["type"] == "response.output_text.delta" {
			text += e["delta"].(string)
			if len(at(e, "logprobs", 0, "top_logprobs").([]any)) != 2 {
				t.Error(e)
			}
		}
	}
	last := at(es[len(es)-1], "response")
	if text != answerText || at(last, "output", 0, "content", 0, "text") != answerText || at(last, "koinon", "cost") != "2050" || at(last, "usage", "total_tokens") != 25.0 ||
		len(at(last, "output", 0, "content", 0, "logprobs").([]any)) != 20 || at(es[0], "response", "id") != at(last, "id") {
		t.Errorf("%q %v", text, last)
	}
}

func TestResponsesTools(t *testing.T) {
	w := wide(t, behaviour{text: twoCalls})
	w.template = wholeTalk
	tools := `"tools":[` + strings.Replace(fmt.Sprintf(bareWeather, "parameters"), "{", `{"type":"function",`, 1) + `]`
	kinds, es := namedStream(t, w.post(t, w.gateway(), "/v1/responses", `{"model":"toy","input":"hello","stream":true,`+tools+`}`))
	call := " response.output_item.added response.function_call_arguments.delta+ response.function_call_arguments.done response.output_item.done"
	want := "response.created response.in_progress response.output_item.added response.content_part.added response.output_text.delta+ response.output_text.done response.content_part.done response.output_item.done" + call + call + " response.completed"
	if got := strings.ReplaceAll(runs(kinds), "delta ", "delta+ "); got != want {
		t.Fatalf("%s\nwant %s", got, want)
	}
	out := at(es[len(es)-1], "response", "output").([]any)
	whole := body(t, w.post(t, w.gateway(), "/v1/responses", `{"model":"toy","input":"hello",`+tools+`}`))["output"].([]any)
	for _, items := range [][]any{out, whole} {
		if len(items) != 3 || at(items[1], "name") != "weather" || at(items[1], "arguments") != `{"city": "Delos"}` || at(items[1], "call_id") == at(items[2], "call_id") || at(items[2], "type") != "function_call" {
			t.Error(items)
		}
	}
	history, _ := json.Marshal(append([]any{object{"role": "user", "content": "hello"}}, append(out, object{"type": "function_call_output", "call_id": at(out[1], "call_id"), "output": "dry"},
		object{"type": "function_call_output", "call_id": at(out[2], "call_id"), "output": []any{object{"type": "input_text", "text": "wet"}}})...))
	if b := body(t, w.post(t, w.gateway(), "/v1/responses", `{"model":"toy","tool_choice":"none","input":`+string(history)+`,`+tools+`}`)); b["status"] != "completed" || b["tool_choice"] != "none" {
		t.Error(b)
	}
	in := w.requests[len(w.requests)-1]
	if text := byteCodec(t).tokenizer.Decode(in.Input[:in.Prompt]); !strings.Contains(text, "wet") {
		t.Errorf("the prompt is %q", text)
	}
}

func TestMessages(t *testing.T) {
	w := newWorld(t, behaviour{})
	const ask = `{"model":"toy","max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"hello"}]}]%s}`
	resp := w.post(t, w.gateway(), "/v1/messages", fmt.Sprintf(ask, `,"metadata":{"user_id":"x"},"thinking":{"type":"adaptive"}`))
	b := body(t, resp)
	if b["type"] != "message" || at(b, "content", 0, "text") != answerText || b["stop_reason"] != "end_turn" || at(b, "usage", "input_tokens") != 5.0 || at(b, "usage", "output_tokens") != 20.0 || at(b, "koinon", "cost") != "2050" {
		t.Fatal(b)
	}
	if b = body(t, w.post(t, w.gateway(), "/v1/messages", strings.Replace(fmt.Sprintf(ask, ""), "50", "3", 1))); b["stop_reason"] != "max_tokens" || at(b, "content", 0, "text") != "abc" {
		t.Error(b)
	}
	// The network stops behind the stop string; the test's providers only at the end.
	if b = body(t, w.post(t, w.gateway(), "/v1/messages", fmt.Sprintf(ask, `,"stop_sequences":["x","op","q","r","1"]`))); b["stop_reason"] != "stop_sequence" || b["stop_sequence"] != "op" || at(b, "content", 0, "text") != "abcdefghijklmn" {
		t.Error(b)
	}
	kinds, es := namedStream(t, w.post(t, w.gateway(), "/v1/messages", fmt.Sprintf(ask, `,"stream":true`)))
	if got := runs(kinds); got != "message_start content_block_start content_block_delta+ content_block_stop message_delta message_stop" {
		t.Fatal(got)
	}
	text := ""
	for _, e := range es {
		if s, ok := at(e, "delta", "text").(string); ok {
			text += s
		}
	}
	end := es[len(es)-2]
	if text != answerText || at(es[0], "message", "usage", "input_tokens") != 5.0 || at(end, "delta", "stop_reason") != "end_turn" || at(end, "usage", "output_tokens") != 20.0 || at(end, "koinon", "cost") != "2050" {
		t.Errorf("%q %v", text, end)
	}
	n := len(w.requests)
	if b = body(t, w.post(t, w.gateway(), "/v1/messages/count_tokens", strings.Replace(fmt.Sprintf(ask, ""), `"max_tokens":50,`, "", 1))); b["input_tokens"] != 5.0 || len(w.requests) != n {
		t.Error(b)
	}
}

func TestMessagesTools(t *testing.T) {
	w := wide(t, behaviour{text: twoCalls})
	w.template = wholeTalk
	tools := `"max_tokens":500,"tools":[` + fmt.Sprintf(bareWeather, "input_schema") + `,{"name":"later","input_schema":{"type":"object"},"defer_loading":true}]`
	kinds, es := namedStream(t, w.post(t, w.gateway(), "/v1/messages", `{"model":"toy","stream":true,"messages":[{"role":"user","content":"hello"}],`+tools+`}`))
	call := "content_block_start content_block_delta+ content_block_stop "
	if got := strings.ReplaceAll(runs(kinds), "delta ", "delta+ "); got != "message_start "+call+call+call+"message_delta+ message_stop" {
		t.Fatal(got)
	}
	if d := es[len(es)-2]; at(d, "delta", "stop_reason") != "tool_use" {
		t.Error(d)
	}
	b := body(t, w.post(t, w.gateway(), "/v1/messages", `{"model":"toy","messages":[{"role":"user","content":"hello"}],"tool_choice":{"type":"auto","disable_parallel_tool_use":false},`+tools+`}`))
	content := b["content"].([]any)
	if len(content) != 3 || at(content[1], "type") != "tool_use" || at(content[1], "input", "city") != "Delos" || b["stop_reason"] != "tool_use" {
		t.Fatal(b)
	}
	history, _ := json.Marshal([]any{object{"role": "user", "content": "hello"}, object{"role": "assistant", "content": content},
		object{"role": "user", "content": []any{object{"type": "tool_result", "tool_use_id": at(content[1], "id"), "content": "dry"},
			object{"type": "tool_result", "tool_use_id": at(content[2], "id"), "is_error": true, "content": []any{object{"type": "text", "text": "no "}, object{"type": "tool_reference", "tool_name": "later"}}},
			object{"type": "text", "text": "and now?"}}}})
	b = body(t, w.post(t, w.gateway(), "/v1/messages", `{"model":"toy","messages":`+string(history)+`,`+tools+`}`))
	in := w.requests[len(w.requests)-1]
	text := byteCodec(t).tokenizer.Decode(in.Input[:in.Prompt])
	if b["type"] != "message" || !strings.Contains(text, "dry") || !strings.Contains(text, "Error: no ") || !strings.Contains(text, "and now?") {
		t.Errorf("%v\n%q", b, text)
	}
	var q messagesRequest
	if err := anthropic.decode([]byte(`{"model":"toy","messages":`+string(history)+`,`+tools+`}`), &q); err != nil || len(q.offers()) != 2 {
		t.Errorf("%v: a tool that a result refers to is not offered: %v", err, q.offers())
	}
	if err := anthropic.decode([]byte(`{"model":"toy","messages":[],`+tools+`}`), &q); err != nil || len(q.offers()) != 1 {
		t.Errorf("%v: a deferred tool is offered: %v", err, q.offers())
	}
}

func TestOllama(t *testing.T) {
	w := newWorld(t, behaviour{})
	const ask = `{"model":"toy:latest","messages":[{"role":"user","content":"hello"}]%s}`
	es := jsonLines(t, w.post(t, w.gateway(), "/api/chat", fmt.Sprintf(ask, `,"keep_alive":"5m","options":{"num_ctx":4096,"temperature":0}`)))
	text := ""
	for i, e := range es {
		text += at(e, "message", "content").(string)
		if e["done"] != (i == len(es)-1) || e["model"] != "toy" {
			t.Error(e)
		}
	}
	if last := es[len(es)-1]; text != answerText || last["done_reason"] != "stop" || last["eval_count"] != 20.0 || last["prompt_eval_count"] != 5.0 || at(last, "koinon", "cost") != "2050" {
		t.Errorf("%q %v", text, last)
	}
	b := body(t, w.post(t, w.gateway(), "/api/chat", fmt.Sprintf(ask, `,"stream":false,"options":{"num_predict":3}`)))
	if at(b, "message", "content") != "abc" || b["done_reason"] != "length" || b["done"] != true {
		t.Error(b)
	}
	b = body(t, w.post(t, w.gateway(), "/api/generate", `{"model":"toy","prompt":"hello","stream":false}`))
	if b["response"] != answerText || b["eval_count"] != 20.0 {
		t.Error(b)
	}
	if b = body(t, w.post(t, w.gateway(), "/api/generate", `{"model":"toy","prompt":"hi","raw":true,"stream":false}`)); b["prompt_eval_count"] != 2.0 {
		t.Error(b)
	}
	if b = body(t, w.post(t, w.gateway(), "/api/generate", `{"model":"toy"}`)); b["done_reason"] != "load" {
		t.Error(b)
	}
	b = body(t, w.post(t, w.gateway(), "/api/embed", `{"model":"toy","input":["ab","abc"],"truncate":true}`))
	if fmt.Sprint(b["embeddings"]) != "[[0.6 0 0.8] [0 0.6 -0.8]]" || b["prompt_eval_count"] != 5.0 || at(b, "koinon", "cost") != "50" {
		t.Error(b)
	}
	if b = body(t, w.post(t, w.gateway(), "/api/show", `{"model":"toy"}`)); at(b, "model_info", "koinon.context_length") != 64.0 || !slices.Contains(b["capabilities"].([]any), any("tools")) {
		t.Error(b)
	}
}

func TestOllamaTools(t *testing.T) {
	w := wide(t, behaviour{text: twoCalls})
	w.template = wholeTalk
	es := jsonLines(t, w.post(t, w.gateway(), "/api/chat", `{"model":"toy","messages":[{"role":"user","content":"hello"}],`+weather+`}`))
	var calls []any
	for _, e := range es {
		if c, ok := at(e, "message", "tool_calls").([]any); ok {
			calls = append(calls, c...)
		}
	}
	if len(calls) != 2 || at(calls[0], "function", "arguments", "city") != "Delos" {
		t.Fatal(calls)
	}
	history, _ := json.Marshal([]any{object{"role": "user", "content": "hello"}, object{"role": "assistant", "content": "", "tool_calls": calls},
		object{"role": "tool", "tool_name": "weather", "content": "dry"}, object{"role": "tool", "tool_name": "weather", "content": "wet"}})
	if b := body(t, w.post(t, w.gateway(), "/api/chat", `{"model":"toy","stream":false,"messages":`+string(history)+`,`+weather+`}`)); b["done"] != true {
		t.Error(b)
	}
}

// Where each shape has the system's words, and who speaks after it.
func TestSystemsOfOtherShapes(t *testing.T) {
	for path, q := range map[string]string{
		"/v1/responses": `{"model":"toy","instructions":"Be brief.","input":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"output_text","text":"y"}]},{"role":"user","content":"z"}]}`,
		"/v1/messages":  `{"model":"toy","max_tokens":5,"system":[{"type":"text","text":"Be brief."}],"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"},{"role":"user","content":"z"}]}`,
		"/api/chat":     `{"model":"toy","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"x"},{"role":"assistant","content":"y"},{"role":"user","content":"z"}]}`,
		"/api/generate": `{"model":"toy","system":"Be brief.","prompt":"x"}`,
	} {
		w := wide(t, behaviour{})
		w.template = wholeTalk
		_, _ = io.ReadAll(w.post(t, w.gateway(), path, q).Body)
		want := "system: Be brief.\nuser: x\nassistant: y\nuser: z\n"
		if path == "/api/generate" {
			want = "system: Be brief.\nuser: x\n"
		}
		if len(w.requests) != 1 {
			t.Fatal(path)
		}
		if got := byteCodec(t).tokenizer.Decode(w.requests[0].Input); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// Every failure comes in its API's own shape: before the answer with a status,
// within it as an event, after which nothing looks like an end.
func TestFailuresInEveryShape(t *testing.T) {
	busy := &core.Error{Code: core.CodeBusy, Message: "queue full"}
	asks := map[string]string{
		"/v1/responses": `{"model":"toy","input":"hello"%s}`,
		"/v1/messages":  `{"model":"toy","max_tokens":50,"messages":[{"role":"user","content":"hello"}]%s}`,
		"/api/chat":     `{"model":"toy","messages":[{"role":"user","content":"hello"}]%s}`,
		"/api/generate": `{"model":"toy","prompt":"hello"%s}`,
	}
	kind := map[string]func(object) any{
		"/v1/responses": func(b object) any { return at(b, "error", "code") },
		"/v1/messages":  func(b object) any { return at(b, "error", "type") },
		"/api/chat":     func(b object) any { return at(b, "koinon", "code") },
		"/api/generate": func(b object) any { return at(b, "koinon", "code") },
	}
	for path, q := range asks {
		for _, c := range []struct {
			w          *world
			body, want string
			status     int
		}{
			{newWorld(t, behaviour{}), strings.Replace(fmt.Sprintf(q, ""), "toy", "nope", 1), "model_not_found", 404},
			{newWorld(t, behaviour{refuse: busy}), fmt.Sprintf(q, ""), "overloaded", 429},
			{newWorld(t), fmt.Sprintf(q, ""), "no_provider", 503},
			{newWorld(t, behaviour{}), fmt.Sprintf(q, `,"frobnicate":1`), "invalid_request", 400},
			{newWorld(t, behaviour{}), `{"model":7}`, "invalid_request", 400},
			{newWorld(t, behaviour{}), strings.Repeat("[", 1000), "invalid_request", 400},
			{newWorld(t, behaviour{}), strings.Replace(fmt.Sprintf(q, ""), "hello", strings.Repeat("x", 64), 1), "context_length_exceeded", 400},
		} {
			resp := c.w.post(t, c.w.gateway(), path, c.body)
			if path == "/v1/messages" {
				c.want = map[string]string{"model_not_found": "not_found_error", "overloaded": "overloaded_error", "no_provider": "api_error", "invalid_request": "invalid_request_error", "context_length_exceeded": "invalid_request_error"}[c.want]
				if c.status == 429 {
					c.status = 529
				}
			}
			if b := body(t, resp); resp.StatusCode != c.status || kind[path](b) != c.want {
				t.Errorf("%s %s: %d %v", path, clip(c.body, 80), resp.StatusCode, b)
			}
		}
		w := newWorld(t, behaviour{dieAfter: 3})
		raw, _ := io.ReadAll(w.post(t, w.gateway(), path, fmt.Sprintf(q, `,"stream":true`)).Body)
		for _, end := range []string{`"done":true`, "message_stop", "response.completed", "response.incomplete", "[DONE]"} {
			if strings.Contains(string(raw), end) {
				t.Errorf("%s: a broken stream has %s:\n%s", path, end, raw)
			}
		}
		for _, s := range map[string][]string{"/v1/responses": {"event: error\n", "event: response.failed\n", `"charge":"300"`}, "/v1/messages": {"event: error\n", `"type":"api_error"`, `"charge":"300"`},
			"/api/chat": {`"error":"`, `"charge":"300"`}, "/api/generate": {`"error":"`, `"charge":"300"`}}[path] {
			if !strings.Contains(string(raw), s) {
				t.Errorf("%s: a broken stream lacks %s:\n%s", path, s, raw)
			}
		}
	}
}

func TestParametersOfOtherShapes(t *testing.T) {
	for _, c := range []struct{ path, body, param string }{
		{"/v1/responses", `{"input":"x"}`, "model"},
		{"/v1/responses", `{"model":"toy"}`, "input"},
		{"/v1/responses", `{"model":"toy","input":[]}`, "input"},
		{"/v1/responses", `{"model":"toy","input":"x","store":true}`, "store"},
		{"/v1/responses", `{"model":"toy","input":"x","previous_response_id":"resp_1"}`, "previous_response_id"},
		{"/v1/responses", `{"model":"toy","input":"x","max_output_tokens":0}`, "max_output_tokens"},
		{"/v1/responses", `{"model":"toy","input":"x","temperature":3}`, "temperature"},
		{"/v1/responses", `{"model":"toy","input":"x","include":["file_search_call.results"]}`, "include"},
		{"/v1/responses", `{"model":"toy","input":"x","reasoning":{"effort":"high"}}`, "reasoning.effort"},
		{"/v1/responses", `{"model":"toy","input":"x","reasoning":{"depth":1}}`, "reasoning.depth"},
		{"/v1/responses", `{"model":"toy","input":"x","text":{"format":{"type":"yaml"}}}`, "text.format.type"},
		{"/v1/responses", `{"model":"toy","input":"x","text":{"format":{"type":"json_schema","strict":true,"schema":{"if":{}}}}}`, "text.format.schema"},
		{"/v1/responses", `{"model":"toy","input":"x","text":{"verbosity":"low"}}`, "text.verbosity"},
		{"/v1/responses", `{"model":"toy","input":"x","tools":[{"type":"web_search"}]}`, "tools"},
		{"/v1/responses", `{"model":"toy","input":"x","tools":[{"type":"function","name":"f","strict":true,"parameters":{"if":{}}}]}`, "tools[0].parameters"},
		{"/v1/responses", `{"model":"toy","input":"x","tool_choice":{"type":"function","name":"f"}}`, "tool_choice"},
		{"/v1/responses", `{"model":"toy","input":[{"type":"reasoning"}]}`, "input[0].type"},
		{"/v1/responses", `{"model":"toy","input":[{"role":"user","content":[{"type":"input_image"}]}]}`, "input[0].content[0]"},
		{"/v1/responses", `{"model":"toy","input":[{"role":"wizard","content":"x"}]}`, "input[0].role"},
		{"/v1/responses", `{"model":"toy","input":[{"type":"function_call_output","call_id":"c","output":"x"}]}`, "input[0].call_id"},
		{"/v1/responses", `{"model":"toy","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"role":"user","content":"x"}]}`, "input"},
		{"/v1/messages", `{"model":"toy","messages":[{"role":"user","content":"x"}]}`, "max_tokens"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[]}`, "messages"},
		{"/v1/messages", `{"model":"toy","max_tokens":0,"messages":[{"role":"user","content":"x"}]}`, "max_tokens"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"}],"stop_sequences":[""]}`, "stop_sequences"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled","budget_tokens":1024}}`, "thinking.type"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"}],"output_config":{"effort":"low"}}`, "output_config.effort"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"}],"output_config":{"format":{"type":"json_schema","schema":{"if":{}}}}}`, "output_config.format.schema"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"}],"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}}`, "context_management.edits"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_search_20250305","name":"web_search"}]}`, "tools"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"}],"tool_choice":{"type":"all"}}`, "tool_choice"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image"}]}]}`, "messages[0].content[0]"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":""}]}`, "messages[0].content"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"The answer is"}]}`, "messages"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}]}`, "messages[0].content[0].tool_use_id"},
		{"/v1/messages", `{"model":"toy","max_tokens":5,"system":[{"type":"image"}],"messages":[{"role":"user","content":"x"}]}`, "system.content[0]"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x","images":["aGk="]}]}`, "messages[0].images"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"wizard","content":"x"}]}`, "messages[0].role"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"tool","content":"x"}]}`, "messages[0].tool_name"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"think":true}`, "think"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"format":"yaml"}`, "format"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"format":{"if":{}}}`, "format"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"options":{"temperature":9}}`, "options.temperature"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"options":{"temperature":"hot"}}`, "options.temperature"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"options":{"mirostat":2}}`, "options.mirostat"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"options":{"wings":2}}`, "options.wings"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"options":{"num_predict":0}}`, "options.num_predict"},
		{"/api/chat", `{"model":"toy","messages":[{"role":"user","content":"x"}],"options":{"repeat_penalty":1.2,"repeat_last_n":64}}`, "options.repeat_last_n"},
		{"/api/generate", `{"model":"toy","prompt":"x","suffix":"y"}`, "suffix"},
		{"/api/generate", `{"model":"toy","prompt":"x","raw":true,"system":"y"}`, "system"},
		{"/api/embed", `{"model":"toy","input":7}`, "input"},
		{"/api/embed", `{"model":"toy","input":"` + strings.Repeat("x", 65) + `","truncate":true}`, "input"},
		{"/api/show", `{"model":"nope"}`, "model"},
	} {
		w := newWorld(t, behaviour{})
		b := body(t, w.post(t, w.gateway(), c.path, c.body))
		got := at(b, "error", "param")
		if strings.HasPrefix(c.path, "/api") {
			got = at(b, "koinon", "param")
		}
		if got != c.param {
			t.Errorf("%s %s: param %v, want %s: %v", c.path, clip(c.body, 150), got, c.param, b)
		}
		if len(w.requests) > 0 {
			t.Errorf("%s %s reached a provider", c.path, c.body)
		}
	}
}

// What a shape's request says reaches the sampler that is signed.
func TestSamplersOfOtherShapes(t *testing.T) {
	for path, q := range map[string]string{
		"/v1/responses": `{"model":"toy","input":"x","max_output_tokens":9,"temperature":0.5,"top_p":0.25,"seed":7,"text":{"format":{"type":"json_object"}}}`,
		"/v1/messages":  `{"model":"toy","messages":[{"role":"user","content":"x"}],"max_tokens":9,"temperature":0.5,"top_p":0.25,"seed":7,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}`,
		"/api/chat":     `{"model":"toy","messages":[{"role":"user","content":"x"}],"format":"json","options":{"num_predict":9,"temperature":0.5,"top_p":0.25,"seed":7}}`,
		"/api/generate": `{"model":"toy","prompt":"x","format":{"type":"object"},"options":{"num_predict":9,"temperature":0.5,"top_p":0.25,"seed":7}}`,
	} {
		w := newWorld(t, behaviour{})
		resp := w.post(t, w.gateway(), path, q)
		_, _ = io.ReadAll(resp.Body)
		if len(w.requests) != 1 {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		if r := w.requests[0]; r.Sampler.MaxTokens != 9 || r.Sampler.Temperature != 500_000 || r.Sampler.TopP != 250_000 || r.UserSeed == nil || *r.UserSeed != 7 || r.Sampler.Constraint == nil {
			t.Errorf("%s: %+v", path, r.Sampler)
		}
	}
}

func FuzzOtherShapes(f *testing.F) {
	f.Add([]byte(`{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"y"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"tool_choice":{"type":"function","name":"f"},"text":{"format":{"type":"json_object"}}}`))
	f.Add([]byte(`{"model":"m","max_tokens":5,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"y"}]}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}`))
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]},{"role":"tool","content":"y"}],"format":"json","options":{"temperature":1,"num_ctx":5,"stop":["a"]}}`))
	f.Add([]byte(`{"model":"m","prompt":"x","system":"y","raw":false,"models":["a"],"provider":{"order":["p"],"max_price":{"prompt":1.5,"completion":"2koin"},"sort":"price"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		try := func(p plan, err error) {
			if err != nil {
				if core.CodeOf(err) == core.CodeInternal {
					t.Fatalf("%s: %v", b, err)
				}
				return
			}
			if p.n != 1 || len(p.messages) == 0 || len(p.messages) > maxMessages+1 || p.logprobs > core.MaxLogprobs {
				t.Fatalf("%s passes as %+v", b, p)
			}
			if s, err := p.sampler(core.Sampler{}); err == nil && (s.Temperature > 2*micro || s.TopP > micro || len(s.Stop) > core.MaxStops) {
				t.Fatalf("%s passes as %+v", b, s)
			}
			_, _, _ = p.on(p.Model)
			p.tools.told(p.messages)
		}
		var x responsesRequest
		if responses.decode(b, &x) == nil {
			try(x.plan())
		}
		var m messagesRequest
		if anthropic.decode(b, &m) == nil {
			try(m.plan())
		}
		var c ollamaChat
		if ollama.decode(b, &c) == nil {
			try(c.plan())
		}
		var g ollamaGenerate
		if ollama.decode(b, &g) == nil {
			try(g.plan())
		}
		var e ollamaEmbed
		_ = ollama.decode(b, &e)
	})
}
