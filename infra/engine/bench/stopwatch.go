package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
)

// Prompt returns n random tokens. Another seed has another beginning, so that no
// cached prefix helps.
func Prompt(m *model.Model, n int, seed uint64) []core.Token {
	r := rand.New(rand.NewPCG(seed, 7))
	prompt := make([]core.Token, n)
	for i := range prompt {
		prompt[i] = core.Token(r.IntN(m.Info().Vocabulary))
	}
	return prompt
}

// sampler draws the likeliest token, or from the whole vocabulary.
func sampler(n int, temperature uint32) core.Sampler {
	return core.Sampler{MaxTokens: uint32(n), IgnoreEOS: true, Temperature: temperature}
}

// Prefill returns how long a prompt of n tokens takes to its first answer token.
func Prefill(ctx context.Context, m *model.Model, n int, seed uint64, trace bool) (time.Duration, error) {
	s, err := m.NewSequence(core.SequenceInput{Input: Prompt(m, n, seed), Sampler: sampler(1, 0), Trace: trace})
	if err != nil {
		return 0, err
	}
	defer s.Release()
	if s.Cached() > 0 {
		return 0, fmt.Errorf("%d tokens of the prompt were cached", s.Cached())
	}
	begin := time.Now()
	for s.Finish() == "" {
		if err := m.Step(ctx, []core.Sequence{s}); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), finished(s, 1)
}

// Decode describes answers that are written together.
type Decode struct {
	Sequences   int
	Prompt      int // tokens that are there before the clock starts
	Tokens      int // of every answer while it runs
	Seed        uint64
	Trace       bool
	Temperature uint32 // 0: the likeliest token
}

// Start is what answer i continues.
func (d Decode) Start(m *model.Model, i int) []core.Token {
	return Prompt(m, d.Prompt, d.Seed<<8+uint64(i))
}

// Run returns how long the answers take.
func (d Decode) Run(ctx context.Context, m *model.Model) (time.Duration, error) {
	batch := make([]core.Sequence, 0, d.Sequences)
	defer func() {
		for _, s := range batch {
			s.Release()
		}
	}()
	for i := range d.Sequences {
		in := core.SequenceInput{Input: d.Start(m, i), Sampler: sampler(d.Tokens+1, d.Temperature), Trace: d.Trace}
		s, err := m.NewSequence(in)
		if err != nil {
			return 0, err
		}
		batch = append(batch, s)
		for len(s.Output()) == 0 && s.Finish() == "" {
			if err := m.Step(ctx, []core.Sequence{s}); err != nil {
				return 0, err
			}
		}
	}
	begin := time.Now()
	for range d.Tokens {
		if err := m.Step(ctx, batch); err != nil {
			return 0, err
		}
	}
	took := time.Since(begin)
	for _, s := range batch {
		if err := finished(s, d.Tokens+1); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// finished makes sure that an answer is as long as it was to be.
func finished(s core.Sequence, n int) error {
	if len(s.Output()) != n {
		return fmt.Errorf("an answer ended after %d of %d tokens (%s): the model's outcome is not valid", len(s.Output()), n, s.Finish())
	}
	return nil
}
