package remote

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

// Every form of server gives the answers that the model gives itself, where the
// draws are made here, and its greedy answers everywhere.
func TestAnswersOfEveryDialect(t *testing.T) {
	for _, c := range []struct {
		server  *server
		dialect Dialect
	}{
		{&server{form: "table"}, Dialect{IDs: true, Listed: 20, Tokens: true}},
		{&server{form: "content"}, Dialect{IDs: true, Listed: 20, Tokens: true}},
		{&server{form: "content", noIDs: true}, Dialect{Listed: 20, Tokens: true}},
		{&server{form: "ids"}, Dialect{IDs: true, Tokens: true}},
		{&server{form: "text", noIDs: true}, Dialect{}},
	} {
		t.Run(fmt.Sprintf("%s %t", c.server.form, c.server.noIDs), func(t *testing.T) {
			e, m := open(t, c.server)
			if e.Dialect() != c.dialect {
				t.Fatalf("the dialect is %+v, not %+v", e.Dialect(), c.dialect)
			}
			if e.Info().Semantics != core.SemanticsV1|core.OptionStatistical || e.Info().ID != m.Info().ID {
				t.Fatalf("the engine says %+v", e.Info())
			}
			input := question(t, e, m, "What is a receipt?")
			for i, s := range []core.Sampler{
				{MaxTokens: 60}, {MaxTokens: 7}, {MaxTokens: 60, Temperature: 900_000}, {MaxTokens: 60, Temperature: 1_200_000, TopK: 10},
				{MaxTokens: 60, Temperature: 1_000_000, TopP: 900_000}, {MaxTokens: 60, Stop: []string{"provider"}},
			} {
				in := core.SequenceInput{Input: input, Sampler: s, Seed: core.Seed{byte(i), 1}}
				want, reason, err := answer(t, m, in)
				if err != nil {
					t.Fatal(err)
				}
				got, finish, err := answer(t, e, in)
				if err != nil {
					t.Fatal(err)
				}
				if s.Temperature > 0 && !c.dialect.draws() {
					if len(got) == 0 || finish == "" {
						t.Errorf("sampler %d: the server's own draws gave %d tokens, %q", i, len(got), finish)
					}
					continue
				}
				if !slices.Equal(got, want) || finish != reason {
					t.Errorf("sampler %d: %v (%s)\ninstead of %v (%s)", i, got, finish, want, reason)
				}
			}
		})
	}
}

// Where tokens are drawn here, few calls are needed all the same, and a
// continuation draws as if it had never been interrupted.
func TestDrawsContinue(t *testing.T) {
	s := &server{form: "table"}
	e, m := open(t, s)
	in := core.SequenceInput{Input: question(t, e, m, "Who pays the provider?"), Sampler: core.Sampler{MaxTokens: 40, Temperature: 800_000}, Seed: core.Seed{5}}
	before := s.calls
	whole, _, err := answer(t, e, in)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.calls - before; n > len(whole) {
		t.Errorf("%d calls for %d tokens", n, len(whole))
	}
	cut := len(whole) / 2
	in.Input, in.Base = append(in.Input, whole[:cut]...), cut
	rest, _, err := answer(t, e, in)
	if err != nil || !slices.Equal(rest, whole[cut:]) {
		t.Errorf("the rest is %v, %v; it was %v", rest, err, whole[cut:])
	}
}

// Sequences that share a step do not wait for each other, and one that nobody
// takes stands still.
func TestTogether(t *testing.T) {
	e, m := open(t, &server{form: "content"})
	in := core.SequenceInput{Input: question(t, e, m, "What is a receipt?"), Sampler: core.Sampler{MaxTokens: 30}}
	want, _, err := answer(t, m, in)
	if err != nil {
		t.Fatal(err)
	}
	var batch []core.Sequence
	for range 6 {
		s, err := e.NewSequence(in)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Release()
		batch = append(batch, s)
	}
	for limit := time.Now().Add(20 * time.Second); slices.ContainsFunc(batch[1:], func(s core.Sequence) bool { return s.Finish() == "" }); {
		if err := e.Step(t.Context(), batch[1:]); err != nil || time.Now().After(limit) {
			t.Fatal("the batch does not end", err)
		}
	}
	for i, s := range batch {
		if i > 0 && !slices.Equal(s.Output(), want) || i == 0 && len(s.Output()) > 0 {
			t.Errorf("sequence %d: %v", i, s.Output())
		}
	}
}

