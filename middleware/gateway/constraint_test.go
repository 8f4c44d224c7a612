package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/grammar"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/seed"
)

// accepts reports whether a sentence is in a constraint's language; without the
// trigger, which it then does not contain.
func accepts(t *testing.T, c *core.Constraint, sentence string) bool {
	t.Helper()
	piece := func(i core.Token) []byte { return []byte{byte(i)} }
	m, err := grammar.NewMachine(grammar.NewVocabulary(256, piece, func(core.Token) bool { return false }), core.Constraint{Grammar: c.Grammar})
	if err != nil {
		t.Fatalf("%v in\n%s", err, c.Grammar)
	}
	s := m.Start()
	for _, b := range []byte(sentence) {
		s = m.Next(s, core.Token(b))
	}
	return s.Complete()
}

func box(t *testing.T, body string) *toolbox {
	t.Helper()
	var c chatRequest
	if err := openAI.decode([]byte(`{`+body+`}`), &c); err != nil {
		t.Fatal(err)
	}
	b, err := newToolbox(c.Tools, c.ToolChoice, c.ParallelTools)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLanguagesOfCalls(t *testing.T) {
	const tools = `"tools":[{"type":"function","function":{"name":"say","strict":true,"parameters":{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9}},"required":["n"],"additionalProperties":false}}},{"type":"function","function":{"name":"stop"}}]`
	say := "<tool_call>\n{\"name\": \"say\", \"arguments\": {\"n\": 7}}\n</tool_call>"
	stop := "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>"
	for _, c := range []struct {
		body, other string
		yes, no     []string
	}{
		{tools + `,"tool_choice":"required"`, "", []string{say, stop, say + "\n" + stop}, []string{"", "text", say + stop, strings.Replace(say, "7", "0", 1), strings.Replace(say, "say", "stay", 1), say + "\n"}},
		{tools + `,"tool_choice":"required","parallel_tool_calls":false`, "", []string{say, stop}, []string{say + "\n" + stop}},
		{tools + `,"tool_choice":{"type":"function","function":{"name":"stop"}}`, "", []string{stop, stop + "\n" + stop}, []string{say}},
		{tools, "", []string{say[len("<tool_call>"):], stop[len("<tool_call>"):] + "\n" + say}, []string{say}},
		{tools, `root ::= "[" root? "]"`, []string{say, "[]", "[[]]"}, []string{"[", say + "[]", "x"}},
	} {
		b := box(t, c.body)
		k, err := b.constraint(chat.Hermes(), c.other)
		if err != nil {
			t.Fatal(err)
		}
		if (k.Trigger != "") != (!b.forced && c.other == "") {
			t.Errorf("%s: trigger %q", c.body, k.Trigger)
		}
		for _, s := range c.yes {
			if !accepts(t, k, s) {
				t.Errorf("%s, %q: refuses %q\n%s", c.body, c.other, s, k.Grammar)
			}
		}
		for _, s := range c.no {
			if accepts(t, k, s) {
				t.Errorf("%s, %q: accepts %q", c.body, c.other, s)
			}
		}
	}
}

func TestResponseFormats(t *testing.T) {
	for _, c := range []struct{ format, yes, no string }{
		{`{"type":"json_object"}`, `{"a": [1, null]}`, `[1]`},
		{`{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type":"object","properties":{"a":{"enum":[1,2]}},"required":["a"],"additionalProperties":false}}}`, `{"a": 2}`, `{"a": 3}`},
		{`{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","not":{}}}}`, `{"a": 3}`, `3`},
	} {
		var f responseFormat
		if err := json.Unmarshal([]byte(c.format), &f); err != nil {
			t.Fatal(err)
		}
		g, err := f.language()
		if err != nil {
			t.Error(err)
			continue
		}
		if k := (&core.Constraint{Grammar: g}); !accepts(t, k, c.yes) || accepts(t, k, c.no) {
			t.Errorf("%s", c.format)
		}
	}
	w := newWorld(t, behaviour{})
	for bad, param := range map[string]string{
		`"response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type":"object","not":{}}}}`: "response_format.json_schema.schema",
		`"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"not":{}}}}]`:                           "tools[0].function.parameters",
		`"grammar":"root ::= x"`: "grammar",
		`"grammar":"root ::= \"a\"","response_format":{"type":"json_object"}`: "grammar",
	} {
		resp := w.post(t, w.gateway(), "/v1/chat/completions", ask(","+bad))
		b := body(t, resp)
		if resp.StatusCode != 400 || at(b, "error", "param") != param || at(b, "error", "next") == nil && strings.Contains(bad, "strict") {
			t.Errorf("%s: %v", bad, b)
		}
		if strings.Contains(bad, "not") && !strings.Contains(at(b, "error", "message").(string), "not") {
			t.Errorf("the error does not name what cannot be honoured: %v", b)
		}
	}
}

// seeded answers by the built-in model instead of by a script.
type seeded struct {
	*world
	m *model.Model
}

func (w *seeded) Infer(_ context.Context, p core.Provider, r core.SignedRequest, _ core.Hash) (core.Exchange, error) {
	var s core.Seed
	if r.UserSeed != nil {
		s[0] = byte(*r.UserSeed)
	}
	q, err := w.m.NewSequence(core.SequenceInput{Input: r.Input, Sampler: r.Sampler, Seed: s})
	return &modelExchange{w: w, q: q, r: r}, err
}

type modelExchange struct {
	w    *seeded
	q    core.Sequence
	r    core.SignedRequest
	sent int
}

func (x *modelExchange) Pay(core.Voucher) error { return nil }
func (x *modelExchange) Cancel() error          { return nil }
func (x *modelExchange) Close() error           { x.q.Release(); return nil }

func (x *modelExchange) Recv(ctx context.Context) (core.Event, error) {
	for len(x.q.Output()) == x.sent && x.q.Finish() == "" {
		if err := x.w.m.Step(ctx, []core.Sequence{x.q}); err != nil {
			return nil, err
		}
	}
	u := core.Usage{Output: uint32(len(x.q.Output()))}
	if fresh := x.q.Output()[x.sent:]; len(fresh) > 0 {
		c := &core.Chunk{Tokens: fresh, Due: u.Cost(x.r.PriceIn, x.r.PriceOut)}
		if x.r.Sampler.Logprobs > 0 {
			c.Logprobs = x.q.Logprobs()[x.sent:]
		}
		x.sent = len(x.q.Output())
		return c, nil
	}
	if x.sent < 0 {
		return nil, io.EOF
	}
	u.Input = x.r.Prompt
	return &core.Done{Finish: x.q.Finish(), Usage: u, Due: u.Cost(x.r.PriceIn, x.r.PriceOut), Receipt: core.SignedReceipt{Receipt: core.Receipt{Request: x.r.ID}}}, nil
}

// The built-in model is too small to call tools on purpose. Under a grammar it
// gives valid JSON and the forced call all the same, at any temperature.
func TestTheSmallestModelObeysSchemas(t *testing.T) {
	m, err := model.OpenBytes(seed.Bytes(), model.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	old := testModel
	defer func() { testModel = old }()
	testModel.Context = uint32(m.Info().ContextLength)
	w := &seeded{newWorld(t, behaviour{}), m}
	g := New(Config{Chain: w, Dialer: w, Signer: w, Purse: w, Archive: w, Codec: func(context.Context, core.Manifest) (*Codec, error) { return NewCodec(m.Metadata()) }})
	post := func(extra string) object {
		t.Helper()
		resp := w.post(t, g, "/v1/chat/completions", `{"model":"toy","messages":[{"role":"user","content":"What is a receipt?"}],`+extra+`}`)
		b := body(t, resp)
		if resp.StatusCode != http.StatusOK {
			t.Fatal(b)
		}
		return b
	}
	const schema = `{"type":"object","properties":{"ok":{"type":"boolean"},"n":{"type":"integer","minimum":10,"maximum":99},"list":{"type":"array","items":{"enum":["a","b"]},"maxItems":3}},"required":["ok","n","list"],"additionalProperties":false}`
	for _, extra := range []string{`"temperature":0`, `"temperature":2,"seed":1`, `"temperature":2,"seed":2,"n":3`} {
		b := post(extra + `,"max_tokens":120,"response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":` + schema + `}}`)
		for i := range b["choices"].([]any) {
			var v struct {
				OK   *bool
				N    int
				List []string
			}
			text := at(b, "choices", i, "message", "content").(string)
			if err := json.Unmarshal([]byte(text), &v); err != nil || v.OK == nil || v.N < 10 || v.N > 99 || len(v.List) > 3 || at(b, "choices", i, "finish_reason") != "stop" {
				t.Errorf("%s: %q %v", extra, text, err)
			}
		}
		forced := extra + `,"max_tokens":150,"logprobs":true,"parallel_tool_calls":false,"tool_choice":{"type":"function","function":{"name":"pick"}},"tools":[{"type":"function","function":{"name":"pick","strict":true,"parameters":` + schema + `}}]`
		b = post(forced)
		again := post(forced)
		for i := range b["choices"].([]any) {
			call := at(b, "choices", i, "message", "tool_calls", 0, "function")
			if at(call, "name") != "pick" || !json.Valid([]byte(at(call, "arguments").(string))) || at(b, "choices", i, "finish_reason") != "tool_calls" || at(b, "choices", i, "message", "content") != nil {
				t.Errorf("%s: %v", extra, at(b, "choices", i))
			}
			if at(again, "choices", i, "message", "tool_calls", 0, "function", "arguments") != at(call, "arguments") {
				t.Errorf("%s: the same order gives another call", extra)
			}
		}
	}
	if b := post(`"max_tokens":4,"response_format":{"type":"json_object"}`); at(b, "choices", 0, "finish_reason") != "length" {
		t.Error(b)
	}
}

// Many tools whose schemas are more than one grammar holds are offered all the
// same, unless they are strict.
func TestTooManySchemas(t *testing.T) {
	var tools []string
	for i := range 120 {
		var properties []string
		for k := range 20 {
			properties = append(properties, fmt.Sprintf(`"property_number_%d_of_tool_%d":{"enum":["one","two","three"]}`, k, i))
		}
		tools = append(tools, fmt.Sprintf(`{"type":"function","function":{"name":"tool%d","strict":%%v,"parameters":{"type":"object","properties":{%s},"additionalProperties":false}}}`, i, strings.Join(properties, ",")))
	}
	for _, strict := range []bool{false, true} {
		var c chatRequest
		if err := openAI.decode([]byte(`{"model":"m","messages":[],"tools":[`+strings.ReplaceAll(strings.Join(tools, ","), "%v", fmt.Sprint(strict))+`]}`), &c); err != nil {
			t.Fatal(err)
		}
		b, err := newToolbox(c.Tools, c.ToolChoice, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.constraint(chat.Hermes(), "")
		if strict != (core.CodeOf(err) == core.CodeTooLarge) || !strict && (err != nil || len(got.Grammar) > core.MaxGrammar) {
			t.Errorf("strict %v: %v", strict, err)
		}
	}
}
