package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// maxListed bounds the tokens that a server lists at one position.
const maxListed = 64

// position is what a server says of one output position.
type position struct {
	token core.Token // token.None where the server does not say
	top   []sample.Listed
}

// part is one event of an answer: positions where the server tells tokens apart,
// and the text.
type part struct {
	positions []position
	text      string
	finish    string // "stop", "length", ...; "" while it goes on
	prompt    int    // tokens of the prompt as the server counts them, 0 where it does not say
}

// body is an event of a stream or a whole answer, as far as it is read. The
// log-probabilities come in the form of OpenAI's completions, or of its chat.
type body struct {
	Choices []struct {
		Text     string        `json:"text"`
		Finish   *string       `json:"finish_reason"`
		TokenIDs []json.Number `json:"token_ids"`
		Logprobs *struct {
			Tokens  []string             `json:"tokens"`
			Values  []*float64           `json:"token_logprobs"`
			Top     []map[string]float64 `json:"top_logprobs"`
			Content []struct {
				entry
				Top []entry `json:"top_logprobs"`
			} `json:"content"`
		} `json:"logprobs"`
	} `json:"choices"`
	Usage *struct {
		Prompt int64 `json:"prompt_tokens"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// entry is a token as the form of chat lists it.
type entry struct {
	ID      *int64  `json:"id"`
	Token   string  `json:"token"`
	Bytes   []int   `json:"bytes"`
	Logprob float64 `json:"logprob"`
}

// parse reads one event's data.
func parse(data []byte, v *vocabulary) (p part, err error) {
	var b body
	if err := json.Unmarshal(data, &b); err != nil {
		return p, fmt.Errorf("an event is not what completions send: %w", err)
	}
	if len(b.Error) > 0 && string(b.Error) != "null" {
		return p, fmt.Errorf("the server says %.300s", b.Error)
	}
	if b.Usage != nil && b.Usage.Prompt > 0 && b.Usage.Prompt < math.MaxInt32 {
		p.prompt = int(b.Usage.Prompt)
	}
	if len(b.Choices) == 0 {
		return p, nil // an event of usage, or one that keeps the stream alive
	}
	if len(b.Choices) > 1 {
		return p, errors.New("the server sends several answers where one was asked for")
	}
	c := &b.Choices[0]
	p.text = c.Text
	if c.Finish != nil {
		p.finish = *c.Finish
	}
	if l := c.Logprobs; l != nil {
		for _, e := range l.Content {
			p.positions = append(p.positions, position{v.entry(&e.entry), v.entries(e.Top)})
		}
		for i, t := range l.Tokens {
			q := position{token: v.named(t)}
			if i < len(l.Top) {
				q.top = v.table(l.Top[i])
			}
			p.positions = append(p.positions, q)
		}
	}
	return p, p.number(c.TokenIDs, v)
}

// number puts in the ids that the server states beside its text.
func (p *part) number(ids []json.Number, v *vocabulary) error {
	if len(ids) == 0 {
		return nil
	}
	if len(p.positions) == 0 {
		p.positions = make([]position, len(ids))
	}
	if len(p.positions) != len(ids) {
		return fmt.Errorf("the server states %d token ids and lists %d positions", len(ids), len(p.positions))
	}
	for i, n := range ids {
		id, err := n.Int64()
		if err != nil {
			return fmt.Errorf("the token id %.20q is none", n.String())
		}
		p.positions[i].token = v.known(id)
	}
	return nil
}

// vocabulary finds the tokens that a server names.
type vocabulary struct {
	t      *token.Tokenizer
	byName map[string]core.Token // token.None where several have the name
}

func newVocabulary(t *token.Tokenizer) *vocabulary {
	v := &vocabulary{t, make(map[string]core.Token, 2*t.Size())}
	add := func(name string, id core.Token, weak bool) {
		if name == "" {
			return
		}
		if other, there := v.byName[name]; !there {
			v.byName[name] = id
		} else if other != id && !weak {
			v.byName[name] = token.None
		}
	}
	for id := range core.Token(t.Size()) {
		add(string(t.Piece(id)), id, false)
	}
	for id := range core.Token(t.Size()) {
		add(t.Text(id), id, true)
	}
	return v
}

func (v *vocabulary) known(id int64) core.Token {
	if id < 0 || id >= int64(v.t.Size()) {
		return token.None
	}
	return core.Token(id)
}

// named finds a token by what the server calls it: "token_id:N", its text, or
// its form in the vocabulary.
func (v *vocabulary) named(name string) core.Token {
	if digits, ok := strings.CutPrefix(name, "token_id:"); ok {
		if id, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return v.known(id)
		}
	}
	if id, ok := v.byName[name]; ok {
		return id
	}
	return token.None
}

func (v *vocabulary) entry(e *entry) core.Token {
	if e.ID != nil {
		return v.known(*e.ID)
	}
	if len(e.Bytes) > 0 && len(e.Bytes) <= 1<<12 {
		b := make([]byte, len(e.Bytes))
		for i, n := range e.Bytes {
			if n < 0 || n > 255 {
				return token.None
			}
			b[i] = byte(n)
		}
		if id, ok := v.byName[string(b)]; ok {
			return id
		}
	}
	return v.named(e.Token)
}

func (v *vocabulary) entries(es []entry) (top []sample.Listed) {
	for i := range es[:min(len(es), maxListed)] {
		top = list(top, v.entry(&es[i]), es[i].Logprob)
	}
	return top
}

func (v *vocabulary) table(t map[string]float64) (top []sample.Listed) {
	if len(t) > maxListed {
		return nil
	}
	for name, l := range t {
		top = list(top, v.named(name), l)
	}
	return top
}

// list adds a token with a possible log-probability. Some servers write the
// logarithm of 0 as a large negative number.
func list(top []sample.Listed, id core.Token, l float64) []sample.Listed {
	if id == token.None || !(l <= 1e-3) || l < -1e4 {
		return top
	}
	return append(top, sample.Listed{Token: id, Logprob: min(l, 0)})
}

// choice is the token that a greedy server chose, where it can be told.
func (p *position) choice() core.Token {
	if p.token != token.None || len(p.top) == 0 {
		return p.token
	}
	best := p.top[0]
	for _, c := range p.top[1:] {
		if c.Logprob > best.Logprob || c.Logprob == best.Logprob && c.Token < best.Token {
			best = c
		}
	}
	return best.Token
}
