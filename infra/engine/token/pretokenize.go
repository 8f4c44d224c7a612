package token

import (
	"unicode"
	"unicode/utf8"
)

// splitter cuts text into the words within which BPE merges. RE2 has no
// look-ahead, so the regular expressions of the models' authors are written
// out by hand.
type splitter func(text string, emit func(word string))

// preTokenizers maps tokenizer.ggml.pre to a splitter, by the names that
// llama.cpp gives them.
var preTokenizers = map[string]splitter{
	"default": splitDefault,
	"gpt-2":   whole(nextGPT2), "phi-2": whole(nextGPT2), "olmo": whole(nextGPT2), "mpt": whole(nextGPT2),
	"llama-bpe": whole(nextLlama3), "llama3": whole(nextLlama3), "llama-v3": whole(nextLlama3),
	"smaug-bpe": whole(nextLlama3), "dbrx": whole(nextLlama3),
	"qwen2": whole(nextQwen2), "deepseek-r1-qwen": whole(nextQwen2), "stablelm2": whole(nextQwen2),
	"smollm": splitDigits, "starcoder": splitDigits, "refact": splitDigits, "command-r": splitDigits,
}

// class of a rune as the expressions see it. A byte that is not UTF-8 is other.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}]
	letter              // \p{L}
	number              // \p{N}
	space               // \s
)

var asciiClass = func() (t [128]class) {
	for i := range t {
		t[i] = unicodeClass(rune(i))
	}
	return t
}()

func unicodeClass(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// classAt returns the class and length of the rune at s[i:]; length 0 at the end.
func classAt(s string, i int) (class, int) {
	if i >= len(s) {
		return other, 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return unicodeClass(r), n
}

// run returns the end of the run of class c from i.
func run(s string, i int, c class) int {
	for {
		k, n := classAt(s, i)
		if n == 0 || k != c {
			return i
		}
		i += n
	}
}

func whole(next func(string) int) splitter {
	return func(text string, emit func(string)) {
		for len(text) > 0 {
			n := next(text)
			emit(text[:n])
			text = text[n:]
		}
	}
}

// nextGPT2 returns the length of the first match of
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func nextGPT2(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	if c, n := classAt(s, i); n > 0 && c != space {
		return run(s, i+n, c)
	}
	return spaces(s)
}

// nextLlama3 returns the length of the first match of
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//	 ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func nextLlama3(s string) int { return nextModern(s, 3) }

// nextQwen2 is Llama 3's expression with \p{N} in place of \p{N}{1,3}.
func nextQwen2(s string) int { return nextModern(s, 1) }

func nextModern(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, n := classAt(s, 0)
	switch {
	case c == letter:
		return run(s, n, letter)
	case c == number:
		for at := n; ; at += n {
			digits--
			if c, n = classAt(s, at); digits == 0 || n == 0 || c != number {
				return at
			}
		}
	}
	if k, _ := classAt(s, n); k == letter && s[0] != '\r' && s[0] != '\n' {
		return run(s, n, letter)
	}
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	if c, n := classAt(s, i); n > 0 && c == other {
		end := run(s, i+n, other)
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	for i := run(s, 0, space); i > 0; i-- {
		if s[i-1] == '\r' || s[i-1] == '\n' {
			return i
		}
	}
	return spaces(s)
}

// spaces is \s+(?!\S)|\s+ : a run of white space, without its last rune when a
// word follows and something remains.
func spaces(s string) int {
	end := run(s, 0, space)
	if end == len(s) {
		return end
	}
	_, last := utf8.DecodeLastRuneInString(s[:end])
	if last < end {
		return end - last
	}
	return end
}

func contraction(s string, anyCase bool) int {
	if s[0] != '\'' || len(s) < 2 {
		return 0
	}
	at := func(i int) byte {
		if i >= len(s) {
			return 0
		}
		if c := s[i]; anyCase && 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return s[i]
	}
	switch a, b := at(1), at(2); {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return 3
	}
	return 0
}

// splitDigits cuts out every \p{N} by itself and applies GPT-2's expression to
// what lies between.
func splitDigits(text string, emit func(string)) {
	gpt2, start := whole(nextGPT2), 0
	for i := 0; i < len(text); {
		c, n := classAt(text, i)
		if c == number {
			gpt2(text[start:i], emit)
			emit(text[i : i+n])
			start = i + n
		}
		i += n
	}
	gpt2(text[start:], emit)
}

// splitDefault is what llama.cpp does for files that name no pre-tokenizer:
// runs of punctuation apart, then GPT-2's expression, then runs of numbers
// apart, then decimal digits in threes.
func splitDefault(text string, emit func(string)) {
	gpt2 := whole(nextGPT2)
	numbers := func(word string) { splitNumbers(word, emit) }
	for start := 0; start < len(text); {
		_, n, is := punctuation(text, start)
		end := start + n
		for {
			_, n, same := punctuation(text, end)
			if n == 0 || same != is {
				break
			}
			end += n
		}
		gpt2(text[start:end], numbers)
		start = end
	}
}

// punctuation reports whether the rune at i is one of [\p{P}$+<=>^~|].
func punctuation(s string, i int) (r rune, n int, is bool) {
	if i >= len(s) {
		return 0, 0, false
	}
	r, n = utf8.DecodeRuneInString(s[i:])
	switch r {
	case '$', '+', '<', '=', '>', '^', '~', '|':
		return r, n, true
	}
	return r, n, unicode.IsPunct(r)
}

func splitNumbers(word string, emit func(string)) {
	for start := 0; start < len(word); {
		c, n := classAt(word, start)
		end := start + n
		if c == number {
			end = run(word, end, number)
			splitThrees(word[start:end], emit)
		} else {
			for {
				c, n := classAt(word, end)
				if n == 0 || c == number {
					break
				}
				end += n
			}
			emit(word[start:end])
		}
		start = end
	}
}

func splitThrees(word string, emit func(string)) {
	digit := func(i int) bool { return word[i]-'0' <= 9 }
	gap := 0
	for i := 0; i < len(word); {
		if i+3 <= len(word) && digit(i) && digit(i+1) && digit(i+2) {
			if gap < i {
				emit(word[gap:i])
			}
			emit(word[i : i+3])
			i += 3
			gap = i
			continue
		}
		i++
	}
	if gap < len(word) {
		emit(word[gap:])
	}
}
