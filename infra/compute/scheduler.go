package compute

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
)

// window is how many tokens a sequence may be ahead of its consumer before it
// sits out of the batch.
const window = 16

// scheduler runs sequences through an engine: one loop, each turn of which is
// one Step over every sequence that can go on. Sequences join and leave
// between steps.
type scheduler struct {
	engine core.Engine
	slots  int
	vocab  core.Token
	meter  *meter
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	wake    sync.Cond
	queue   []*job
	running []*job
	held    int  // sequences whose KV memory is not released
	full    bool // the engine had no memory for one more
	closed  bool
}

// job is one sequence on its way. Fields below mu belong to the scheduler's
// lock.
type job struct {
	in      core.SequenceInput
	channel core.ChannelID
	signal  chan struct{} // holds an element when something changed
	gone    chan struct{} // closed when the scheduler no longer touches seq

	seq     core.Sequence
	out     []core.Token
	probs   []core.TokenLogprobs // one per token, when ordered
	taken   int                  // delivered and settled
	finish  core.FinishReason
	err     error
	stopped bool
	started time.Time
}

func newScheduler(e core.Engine, slots int, m *meter) *scheduler {
	s := &scheduler{engine: e, slots: slots, vocab: core.Token(e.Info().Vocabulary), meter: m, ended: make(chan struct{})}
	s.wake.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *scheduler) run() {
	defer close(s.ended)
	for {
		batch := s.gather()
		if batch == nil {
			return
		}
		s.step(batch)
	}
}

// gather waits for work and returns the next batch, nil when closed.
func (s *scheduler) gather() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.running = slices.DeleteFunc(s.running, s.dropStopped)
		s.queue = slices.DeleteFunc(s.queue, s.dropStopped)
		if s.closed {
			for _, j := range append(s.queue, s.running...) {
				s.end(j, errShutdown)
			}
			return nil
		}
		s.admit()
		var batch []*job
		for _, j := range s.running {
			if len(j.out)-j.taken < window {
				batch = append(batch, j)
			}
		}
		if len(batch) > 0 {
			return batch
		}
		s.wake.Wait()
	}
}

func (s *scheduler) dropStopped(j *job) bool {
	if j.stopped {
		s.end(j, nil)
	}
	return j.stopped
}

// end lets go of a job; the lock is held.
func (s *scheduler) end(j *job, err error) {
	if err != nil && j.err == nil {
		j.err = err
	}
	if !j.started.IsZero() {
		s.meter.ran(time.Since(j.started))
	}
	close(j.gone)
	j.notify()
}

func (j *job) notify() {
	select {
	case j.signal <- struct{}{}:
	default:
	}
}

// admit fills free slots from the queue. The lock is held, but not while the
// engine reserves memory.
func (s *scheduler) admit() {
	for len(s.running) < s.slots && len(s.queue) > 0 && !s.full {
		j := s.pick()
		s.mu.Unlock()
		seq, err := s.engine.NewSequence(j.in)
		s.mu.Lock()
		switch {
		case err == nil:
			j.seq, j.started = seq, time.Now()
			s.held++
			s.running = append(s.running, j)
		case core.CodeOf(err) == core.CodeBusy && s.held > 0:
			s.full = true
			s.queue = append([]*job{j}, s.queue...)
		default:
			s.end(j, err)
		}
	}
}

// pick takes the next job: the oldest of the channel that has the fewest
// running, so that nobody's crowd keeps others waiting.
func (s *scheduler) pick() *job {
	load := map[core.ChannelID]int{}
	for _, j := range s.running {
		load[j.channel]++
	}
	best := 0
	for i, j := range s.queue {
		if load[j.channel] < load[s.queue[best].channel] {
			best = i
		}
	}
	j := s.queue[best]
	s.queue = slices.Delete(s.queue, best, best+1)
	return j
}

