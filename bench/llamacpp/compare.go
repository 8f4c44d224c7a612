package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/bench"
	"github.com/koinon-network/koinon/infra/engine/model"
)

// together is how many answers are written at once in the batch figure.
const together = 8

// startTokens is how many tokens are there before the clock of an answer starts.
const startTokens = 8

func compare(ctx context.Context, o options, peer *peer, name, path string) (*comparison, error) {
	step := func(what string) { fmt.Fprintf(os.Stderr, "%s: %s\n", name, what) }
	step("opening")
	m, err := model.Open(path, model.Options{Threads: o.threads, ContextLimit: 2048, Keep: filepath.Join(o.folder, "kept")})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	memory, err := bench.NewMemory(o.threads)
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	c := &comparison{Model: name, watch: bench.Watch{Ours: []int{0, peer.command.Process.Pid}, Limit: o.disturbance, Attempts: o.attempts}}
	if err := c.chooseFlash(m, o, peer, path); err != nil {
		return nil, err
	}
	var bandwidth []float64
	for round := range o.rounds {
		step(fmt.Sprintf("round %d of %d", round+1, o.rounds))
		seed := uint64(1000 * (round + 1))
		figures := []func() error{
			func() error { return c.prefill(ctx, m, o, peer, seed+1, round%2 == 0) },
			func() error { return c.decode(ctx, m, peer, &c.Decode, 1, o.tokens, seed+2, round%2 == 0) },
		}
		if round < 3 {
			figures = append(figures, func() error { return c.decode(ctx, m, peer, &c.Batch, together, o.tokens/4, seed+3, round%2 == 0) })
		}
		for _, figure := range figures {
			if err := figure(); err != nil {
				return nil, err
			}
			bandwidth = append(bandwidth, memory.Read(), memory.Read())
		}
	}
	c.Again, c.Disturbed = c.watch.Again, c.watch.Most
	c.Prefill.settle()
	c.Decode.settle()
	c.Batch.settle()
	c.Bandwidth = slices.Max(bandwidth)
	c.BandwidthShare = c.Decode.Ours * float64(m.WeightBytes()) / c.Bandwidth
	c.PeerShare = c.Decode.Theirs * float64(m.WeightBytes()) / c.Bandwidth
	return c, nil
}

// chooseFlash loads the model into llama.cpp with flash attention and without,
// and stays with the faster way.
func (c *comparison) chooseFlash(m *model.Model, o options, peer *peer, path string) error {
	prompt := bench.Prompt(m, max(startTokens, o.prompt/4), 1)
	took := map[bool]float64{}
	load := func(flash bool) error {
		r, err := peer.ask(map[string]any{"do": "load", "model": path, "threads": o.threads, "flash": flash,
			"context": together * (startTokens + o.tokens + o.prompt), "sequences": together, "batch": max(512, o.prompt)})
		if err == nil && r.Threads != o.threads {
			err = fmt.Errorf("llama.cpp uses %d threads, not %d", r.Threads, o.threads)
		}
		c.Library = strings.Join(r.Library, ", ")
		return err
	}
	for _, flash := range []bool{false, true} {
		if err := load(flash); err != nil {
			return err
		}
		for range 2 {
			p, err := peer.prefill(prompt)
			if err != nil {
				return err
			}
			d, err := peer.decode([][]core.Token{prompt[:startTokens]}, max(1, o.tokens/8))
			if err != nil {
				return err
			}
			took[flash] = p.Seconds() + d.Seconds() // the second time counts
		}
	}
	if c.Flash = took[true] <= took[false]; c.Flash {
		return nil // the one loaded last
	}
	return load(false)
}

// inTurns calls both, ours first or theirs.
func inTurns(oursFirst bool, ours, theirs func() error) error {
	first, second := ours, theirs
	if !oursFirst {
		first, second = theirs, ours
	}
	if err := first(); err != nil {
		return err
	}
	return second()
}

func (c *comparison) prefill(ctx context.Context, m *model.Model, o options, peer *peer, seed uint64, oursFirst bool) error {
	add := func(to *[]float64, took time.Duration, err error) error {
		*to = append(*to, float64(o.prompt)/took.Seconds())
		return err
	}
	return inTurns(oursFirst,
		func() error {
			took, err := c.watch.Do(func() (time.Duration, error) { seed += 7; return bench.Prefill(ctx, m, o.prompt, seed, false) })
			return add(&c.Prefill.ours, took, err)
		},
		func() error {
			prompt := bench.Prompt(m, o.prompt, seed)
			took, err := c.watch.Do(func() (time.Duration, error) { return peer.prefill(prompt) })
			return add(&c.Prefill.theirs, took, err)
		})
}

func (c *comparison) decode(ctx context.Context, m *model.Model, peer *peer, to *pair, sequences, tokens int, seed uint64, oursFirst bool) error {
	add := func(to *[]float64, took time.Duration, err error) error {
		*to = append(*to, float64(tokens*sequences)/took.Seconds())
		return err
	}
	d := bench.Decode{Sequences: sequences, Prompt: startTokens, Tokens: tokens, Seed: seed}
	return inTurns(oursFirst,
		func() error {
			took, err := c.watch.Do(func() (time.Duration, error) { return d.Run(ctx, m) })
			return add(&to.ours, took, err)
		},
		func() error {
			prompts := make([][]core.Token, sequences)
			for i := range prompts {
				prompts[i] = d.Start(m, i)
			}
			took, err := c.watch.Do(func() (time.Duration, error) { return peer.decode(prompts, tokens) })
			return add(&to.theirs, took, err)
		})
}
