package grammar

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxBound is the greatest number that a schema may bound numbers with.
const maxBound = 1_000_000_000_000_000

// whole returns a number without a fraction.
func whole(v *value) (int64, bool) {
	f, err := strconv.ParseFloat(v.text, 64)
	if v.kind != 'n' || err != nil || f != math.Trunc(f) || math.Abs(f) > maxBound {
		return 0, false
	}
	return int64(f), true
}

// numeric writes numbers within bounds.
func (s *schemas) numeric(v *value, integer bool, at string) string {
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	for _, k := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
		arg := v.get(k)
		if arg == nil {
			continue
		}
		n, ok := whole(arg)
		exclusive := strings.HasPrefix(k, "exclusive")
		if !ok || exclusive && !integer {
			s.refuse(at, "%s %.40s cannot be honoured; whole numbers up to %d can, exclusive ones for integers", k, arg.spelled(), int64(maxBound))
		}
		switch k {
		case "minimum":
			lo = max(lo, n)
		case "maximum":
			hi = min(hi, n)
		case "exclusiveMinimum":
			lo = max(lo, n+1)
		case "exclusiveMaximum":
			hi = min(hi, n-1)
		}
	}
	if lo > hi {
		s.refuse(at, "no number is at least %d and at most %d", lo, hi)
	}
	switch {
	case lo == math.MinInt64 && hi == math.MaxInt64 && integer:
		return s.shared("int")
	case lo == math.MinInt64 && hi == math.MaxInt64:
		return s.shared("number")
	}
	// Eighteen digits are as good as no bound.
	const far = 999_999_999_999_999_999
	lo, hi = max(lo, -far), min(hi, far)
	if integer {
		return s.rule(strings.Join(signed(lo, hi, 1, digits), " | "))
	}
	return s.rule(strings.Join(signed(lo, hi, 0, decimals), " | "))
}

// signed writes numbers from lo to hi by what write says of natural ones; least
// is the smallest that may follow a minus.
func signed(lo, hi, least int64, write func(lo, hi int64) []string) []string {
	var parts []string
	if hi >= 0 {
		parts = write(max(lo, 0), hi)
	}
	if lo < 0 {
		parts = append(parts, `"-" (`+strings.Join(write(max(least, -hi), -lo), " | ")+`)`)
	}
	return parts
}

// decimals writes numbers from lo to hi with or without a fraction.
func decimals(lo, hi int64) []string {
	parts := []string{quote(fmt.Sprint(hi)) + ` ("." "0"{1,20})?`}
	if hi > lo {
		parts = append(parts, `(`+strings.Join(digits(lo, hi-1), " | ")+`) ("." [0-9]{1,20})?`)
	}
	return parts
}

// digits writes the natural numbers from lo to hi: blocks of the same length,
// divided where the leading digits are fixed.
func digits(lo, hi int64) []string {
	var parts []string
	for lo <= hi {
		// The largest block [lo, lo + 10^k - 1] that lies within.
		size := int64(1)
		for lo%(size*10) == 0 && lo > 0 && lo+size*10-1 <= hi && len(fmt.Sprint(lo)) == len(fmt.Sprint(lo+size*10-1)) {
			size *= 10
		}
		// As many of those as differ in one digit.
		n := int64(1)
		for (lo/size)%10+n <= 9 && lo+(n+1)*size-1 <= hi {
			n++
		}
		head := fmt.Sprint(lo / size)
		text := ""
		if prefix := head[:len(head)-1]; prefix != "" {
			text = quote(prefix) + " "
		}
		last := head[len(head)-1]
		if n == 1 {
			text += quote(string(last))
		} else {
			text += fmt.Sprintf("[%c-%c]", last, last+byte(n-1))
		}
		if k := len(fmt.Sprint(size)) - 1; k > 0 {
			text += fmt.Sprintf(" [0-9]{%d}", k)
		}
		parts = append(parts, text)
		lo += n * size
	}
	return parts
}
