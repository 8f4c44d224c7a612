package prover

import (
	"context"
	"fmt"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/sample"
)

// Advocate plays the games of one model's answers; it implements
// [core.Advocate].
type Advocate struct {
	prover *Prover

	mu      sync.Mutex
	answers map[core.Hash]*Answer // by salt key, of answers lately asked for
}

var _ core.Advocate = (*Advocate)(nil)

// remembered is how many answers keep their traces between moves.
const remembered = 16

// NewAdvocate returns an advocate over p.
func NewAdvocate(p *Prover) *Advocate {
	return &Advocate{prover: p, answers: map[core.Hash]*Answer{}}
}

// Admission implements core.Advocate.
func (v *Advocate) Admission() ([]byte, error) {
	return referee.Encode(v.prover.Admission()), nil
}

// answer finds or prepares an answer. The lock is held.
func (v *Advocate) answer(c core.Computation) *Answer {
	if a := v.answers[c.Input.Salt]; a != nil {
		return a
	}
	if len(v.answers) >= remembered {
		clear(v.answers)
	}
	a := v.prover.Answer(c.Input.Input, c.Output, c.Boundaries, c.Input.Salt)
	v.answers[c.Input.Salt] = a
	return a
}

// Accuse implements core.Advocate: the first false leaf, or the first token that
// another one wins against.
func (v *Advocate) Accuse(_ context.Context, c core.Computation, own core.Replayed) ([]byte, error) {
	per := v.prover.Model.Layers + 1
	if i := firstDifference(c.Boundaries, own.Boundaries); i >= 0 {
		return referee.Encode(referee.Claim{Position: uint32(i / per), Layer: uint32(i % per)}), nil
	}
	if len(c.Boundaries) > 0 && len(c.Boundaries) != (len(c.Input.Input)+len(c.Output)-1)*per {
		return referee.Encode(referee.Claim{}), nil // a tree of another size: no leaf of it can be shown
	}
	for i, t := range own.Tokens {
		if i >= len(c.Output) || t == c.Output[i] || t < 0 {
			continue
		}
		if !sample.Judged(c.Input.Sampler) {
			return nil, core.Errorf(core.CodeInvalid, "draws with top-k, top-p, penalties, biases or a constraint are not judged on chain")
		}
		path, err := tokenPath(c.Output, i)
		if err != nil {
			return nil, err
		}
		return referee.Encode(referee.Claim{Token: &referee.TokenClaim{Output: uint32(i), Given: c.Output[i], Path: path, Better: t,
			Sampler: c.Input.Sampler, Seed: c.Input.Seed}}), nil
	}
	if len(c.Boundaries) == 0 {
		return nil, core.Errorf(core.CodeInvalid, "the leaves of the answer are not at hand, so the false one cannot be named")
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
