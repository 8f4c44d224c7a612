package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/middleware/gateway"
)

// BenchOptions of the gateway benchmark.
type BenchOptions struct {
	Model    string // GGUF file, default the built-in model
	Requests int    // per concurrency and side
	Tokens   int    // of an answer in the throughput part
	Progress func(string)
}

// BenchResult holds the benchmark's figures; durations are in milliseconds.
type BenchResult struct {
	Model   string     `json:"model"`
	Machine string     `json:"machine"`
	Added   BenchAdded `json:"added_latency"`
	Rows    []BenchRow `json:"throughput"`
}

// BenchAdded is the time from a request to its first token in a stream, and to
// the end of an answer of one token with its payment and receipt on disk.
type BenchAdded struct {
	EngineP50 float64 `json:"engine_p50_ms"`
	EngineP99 float64 `json:"engine_p99_ms"`
	FirstP50  float64 `json:"first_token_p50_ms"`
	FirstP99  float64 `json:"first_token_p99_ms"`
	WholeP50  float64 `json:"settled_p50_ms"`
	WholeP99  float64 `json:"settled_p99_ms"`
	AddedP50  float64 `json:"added_first_token_p50_ms"`
	AddedP99  float64 `json:"added_first_token_p99_ms"`
}

// BenchRow compares requests per second at one concurrency.
type BenchRow struct {
	Concurrency int     `json:"concurrency"`
	Engine      float64 `json:"engine_per_second"`
	Gateway     float64 `json:"gateway_per_second"`
	Ratio       float64 `json:"ratio"`
}

// benchQuestion is what every request asks.
const benchQuestion = "What is a receipt?"

