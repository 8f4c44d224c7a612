package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What probing conversations say; a template that works writes it out.
const (
	probeSystem = "k0systemk0"
	probeUser   = "k0userk0"
	probeAnswer = "k0answerk0"
	probeName   = "k0functionk0"
	probeResult = "k0resultk0"
	probeArgs   = `{"k0argumentk0": "k0valuek0", "k0numberk0": 3}`
	probeID     = "call_k0identifierk0"
)

var probeTool = Tool{Name: probeName, Raw: JSON(`{"type": "function", "function": {"name": "` + probeName +
	`", "description": "d", "parameters": {"type": "object", "properties": {"k0argumentk0": {"type": "string", "description": "d"}},` +
	` "required": ["k0argumentk0"]}}}`)}

// probe renders representative conversations, so that a template which cannot
// work is an error when the model is opened, and learns how it wants tools.
func (t *Template) probe() error {
	user := Message{Role: "user", Content: probeUser}
	once, err := t.try(Options{AddGenerationPrompt: true}, user)
	if err != nil {
		return fmt.Errorf("with one question of a user: %w", err)
	}
	if !strings.Contains(once, probeUser) {
		return errors.New("it leaves out what the user says")
	}
	more, err := t.try(Options{AddGenerationPrompt: true}, user, Message{Role: "assistant", Content: probeAnswer}, user)
	var raised *Raised
	if err != nil && !errors.As(err, &raised) {
		return fmt.Errorf("with several turns: %w", err)
	}
	t.oneTurn = err == nil && (strings.Count(more, probeUser) != 2 || !strings.Contains(more, probeAnswer))
	with, err := t.try(Options{AddGenerationPrompt: true}, Message{Role: "system", Content: probeSystem}, user)
	if err != nil && !errors.As(err, &raised) {
		return fmt.Errorf("with a system message: %w", err)
	}
	t.noSystem = err == nil && !strings.Contains(with, probeSystem)
	t.Tools = t.toolFormat(user)
	return nil
}

// try renders with a fixed clock, so that a model opens alike on every day.
func (t *Template) try(o Options, ms ...Message) (string, error) {
	vars, err := t.variables(ms, o)
	if err != nil {
		return "", err
	}
	return execute(t.body, vars, time.Unix(0, 0).UTC())
}

// toolFormat has the template write a call and finds the format that reads it.
// On the way it sets the manner in which the template wants calls.
func (t *Template) toolFormat(user Message) *ToolFormat {
	tools := []Tool{probeTool}
	offered, err := t.try(Options{AddGenerationPrompt: true, Tools: tools}, user)
	if err != nil || !strings.Contains(offered, probeName) {
		return nil
	}
	call := Message{Role: "assistant", ToolCalls: []ToolCall{{probeID, probeName, JSON(probeArgs)}}}
	result := Message{Role: "tool", Name: probeName, ToolCallID: probeID, Content: probeResult}
	for i := range 1 << 3 {
		t.manner = manner{textArguments: i&1 > 0, shortIDs: i&2 > 0, nullContent: i&4 > 0}
		called, err := t.try(Options{Tools: tools}, user, call)
		if err != nil {
			continue
		}
		at := strings.Index(called, probeUser) + len(probeUser)
		for _, f := range toolFormats {
			answer := called[at:]
			if f.AtStart {
				answer = called[common(called, offered):]
			}
			if !f.reads(answer) {
				continue
			}
			whole, err := t.try(Options{Tools: tools, AddGenerationPrompt: true}, user, call, result)
			if err != nil || !strings.Contains(whole, probeResult) {
				continue
			}
			return f.spelt(answer)
		}
	}
	t.manner = manner{}
	return nil
}

// common is the length of the longest common beginning.
func common(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// reads reports whether the format finds the probing call in a written answer.
func (f *ToolFormat) reads(answer string) bool {
	p := f.Parser([]Tool{probeTool})
	for _, piece := range append(p.Write(answer), p.Close()...) {
		if c := piece.Call; c != nil && c.Name == probeName {
			var v map[string]any
			return strings.Contains(answer, f.after) && json.Unmarshal(c.Arguments, &v) == nil && v["k0argumentk0"] == "k0valuek0"
		}
	}
	return false
}

// spelt returns the format with the white space that the template uses.
func (f *ToolFormat) spelt(answer string) *ToolFormat {
	out := *f
	if tight := strings.ReplaceAll(f.Open, " ", ""); f.Open != "" && !strings.Contains(answer, f.Open) && strings.Contains(answer, tight) {
		out.Open = tight
	}
	return &out
}
