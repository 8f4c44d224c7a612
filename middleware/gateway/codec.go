package gateway

import (
	"strings"

	"github.com/koinon-network/koinon/core"
)

// Tokenizer is what a gateway needs of a model's tokenizer.
type Tokenizer interface {
	// Encode turns text into ids; special tokens are recognised in a rendered
	// chat template and never in a user's plain text.
	Encode(text string, special bool) []core.Token
	// Stream returns a decoder that yields valid UTF-8 as soon as it is
	// complete and nothing for control tokens.
	Stream() Decoder
	Size() int
}

// Decoder turns tokens into text piece by piece.
type Decoder interface {
	Add(t core.Token) string
	End() string
}

// Codec turns conversations into tokens and tokens into text, for one model.
type Codec struct {
	Tokenizer Tokenizer
	// Render applies the model's own chat template.
	Render func(ms []Message) (string, error)
	// Defaults are the model's recommended sampling, where the caller says
	// nothing; MaxTokens is not part of it.
	Defaults core.Sampler
}

// Chat renders a conversation and encodes it.
func (c *Codec) Chat(ms []Message) ([]core.Token, error) {
	text, err := c.Render(ms)
	if err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Param: "messages", Message: "the model's chat template refuses this conversation", Err: err}
	}
	return c.Tokenizer.Encode(text, true), nil
}

// Plain encodes a text as it is.
func (c *Codec) Plain(text string) ([]core.Token, error) {
	return c.Tokenizer.Encode(text, false), nil
}

// check validates token ids that a caller chose.
func (c *Codec) check(ids []core.Token) error {
	for i, id := range ids {
		if id < 0 || int(id) >= c.Tokenizer.Size() {
			return invalid("prompt", "prompt[%d]: token %d is outside the vocabulary of %d", i, id, c.Tokenizer.Size())
		}
	}
	return nil
}

// Text follows an answer: tokens in, text that may be shown out.
func (c *Codec) Text(stops []string) *Text {
	return &Text{decoder: c.Tokenizer.Stream(), stop: stopper{stops: stops}}
}

// Text is the visible text of one answer.
type Text struct {
	decoder Decoder
	stop    stopper
}

// Add returns what the tokens add to the visible text.
func (t *Text) Add(ts []core.Token) string {
	var b strings.Builder
	for _, id := range ts {
		b.WriteString(t.stop.feed(t.decoder.Add(id)))
	}
	return b.String()
}

// End returns the rest of the text.
func (t *Text) End() string { return t.stop.feed(t.decoder.End()) + t.stop.flush() }