// BenchGateway measures what gateway, payment and transport add to the engine:
// the same prompt and sampler, by HTTP to a devnet's gateway and by direct calls
// of the same engine, interleaved.
func BenchGateway(ctx context.Context, o BenchOptions) (_ *BenchResult, err error) {
	dir, err := os.MkdirTemp("", "koinon-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d, err := StartDevnet(ctx, DevnetConfig{Home: dir, Listen: "127.0.0.1:0", Providers: 3, Model: o.Model, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	b := &bench{devnet: d, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}}
	call, err := d.Gateway.Ask(ctx, ModelName(o.Model, false), []gateway.Message{{Role: "user", Content: benchQuestion}})
	if err != nil {
		return nil, err
	}
	b.input = call.Input
	r := &BenchResult{Model: ModelName(o.Model, false), Machine: Hardware()}
	for range 10 { // warm up both sides
		if err := errors.Join(b.direct(ctx, 1), b.http(ctx, 1)); err != nil {
			return nil, err
		}
	}
	o.Progress("measuring latency")
	if r.Added, err = b.latency(ctx, o.Requests); err != nil {
		return nil, err
	}
	for _, c := range []int{1, 8, 64} {
		o.Progress(fmt.Sprintf("measuring throughput at concurrency %d", c))
		row, err := b.throughput(ctx, c, o.Requests, o.Tokens)
		if err != nil {
			return nil, err
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

type bench struct {
	devnet *Devnet
	client *http.Client
	input  []core.Token
}

func (b *bench) sampler(tokens int) core.Sampler {
	return core.Sampler{MaxTokens: uint32(tokens), IgnoreEOS: true}
}

// direct runs one answer on the engine alone.
func (b *bench) direct(ctx context.Context, tokens int) error {
	return runDirect(ctx, b.devnet.model, core.SequenceInput{Input: b.input, Sampler: b.sampler(tokens)})
}

func runDirect(ctx context.Context, m *model.Model, in core.SequenceInput) error {
	s, err := m.NewSequence(in)
	if err != nil {
		return err
	}
	defer s.Release()
	for s.Finish() == "" {
		if err := m.Step(ctx, []core.Sequence{s}); err != nil {
			return err
		}
	}
	return nil
}

// http runs the same answer through the gateway.
func (b *bench) http(ctx context.Context, tokens int) error { return b.ask(ctx, tokens, false) }

// ask returns after the answer, or in a stream after its first event.
func (b *bench) ask(ctx context.Context, tokens int, stream bool) error {
	body, err := json.Marshal(map[string]any{"model": b.devnet.info.Model.Name, "temperature": 0, "max_tokens": tokens, "ignore_eos": true, "stream": stream,
		"messages": []map[string]string{{"role": "user", "content": benchQuestion}}})
	if err != nil {
		return err
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.devnet.info.API+"/chat/completions", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := b.client.Do(req)
		if err != nil {
			return err
		}
		if stream && resp.StatusCode == http.StatusOK {
			_, err := io.ReadFull(resp.Body, make([]byte, len("data: ")))
			go func() { // the rest must not count, nor break the answer off
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}()
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusTooManyRequests:
			time.Sleep(20 * time.Millisecond)
		case resp.StatusCode != http.StatusOK:
			return fmt.Errorf("%s: %s", resp.Status, text)
		default:
			return nil
		}
	}
}

// latency measures answers of one token, the two sides in turns.
func (b *bench) latency(ctx context.Context, n int) (BenchAdded, error) {
	var engine, first, whole []float64
	timed := func(to *[]float64, f func() error) error {
		t := time.Now()
		err := f()
		*to = append(*to, ms(time.Since(t)))
		return err
	}
	for range n {
		if err := errors.Join(
			timed(&engine, func() error { return b.direct(ctx, 1) }),
			timed(&first, func() error { return b.ask(ctx, 1, true) }),
		); err != nil {
			return BenchAdded{}, err
		}
		time.Sleep(15 * time.Millisecond) // until the stream has settled
		if err := timed(&whole, func() error { return b.http(ctx, 1) }); err != nil {
			return BenchAdded{}, err
		}
	}
	a := BenchAdded{EngineP50: quantile(engine, .5), EngineP99: quantile(engine, .99), FirstP50: quantile(first, .5), FirstP99: quantile(first, .99),
		WholeP50: quantile(whole, .5), WholeP99: quantile(whole, .99)}
	a.AddedP50, a.AddedP99 = a.FirstP50-a.EngineP50, a.FirstP99-a.EngineP99
	return a, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantile(xs []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(xs))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// rounds of a throughput comparison; the median of each side counts.
const rounds = 3

func (b *bench) throughput(ctx context.Context, concurrency, requests, tokens int) (BenchRow, error) {
	var engine, gateway []float64
	for range rounds {
		e, err := b.batch(ctx, concurrency, requests/rounds+1, tokens)
		if err != nil {
			return BenchRow{}, err
		}
		g, err := parallel(concurrency, requests/rounds+1, func() error { return b.http(ctx, tokens) })
		if err != nil {
			return BenchRow{}, err
		}
		engine, gateway = append(engine, e), append(gateway, g)
	}
	r := BenchRow{Concurrency: concurrency, Engine: quantile(engine, .5), Gateway: quantile(gateway, .5)}
	r.Ratio = r.Gateway / r.Engine
	return r, nil
}

// batch answers n requests on the engine, up to concurrency in one batch.
func (b *bench) batch(ctx context.Context, concurrency, n, tokens int) (float64, error) {
	begin := time.Now()
	var running []core.Sequence
	for started, done := 0, 0; done < n; {
		for len(running) < concurrency && started < n {
			s, err := b.devnet.model.NewSequence(core.SequenceInput{Input: b.input, Sampler: b.sampler(tokens)})
			if core.CodeOf(err) == core.CodeBusy && len(running) > 0 {
				break
			}
			if err != nil {
				return 0, err
			}
			running = append(running, s)
			started++
		}
		if err := b.devnet.model.Step(ctx, running); err != nil {
			return 0, err
		}
		running = slices.DeleteFunc(running, func(s core.Sequence) bool {
			if s.Finish() == "" {
				return false
			}
			s.Release()
			done++
			return true
		})
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

// parallel calls f n times from concurrency goroutines; it returns calls per
// second.
func parallel(concurrency, n int, f func() error) (float64, error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, concurrency)
	begin := time.Now()
	for i := range concurrency {
		wg.Go(func() {
			for next.Add(1) <= int64(n) && errs[i] == nil {
				errs[i] = f()
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(begin).Seconds(), errors.Join(errs...)
}

// Table renders the result for a terminal.
func (r *BenchResult) Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s\n\n", r.Model, r.Machine)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	a := r.Added
	fmt.Fprintf(w, "one token, ms\tp50\tp99\t\n")
	fmt.Fprintf(w, "engine called directly\t%.2f\t%.2f\t\n", a.EngineP50, a.EngineP99)
	fmt.Fprintf(w, "through the gateway, first token of a stream\t%.2f\t%.2f\t\n", a.FirstP50, a.FirstP99)
	fmt.Fprintf(w, "added by gateway, payment and network\t%.2f\t%.2f\t\n", a.AddedP50, a.AddedP99)
	fmt.Fprintf(w, "whole answer, paid, receipts on disk\t%.2f\t%.2f\t\n", a.WholeP50, a.WholeP99)
	w.Flush()
	b.WriteByte('\n')
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "requests per second\tengine\tgateway\tratio\t\n")
	for _, x := range r.Rows {
		fmt.Fprintf(w, "concurrency %d\t%.1f\t%.1f\t%.2f\t\n", x.Concurrency, x.Engine, x.Gateway, x.Ratio)
	}
	w.Flush()
	return b.String()
}
