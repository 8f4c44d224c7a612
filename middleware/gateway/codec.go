package gateway

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/grammar"
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
	// Pooling is how the model's embeddings are pooled unless the caller says.
	Pooling core.Pooling
	// ends closes the input of an embedding, where the model wants that.
	ends     bool
	grammars *grammar.Cache
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
	c := &Codec{tokenizer: t, template: tmpl, Pooling: poolingOf(m)}
	c.grammars = grammar.NewCache(sync.OnceValue(func() *grammar.Vocabulary { return grammar.NewVocabulary(t.Size(), t.Piece, t.IsEnd) }))
	c.ends, _ = m.Bool("tokenizer.ggml.add_eos_token")
	c.Defaults, err = recommended(m)
	return c, err
}

// poolingOf reads how embeddings are pooled; the average where no key says.
func poolingOf(m gguf.Metadata) core.Pooling {
	for _, key := range m.Keys() {
		if strings.HasSuffix(key, ".pooling_type") {
			switch n, _ := m.Int(key); n {
			case 2:
				return core.PoolCLS
			case 3:
				return core.PoolLast
			}
		}
	}
	return core.PoolMean
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
func (c *Codec) Chat(ms []Message) ([]core.Token, error) { return c.chat(ms, nil, nil) }

// chat offers the tools of b, if any, and gives the template further variables.
// A template that knows no tools is told of them in words.
func (c *Codec) chat(ms []Message, b *toolbox, args map[string]chat.JSON) ([]core.Token, error) {
	o := chat.Options{AddGenerationPrompt: true, Variables: args}
	if c.template.Tools != nil {
		if b != nil {
			o.Tools = plain(b.offers)
		}
	} else if b != nil || slices.ContainsFunc(ms, func(m Message) bool { return m.Role == "tool" || len(m.ToolCalls) > 0 }) {
		ms = b.told(ms)
	}
	return c.template.Tokens(ms, o)
}

// tools is how the model writes calls.
func (c *Codec) tools() *chat.ToolFormat {
	if f := c.template.Tools; f != nil {
		return f
	}
	return chat.Hermes()
}

// Plain encodes a text as it is.
func (c *Codec) Plain(text string) ([]core.Token, error) {
	return c.tokenizer.Encode(text, token.Options{AddBOS: true}), nil
}

// input encodes a text to be embedded.
func (c *Codec) input(text string) []core.Token {
	ids := c.tokenizer.Encode(text, token.Options{AddBOS: true})
	if end := c.tokenizer.EOS(); c.ends && end != token.None {
		ids = append(ids, end)
	}
	return ids
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

// accepts checks a sampler against the model's vocabulary and compiles its
// grammar, as the provider will.
func (c *Codec) accepts(s *core.Sampler) error {
	if err := s.Check(); err != nil {
		return err
	}
	if n := len(s.Bias); n > 0 && int(s.Bias[n-1].Token) >= c.tokenizer.Size() {
		return invalid("logit_bias", "logit_bias: token %d is outside the vocabulary of %d", s.Bias[n-1].Token, c.tokenizer.Size())
	}
	if s.Constraint == nil {
		return nil
	}
	_, err := c.grammars.Machine(*s.Constraint)
	return err
}

// Text follows an answer: tokens in, text that may be shown out.
func (c *Codec) Text(stops []string) *Text {
	return &Text{tokenizer: c.tokenizer, decoder: c.tokenizer.NewDecoder(), stop: stopper{stops: stops}}
}

// reader follows an answer under a sampler that may call the tools of b, if any.
func (c *Codec) reader(s *core.Sampler, b *toolbox) *reader {
	r := &reader{text: c.Text(s.Stop)}
	if b == nil {
		return r
	}
	r.text.decoder = c.template.Decoder()
	f, tools := c.tools(), plain(b.usable)
	switch held := s.Constraint; {
	case b.forced:
		r.calls = newCallScanner(f, tools, false)
	case held != nil && held.Trigger != "" && !c.tokenizer.IsControl(c.tokenizer.ID(f.Trigger)):
		r.calls = newCallScanner(f, tools, true)
	default:
		r.calls = wholeCalls{f.Parser(tools)}
	}
	if b.single {
		r.most = 1
	}
	return r
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
		_, out := t.step(id)
		b.WriteString(out)
	}
	return b.String()
}

// step takes one token and returns how many bytes of text it completes, and
// what can be shown by now.
func (t *Text) step(id core.Token) (in int, out string) {
	text := t.decoder.Write(id)
	return len(text), t.stop.feed(text)
}

// hidden reports whether a token ends an answer and is no part of its text.
func (t *Text) hidden(id core.Token) bool { return t.tokenizer.IsEnd(id) }

// End returns the rest of the text.
func (t *Text) End() string { return t.stop.feed(t.decoder.Flush()) + t.stop.flush() }
