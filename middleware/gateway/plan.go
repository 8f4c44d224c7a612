package gateway

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
)

// plan is a checked chat request, before its model is known.
type plan struct {
	n        int
	messages []Message
	tools    *toolbox // nil where none may be called
	args     map[string]chat.JSON
	format   string // grammar of the answer's text, "" for any
	logprobs uint32
}

func (c *chatRequest) plan() (p plan, err error) {
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
	if p.tools, err = c.toolbox(); err != nil {
		return p, err
	}
	if p.format, err = c.ResponseFormat.language(); err != nil {
		return p, err
	}
	if c.Grammar == nil {
		return p, nil
	}
	if p.format != "" {
		return p, invalid("grammar", "grammar: an answer follows one grammar; leave out grammar or response_format")
	}
	own, err := ownGrammar(*c.Grammar)
	if err != nil {
		return p, err
	}
	p.format = own.Grammar
	return p, nil
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
