package remote

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// ahead is how many tokens may have arrived that nobody took.
const ahead = 64

// Where tokens are drawn here, the server continues greedily by so many tokens
// at a time: more while the draws agree with it, fewer when they do not.
const (
	firstRun = 8
	leastRun = 4
	mostRun  = 64
)

// sequence is one answer in the making. One goroutine fetches it.
type sequence struct {
	e      *Engine
	in     core.SequenceInput
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	taken  sync.Cond // signalled when fresh is taken or the sequence is released
	fresh  []core.Token
	ended  core.FinishReason // after fresh
	err    error
	out    []core.Token
	finish core.FinishReason

	// Of the fetching goroutine alone.
	tokens []core.Token // input and all that came
	ending *model.Ending
}

var _ core.Seedless = (*sequence)(nil)

func newSequence(e *Engine, in core.SequenceInput) *sequence {
	s := &sequence{e: e, in: in, tokens: append([]core.Token(nil), in.Input...)}
	s.in.Input = s.tokens[:len(in.Input):len(in.Input)]
	s.taken.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(e.ctx)
	s.ending = model.NewEnding(e.tokenizer, &s.in, e.info.ContextLength)
	return s
}

// take moves what has arrived to the output and reports whether anything did.
func (s *sequence) take() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := len(s.fresh) > 0
	s.out = append(s.out, s.fresh...)
	s.fresh = s.fresh[:0]
	if s.ended != "" && s.finish == "" {
		s.finish, some = s.ended, true
	}
	s.taken.Signal()
	if !some {
		return false, s.err
	}
	return true, nil
}

// run fetches the answer.
func (s *sequence) run() {
	stop := context.AfterFunc(s.ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken.Signal()
	})
	defer stop()
	finish, err := s.fetch()
	s.mu.Lock()
	s.ended, s.err = finish, err
	s.mu.Unlock()
	s.cancel()
	s.e.tell()
}

func (s *sequence) fetch() (core.FinishReason, error) {
	if !s.e.dialect.Tokens {
		return s.fetchText()
	}
	run := firstRun
	for {
		n, err := s.room()
		if err != nil {
			return "", err
		}
		if n == 0 {
			return core.FinishLength, nil
		}
		if s.races() {
			n = min(n, run)
		}
		followed, finish, err := s.follow(n)
		if finish != "" || err != nil {
			return finish, err
		}
		if followed == n {
			run = min(2*run, mostRun)
		} else {
			run = max(leastRun, min(2*followed, run))
		}
	}
}

// room is how many tokens the server may write: 0 where the answer has its
// length, with an error where the server's context is full before.
func (s *sequence) room() (int, error) {
	n, left := s.ending.Room(), s.e.context-len(s.tokens)
	if n > 0 && left <= 0 {
		return 0, errFull
	}
	return max(0, min(n, left)), nil
}

// races reports whether tokens are drawn here against the server's will.
func (s *sequence) races() bool { return s.in.Sampler.Temperature > 0 && s.e.dialect.draws() }

// order is what the server is asked for.
func (s *sequence) order(n int) order {
	o := order{Prompt: s.e.prompt(s.e.dialect, s.tokens), MaxTokens: n}
	p := &s.in.Sampler
	listed := 1
	switch {
	case s.races():
		listed = s.e.dialect.Listed
	case p.Temperature > 0:
		const micro = 1e6
		o.Temperature = float64(p.Temperature) / micro
		if p.TopP > 0 {
			v := float64(p.TopP) / micro
			o.TopP = &v
		}
		if p.MinP > 0 {
			v := float64(p.MinP) / micro
			o.MinP = &v
		}
		if p.TopK > 0 {
			o.TopK = &p.TopK
		}
	}
	if s.e.dialect.Tokens && s.e.dialect.Listed > 0 {
		o.Logprobs = &listed
	}
	return o
}

