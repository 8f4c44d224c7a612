package model

import (
	"context"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/grammar"
)

// Replay implements core.Engine. It reads nothing from the prefix cache: every
// position is computed anew, up to the one after which the answer should have
// ended or where it holds a token outside the vocabulary. A position whose
// outcome is invalid has the token -1. Steps of other sequences go on between
// its chunks.
func (m *Model) Replay(ctx context.Context, in core.SequenceInput, output []core.Token) (core.Replayed, error) {
	result := core.Replayed{Ended: -1}
	s, err := m.newSequence(in)
	if err != nil || len(output) == 0 {
		return result, err
	}
	if output, result.Finish, result.Ended, err = s.follow(output); err != nil {
		return result, err
	}
	if err := m.admit(s, len(s.tokens), false); err != nil {
		return result, err
	}
	defer s.Release()
	result.Tokens = make([]core.Token, 0, len(output))
	for s.processed < len(s.tokens) {
		if err := m.replaySome(ctx, s, &result); err != nil {
			return core.Replayed{}, err
		}
	}
	if in.Trace {
		result.Boundaries = s.leaves(s.digests(s.processed))
	}
	return result, nil
}

// follow gives a new sequence the tokens of an answer, up to the one after which
// it should have ended or that is outside the vocabulary. It returns those, and
// what judge says of the whole answer.
func (s *sequence) follow(output []core.Token) (followed []core.Token, finish core.FinishReason, ended int, err error) {
	m := s.model
	s.guide = s.given()
	finish, ended = s.judge(output)
	if ended >= 0 {
		output = output[:ended+1]
	}
	if i := slices.IndexFunc(output, func(t core.Token) bool { return t < 0 || int(t) >= m.info.Vocabulary }); i >= 0 {
		output = output[:i+1]
	}
	s.tokens = slices.Concat(s.in.Input, output[:len(output)-1])
	if s.history != nil {
		s.history.Append(output[:len(output)-1]...)
	}
	if len(s.tokens) > m.context {
		err = tooLong("prompt and answer have %d tokens and the context here is %d", len(s.tokens)+1, m.context)
	}
	return output, finish, ended, err
}

// judge returns the reason to end after the last token of output and the first
// position after which a reason held, or -1.
func (s *sequence) judge(output []core.Token) (core.FinishReason, int) {
	first := -1
	for _, t := range s.base() {
		if s.ending.after(t) != "" {
			first = 0
		}
	}
	var reason core.FinishReason
	for i, t := range output {
		if reason = s.ending.after(t); reason != "" && first < 0 {
			first = i
		}
	}
	return reason, first
}

// given is the constraint's state after what another provider delivered.
func (s *sequence) given() grammar.State {
	state := s.ending.state
	if machine := s.ending.machine; machine != nil {
		for _, t := range s.base() {
			state = machine.Next(state, t)
		}
	}
	return state
}

// replaySome runs the next chunk and appends what is drawn; nothing is without a
// result.
func (m *Model) replaySome(ctx context.Context, s *sequence, result *core.Replayed) error {
	m.pass.Lock()
	defer m.pass.Unlock()
	if err := m.alive(); err != nil {
		return err
	}
	m.work.rows = m.work.rows[:0]
	m.addRows(s, min(m.prefillRows, len(s.tokens)-s.processed))
	for i := range m.work.rows {
		r := &m.work.rows[i]
		r.draw = (result != nil || s.jury != nil) && r.position >= len(s.in.Input)-1
		if s.ending.machine != nil && r.position >= len(s.in.Input) {
			s.guide = s.ending.machine.Next(s.guide, r.token)
		}
		r.state = s.guide
	}
	if err := m.forward(ctx); err != nil {
		return err
	}
	for _, r := range m.work.rows {
		if r.draw && s.jury != nil {
			s.jury.add(r)
		} else if r.draw {
			result.Tokens = append(result.Tokens, r.drawn)
			if s.in.Sampler.Logprobs > 0 {
				result.Logprobs = append(result.Logprobs, r.logprobs)
			}
		}
	}
	s.commit(s.processed + len(m.work.rows))
	clear(m.work.rows)
	return nil
}
