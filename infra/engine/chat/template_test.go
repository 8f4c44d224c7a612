package chat

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// model returns the metadata of a tiny vocabulary, with a template if any.
func model(t testing.TB, template string, specials ...string) (gguf.Metadata, *token.Tokenizer) {
	t.Helper()
	v, err := token.TrainBPE("", 256+len(specials), specials)
	if err != nil {
		t.Fatal(err)
	}
	var m gguf.Metadata
	if err := v.Describe(&m, specials[0], specials[1]); err != nil {
		t.Fatal(err)
	}
	if template != "" {
		m.Set("tokenizer.chat_template", template)
	}
	tok, err := token.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, tok
}

func conversation(t testing.TB, text string) []Message {
	t.Helper()
	var ms []Message
	if err := json.Unmarshal([]byte(text), &ms); err != nil {
		t.Fatal(err)
	}
	return ms
}

const dialogue = `[{"role":"system","content":"Be brief."},{"role":"user","content":" Hi "},
	{"role":"assistant","content":"Hello."},{"role":"user","content":"Bye"}]`

// The templates are condensed from those of the models; the expected prompts
// are what Jinja 3.1 renders.
var families = []struct{ name, template, want string }{
	{"Llama 2", `{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set sys = messages[0]['content'] %}` +
		`{% else %}{% set rest = messages %}{% set sys = false %}{% endif %}{% for message in rest %}` +
		`{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}` +
		`{% if loop.index0 == 0 and sys != false %}{% set content = '<<SYS>>\n' + sys + '\n<</SYS>>\n\n' + message['content'] %}` +
		`{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}` +
		`{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}` +
		`{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}`,
		"<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi [/INST] Hello. </s><s>[INST] Bye [/INST]"},
	{"Llama 3", `{% for message in messages %}{% set content = '<|h|>' + message['role'] + '<|/h|>` + "\n\n" +
		`' + message['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}` +
		`{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|h|>assistant<|/h|>' }}{% endif %}`,
		"<s><|h|>system<|/h|>\n\nBe brief.<|eot|><|h|>user<|/h|>\n\nHi<|eot|><|h|>assistant<|/h|>\n\nHello.<|eot|>" +
			"<|h|>user<|/h|>\n\nBye<|eot|><|h|>assistant<|/h|>"},
	{"Qwen 2", `{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ 'default' }}{% endif %}` +
		`{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}`,
		"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n" +
			"<|im_start|>user\nBye<|im_end|>\n"},
	{"Mistral", `{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set users = loop_messages | selectattr("role", "equalto", "user") | list %}
{#- Count the turns. #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
{{- ns.index ~ '/' ~ users|length }}
`, "<s>[INST]  Hi [/INST] Hello.</s>[INST] Be brief.\n\nBye[/INST]3/2"},
	{"Gemma", `{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}` +
		`{% else %}{% set role = message['role'] %}{% endif %}{{ '<start>' + role + '` + "\n" +
		`' + message['content'] | trim + '<end>` + "\n" + `' }}{% endfor %}{% if add_generation_prompt %}{{'<start>model'}}{% endif %}`,
		"<s><start>system\nBe brief.<end>\n<start>user\nHi<end>\n<start>model\nHello.<end>\n<start>user\nBye<end>\n<start>model"},
	{"Zephyr", "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n" +
		"{% else %}\n{{ '<|' + message.role + '|>\n' + message['content'] + eos_token }}\n{% endif %}\n" +
		"{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
		"<|system|>\nBe brief.</s>\n<|user|>\n Hi </s>\n<|assistant|>\nHello.</s>\n<|user|>\nBye</s>\n<|assistant|>\n"},
	{"Phi 3", `{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + '<|end|>\n'}}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}`,
		"<|system|>\nBe brief.<|end|>\n<|user|>\n Hi <|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n"},
}

func TestModelFamilies(t *testing.T) {
	for _, f := range families {
		m, tok := model(t, f.template, "<s>", "</s>")
		tp, err := New(m, tok)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
			continue
		}
		got, err := tp.Render(conversation(t, dialogue), Options{AddGenerationPrompt: true})
		if err != nil || got != f.want {
			t.Errorf("%s: %v\n got %q\nwant %q", f.name, err, got, f.want)
		}
	}
}

