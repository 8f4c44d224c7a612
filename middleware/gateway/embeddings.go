package gateway

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/koinon-network/koinon/core"
)

// embedding is OpenAI's dialect, whose prompt is called input.
var embedding = dialect{rules: openAI.rules, names: map[string]string{"prompt": "input"}, failure: openAI.failure}

// embeddingRequest is the body of POST /v1/embeddings.
type embeddingRequest struct {
	routing
	Input      promptList   `json:"input"`
	Format     string       `json:"encoding_format"`
	Dimensions *int         `json:"dimensions"`
	Pooling    core.Pooling `json:"pooling"`
}

// Limits of one call: as many inputs and tokens as OpenAI takes.
const (
	maxInputs      = 2048
	maxInputTokens = 300_000
	// embedAtOnce is how many inputs of a call are on their way at a time.
	embedAtOnce = 16
)

func (e *embeddingRequest) check() error {
	switch {
	case len(e.Input) == 0:
		return invalid("input", "input: is missing")
	case len(e.Input) > maxInputs:
		return invalid("input", "input: %d inputs, at most %d are possible", len(e.Input), maxInputs)
	case e.Format != "" && e.Format != "float" && e.Format != "base64":
		return invalid("encoding_format", "encoding_format: %q is not supported; use float or base64", clip(e.Format, 40))
	case e.Dimensions != nil && (*e.Dimensions < 1 || *e.Dimensions > core.MaxVector):
		return invalid("dimensions", "dimensions: %d is outside 1 to the model's width", *e.Dimensions)
	case e.Pooling != "" && e.Pooling != core.PoolMean && e.Pooling != core.PoolCLS && e.Pooling != core.PoolLast:
		return invalid("pooling", "pooling: %q is not supported; use mean, cls or last", clip(string(e.Pooling), 40))
	}
	return nil
}

// embeddingCalls makes one call per input: each is ordered, paid and provable
// by itself.
func (g *Gateway) embeddingCalls(ctx context.Context, model string, e *embeddingRequest) ([]Call, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	name, tier, err := e.on(model)
	if err != nil {
		return nil, err
	}
	if tier != core.TierExact {
		return nil, invalid("model", "model: embeddings are not available on the statistical tier; ask for %s", clip(name, 100))
	}
	m, err := g.model(ctx, name)
	if err != nil {
		return nil, err
	}
	codec, err := g.codec(ctx, m)
	if err != nil {
		return nil, err
	}
	pooling, total, none := e.Pooling, 0, uint64(0)
	if pooling == "" {
		pooling = codec.Pooling
	}
	calls := make([]Call, len(e.Input))
	for i, p := range e.Input {
		in := p.tokens
		if in == nil {
			in = codec.input(p.text)
		} else if err := codec.check(in); err != nil {
			return nil, err
		}
		name := fmt.Sprintf("input[%d]", i)
		switch total += len(in); {
		case len(in) == 0:
			return nil, invalid("input", "%s: has no tokens", name)
		case len(in) > int(m.Context):
			return nil, &core.Error{Code: core.CodeContextLength, Param: "input", Next: "split the text; nothing is cut off",
				Message: fmt.Sprintf("%s has %d tokens, the context of %s has %d", name, len(in), m.Name, m.Context)}
		case total > maxInputTokens:
			return nil, &core.Error{Code: core.CodeTooLarge, Param: "input", Next: "send them in several calls",
				Message: fmt.Sprintf("the inputs have more than %d tokens", maxInputTokens)}
		}
		calls[i] = Call{Model: m, Codec: codec, Input: in, Pooling: pooling, UserSeed: &none, route: e.Provider} // a seed would change nothing
	}
	return calls, nil
}

type embeddingObject struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // numbers, or base64 of little-endian float32
}

type embeddingList struct {
	Object string            `json:"object"`
	Data   []embeddingObject `json:"data"`
	Model  string            `json:"model"`
	Usage  struct {
		PromptTokens uint32 `json:"prompt_tokens"`
		TotalTokens  uint32 `json:"total_tokens"`
	} `json:"usage"`
	Koinon *settlement `json:"koinon"`
}