// step advances the batch. When it fails, each sequence is stepped alone to
// find the one at fault: results never depend on the neighbours.
func (s *scheduler) step(batch []*job) {
	seqs := make([]core.Sequence, len(batch))
	for i, j := range batch {
		seqs[i] = j.seq
	}
	errs := make([]error, len(batch))
	if err := s.engine.Step(s.ctx, seqs); err != nil {
		errs[0] = err
		for i := range batch {
			if len(batch) > 1 {
				errs[i] = s.engine.Step(s.ctx, seqs[i:i+1])
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens := 0
	for i, j := range batch {
		tokens += s.collect(j, errs[i])
	}
	s.meter.step(len(batch), tokens)
	s.running = slices.DeleteFunc(s.running, func(j *job) bool { return j.finish != "" || j.err != nil })
}

// collect takes over what a step sampled for j and returns how many tokens.
func (s *scheduler) collect(j *job, err error) int {
	if err != nil && s.ctx.Err() != nil {
		s.end(j, errShutdown)
		return 0
	}
	if err != nil {
		s.end(j, engineError(err))
		return 0
	}
	fresh := j.seq.Output()[len(j.out):]
	for _, t := range fresh {
		if t < 0 || t >= s.vocab {
			s.end(j, engineError(core.Errorf(core.CodeInternal, "sampled token %d of a vocabulary of %d", t, s.vocab)))
			return 0
		}
	}
	if j.in.Sampler.Logprobs > 0 {
		probs := j.seq.Logprobs()
		if len(probs) != len(j.out)+len(fresh) {
			s.end(j, engineError(core.Errorf(core.CodeInternal, "%d tokens have %d log-probabilities", len(j.out)+len(fresh), len(probs))))
			return 0
		}
		j.probs = append(j.probs, probs[len(j.out):]...)
	}
	j.out = append(j.out, fresh...)
	switch j.finish = j.seq.Finish(); j.finish {
	case "", core.FinishStop, core.FinishLength:
	default:
		// The evaluation left the numbers that an answer can commit to.
		s.end(j, engineError(core.Errorf(core.CodeInternal, "the evaluation of this input is not finite (%s)", j.finish)))
		return 0
	}
	if j.finish != "" {
		s.end(j, nil)
	} else if len(fresh) > 0 {
		j.notify()
	}
	return len(fresh)
}

func engineError(err error) error {
	return &core.Error{Code: core.CodeProvider, Message: "the provider's engine could not compute the answer", Err: err}
}

// submit queues a job. The caller must release it.
func (s *scheduler) submit(in core.SequenceInput, channel core.ChannelID) *job {
	j := &job{in: in, channel: channel, signal: make(chan struct{}, 1), gone: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.end(j, errShutdown)
		return j
	}
	s.queue = append(s.queue, j)
	s.wake.Signal()
	return j
}

// piece is a run of output tokens with what was ordered about them.
type piece struct {
	tokens []core.Token
	probs  []core.TokenLogprobs
}

// peek returns up to max tokens after the first sent ones, whether they are the
// last, and how the job ended, if it has.
func (s *scheduler) peek(j *job, sent, max int) (p piece, last bool, finish core.FinishReason, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(len(j.out), sent+max)
	p.tokens = slices.Clone(j.out[sent:end])
	if len(j.probs) > 0 {
		p.probs = slices.Clone(j.probs[sent:end])
	}
	return p, end == len(j.out) && (j.finish != "" || j.err != nil), j.finish, j.err
}

// take opens the window up to sent tokens.
func (s *scheduler) take(j *job, sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.taken = sent
	s.wake.Signal()
}

// stop takes j out of the batch and returns when the engine is done with it: at
// most one step later.
func (s *scheduler) stop(j *job) {
	s.mu.Lock()
	j.stopped = true
	s.wake.Signal()
	s.mu.Unlock()
	<-j.gone
}

// release gives back the sequence of a job that has gone.
func (s *scheduler) release(j *job) {
	if j.seq == nil {
		return
	}
	j.seq.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	s.full = false
	s.wake.Signal()
}

// load returns how many sequences run and wait.
func (s *scheduler) load() (running, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running), len(s.queue)
}

// close ends every job and the loop.
func (s *scheduler) close() {
	s.mu.Lock()
	s.closed = true
	s.wake.Signal()
	s.mu.Unlock()
	s.cancel()
	<-s.ended
}