func TestLanguage(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{"{%- macro m(x, pre='>') -%} {{ pre }}{{ x }} {%- endmacro -%}\n{{ m('a') }}{{ m(1.0, pre='#') }}", ">a#1.0"},
		{"{{ [1, none, true, 'it\\'s'] }}", `[1, None, True, "it's"]`},
		{`{{ {'a': 1, 'b': [2.5, "<é>"]} | tojson }}`, `{"a": 1, "b": [2.5, "<é>"]}`},
		{`{{ [{'a': []}] | tojson(indent=2) }}`, "[\n  {\n    \"a\": []\n  }\n]"},
		{"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ 1 + 2 * 3 }}", "3 -4 2 3.5 8 7"},
		{"{{ 'abc'[::-1] }} {{ 'abc'[1:] }} {{ [1,2,3][-1] }} {{ 'a' in 'abc' }} {{ 2 not in [1] }}", "cba bc 3 True True"},
		{"{{ x is defined }} {{ x | default('d') }} {{ '' | default('e', true) }} {{ x.y is defined if x else 'n' }}", "False d e n"},
		{"{% set n = namespace(i=0) %}{% for a in [1,2,3] %}{% set n.i = n.i + a %}{% endfor %}{{ n.i }}", "6"},
		{"{% set i = 0 %}{% for a in [1,2] %}{% set i = a %}{% endfor %}{{ i }}", "0"},
		{"{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k ~ v }}{% if not loop.last %},{% endif %}{% endfor %}", "x1,y2"},
		{"{% for i in range(5) if i is odd %}{{ loop.index }}:{{ i }} {% else %}none{% endfor %}", "1:1 2:3 "},
		{"{% for i in [] %}{{ i }}{% else %}empty{% endfor %}", "empty"},
		{"{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "023"},
		{"a\n  {% if true %}  \n b\n  {%- endif +%}\nc", "a\n  \n b\nc"},
		{"{% set s %}x{{ 1 }}{% endset %}{{ s | upper ~ 'a,b'.split(',')[1] }}", "X1b"},
		{"{{ strftime_now('%d %b %Y') }}", "03 Feb 2026"},
		{"{{ '{{' }} {# {{ #}{{ '%}' }}", "{{ %}"},
		{"{{ messages | map(attribute='role') | join('/') }}", "user"},
	} {
		body, err := parse(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		vars, _ := new(Template).variables([]Message{{Role: "user"}}, Options{})
		got, err := execute(body, vars, time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC))
		if err != nil || got != c.want {
			t.Errorf("%s gives %q, %v; want %q", c.template, got, err, c.want)
		}
	}
}

func TestWhatIsNotUnderstoodIsRefusedAtLoad(t *testing.T) {
	for _, src := range []string{"{{", "{% if x %}", "{% endif %}", "{% include 'x' %}", "{{ x | frobnicate }}", "{{ x is blue }}",
		"{{ 1 + }}", "{% for %}{% endfor %}", "{{ 'open }}", "{# open", "{% break %}", "{{ a b }}", strings.Repeat("{{ ", 3),
		"{{ " + strings.Repeat("(", 5000) + " }}", strings.Repeat("{% if a %}", 5000)} {
		m, tok := model(t, src, "<s>", "</s>")
		if _, err := New(m, tok); core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%.40s: %v", src, err)
		}
	}
}

