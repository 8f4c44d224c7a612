package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	params "github.com/openai/openai-go/v3/shared"
)

// verifies fetches the evidence of a receipt and has it computed again.
func (d *devnet) verifies(t testing.TB, id string) {
	t.Helper()
	var ev json.RawMessage
	d.get(t, d.API+"/receipts/"+id, &ev)
	file := filepath.Join(t.TempDir(), "receipt.json")
	if err := os.WriteFile(file, ev, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(t, "verify", file); !strings.Contains(out, "matches") {
		t.Errorf("receipt %s: %s", id, out)
	}
}

// receipts reads the ids of what the gateway adds to an answer.
func receipts(t testing.TB, raw string) (ids []string) {
	t.Helper()
	var v struct {
		Koinon struct {
			Receipt string
			Choices []struct{ Receipt string }
		}
	}
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatal(err)
	}
	for _, c := range v.Koinon.Choices {
		ids = append(ids, c.Receipt)
	}
	if ids == nil {
		ids = append(ids, v.Koinon.Receipt)
	}
	return ids
}

const harbourSchema = `{"type":"object","properties":{"open":{"type":"boolean"},"berth":{"type":"integer","minimum":1,"maximum":40},"flag":{"enum":["red","green"]}},"required":["open","berth","flag"],"additionalProperties":false}`

type harbour struct {
	Open  *bool
	Berth int
	Flag  string
}

func (h *harbour) valid() bool {
	return h.Open != nil && h.Berth >= 1 && h.Berth <= 40 && (h.Flag == "red" || h.Flag == "green")
}

// A small model gives valid JSON and a forced call, since a grammar holds it.
func TestOpenAIGoStructured(t *testing.T) {
	d := sharedNetwork(t)
	client := openai.NewClient(option.WithBaseURL(d.API), option.WithAPIKey("unused"))
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var schema any
	if err := json.Unmarshal([]byte(harbourSchema), &schema); err != nil {
		t.Fatal(err)
	}
	p := openai.ChatCompletionNewParams{Model: d.Model.Name, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Is the harbour open?")}, MaxTokens: openai.Int(120)}
	p.ResponseFormat.OfJSONSchema = &params.ResponseFormatJSONSchemaParam{JSONSchema: params.ResponseFormatJSONSchemaJSONSchemaParam{Name: "harbour", Strict: openai.Bool(true), Schema: schema}}
	p.Logprobs, p.TopLogprobs, p.N, p.Seed, p.Temperature = openai.Bool(true), openai.Int(2), openai.Int(3), openai.Int(11), openai.Float(1.2)
	answer, err := client.Chat.Completions.New(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range answer.Choices {
		var h harbour
		if err := json.Unmarshal([]byte(c.Message.Content), &h); err != nil || !h.valid() || c.FinishReason != "stop" || len(c.Logprobs.Content) == 0 {
			t.Errorf("choice %d: %q, %s: %v", i, c.Message.Content, c.FinishReason, err)
		}
	}
	ids := receipts(t, answer.RawJSON())
	if len(answer.Choices) != 3 || len(ids) != 3 {
		t.Fatalf("%d choices, %d receipts", len(answer.Choices), len(ids))
	}
	for _, id := range ids {
		d.verifies(t, id)
	}
	again, err := client.Chat.Completions.New(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range again.Choices {
		if again.Choices[i].Message.Content != answer.Choices[i].Message.Content {
			t.Errorf("choice %d differs with the same seed", i)
		}
	}

	q := openai.ChatCompletionNewParams{Model: d.Model.Name, Messages: p.Messages, MaxTokens: openai.Int(150)}
	q.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(params.FunctionDefinitionParam{Name: "moor", Strict: openai.Bool(true), Parameters: schema.(map[string]any)})}
	q.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "moor"})
	q.ParallelToolCalls = openai.Bool(false)
	acc := openai.ChatCompletionAccumulator{}
	s := client.Chat.Completions.NewStreaming(ctx, q)
	for s.Next() {
		acc.AddChunk(s.Current())
	}
	if err := s.Err(); err != nil || len(acc.Choices) != 1 || len(acc.Choices[0].Message.ToolCalls) != 1 || acc.Choices[0].FinishReason != "tool_calls" {
		t.Fatalf("%+v %v", acc.Choices, err)
	}
	call := acc.Choices[0].Message.ToolCalls[0]
	var h harbour
	if err := json.Unmarshal([]byte(call.Function.Arguments), &h); err != nil || !h.valid() || call.Function.Name != "moor" || call.ID == "" {
		t.Errorf("%+v %v", call, err)
	}
}

func TestOpenAIGoEmbeddings(t *testing.T) {
	d := sharedNetwork(t)
	client := openai.NewClient(option.WithBaseURL(d.API), option.WithAPIKey("unused"))
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var texts []string
	for i := range 40 {
		texts = append(texts, fmt.Sprintf("What is a receipt, number %d?", i))
	}
	e, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: d.Model.Name, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: texts}})
	if err != nil || len(e.Data) != 40 || e.Usage.PromptTokens == 0 {
		t.Fatalf("%v %v", e, err)
	}
	one, err := client.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: d.Model.Name, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String(texts[7])}})
	if err != nil || !slices.Equal(one.Data[0].Embedding, e.Data[7].Embedding) {
		t.Errorf("an embedding depends on its neighbours: %v", err)
	}
	norm := 0.0
	for _, x := range one.Data[0].Embedding {
		norm += x * x
	}
	if math.Abs(norm-1) > 1e-3 {
		t.Errorf("norm² %v", norm)
	}
	ids := receipts(t, e.RawJSON())
	if len(ids) != 40 {
		t.Fatalf("%d receipts", len(ids))
	}
	d.verifies(t, ids[7])
}

func TestChatSchema(t *testing.T) {
	d := sharedNetwork(t)
	file := filepath.Join(t.TempDir(), "harbour.json")
	if err := os.WriteFile(file, []byte(harbourSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	var h harbour
	out := must(t, "chat", "--api", strings.TrimSuffix(d.API, "/v1"), "--schema", file, "Is the harbour open?")
	if err := json.Unmarshal([]byte(out), &h); err != nil || !h.valid() {
		t.Errorf("%q: %v", out, err)
	}
}
