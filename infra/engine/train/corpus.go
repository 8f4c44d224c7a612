package train

import (
	"fmt"

	"github.com/koinon-network/koinon/core"
)

// Corpus is an endless list of documents. Document is a pure function of i and
// must not be longer than Config.LongestInput.
type Corpus interface {
	Document(i uint64) Document
}

// Document is one text. Attention does not cross documents and positions start
// at 0. Learn[i] says that the model learns to predict token i from the tokens
// before it; a nil Learn means all tokens.
type Document struct {
	Tokens []core.Token
	Learn  []bool
}

// batch is a run of whole documents laid end to end.
type batch struct {
	tokens   []core.Token
	position []int
	docs     []span
	rows     []int        // rows whose next token is learnt
	target   []core.Token // the token to predict at rows[i]
}

type span struct{ lo, hi int }

// fill takes documents from number next on, as many as fit, and returns the
// number of the first that did not.
func (b *batch) fill(c Config, corpus Corpus, next uint64) (uint64, error) {
	*b = batch{tokens: b.tokens[:0], position: b.position[:0], docs: b.docs[:0], rows: b.rows[:0], target: b.target[:0]}
	for {
		d := corpus.Document(next)
		if n := len(d.Tokens); n < 2 || n > c.LongestInput || d.Learn != nil && len(d.Learn) != n {
			return 0, fmt.Errorf("train: document %d has %d tokens and %d marks, allowed are 2 to %d", next, n, len(d.Learn), c.LongestInput)
		}
		if len(b.tokens)+len(d.Tokens) > c.BatchTokens {
			return next, nil
		}
		if err := b.add(c, d); err != nil {
			return 0, fmt.Errorf("train: document %d: %w", next, err)
		}
		next++
	}
}

func (b *batch) add(c Config, d Document) error {
	lo := len(b.tokens)
	for i, t := range d.Tokens {
		if t < 0 || int(t) >= c.Vocabulary {
			return fmt.Errorf("token %d is outside the vocabulary of %d", t, c.Vocabulary)
		}
		b.tokens, b.position = append(b.tokens, t), append(b.position, i)
		if i > 0 && (d.Learn == nil || d.Learn[i]) {
			b.rows, b.target = append(b.rows, lo+i-1), append(b.target, t)
		}
	}
	b.docs = append(b.docs, span{lo, len(b.tokens)})
	return nil
}
