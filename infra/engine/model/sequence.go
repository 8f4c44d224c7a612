package model

import (
	"slices"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/grammar"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/sample"
)

// sequence implements core.Sequence. The owner reads it between steps; the
// fields below life belong to the model's life lock.
type sequence struct {
	model    *Model
	in       core.SequenceInput
	tokens   []core.Token // input and output
	finish   core.FinishReason
	ending   *ending
	guide    grammar.State        // the constraint's, from which the next row draws
	history  *sample.History      // where the sampler has penalties
	logprobs []core.TokenLogprobs // [output], where the sampler asks for them
	cached   int

	lease     *lease
	pages     [][]kernel.KVPage // [layer][block], grows with the lease
	processed int               // positions whose keys and values are in the cache
	published int               // blocks offered to the cache
	private   bool              // neither reads nor feeds the cache
	invalid   bool              // a processed position was not finite
	probe     *probe            // takes what passes a layer boundary, or nil
	jury      *jury             // judges claimed tokens instead of drawing, or nil
	age       uint64            // order of admission
	kept      []core.Hash       // digests of its positions, from before it gave its memory up
	pass      uint64            // the last pass that took it

	life struct{ stepping, released, freed bool }
}

// NewSequence implements core.Engine.
func (m *Model) NewSequence(in core.SequenceInput) (core.Sequence, error) {
	s, err := m.newSequence(in)
	if err != nil {
		return nil, err
	}
	// A context cut down by memory must not change where answers end.
	if want := uint64(len(in.Input)-in.Base) + uint64(in.Sampler.MaxTokens); m.context < m.config.Context && want > uint64(m.context) {
		return nil, tooLong("prompt and answer may take %d tokens and the context here is %d", want, m.context)
	}
	for _, t := range s.base() {
		if reason := s.ending.after(t); reason != "" {
			e := core.Errorf(core.CodeInvalid, "the answer to be continued has already ended (%s)", reason)
			e.Param = "input"
			return nil, e
		}
	}
	if s.ending.machine != nil && s.ending.state.Dead() {
		e := core.Errorf(core.CodeInvalid, "the answer to be continued does not follow the grammar")
		e.Param = "input"
		return nil, e
	}
	s.guide = s.ending.state
	s.tokens = slices.Grow(s.tokens, s.ending.room)
	if err := m.admit(s, len(s.tokens), true); err != nil {
		return nil, err
	}
	m.queue.add(m, s)
	return s, nil
}

// Check refuses samplers that no sequence of this model can have: a grammar that
// cannot be compiled, or tokens that the vocabulary lacks.
func (m *Model) Check(s core.Sampler) error { _, err := m.machine(&s); return err }

// machine checks a sampler and returns the machine of its constraint, or nil.
func (m *Model) machine(s *core.Sampler) (*grammar.Machine, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if n := len(s.Bias); n > 0 && int(s.Bias[n-1].Token) >= m.info.Vocabulary {
		e := core.Errorf(core.CodeInvalid, "token %d is not in the vocabulary of %d", s.Bias[n-1].Token, m.info.Vocabulary)
		e.Param = "logit_bias"
		return nil, e
	}
	if s.Constraint == nil {
		return nil, nil
	}
	return m.grammars.Machine(*s.Constraint)
}

// newSequence checks an input; it takes no memory from the cache yet.
func (m *Model) newSequence(in core.SequenceInput) (*sequence, error) {
	machine, err := m.machine(&in.Sampler)
	if err != nil {
		return nil, err
	}
	prompt := len(in.Input) - in.Base
	if in.Base < 0 || prompt < 1 {
		e := core.Errorf(core.CodeInvalid, "an input of %d tokens with %d of them delivered earlier has no prompt", len(in.Input), in.Base)
		e.Param = "input"
		return nil, e
	}
	if err := m.checkTokens(in.Input); err != nil {
		return nil, err
	}
	if len(in.Input) >= m.context {
		return nil, tooLong("the prompt has %d tokens and the context is %d", len(in.Input), m.context)
	}
	s := &sequence{model: m, in: in, tokens: slices.Clone(in.Input)}
	s.in.Input = s.tokens[:len(in.Input):len(in.Input)]
	s.in.Sampler.Stop = slices.Clone(in.Sampler.Stop)
	s.in.Sampler.Bias = slices.Clone(in.Sampler.Bias)
	if sample.HasPenalties(&in.Sampler) {
		s.history = sample.NewHistory(prompt)
		s.history.Append(in.Input...)
	}
	s.ending = newEnding(m.tokenizer, &s.in.Sampler, machine, prompt, m.config.Context)
	return s, nil
}

func tooLong(format string, args ...any) error {
	e := core.Errorf(core.CodeContextLength, format, args...)
	e.Param, e.Next = "messages", "shorten the prompt, or lower max_tokens"
	return e
}

func (m *Model) checkTokens(ids []core.Token) error {
	for i, t := range ids {
		if t < 0 || int(t) >= m.info.Vocabulary {
			e := core.Errorf(core.CodeInvalid, "token %d at position %d is not in the vocabulary of %d", t, i, m.info.Vocabulary)
			e.Param = "input"
			return e
		}
	}
	return nil
}

