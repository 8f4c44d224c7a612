package token

import "unicode/utf8"

// splitter cuts text into the words within which BPE merges. RE2 has no
// look-ahead, so the regular expressions of the models' authors are written
// out by hand.
type splitter func(text string, emit func(word string))

// preTokenizer is what tokenizer.ggml.pre selects.
type preTokenizer struct {
	split splitter
	// wholeWords says that a word in the vocabulary is that token, whatever the
	// merges say.
	wholeWords bool
	addBOS     bool // where the file does not say
}

// preTokenizers go by the names that llama.cpp gives them.
var preTokenizers = func() map[string]preTokenizer {
	m := map[string]preTokenizer{}
	for _, f := range []struct {
		names []string
		p     preTokenizer
	}{
		{[]string{"default"}, preTokenizer{split: splitDefault}},
		{[]string{"gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4", "trillion", "granite-docling", "gigachat", "a.x-4.0", "mellum"},
			preTokenizer{split: whole(nextGPT2)}},
		{[]string{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
			preTokenizer{whole(nextLlama3), true, true}},
		{[]string{"smaug-bpe", "dbrx", "chatglm-bpe", "glm4"}, preTokenizer{split: whole(nextLlama3)}},
		{[]string{"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "solar-open", "grok-2", "kormo"},
			preTokenizer{split: whole(nextQwen2)}},
		{[]string{"qwen35"}, preTokenizer{split: whole(nextQwen35)}},
		{[]string{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
			preTokenizer{split: pipeline(eachNumber, nextOf(nextGPT2))}},
		{[]string{"tekken"}, preTokenizer{whole(nextTekken), true, true}},
		{[]string{"gpt-4o", "llama4", "kanana2", "minimax-m2"}, preTokenizer{split: whole(nextGPT4o)}},
		{[]string{"falcon"}, preTokenizer{split: pipeline(matchRun(isFalconMark), nextOf(nextGPT2), matchThreeDigits)}},
		{[]string{"deepseek-coder"}, preTokenizer{split: pipeline(matchLineEnd, matchSpaced(letter), matchSpaced(punct),
			matchTable(deepSeekWide), eachNumber)}},
		{[]string{"deepseek-llm"}, preTokenizer{split: pipeline(matchLineEnd, matchSpacedTable(deepSeekLetters),
			matchSpacedTable(deepSeekMarks), matchLastSpaces, matchTable(deepSeekWide), matchNumbers)}},
		{[]string{"deepseek-v3", "hunyuan-dense"}, preTokenizer{split: pipeline(matchThreeNumbers, matchTable(deepSeekCJK), matchDeepSeek3)}},
		{[]string{"bloom", "poro-chat", "gpt3-finnish"}, preTokenizer{split: pipeline(matchBloom)}},
		{[]string{"viking"}, preTokenizer{split: pipeline(matchBloom, eachNumber)}},
	} {
		for _, name := range f.names {
			m[name] = f.p
		}
	}
	return m
}()

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
	switch c, n := classAt(s, i); {
	case c&letter != 0:
		return run(s, i+n, letter)
	case c&number != 0:
		return run(s, i+n, number)
	case n > 0 && c&space == 0:
		return runNot(s, i+n, letter|number|space)
	}
	return spaces(s)
}

// nextLlama3 returns the length of the first match of
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//	 ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func nextLlama3(s string) int { return nextModern(s, 3, letter) }

// nextQwen2 is Llama 3's expression with \p{N} in place of \p{N}{1,3}.
func nextQwen2(s string) int { return nextModern(s, 1, letter) }

// nextQwen35 is Qwen 2's with [\p{L}\p{M}]+ for \p{L}+ and marks not taken for
// punctuation.
func nextQwen35(s string) int { return nextModern(s, 1, letter|mark) }

func nextModern(s string, digits int, word class) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, n := classAt(s, 0)
	switch {
	case c&word != 0:
		return run(s, n, word)
	case c&number != 0:
		return numbers(s, n, digits)
	}
	if k, _ := classAt(s, n); k&word != 0 && s[0] != '\r' && s[0] != '\n' {
		return run(s, n, word)
	}
	if n := others(s, word|number|space, "\r\n"); n > 0 {
		return n
	}
	return blanks(s)
}

// nextGPT4o returns the length of the first match of
//
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+C?|
//	[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*C?|
//	\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// where C is (?i:'s|'t|'re|'ve|'m|'ll|'d).
func nextGPT4o(s string) int {
	if n := casedWord(s); n > 0 {
		if n < len(s) {
			n += contraction(s[n:], true)
		}
		return n
	}
	return nextCased(s, 3)
}

// nextTekken is GPT-4o's expression without C and with \p{N} for \p{N}{1,3}.
func nextTekken(s string) int {
	if n := casedWord(s); n > 0 {
		return n
	}
	return nextCased(s, 1)
}

func nextCased(s string, digits int) int {
	if c, n := classAt(s, 0); c&number != 0 {
		return numbers(s, n, digits)
	}
	if n := others(s, letter|number|space, "\r\n/"); n > 0 {
		return n
	}
	return blanks(s)
}

// casedWord is the length of the two alternatives for words, or 0. A word goes
// from capitals to small letters; letters without case and marks count as both.
// The first alternative comes first, with a rune before the word or without;
// only a mark can be that rune and a part of the word.
func casedWord(s string) int {
	c, n := classAt(s, 0)
	if c&(letter|number) == 0 && s[0] != '\r' && s[0] != '\n' {
		end, first := capitalsThenSmall(s, n)
		if c&mark != 0 && !first {
			end, _ = capitalsThenSmall(s, 0)
			return end
		}
		if end > n {
			return end
		}
	}
	end, _ := capitalsThenSmall(s, 0)
	return end
}

// capitalsThenSmall matches the first alternative from i, as an expression that
// backtracks would, or else the second, and returns i where neither matches.
func capitalsThenSmall(s string, i int) (end int, first bool) {
	both := i // the end of the last rune that both classes hold
	at := i
	for {
		c, n := classAt(s, at)
		if c&(letter|mark) == 0 || c&lower != 0 {
			break
		}
		at += n
		if c&upper == 0 {
			both = at
		}
	}
	if c, _ := classAt(s, at); c&lower == 0 {
		if both > i {
			return both, true
		}
		return at, false
	}
	for {
		c, n := classAt(s, at)
		if c&(letter|mark) == 0 || c&upper != 0 {
			return at, true
		}
		at += n
	}
}

// numbers is \p{N}{1,digits} whose first rune ends at i.
func numbers(s string, i, digits int) int {
	for ; digits > 1; digits-- {
		c, n := classAt(s, i)
		if c&number == 0 {
			break
		}
		i += n
	}
	return i
}

// others is " ?[^set]+[tail]*", or 0.
func others(s string, set class, tail string) int {
	i := 0
	if s[0] == ' ' {
		i = 1
	}
	end := runNot(s, i, set)
	if end == i {
		return 0
	}
	for end < len(s) && (s[end] == tail[0] || s[end] == tail[1] || len(tail) > 2 && s[end] == tail[2]) {
		end++
	}
	return end
}

// blanks is \s*[\r\n]+|\s+(?!\S)|\s+
func blanks(s string) int {
	end := run(s, 0, space)
	for i := end; i > 0; i-- {
		if s[i-1] == '\r' || s[i-1] == '\n' {
			return i
		}
	}
	return spacesTo(s, end)
}

// spaces is \s+(?!\S)|\s+ : a run of white space, without its last rune when a
// word follows and something remains. What is not white space is one rune.
func spaces(s string) int { return spacesTo(s, run(s, 0, space)) }

func spacesTo(s string, end int) int {
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
