package gateway

import (
	"github.com/koinon-network/koinon/core"
)

func fromSchema([]byte) (string, error) {
	return "", core.Errorf(core.CodeInvalid, "schemas are not supported yet")
}

func anyObject() (string, error) {
	return "", core.Errorf(core.CodeInvalid, "JSON is not supported yet")
}

type grammarCheck struct{}

func newGrammarCheck(any) grammarCheck { return grammarCheck{} }

// accepts checks the sampler against the model's vocabulary and compiles its
// grammar, as the provider will.
func (c *Codec) accepts(s *core.Sampler) error {
	if err := s.Check(); err != nil {
		return err
	}
	if n := len(s.Bias); n > 0 && int(s.Bias[n-1].Token) >= c.tokenizer.Size() {
		return invalid("logit_bias", "logit_bias: token %d is outside the vocabulary of %d", s.Bias[n-1].Token, c.tokenizer.Size())
	}
	return nil
}
