package referee

import (
	"errors"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// TokenClaim says that another token should have been drawn.
type TokenClaim struct {
	Output  uint32      // output position
	Given   core.Token  // the token in the answer
	Path    []core.Hash // its place among the output tokens
	Better  core.Token  // a token that wins against it
	Sampler core.Sampler
	Seed    core.Seed
}

// Claims open the defence of a token: the normalised residual stream and the
// logits that decide the draw.
type Claims struct {
	Norm     core.Hash
	Leaf     Boundary   // leaf (t,L)
	Top      core.Token // the likeliest token
	TopLogit float32
	Given    float32 // logit of the token in the answer
	Better   float32 // logit of the challenger's candidate
}

// PickLogit names the token whose logit is wrong, or exceeds the one that is
// said to be the greatest.
type PickLogit struct{ Token core.Token }

func (s *State) openToken(m *Model, r *core.Receipt, t *TokenClaim) error {
	switch {
	case t.Sampler.Digest() != r.Sampler:
		return errors.New("the sampler is not the receipt's")
	case t.Seed.Commitment() != r.Seed:
		return errors.New("the seed is not the receipt's")
	case r.Billed != r.Input:
		return errors.New("a token of an answer that another provider began is not judged; dispute a leaf")
	case t.Output >= r.Output:
		return fmt.Errorf("there is no output token %d of %d", t.Output, r.Output)
	case t.Given == t.Better || t.Better < 0 || int(t.Better) >= m.Vocabulary || t.Given < 0 || int(t.Given) >= m.Vocabulary:
		return errors.New("the candidates are not two tokens of the vocabulary")
	}
	if !sample.Judged(t.Sampler) {
		return errors.New("draws with top-k, top-p, penalties, biases or a constraint are not judged; dispute a leaf")
	}
	if err := tokenAt(r.OutputHash, t.Given, uint64(t.Output), uint64(r.Output), t.Path); err != nil {
		return err
	}
	s.Claim.Position, s.Claim.Layer = r.Input-1+t.Output, s.Layers
	return nil
}

func (s *State) claims(v *Claims) error {
	t := s.Claim.Token
	if s.Phase != NeedLayer || t == nil {
		return errWrong
	}
	if err := v.Leaf.check(s, int(s.Claim.Position), int(s.Layers)); err != nil {
		return err
	}
	for _, l := range []float32{v.TopLogit, v.Given, v.Better} {
		if !spec.Finite([]float32{l}) {
			return errors.New("a logit is not finite")
		}
	}
	if v.Given > v.TopLogit || v.Better > v.TopLogit || v.Top < 0 || v.Top == t.Given && math.Float32bits(v.Given) != math.Float32bits(v.TopLogit) || v.Top == t.Better && math.Float32bits(v.Better) != math.Float32bits(v.TopLogit) {
		return errors.New("the greatest logit is not the greatest")
	}
	if !sample.Wins(t.Sampler, t.Seed, t.Output, v.TopLogit, sample.Candidate{Token: t.Given, Logit: v.Given}, sample.Candidate{Token: t.Better, Logit: v.Better}) {
		return errors.New("by these logits the challenger's candidate wins")
	}
	s.Input, s.Results, s.Claims, s.Phase = v.Leaf.X, []core.Hash{v.Norm}, v, NeedOperator
	return nil
}

func (s *State) pickLogit(m *Model, v *PickLogit) error {
	if s.Phase != NeedOperator || s.Claim.Token == nil {
		return errWrong
	}
	if v.Token < 0 || int(v.Token) >= m.Vocabulary {
		return fmt.Errorf("there is no token %d", v.Token)
	}
	s.Logit, s.Phase = v, NeedChunks
	s.Tile = uint32(v.Token) / uint32(m.head.GroupRows())
	return nil
}

// checkLogit holds a logit against what was claimed of it.
func (s *State) checkLogit(l float32) error {
	t, claimed := s.Claim.Token, s.Claims
	want, named := float32(0), true
	switch s.Logit.Token {
	case t.Given:
		want = claimed.Given
	case t.Better:
		want = claimed.Better
	case claimed.Top:
		want = claimed.TopLogit
	default:
		named = false
	}
	if named && math.Float32bits(l) != math.Float32bits(want) {
		return errors.New("the logit is not the one that was claimed")
	}
	if !named && !(l <= claimed.TopLogit) {
		return errors.New("the logit exceeds the one that was claimed to be the greatest")
	}
	return nil
}

// TokenProgram is the program of a token: the normalised residual stream, from
// which single logits follow.
func (m *Model) TokenProgram() *Program {
	return &Program{X: -1, K: -1, V: -1, Ops: []Operator{{Kind: Norm, Name: "normalised output", Len: m.width, A: Input, Weights: m.norm}}}
}
