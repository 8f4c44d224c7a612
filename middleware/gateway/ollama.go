package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// ollama is the dialect of /api.
var ollama = dialect{
	rules: rules{
		indifferent: []string{"keep_alive"},
		refusals: map[string]refusal{
			"images":   {[]string{"[]"}, "models here read and write text only"},
			"suffix":   {[]string{`""`}, "no model here fills in the middle of a text"},
			"template": {[]string{`""`}, "a model's template is part of the model; use raw for a prompt of your own"},
			"context":  {[]string{"[]"}, "send the conversation to /api/chat"},
			"think":    {[]string{"false"}, "no model here has such a setting; put what its template knows into chat_template_kwargs"},
		},
	},
	names: map[string]string{
		"max_tokens": "options.num_predict", "max_completion_tokens": "options.num_predict", "stop": "options.stop", "seed": "options.seed",
		"temperature": "options.temperature", "top_p": "options.top_p", "top_k": "options.top_k", "min_p": "options.min_p",
		"presence_penalty": "options.presence_penalty", "frequency_penalty": "options.frequency_penalty", "repetition_penalty": "options.repeat_penalty",
		"response_format": "format", "response_format.json_schema.schema": "format",
	},
	failure: func(e *core.Error) (int, any) { return ollamaFailure(e) },
}

func ollamaFailure(e *core.Error) (int, any) {
	status, body := describe(e)
	o := body.Error
	return status, map[string]any{"error": o.Message, "koinon": map[string]any{"code": o.Code, "param": o.Param, "charge": o.Charge, "next": o.Next}}
}

// ollamaOptions are Ollama's names for what the others say at the top.
type ollamaOptions struct {
	Temperature      *float64 `json:"temperature"`
	TopP             *float64 `json:"top_p"`
	TopK             *int64   `json:"top_k"`
	MinP             *float64 `json:"min_p"`
	Seed             *int64   `json:"seed"`
	PresencePenalty  *float64 `json:"presence_penalty"`
	FrequencyPenalty *float64 `json:"frequency_penalty"`
	RepeatPenalty    *float64 `json:"repeat_penalty"`
	RepeatLast       *int64   `json:"repeat_last_n"`
	NumPredict       *int64   `json:"num_predict"`
	Stop             stopList `json:"stop"`
}

var ollamaOptionRules = rules{
	// How a machine runs a model cannot change an answer here.
	indifferent: []string{"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "use_mmap", "use_mlock", "low_vram", "f16_kv", "vocab_only", "numa", "logits_all", "embedding_only"},
	refusals: map[string]refusal{
		"typical_p":        {[]string{"1", "1.0"}, "no provider here samples so; use top_p or min_p"},
		"tfs_z":            {[]string{"1", "1.0"}, "no provider here samples so; use top_p or min_p"},
		"mirostat":         {[]string{"0"}, "no provider here samples so; use top_p or min_p"},
		"mirostat_tau":     {[]string{"5", "5.0"}, "there is no mirostat here"},
		"mirostat_eta":     {[]string{"0.1"}, "there is no mirostat here"},
		"penalize_newline": {[]string{"true"}, "penalties are the same for all tokens"},
	},
}

// UnmarshalJSON implements [json.Unmarshaler].
func (o *ollamaOptions) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	type bare ollamaOptions
	return ollamaOptionRules.part("options", b, (*bare)(o))
}

// sampling says the same in the words of the others.
func (o *ollamaOptions) sampling(q *ollamaCommon) (s sampling, err error) {
	s.routing, s.Stream, s.stops = q.routing, q.Stream == nil || *q.Stream, core.MaxStops
	s.drawing = drawing{Temperature: o.Temperature, TopP: o.TopP, TopK: o.TopK, MinP: o.MinP, Seed: o.Seed,
		PresencePenalty: o.PresencePenalty, FrequencyPenalty: o.FrequencyPenalty, RepetitionPenalty: o.RepeatPenalty, Grammar: q.Grammar}
	s.Stop = o.Stop
	if n := o.NumPredict; n != nil && *n != -1 && *n != -2 { // Ollama's words for as much as there is room for
		s.MaxTokens = n
	}
	if n := o.RepeatLast; n != nil && *n != -1 && o.RepeatPenalty != nil && *o.RepeatPenalty != 1 {
		return s, invalid("options.repeat_last_n", "options.repeat_last_n: penalties are of all tokens; only -1 is possible")
	}
	return s, nil
}