func TestRunawayTemplatesStop(t *testing.T) {
	for _, src := range []string{
		"{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
		"{% for a in range(100000000) %}{% endfor %}",
		"{% set n = namespace(s='xxxxxxxx') %}{% for a in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
		"{{ 'x' * 99999999999 }}",
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
		"{% set l = [] %}{% set _ = l.append(l) %}{{ l }}",
		"{% set l = [] %}{% set _ = l.append(l) %}{{ l == l or l | tojson }}",
		"{{ ('x' * 100000).replace('', 'y' * 100000) }}",
		"{% set l = [1] %}{% for x in l %}{% set _ = l.append(x) %}{% endfor %}{{ l[0][0] }}{{ none.x }}",
	} {
		body, err := parse(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		start := time.Now()
		if _, err := execute(body, map[string]any{}, start); err == nil || time.Since(start) > 5*time.Second {
			t.Errorf("%s: %v after %v", src, err, time.Since(start))
		}
	}
}

func TestDefaults(t *testing.T) {
	m, tok := model(t, "", "<s>", "<|im_end|>", "<|im_start|>")
	tp, err := New(m, tok)
	if err != nil || tp.Origin != FromChatML {
		t.Fatal(tp, err)
	}
	ids, err := tp.Tokens([]Message{{Role: "user", Content: "Hi"}}, Options{AddGenerationPrompt: true})
	if err != nil {
		t.Fatal(err)
	}
	if ids[0] != tok.BOS() || ids[1] != tok.ID("<|im_start|>") {
		t.Errorf("the prompt begins with %v", ids[:2])
	}
	if got := tok.Decode(ids); got != "user\nHi\nassistant\n" {
		t.Errorf("%q", got)
	}
	m, tok = model(t, "", "<s>", "</s>")
	if tp, err = New(m, tok); err != nil || tp.Origin != FromPlain {
		t.Fatal(tp, err)
	}
	if got, _ := tp.Render(conversation(t, dialogue), Options{AddGenerationPrompt: true}); got !=
		"system: Be brief.\nuser:  Hi \nassistant: Hello.\nuser: Bye\nassistant:" {
		t.Errorf("%q", got)
	}
}

func TestRefusedConversation(t *testing.T) {
	m, tok := model(t, "{% for m in messages %}{{ m.role != 'system' and m.content or raise_exception('System role not supported') }}{% endfor %}", "<s>", "</s>")
	tp, err := New(m, tok)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tp.Render(conversation(t, dialogue), Options{})
	var raised *Raised
	if core.CodeOf(err) != core.CodeInvalid || !errors.As(err, &raised) || raised.Message != "System role not supported" {
		t.Error(err)
	}
}

func TestWhatATemplateLeavesOutIsRefused(t *testing.T) {
	m, tok := model(t, "{{ messages[-1].content }}", "<s>", "</s>")
	tp, err := New(m, tok)
	if err != nil {
		t.Fatal(err)
	}
	user, system := Message{Role: "user", Content: "x"}, Message{Role: "system", Content: "y"}
	for _, c := range []struct {
		ms   []Message
		want string
	}{
		{[]Message{user}, ""},
		{[]Message{system, user}, "no place for a system message"},
		{[]Message{user, {Role: "assistant", Content: "z"}, user}, "a single turn only"},
		{[]Message{{Role: "assistant", ToolCalls: []ToolCall{{Name: "f"}}}}, "no place for tool calls"},
	} {
		if _, err := tp.Render(c.ms, Options{}); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	m, tok = model(t, "{{ bos_token }}", "<s>", "</s>")
	if _, err := New(m, tok); err == nil || !strings.Contains(err.Error(), "leaves out what the user says") {
		t.Error(err)
	}
}

func TestMessagesReadOpenAI(t *testing.T) {
	ms := conversation(t, `[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
		{"role":"assistant","content":null,"tool_calls":[{"id":"x","function":{"name":"f","arguments":"{\"z\": 1, \"a\": 2}"}}]}]`)
	if ms[0].Content != "a\nb" || ms[1].Content != "" {
		t.Errorf("%+v", ms)
	}
	body, _ := parse("{{ messages[1].tool_calls[0].function.arguments | tojson }}")
	vars, err := new(Template).variables(ms, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := execute(body, vars, time.Now()); got != `{"z": 1, "a": 2}` {
		t.Errorf("the order of keys is lost: %s", got)
	}
	var m Message
	for _, bad := range []string{`{"content":"x"}`, `{"role":"user","content":[{"type":"image_url"}]}`, `{"role":"user","content":7}`} {
		if json.Unmarshal([]byte(bad), &m) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, c := range families {
		f.Add(c.template, "hello")
	}
	f.Add("{% for a in range(3) %}{{ loop.cycle(1,2)|tojson(indent=1) }}{% endfor %}{{ x.y[1:2:-1]|default(1,true) }}", "x")
	f.Fuzz(func(t *testing.T, src, content string) {
		body, err := parse(src)
		if err != nil {
			return
		}
		vars, err := new(Template).variables([]Message{{Role: "user", Content: content}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := execute(body, vars, time.Unix(0, 0))
		if err == nil && len(text) > maxOutput {
			t.Errorf("%d bytes", len(text))
		}
	})
}
