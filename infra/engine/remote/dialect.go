package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// Dialect is what a server turned out to do.
type Dialect struct {
	// IDs says that prompts go to it as token ids, not as text.
	IDs bool `json:"prompt_ids"`
	// Bare says that the server puts the beginning of text before a prompt itself.
	Bare bool `json:"adds_bos"`
	// Listed is how many likeliest tokens it lists at a position: 0 for none.
	Listed int `json:"listed"`
	// Tokens says that it tells the tokens of its output, not only their text.
	Tokens bool `json:"tells_tokens"`
}

// String says it in words.
func (d Dialect) String() string {
	prompts, draws := "text", "the server draws"
	if d.IDs {
		prompts = "token ids"
	}
	if d.draws() {
		draws = fmt.Sprintf("tokens are drawn here, among the %d likeliest", d.Listed)
	}
	return fmt.Sprintf("prompts go as %s; %s", prompts, draws)
}

// draws reports whether tokens are drawn here, among the listed ones.
func (d Dialect) draws() bool { return d.Tokens && d.Listed > 1 }

// listings are how many likeliest tokens are asked for, in turn: what vLLM
// allows by default, what OpenAI does, none.
var listings = []int{20, 5, 0}

// probe finds out what the server does with a short prompt.
func (e *Engine) probe(ctx context.Context) error {
	prompt := e.tokenizer.Encode("The first thing to know is that", token.Options{AddBOS: true})
	var last error
	for _, d := range []Dialect{{IDs: true}, {IDs: true, Bare: true}, {}, {Bare: true}} {
		if d.Bare && !e.tokenizer.AddsBOS() {
			continue
		}
		for _, d.Listed = range listings {
			found, err := e.try(ctx, d, prompt)
			if err == nil {
				e.dialect = found
				return nil
			}
			last = err
			var s *status
			if !errors.As(err, &s) || s.code >= 500 || s.code == http.StatusUnauthorized || s.code == http.StatusForbidden || s.code == http.StatusNotFound {
				break // fewer listed tokens will not help
			}
		}
		if core.CodeOf(last) == core.CodeBusy || ctx.Err() != nil {
			break
		}
	}
	return &core.Error{Code: core.CodeProvider, Message: "the back end cannot serve this model", Err: last,
		Next: "check that it runs, that it has POST /v1/completions, the name in --backend-model, and that it serves the model of --model"}
}

var errCount = errors.New("the server counts another number of tokens in the prompt")

// try asks for a few tokens in a dialect and notes what comes.
func (e *Engine) try(ctx context.Context, d Dialect, prompt []core.Token) (Dialect, error) {
	o := order{Prompt: e.prompt(d, prompt), MaxTokens: 4}
	if d.Listed > 0 {
		o.Logprobs = &d.Listed
	}
	s, err := e.client.complete(ctx, o, e.vocabulary)
	if err != nil {
		return d, err
	}
	defer s.close()
	asked, counted, text := d.Listed, 0, ""
	d.Listed, d.Tokens = asked, true
	n := 0
	for {
		p, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return d, err
		}
		counted, text = max(counted, p.prompt), text+p.text
		if len(p.positions) == 0 && p.text != "" {
			d.Listed, d.Tokens = 0, false
		}
		for i := range p.positions {
			n++
			d.Listed = min(d.Listed, len(p.positions[i].top))
			if p.positions[i].choice() == token.None {
				d.Listed, d.Tokens = 0, false
			}
		}
	}
	if counted > 0 && counted != len(prompt) {
		return d, fmt.Errorf("%w: %d instead of %d", errCount, counted, len(prompt))
	}
	if n == 0 && text == "" {
		return d, errors.New("the server completes the text with nothing")
	}
	if n == 0 {
		d.Listed, d.Tokens = 0, false
	}
	return d, nil
}

// prompt is what the server gets for these tokens.
func (e *Engine) prompt(d Dialect, ids []core.Token) any {
	if d.Bare && len(ids) > 0 && ids[0] == e.tokenizer.BOS() {
		ids = ids[1:]
	}
	if d.IDs {
		return ids
	}
	return e.text(ids)
}

// text writes tokens out, control tokens as the vocabulary has them, so that the
// same tokens are read from it where there is such a text.
func (e *Engine) text(ids []core.Token) string {
	plain := e.spell(ids, false)
	for _, text := range []string{plain, e.spell(ids, true)} {
		if slices.Equal(e.tokenizer.Encode(text, token.Options{ParseSpecial: true}), ids) {
			return text
		}
	}
	return plain
}

// spell writes tokens out; trimmed leaves out the space that SentencePiece puts
// before a text.
func (e *Engine) spell(ids []core.Token, trimmed bool) string {
	var b []byte
	start := true
	for _, id := range ids {
		if e.tokenizer.IsControl(id) {
			b = append(b, e.tokenizer.Text(id)...)
			start = true
			continue
		}
		piece := e.tokenizer.Piece(id)
		if start && trimmed {
			piece = bytes.TrimPrefix(piece, []byte(" "))
		}
		b, start = append(b, piece...), false
	}
	return string(b)
}
