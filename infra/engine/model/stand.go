package model

import (
	"context"

	"github.com/koinon-network/koinon/core"
)

var _ core.Reference = (*Model)(nil)

// jury says of each token of a claimed output how it stands.
type jury struct {
	output   []core.Token
	seeded   bool
	verdicts []core.Standing
	invalid  bool // the model's own outcome is none
}

// claimed is the token that the output has after row r.
func (j *jury) claimed(r *row) core.Token {
	return j.output[r.position+1-len(r.sequence.in.Input)]
}

func (j *jury) add(r row) {
	j.verdicts = append(j.verdicts, r.standing)
	j.invalid = j.invalid || r.drawn < 0
}

// Stand implements core.Reference. It computes as Replay does, without a trace.
// It fails with CodeInvalid where the model's own numbers leave the finite range.
func (m *Model) Stand(ctx context.Context, in core.SequenceInput, output []core.Token, finish core.FinishReason, seeded bool) ([]core.Standing, error) {
	in.Trace, in.Sampler.Logprobs = false, 0
	if p := &in.Sampler; seeded && p.Temperature > 0 && (p.TopK == 0 || p.TopK > core.StatisticalTopK) {
		p.TopK = core.StatisticalTopK
	}
	s, err := m.newSequence(in)
	if err != nil || len(output) == 0 {
		return nil, err
	}
	whole := len(output)
	output, own, _, err := s.follow(output)
	if err != nil {
		return nil, err
	}
	s.jury = &jury{output: output, seeded: seeded}
	if err := m.admit(s, len(s.tokens), false); err != nil {
		return nil, err
	}
	defer s.Release()
	for s.processed < len(s.tokens) {
		if err := m.replaySome(ctx, s, nil); err != nil {
			return nil, err
		}
	}
	if s.jury.invalid {
		return nil, core.Errorf(core.CodeInvalid, "this model's own evaluation of the answer is not finite")
	}
	verdicts := s.jury.verdicts
	for len(verdicts) < whole {
		verdicts = append(verdicts, core.Unthinkable)
	}
	if whole == len(output) && finish != core.FinishCancelled && finish != own {
		verdicts = append(verdicts, core.Unthinkable)
	}
	return verdicts, nil
}
