package referee

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// EndClaim says that an answer goes on behind its end, or does not end as its
// receipt says. What it shows decides; no game follows.
type EndClaim struct {
	Sampler core.Sampler
	Request Opening
	// Position is that of the last token shown, in input and output: the one
	// behind which the answer should have ended, or the answer's last.
	Position uint32
	Tokens   []Spelt // up to there: as many as stop strings need
}

// Spelt is a token of an answer with its entry in the vocabulary.
type Spelt struct {
	Token core.Token
	Path  []core.Hash // its place among input or output
	Kind  uint32
	Text  string
	Entry []core.Hash // its place in the vocabulary; none of tokens beyond it
}

// maxSpelt bounds the tokens of a claim.
const maxSpelt = 64

// errEnd says that a claim about an end proves nothing.
var errEnd = errors.New("the answer ends as its receipt says")

func (s *State) openEnd(m *Model, r *core.Receipt, c *EndClaim) error {
	if c.Sampler.Digest() != r.Sampler {
		return errors.New("the sampler is not the receipt's")
	}
	if err := c.Request.check(r); err != nil {
		return err
	}
	if c.Position < s.Inputs || c.Position >= s.Inputs+s.Outputs || len(c.Tokens) == 0 || len(c.Tokens) > maxSpelt || int(c.Position-c.Request.Prompt) < len(c.Tokens)-1 {
		return fmt.Errorf("%d tokens up to position %d are none of the answer's", len(c.Tokens), c.Position)
	}
	e, err := s.spell(m, c)
	if err != nil {
		return err
	}
	if s.Fault, err = e.judge(s, m, r.Finish, c); err != nil {
		return err
	}
	s.Phase = Proven
	return nil
}

// end is what the tokens shown say of the last of them.
type end struct {
	token   core.Token // the last one
	isEnd   bool
	stopped bool // an end token counts, or the bytes contain a stop string
	whole   bool // no stop string could begin before the tokens shown
}

func (s *State) spell(m *Model, c *EndClaim) (e end, err error) {
	var text []byte
	before := 0 // bytes before the last token
	for i := range c.Tokens {
		v := &c.Tokens[i]
		at := c.Position - uint32(len(c.Tokens)-1-i)
		if err := s.tokenOf(v.Token, at, v.Path); err != nil {
			return e, err
		}
		piece, isEnd, err := m.spell(v)
		if err != nil {
			return e, err
		}
		before, text = len(text), append(text, piece...)
		e.token, e.isEnd = v.Token, isEnd
	}
	e.stopped = e.isEnd && !c.Sampler.IgnoreEOS
	longest := 0
	for _, stop := range c.Sampler.Stop {
		longest = max(longest, len(stop))
		e.stopped = e.stopped || bytes.Contains(text, []byte(stop))
	}
	first := c.Position + 1 - uint32(len(c.Tokens))
	e.whole = first == c.Request.Prompt || before >= longest-1
	return e, nil
}

// spell reads a token's entry.
func (m *Model) spell(v *Spelt) (piece []byte, end bool, err error) {
	if v.Token < 0 {
		return nil, false, fmt.Errorf("%d is no token", v.Token)
	}
	if uint32(v.Token) >= m.tokens.Size {
		if v.Kind != 0 || v.Text != "" || len(v.Entry) != 0 {
			return nil, false, fmt.Errorf("token %d is beyond the vocabulary", v.Token)
		}
		return nil, false, nil
	}
	entry := gguf.Entry{Kind: v.Kind, Text: v.Text}
	if !merkle.Verify(m.tokens.Root, entry.Hash(), merkle.Proof[core.Hash]{Index: uint64(v.Token), Size: uint64(m.tokens.Size), Path: v.Entry}) {
		return nil, false, fmt.Errorf("the entry of token %d is not the vocabulary's", v.Token)
	}
	piece, end = token.Spell(&m.tokens, v.Token, entry)
	return piece, end, nil
}

// judge returns what is wrong with the answer's end.
func (e *end) judge(s *State, m *Model, claimed core.FinishReason, c *EndClaim) (fault string, err error) {
	output, rest := c.Position-s.Inputs, s.Inputs+s.Outputs-1-c.Position
	length := uint64(c.Position)+1-uint64(c.Request.Prompt) >= uint64(c.Sampler.MaxTokens) || uint64(c.Position)+1 >= uint64(m.config.Context)
	switch {
	case int(e.token) >= m.Vocabulary:
		return fmt.Sprintf("output token %d is %d, and the vocabulary has %d", output, e.token, m.Vocabulary), nil
	case rest > 0 && e.stopped:
		return fmt.Sprintf("the answer ends with output token %d, and %d more follow", output, rest), nil
	case rest > 0 && length:
		return fmt.Sprintf("the answer is full with output token %d, and %d more follow", output, rest), nil
	case rest > 0:
		return "", errEnd
	}
	switch claimed {
	case core.FinishCancelled:
		return "", errors.New("whoever breaks an answer off may do so anywhere")
	case core.FinishStop:
		switch {
		case e.stopped:
			return "", errEnd
		case c.Sampler.Constraint != nil:
			return "", errors.New("the end of a grammar's sentence is not judged")
		case !e.whole:
			return "", errors.New("a stop string may begin before the tokens shown")
		}
		return fmt.Sprintf("the answer stops after %d tokens, and neither an end token nor a stop string is there", s.Outputs), nil
	case core.FinishLength:
		if !length {
			return fmt.Sprintf("the answer claims to be full after %d tokens, and it is not", s.Outputs), nil
		}
		if e.stopped {
			return fmt.Sprintf("the answer claims to be full after %d tokens, and it had stopped", s.Outputs), nil
		}
		return "", errEnd
	}
	return fmt.Sprintf("the answer claims to end for the reason %.40q", claimed), nil
}
