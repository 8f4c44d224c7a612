package chat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/infra/engine/token"
)

// The templates in testdata behave as those that the families' files carry;
// their prose is shorter.
var wild = []struct{ file, tools string }{
	{"chatml", ""}, {"llama-2", ""}, {"llama-3.1", "llama3"}, {"mistral-nemo", "mistral"}, {"mistral-small-3.2", "mistral-args"}, {"mixtral", ""},
	{"qwen2.5", "hermes"}, {"qwen3", "hermes"}, {"gemma-2", ""}, {"gemma-3", ""}, {"phi-3", ""}, {"phi-4-mini", "phi4"},
	{"deepseek-r1", "deepseek"}, {"hermes-3", "hermes"}, {"language", ""},
}

// wildModel opens a template of testdata.
func wildModel(t testing.TB, file string) (*Template, *token.Tokenizer) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("testdata", "templates", file+".jinja"))
	if err != nil {
		t.Fatal(err)
	}
	m, tok := model(t, string(src), "<s>", "</s>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")
	tp, err := New(m, tok)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return tp, tok
}

const toolDialogue = `[{"role":"system","content":"Be brief."},{"role":"user","content":"Weather in Paris and Rome?"},
	{"role":"assistant","content":null,"tool_calls":[{"id":"call_abcdef123","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Paris\", \"days\": 2}"}}]},
	{"role":"tool","tool_call_id":"call_abcdef123","name":"weather","content":"{\"sky\": \"grey\"}"},
	{"role":"assistant","content":"Grey."},{"role":"user","content":" And \"Rome\"?\n"}]`

const weather = `[{"type":"function","function":{"name":"weather","description":"Says the weather.","parameters":{"type":"object","properties":
	{"city":{"type":"string","description":"A city, e.g. \"Köln\""},"days":{"type":["integer","null"]},"units":{"type":"array","items":{"type":"string"}}},
	"required":["city"]}}}]`

func weatherTool(t testing.TB) []Tool {
	t.Helper()
	var ts []Tool
	if err := json.Unmarshal([]byte(weather), &ts); err != nil {
		t.Fatal(err)
	}
	return ts
}

func TestToolsOfTheFamilies(t *testing.T) {
	for _, c := range wild {
		tp, tok := wildModel(t, c.file)
		name := ""
		if tp.Tools != nil {
			name = tp.Tools.Name
		}
		if name != c.tools {
			t.Errorf("%s: calls are taken for %q, want %q", c.file, name, c.tools)
			continue
		}
		if tp.Tools == nil {
			continue
		}
		prompt, err := tp.Render(conversation(t, toolDialogue), Options{Tools: weatherTool(t), AddGenerationPrompt: true})
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		for _, want := range []string{`Köln`, "weather", `"city": "Paris", "days": 2`, `{"sky": "grey"}`, "Be brief.", `And "Rome"?`} {
			if !strings.Contains(prompt, want) {
				t.Errorf("%s: the prompt lacks %s:\n%s", c.file, want, prompt)
			}
		}
		// A call that the model writes as the template would have comes back out of its tokens.
		form := tp.Tools.Forms(weatherTool(t))[0]
		answer := tp.Tools.Open + form.Before + `{"city": "Rome"}` + form.After + tp.Tools.Close
		d, p := tp.Decoder(), tp.Tools.Parser(weatherTool(t))
		var calls []ToolCall
		for _, id := range tok.Encode(answer, token.Options{ParseSpecial: true}) {
			for _, piece := range p.Write(d.Write(id)) {
				if piece.Call != nil {
					calls = append(calls, *piece.Call)
				}
			}
		}
		for _, piece := range p.Close() {
			if piece.Call != nil {
				calls = append(calls, *piece.Call)
			}
		}
		if len(calls) != 1 || calls[0].Name != "weather" || string(calls[0].Arguments) != `{"city": "Rome"}` {
			t.Errorf("%s: %q gives %v", c.file, answer, calls)
		}
	}
}

func TestThinkingOfQwen3(t *testing.T) {
	tp, _ := wildModel(t, "qwen3")
	ms := conversation(t, `[{"role":"user","content":"a"},{"role":"assistant","content":"<think>\nhm\n</think>\n\nb"},{"role":"user","content":"c"}]`)
	got, err := tp.Render(ms, Options{AddGenerationPrompt: true, Variables: map[string]JSON{"enable_thinking": JSON("false")}})
	want := "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
}

func BenchmarkRender(b *testing.B) {
	tp, _ := wildModel(b, "qwen3")
	ms := conversation(b, toolDialogue)
	for range 5 {
		ms = append(ms, ms[1:]...)
	}
	ts := weatherTool(b)
	for b.Loop() {
		if _, err := tp.Render(ms, Options{Tools: ts, AddGenerationPrompt: true, Now: time.Unix(0, 0)}); err != nil {
			b.Fatal(err)
		}
	}
}
