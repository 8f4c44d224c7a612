package remote

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// Config says which server answers, and for which model.
type Config struct {
	URL  string // of the server, with or without /v1
	Name string // of the model, to the server
	Key  string // bearer token; "" for none
	// Info and Metadata are the claimed model's.
	Info     core.ModelInfo
	Metadata gguf.Metadata
	// Context is how many tokens fit into the server's context; 0 stands for the
	// model's own. What does not fit is refused or broken off, so that another
	// provider continues.
	Context int
}

// Engine is a core.Engine whose work another program does.
type Engine struct {
	info       core.ModelInfo
	tokenizer  *token.Tokenizer
	vocabulary *vocabulary
	client     *client
	dialect    Dialect
	context    int // tokens

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	news   chan struct{} // holds an element when a sequence has something new
}

var _ core.Engine = (*Engine)(nil)

// Open asks the server what it can do and returns an engine of the statistical
// tier for the model. It fails with CodeInvalid for an address that is not
// served, with CodeProvider where the server does not answer as it must.
func Open(ctx context.Context, c Config) (*Engine, error) {
	t, err := token.New(c.Metadata)
	if err != nil {
		return nil, err
	}
	e := &Engine{info: c.Info, tokenizer: t, vocabulary: newVocabulary(t), news: make(chan struct{}, 1), context: c.Info.ContextLength}
	if c.Context > 0 {
		e.context = min(e.context, c.Context)
	}
	e.info.Semantics |= core.OptionStatistical
	if e.client, err = newClient(c.URL, c.Name, c.Key); err != nil {
		return nil, err
	}
	if err := e.probe(ctx); err != nil {
		e.client.http.CloseIdleConnections()
		return nil, err
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// Dialect is what the server was found to do.
func (e *Engine) Dialect() Dialect { return e.dialect }

// Info implements core.Engine.
func (e *Engine) Info() core.ModelInfo { return e.info }

// Admit refuses the samplers that this engine does not run.
func (e *Engine) Admit(s core.Sampler) error { return s.Statistical() }

// NewSequence implements core.Engine. The answer is ordered at once.
func (e *Engine) NewSequence(in core.SequenceInput) (core.Sequence, error) {
	if err := in.Sampler.Statistical(); err != nil {
		return nil, err
	}
	if len(in.Input) == 0 || in.Base < 0 || in.Base >= len(in.Input) {
		return nil, core.Errorf(core.CodeInvalid, "an input of %d tokens with %d of them delivered earlier has no prompt", len(in.Input), in.Base)
	}
	if len(in.Input) >= e.context {
		return nil, core.Errorf(core.CodeContextLength, "the input has %d tokens, the back end's context holds %d including the answer", len(in.Input), e.context)
	}
	if e.ctx.Err() != nil {
		return nil, errClosed
	}
	s := newSequence(e, in)
	e.work.Go(s.run)
	return s, nil
}

var errClosed = core.Errorf(core.CodeUnavailable, "the back end was closed")

// patience bounds one Step that finds nothing new.
const patience = 20 * time.Millisecond

// Step implements core.Engine: it takes over what has arrived for the sequences,
// and waits a moment where nothing has.
func (e *Engine) Step(ctx context.Context, batch []core.Sequence) error {
	wait := time.NewTimer(patience)
	defer wait.Stop()
	for {
		some := false
		var failure error
		for _, s := range batch {
			fresh, err := s.(*sequence).take()
			some = some || fresh
			if err != nil {
				failure = err
			}
		}
		if some || failure != nil {
			return failure
		}
		select {
		case <-e.news:
		case <-wait.C:
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *Engine) tell() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// Replay implements core.Engine: it refuses, since nothing here computes the
// model's own numbers.
func (e *Engine) Replay(context.Context, core.SequenceInput, []core.Token) (core.Replayed, error) {
	return core.Replayed{}, core.Errorf(core.CodeInvalid, "a back end cannot re-execute an answer; open the model's file")
}

// Embed implements core.Engine: it refuses.
func (e *Engine) Embed(context.Context, [][]core.Token, core.Pooling) ([][]float32, error) {
	return nil, core.Errorf(core.CodeInvalid, "embeddings are not available on the statistical tier")
}

// Close breaks off what runs and waits for it.
func (e *Engine) Close() error {
	e.cancel()
	e.work.Wait()
	e.client.http.CloseIdleConnections()
	if t, ok := e.client.http.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return nil
}
