package chat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func format(t testing.TB, name string) *ToolFormat {
	t.Helper()
	for _, f := range toolFormats {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no format is named %q", name)
	return nil
}

// parse feeds an answer in pieces of n bytes and writes the result down as
// text with calls as «id name arguments».
func parsed(f *ToolFormat, tools []Tool, answer string, n int) string {
	p := f.Parser(tools)
	var b strings.Builder
	note := func(pieces []Piece) {
		for _, x := range pieces {
			if x.Call != nil {
				fmt.Fprintf(&b, "«%s %s %s»", x.Call.ID, x.Call.Name, x.Call.Arguments)
			} else {
				b.WriteString(x.Text)
			}
		}
	}
	for ; len(answer) > n; answer = answer[n:] {
		note(p.Write(answer[:n]))
	}
	note(p.Write(answer))
	note(p.Close())
	return b.String()
}

func tools(t testing.TB, names ...string) []Tool {
	t.Helper()
	out := make([]Tool, len(names))
	for i, name := range names {
		err := json.Unmarshal(fmt.Appendf(nil, `{"type":"function","function":{"name":%q,"description":"d",`+
			`"parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}}`, name), &out[i])
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestCallsAreReadFromAnswers(t *testing.T) {
	for _, c := range []struct{ format, answer, want string }{
		{"hermes", "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>", "Let me see.\n« f {\"x\": 1}»"},
		{"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>{\"arguments\":{\"a\":[\"</tool_call>\"]},\"name\":\"g\"}</tool_call>\n",
			"« f {}»« g {\"a\":[\"</tool_call>\"]}»"},
		{"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call> done", "« f {}» done"},
		{"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}", "« f {\"x\":1}»"}, // ended early; arguments as a string
		{"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_ca", "« f {}»</tool_ca"},
		{"hermes", "a <tool_call> b", "a <tool_call> b"},
		{"hermes", "a <tool_", "a <tool_"},
		{"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\": ", "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\": "},
		{"hermes", "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>!", "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>!"},
		{"hermes", "<tool_call>{'name':'f'}</tool_call><tool_call>{\"name\":\"f\"}</tool_call>", "<tool_call>{'name':'f'}</tool_call>« f {}»"},
		{"hermes", "<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call>", "<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call>"},
		{"mistral", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": 1}, \"id\": \"abcdefghi\"}, {\"name\": \"g\", \"arguments\": {}}]",
			"«abcdefghi f {\"x\": 1}»« g {}»"},
		{"mistral", "[TOOL_CALLS] {\"name\": \"f\", \"arguments\": {\"x\": 1}}", "« f {\"x\": 1}»"},
		{"mistral", "[TOOL_CALLS] []", "[TOOL_CALLS] []"},
		{"mistral", "see [1] and [TOOL", "see [1] and [TOOL"},
		{"mistral-args", "[TOOL_CALLS]f[ARGS]{\"x\": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}", "« f {\"x\": 1}»«abcdefghi g {}»"},
		{"mistral-args", "[TOOL_CALLS]f g[ARGS]{}", "[TOOL_CALLS]f g[ARGS]{}"},
		{"llama3", "{\"name\": \"f\", \"parameters\": {\"x\": 1}}", "« f {\"x\": 1}»"},
		{"llama3", "\n<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"type\": \"function\", \"name\": \"g\", \"parameters\": {\"x\": \"}\"}}",
			"« f {}»« g {\"x\": \"}\"}»"},
		{"llama3", "{\"name\": \"Bob\", \"age\": 3} is a person", "{\"name\": \"Bob\", \"age\": 3} is a person"},
		{"llama3", "Use {\"name\": \"f\", \"parameters\": {}}", "Use {\"name\": \"f\", \"parameters\": {}}"},
		{"llama3", "<|python", "<|python"},
		{"deepseek", "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"x\": 1}\n```<｜tool▁call▁end｜>\n" +
			"<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "Hm.« f {\"x\": 1}»« g {}»"},
		{"deepseek-v3.1", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": 1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}" +
			"<｜tool▁call▁end｜><｜tool▁calls▁end｜> x", "« f {\"x\": 1}»« g {}» x"},
		{"phi4", "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"x\": 1}}]<|/tool_call|>", "« f {\"x\": 1}»"},
		{"command-r7b", "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"x\": 1}}\n]<|END_ACTION|>", "«0 f {\"x\": 1}»"},
	} {
		for _, n := range []int{1, 2, 3, 7, 1000} {
			if got := parsed(format(t, c.format), tools(t, "f", "g"), c.answer, n); got != c.want {
				t.Errorf("%s in steps of %d: %q\n gives %q\n  want %q", c.format, n, c.answer, got, c.want)
			}
		}
	}
}

// What a constraint lets through, the parser must read.
func TestFormsAreReadBack(t *testing.T) {
	ts := tools(t, "f", "get-weather_2")
	for _, f := range toolFormats {
		forms := f.Forms(ts)
		if string(forms[0].Arguments) != `{"type":"object","properties":{"x":{"type":"integer"}}}` {
			t.Errorf("%s: the schema is %s", f.Name, forms[0].Arguments)
		}
		call := func(i int) string { return forms[i].Before + `{"x": 1}` + forms[i].After }
		one, two := f.Open+call(0)+f.Close, f.Open+call(0)+f.Between+call(1)+f.Close
		if !strings.HasPrefix(one, f.Trigger) {
			t.Errorf("%s: a call does not begin with the trigger", f.Name)
		}
		if got := parsed(f, ts, one, 5); got != `« f {"x": 1}»` {
			t.Errorf("%s: %q gives %q", f.Name, one, got)
		}
		if got := parsed(f, ts, two, 5); got != `« f {"x": 1}»« get-weather_2 {"x": 1}»` {
			t.Errorf("%s: %q gives %q", f.Name, two, got)
		}
	}
}

func TestParsingIsLinear(t *testing.T) {
	start := time.Now()
	for _, f := range toolFormats {
		open := f.Trigger + f.before
		for _, unit := range []string{open, open + "{", open + `{"`, open + "[", " ", open + " ", "x", open + "f" + f.nameEnd, "{", "}", open + "{}", open + `{"name":1}`} {
			answer := strings.Repeat(unit, 50_000/len(unit))
			if got := parsed(f, nil, answer, 3); got != answer && strings.TrimSpace(answer) != strings.TrimSpace(got) {
				t.Errorf("%s: a flood of %q comes out otherwise: %.100q", f.Name, unit, got)
			}
		}
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("%v", d)
	}
}

func TestCallsInJSONAreOpenAIs(t *testing.T) {
	var c ToolCall
	if err := json.Unmarshal([]byte(`{"id":"i","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}`), &c); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if want := `{"id":"i","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}}`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
	for _, bad := range []string{`{"type":"function","function":{"name":"f","arguments":"[1]"}}`, `{"function":{"arguments":"{}"}}`,
		`{"type":"custom","function":{"name":"f"}}`, `{"function":{"name":"f","arguments":"{"}}`} {
		if json.Unmarshal([]byte(bad), &c) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	var tool Tool
	for _, bad := range []string{`{"type":"web_search"}`, `{"type":"function","function":{"name":"a b"}}`, `{"type":"function","function":{}}`} {
		if json.Unmarshal([]byte(bad), &tool) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	a, b2 := CallID("answer", 0), CallID("answer", 1)
	if a == b2 || len(a) != 9 || a != CallID("answer", 0) {
		t.Error(a, b2)
	}
}

func FuzzToolParser(f *testing.F) {
	f.Add("a<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", 3)
	f.Add("[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}] x", 1)
	f.Add("{\"name\":\"f\",\"parameters\":{}};", 2)
	f.Fuzz(func(t *testing.T, answer string, n int) {
		n = max(1, n%64)
		for _, format := range toolFormats {
			got := parsed(format, nil, answer, n)
			if whole := parsed(format, nil, answer, len(answer)+1); got != whole {
				t.Fatalf("%s: %q in steps of %d gives %q, at once %q", format.Name, answer, n, got, whole)
			}
			if none := parsed(format, []Tool{}, answer, n); none != answer {
				t.Fatalf("%s: with no tool on offer %q becomes %q", format.Name, answer, none)
			}
		}
	})
}

func TestTheFormatIsFoundByWhatTheTemplateWrites(t *testing.T) {
	const dialogue = `{% for m in messages %}<{{ m.role }}>{{ m.content }}`
	for _, c := range []struct{ call, want string }{
		{``, ""},
		{"\n<tool_call>\n{\"name\": \"{{ c.name }}\", \"arguments\": {{ c.arguments | tojson }}}\n</tool_call>", "hermes"},
		{"[TOOL_CALLS][{\"name\": \"{{ c.name }}\", \"arguments\": {{ c.arguments | tojson }}}]", "mistral"},
		{"{\"name\": \"{{ c.name }}\", \"parameters\": {{ c.arguments | tojson }}}", "llama3"},
		{"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ c.name + '\\n```json\\n' + c.arguments }}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "deepseek"},
		{"<call>{{ c.name }}</call>", ""},
	} {
		m, tok := model(t, "{% if tools %}{{ tools | tojson }}{% endif %}"+dialogue+"{% for t in m.tool_calls %}{% set c = t.function %}"+c.call+
			"{% endfor %}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}", "<s>", "</s>")
		tp, err := New(m, tok)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		if tp.Tools != nil {
			name = tp.Tools.Name
		}
		if name != c.want {
			t.Errorf("%s is taken for %q, want %q", c.call, name, c.want)
		}
		if _, err := tp.Render([]Message{{Role: "user", Content: "x"}}, Options{Tools: tools(t, "f")}); (err == nil) != (c.want != "") {
			t.Errorf("%s: with tools: %v", c.call, err)
		}
	}
}
