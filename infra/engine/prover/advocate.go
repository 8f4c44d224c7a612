package prover

import (
	"context"
	"fmt"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/sample"
)

// Advocate plays the games of one model's answers; it implements
// [core.Advocate].
type Advocate struct {
	prover *Prover

	mu      sync.Mutex
	answers map[answerKey]*Answer // of answers lately asked for
}

// answerKey tells answers apart: one request may, wrongly, have two.
type answerKey struct{ salt, output core.Hash }

var _ core.Advocate = (*Advocate)(nil)

// remembered is how many answers keep their traces between moves.
const remembered = 16

// NewAdvocate returns an advocate over p.
func NewAdvocate(p *Prover) *Advocate {
	return &Advocate{prover: p, answers: map[answerKey]*Answer{}}
}

// Admission implements core.Advocate.
func (v *Advocate) Admission() ([]byte, error) {
	return referee.Encode(v.prover.Admission()), nil
}

// answer finds or prepares an answer. The lock is held.
func (v *Advocate) answer(c core.Computation) *Answer {
	key := answerKey{c.Input.Salt, core.HashTokens(c.Output)}
	if a := v.answers[key]; a != nil {
		a.leaves = c.Boundaries // each side of a search has its own
		return a
	}
	if len(v.answers) >= remembered {
		clear(v.answers)
	}
	a := v.prover.Answer(c.Input.Input, c.Output, c.Boundaries, c.Input.Salt)
	if err := a.Salted(c.Receipt, &c.Request, c.Input.Seed); err != nil {
		a.salted = nil
	}
	v.answers[key] = a
	return a
}

// Accuse implements core.Advocate: an end where none should be, or none where one
// should; the first false leaf; where the provider's leaves are not at hand, a
// search for it; where all leaves are right, the first token that another one wins
// against.
func (v *Advocate) Accuse(_ context.Context, c core.Computation, own core.Replayed) ([]byte, error) {
	per := v.prover.Model.Layers + 1
	if claim, err := v.prover.accuseEnd(&c, &own); claim != nil || err != nil {
		return claim, err
	}
	switch {
	case merkle.Root(own.Boundaries) == c.Root:
		return accuseToken(c, own)
	case len(c.Boundaries) == 0 || len(c.Boundaries) != len(own.Boundaries):
		// Of a tree of another size, no node can be shown.
		return referee.Encode(referee.Claim{Search: true}), nil
	}
	i := firstDifference(c.Boundaries, own.Boundaries)
	if i < 0 {
		return nil, core.Errorf(core.CodeInvalid, "the leaves at hand are not those of the receipt")
	}
	return referee.Encode(referee.Claim{Position: uint32(i / per), Layer: uint32(i % per)}), nil
}

// accuseToken names the first token that should not have been drawn from true
// leaves.
func accuseToken(c core.Computation, own core.Replayed) ([]byte, error) {
	for i, t := range own.Tokens {
		if i >= len(c.Output) || t == c.Output[i] || t < 0 {
			continue
		}
		if !sample.Judged(&c.Input.Sampler) {
			return nil, core.Errorf(core.CodeInvalid, "draws under a constraint are not judged on chain")
		}
		path, err := tokenPath(c.Output, i)
		if err != nil {
			return nil, err
		}
		return referee.Encode(referee.Claim{Token: &referee.TokenClaim{Output: uint32(i), Given: c.Output[i], Path: path, Better: t,
			Sampler: c.Input.Sampler, Seed: c.Input.Seed, Request: referee.OpeningOf(&c.Request)}}), nil
	}
	return nil, core.Errorf(core.CodeInvalid, "what is wrong with the answer is not judged on chain: every token and leaf is right")
}

// Move implements core.Advocate.
func (v *Advocate) Move(ctx context.Context, c core.Computation, state []byte) ([]byte, error) {
	s := new(referee.State)
	if err := referee.Decode(state, s); err != nil {
		return nil, fmt.Errorf("the dispute's state cannot be read: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	m, err := v.answer(c).Move(ctx, s)
	if err != nil {
		return nil, err
	}
	return referee.EncodeMove(m), nil
}
