package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/koinon-network/koinon/core"
)

type completion struct {
	Choices []struct {
		Message struct{ Role, Content string }
		Finish  string `json:"finish_reason"`
	}
	Usage struct {
		Prompt     uint64 `json:"prompt_tokens"`
		Completion uint64 `json:"completion_tokens"`
		Total      uint64 `json:"total_tokens"`
	}
	Koinon struct {
		Moniker  string      `json:"moniker"`
		PriceIn  core.Amount `json:"price_in"`
		PriceOut core.Amount `json:"price_out"`
		Cost     core.Amount `json:"cost"`
		Receipt  core.Hash   `json:"receipt"`
		Tried    int         `json:"providers_tried"`
	}
}

// ask sends a question that is not streamed.
func (d *devnet) ask(t testing.TB, text, extra string) (completion, http.Header) {
	t.Helper()
	status, h, b := d.post(t, "/chat/completions", d.question(text, extra))
	if status != 200 {
		t.Fatalf("%d %s", status, b)
	}
	var c completion
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c, h
}

func TestReadyInTime(t *testing.T) {
	d := sharedNetwork(t)
	t.Logf("ready after %s", d.took.Round(time.Millisecond))
	if limit := 15 * time.Second; d.took > limit && os.Getenv("CI") == "" {
		t.Errorf("ready after %s, the promise is %s", d.took, limit)
	}
	if d.ChainID != "koinon-devnet-1" || d.EVMChainID != 564666 {
		t.Errorf("chain ids %s, %d", d.ChainID, d.EVMChainID)
	}
}

func TestAnswer(t *testing.T) {
	d := sharedNetwork(t)
	c, h := d.ask(t, "What is a receipt?", "")
	if len(c.Choices) != 1 || len(strings.Fields(c.Choices[0].Message.Content)) < 3 || c.Choices[0].Finish != "stop" {
		t.Fatalf("%+v", c)
	}
	t.Logf("%q from %s for %s", c.Choices[0].Message.Content, c.Koinon.Moniker, c.Koinon.Cost.Format())
	want := c.Koinon.PriceIn.Mul(c.Usage.Prompt).Add(c.Koinon.PriceOut.Mul(c.Usage.Completion))
	if c.Koinon.Cost.Cmp(want) != 0 || c.Usage.Total != c.Usage.Prompt+c.Usage.Completion {
		t.Errorf("cost %s, want %s for %+v", c.Koinon.Cost, want, c.Usage)
	}
	if h.Get("X-Koinon-Provider") == "" || h.Get("X-Koinon-Price") == "" || h.Get("X-Koinon-Receipt") == "" {
		t.Errorf("headers %v", h)
	}
	again, _ := d.ask(t, "What is a receipt?", `,"temperature":0`)
	once, _ := d.ask(t, "What is a receipt?", `,"temperature":0`)
	if again.Choices[0].Message.Content != once.Choices[0].Message.Content {
		t.Error("greedy answers differ between providers")
	}
	a, _ := d.ask(t, "Tell me about channels.", `,"temperature":1,"seed":7,"max_tokens":24`)
	b, _ := d.ask(t, "Tell me about channels.", `,"temperature":1,"seed":7,"max_tokens":24`)
	if a.Choices[0].Message.Content != b.Choices[0].Message.Content {
		t.Error("the same seed gives different answers")
	}
}

// The first token comes within a second of the request.
func TestStream(t *testing.T) {
	d := sharedNetwork(t)
	begin := time.Now()
	resp, err := http.Post(d.API+"/chat/completions", "application/json", strings.NewReader(d.question("What is a receipt?", `,"stream":true`)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		t.Fatalf("content type %s", ct)
	}
	sc := bufio.NewScanner(resp.Body)
	var first time.Duration
	var text, last string
	events := 0
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			break
		}
		events++
		last = data
		var ev struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(data), &ev); err != nil {
			t.Fatal(err)
		}
		if len(ev.Choices) > 0 && ev.Choices[0].Delta.Content != "" && first == 0 {
			first = time.Since(begin)
		}
		if len(ev.Choices) > 0 {
			text += ev.Choices[0].Delta.Content
		}
	}
	t.Logf("first token after %s, %d events: %q", first.Round(time.Millisecond), events, text)
	if first == 0 || first > time.Second && os.Getenv("CI") == "" {
		t.Errorf("first token after %s", first)
	}
	if !strings.Contains(last, `"usage"`) || !strings.Contains(last, `"cost"`) {
		t.Errorf("the last chunk has no usage or price: %s", last)
	}
}

func TestOpenAIGo(t *testing.T) {
	d := sharedNetwork(t)
	client := openai.NewClient(option.WithBaseURL(d.API), option.WithAPIKey("unused"))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	models, err := client.Models.List(ctx)
	if err != nil || len(models.Data) == 0 || models.Data[0].ID != d.Model.Name {
		t.Fatalf("%+v %v", models, err)
	}
	p := openai.ChatCompletionNewParams{Model: d.Model.Name, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("What is Koinon?")}}
	whole, err := client.Chat.Completions.New(ctx, p)
	if err != nil || whole.Choices[0].Message.Content == "" || whole.Usage.TotalTokens == 0 {
		t.Fatalf("%+v %v", whole, err)
	}
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	s := client.Chat.Completions.NewStreaming(ctx, p)
	acc := openai.ChatCompletionAccumulator{}
	for s.Next() {
		acc.AddChunk(s.Current())
	}
	if err := s.Err(); err != nil || acc.Choices[0].Message.Content == "" || acc.Usage.TotalTokens == 0 {
		t.Fatalf("%+v %v", acc, err)
	}
	text, err := client.Completions.New(ctx, openai.CompletionNewParams{Model: openai.CompletionNewParamsModel(d.Model.Name), Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Koinon is")}, MaxTokens: openai.Int(8)})
	if err != nil || text.Usage.CompletionTokens == 0 {
		t.Fatalf("%+v %v", text, err)
	}
	_, err = client.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{Model: "nope", Messages: p.Messages})
	if e, ok := err.(*openai.Error); !ok || e.StatusCode != 404 || !strings.Contains(e.Message, d.Model.Name) {
		t.Errorf("unknown model: %v", err)
	}
}

