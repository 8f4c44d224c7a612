package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// Options of Run. The zero value measures a random 0.5B model with all
// processors.
type Options struct {
	Model    string // GGUF file; "" makes one of random weights
	Threads  int    // 0: all processors
	Prompt   int    // tokens of a prompt; 0: 512
	Tokens   int    // tokens of an answer; 0: 128
	Rounds   int    // 0: 5
	Progress func(step string)
}

// Result are the figures of one model on one machine; speeds are medians.
type Result struct {
	Model        string  `json:"model"`
	Random       bool    `json:"random_weights"`
	FileBytes    int64   `json:"file_bytes"`
	WeightBytes  int64   `json:"weight_bytes"` // read by a pass
	Threads      int     `json:"threads"`
	Instructions string  `json:"instructions"`
	Open         Opening `json:"open"`

	PromptTokens int     `json:"prompt_tokens"`
	AnswerTokens int     `json:"answer_tokens"`
	Prefill      float64 `json:"prefill_tokens_per_second"`
	Decode       float64 `json:"decode_tokens_per_second"`
	Sampled      float64 `json:"decode_sampled_tokens_per_second"` // at temperature 1, from the whole vocabulary
	PrefillTrace float64 `json:"prefill_trace_overhead"`           // share of time that the trace adds
	DecodeTrace  float64 `json:"decode_trace_overhead"`

	Bandwidth      float64 `json:"memory_read_bytes_per_second"`
	BandwidthShare float64 `json:"decode_bandwidth_share"` // weights read per second over Bandwidth
	Batches        []Batch `json:"batches"`

	Tokenizer float64  `json:"tokenizer_bytes_per_second"`
	Resident  Resident `json:"resident"`
}

// Opening is how long a model takes to open, and how much memory that takes
// at most.
type Opening struct {
	First     float64 `json:"first_seconds"`                // packing, hashing, and keeping where there is a folder
	Kept      float64 `json:"kept_seconds,omitempty"`       // from what was kept
	FirstPass float64 `json:"first_pass_seconds,omitempty"` // then to the first token
}

// Batch is the speed of several answers together.
type Batch struct {
	Sequences int     `json:"sequences"`
	Rate      float64 `json:"tokens_per_second"` // of all together
	Scale     float64 `json:"over_one"`
}

// Resident is this process's memory in bytes, as the system counts it; zeros
// where it does not say. Before any measurement it is Base.
type Resident struct {
	Base   int64   `json:"base_bytes"`
	Opened int64   `json:"opened_bytes"` // all weights in memory
	Peak   int64   `json:"peak_bytes"`   // of everything up to there
	Over   float64 `json:"opened_over_file"`
}

// randomName is what the model of random weights is called.
const randomName = "0.5B shape with random Q8_0 weights"

// Run measures.
func Run(ctx context.Context, o Options) (*Result, error) {
	o.fill()
	r := &Result{Model: filepath.Base(o.Model), PromptTokens: o.Prompt, AnswerTokens: o.Tokens, Threads: o.Threads,
		Instructions: kernel.InstructionSet()}
	folder, err := os.MkdirTemp("", "koinon-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	if o.Model == "" {
		o.Progress("making a model of random weights")
		b, err := Half.Builder(gguf.Q8_0)
		if err != nil {
			return nil, err
		}
		o.Model, r.Model, r.Random = filepath.Join(folder, "random.gguf"), randomName, true
		if err := b.Create(o.Model); err != nil {
			return nil, err
		}
		time.Sleep(1500 * time.Millisecond) // a file that has just changed is not kept
	}
	m, err := r.open(ctx, o, filepath.Join(folder, "kept"))
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if err := r.speeds(ctx, m, o); err != nil {
		return nil, err
	}
	if err := r.batches(ctx, m, o); err != nil {
		return nil, err
	}
	o.Progress("measuring the tokenizer")
	r.Tokenizer = tokenizerRate(m.Tokenizer())
	return r, nil
}

func (o *Options) fill() {
	set := func(n *int, value int) {
		if *n <= 0 {
			*n = value
		}
	}
	set(&o.Threads, runtime.GOMAXPROCS(0))
	set(&o.Prompt, 512)
	set(&o.Tokens, 128)
	set(&o.Rounds, 5)
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
}