var (
	errFull    = core.Errorf(core.CodeProvider, "the back end's context is full")
	errMute    = core.Errorf(core.CodeProvider, "the back end ended without a token and without an end")
	errUnnamed = core.Errorf(core.CodeProvider, "the back end does not say which token it chose")
	errOther   = core.Errorf(core.CodeProvider, "the back end ended for a reason that no answer has")
)

// follow has the server continue by n tokens and takes them as long as they are
// what is drawn here. It returns how many agreed, and the reason if the answer
// ended.
func (s *sequence) follow(n int) (followed int, finish core.FinishReason, err error) {
	st, err := s.e.client.complete(s.ctx, s.order(n), s.e.vocabulary)
	if err != nil {
		return 0, "", err
	}
	defer st.close()
	reason := ""
	for {
		p, err := st.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return followed, "", err
		}
		if p.finish != "" {
			reason = p.finish
		}
		for i := range p.positions {
			if followed == n {
				break // a server that goes beyond its order
			}
			theirs := p.positions[i].choice()
			own := theirs
			if s.races() {
				if t, ok := s.draw(&p.positions[i]); ok {
					own = t
				}
			}
			if own == token.None {
				return followed, "", errUnnamed
			}
			finish, err := s.append(own)
			if finish != "" || err != nil || own != theirs {
				return followed, finish, err
			}
			followed++
		}
	}
	switch {
	case reason == "stop":
		// The end token itself was not told.
		finish, err := s.append(s.e.end())
		return followed, finish, err
	case reason != "length":
		return followed, "", errOther
	case followed == 0:
		return 0, "", errMute
	}
	return followed, "", nil
}

// draw races the listed tokens.
func (s *sequence) draw(p *position) (core.Token, bool) {
	at := len(s.tokens) - (len(s.in.Input) - s.in.Base)
	rules := s.in.Sampler
	if rules.TopK == 0 || rules.TopK > core.StatisticalTopK {
		rules.TopK = core.StatisticalTopK
	}
	return sample.DrawListed(p.top, &rules, s.in.Seed, uint32(at))
}

// end is the token that stands for an end that the server does not tell.
func (e *Engine) end() core.Token {
	if t := e.tokenizer.EOS(); t != token.None && e.tokenizer.IsEnd(t) {
		return t
	}
	for t := range core.Token(e.tokenizer.Size()) {
		if e.tokenizer.IsEnd(t) {
			return t
		}
	}
	return token.None
}

// append takes one token in, waits where too many were not taken, and returns
// the reason to end with it, or "".
func (s *sequence) append(t core.Token) (core.FinishReason, error) {
	if t == token.None {
		return "", core.Errorf(core.CodeProvider, "the back end ended the answer, and the model has no end token")
	}
	s.tokens = append(s.tokens, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.fresh) >= ahead && s.ctx.Err() == nil {
		s.taken.Wait()
	}
	if err := s.ctx.Err(); err != nil {
		return "", err
	}
	s.fresh = append(s.fresh, t)
	s.e.tell()
	return s.ending.After(t), nil
}

// Output implements core.Sequence.
func (s *sequence) Output() []core.Token { s.mu.Lock(); defer s.mu.Unlock(); return s.out }

// Logprobs implements core.Sequence: there are none.
func (s *sequence) Logprobs() []core.TokenLogprobs { return nil }

// Finish implements core.Sequence.
func (s *sequence) Finish() core.FinishReason { s.mu.Lock(); defer s.mu.Unlock(); return s.finish }

// Cached implements core.Sequence: what the server caches is not known.
func (s *sequence) Cached() int { return 0 }

// Boundaries implements core.Sequence: nothing is traced.
func (s *sequence) Boundaries() []core.Hash { return nil }

// Seedless implements core.Seedless.
func (s *sequence) Seedless() bool {
	return s.in.Sampler.Temperature > 0 && !s.e.dialect.draws()
}

// Release implements core.Sequence.
func (s *sequence) Release() { s.cancel() }
