package token

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is what a pre-tokenizer's expression can ask of a rune. A byte that is
// not UTF-8 counts as U+FFFD does.
type class uint8

const (
	letter class = 1 << iota // \p{L}
	upper                    // \p{Lu}\p{Lt}
	lower                    // \p{Ll}
	mark                     // \p{M}
	number                   // \p{N}
	punct                    // \p{P}
	symbol                   // \p{S}
	space                    // \s
)

func classOf(r rune) (c class) {
	switch {
	case unicode.IsLetter(r):
		c = letter
		if unicode.IsUpper(r) || unicode.IsTitle(r) {
			c |= upper
		} else if unicode.IsLower(r) && unicode.Is(unicode.Ll, r) {
			c |= lower
		}
	case unicode.IsMark(r):
		c = mark
	case unicode.IsNumber(r):
		c = number
	case unicode.IsPunct(r):
		c = punct
	case unicode.IsSymbol(r):
		c = symbol
	}
	if unicode.IsSpace(r) {
		c |= space
	}
	return c
}

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for i := range t {
		t[i] = classOf(rune(i))
	}
	return t
}()

// classes holds the classes of the first planes, which texts are made of.
var classes = sync.OnceValue(func() *[0x20000]class {
	t := new([0x20000]class)
	for i := range t {
		t[i] = classOf(rune(i))
	}
	return t
})

// classAt returns the class and length of the rune at s[i:]; length 0 at the end.
func classAt(s string, i int) (class, int) {
	if i >= len(s) {
		return 0, 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	return wideClassAt(s, i)
}

func wideClassAt(s string, i int) (class, int) {
	r, n := utf8.DecodeRuneInString(s[i:])
	if t := classes(); int(r) < len(t) {
		return t[r], n
	}
	return classOf(r), n
}

// run returns the end of the run of runes from i whose class is one of those set.
func run(s string, i int, set class) int {
	for {
		c, n := classAt(s, i)
		if c&set == 0 {
			return i
		}
		i += n
	}
}

// runNot returns the end of the run of runes from i whose class is none of those set.
func runNot(s string, i int, set class) int {
	for {
		c, n := classAt(s, i)
		if c&set != 0 || n == 0 {
			return i
		}
		i += n
	}
}

// runIn returns the end of the run of runes from i that are in the table.
func runIn(s string, i int, t *unicode.RangeTable) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !unicode.Is(t, r) {
			return i
		}
		i += n
	}
	return i
}
