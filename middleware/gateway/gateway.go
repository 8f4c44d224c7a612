package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/middleware/apikey"
	"github.com/koinon-network/koinon/middleware/x402"
)

// Payment is the money reserved for one request on one channel.
type Payment interface {
	// Channel is the channel that pays.
	Channel() core.Channel
	// Pay signs a voucher that raises this request's part to due. It is on disk
	// when Pay returns.
	Pay(ctx context.Context, due core.Amount) (core.Voucher, error)
	// Left is what the channel holds beyond everything signed away.
	Left() core.Amount
	// Latest is the channel's voucher so far, nil when nothing was ever signed.
	// A request carries it, so that a lost one does not bar the channel.
	Latest() (*core.Voucher, error)
	// PayArrears signs for the cumulative total that the provider says broken-off
	// requests owe, as far as they may.
	PayArrears(ctx context.Context, total core.Amount) (core.Voucher, error)
	// Release ends a request that is paid; what it did not use is free again.
	Release()
	// Abandon ends a request that was broken off before it was settled.
	Abandon()
}

// Purse is the consumer's side of payment; infra/payment provides it.
type Purse interface {
	// Reserve finds or opens a channel to the provider with need free on it. It
	// fails with CodeUnpaid when the wallet cannot cover it.
	Reserve(ctx context.Context, provider core.Address, need core.Amount) (Payment, error)
}

// Archive keeps receipts; a [verify.Archive] is one.
type Archive interface {
	Put(e core.Evidence) error
	// Get finds evidence by its receipt's or its request's id; it fails with
	// [verify.ErrUnknown].
	Get(id core.Hash) (core.Evidence, error)
	List(skip, limit int) ([]verify.Summary, error)
}

// Config is what a gateway needs; every field without a default is required.
type Config struct {
	Chain   core.Chain
	ChainID uint64 // EVM chain id, signed into every request
	Dialer  core.Dialer
	Signer  core.Signer // signs requests: the channels' voucher signer
	Purse   Purse
	Archive Archive
	// Codec opens tokenizer and chat template of a model.
	Codec func(ctx context.Context, m core.Manifest) (*Codec, error)
	// Paywall, when set, is where callers of [Gateway.PaidHandler] pay.
	Paywall *x402.Paywall
	// Hosts are the names under which the gateway may be called; empty allows
	// all. It keeps web pages from reaching a loopback gateway by DNS tricks.
	Hosts []string
	// Keys are those by which callers other than the owner pay. Optional.
	Keys *apikey.Book
	// NeedKey refuses calls without one, also before the first was made.
	NeedKey bool
	// Version is what GET /api/version says.
	Version string
	Log     *slog.Logger

	// MaxAnswer bounds answers whose caller names no limit (default 1024 tokens).
	MaxAnswer uint32
	// Attempts is how many providers are tried for one answer (default 4).
	Attempts int
	// PayEvery and PayTokens say when delivered tokens are paid inside a stream
	// (defaults 1 s, 32 tokens).
	PayEvery  time.Duration
	PayTokens int
	// MaxConcurrent bounds requests in flight (default 256); more get a 429.
	MaxConcurrent int
}

// Gateway answers API calls. It is safe for concurrent use.
type Gateway struct {
	cfg    Config
	router *Router
	slots  chan struct{}

	mu      sync.Mutex
	codecs  map[core.ModelID]*codecEntry
	shun    map[shunning]bool
	watches map[chan Settled]struct{}
	stats   Stats
}

type codecEntry struct {
	once  sync.Once
	codec *Codec
	err   error
}

// Stats counts since the start.
type Stats struct {
	Requests  uint64      `json:"requests"`
	Answers   uint64      `json:"answers"`
	Failures  uint64      `json:"failures"`
	Cancelled uint64      `json:"cancelled"`
	Failovers uint64      `json:"failovers"`
	Input     uint64      `json:"input_tokens"`
	Output    uint64      `json:"output_tokens"`
	Spent     core.Amount `json:"spent"`
}

// Settled reports one request that came to its end.
type Settled struct {
	Time     time.Time      `json:"time"`
	ID       core.RequestID `json:"id"`
	Model    string         `json:"model"`
	Provider string         `json:"provider"` // moniker of the one that finished
	Tried    int            `json:"tried"`    // providers asked
	Usage    core.Usage     `json:"usage"`
	Cost     core.Amount    `json:"cost"`
	Receipt  core.ReceiptID `json:"receipt"` // zero when there is none
	Latency  time.Duration  `json:"latency"` // to the first token
	Took     time.Duration  `json:"took"`
	Finish   string         `json:"finish"` // finish reason or error code
}

// New returns a gateway.
func New(cfg Config) *Gateway {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxAnswer == 0 {
		cfg.MaxAnswer = 1024
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 4
	}
	if cfg.PayEvery == 0 {
		cfg.PayEvery = time.Second
	}
	if cfg.PayTokens == 0 {
		cfg.PayTokens = 32
	}
	if cfg.MaxConcurrent == 0 {
		cfg.MaxConcurrent = 256
	}
	return &Gateway{
		cfg:     cfg,
		router:  NewRouter(),
		slots:   make(chan struct{}, cfg.MaxConcurrent),
		codecs:  map[core.ModelID]*codecEntry{},
		shun:    map[shunning]bool{},
		watches: map[chan Settled]struct{}{},
	}
}

// Router returns what the gateway knows of providers.
func (g *Gateway) Router() *Router { return g.router }

// Stats returns the counters.
func (g *Gateway) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}

// Watch streams settled requests until stop is called. A slow reader misses
// some rather than slowing anybody down.
func (g *Gateway) Watch() (events <-chan Settled, stop func()) {
	c := make(chan Settled, 64)
	g.mu.Lock()
	g.watches[c] = struct{}{}
	g.mu.Unlock()
	return c, func() {
		g.mu.Lock()
		delete(g.watches, c)
		g.mu.Unlock()
	}
}

func (g *Gateway) settle(s Settled, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err != nil:
		g.stats.Failures++
	case s.Finish == string(core.FinishCancelled):
		g.stats.Cancelled++
	default:
		g.stats.Answers++
	}
	if s.Tried > 1 {
		g.stats.Failovers++
	}
	g.stats.Input += uint64(s.Usage.Input)
	g.stats.Output += uint64(s.Usage.Output)
	g.stats.Spent = g.stats.Spent.Add(s.Cost)
	for c := range g.watches {
		select {
		case c <- s:
		default:
		}
	}
}

// codec opens the model's tokenizer once; a failure is tried again next time.
func (g *Gateway) codec(ctx context.Context, m core.Manifest) (*Codec, error) {
	g.mu.Lock()
	e := g.codecs[m.ID]
	if e == nil {
		e = &codecEntry{}
		g.codecs[m.ID] = e
	}
	g.mu.Unlock()
	e.once.Do(func() { e.codec, e.err = g.cfg.Codec(ctx, m) })
	if e.err != nil {
		g.mu.Lock()
		if g.codecs[m.ID] == e {
			delete(g.codecs, m.ID)
		}
		g.mu.Unlock()
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "the tokenizer of " + m.Name + " is not available", Err: e.err}
	}
	return e.codec, nil
}
