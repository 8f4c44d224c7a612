package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/token"
	"github.com/koinon-network/koinon/infra/verify"
)

// CalibrateOptions say what is measured.
type CalibrateOptions struct {
	Prompts   []string // default: questions about Koinon
	Answers   int
	MaxTokens int
	// Program and Weights name the server's program and weight format, for people.
	Program, Weights string
	Progress         func(step string) // optional
}

// Calibrate compares answers of a back end that is taken to be honest with the
// model's own draws: in turn greedy ones and ones at temperature 1, as many as
// were asked for.
func Calibrate(ctx context.Context, m *model.Model, b *Backend, o CalibrateOptions) (*verify.Calibration, error) {
	if b.Info().ID != m.Root() {
		return nil, core.Errorf(core.CodeInvalid, "the back end answers for model %s, the reference is %s", b.Info().ID.Short(), m.Root().Short())
	}
	prompts, err := promptTokens(m, o.Prompts)
	if err != nil {
		return nil, err
	}
	c := verify.NewCalibration(m.Info(), o.Program, o.Weights, time.Now())
	for i := range o.Answers {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf("comparing answers, %d of %d", i+1, o.Answers))
		}
		in := core.SequenceInput{Input: prompts[i%len(prompts)], Sampler: core.Sampler{MaxTokens: uint32(o.MaxTokens)}}
		if i/len(prompts)%2 == i%2 { // each prompt in both ways, in the end
			in.Sampler.Temperature = 1_000_000
		}
		binary.BigEndian.PutUint64(in.Seed[:], uint64(i))
		output, finish, seedless, err := answerOf(ctx, b, in)
		if err != nil {
			return nil, fmt.Errorf("answer %d of %d: %w", i+1, o.Answers, err)
		}
		standings, err := m.Stand(ctx, in, output, finish, !seedless)
		if err != nil {
			return nil, err
		}
		c.Add(standings, !seedless)
	}
	return c, nil
}

// promptTokens renders prompts as a chat's first message.
func promptTokens(m *model.Model, texts []string) ([][]core.Token, error) {
	if len(texts) == 0 {
		questions, err := seed.Questions()
		if err != nil {
			return nil, err
		}
		for _, q := range questions {
			texts = append(texts, q.Ask)
		}
	}
	t, err := token.New(m.Metadata())
	if err != nil {
		return nil, err
	}
	template, err := chat.New(m.Metadata(), t)
	if err != nil {
		return nil, err
	}
	var all [][]core.Token
	for _, text := range texts {
		ids, err := template.Tokens([]chat.Message{{Role: "user", Content: text}}, chat.Options{AddGenerationPrompt: true})
		if err != nil {
			return nil, err
		}
		if len(ids) < m.Info().ContextLength {
			all = append(all, ids)
		}
	}
	if len(all) == 0 {
		return nil, core.Errorf(core.CodeContextLength, "no prompt fits into the model's context")
	}
	return all, nil
}

// answerOf has an engine answer alone.
func answerOf(ctx context.Context, e core.Engine, in core.SequenceInput) (output []core.Token, finish core.FinishReason, seedless bool, err error) {
	s, err := e.NewSequence(in)
	if err != nil {
		return nil, "", false, err
	}
	defer s.Release()
	for s.Finish() == "" {
		if err := e.Step(ctx, []core.Sequence{s}); err != nil {
			return nil, "", false, err
		}
	}
	alone, ok := s.(core.Seedless)
	return s.Output(), s.Finish(), ok && alone.Seedless(), nil
}