// admit leases memory for n positions and makes the sequence live.
func (m *Model) admit(s *sequence, n int, reuse bool) error {
	m.life.Lock()
	defer m.life.Unlock()
	switch {
	case m.closed:
		return errClosed()
	case reuse && m.live >= m.maxBatch:
		return busy("%d requests are being answered, no more fit", m.live)
	case reuse && m.queue.waiting():
		return busy("%d running requests wait for memory for keys and values", m.live)
	}
	s.private = !reuse
	if !m.settleIn(s, n) {
		return busy("the memory for keys and values is taken by %d running requests", m.live)
	}
	s.cached = s.processed
	if reuse {
		m.live++
	}
	return nil
}

// settleIn leases memory for n positions and takes over what the cache holds of
// them; it returns false when memory is short. The life lock is held.
func (m *Model) settleIn(s *sequence, n int) bool {
	lease, cached, ok := m.cache.admit(s.tokens[:len(s.tokens)-1], n, s.in.Trace, !s.private)
	if !ok {
		return false
	}
	s.lease, s.processed, s.published = lease, cached, cached/kernel.PageTokens
	s.pages = make([][]kernel.KVPage, m.config.Layers)
	for l := range s.pages {
		s.pages[l] = make([]kernel.KVPage, 0, blocksFor(n))
	}
	s.mapPages()
	return true
}

func busy(format string, args ...any) error {
	e := core.Errorf(core.CodeBusy, format, args...)
	e.Next, e.RetryAfter = "try again in a moment", time.Second
	return e
}

func errClosed() error {
	return core.Errorf(core.CodeUnavailable, "the engine is closed")
}

func (s *sequence) base() []core.Token { return s.in.Input[len(s.in.Input)-s.in.Base:] }

// Output implements core.Sequence.
func (s *sequence) Output() []core.Token {
	return s.tokens[len(s.in.Input):len(s.tokens):len(s.tokens)]
}

// Logprobs implements core.Sequence.
func (s *sequence) Logprobs() []core.TokenLogprobs {
	return s.logprobs[:len(s.logprobs):len(s.logprobs)]
}

// Finish implements core.Sequence.
func (s *sequence) Finish() core.FinishReason { return s.finish }

// Cached implements core.Sequence.
func (s *sequence) Cached() int { return s.cached }

// Boundaries implements core.Sequence: the leaves of all input positions and
// all output positions but the last, once there is output; nil without Trace,
// without output and after Release.
func (s *sequence) Boundaries() []core.Hash {
	if !s.in.Trace || len(s.tokens) == len(s.in.Input) {
		return nil
	}
	s.model.life.Lock()
	released, digests := s.life.released, []core.Hash(nil)
	if !released {
		digests = s.digests(len(s.tokens) - 1)
	}
	s.model.life.Unlock()
	if released {
		return nil
	}
	return s.leaves(digests)
}

// reserve makes sure that the first n positions have pages; it returns false
// when memory is short, which cannot be within what was promised.
func (s *sequence) reserve(n int) bool {
	ok := s.model.cache.grow(s.lease, n, s.in.Trace)
	s.mapPages()
	return ok
}

func (s *sequence) mapPages() {
	for l := range s.pages {
		for i := len(s.pages[l]); i < len(s.lease.blocks); i++ {
			s.pages[l] = append(s.pages[l], s.lease.blocks[i].pages[l])
		}
	}
}

// commit records that the positions below n are processed.
func (s *sequence) commit(n int) {
	s.processed = n
	for ; !s.private && !s.invalid && (s.published+1)*kernel.PageTokens <= n; s.published++ {
		s.model.cache.publish(s.lease, s.published, s.blockTokens(s.published))
	}
}

func (s *sequence) blockTokens(i int) []core.Token {
	return s.tokens[i*kernel.PageTokens : (i+1)*kernel.PageTokens]
}

// append takes the token drawn after the last processed position.
func (s *sequence) append(t core.Token, l core.TokenLogprobs) {
	s.tokens = append(s.tokens, t)
	if l != nil {
		s.logprobs = append(s.logprobs, l)
	}
	if s.history != nil {
		s.history.Append(t)
	}
	s.finish = s.ending.after(t)
	s.guide = s.ending.state
}

// point is what, besides the logits, decides the token after a row.
func (r *row) point() sample.Point {
	s := r.sequence
	p := sample.Point{Seed: s.in.Seed, Position: uint32(r.position + 1 - (len(s.in.Input) - s.in.Base))}
	if s.history != nil {
		p.Past = s.history.Before(r.position + 1)
	}
	if s.ending.machine != nil {
		p.Allowed = s.ending.machine.Mask(r.state)
	}
	return p
}

// Release implements core.Sequence. It may be called at any moment, also while
// a step runs: the memory is then given back at the end of the step.
func (s *sequence) Release() {
	m := s.model
	m.life.Lock()
	defer m.life.Unlock()
	s.life.released = true
	if !s.life.stepping {
		s.free()
	}
}

// free gives the memory back; the life lock is held.
func (s *sequence) free() {
	if s.life.freed {
		return
	}
	s.life.freed = true
	if !s.private {
		s.model.live--
	}
	s.model.queue.remove(s)
	if s.lease == nil {
		return
	}
	s.model.cache.release(s.lease, s.tokens[:s.processed], !s.private && !s.invalid)
	s.lease, s.pages = nil, nil
}
