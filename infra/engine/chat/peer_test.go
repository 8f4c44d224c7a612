package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const peerDir = "../../../bench/templates"

// Every template times every conversation, beside Hugging Face's Jinja for
// JavaScript and, where Python has it, Jinja itself.
func TestRenderingIsJinjas(t *testing.T) {
	if os.Getenv("KOINON_TEST_CLIENTS") == "" {
		t.Skip("set KOINON_TEST_CLIENTS=1 to compare with @huggingface/jinja from npm")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	run := func(program string, arguments ...string) []byte {
		cmd := exec.CommandContext(ctx, program, arguments...)
		cmd.Dir = peerDir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s%s", program, arguments[0], err, out, stderr.Bytes())
		}
		return out
	}
	if _, err := os.Stat(filepath.Join(peerDir, "node_modules/@huggingface/jinja")); err != nil {
		run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
	}
	own := []string{"deepseek_v3", "mistral_nemo", "qwen3"}
	for _, name := range own {
		if _, err := os.Stat(filepath.Join(peerDir, "node_modules/.templates", name+".json")); err != nil {
			run("node", "fetch.mjs")
			break
		}
	}
	sources := map[string]string{}
	for _, c := range wild {
		src, err := os.ReadFile(filepath.Join("testdata", "templates", c.file+".jinja"))
		if err != nil {
			t.Fatal(err)
		}
		sources[c.file] = string(src)
	}
	for _, name := range own {
		b, err := os.ReadFile(filepath.Join(peerDir, "node_modules/.templates", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Template string `json:"chat_template"`
		}
		if err := json.Unmarshal(b, &v); err != nil || v.Template == "" {
			t.Fatalf("%s has no template: %v", name, err)
		}
		sources["own "+name] = v.Template
	}
	var names []string
	var all []map[string]any
	for _, c := range conversations {
		for _, tools := range []bool{false, true} {
			for _, prompt := range []bool{true, false} {
				v := map[string]any{"messages": json.RawMessage(c), "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>"}
				if tools {
					v["tools"] = json.RawMessage(weather)
				} else {
					v["tools"] = nil
				}
				all = append(all, v)
			}
		}
	}
	var jobs []any
	for name, src := range sources {
		names = append(names, name)
		jobs = append(jobs, map[string]any{"template": src, "variables": all})
	}
	questions := filepath.Join(t.TempDir(), "jobs")
	b, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(questions, b, 0o600); err != nil {
		t.Fatal(err)
	}
	compare := func(program, script string) {
		lines := strings.Split(strings.TrimSpace(string(run(program, script, questions))), "\n")
		if len(lines) != len(names) {
			t.Fatalf("%d answers for %d templates", len(lines), len(names))
		}
		texts := 0
		for i, line := range lines {
			texts += alike(t, script+" "+names[i], sources[names[i]], all, line)
		}
		t.Logf("%s: %d templates, %d prompts alike", script, len(names), texts)
		if texts < len(names)*len(all)/3 {
			t.Error("too few conversations are rendered at all")
		}
	}
	compare("node", "render.mjs")
	switch err := exec.CommandContext(ctx, "python3", "-c", "import jinja2").Run(); {
	case err == nil:
		compare("python3", "render.py")
	case os.Getenv("CI") != "":
		t.Errorf("Jinja itself is not installed (python3-jinja2): %v", err)
	default:
		t.Log("Jinja itself is not installed (python3-jinja2): not compared with it")
	}
	for name, want := range map[string]string{"own qwen3": "hermes", "own mistral_nemo": "mistral"} {
		m, tok := model(t, sources[name], "<s>", "</s>")
		if tp, err := New(m, tok); err != nil || tp.Tools == nil || tp.Tools.Name != want {
			t.Errorf("%s: %v, %v", name, tp, err)
		}
	}
}

// alike compares our prompts with a peer's and returns how many there are.
func alike(t *testing.T, name, src string, all []map[string]any, answer string) (texts int) {
	t.Helper()
	var peer struct {
		Texts  []*string
		Errors []string
	}
	if err := json.Unmarshal([]byte(answer), &peer); err != nil {
		t.Fatal(err)
	}
	body, err := parse(src)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return 0
	}
	for k, v := range all {
		vars := map[string]any{}
		for key, x := range v {
			raw, _ := json.Marshal(x)
			if vars[key], err = JSON(raw).value(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := execute(body, vars, time.Now().UTC())
		// The npm package's selectattr passes over messages that lack the
		// attribute, even where it tests for that; Jinja's does not.
		if name == "render.mjs own mistral_nemo" && err != nil && strings.Contains(err.Error(), "must alternate") {
			continue
		}
		switch want := peer.Texts[k]; {
		case want == nil && err == nil:
			t.Errorf("%s, variables %d: %q, but the peer says %s", name, k, got, peer.Errors[k])
		case want != nil && (err != nil || got != *want):
			t.Errorf("%s, variables %d: %v\n got %q\nwant %q", name, k, err, got, *want)
		case want != nil:
			texts++
		}
	}
	return texts
}

// Conversations as templates get them; arguments of calls are mappings here.
var conversations = func() []string {
	user, assistant, system := `{"role":"user","content":%q}`, `{"role":"assistant","content":%q}`, `{"role":"system","content":%q}`
	call := `{"role":"assistant","content":%s,"tool_calls":[{"id":"abcdefghi","type":"function","function":{"name":"weather","arguments":%s}}]}`
	result := `{"role":"tool","tool_call_id":"abcdefghi","name":"weather","content":%q}`
	f := fmt.Sprintf
	join := func(ms ...string) string { return "[" + strings.Join(ms, ",") + "]" }
	return []string{
		join(f(user, "Hi")),
		join(f(system, "Be brief."), f(user, " What is\n  2 < 3 & 'x'? \"y\" ")),
		join(f(user, "a"), f(assistant, "b"), f(user, "c")),
		join(f(system, " s "), f(user, "a"), f(assistant, " b\n"), f(user, "c"), f(assistant, "d")),
		join(f(user, "a"), f(assistant, "<think>\nwhy\n</think>\n\nbecause"), f(user, "c")),
		join(f(user, "a"), f(user, "b")),
		join(f(user, "Wetter in Köln? 世界"), f(call, `""`, `{"city":"Köln","days":2}`), f(result, "{\"sky\": \"blue\"}")),
		join(f(user, "x"), f(call, `""`, `"{\"city\": \"Rome\"}"`), f(result, "sun"), f(assistant, "Sun."), f(user, "ok")),
		join(f(system, "s"), f(user, "x"), f(call, `"Let me look."`, `{"city":"A","units":["c",1.5,true,null,{"n":{}}]}`), f(result, "1"), f(result, "2"), f(assistant, "3")),
	}
}()
