package compute

import (
	"context"
	"slices"
	"sync"

	"github.com/koinon-network/koinon/core"
)

// A batch of embeddings holds at most so many inputs and, unless one alone has
// more, so many tokens: enough to use the machine well, few enough that nobody
// waits long for others.
const (
	embedInputs = 32
	embedTokens = 1024
)

// embedder computes embeddings beside the answers: whatever waits goes through
// the engine together. Steps of sequences go on meanwhile.
type embedder struct {
	ctx    context.Context // ends when the worker does
	engine core.Engine
	work   sync.WaitGroup

	mu      sync.Mutex
	queue   []*embedding
	running bool
}

// embedding is one input on its way.
type embedding struct {
	ctx     context.Context // of whoever waits for it
	channel core.ChannelID
	input   []core.Token
	pooling core.Pooling
	done    chan struct{} // closed when one of the following is set
	vector  []float32
	err     error
}

func newEmbedder(ctx context.Context, e core.Engine) *embedder { return &embedder{ctx: ctx, engine: e} }

// wait returns when nothing runs any more; ctx must have ended.
func (e *embedder) wait() { e.work.Wait() }

// compute returns the embedding of r's input.
func (e *embedder) compute(ctx context.Context, r *core.Request) ([]float32, error) {
	j := &embedding{ctx: ctx, channel: r.Channel, input: r.Input, pooling: r.Pooling, done: make(chan struct{})}
	e.mu.Lock()
	e.queue = append(e.queue, j)
	if !e.running && e.ctx.Err() == nil {
		e.running = true
		e.work.Go(e.run)
	}
	e.mu.Unlock()
	select {
	case <-j.done:
		return j.vector, j.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// run works until the queue is empty.
func (e *embedder) run() {
	for {
		batch := e.take()
		if batch == nil {
			return
		}
		e.embed(batch)
	}
}

// take returns the next batch: of the oldest input's pooling, turn by turn from
// each channel, the oldest first.
func (e *embedder) take() []*embedding {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = slices.DeleteFunc(e.queue, func(j *embedding) bool { return j.ctx.Err() != nil })
	if e.running = len(e.queue) > 0 && e.ctx.Err() == nil; !e.running {
		return nil
	}
	pooling := e.queue[0].pooling
	load, tokens := map[core.ChannelID]int{}, 0
	var batch []*embedding
	for len(batch) < embedInputs {
		best := -1
		for i, j := range e.queue {
			if j.pooling == pooling && (best < 0 || load[j.channel] < load[e.queue[best].channel]) {
				best = i
			}
		}
		if best < 0 || len(batch) > 0 && tokens+len(e.queue[best].input) > embedTokens {
			break
		}
		j := e.queue[best]
		e.queue = slices.Delete(e.queue, best, best+1)
		load[j.channel]++
		tokens += len(j.input)
		batch = append(batch, j)
	}
	return batch
}

// embed computes a batch. When it fails, each input is tried alone to find the
// one at fault.
func (e *embedder) embed(batch []*embedding) {
	inputs := make([][]core.Token, len(batch))
	for i, j := range batch {
		inputs[i] = j.input
	}
	vectors, err := e.engine.Embed(e.ctx, inputs, batch[0].pooling)
	if err != nil && len(batch) > 1 && e.ctx.Err() == nil {
		for i := range batch {
			e.embed(batch[i : i+1])
		}
		return
	}
	for i, j := range batch {
		switch {
		case e.ctx.Err() != nil:
			j.err = errShutdown
		case err != nil:
			j.err = engineError(err)
		default:
			j.vector = vectors[i]
		}
		close(j.done)
	}
}
