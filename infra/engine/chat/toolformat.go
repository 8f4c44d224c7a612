package chat

import (
	"encoding/json"
	"strings"
)

// ToolFormat is how a model writes calls of tools into its answer:
//
//	Open Form (Between Form)* Close
//
// where a Form is one tool's text around its arguments. Parse an answer with
// Parser; constrain one with Forms.
type ToolFormat struct {
	Name string
	// Trigger is the text with which calls begin. Before it an answer is free.
	Trigger string
	// AtStart says that calls begin only where the answer does; text that holds
	// the trigger later is text.
	AtStart bool
	// Marks are the control tokens that calls are written with. They are not
	// text otherwise, so an answer that is parsed needs Template.Decoder.
	Marks []string

	Open, Between, Close string

	// One call is: before, the call, after. The call is a JSON object that holds
	// name and arguments under these keys, or a list of such; or, with the keys
	// empty, the bare name, then nameEnd, then the arguments' object.
	before, after     string
	name, args        string
	list              bool
	nameEnd           string
	call              [3]string // text before the name, between, after the arguments
	starts, separates []string  // what a parser takes for the trigger, and between calls
}

// Form is the text of one call: Before, an object of the schema Arguments, After.
type Form struct {
	Before    string
	Arguments JSON
	After     string
}

// Forms are the ways in which a call of one of the tools can be written.
func (f *ToolFormat) Forms(tools []Tool) []Form {
	out := make([]Form, len(tools))
	for i, t := range tools {
		schema := t.Parameters
		if len(schema) == 0 {
			schema = JSON(`{"type":"object","properties":{},"additionalProperties":false}`)
		}
		out[i] = Form{f.call[0] + t.Name + f.call[1], schema, f.call[2]}
	}
	return out
}

// toolFormats are the formats known, each tried on what a template writes.
var toolFormats = []*ToolFormat{
	{ // Qwen 2.5, Qwen 3, Hermes 2 Pro and 3
		Name: "hermes", Trigger: "<tool_call>", Marks: []string{"<tool_call>", "</tool_call>"}, Between: "\n",
		after: "</tool_call>", name: "name", args: "arguments",
		call: [3]string{"<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>"},
	},
	{ // Mistral 7B v0.3, Nemo, Large, Mixtral 8x22B
		Name: "mistral", Trigger: "[TOOL_CALLS]", Marks: []string{"[TOOL_CALLS]"}, Open: "[TOOL_CALLS] [", Between: ", ", Close: "]",
		name: "name", args: "arguments", list: true,
		call: [3]string{`{"name": "`, `", "arguments": `, "}"},
	},
	{ // Mistral Small 3.2, Devstral, Magistral
		Name: "mistral-args", Trigger: "[TOOL_CALLS]", Marks: []string{"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"},
		nameEnd: "[ARGS]", call: [3]string{"[TOOL_CALLS]", "[ARGS]", ""},
	},
	{ // Llama 3.1, 3.2, 3.3
		Name: "llama3", Trigger: `{"name": `, AtStart: true, Marks: []string{"<|python_tag|>"}, Between: "; ",
		name: "name", args: "parameters", starts: []string{"<|python_tag|>", ""}, separates: []string{";"},
		call: [3]string{`{"name": "`, `", "parameters": `, "}"},
	},
	{ // DeepSeek V3.1
		Name: "deepseek-v3.1", Trigger: "<｜tool▁calls▁begin｜>",
		Marks: deepSeekMarks, Open: "<｜tool▁calls▁begin｜>", Close: "<｜tool▁calls▁end｜>",
		before: "<｜tool▁call▁begin｜>", nameEnd: "<｜tool▁sep｜>", after: "<｜tool▁call▁end｜>",
		call: [3]string{"<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"},
	},
	{ // DeepSeek V2.5, V3, R1 and what was distilled from it
		Name: "deepseek", Trigger: "<｜tool▁calls▁begin｜>",
		Marks: deepSeekMarks, Open: "<｜tool▁calls▁begin｜>", Between: "\n", Close: "<｜tool▁calls▁end｜>",
		before: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>", nameEnd: "\n```json", after: "```<｜tool▁call▁end｜>",
		call: [3]string{"<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n", "\n```<｜tool▁call▁end｜>"},
	},
	{ // Phi-4 mini
		Name: "phi4", Trigger: "<|tool_call|>", Marks: []string{"<|tool_call|>", "<|/tool_call|>"},
		Open: "<|tool_call|>[", Between: ", ", Close: "]<|/tool_call|>",
		after: "<|/tool_call|>", name: "name", args: "arguments", list: true,
		call: [3]string{`{"name": "`, `", "arguments": `, "}"},
	},
	{ // Granite 3
		Name: "granite", Trigger: "<|tool_call|>", Marks: []string{"<|tool_call|>"},
		Open: "<|tool_call|>[", Between: ", ", Close: "]",
		name: "name", args: "arguments", list: true,
		call: [3]string{`{"name": "`, `", "arguments": `, "}"},
	},
	{ // Command R7B
		Name: "command-r7b", Trigger: "<|START_ACTION|>", Marks: []string{"<|START_ACTION|>", "<|END_ACTION|>"},
		Open: "<|START_ACTION|>[", Between: ", ", Close: "]<|END_ACTION|>",
		after: "<|END_ACTION|>", name: "tool_name", args: "parameters", list: true,
		call: [3]string{`{"tool_name": "`, `", "parameters": `, "}"},
	},
}

// Hermes is the format of Hermes and Qwen: the plainest, for models whose
// template knows none and that are told of it in their prompt.
func Hermes() *ToolFormat { return toolFormats[0] }

var deepSeekMarks = []string{"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"}

// one reads a call from a JSON object that a model wrote.
func (f *ToolFormat) one(raw json.RawMessage) (ToolCall, bool) {
	var v map[string]json.RawMessage
	var c ToolCall
	if json.Unmarshal(raw, &v) != nil || json.Unmarshal(v[f.name], &c.Name) != nil || c.Name == "" {
		return c, false
	}
	for _, key := range []string{"id", "tool_call_id"} {
		if id, ok := v[key]; ok && json.Unmarshal(id, &c.ID) != nil {
			c.ID = strings.TrimSpace(string(id))
		}
	}
	args, given := v[f.args]
	if !given && f.AtStart {
		return c, false // any object has a name; only a call has parameters
	}
	var ok bool
	c.Arguments, ok = object(args)
	return c, ok
}

// calls reads what lies between before and after: an object, or a list of them.
func (f *ToolFormat) calls(raw []byte) ([]ToolCall, bool) {
	var raws []json.RawMessage
	if raw[0] == '{' {
		raws = append(raws, raw)
	} else if json.Unmarshal(raw, &raws) != nil {
		return nil, false
	}
	out := make([]ToolCall, len(raws))
	for i, r := range raws {
		var ok bool
		if out[i], ok = f.one(r); !ok {
			return nil, false
		}
	}
	return out, len(out) > 0
}
