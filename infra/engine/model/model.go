package model

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/chat"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/grammar"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// Defaults of [Options].
const (
	DefaultKVBudget    = 1 << 30
	DefaultMaxBatch    = 64
	DefaultPrefillRows = 128
	DefaultKeepFrom    = 64 << 20
)

// Options say what an engine may use. The zero value is good.
type Options struct {
	// Threads is the number of processor threads of a pass; 0 is all.
	Threads int
	// KVBudget bounds the memory of keys, values and boundary digests, of
	// running and of remembered sequences, in bytes.
	KVBudget int64
	// MaxBatch is how many sequences may be live at once. They share the budget:
	// one whose turn it is not gives its memory up when it runs short, and its
	// positions are computed again later.
	MaxBatch int
	// ContextLimit shortens the model's context; 0 leaves it. A budget too small
	// for one whole context shortens it too: see [Model.Info].
	ContextLimit int
	// PrefillRows is how many prompt tokens a pass takes at most, beside the
	// tokens of answers in progress; half as many when there are any.
	PrefillRows int
	// KV8 keeps keys and values as int8: about a quarter of the memory, other
	// answers. The model then has semantics core.SemanticsKV8 and another root.
	KV8 bool
	// Keep is a folder in which the packed weights of large files are kept, so
	// that they open at once the next time; "" keeps nothing. See package packed.
	Keep string
	// KeepFrom is the size of the smallest file that is kept, in bytes: small ones
	// are packed in no time. 0 stands for DefaultKeepFrom.
	KeepFrom int64
	// Progress, if set, is told how far a long Open has come, in bytes.
	Progress func(what string, done, total int64)
}

// Model is an open model; it implements [core.Engine].
type Model struct {
	info      core.ModelInfo
	config    *config
	context   int // positions that fit here, at most config.Context
	template  string
	tokenizer *token.Tokenizer
	weights   *weights
	storage   *storage
	file      *gguf.File

	pool     *kernel.Pool
	ropes    []*kernel.RoPE
	shape    kernel.KVShape
	cache    *cache
	grammars *grammar.Cache

	maxBatch    int
	prefillRows int

	pass     sync.Mutex // held by the one pass that runs
	work     workspace
	entered  []*sequence
	runnable []*sequence
	prefills []*sequence

	life   sync.Mutex // taken after pass, before the cache's lock
	live   int        // sequences admitted and not freed, replays apart
	queue  queue      // those that Step advances
	passes uint64
	closed bool
}

var _ core.Engine = (*Model)(nil)

// Open maps a GGUF file, packs its weights and computes its root, which reads
// the whole file; or, where that was kept by an earlier Open, returns at once and
// reads the packed weights in the background, those first that a pass needs. The
// model needs the file until Close.
func Open(path string, o Options) (*Model, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	return open(f, gguf.ModelName(path), o)
}

// OpenBytes is Open for a file in memory, such as an embedded one. The model
// keeps b.
func OpenBytes(b []byte, o Options) (*Model, error) {
	f, err := gguf.Parse(b)
	if err != nil {
		return nil, err
	}
	return open(f, "model", o)
}

func open(f *gguf.File, name string, o Options) (*Model, error) {
	m, err := build(f, name, o)
	if err != nil {
		f.Close()
		if core.CodeOf(err) != core.CodeInternal {
			return nil, err
		}
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the model " + name + " cannot be run", Err: err,
			Next: fmt.Sprintf("use a GGUF file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K of one of the architectures %q", Architectures)}
	}
	return m, nil
}

