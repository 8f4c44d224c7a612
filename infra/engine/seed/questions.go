package seed

import (
	"strings"

	"github.com/koinon-network/koinon/infra/engine/train"
)

// Frames turn a term into a question. The held-out ones appear in no training
// document.
var (
	frames = []string{
		"What is %s?", "What is %s?", "What is %s?", "What is %s in Koinon?", "Explain %s.", "Explain %s to me.", "Can you explain %s?",
		"Tell me about %s.", "Tell me something about %s.", "Define %s.", "What does %s mean?", "Describe %s.",
		"What do you know about %s?", "I want to know what %s is.", "Please explain what %s is.", "What is meant by %s?",
		"%s?", "%s", "How does %s work?", "What exactly is %s?", "Do you know what %s is?", "What is %s good for?",
		"What do I need to know about %s?", "Give me a definition of %s.", "I do not understand %s.", "And what is %s?",
	}
	pluralFrames = []string{
		"What are %s?", "What are %s in Koinon?", "Explain %s.", "Tell me about %s.", "How do %s work?",
		"What do you know about %s?", "Describe %s.", "%s?", "What are %s good for?", "Can you explain %s?",
	}
	heldFrames = []string{
		"Could you tell me what %s is?", "I keep reading about %s. What is it?", "Give me a short explanation of %s.",
		"In simple words, what is %s?", "Help me understand %s.",
	}
)

// rewrites are other openings with the same meaning.
var rewrites = []struct {
	from string
	to   []string
}{
	{"How do I ", []string{"How can I ", "How do you ", "How to ", "How would I ", "How do we "}},
	{"How can I ", []string{"How do I ", "How could I ", "How can you "}},
	{"What is ", []string{"What's ", "Whats ", "What would be "}},
	{"Can I ", []string{"Could I ", "May I ", "Can we ", "Can you "}},
	{"Do I ", []string{"Do you ", "Do we "}},
	{"What if ", []string{"What happens if ", "And if "}},
	{"Why do ", []string{"For what reason do "}},
	{"Where is ", []string{"Where's ", "Where do I find "}},
	{"Which ", []string{"What "}},
	{"What does ", []string{"And what does "}},
	{"Who ", []string{"And who "}},
}

var (
	openings = []string{
		"Hi, ", "Hello, ", "Hey, ", "Please tell me: ", "Ok, ", "So, ", "Quick question: ", "Tell me, ", "One more thing: ",
		"Excuse me, ", "I have a question. ", "And ", "Hello! ", "Can you tell me: ", "Sorry, ", "I wonder: ", "Now, ",
	}
	fillers = []string{
		"I was wondering, ", "By the way, ", "A friend asked me: ", "In one sentence, ", "For a beginner: ", "Honestly, ", "As far as you know, ",
		"I just got here. ", "I have read the page but still: ", "In a few words, ", "Before I begin, ", "Just to be sure, ", "My boss wants to know: ",
		"Since I am new, ", "One thing is not clear. ", "Maybe a stupid question: ", "I would like to know: ", "Could you say ", "I keep asking myself: ",
		"Please be brief. ", "Help me with this: ", "Let me ask: ", "In plain English, ", "I heard something about it. ", "Good morning, ", "Well, ",
	}
	closings = []string{" Please.", " Thanks.", " please", " I am new here.", " Thank you."}
)

// disturb changes a question the way people do: openings, letter case,
// punctuation, slips of the finger. The result may equal q.
func disturb(r *train.Random, q string, small bool) string {
	if !small {
		if r.Below(100) < 25 {
			for _, w := range rewrites {
				if rest, ok := strings.CutPrefix(q, w.from); ok {
					q = pick(r, w.to) + rest
					break
				}
			}
		}
		switch n := r.Below(100); {
		case n < 12:
			q = pick(r, openings) + lowerFirst(q)
		case n < 22:
			q = pick(r, fillers) + lowerFirst(q)
		}
		if r.Below(100) < 20 {
			q = skipWords(r, q)
		}
		if r.Below(100) < 6 {
			q += pick(r, closings)
		}
	}
	for r.Below(100) < 9 {
		q = slip(r, q)
	}
	switch n := r.Below(100); {
	case n < 30:
		q = strings.ToLower(q)
	case n < 38:
		q = lowerFirst(q)
	case n < 41:
		q = strings.ToUpper(q)
	}
	switch n := r.Below(100); {
	case n < 33:
		q = strings.TrimRight(q, "?.!")
	case n < 36:
		q += "?"
	case n < 39:
		q = strings.TrimRight(q, "?.!") + " ?"
	case n < 41:
		q = strings.TrimRight(q, "?.!") + "!"
	}
	return q
}

func lowerFirst(s string) string {
	if s == "" || strings.HasPrefix(s, "I ") {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// skipWords leaves out words, which teaches to answer by those that matter.
func skipWords(r *train.Random, s string) string {
	words := strings.Fields(s)
	var kept []string
	for _, w := range words {
		if len(w) > 5 && r.Below(10) > 0 || r.Below(4) > 0 {
			kept = append(kept, w)
		}
	}
	if len(kept) < 2 {
		return s
	}
	if r.Below(5) == 0 {
		i := r.Below(len(kept) - 1)
		kept[i], kept[i+1] = kept[i+1], kept[i]
	}
	return strings.Join(kept, " ")
}

// slip drops, doubles or swaps a letter.
func slip(r *train.Random, s string) string {
	if len(s) < 6 {
		return s
	}
	i := 1 + r.Below(len(s)-2)
	b := []byte(s)
	switch r.Below(3) {
	case 0:
		return s[:i] + s[i+1:]
	case 1:
		return s[:i] + s[i-1:]
	}
	b[i], b[i+1] = b[i+1], b[i]
	return string(b)
}

// question draws a training question on the topic.
func (t *topic) question(r *train.Random) string {
	small := len(t.terms) == 0 && len(t.asks[0]) < 12
	if len(t.words) > 0 && r.Below(100) < 35 {
		return disturb(r, t.keywords(r), true)
	}
	n := r.Below(100)
	switch {
	case len(t.plurals) > 0 && (n < 15 || n < 30 && len(t.asks) == 0):
		return disturb(r, capital(strings.Replace(pick(r, pluralFrames), "%s", pick(r, t.plurals), 1)), false)
	case len(t.terms) > 0 && n < 60 || len(t.asks) == 0:
		return disturb(r, capital(strings.Replace(pick(r, frames), "%s", pick(r, t.terms), 1)), false)
	}
	return disturb(r, pick(r, t.asks), small)
}

func capital(s string) string {
	if strings.HasPrefix(s, "koinon") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func pick[T any](r *train.Random, list []T) T { return list[r.Below(len(list))] }
