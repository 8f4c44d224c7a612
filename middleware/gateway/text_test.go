package gateway

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestStopper(t *testing.T) {
	for _, c := range []struct {
		stops []string
		in    []string
		want  string
	}{
		{nil, []string{"a", "b"}, "ab"},
		{[]string{"END"}, []string{"xE", "N", "Dy"}, "x"},
		{[]string{"END"}, []string{"xE", "N", "Q"}, "xENQ"},
		{[]string{"END"}, []string{"xEN"}, "xEN"},
		{[]string{"aab"}, []string{"aa", "ab", "z"}, "a"},
		{[]string{"bc", "b"}, []string{"ab", "c"}, "a"},
		{[]string{"\n\n"}, []string{"one\n", "two\n", "\nthree"}, "one\ntwo"},
	} {
		s := stopper{stops: c.stops}
		var got string
		for _, p := range c.in {
			got += s.feed(p)
		}
		if got += s.flush(); got != c.want {
			t.Errorf("stops %q over %q: got %q, want %q", c.stops, c.in, got, c.want)
		}
	}
}

// However the text is cut into pieces, what is shown is the text before the
// first stop string of what has arrived when one is complete: there the
// provider stops too.
func TestStopperAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 30, -1)
		text := alphabet.Draw(t, "text")
		stops := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 1, 4, -1), 0, 3).Draw(t, "stops")
		before := func(text string) string {
			first := len(text)
			for _, s := range stops {
				if i := strings.Index(text, s); i >= 0 {
					first = min(first, i)
				}
			}
			return text[:first]
		}
		s := stopper{stops: stops}
		var got, fed string
		for fed != text && !s.stopped {
			if before(fed) != fed {
				t.Fatalf("stops %q: %q did not stop", stops, fed)
			}
			n := rapid.IntRange(1, len(text)-len(fed)).Draw(t, "cut")
			got += s.feed(text[len(fed) : len(fed)+n])
			fed = text[:len(fed)+n]
		}
		got += s.flush()
		if want := before(fed); got != want {
			t.Fatalf("stops %q over %q: got %q, want %q", stops, fed, got, want)
		}
	})
}
