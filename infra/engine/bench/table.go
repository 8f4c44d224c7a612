package bench

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Table renders the result for a terminal.
func (r *Result) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %.0f MB, %d threads, %s\n\n", r.Model, float64(r.FileBytes)/1e6, r.Threads, r.Instructions)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row(fmt.Sprintf("prefill of %d tokens", r.PromptTokens), "%.1f tokens/s", r.Prefill)
	row("decode", "%.1f tokens/s", r.Decode)
	row("decode at temperature 1", "%.1f tokens/s", r.Sampled)
	for _, batch := range r.Batches[1:] {
		row(fmt.Sprintf("%d sequences together", batch.Sequences), "%.1f tokens/s, %.2f times one", batch.Rate, batch.Scale)
	}
	row("memory read", "%.1f GB/s", r.Bandwidth/1e9)
	row("share of it that decode uses", "%.0f %%", 100*r.BandwidthShare)
	row("trace for receipts", "%+.1f %% of prefill, %+.1f %% of decode", 100*r.PrefillTrace, 100*r.DecodeTrace)
	row("tokenizer", "%.1f MB/s", r.Tokenizer/1e6)
	row("first open", "%s", duration(r.Open.First))
	if r.Open.Kept > 0 {
		row("later open", "%s, and %s to the first token", duration(r.Open.Kept), duration(r.Open.FirstPass))
	}
	if r.Resident.Opened > 0 {
		row("memory, open", "%.0f MB, %.2f times the file", float64(r.Resident.Opened)/1e6, r.Resident.Over)
		row("memory, most while opening", "%.0f MB", float64(r.Resident.Peak)/1e6)
	}
	w.Flush()
	return b.String()
}

func duration(seconds float64) string {
	if seconds < 1 {
		return fmt.Sprintf("%.0f ms", 1000*seconds)
	}
	return fmt.Sprintf("%.1f s", seconds)
}