func build(f *gguf.File, name string, o Options) (_ *Model, err error) {
	if err := kernel.CheckInstructionSet(); err != nil {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "the engine was asked for instructions that are not here", Err: err,
			Next: "unset " + kernel.InstructionVariable + ", or give it one of the named values"}
	}
	c, err := readConfig(f.Metadata)
	if err != nil {
		return nil, err
	}
	if c.int8 = o.KV8; c.int8 {
		if err := kernel.CheckInt8(c.HeadDim); err != nil {
			return nil, &core.Error{Code: core.CodeInvalid, Message: "the model " + name + " cannot keep keys and values as int8", Err: err,
				Next: "open it without that option"}
		}
	}
	m := &Model{config: c, file: f, maxBatch: positive(o.MaxBatch, DefaultMaxBatch),
		prefillRows: positive(o.PrefillRows, DefaultPrefillRows)}
	o.KeepFrom = positive(o.KeepFrom, DefaultKeepFrom)
	if m.tokenizer, err = token.New(f.Metadata); err != nil {
		return nil, err
	}
	if m.template, err = gguf.Or(f.Text("tokenizer.chat_template"))(""); err != nil {
		return nil, err
	}
	// No gateway could make a prompt with a template that fails here.
	if _, err := chat.New(f.Metadata, m.tokenizer); err != nil {
		return nil, err
	}
	m.grammars = grammar.NewCache(sync.OnceValue(func() *grammar.Vocabulary {
		return grammar.NewVocabulary(m.tokenizer.Size(), m.tokenizer.Piece, m.tokenizer.IsEnd)
	}))
	m.shape = c.shape()
	if err := m.fitContext(o); err != nil {
		return nil, err
	}
	m.pool = kernel.NewPool(positive(o.Threads, runtime.GOMAXPROCS(0)))
	m.storage = openStorage(f, m.pool, o)
	defer func() {
		if err != nil {
			m.pool.Close()
			m.storage.close()
		}
	}()
	m.weights, err = load(m.storage, c, m.tokenizer.Size())
	if errors.Is(err, errForeign) {
		m.storage.forget()
		m.weights, err = load(m.storage, c, m.tokenizer.Size())
	}
	if err != nil {
		return nil, err
	}
	id, err := m.storage.root()
	if err != nil {
		return nil, err
	}
	m.storage.keep(id)
	if s, err := f.Text("general.name"); err == nil && s != "" {
		name = s
	}
	pooling, err := readPooling(f.Metadata, c.Architecture)
	if err != nil {
		return nil, err
	}
	m.info = core.ModelInfo{ID: core.ModelVariant(id, c.semantics()), Name: name, Architecture: c.Architecture, Parameters: m.weights.parameters,
		ContextLength: m.context, Vocabulary: m.tokenizer.Size(), Layers: c.Layers, Width: c.Width,
		Semantics: c.semantics(), Pooling: pooling}
	for _, parameters := range c.RoPEs {
		m.ropes = append(m.ropes, kernel.NewRoPE(parameters, m.context))
	}
	if m.storage.left > 0 {
		go m.readAhead(m.storage.left)
	}
	return m, nil
}

// readAhead brings the weights into memory, a stage at a time, between passes.
func (m *Model) readAhead(stages int) {
	for stage := range stages {
		m.pass.Lock()
		closed := m.closed
		if !closed {
			closed = m.storage.ready(stage) != nil // the next pass will say why
		}
		m.pass.Unlock()
		if closed {
			return
		}
	}
}

func positive[T int | int64](n, fallback T) T {
	if n > 0 {
		return n
	}
	return fallback
}

// fitContext divides the budget into blocks and shortens the context to what
// they hold.
func (m *Model) fitContext(o Options) error {
	budget := o.KVBudget
	if budget <= 0 {
		budget = DefaultKVBudget
	}
	size, ok := m.config.blockBytes()
	if !ok || budget < size {
		return &core.Error{Code: core.CodeInvalid,
			Message: fmt.Sprintf("%d tokens of keys and values take %d bytes and the budget is %d", kernel.PageTokens, size, budget),
			Next:    "raise the memory budget"}
	}
	capacity := int(min(budget/size, 1<<20))
	m.context = min(m.config.Context, capacity*kernel.PageTokens)
	if o.ContextLimit > 0 {
		m.context = min(m.context, o.ContextLimit)
	}
	m.cache = newCache(m.config.Layers, m.shape, capacity)
	return nil
}

// Info implements core.Engine. Its context length is what fits here.
func (m *Model) Info() core.ModelInfo { return m.info }

// Root names the model on the network, under its semantics.
func (m *Model) Root() core.ModelID { return m.info.ID }

// Tokenizer is the model's own.
func (m *Model) Tokenizer() *token.Tokenizer { return m.tokenizer }

// Template is the source of the model's chat template, "" where it has none.
func (m *Model) Template() string { return m.template }

// Metadata are the file's header values.
func (m *Model) Metadata() gguf.Metadata { return m.file.Metadata }

// Close waits for the running pass, ends the threads and frees the memory.
// Sequences that are still live can only be released.
func (m *Model) Close() error {
	m.pass.Lock()
	defer m.pass.Unlock()
	m.life.Lock()
	defer m.life.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.pool.Close()
	m.storage.close()
	m.weights, m.ropes, m.work = nil, nil, workspace{}
	m.cache.close()
	return m.file.Close()
}