// ollamaCommon is what chat and generate share.
type ollamaCommon struct {
	routing
	Stream       *bool                `json:"stream"`
	Format       json.RawMessage      `json:"format"`
	Options      ollamaOptions        `json:"options"`
	LogProbs     bool                 `json:"logprobs"`
	TopLogProbs  *int64               `json:"top_logprobs"`
	Grammar      *string              `json:"grammar"`
	TemplateArgs map[string]chat.JSON `json:"chat_template_kwargs"`
}

// format is Ollama's: "json", or a schema.
func (q *ollamaCommon) format() (*responseFormat, error) {
	switch f := strings.TrimSpace(string(q.Format)); {
	case f == "" || f == "null" || f == `""`:
		return nil, nil
	case f == `"json"`:
		return &responseFormat{Type: "json_object"}, nil
	case f[0] == '{':
		return &responseFormat{"json_schema", &schemaFormat{Strict: true, Schema: q.Format}}, nil
	}
	return nil, invalid("format", `format: must be "json" or a JSON schema`)
}

// plan is what chat and generate share of one.
func (q *ollamaCommon) plan() (p plan, err error) {
	q.Model = untagged(q.Model)
	if p.sampling, err = q.Options.sampling(q); err != nil {
		return p, err
	}
	p.n = 1
	if p.logprobs, err = (&chatRequest{LogProbs: q.LogProbs, TopLogProbs: q.TopLogProbs}).logprobs(); err != nil {
		return p, err
	}
	if p.args, err = (&chatRequest{TemplateArgs: q.TemplateArgs}).templateArgs(); err != nil {
		return p, err
	}
	f, err := q.format()
	if err != nil {
		return p, err
	}
	return p, p.follow(f)
}

// untagged is a model's name without the tag that Ollama's clients add to it.
func untagged(model string) string { return strings.TrimSuffix(model, ":latest") }

// ollamaChat is the body of POST /api/chat.
type ollamaChat struct {
	ollamaCommon
	Messages []ollamaMessage `json:"messages"`
	Tools    []toolOffer     `json:"tools"`
}

type ollamaMessage struct {
	Role      string            `json:"role"`
	Content   string            `json:"content"`
	Thinking  string            `json:"thinking"`
	Images    []json.RawMessage `json:"images"`
	ToolCalls []chat.ToolCall   `json:"tool_calls"`
	ToolName  string            `json:"tool_name"`
	ToolID    string            `json:"tool_call_id"`
}

// join adds message i to a conversation. Ollama's calls may have no ids: a
// result then belongs to the first open call of its tool.
func (m *ollamaMessage) join(i int, t *turns) error {
	at := fmt.Sprintf("messages[%d]", i)
	switch {
	case len(m.Images) > 0:
		return unreadable(at+".images", "image")
	case !slices.Contains([]string{"system", "user", "assistant", "tool"}, m.Role):
		return invalid(at+".role", "%s.role: %q is not supported; use system, user, assistant or tool", at, clip(m.Role, 40))
	case len(m.ToolCalls) > 0 && m.Role != "assistant":
		return invalid(at+".tool_calls", "%s.tool_calls: only an assistant calls tools", at)
	}
	if m.Role == "tool" {
		id := m.ToolID
		if id == "" {
			k := slices.IndexFunc(t.open, func(c chat.ToolCall) bool { return m.ToolName == "" || c.Name == m.ToolName })
			if k < 0 {
				return invalid(at+".tool_name", "%s.tool_name: %q is no call of the assistant's message before", at, clip(m.ToolName, 100))
			}
			id = t.open[k].ID
		}
		return t.result(at+".tool_call_id", id, m.Content)
	}
	calls := slices.Clone(m.ToolCalls)
	for k := range calls {
		if calls[k].ID == "" {
			calls[k].ID = chat.CallID(at, k)
		}
	}
	return t.add(at, Message{Role: m.Role, Content: m.Content, ToolCalls: calls})
}

