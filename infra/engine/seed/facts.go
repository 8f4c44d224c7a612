package seed

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed facts.txt
var factsText string

// topic is one entry of facts.txt: what can be asked and what is answered.
type topic struct {
	name    string
	terms   []string // singular, go into frames such as "What is %s?"
	plurals []string
	asks    []string // whole questions
	held    []string // whole questions that training never shows
	answers []string // phrasings of the same answer
	then    []followUp
	words   []string // content words, the telling ones repeated
}

// followUp is a question that only makes sense after the topic's answer.
type followUp struct{ ask, answer string }

// parseFacts reads the format of facts.txt: a line "# name" begins a topic, and
// lines "key: value" belong to it.
func parseFacts(text string) ([]topic, error) {
	var topics []topic
	for n, line := range strings.Split(text, "\n") {
		if line == "" {
			continue
		}
		if name, ok := strings.CutPrefix(line, "# "); ok {
			topics = append(topics, topic{name: name})
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || len(topics) == 0 {
			return nil, fmt.Errorf("facts.txt:%d: %q is neither a topic nor key: value", n+1, line)
		}
		t := &topics[len(topics)-1]
		switch key {
		case "term":
			t.terms = append(t.terms, value)
		case "plural":
			t.plurals = append(t.plurals, value)
		case "ask":
			t.asks = append(t.asks, value)
		case "held":
			t.held = append(t.held, value)
		case "answer":
			t.answers = append(t.answers, value)
		case "then":
			ask, answer, ok := strings.Cut(value, " => ")
			if !ok {
				return nil, fmt.Errorf("facts.txt:%d: a follow-up needs question => answer", n+1)
			}
			t.then = append(t.then, followUp{ask, answer})
		default:
			return nil, fmt.Errorf("facts.txt:%d: unknown key %q", n+1, key)
		}
	}
	for _, t := range topics {
		if len(t.answers) == 0 || len(t.asks)+len(t.terms) == 0 || len(t.held) == 0 {
			return nil, fmt.Errorf("facts.txt: the topic %q lacks an answer, a question or a held-out question", t.name)
		}
	}
	findWords(topics)
	return topics, nil
}
