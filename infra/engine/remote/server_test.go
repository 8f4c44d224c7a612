package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// The built-in model behind completions, as different servers write them.
type server struct {
	m      *model.Model
	tokens *token.Tokenizer
	form   string // "table" of OpenAI's completions, "content" of llama.cpp's, "ids" beside text, "text" alone
	noIDs  bool   // prompts must be text
	bend   func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex // one call at a time
	calls int
}

type asked struct {
	Prompt      json.RawMessage `json:"prompt"`
	MaxTokens   uint32          `json:"max_tokens"`
	Temperature float64         `json:"temperature"`
	Logprobs    *int            `json:"logprobs"`
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if r.URL.Path != "/v1/completions" {
		http.NotFound(w, r)
		return
	}
	if s.bend != nil && s.bend(w, r) {
		return
	}
	var a asked
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var ids []core.Token
	var text string
	if json.Unmarshal(a.Prompt, &text) == nil {
		ids = s.tokens.Encode(text, token.Options{ParseSpecial: true})
	} else if err := json.Unmarshal(a.Prompt, &ids); err != nil || s.noIDs {
		http.Error(w, `{"error":"prompts are text here"}`, http.StatusBadRequest)
		return
	}
	p := core.Sampler{MaxTokens: a.MaxTokens, Temperature: uint32(a.Temperature * 1e6)}
	if a.Logprobs != nil && s.form != "text" {
		p.Logprobs = uint32(*a.Logprobs + 1)
	}
	seq, err := s.m.NewSequence(core.SequenceInput{Input: ids, Sampler: p, Seed: core.Seed{9}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer seq.Release()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	done := 0
	for seq.Finish() == "" && r.Context().Err() == nil {
		if err := s.m.Step(context.Background(), []core.Sequence{seq}); err != nil {
			return
		}
		for ; done < len(seq.Output()); done++ {
			fmt.Fprintf(w, "data: %s\n\n", s.event(seq, done))
			w.(http.Flusher).Flush()
		}
	}
	fmt.Fprintf(w, ": a comment\ndata: {\"choices\":[{\"text\":\"\",\"finish_reason\":%q}]}\n\n", seq.Finish())
	fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d}}\n\ndata: [DONE]\n\n", len(ids))
}

func (s *server) event(seq core.Sequence, at int) []byte {
	id := seq.Output()[at]
	choice := map[string]any{"text": string(s.tokens.Piece(id)), "finish_reason": nil}
	var top core.TokenLogprobs
	if all := seq.Logprobs(); at < len(all) {
		top = all[at]
	}
	switch {
	case s.form == "ids":
		choice["token_ids"] = []core.Token{id}
	case top == nil:
	case s.form == "table":
		table := map[string]float64{}
		for _, l := range top {
			table[fmt.Sprintf("token_id:%d", l.Token)] = float64(l.Value) / 1e6
		}
		choice["logprobs"] = map[string]any{"tokens": []string{fmt.Sprintf("token_id:%d", id)}, "token_logprobs": []float64{float64(top[0].Value) / 1e6}, "top_logprobs": []any{table}}
	case s.form == "content":
		list := []map[string]any{}
		for _, l := range top[1:] {
			list = append(list, map[string]any{"id": l.Token, "token": "?", "logprob": float64(l.Value) / 1e6})
		}
		choice["logprobs"] = map[string]any{"content": []any{map[string]any{"id": id, "token": "?", "logprob": float64(top[0].Value) / 1e6, "top_logprobs": list}}}
	}
	js, _ := json.Marshal(map[string]any{"choices": []any{choice}})
	return js
}

// open starts the server and an engine before it.
func open(t *testing.T, s *server) (*Engine, *model.Model) {
	t.Helper()
	m, err := model.OpenBytes(seed.Bytes(), model.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if s.tokens, err = token.New(m.Metadata()); err != nil {
		t.Fatal(err)
	}
	s.m = m
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	e, err := Open(t.Context(), Config{URL: h.URL, Name: "seed", Info: m.Info(), Metadata: m.Metadata()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, m
}

func question(t *testing.T, e *Engine, m *model.Model, ask string) []core.Token {
	t.Helper()
	template, err := chat.New(m.Metadata(), e.tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := template.Tokens([]chat.Message{{Role: "user", Content: ask}}, chat.Options{AddGenerationPrompt: true})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// answer runs one sequence to its end.
func answer(t *testing.T, e core.Engine, in core.SequenceInput) ([]core.Token, core.FinishReason, error) {
	t.Helper()
	s, err := e.NewSequence(in)
	if err != nil {
		return nil, "", err
	}
	defer s.Release()
	for limit := time.Now().Add(20 * time.Second); s.Finish() == ""; {
		if err := e.Step(t.Context(), []core.Sequence{s}); err != nil {
			return s.Output(), "", err
		}
		if time.Now().After(limit) {
			t.Fatal("the answer does not end")
		}
	}
	return s.Output(), s.Finish(), nil
}