func (q *ollamaChat) plan() (plan, error) {
	p, err := q.ollamaCommon.plan()
	if err != nil {
		return p, err
	}
	var t turns
	for i := range q.Messages {
		if err := q.Messages[i].join(i, &t); err != nil {
			return p, err
		}
	}
	if p.messages, err = t.all("messages"); err != nil {
		return p, err
	}
	p.tools, err = newToolbox(q.Tools, toolChoice{}, nil)
	return p, err
}

func (g *Gateway) ollamaChat(w http.ResponseWriter, r *http.Request, body *ollamaChat) error {
	if len(body.Messages) == 0 {
		return g.ollamaLoad(w, r, body.Model, func(e map[string]any) { e["message"] = map[string]any{"role": "assistant", "content": ""} })
	}
	p, err := body.plan()
	if err != nil {
		return err
	}
	return g.converse(w, r, &p, func(call *Call, _ []core.RequestID) shape {
		return &ollamaShape{model: call.Model.Name, codec: call.Codec, probs: p.logprobs > 0, chat: true, start: time.Now()}
	})
}

// ollamaGenerate is the body of POST /api/generate.
type ollamaGenerate struct {
	ollamaCommon
	Prompt string `json:"prompt"`
	System string `json:"system"`
	Raw    bool   `json:"raw"`
}

func (q *ollamaGenerate) plan() (plan, error) {
	p, err := q.ollamaCommon.plan()
	if err != nil {
		return p, err
	}
	switch {
	case q.Raw && q.System != "":
		return p, invalid("system", "system: not together with raw, whose prompt is the whole")
	case q.Raw:
		p.raw = &q.Prompt
	case q.System != "":
		p.messages = append(p.messages, Message{Role: "system", Content: q.System})
	}
	p.messages = append(p.messages, Message{Role: "user", Content: q.Prompt})
	return p, nil
}

func (g *Gateway) ollamaGenerate(w http.ResponseWriter, r *http.Request, body *ollamaGenerate) error {
	if body.Prompt == "" {
		return g.ollamaLoad(w, r, body.Model, func(e map[string]any) { e["response"] = "" })
	}
	p, err := body.plan()
	if err != nil {
		return err
	}
	return g.converse(w, r, &p, func(call *Call, _ []core.RequestID) shape {
		return &ollamaShape{model: call.Model.Name, codec: call.Codec, probs: p.logprobs > 0, start: time.Now()}
	})
}

// ollamaLoad answers a question without words, by which Ollama's clients have a
// model loaded. Providers have theirs loaded.
func (g *Gateway) ollamaLoad(w http.ResponseWriter, r *http.Request, model string, fill func(map[string]any)) error {
	_, o, err := g.named(r.Context(), untagged(model))
	if err != nil {
		return err
	}
	e := map[string]any{"model": o.ID, "created_at": stamp(time.Now()), "done": true, "done_reason": "load"}
	fill(e)
	writeJSON(w, http.StatusOK, e)
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// ollamaEmbed is the body of POST /api/embed.
type ollamaEmbed struct {
	routing
	Input      ollamaInput   `json:"input"`
	Truncate   *bool         `json:"truncate"`
	Dimensions *int          `json:"dimensions"`
	Options    ollamaOptions `json:"options"`
}

// ollamaInput is a text or a list of texts.
type ollamaInput []string

// UnmarshalJSON implements [json.Unmarshaler].
func (l *ollamaInput) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = ollamaInput{one}
		return nil
	}
	if json.Unmarshal(b, (*[]string)(l)) != nil {
		return invalid("input", "input: must be a string or a list of strings")
	}
	return nil
}

