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
// first stop string.
func TestStopperAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 30, -1)
		text := alphabet.Draw(t, "text")
		stops := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 1, 4, -1), 0, 3).Draw(t, "stops")
		want := text
		for _, s := range stops {
			if i := strings.Index(text, s); i >= 0 && i < len(want) {
				want = text[:i]
			}
		}
		s := stopper{stops: stops}
		var got string
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			got += s.feed(rest[:n])
			rest = rest[n:]
			if s.stopped { // the provider stops here too
				break
			}
		}
		got += s.flush()
		// A stop that ends earlier wins over one that starts earlier but ends
		// later, because the provider stops at the first completed one.
		end := len(text)
		for _, x := range stops {
			if i := strings.Index(text, x); i >= 0 && i+len(x) < end {
				end = i + len(x)
			}
		}
		if !strings.HasPrefix(want, got) && got != want {
			t.Fatalf("stops %q over %q: got %q, want a prefix of %q", stops, text, got, want)
		}
		for _, x := range stops {
			if strings.Contains(got, x) {
				t.Fatalf("%q contains the stop string %q", got, x)
			}
		}
	})
}
