package token

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// stage is one expression of a pipeline: the end of its match that begins at i,
// or i.
type stage func(s string, i int) int

// pipeline applies expressions one after the other: each cuts the pieces that
// the one before left, into its matches and what lies between.
func pipeline(stages ...stage) splitter {
	return func(text string, emit func(string)) { cut(text, stages, emit) }
}

func cut(text string, stages []stage, emit func(string)) {
	if len(stages) == 0 {
		if text != "" {
			emit(text)
		}
		return
	}
	gap := 0
	for i := 0; i < len(text); {
		end := stages[0](text, i)
		if end == i {
			_, n := utf8.DecodeRuneInString(text[i:])
			i += n
			continue
		}
		if gap < i {
			cut(text[gap:i], stages[1:], emit)
		}
		cut(text[i:end], stages[1:], emit)
		gap, i = end, end
	}
	if gap < len(text) {
		cut(text[gap:], stages[1:], emit)
	}
}

// nextOf makes a stage of an expression that matches everywhere.
func nextOf(next func(string) int) stage {
	return func(s string, i int) int { return i + next(s[i:]) }
}

// eachNumber is \p{N}
func eachNumber(s string, i int) int {
	c, n := classAt(s, i)
	if c&number == 0 {
		return i
	}
	return i + n
}

// matchNumbers is \p{N}+
func matchNumbers(s string, i int) int { return run(s, i, number) }

// matchThreeNumbers is \p{N}{1,3}
func matchThreeNumbers(s string, i int) int {
	if end := eachNumber(s, i); end > i {
		return numbers(s, end, 3)
	}
	return i
}

// matchThreeDigits is [0-9][0-9][0-9]
func matchThreeDigits(s string, i int) int {
	if i+3 <= len(s) && s[i]-'0' <= 9 && s[i+1]-'0' <= 9 && s[i+2]-'0' <= 9 {
		return i + 3
	}
	return i
}

// matchLineEnd is [\r\n]
func matchLineEnd(s string, i int) int {
	if s[i] == '\r' || s[i] == '\n' {
		return i + 1
	}
	return i
}

// matchLastSpaces is \s+$
func matchLastSpaces(s string, i int) int {
	// A run that was passed over from its beginning does not end the text.
	if _, n := utf8.DecodeLastRuneInString(s[:i]); n > 0 {
		if c, _ := classAt(s, i-n); c&space != 0 {
			return i
		}
	}
	if end := run(s, i, space); end == len(s) {
		return end
	}
	return i
}

// matchSpaced is \s?[set]+
func matchSpaced(set class) stage {
	return func(s string, i int) int {
		c, n := classAt(s, i)
		if c&set == 0 && c&space == 0 {
			return i
		}
		if end := run(s, i+n, set); end > i+n || c&set != 0 {
			return end
		}
		return i
	}
}

// matchSpacedTable is \s?[table]+
func matchSpacedTable(t *unicode.RangeTable) stage {
	return func(s string, i int) int {
		if c, n := classAt(s, i); c&space != 0 {
			if end := runIn(s, i+n, t); end > i+n {
				return end
			}
		}
		return runIn(s, i, t)
	}
}

// matchTable is [table]+
func matchTable(t *unicode.RangeTable) stage {
	return func(s string, i int) int { return runIn(s, i, t) }
}

// matchRun is [runes]+ for a set given as a function.
func matchRun(in func(rune) bool) stage {
	return func(s string, i int) int {
		for i < len(s) {
			r, n := utf8.DecodeRuneInString(s[i:])
			if !in(r) {
				break
			}
			i += n
		}
		return i
	}
}

// isMark is [\p{P}$+<=>^~|]
func isMark(r rune) bool {
	return unicode.IsPunct(r) || r < utf8.RuneSelf && strings.ContainsRune("$+<=>^~|", r)
}

// isFalconMark is [\p{P}$+<=>^~|`]
func isFalconMark(r rune) bool { return r == '`' || isMark(r) }

// matchDeepSeek3 is
//
//	[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
//	 ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func matchDeepSeek3(s string, i int) int {
	c, n := classAt(s, i)
	if s[i] < utf8.RuneSelf && c&(punct|symbol) != 0 {
		end := i + 1
		for end < len(s) && (s[end]|0x20) >= 'a' && (s[end]|0x20) <= 'z' {
			end++
		}
		if end > i+1 {
			return end
		}
	}
	if c&(letter|mark) != 0 {
		return run(s, i, letter|mark)
	}
	if c&(punct|symbol) == 0 && s[i] != '\r' && s[i] != '\n' {
		if end := run(s, i+n, letter|mark); end > i+n {
			return end
		}
	}
	at := i
	if s[i] == ' ' {
		at++
	}
	if end := run(s, at, punct|symbol); end > at {
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	if c&space != 0 {
		return i + blanks(s[i:])
	}
	return i
}

// matchBloom is " ?[^(\s|.,!?…。，、।۔،)]+"
func matchBloom(s string, i int) int {
	at := i
	if s[i] == ' ' {
		at++
	}
	for end := at; ; {
		c, n := classAt(s, end)
		if n == 0 || c&space != 0 || c&(punct|symbol) != 0 && strings.Contains("(|.,!?…。，、।۔،)", s[end:end+n]) {
			if end == at {
				return i
			}
			return end
		}
		end += n
	}
}

// splitDefault is what llama.cpp does for files that name no pre-tokenizer:
// runs of punctuation apart, then GPT-2's expression, then runs of numbers
// apart, then decimal digits in threes.
var splitDefault = pipeline(matchRun(isMark), nextOf(nextGPT2), matchNumbers, matchThreeDigits)

// Sets of DeepSeek's expressions: ranges of runes in hexadecimal, ascending.
var (
	deepSeekWide    = ranges("800-9FA5 AC00-D7FF")
	deepSeekCJK     = ranges("3040-30FF 4E00-9FA5")
	deepSeekMarks   = ranges("21-2F 3A-7E 2018-201F 3000-3002 FF01-FF0F FF1A-FF5E")
	deepSeekLetters = ranges("41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376-377 37B-37D 37F 386 388-38A 38C 38E-3A1 " +
		"3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 " +
		"1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE " +
		"1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 " +
		"2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183-2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2-2CF3 " +
		"A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A " +
		"10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943")
)

func ranges(text string) *unicode.RangeTable {
	t := &unicode.RangeTable{}
	for _, f := range strings.Fields(text) {
		first, last, more := strings.Cut(f, "-")
		if !more {
			last = first
		}
		lo, err := strconv.ParseUint(first, 16, 32)
		hi, err2 := strconv.ParseUint(last, 16, 32)
		if err != nil || err2 != nil {
			panic("token: " + f + " is no range")
		}
		if hi < 1<<16 {
			t.R16 = append(t.R16, unicode.Range16{Lo: uint16(lo), Hi: uint16(hi), Stride: 1})
		} else {
			t.R32 = append(t.R32, unicode.Range32{Lo: uint32(lo), Hi: uint32(hi), Stride: 1})
		}
		if hi <= unicode.MaxLatin1 {
			t.LatinOffset++
		}
	}
	return t
}