func (g *Gateway) ollamaEmbed(w http.ResponseWriter, r *http.Request, body *ollamaEmbed) error {
	begin := time.Now()
	e := embeddingRequest{routing: body.routing, Dimensions: body.Dimensions}
	e.Model = untagged(e.Model)
	for _, text := range body.Input {
		e.Input = append(e.Input, prompt{text: text})
	}
	data, answers, model, err := g.vectors(r.Context(), &e)
	if err != nil || answers == nil {
		return err
	}
	out := struct {
		Model      string      `json:"model"`
		Embeddings []any       `json:"embeddings"`
		Total      int64       `json:"total_duration"`
		Load       int64       `json:"load_duration"`
		Count      uint32      `json:"prompt_eval_count"`
		Koinon     *settlement `json:"koinon"`
	}{Model: model, Total: time.Since(begin).Nanoseconds(), Koinon: settlementOf(core.Amount{}, answers...)}
	for i, d := range data {
		out.Embeddings = append(out.Embeddings, d.Embedding)
		out.Count += answers[i].Usage.Input
	}
	setHeaders(w, idsOf(answers)[:1], model, answers[0])
	w.Header().Set("X-Koinon-Cost", out.Koinon.Cost.String()+" akoin")
	writeJSON(w, http.StatusOK, out)
	return nil
}

// ollamaModel is a model in Ollama's lists.
type ollamaModel struct {
	Name     string        `json:"name"`
	Model    string        `json:"model"`
	Modified string        `json:"modified_at,omitempty"`
	Expires  string        `json:"expires_at,omitempty"`
	Size     uint64        `json:"size"`
	VRAM     *uint64       `json:"size_vram,omitempty"`
	Digest   string        `json:"digest"`
	Details  ollamaDetails `json:"details"`
	Context  uint32        `json:"context_length,omitempty"`
	Koinon   *modelMarket  `json:"koinon,omitempty"`
}

type ollamaDetails struct {
	Parent       string   `json:"parent_model"`
	Format       string   `json:"format"`
	Family       string   `json:"family"`
	Families     []string `json:"families"`
	Parameters   string   `json:"parameter_size"`
	Quantization string   `json:"quantization_level"`
}

func ollamaModelOf(m core.Manifest, o modelObject) ollamaModel {
	return ollamaModel{Name: o.ID, Model: o.ID, Modified: stamp(time.Unix(o.Created, 0)), Size: m.Size, Digest: m.ID.String(),
		Details: ollamaDetails{Format: m.Format, Families: []string{}}, Koinon: &o.Koinon}
}

// ollamaModels lists those models that keep admits.
func (g *Gateway) ollamaModels(w http.ResponseWriter, r *http.Request, keep func(*ollamaModel) bool) {
	ms, err := g.manifests(r.Context())
	out := []ollamaModel{}
	for _, m := range ms {
		var os []modelObject
		if os, err = g.describeModel(r.Context(), m); err != nil {
			break
		}
		for _, o := range os {
			if x := ollamaModelOf(m, o); keep(&x) {
				out = append(out, x)
			}
		}
	}
	if err != nil {
		ollama.refuse(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"models": out})
}

func (g *Gateway) ollamaTags(w http.ResponseWriter, r *http.Request) {
	g.ollamaModels(w, r, func(*ollamaModel) bool { return true })
}

// ollamaRunning lists what providers have loaded: what they offer.
func (g *Gateway) ollamaRunning(w http.ResponseWriter, r *http.Request) {
	g.ollamaModels(w, r, func(m *ollamaModel) bool {
		m.Modified, m.Expires, m.VRAM, m.Context = "", stamp(time.Now().Add(time.Hour)), new(uint64), m.Koinon.Context
		return m.Koinon.Providers > 0
	})
}

// ollamaShow is the body of POST /api/show.
type ollamaShow struct {
	Model   string `json:"model"`
	Name    string `json:"name"` // its older name
	Verbose bool   `json:"verbose"`
}

func (g *Gateway) ollamaShow(w http.ResponseWriter, r *http.Request, body *ollamaShow) error {
	name := body.Model
	if name == "" {
		name = body.Name
	}
	m, object, err := g.named(r.Context(), untagged(name))
	if err != nil {
		return err
	}
	o := ollamaModelOf(m, object)
	writeJSON(w, http.StatusOK, map[string]any{
		"license": m.Licence, "modified_at": o.Modified, "details": o.Details, "template": "", "parameters": "",
		"model_info":   map[string]any{"general.name": m.Name, "general.size": m.Size, "koinon.context_length": m.Context, "koinon.root": m.ID},
		"capabilities": []string{"completion", "tools", "embedding"}, "koinon": o.Koinon,
	})
	return nil
}

func (g *Gateway) ollamaVersion(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"version": g.cfg.Version})
}