func (g *Gateway) embeddings(w http.ResponseWriter, r *http.Request, body *embeddingRequest) error {
	data, answers, model, err := g.vectors(r.Context(), body)
	if err != nil || answers == nil {
		return err
	}
	list := embeddingList{Object: "list", Data: data, Model: model, Koinon: settlementOf(core.Amount{}, answers...)}
	for _, a := range answers {
		list.Usage.PromptTokens += a.Usage.Input
	}
	list.Usage.TotalTokens = list.Usage.PromptTokens
	setHeaders(w, idsOf(answers)[:1], model, answers[0])
	w.Header().Set("X-Koinon-Cost", list.Koinon.Cost.String()+" akoin")
	writeJSON(w, http.StatusOK, list)
	return nil
}

func idsOf(answers []*Answer) []core.RequestID {
	ids := make([]core.RequestID, len(answers))
	for i, a := range answers {
		ids[i] = a.ID
	}
	return ids
}

// vectors asks for the vectors of all inputs and says which model gave them.
// Without an answer and without an error the caller has gone away.
func (g *Gateway) vectors(ctx context.Context, e *embeddingRequest) (data []embeddingObject, answers []*Answer, model string, err error) {
	err = e.eachModel(func(name string, spent core.Amount) error {
		calls, err := g.embeddingCalls(ctx, name, e)
		if err != nil {
			return err
		}
		all, err := g.embed(ctx, calls)
		if gone(ctx, err) {
			return nil
		}
		if err == nil {
			data, err = e.render(all)
		}
		if err != nil {
			x := *asError(err)
			x.Charge = costOf(all).Add(spent)
			return &x
		}
		all[0].Cost = all[0].Cost.Add(spent)
		answers, model = all, calls[0].Model.Name
		return nil
	})
	return data, answers, model, err
}

// embed asks for all vectors, some at a time. With an error it returns the
// answers that were begun.
func (g *Gateway) embed(ctx context.Context, calls []Call) ([]*Answer, error) {
	answers := make([]*Answer, len(calls))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(embedAtOnce)
	for i, call := range calls {
		group.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			answers[i], err = g.answer(ctx, randomHash(), call, nil, nil)
			return err
		})
	}
	err := group.Wait()
	var begun []*Answer
	for _, a := range answers {
		if a != nil {
			begun = append(begun, a)
		}
	}
	return begun, err
}

// render writes the vectors as they were asked for.
func (e *embeddingRequest) render(answers []*Answer) ([]embeddingObject, error) {
	out := make([]embeddingObject, len(answers))
	width := len(answers[0].Embedding)
	if e.Dimensions != nil && *e.Dimensions > width {
		return nil, invalid("dimensions", "dimensions: %d is more than the model's %d", *e.Dimensions, width)
	}
	for i, a := range answers {
		v := a.Embedding
		if len(v) != width {
			return nil, core.Errorf(core.CodeProvider, "%s and %s sent vectors of different lengths", answers[0].Provider.Moniker, a.Provider.Moniker)
		}
		if e.Dimensions != nil {
			v = shortened(v, *e.Dimensions)
		}
		out[i] = embeddingObject{"embedding", i, v}
		if e.Format == "base64" {
			out[i].Embedding = base64.StdEncoding.EncodeToString(core.EncodeVector(v))
		}
	}
	return out, nil
}

// shortened keeps the first n numbers, scaled to unit length again.
func shortened(v []float32, n int) []float32 {
	if n == len(v) {
		return v
	}
	sum := 0.0
	for _, x := range v[:n] {
		sum += float64(x) * float64(x)
	}
	out := make([]float32, n)
	if sum == 0 {
		return out
	}
	for i, x := range v[:n] {
		out[i] = float32(float64(x) / math.Sqrt(sum))
	}
	return out
}
