package prover

import (
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// accuseEnd claims that an answer goes on behind its end, holds a token outside
// the vocabulary or does not end as its receipt says; nil where it does none of
// this.
func (p *Prover) accuseEnd(c *core.Computation, own *core.Replayed) ([]byte, error) {
	inputs, prompt := len(c.Input.Input), len(c.Input.Input)-c.Input.Base
	alien := slices.IndexFunc(c.Output, func(t core.Token) bool { return int(t) >= p.Model.Vocabulary })
	last := len(c.Output) - 1
	at := last
	switch {
	case len(c.Output) == 0:
		return nil, nil
	case own.Ended >= 0 && own.Ended < last && (alien < 0 || own.Ended < alien):
		at = own.Ended
	case alien >= 0:
		at = alien
	case c.Finish == core.FinishCancelled || c.Finish == own.Finish:
		return nil, nil
	}
	e := &referee.EndClaim{Sampler: c.Input.Sampler, Request: referee.OpeningOf(&c.Request), Position: uint32(inputs + at)}
	tokens := slices.Concat(c.Input.Input, c.Output)
	first, stopped, err := p.tail(c, tokens, inputs+at, prompt)
	if err != nil {
		return nil, err
	}
	if c.Input.Sampler.Constraint != nil && !stopped && alien < 0 && (at < last || c.Finish == core.FinishStop) {
		return nil, core.Errorf(core.CodeInvalid, "where a grammar ends an answer is not judged on chain")
	}
	e.Tokens, err = p.spelt(tokens, inputs, first, inputs+at)
	return referee.Encode(referee.Claim{End: e}), err
}

// piece is what a token adds to the text, and whether it ends answers.
func (p *Prover) piece(v *gguf.Vocabulary, t core.Token) ([]byte, bool) {
	if int(t) >= len(p.entries()) {
		return nil, false
	}
	return token.Spell(v, t, p.entries()[t])
}

// tail finds the first of the tokens that have to be shown with the one at
// position at, for no stop string to begin before them; and whether an end token
// counts there.
func (p *Prover) tail(c *core.Computation, tokens []core.Token, at, prompt int) (first int, stopped bool, err error) {
	v, err := gguf.ParseVocabulary(p.admission.Vocabulary)
	if err != nil {
		return at, false, err
	}
	_, end := p.piece(&v, tokens[at])
	stopped = end && !c.Input.Sampler.IgnoreEOS
	longest := 0
	for _, s := range c.Input.Sampler.Stop {
		longest = max(longest, len(s))
	}
	first = at
	for have := 0; !stopped && have < longest-1 && first > prompt; {
		first--
		piece, _ := p.piece(&v, tokens[first])
		have += len(piece)
	}
	return first, stopped, nil
}

// spelt shows the tokens from position first to last with their entries.
func (p *Prover) spelt(tokens []core.Token, inputs, first, last int) ([]referee.Spelt, error) {
	entries := p.entries()
	leaves := make([]core.Hash, len(entries))
	for i, e := range entries {
		leaves[i] = e.Hash()
	}
	var out []referee.Spelt
	for at := first; at <= last; at++ {
		list, i := tokens[:inputs], at
		if at >= inputs {
			list, i = tokens[inputs:], at-inputs
		}
		path, err := tokenPath(list, i)
		if err != nil {
			return nil, err
		}
		s := referee.Spelt{Token: tokens[at], Path: path}
		if t := int(s.Token); t < len(entries) {
			entry, err := merkle.Prove(leaves, t)
			if err != nil {
				return nil, err
			}
			s.Kind, s.Text, s.Entry = entries[t].Kind, entries[t].Text, entry.Path
		}
		out = append(out, s)
	}
	return out, nil
}