// A server that fails is a failure, never an answer.
func TestServersThatFail(t *testing.T) {
	stream := func(events ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "text/event-stream")
			for _, e := range events {
				fmt.Fprintf(w, "data: %s\n\n", e)
			}
			return true
		}
	}
	for _, c := range []struct {
		what string
		bend func(w http.ResponseWriter, r *http.Request) bool
		says string
		code core.Code
	}{
		{"an error status", func(w http.ResponseWriter, _ *http.Request) bool { http.Error(w, "out of memory", 500); return true }, "out of memory", core.CodeProvider},
		{"too busy", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(429); return true }, "429", core.CodeBusy},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
			return true
		}, "307", core.CodeProvider},
		{"an empty 200", stream(), "unexpected EOF", core.CodeProvider},
		{"nothing but done", stream("[DONE]"), "without a reason", core.CodeProvider},
		{"an empty answer", stream(`{"choices":[{"text":"","finish_reason":"length"}]}`, "[DONE]"), "without a token", core.CodeProvider},
		{"an error in mid-stream", stream(`{"choices":[{"text":"a","token_ids":[5],"finish_reason":null}]}`, `{"error":{"message":"lost the GPU"}}`), "lost the GPU", core.CodeProvider},
		{"broken off", stream(`{"choices":[{"text":"a","token_ids":[5],"finish_reason":null}]}`), "unexpected EOF", core.CodeProvider},
		{"no JSON", stream(`<html>`), "not what completions send", core.CodeProvider},
		{"a token out of the vocabulary", stream(`{"choices":[{"text":"a","token_ids":[99999999],"finish_reason":null}]}`), "which token", core.CodeProvider},
		{"a filter", stream(`{"choices":[{"text":"a","token_ids":[5],"finish_reason":"content_filter"}]}`), "no answer has", core.CodeProvider},
		{"an endless event", func(w http.ResponseWriter, _ *http.Request) bool {
			fmt.Fprint(w, "data: ")
			_, _ = io.Copy(w, io.LimitReader(zeros{}, maxEvent+100))
			return true
		}, "larger than 1 MiB", core.CodeProvider},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := &server{form: "table"}
			e, m := open(t, s)
			s.mu.Lock()
			s.bend = c.bend
			s.mu.Unlock()
			_, finish, err := answer(t, e, core.SequenceInput{Input: question(t, e, m, "Hello"), Sampler: core.Sampler{MaxTokens: 20}})
			if err == nil || finish != "" || core.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, %v", finish, err)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

// A server that does not serve the model is refused at once.
func TestOpenRefuses(t *testing.T) {
	s := &server{form: "table"}
	_, m := open(t, s)
	c := Config{Name: "seed", Info: m.Info(), Metadata: m.Metadata()}
	for url, says := range map[string]string{
		"http://192.0.2.1:8000": "in the clear", "http://user:secret@127.0.0.1:1": "credentials", "ftp://127.0.0.1": "neither http nor https",
		"127.0.0.1:8000": "address", "http://127.0.0.1:1": "does not answer", "https:///v1": "no address",
	} {
		c.URL = url
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// What this tier does not offer is refused by name.
func TestSamplersThatAreNotOffered(t *testing.T) {
	e, m := open(t, &server{form: "table"})
	input := question(t, e, m, "Hello")
	for _, s := range []core.Sampler{{FrequencyPenalty: 1}, {RepetitionPenalty: 1_200_000}, {Bias: []core.TokenBias{{Token: 1, Bias: 1}}}, {Logprobs: 1},
		{Constraint: &core.Constraint{Grammar: "root ::= \"a\""}}, {IgnoreEOS: true}} {
		s.MaxTokens = 5
		if _, err := e.NewSequence(core.SequenceInput{Input: input, Sampler: s}); core.CodeOf(err) != core.CodeInvalid || !strings.Contains(err.Error(), "statistical tier") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
