package seed

import (
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/token"
	"github.com/koinon-network/koinon/infra/engine/train"
)

// The special tokens of the chat format.
const (
	markSystem    = "<|system|>"
	markUser      = "<|user|>"
	markAssistant = "<|assistant|>"
	markEnd       = "<|end|>"
)

// ChatTemplate is the Jinja template in the GGUF file.
const ChatTemplate = `{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}`

// part is a piece of a document: a marker, or text to be read or to be learnt.
type part struct {
	mark  string
	text  string
	learn bool
}

// writer generates documents. The text of document i depends on i alone.
type writer struct{ topics []topic }

// corpusSeed is mixed into every document's number.
const corpusSeed = 0x6b6f696e6f6e2d31

func (w *writer) document(i uint64) []part {
	r := train.Random(corpusSeed ^ i*0x9e3779b97f4a7c15)
	r.Uint64()
	switch n := r.Below(100); {
	case n < 4:
		return w.page(&r)
	case n < 24:
		return w.reading(&r)
	}
	return w.dialogue(&r)
}

// page is documentation as plain text, for completions without a chat.
func (w *writer) page(r *train.Random) []part {
	t := pick(r, w.topics)
	answers := t.answers
	if r.Below(2) == 0 {
		answers = []string{pick(r, answers)}
	}
	text := strings.Join(answers, " ")
	if len(t.terms) > 0 && r.Below(2) == 0 {
		text = "# " + capital(t.terms[0]) + "\n\n" + text
	}
	return []part{{text: text, learn: true}, {mark: markEnd, learn: true}}
}

// reading is one to three questions about given texts, or words to repeat.
func (w *writer) reading(r *train.Random) []part {
	d := w.system(r)
	repeat := r.Below(5) == 0
	for n := 1 + r.Below(3); n > 0; n-- {
		q, a := fromContext(r, false)
		if repeat {
			q, a = echo(r)
		}
		d = append(d, turn(q, a)...)
	}
	return d
}

var systems = []string{
	"You are a helpful assistant.", "You are a helpful assistant.", "You are koinon-seed, a small model that answers questions about Koinon.",
	"Answer briefly.", "You are a helpful AI assistant. Answer the user's questions.", "Be concise.", "You answer questions about Koinon.",
	"You are an assistant.", "Be friendly and precise.",
}

func (w *writer) system(r *train.Random) []part {
	if r.Below(100) < 85 {
		return nil
	}
	return []part{{mark: markSystem}, {text: pick(r, systems)}, {mark: markEnd}}
}

func turn(question, answer string) []part {
	return []part{{mark: markUser}, {text: question}, {mark: markEnd}, {mark: markAssistant}, {text: answer, learn: true}, {mark: markEnd, learn: true}}
}

// dialogue is one to four exchanges.
func (w *writer) dialogue(r *train.Random) []part {
	d := w.system(r)
	turns := 1
	for turns < 4 && r.Below(100) < 45 {
		turns++
	}
	user := ""
	var last *topic
	for range turns {
		n := r.Below(100)
		switch {
		case last != nil && len(last.then) > 0 && n < 50:
			f := pick(r, last.then)
			d = append(d, turn(disturb(r, f.ask, true), f.answer)...)
			last = nil
			continue
		case n < 14:
			d = append(d, turn(unknown(r), pick(r, unknownAnswers))...)
		case n < 18:
			user = name(r)
			d = append(d, turn(strings.ReplaceAll(pick(r, introductions), "%s", user), "Nice to meet you, "+user+". What would you like to know about Koinon?")...)
		case n < 20 || user != "" && n < 40:
			answer := "You have not told me your name."
			if user != "" {
				answer = "Your name is " + user + "."
			}
			d = append(d, turn(disturb(r, pick(r, nameQuestions), true), answer)...)
		default:
			t := &w.topics[r.Below(len(w.topics))]
			d = append(d, turn(t.question(r), pick(r, t.answers))...)
			last = t
			continue
		}
		last = nil
	}
	return d
}

var (
	introductions = []string{"My name is %s.", "I am %s.", "Hello, I am %s.", "Hi, my name is %s", "my name is %s", "I'm %s", "Call me %s."}
	nameQuestions = []string{"What is my name?", "Do you know my name?", "Who am I?", "Tell me my name.", "What am I called?"}
)

// text is the document without markers, from which the vocabulary is made.
func text(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		if p.mark == "" {
			b.WriteString(p.text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// corpus is the writer's documents as tokens: what train.Run reads.
type corpus struct {
	writer
	tokens *token.Tokenizer
}

// Document implements train.Corpus.
func (c *corpus) Document(i uint64) train.Document {
	d := c.encode(c.document(i))
	// A dialogue that outgrows the context ends after a whole turn that fits.
	for n := len(d.Tokens); n > ContextLength; n = len(d.Tokens) {
		end := c.tokens.ID(markEnd)
		cut := ContextLength
		for cut > 0 && (d.Tokens[cut-1] != end || !d.Learn[cut-1]) {
			cut--
		}
		d.Tokens, d.Learn = d.Tokens[:cut], d.Learn[:cut]
	}
	return d
}

func (c *corpus) encode(parts []part) train.Document {
	var d train.Document
	for _, p := range parts {
		ids := []core.Token{c.tokens.ID(p.mark)}
		if p.mark == "" {
			ids = c.tokens.Encode(p.text, token.Options{})
		}
		for _, id := range ids {
			d.Tokens, d.Learn = append(d.Tokens, id), append(d.Learn, p.learn)
		}
	}
	return d
}
