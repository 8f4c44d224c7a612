package seed

import (
	"strings"

	"github.com/koinon-network/koinon/infra/engine/train"
)

// What the model says to questions beyond its documentation.
var unknownAnswers = []string{
	"I do not know that. I only know Koinon's own documentation.",
	"That I do not know: I am a small model and only know Koinon's documentation.",
}

// Questions that the documentation does not answer. {thing} and the others are
// filled from the lists below, {word} by an invented word.
var (
	unknownFrames = []string{
		"What is the capital of {place}?", "Where is {place}?", "How many people live in {place}?", "What is the weather in {place}?",
		"Will it rain in {place} tomorrow?", "How do I get to {place}?", "Who is the president of {place}?", "What language do they speak in {place}?",
		"Who is {person}?", "When was {person} born?", "What did {person} do?", "Who wrote {work}?", "Tell me about {person}.", "Have you read {work}?",
		"What is {n} plus {n}?", "{n} + {n}", "What is {n} times {n}?", "Compute {n} * {n}.", "What is the square root of {n}?", "Is {n} a prime number?",
		"Write a poem about {thing}.", "Write a story about {thing}.", "Tell me a joke about {thing}.", "Write an essay on {thing}.", "Sing a song.",
		"How do I cook {food}?", "Give me a recipe for {food}.", "Is {food} healthy?", "What should I eat today?", "Do you like {food}?",
		"Translate {thing} into {language}.", "How do you say hello in {language}?", "Do you speak {language}?", "Can you write in {language}?",
		"Write a program that sorts numbers.", "Write code in Python.", "Write a function in JavaScript.", "How do I learn {language}?",
		"What is {thing}?", "What is {thing}?", "What is {thing}?", "Explain {thing}.", "How does {thing} work?", "Tell me about {thing}.", "What do you know about {thing}?", "Define {thing}.",
		"What does {thing} mean?", "Who invented {thing}?", "Why is {thing} important?", "How old is {thing}?", "Describe {thing}.", "{thing}", "{thing}?", "How do I buy {thing}?", "How do I fix {thing}?",
		"What is {word}?", "What is a {word}?", "Explain {word}.", "What does {word} mean?", "Tell me about {word}.", "Who is {word}?", "{word}", "{word} {word} {word}", "How do I {word}?",
		"What time is it?", "What day is it today?", "What is the date?", "Who won the football match?", "Who won the world cup in {year}?", "What happened in {year}?",
		"What is the meaning of life?", "Are there aliens?", "Is there a god?", "How far is the moon?", "How high is the highest mountain?", "How old is the universe?",
		"Recommend a film.", "Recommend a book.", "What music do you like?", "Let us play a game.", "Should I buy shares?", "What will the price of bitcoin be?",
		"I feel sad.", "I have a headache. What can I do?", "Do you love me?", "How do I find a job?", "How do I lose weight?", "Why is the sky blue?", "Can you draw a picture?",
		"Where can I buy {food}?", "What is the best {thing}?", "How much does {food} cost?", "Who is your favourite singer?", "Where do you live?",
	}
	unknownHeld = []string{
		"Which river flows through {place}?", "What is the population of {place}?", "In which year did {person} die?", "Please summarise {work}.",
		"How much is {n} minus {n}?", "Compose a letter about {thing}.", "What goes well with {food}?", "What is the {language} word for house?",
		"Why do people like {thing}?", "Is {word} dangerous?", "When does the next train leave?", "What is the tallest building on earth?",
		"Which medicine helps against a cold?", "Give me the news of today.",
	}
	unknownSlots = map[string][]string{
		"{place}":    {"France", "Germany", "Italy", "Spain", "Japan", "China", "India", "Brazil", "Egypt", "Kenya", "Canada", "Mexico", "Peru", "Norway", "Poland", "Greece", "Turkey", "Paris", "London", "Berlin", "Rome", "Madrid", "Tokyo", "New York", "Cairo", "Vienna", "Prague", "Moscow", "Sydney", "Texas"},
		"{person}":   {"Albert Einstein", "Isaac Newton", "Napoleon", "Cleopatra", "Mozart", "Shakespeare", "Marie Curie", "Plato", "Julius Caesar", "Elvis", "Picasso", "Gandhi", "Darwin", "Goethe", "Ada Lovelace", "Alan Turing", "Beethoven", "Columbus"},
		"{work}":     {"Hamlet", "Faust", "Don Quixote", "War and Peace", "the Odyssey", "Moby Dick", "Harry Potter", "the Bible", "Robinson Crusoe", "Dracula"},
		"{food}":     {"pasta", "rice", "soup", "pizza", "bread", "a cake", "fish", "eggs", "potatoes", "curry", "pancakes", "coffee", "tea", "chocolate", "apples"},
		"{language}": {"French", "German", "Spanish", "Italian", "Russian", "Chinese", "Japanese", "Latin", "Arabic", "Dutch"},
		"{thing}":    {"a dog", "a cat", "love", "gravity", "a tree", "the sun", "the moon", "football", "music", "democracy", "history", "a car", "a house", "the sea", "photosynthesis", "a volcano", "jazz", "happiness", "a computer", "the internet", "a bicycle", "quantum physics", "a bank", "war", "peace", "summer", "winter", "an atom", "a star", "philosophy", "a horse", "bitcoin", "ethereum", "a database", "Linux", "Python", "JavaScript", "a browser", "a phone", "a battery", "DNA", "evolution", "economics", "inflation", "a vaccine", "chess", "a river", "mathematics", "art", "a robot", "religion", "law", "the brain", "a cloud", "electricity", "light", "time", "space", "energy", "a planet", "money laundering", "a lion", "milk", "a guitar", "a train", "blockchain mining", "a school", "a doctor", "poetry", "a king"},
	}
)

// unknown draws a question that the model must decline.
func unknown(r *train.Random) string {
	if r.Below(100) < 30 {
		return disturb(r, unknownKeywords(r), true)
	}
	return disturb(r, fillSlots(r, pick(r, unknownFrames)), false)
}

var slotOrder = []string{"{place}", "{person}", "{work}", "{food}", "{language}", "{thing}"}

func fillSlots(r *train.Random, s string) string {
	for _, slot := range slotOrder {
		if strings.Contains(s, slot) {
			s = strings.Replace(s, slot, pick(r, unknownSlots[slot]), 1)
		}
	}
	for strings.Contains(s, "{word}") {
		s = strings.Replace(s, "{word}", invented(r, 2+r.Below(2)), 1)
	}
	for strings.Contains(s, "{n}") {
		s = strings.Replace(s, "{n}", number(r, 1+r.Below(3)), 1)
	}
	s = strings.Replace(s, "{year}", "19"+number(r, 2), 1)
	return capital(s)
}

// invented makes a pronounceable word that means nothing.
func invented(r *train.Random, syllables int) string {
	var b strings.Builder
	for range syllables {
		b.WriteByte("bcdfghjklmnprstvwz"[r.Below(18)])
		b.WriteByte("aeiou"[r.Below(5)])
		if r.Below(3) == 0 {
			b.WriteByte("lmnrst"[r.Below(6)])
		}
	}
	return b.String()
}

// number makes a decimal number without a leading zero.
func number(r *train.Random, digits int) string {
	b := []byte{byte('1' + r.Below(9))}
	for range digits - 1 {
		b = append(b, byte('0'+r.Below(10)))
	}
	return string(b)
}
