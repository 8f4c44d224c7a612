package gateway

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/koinon-network/koinon/infra/engine/chat"
)

// However an answer is cut, its calls come out whole and in order, each part as
// soon as it is there.
func TestCallScannerAnyCut(t *testing.T) {
	tools := []chat.Tool{{Name: "go"}, {Name: "go_on"}}
	f := chat.Hermes()
	rapid.Check(t, func(t *rapid.T) {
		free := rapid.Bool().Draw(t, "free")
		said := ""
		if free {
			said = rapid.StringOf(rapid.RuneFrom([]rune("ab <tool_call>\n"))).Filter(func(s string) bool { return !strings.Contains(s+"<", f.Trigger) && !strings.HasSuffix(s, "<tool_call") }).Draw(t, "text")
		}
		var want []chat.ToolCall
		answer := said
		for i := range rapid.IntRange(0, 3).Draw(t, "calls") {
			tool := rapid.IntRange(0, 1).Draw(t, "tool")
			args := rapid.SampledFrom([]string{`{}`, `{"a": "}\"]{"}`, `{"a": [1, {"b": "\\"}], "c": {}}`}).Draw(t, "args")
			if i > 0 {
				answer += f.Between
			}
			form := f.Forms(tools)[tool]
			answer += form.Before + args + form.After
			want = append(want, chat.ToolCall{Name: tools[tool].Name, Arguments: chat.JSON(args)})
		}
		s := newCallScanner(f, tools, free)
		var got delta
		read := func(text string, calls []callPart) { got.text += text; got.calls = append(got.calls, calls...) }
		for rest := answer; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			read(s.write(rest[:n]))
			rest = rest[n:]
		}
		read(s.end())
		calls := got.whole()
		if got.text != said || len(calls) != len(want) {
			t.Fatalf("%q: text %q, %v", answer, got.text, calls)
		}
		for i := range want {
			if calls[i].Name != want[i].Name || string(calls[i].Arguments) != string(want[i].Arguments) {
				t.Fatalf("%q: call %d is %s %s", answer, i, calls[i].Name, calls[i].Arguments)
			}
		}
	})
}

// What a length limit cuts off is shown as far as it goes.
func TestCallScannerCutOff(t *testing.T) {
	s := newCallScanner(chat.Hermes(), []chat.Tool{{Name: "go"}}, false)
	text, calls := s.write("<tool_call>\n{\"name\": \"go\", \"arguments\": {\"a\": 1")
	if text != "" || len(calls) != 2 || calls[1].arguments != `{"a": 1` {
		t.Fatal(text, calls)
	}
	s = newCallScanner(chat.Hermes(), []chat.Tool{{Name: "go"}}, false)
	if text, calls = s.write("<tool_call>\n{\"na"); text != "" || calls != nil {
		t.Fatal(text, calls)
	}
	if text, _ = s.end(); text != "<tool_call>\n{\"na" {
		t.Errorf("%q", text)
	}
	s = newCallScanner(chat.Hermes(), []chat.Tool{{Name: "go"}}, false)
	if text, _ = s.write("no call at all"); text != "no call at all" {
		t.Errorf("%q", text)
	}
}
