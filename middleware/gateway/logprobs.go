package gateway

import (
	"unicode/utf8"

	"github.com/koinon-network/koinon/core"
)

// tokenProb is one token with its log-probability, in the words of chat.
type tokenProb struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"` // null for a token that stands for no text
}

type contentProb struct {
	tokenProb
	Top []tokenProb `json:"top_logprobs"`
}

// chatProbs is the logprobs object of a chat choice.
type chatProbs struct {
	Content []contentProb `json:"content"`
	Refusal []contentProb `json:"refusal"`
}

func (c *Codec) prob(p core.Logprob) tokenProb {
	b := c.tokenizer.Piece(p.Token)
	out := tokenProb{Token: c.spelling(p.Token), Logprob: float64(p.Value) / micro}
	for _, x := range b {
		out.Bytes = append(out.Bytes, int(x))
	}
	return out
}

// spelling is a token as text; bytes that are none show as U+FFFD.
func (c *Codec) spelling(t core.Token) string {
	if b := c.tokenizer.Piece(t); len(b) > 0 {
		return string(b)
	}
	return c.tokenizer.Text(t)
}

func (c *Codec) chatProbs(ps []core.TokenLogprobs) *chatProbs {
	out := &chatProbs{Content: []contentProb{}}
	for _, p := range ps {
		x := contentProb{tokenProb: c.prob(p[0]), Top: []tokenProb{}}
		for _, q := range p[1:] {
			x.Top = append(x.Top, c.prob(q))
		}
		out.Content = append(out.Content, x)
	}
	return out
}

// textProbs is the logprobs object of a plain completion.
type textProbs struct {
	Tokens  []string             `json:"tokens"`
	Values  []float64            `json:"token_logprobs"`
	Top     []map[string]float64 `json:"top_logprobs"`
	Offsets []int                `json:"text_offset"` // characters from the completion's beginning
}

// textProbs renders ps, whose first token begins at character *at, and moves at on.
func (c *Codec) textProbs(ps []core.TokenLogprobs, at *int) *textProbs {
	out := &textProbs{Tokens: []string{}, Values: []float64{}, Top: []map[string]float64{}, Offsets: []int{}}
	for _, p := range ps {
		out.Tokens = append(out.Tokens, c.spelling(p[0].Token))
		out.Values = append(out.Values, float64(p[0].Value)/micro)
		out.Offsets = append(out.Offsets, *at)
		*at += utf8.RuneCount(c.tokenizer.Piece(p[0].Token))
		var top map[string]float64
		for _, q := range p[1:] {
			if top == nil {
				top = map[string]float64{}
			}
			top[c.spelling(q.Token)] = float64(q.Value) / micro
		}
		out.Top = append(out.Top, top)
	}
	return out
}
