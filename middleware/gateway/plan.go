package gateway

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// plan is a checked conversation, in the words of no API: what the requests of
// all of them come to, before the model is known.
type plan struct {
	sampling
	n        int
	messages []Message
	raw      *string  // takes the place of messages, as it is
	tools    *toolbox // nil where none may be called
	args     map[string]chat.JSON
	format   string // grammar of the answer's text, "" for any
	logprobs uint32
}

func (c *chatRequest) plan() (p plan, err error) {
	p.sampling = c.sampling
	if p.messages, err = c.conversation(); err != nil {
		return p, err
	}
	if p.n, err = c.count(); err != nil {
		return p, err
	}
	if p.logprobs, err = c.logprobs(); err != nil {
		return p, err
	}
	if p.args, err = c.templateArgs(); err != nil {
		return p, err
	}
	if p.tools, err = newToolbox(c.Tools, c.ToolChoice, c.ParallelTools); err != nil {
		return p, err
	}
	return p, p.follow(c.ResponseFormat)
}

// follow holds the answer's text to a format, or to the caller's own grammar.
func (p *plan) follow(f *responseFormat) (err error) {
	if p.format, err = f.language(); err != nil || p.Grammar == nil {
		return err
	}
	if p.format != "" {
		return invalid("grammar", "grammar: an answer follows one grammar; leave out grammar or response_format")
	}
	own, err := ownGrammar(*p.Grammar)
	if err != nil {
		return err
	}
	p.format = own.Grammar
	return nil
}

// encode writes the conversation in a model's tokens.
func (p *plan) encode(c *Codec, s *core.Sampler) ([]core.Token, error) {
	s.Logprobs = p.logprobs
	if err := p.constrain(c, s); err != nil {
		return nil, err
	}
	if p.raw != nil {
		return c.Plain(*p.raw)
	}
	return c.chat(p.messages, p.tools, p.args)
}

// constrain sets the grammar that the answer follows.
func (p *plan) constrain(c *Codec, s *core.Sampler) (err error) {
	s.Constraint = nil
	switch {
	case p.tools != nil:
		s.Constraint, err = p.tools.constraint(c.tools(), p.format)
	case p.format != "":
		s.Constraint = &core.Constraint{Grammar: p.format}
	}
	return err
}
