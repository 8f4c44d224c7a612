package model

import (
	"bytes"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/grammar"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// FinishInvalid ends an answer whose numbers left the finite range: the next
// token is undefined, on every machine alike. Weights of sane models never lead
// there; nor do grammars, unless the vocabulary cannot spell their sentences.
const FinishInvalid core.FinishReason = "invalid"

// ending decides after which token an answer ends. An end token counts unless
// the sampler ignores it; a stop string counts as soon as the bytes that the
// answer's tokens stand for contain it; a constraint ends it with a sentence that
// cannot go on; MaxTokens and the model's context bound the length.
type ending struct {
	tokenizer *token.Tokenizer
	sampler   *core.Sampler
	room      int              // output tokens until MaxTokens or the context is full
	longest   int              // bytes of the longest stop string
	tail      []byte           // the end of the answer's bytes, shorter than longest
	machine   *grammar.Machine // of the constraint, or nil
	state     grammar.State
}

// newEnding starts before the first output token of an answer to prompt tokens
// on a model with that context.
func newEnding(t *token.Tokenizer, s *core.Sampler, machine *grammar.Machine, prompt, context int) *ending {
	e := &ending{tokenizer: t, sampler: s, room: context - prompt}
	if uint64(s.MaxTokens) < uint64(e.room) {
		e.room = int(s.MaxTokens)
	}
	for _, stop := range s.Stop {
		e.longest = max(e.longest, len(stop))
	}
	if machine != nil {
		e.machine, e.state = machine, machine.Start()
	}
	return e
}

// after takes the next token and returns the reason to end with it, or "".
func (e *ending) after(t core.Token) core.FinishReason {
	e.room--
	stopped := e.stopsWith(e.tokenizer.Piece(t))
	if e.machine != nil {
		e.state = e.machine.Next(e.state, t)
		stopped = stopped || e.state.Ended()
	}
	switch {
	case stopped, !e.sampler.IgnoreEOS && e.tokenizer.IsEnd(t):
		return core.FinishStop
	case e.room <= 0:
		return core.FinishLength
	}
	return ""
}

func (e *ending) stopsWith(piece []byte) bool {
	if e.longest == 0 {
		return false
	}
	e.tail = append(e.tail, piece...)
	found := false
	for _, stop := range e.sampler.Stop {
		found = found || bytes.Contains(e.tail, []byte(stop))
	}
	if extra := len(e.tail) - (e.longest - 1); extra > 0 {
		e.tail = append(e.tail[:0], e.tail[extra:]...)
	}
	return found
}

// Ending decides for an engine elsewhere after which token an answer ends, by the
// rules of this one: it has no constraint.
type Ending struct{ e *ending }

// NewEnding starts after the first base output tokens of input, of which the
// rest is the prompt, on a model with that context.
func NewEnding(t *token.Tokenizer, in *core.SequenceInput, context int) *Ending {
	prompt := len(in.Input) - in.Base
	e := newEnding(t, &in.Sampler, nil, prompt, context)
	for _, t := range in.Input[prompt:] {
		e.after(t)
	}
	return &Ending{e}
}

// After takes the next token and returns the reason to end with it, or "".
func (e *Ending) After(t core.Token) core.FinishReason { return e.e.after(t) }

// Room is how many more tokens the answer may have.
func (e *Ending) Room() int { return e.e.room }
