// Command llamacpp compares the engine with llama.cpp on this machine, in one
// run and in turns:
//
//	go run ./bench/llamacpp
//
// It makes model files of random weights in the shapes of a model of 0.5 and one
// of 1.1 billion parameters, each in Q8_0 and Q4_0, and gives both programs the
// same file, the same prompts and as many threads. llama.cpp is the library that
// the npm package node-llama-cpp brings along, built for this processor; it needs
// node and npm. Every round takes each figure of both, the first to go changing
// with the round; the figures are medians. A measurement during which other
// programs used the processors is thrown away and taken again.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/koinon-network/koinon/infra/engine/bench"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

type options struct {
	threads, rounds, prompt, tokens int
	attempts                        int
	disturbance                     float64
	folder, peer, only, output      string
}

func main() {
	var o options
	flag.IntVar(&o.threads, "threads", 2, "processor threads of both programs")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each figure is taken")
	flag.IntVar(&o.prompt, "prompt", 512, "tokens of a prompt")
	flag.IntVar(&o.tokens, "tokens", 128, "tokens of an answer")
	flag.Float64Var(&o.disturbance, "disturbance", 0.02, "share of the processors that other programs may use during a measurement")
	flag.IntVar(&o.attempts, "attempts", 10, "how often a disturbed measurement is taken again")
	flag.StringVar(&o.folder, "cache", defaultFolder(), "folder for the model files, 2.6 GB, and what is kept of them")
	flag.StringVar(&o.peer, "peer", "bench/llamacpp", "folder of the npm project")
	flag.StringVar(&o.only, "only", "", "measure only the models whose name contains this")
	flag.StringVar(&o.output, "output", "text", "text or json")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "llamacpp:", err)
		os.Exit(1)
	}
}

func defaultFolder() string {
	folder, err := os.UserCacheDir()
	if err != nil {
		folder = os.TempDir()
	}
	return filepath.Join(folder, "koinon", "bench")
}

// comparison is one model's figures, in tokens per second.
type comparison struct {
	Model          string  `json:"model"`
	Flash          bool    `json:"llamacpp_flash_attention"` // the faster one for it
	Library        string  `json:"llamacpp_library"`
	Prefill        pair    `json:"prefill"`
	Decode         pair    `json:"decode"`
	Batch          pair    `json:"decode_of_8"`
	Bandwidth      float64 `json:"memory_read_bytes_per_second"`
	BandwidthShare float64 `json:"decode_bandwidth_share"`
	PeerShare      float64 `json:"llamacpp_decode_bandwidth_share"`
	Again          int     `json:"taken_again"`       // measurements that other programs disturbed
	Disturbed      float64 `json:"disturbed_at_most"` // share of the processors they had in those that count

	watch bench.Watch
}

// pair compares medians.
type pair struct {
	Ours   float64 `json:"koinon"`
	Theirs float64 `json:"llamacpp"`
	Ratio  float64 `json:"ratio"`

	ours, theirs []float64
}

func (p *pair) settle() {
	if len(p.ours) == 0 || len(p.theirs) == 0 {
		return
	}
	p.Ours, p.Theirs = bench.Median(p.ours), bench.Median(p.theirs)
	p.Ratio = p.Ours / p.Theirs
}

func run(ctx context.Context, o options) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("--output is text or json, not %q", o.output)
	}
	peer, err := startPeer(ctx, o.peer)
	if err != nil {
		return err
	}
	defer peer.close()
	var all []*comparison
	for _, shape := range []bench.Shape{bench.Half, bench.One} {
		for _, format := range []gguf.Type{gguf.Q8_0, gguf.Q4_0} {
			name := fmt.Sprintf("%s %v", shape.Name, format)
			if !strings.Contains(name, o.only) {
				continue
			}
			path, err := modelFile(o.folder, shape, format)
			if err != nil {
				return err
			}
			c, err := compare(ctx, o, peer, name, path)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, c)
		}
	}
	if o.output == "json" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	fmt.Print(table(all, o))
	return nil
}

// modelFile makes the file unless it is there.
func modelFile(folder string, shape bench.Shape, format gguf.Type) (string, error) {
	path := filepath.Join(folder, fmt.Sprintf("%s-%v.gguf", shape.Name, format))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintln(os.Stderr, "making", path)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	b, err := shape.Builder(format)
	if err != nil {
		return "", err
	}
	return path, b.Create(path)
}

func table(all []*comparison, o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "tokens per second, %d threads, %d rounds; prefill %d, decode %d\n\n", o.threads, o.rounds, o.prompt, o.tokens)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tprefill\tllama.cpp\tratio\tdecode\tllama.cpp\tratio\t8 together\tover one\tllama.cpp\tof memory\t\n")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.2f\t%.1f\t%.1f\t%.2f\t%.1f\t%.2f\t%.1f\t%.0f %%\t\n", c.Model, c.Prefill.Ours, c.Prefill.Theirs, c.Prefill.Ratio,
			c.Decode.Ours, c.Decode.Theirs, c.Decode.Ratio, c.Batch.Ours, c.Batch.Ours/c.Decode.Ours, c.Batch.Theirs, 100*c.BandwidthShare)
	}
	w.Flush()
	for _, c := range all {
		fmt.Fprintf(&b, "\n%s: memory reads %.1f GB/s; llama.cpp uses %.0f %% of it, with %s, flash attention %v; %d measurements taken again, others had at most %.0f %%", c.Model, c.Bandwidth/1e9, 100*c.PeerShare, c.Library, c.Flash, c.Again, 100*c.Disturbed)
	}
	b.WriteByte('\n')
	return b.String()
}
