// Package computetest holds small deterministic doubles of what a worker works
// with, for tests of the worker and of what calls it.
//
// [Engine] answers by hashing, obeys every rule of [core.Engine], and records
// its batches. [Till] keeps debts and vouchers in memory.
package computetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
)

// ErrNumber is what a step returns for a sequence that met an invalid number.
var ErrNumber = errors.New("layer 3: not a number")

// Engine is a model whose next token is a hash of seed, position and all tokens
// before. It never ends an answer before MaxTokens or the context's end.
type Engine struct {
	Model core.ModelInfo
	// StepTime is how long a step takes, whatever the batch.
	StepTime time.Duration
	// Sequences bounds open sequences; 0 is no bound.
	Sequences int
	// Poison is a token that, when it is in the input, makes the step after
	// PoisonAt output tokens fail with ErrNumber.
	Poison   core.Token
	PoisonAt int
	// Wild makes the poisoned sequence sample a token outside the vocabulary
	// instead.
	Wild bool

	mu      sync.Mutex
	open    int
	batches []int
	embeds  []int
	steps   map[core.Seed]int
}

// NewEngine returns a model of 1,000 tokens and 2 layers.
func NewEngine() *Engine {
	return &Engine{
		Model: core.ModelInfo{
			ID: core.ModelID{7}, Name: "toy", Architecture: "hash", ContextLength: 4096, Vocabulary: 1000, Layers: 2, Semantics: core.SemanticsV1,
		},
		Poison: -1, steps: map[core.Seed]int{},
	}
}

// Info implements [core.Engine].
func (e *Engine) Info() core.ModelInfo { return e.Model }

// Close implements [core.Engine].
func (e *Engine) Close() error { return nil }

// Open returns how many sequences are not released.
func (e *Engine) Open() int { e.mu.Lock(); defer e.mu.Unlock(); return e.open }

// Batches returns the size of every step's batch.
func (e *Engine) Batches() []int { e.mu.Lock(); defer e.mu.Unlock(); return slices.Clone(e.batches) }

// Embeds returns the number of inputs of every call of Embed.
func (e *Engine) Embeds() []int { e.mu.Lock(); defer e.mu.Unlock(); return slices.Clone(e.embeds) }

// Steps returns how many steps the sequence with this seed took.
func (e *Engine) Steps(s core.Seed) int { e.mu.Lock(); defer e.mu.Unlock(); return e.steps[s] }

// NewSequence implements [core.Engine].
func (e *Engine) NewSequence(in core.SequenceInput) (core.Sequence, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Sequences > 0 && e.open >= e.Sequences {
		return nil, core.Errorf(core.CodeBusy, "no KV memory")
	}
	e.open++
	return &sequence{e: e, in: in, tokens: slices.Clone(in.Input)}, nil
}

// Step implements [core.Engine]: 64 tokens of prefill, or one token.
func (e *Engine) Step(ctx context.Context, batch []core.Sequence) error {
	e.mu.Lock()
	e.batches = append(e.batches, len(batch))
	e.mu.Unlock()
	if e.StepTime > 0 {
		time.Sleep(e.StepTime)
	}
	var failed error
	for _, s := range batch {
		q := s.(*sequence)
		e.mu.Lock()
		e.steps[q.in.Seed]++
		e.mu.Unlock()
		if err := q.advance(); err != nil {
			failed = err
		}
	}
	return failed
}

// Replay implements [core.Engine].
func (e *Engine) Replay(context.Context, core.SequenceInput, []core.Token) (core.Replayed, error) {
	return core.Replayed{}, errors.New("computetest: Replay is not part of the double")
}

// Embed implements [core.Engine]: 8 numbers that are a hash of the input.
func (e *Engine) Embed(_ context.Context, inputs [][]core.Token, p core.Pooling) ([][]float32, error) {
	e.mu.Lock()
	e.embeds = append(e.embeds, len(inputs))
	e.mu.Unlock()
	time.Sleep(e.StepTime)
	out := make([][]float32, len(inputs))
	for i, in := range inputs {
		if slices.Contains(in, e.Poison) {
			return nil, ErrNumber
		}
		h := core.HashTokens(in)
		h = sha256.Sum256(append(h[:], p...))
		sum := 0.0
		for j := range 8 {
			x := float64(int8(h[j])) + 0.5
			out[i] = append(out[i], float32(x))
			sum += float64(x * x)
		}
		for j := range out[i] {
			out[i][j] = float32(float64(out[i][j]) / math.Sqrt(sum))
		}
	}
	return out, nil
}

type sequence struct {
	e       *Engine
	in      core.SequenceInput
	tokens  []core.Token
	fed     int
	out     []core.Token
	probs   []core.TokenLogprobs
	finish  core.FinishReason
	release bool
}

// Logprobs are those of token t after tokens: invented, but always the same.
func (e *Engine) Logprobs(t core.Token, tokens []core.Token, n uint32) core.TokenLogprobs {
	h := core.HashTokens(tokens)
	l := core.TokenLogprobs{{Token: t, Value: -9_000_000 - int32(h[0])}}
	for i := core.Token(1); len(l) < int(n); i++ {
		if i != t {
			l = append(l, core.Logprob{Token: i, Value: -4_000_000 - int32(h[1])*int32(i)})
		}
	}
	return l
}

// Next is the token that follows tokens at output position p.
func (e *Engine) Next(seed core.Seed, p int, tokens []core.Token) core.Token {
	h := core.HashTokens(tokens)
	h = sha256.Sum256(binary.BigEndian.AppendUint32(append(h[:], seed[:]...), uint32(p)))
	return core.Token(1 + binary.BigEndian.Uint32(h[:])%uint32(e.Model.Vocabulary-1))
}

func (q *sequence) advance() error {
	if q.release {
		panic("computetest: a step on a released sequence")
	}
	if q.finish != "" {
		return nil
	}
	if q.fed < len(q.in.Input) {
		if q.fed = min(q.fed+64, len(q.in.Input)); q.fed < len(q.in.Input) {
			return nil
		}
	} else {
		q.fed++
	}
	t := q.e.Next(q.in.Seed, q.in.Base+len(q.out), q.tokens)
	if slices.Contains(q.in.Input, q.e.Poison) && len(q.out) >= q.e.PoisonAt {
		if !q.e.Wild {
			return ErrNumber
		}
		t = core.Token(q.e.Model.Vocabulary)
	}
	if n := q.in.Sampler.Logprobs; n > 0 {
		q.probs = append(q.probs, q.e.Logprobs(t, q.tokens, n))
	}
	q.tokens, q.out = append(q.tokens, t), append(q.out, t)
	if q.in.Base+len(q.out) >= int(q.in.Sampler.MaxTokens) || len(q.tokens) >= q.e.Model.ContextLength {
		q.finish = core.FinishLength
	}
	return nil
}

func (q *sequence) Output() []core.Token      { return q.out }
func (q *sequence) Finish() core.FinishReason { return q.finish }
func (q *sequence) Cached() int               { return 0 }

func (q *sequence) Logprobs() []core.TokenLogprobs { return q.probs }

func (q *sequence) Boundaries() []core.Hash {
	var leaves []core.Hash
	for t := range q.fed {
		for l := range q.e.Model.Layers + 1 {
			leaves = append(leaves, core.BoundarySalt(q.in.Salt, uint32(t), uint32(l)))
		}
	}
	return leaves
}

func (q *sequence) Release() {
	q.e.mu.Lock()
	defer q.e.mu.Unlock()
	if q.release {
		panic("computetest: released twice")
	}
	q.release = true
	q.e.open--
}
