package gateway

import (
	"context"
	"fmt"
	"net/http"

	"github.com/koinon-network/koinon/core"
)

// openAI is the dialect of chat and plain completions and of embeddings.
var openAI = dialect{
	rules: rules{
		indifferent: []string{"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"},
		refusals: map[string]refusal{
			"store":              {[]string{"false"}, "answers are not stored for later retrieval; receipts are, at /v1/receipts"},
			"service_tier":       {[]string{`"auto"`, `"default"`}, "there are no tiers of service; the market has prices"},
			"modalities":         {[]string{`["text"]`}, "models here read and write text only"},
			"audio":              {nil, "models here read and write text only"},
			"prediction":         {nil, "predicted outputs would not make anything faster here"},
			"reasoning_effort":   {nil, "no model here has such a setting; see chat_template_kwargs for what its template knows"},
			"verbosity":          {[]string{`"medium"`}, "no model here has such a setting; say it in the prompt"},
			"web_search_options": {nil, "models here reach no web; offer a function in tools instead"},
			"functions":          {[]string{"[]"}, "use tools, which has replaced it"},
			"function_call":      {[]string{`"none"`}, "use tool_choice, which has replaced it"},
			"suffix":             {[]string{`""`}, "no model here fills in the middle of a text"},
			"moderation":         {nil, "nothing is moderated here"},
		},
	},
	failure: func(e *core.Error) (int, any) { return describe(e) },
}

func (g *Gateway) chatCompletions(w http.ResponseWriter, r *http.Request, body *chatRequest) error {
	p, err := body.plan()
	if err != nil {
		return err
	}
	own := body.Stream && body.includeUsage()
	return g.converse(w, r, &p, func(call *Call, ids []core.RequestID) shape {
		object := "chat.completion"
		if body.Stream {
			object += ".chunk"
		}
		return &chatShape{frame: newFrame[chatChoice]("chatcmpl-", object, call.Model, ids[0], own),
			codec: call.Codec, probs: body.LogProbs, ids: ids, calls: map[int]int{}}
	})
}

// converse answers a conversation in the shape that render makes, once its model
// is known. The error is one of preparing, or of an answer of which nothing was
// sent.
func (g *Gateway) converse(w http.ResponseWriter, r *http.Request, p *plan, render func(*Call, []core.RequestID) shape) error {
	return p.eachModel(func(model string, spent core.Amount) error {
		call, err := g.call(r.Context(), model, &p.sampling, p.encode)
		if err != nil {
			return err
		}
		s := &session{Gateway: g, w: w, ownUsage: p.includeUsage(), spent: spent}
		for i := range p.n {
			c := &choice{id: randomHash(), call: call, read: call.Codec.reader(&call.Sampler, p.tools)}
			c.call.UserSeed = p.seed(i)
			s.choices = append(s.choices, c)
		}
		s.shape = render(&call, s.ids())
		return s.run(r, p.Stream)
	})
}

// Ask is the API's chat call for callers inside the process.
func (g *Gateway) Ask(ctx context.Context, model string, ms []Message) (Call, error) {
	return g.call(ctx, model, &sampling{routing: routing{Model: model}}, func(c *Codec, _ *core.Sampler) ([]core.Token, error) { return c.Chat(ms) })
}

// call prepares a call: model, sampler, tokens, and the check against the
// context window. encode may add to the sampler.
func (g *Gateway) call(ctx context.Context, model string, p *sampling, encode func(*Codec, *core.Sampler) ([]core.Token, error)) (Call, error) {
	if _, err := p.sampler(core.Sampler{}); err != nil {
		return Call{}, err
	}
	name, tier, err := p.on(model)
	if err != nil {
		return Call{}, err
	}
	m, err := g.model(ctx, name)
	if err != nil {
		return Call{}, err
	}
	codec, err := g.codec(ctx, m)
	if err != nil {
		return Call{}, err
	}
	s, err := p.sampler(codec.Defaults)
	if err != nil {
		return Call{}, err
	}
	in, err := encode(codec, &s)
	if err != nil {
		return Call{}, err
	}
	if err := fit(in, &s, m, g.cfg.MaxAnswer); err != nil {
		return Call{}, err
	}
	if err := codec.accepts(&s); err != nil {
		if e := asError(err); p.Grammar != nil && e.Param == "response_format" {
			e.Param = "grammar"
		}
		return Call{}, err
	}
	if tier == core.TierStatistical {
		m.Name += statisticalSuffix // whatever speaks of this answer says so
		if err := s.Statistical(); err != nil {
			return Call{}, err
		}
	}
	return Call{Model: m, Tier: tier, Codec: codec, Input: in, Sampler: s, UserSeed: p.seed(0), route: p.Provider}, nil
}

// fit checks that the prompt leaves room for an answer and bounds the answer by
// what is left of the context; one that runs into the bound says "length".
func fit(in []core.Token, s *core.Sampler, m core.Manifest, most uint32) error {
	n, window := uint32(len(in)), m.Context
	switch {
	case n == 0:
		return invalid("prompt", "the prompt has no tokens")
	case n >= window:
		return &core.Error{Code: core.CodeContextLength, Param: "messages", Next: "shorten the prompt or ask a model with a longer context",
			Message: fmt.Sprintf("the prompt has %d tokens, the context of %s has %d tokens and must hold the answer too", n, m.Name, window)}
	case s.MaxTokens == 0:
		s.MaxTokens = min(window-n, most)
	default:
		s.MaxTokens = min(s.MaxTokens, window-n)
	}
	return nil
}

func (g *Gateway) completions(w http.ResponseWriter, r *http.Request, body *completionRequest) error {
	if err := body.check(); err != nil {
		return err
	}
	if body.MaxTokens == nil && body.MaxCompletionTokens == nil {
		n := int64(16) // OpenAI's default for this call
		body.MaxTokens = &n
	}
	return body.eachModel(func(model string, spent core.Amount) error {
		s, err := g.completionSession(r.Context(), model, body)
		if err != nil {
			return err
		}
		s.w, s.spent = w, spent
		return s.run(r, body.Stream)
	})
}

// completionSession prepares plain completions by one model.
func (g *Gateway) completionSession(ctx context.Context, model string, body *completionRequest) (*session, error) {
	n, _ := body.count()
	s := &session{Gateway: g, ownUsage: body.includeUsage()}
	var echoes []string
	for _, p := range body.Prompt {
		call, err := g.call(ctx, model, &body.sampling, func(c *Codec, s *core.Sampler) ([]core.Token, error) {
			s.Logprobs = body.logprobs()
			return p.encode(c)
		})
		if err != nil {
			return nil, err
		}
		for i := range n {
			c := &choice{id: randomHash(), call: call, read: call.Codec.reader(&call.Sampler, nil)}
			c.call.UserSeed = body.seed(i)
			s.choices = append(s.choices, c)
			if body.Echo {
				echoes = append(echoes, p.echo(call.Codec))
			}
		}
	}
	call := &s.choices[0].call
	s.shape = &textShape{frame: newFrame[textChoice]("cmpl-", "text_completion", call.Model, s.choices[0].id, body.Stream && s.ownUsage),
		codec: call.Codec, probs: body.LogProbs != nil, echoes: echoes, at: map[int]int{}}
	return s, nil
}