// open opens the model once before and once after it is kept, and leaves it open
// with all weights in memory.
func (r *Result) open(ctx context.Context, o Options, keep string) (*model.Model, error) {
	stat, err := os.Stat(o.Model)
	if err != nil {
		return nil, err
	}
	r.FileBytes = stat.Size()
	forgetPeak()
	r.Resident.Base, _ = ResidentBytes()
	options := model.Options{Threads: o.Threads, ContextLimit: max(2048, o.Prompt+o.Tokens+64), Keep: keep, KeepFrom: 1}
	o.Progress("opening the model")
	m, took, err := timedOpen(o.Model, options)
	if err != nil {
		return nil, err
	}
	r.Open.First = took
	_, most := ResidentBytes()
	if err := m.Close(); err != nil {
		return nil, err
	}
	forgetPeak()
	o.Progress("opening it again")
	packed := false
	options.Progress = func(string, int64, int64) { packed = true }
	if m, took, err = timedOpen(o.Model, options); err != nil {
		return nil, err
	}
	first, err := Prefill(ctx, m, 1, 1, false)
	if err == nil {
		_, err = Prefill(ctx, m, 8, 2, false)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	if !packed {
		r.Open.Kept, r.Open.FirstPass = took, first.Seconds()
	}
	r.WeightBytes = m.WeightBytes()
	r.Resident.Opened, r.Resident.Peak = ResidentBytes()
	r.Resident.Peak = max(r.Resident.Peak, most)
	r.Resident.Over = float64(r.Resident.Opened) / float64(r.FileBytes)
	return m, nil
}

func timedOpen(path string, o model.Options) (*model.Model, float64, error) {
	begin := time.Now()
	m, err := model.Open(path, o)
	return m, time.Since(begin).Seconds(), err
}

// speeds measures one sequence, and the memory, in turns.
func (r *Result) speeds(ctx context.Context, m *model.Model, o Options) error {
	memory, err := NewMemory(o.Threads)
	if err != nil {
		return err
	}
	defer memory.Close()
	var prefill, prefillTraced, decode, decodeTraced, sampled, bandwidth []float64
	for round := range o.Rounds {
		o.Progress(fmt.Sprintf("measuring one sequence, round %d of %d", round+1, o.Rounds))
		seed := uint64(100 + 10*round)
		answers := Decode{Sequences: 1, Prompt: 8, Tokens: o.Tokens, Seed: seed}
		traced, warm := answers, answers
		traced.Trace, traced.Seed = true, seed+1
		warm.Temperature, warm.Seed = 1_000_000, seed+2
		steps := []func() error{
			func() error { return rate(&prefill, o.Prompt)(Prefill(ctx, m, o.Prompt, seed+3, false)) },
			func() error { return rate(&prefillTraced, o.Prompt)(Prefill(ctx, m, o.Prompt, seed+4, true)) },
			func() error { return rate(&decode, o.Tokens)(answers.Run(ctx, m)) },
			func() error { return rate(&decodeTraced, o.Tokens)(traced.Run(ctx, m)) },
			func() error { return rate(&sampled, o.Tokens)(warm.Run(ctx, m)) },
		}
		if round%2 == 1 { // whoever comes second must not always be the same
			slices.Reverse(steps)
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
			bandwidth = append(bandwidth, memory.Read())
		}
	}
	r.Prefill, r.Decode, r.Sampled = Median(prefill), Median(decode), Median(sampled)
	r.PrefillTrace, r.DecodeTrace = overhead(prefill, prefillTraced), overhead(decode, decodeTraced)
	r.Bandwidth = slices.Max(bandwidth)
	r.BandwidthShare = r.Decode * float64(r.WeightBytes) / r.Bandwidth
	return nil
}

// rate appends n tokens over a duration.
func rate(to *[]float64, n int) func(time.Duration, error) error {
	return func(took time.Duration, err error) error {
		*to = append(*to, float64(n)/took.Seconds())
		return err
	}
}

// overhead is by which share the time with a trace is longer: the median over
// the rounds, whose two sides were measured next to each other.
func overhead(without, with []float64) float64 {
	shares := make([]float64, len(without))
	for i := range shares {
		shares[i] = without[i]/with[i] - 1
	}
	return Median(shares)
}

func (r *Result) batches(ctx context.Context, m *model.Model, o Options) error {
	sizes := []int{1, 2, 4, 8}
	rates := make([][]float64, len(sizes))
	for round := range max(3, o.Rounds/2) {
		for i, n := range sizes {
			o.Progress(fmt.Sprintf("measuring %d sequences together, round %d", n, round+1))
			d := Decode{Sequences: n, Prompt: 8, Tokens: o.Tokens / 2, Seed: uint64(1000 + 10*round + i)}
			if err := rate(&rates[i], n*d.Tokens)(d.Run(ctx, m)); err != nil {
				return err
			}
		}
	}
	for i, n := range sizes {
		rate := Median(rates[i])
		r.Batches = append(r.Batches, Batch{n, rate, rate / Median(rates[0])})
	}
	return nil
}

// tokenizerRate encodes a text of common words for a second.
func tokenizerRate(t *token.Tokenizer) float64 {
	const sample = "A receipt names the model, the tokens and the price of an answer; whoever holds the model can compute it again (and 2 + 2 = 4).\n"
	text := strings.Repeat(sample, 64)
	done, begin := 0, time.Now()
	for time.Since(begin) < time.Second {
		t.Encode(text, token.Options{})
		done += len(text)
	}
	return float64(done) / time.Since(begin).Seconds()
}

// Median of values, which are not empty.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
