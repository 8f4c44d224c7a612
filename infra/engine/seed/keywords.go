package seed

import (
	"slices"
	"strings"

	"github.com/koinon-network/koinon/infra/engine/train"
)

// commonWords is in how many topics a word may occur and still tell something;
// tellingWords in how many it tells the topic.
const (
	commonWords  = 12
	tellingWords = 4
)

// findWords sets the content words of topics from their training questions and
// answers, never from held-out questions.
func findWords(topics []topic) {
	in := map[string]int{} // topics with the word
	for i := range topics {
		t := &topics[i]
		text := strings.Join(slices.Concat(t.terms, t.plurals, t.asks, t.answers), " ")
		for _, w := range strings.Fields(strings.ToLower(text)) {
			w = strings.Trim(w, ".,:;?!\"")
			if len(w) > 2 && !slices.Contains(t.words, w) && !slices.Contains(functionWords, w) && !slices.Contains(emptyWords, w) {
				t.words = append(t.words, w)
				in[w]++
			}
		}
	}
	for i := range topics {
		t := &topics[i]
		var words []string
		for _, w := range t.words {
			switch {
			case in[w] <= tellingWords:
				words = append(words, w, w, w)
			case in[w] <= commonWords:
				words = append(words, w)
			}
		}
		if len(t.terms) == 0 && len(t.asks[0]) < 12 {
			words = nil // a greeting has no content
		}
		t.words = words
	}
}

var functionWords = strings.Fields("which what by in at from whose who whom does is are the a my any must would will how why when much many way there be to of for with it one I do you can could should mean happen need kind sort thing give get have if and or on that this they we as out up so some")

var emptyWords = strings.Fields("while then than because also only other even more most least itself them their its was were has had not may into you're your one's another each every here these those such both between within about after before again once ever just very well too own same")

// keywords draws a question that is little more than content words: how they
// are connected differs from person to person, and must not matter.
func (t *topic) keywords(r *train.Random) string {
	var words []string
	for n := 2 + r.Below(3); n > 0; n-- {
		words = append(words, pick(r, t.words))
	}
	return connect(r, words)
}

// unknownKeywords is the same about what the documentation does not know.
func unknownKeywords(r *train.Random) string {
	var words []string
	for n := 1 + r.Below(3); n > 0; n-- {
		if r.Below(4) == 0 {
			words = append(words, invented(r, 2+r.Below(2)))
		} else {
			words = append(words, pick(r, unknownSlots[pick(r, slotOrder)]))
		}
	}
	return connect(r, words)
}

// connect puts function words before and between words.
func connect(r *train.Random, words []string) string {
	var out []string
	for range r.Below(3) {
		out = append(out, pick(r, functionWords))
	}
	for _, w := range words {
		out = append(out, w)
		for range max(0, r.Below(5)-2) {
			out = append(out, pick(r, functionWords))
		}
	}
	q := capital(strings.Join(out, " "))
	if r.Below(3) > 0 {
		q += "?"
	}
	return q
}
