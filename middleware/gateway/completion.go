package gateway

import (
	"encoding/json"

	"github.com/koinon-network/koinon/core"
)

// completionRequest is the body of POST /v1/completions.
type completionRequest struct {
	sampling
	Prompt   promptList `json:"prompt"`
	Echo     bool       `json:"echo"`
	BestOf   *int64     `json:"best_of"`
	LogProbs *int64     `json:"logprobs"`
}

// prompt is a text or token ids.
type prompt struct {
	text   string
	tokens []core.Token
}

func (p prompt) encode(c *Codec) ([]core.Token, error) {
	if p.tokens != nil {
		return p.tokens, c.check(p.tokens)
	}
	return c.Plain(p.text)
}

// promptList is what prompt and input may be.
type promptList []prompt

// UnmarshalJSON accepts a string, [string, ...], [ids] or [[ids], ...].
func (p *promptList) UnmarshalJSON(b []byte) error {
	*p = nil
	if string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) == nil {
		*p = promptList{{text: text}}
		return nil
	}
	var texts []string
	if json.Unmarshal(b, &texts) == nil && len(texts) > 0 {
		for _, t := range texts {
			*p = append(*p, prompt{text: t})
		}
		return nil
	}
	var ids []core.Token
	if json.Unmarshal(b, &ids) == nil && len(ids) > 0 {
		*p = promptList{{tokens: ids}}
		return nil
	}
	var lists [][]core.Token
	if json.Unmarshal(b, &lists) == nil && len(lists) > 0 {
		for _, ids := range lists {
			if len(ids) == 0 {
				return invalid("prompt", "prompt: a list of token ids is empty")
			}
			*p = append(*p, prompt{tokens: ids})
		}
		return nil
	}
	return invalid("prompt", "prompt: must be a string, a list of strings, or lists of token ids")
}

// maxCompletionLogprobs is more than OpenAI's 5 for this call.
const maxCompletionLogprobs = core.MaxLogprobs - 1

func (c *completionRequest) check() error {
	n, err := c.count()
	switch {
	case err != nil:
		return err
	case len(c.Prompt) == 0:
		return invalid("prompt", "prompt: is missing")
	case len(c.Prompt)*n > maxChoices:
		return invalid("prompt", "prompt: %d prompts with %d answers each are not possible, at most %d answers are", len(c.Prompt), n, maxChoices)
	case c.BestOf != nil && *c.BestOf != int64(n):
		e := invalid("best_of", "best_of: only n itself is possible, answers are not made to be thrown away")
		e.Next = "ask for n answers with logprobs and choose"
		return e
	case c.LogProbs != nil && (*c.LogProbs < 0 || *c.LogProbs > maxCompletionLogprobs):
		return invalid("logprobs", "logprobs: %d is outside 0 to %d", *c.LogProbs, maxCompletionLogprobs)
	case c.LogProbs != nil && c.Echo:
		e := invalid("echo", "echo: the log-probabilities of a prompt are not computed")
		e.Next = "leave out echo or logprobs"
		return e
	}
	return nil
}

// logprobs is the sampler's setting.
func (c *completionRequest) logprobs() uint32 {
	if c.LogProbs == nil {
		return 0
	}
	return uint32(*c.LogProbs) + 1
}

// echo is the prompt as text.
func (p prompt) echo(c *Codec) string {
	if p.tokens != nil {
		return c.tokenizer.Decode(p.tokens)
	}
	return p.text
}