func TestOpenAIGoResponses(t *testing.T) {
	d := sharedNetwork(t)
	client := openai.NewClient(option.WithBaseURL(d.API), option.WithAPIKey("unused"))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p := responses.ResponseNewParams{Model: d.Model.Name, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("What is a receipt?")}}
	whole, err := client.Responses.New(ctx, p)
	if err != nil || whole.OutputText() == "" || whole.Status != "completed" || whole.Usage.TotalTokens == 0 {
		t.Fatalf("%+v %v", whole, err)
	}
	s := client.Responses.NewStreaming(ctx, p)
	text, last := "", ""
	for s.Next() {
		e := s.Current()
		if last = e.Type; last == "response.output_text.delta" {
			text += e.Delta
		}
	}
	if err := s.Err(); err != nil || text != whole.OutputText() || last != "response.completed" {
		t.Fatalf("%q %s %v", text, last, err)
	}
}

func TestRefusals(t *testing.T) {
	d := sharedNetwork(t)
	for _, c := range []struct {
		name, path, body string
		status           int
		says             []string
	}{
		{"unknown model", "/chat/completions", `{"model":"gpt-9","messages":[{"role":"user","content":"x"}]}`, 404, []string{"gpt-9", d.Model.Name}},
		{"too long", "/chat/completions", d.question(strings.Repeat("what is a receipt ", 4000), ""), 400, []string{"tokens", "context_length_exceeded"}},
		{"not JSON", "/chat/completions", `{"model":`, 400, nil},
		{"wrong type", "/chat/completions", d.question("x", `,"temperature":"hot"`), 400, []string{"temperature"}},
		{"negative", "/chat/completions", d.question("x", `,"max_tokens":-1`), 400, []string{"max_tokens"}},
		{"large", "/chat/completions", d.question(strings.Repeat("x", 50<<20), ""), 413, nil},
		{"deep", "/chat/completions", strings.Repeat("[", 1<<20), 400, []string{"nested"}},
		{"no such call", "/images/generations", `{}`, 404, nil},
	} {
		status, _, b := d.post(t, c.path, c.body)
		var e struct {
			Error struct{ Message, Type, Code string }
		}
		if err := json.Unmarshal(b, &e); err != nil || status != c.status || e.Error.Message == "" || e.Error.Type == "" {
			t.Errorf("%s: %d %.300s", c.name, status, b)
		}
		for _, s := range c.says {
			if !strings.Contains(string(b), s) {
				t.Errorf("%s: the answer does not say %q: %.300s", c.name, s, b)
			}
		}
	}
}

func TestConcurrentQuestions(t *testing.T) {
	d := sharedNetwork(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			status, _, b := d.post(t, "/chat/completions", d.question(fmt.Sprintf("What is a voucher? %d", i), `,"max_tokens":20`))
			if status != 200 {
				t.Errorf("%d %s", status, b)
			}
		})
	}
	wg.Wait()
}

func TestReceipts(t *testing.T) {
	d := sharedNetwork(t)
	c, h := d.ask(t, "What is a model root?", `,"temperature":0.8`)
	file := filepath.Join(t.TempDir(), "receipt.json")
	var ev map[string]json.RawMessage
	d.get(t, d.API+"/receipts/"+h.Get("X-Koinon-Receipt"), &ev)
	var byDigest map[string]json.RawMessage
	d.get(t, d.API+"/receipts/"+c.Koinon.Receipt.String(), &byDigest)
	if string(ev["receipt"]) != string(byDigest["receipt"]) {
		t.Error("the receipt differs by the name it is asked for")
	}
	write := func(v any) {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(ev)
	if out := must(t, "verify", file); !strings.Contains(out, "matches") {
		t.Errorf("verify says %q", out)
	}
	// Each kind of tampering has its own message and exit code.
	edit := func(path []string, v any) map[string]any {
		var x map[string]any
		b, _ := json.Marshal(ev)
		_ = json.Unmarshal(b, &x)
		at := x
		for _, p := range path[:len(path)-1] {
			at = at[p].(map[string]any)
		}
		at[path[len(path)-1]] = v
		return x
	}
	seen := map[int]string{0: "matches"}
	for _, k := range []struct {
		name string
		file any
		code int
	}{
		{"malformed", []int{1}, 2},
		{"signature", edit([]string{"receipt", "signature"}, "0x"+strings.Repeat("11", 65)), 3},
		{"tampered", edit([]string{"output"}, []int{5, 6, 7}), 4},
	} {
		write(k.file)
		out, errs, code := run(t, "verify", file)
		if code != k.code {
			t.Errorf("%s: exit %d, want %d: %s%s", k.name, code, k.code, out, errs)
		}
		if other, dup := seen[code]; dup {
			t.Errorf("%s and %s share an exit code", k.name, other)
		}
		seen[code] = k.name
	}
}
