package remote

import (
	"bytes"
	"io"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/token"
)

func tokenizer(tb testing.TB) *token.Tokenizer {
	tb.Helper()
	f, err := gguf.Parse(seed.Bytes())
	if err != nil {
		tb.Fatal(err)
	}
	t, err := token.New(f.Metadata)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// Whatever a server sends, what comes out are tokens of the vocabulary with
// possible log-probabilities, in bounded numbers, or an error.
func FuzzStream(f *testing.F) {
	for _, s := range []string{
		"data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\ndata: [DONE]\n\n",
		"data: {\"choices\":[{\"text\":\"a\",\"token_ids\":[5],\"finish_reason\":\"stop\"}]}\r\n\r\n",
		"data:{\"choices\":[{\"logprobs\":{\"tokens\":[\"token_id:7\"],\"token_logprobs\":[-0.1],\"top_logprobs\":[{\"token_id:7\":-0.1,\"x\":-3}]}}]}\n",
		"event: x\nid: 1\n: c\ndata: {\"choices\":[{\"logprobs\":{\"content\":[{\"id\":3,\"token\":\"a\",\"bytes\":[97],\"logprob\":-1,\"top_logprobs\":[{\"bytes\":[97],\"logprob\":-1}]}]}}],\"usage\":{\"prompt_tokens\":3}}\n\n",
		"data: {\"error\":{\"message\":\"no\"}}\n\n", "data: {\"choices\":\ndata: []}\n\n",
	} {
		f.Add([]byte(s))
	}
	v := newVocabulary(tokenizer(f))
	size := core.Token(v.t.Size())
	f.Fuzz(func(t *testing.T, b []byte) {
		es := newEvents(bytes.NewReader(b))
		for {
			data, err := es.next()
			if err != nil {
				if err != io.EOF && err != errEvent && err != errStream {
					t.Fatal(err)
				}
				return
			}
			p, err := parse(data, v)
			if err != nil {
				continue
			}
			for _, q := range p.positions {
				if q.token < token.None || q.token >= size || len(q.top) > maxListed || q.choice() >= size {
					t.Fatalf("%+v", q)
				}
				for _, l := range q.top {
					if l.Token < 0 || l.Token >= size || !(l.Logprob <= 0) {
						t.Fatalf("%+v", l)
					}
				}
			}
		}
	})
}

// However a text is cut, its tokens spell it.
func FuzzWriting(f *testing.F) {
	f.Add("A receipt is what the provider signs.\n\nYes.", uint8(3))
	f.Add(" \n  \nß\xff", uint8(1))
	tok := tokenizer(f)
	f.Fuzz(func(t *testing.T, text string, step uint8) {
		if len(text) > 2000 {
			return
		}
		w := writing{tokenizer: tok}
		var ids []core.Token
		for rest := text; rest != ""; {
			n := min(len(rest), int(step)%17+1)
			ids = append(ids, w.add(rest[:n], false)...)
			rest = rest[n:]
		}
		ids = append(ids, w.add("", true)...)
		var spelled []byte
		for _, id := range ids {
			spelled = append(spelled, tok.Piece(id)...)
		}
		if string(spelled) != text {
			t.Fatalf("%q spells %q", text, spelled)
		}
		if w.given != len(ids) {
			t.Fatalf("%d tokens counted, %d given", w.given, len(ids))
		}
	})
}
