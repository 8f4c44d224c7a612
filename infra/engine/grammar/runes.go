package grammar

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// span is an inclusive range of code points.
type span struct{ lo, hi rune }

// normalise sorts and joins ranges and takes out the surrogates.
func normalise(in []span) []span {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b span) int { return int(a.lo - b.lo) })
	var out []span
	for _, r := range in {
		if n := len(out); n > 0 && r.lo <= out[n-1].hi+1 {
			out[n-1].hi = max(out[n-1].hi, r.hi)
			continue
		}
		out = append(out, r)
	}
	return withoutSurrogates(out)
}

// complement returns all other characters.
func complement(in []span) []span {
	var out []span
	next := rune(0)
	for _, r := range in {
		if r.lo > next {
			out = append(out, span{next, r.lo - 1})
		}
		next = r.hi + 1
	}
	if next <= utf8.MaxRune {
		out = append(out, span{next, utf8.MaxRune})
	}
	return withoutSurrogates(out)
}

func withoutSurrogates(in []span) []span {
	return slices.Concat(within(in, 0, 0xd7ff), within(in, 0xe000, utf8.MaxRune))
}

// within returns what lies in lo to hi.
func within(in []span, lo, hi rune) []span {
	var out []span
	for _, r := range in {
		if r.hi >= lo && r.lo <= hi {
			out = append(out, span{max(r.lo, lo), min(r.hi, hi)})
		}
	}
	return out
}

func shifted(in []span, by rune) []span {
	for i := range in {
		in[i].lo -= by
		in[i].hi -= by
	}
	return in
}

func key(in []span) string {
	var b strings.Builder
	for _, r := range in {
		fmt.Fprintf(&b, "%x-%x ", r.lo, r.hi)
	}
	return b.String()
}

// byteSet is a set of bytes.
type byteSet [4]uint64

func (s *byteSet) add(b byte)      { s[b>>6] |= 1 << (b & 63) }
func (s *byteSet) has(b byte) bool { return s[b>>6]>>(b&63)&1 == 1 }
