package trial

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Table renders the result for a terminal.
func (r *Result) Table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "honest answers verified\t%d\tconvicted\t%d\n", r.Honest, r.Convicted)
	fmt.Fprintf(w, "forgeries\t%d\tescaped\t%d\n", r.Forgeries, r.Escaped)
	fmt.Fprintf(w, "games against a lying provider\t%d\tescaped\t%d\n", r.Lying.Played, r.Lying.Lost)
	fmt.Fprintf(w, "games against an honest provider\t%d\tlost by it\t%d\n", r.True.Played, r.True.Lost)
	w.Flush()
	fmt.Fprintln(&b)
	fmt.Fprintln(w, "forgery\ttried\tescaped\tverdicts")
	for _, k := range r.Kinds {
		var verdicts []string
		for _, v := range slices.Sorted(maps.Keys(k.Verdicts)) {
			verdicts = append(verdicts, fmt.Sprintf("%s %d", v, k.Verdicts[v]))
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", k.Name, k.Tried, k.Escaped, strings.Join(verdicts, ", "))
	}
	w.Flush()
	fmt.Fprintln(&b)
	fmt.Fprintln(w, "a dispute\tmoves, median\tmax\tbytes, median\tmax")
	for _, g := range []struct {
		name string
		*Games
	}{{"lying provider", &r.Lying}, {"honest provider", &r.True}} {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", g.name, g.MovesMedian, g.MovesMax, g.BytesMedian, g.BytesMax)
	}
	w.Flush()
	fmt.Fprintln(&b)
	fmt.Fprintln(w, "disputes about\tlying provider\thonest provider\thonest side lost")
	for _, c := range r.Courts {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", c.Model, c.Lying, c.True, c.Lost)
	}
	w.Flush()
	fmt.Fprintln(&b)
	fmt.Fprintf(w, "check of a step, target %.1f ms\tcount\tmedian ms\tmax ms\n", Target)
	for _, s := range r.Steps {
		fmt.Fprintf(w, "%s\t%d\t%.3f\t%.3f\n", s.Operator, s.Count, s.Median, s.Max)
	}
	w.Flush()
	fmt.Fprintf(&b, "\nverifying an answer takes %.2f of the time of writing it; everything took %.0f s\n", r.Audit, r.Seconds)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "must not happen: %s\n", f)
	}
	return b.String()
}
