package gateway

import (
	"errors"
	"math"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// Codec turns conversations into tokens and tokens into text, for one model.
// It is safe for concurrent use.
type Codec struct {
	tokenizer *token.Tokenizer
	template  *chat.Template
	// Defaults are the model's recommended sampling, where the caller says
	// nothing; MaxTokens is not part of it.
	Defaults core.Sampler
}

// NewCodec opens tokenizer and chat template from a model's metadata, of the
// whole file or of its tokenizer part alone.
func NewCodec(m gguf.Metadata) (*Codec, error) {
	t, err := token.New(m)
	if err != nil {
		return nil, err
	}
	tmpl, err := chat.New(m, t)
	if err != nil {
		return nil, err
	}
	d, err := recommended(m)
	return &Codec{tokenizer: t, template: tmpl, Defaults: d}, err
}

// recommended reads general.sampling.*; the API's default is temperature 1.
func recommended(m gguf.Metadata) (core.Sampler, error) {
	s := core.Sampler{Temperature: micro}
	for _, f := range []struct {
		key string
		hi  float64
		to  *uint32
	}{{"general.sampling.temp", 2, &s.Temperature}, {"general.sampling.top_p", 1, &s.TopP}, {"general.sampling.min_p", 1, &s.MinP}} {
		if !m.Has(f.key) {
			continue
		}
		v, err := m.Float(f.key)
		if err != nil || !(v >= 0 && v <= f.hi) {
			return s, errors.Join(errors.New(f.key+" is outside its range"), err)
		}
		*f.to = uint32(math.RoundToEven(v * micro))
	}
	if m.Has("general.sampling.top_k") {
		k, err := m.Int("general.sampling.top_k")
		if err != nil || k < 0 || k > math.MaxInt32 {
			return s, errors.Join(errors.New("general.sampling.top_k is outside its range"), err)
		}
		s.TopK = uint32(k)
	}
	return s, nil
}

// Chat renders a conversation with the model's own template and encodes it.
func (c *Codec) Chat(ms []Message) ([]core.Token, error) {
	turns := make([]chat.Message, len(ms))
	for i, m := range ms {
		turns[i] = chat.Message{Role: m.Role, Content: m.Content}
	}
	return c.template.Tokens(turns, chat.Options{AddGenerationPrompt: true})
}

// Plain encodes a text as it is.
func (c *Codec) Plain(text string) ([]core.Token, error) {
	return c.tokenizer.Encode(text, token.Options{AddBOS: true}), nil
}

// check validates token ids that a caller chose.
func (c *Codec) check(ids []core.Token) error {
	for i, id := range ids {
		if id < 0 || int(id) >= c.tokenizer.Size() {
			return invalid("prompt", "prompt[%d]: token %d is outside the vocabulary of %d", i, id, c.tokenizer.Size())
		}
	}
	return nil
}

// Text follows an answer: tokens in, text that may be shown out.
func (c *Codec) Text(stops []string) *Text {
	return &Text{tokenizer: c.tokenizer, decoder: c.tokenizer.NewDecoder(), stop: stopper{stops: stops}}
}

// Text is the visible text of one answer.
type Text struct {
	tokenizer *token.Tokenizer
	decoder   *token.Decoder
	stop      stopper
}

// Add returns what the tokens add to the visible text. Control tokens, the end
// token among them, are not shown.
func (t *Text) Add(ts []core.Token) string {
	var b strings.Builder
	for _, id := range ts {
		if !t.tokenizer.IsControl(id) {
			b.WriteString(t.stop.feed(t.decoder.Write(id)))
		}
	}
	return b.String()
}

// End returns the rest of the text.
func (t *Text) End() string { return t.stop.feed(t.decoder.Flush()) + t.stop.flush() }
