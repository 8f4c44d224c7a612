package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/apps/console"
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/p2p"
	"github.com/koinon-network/koinon/infra/payment"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/infra/vrf"
	"github.com/koinon-network/koinon/middleware/apikey"
	"github.com/koinon-network/koinon/middleware/gateway"
	"github.com/koinon-network/koinon/middleware/x402"
)

// GatewayConfig is what the gateway role needs. Chain, Disputes, Wallet, PeerKey
// and Listener are required.
type GatewayConfig struct {
	Dir   string // its books and receipts
	Chain core.Chain
	// Disputes lists the newest disputes on the chain first.
	Disputes func(ctx context.Context, limit int) ([]core.Dispute, error)
	Wallet   core.Wallet
	PeerKey  ed25519.PrivateKey
	Listener net.Listener // of the API and the console; closed with the gateway
	// Engines verify receipts of models that this process has open.
	Engines map[core.ModelID]core.Engine
	// Metadata of models whose file is at hand; others are fetched from a provider.
	Metadata map[core.ModelID]gguf.Metadata
	// Calibrations are the honest back ends against which answers of the
	// statistical tier are weighed, where Engines has their model. A provider that
	// none of them explains gets no more questions.
	Calibrations []*verify.Calibration
	// WeighShare of those answers, in 1/10,000, is weighed. Default 1000.
	WeighShare uint32
	// Deposit of each new channel, default 1 koin.
	Deposit core.Amount
	// Ledger, when set, lets callers without an account pay by the call (x402).
	Ledger x402.Ledger
	// Metrics adds lines to /metrics. Optional.
	Metrics func(w *MetricWriter)
	Version string // of this program, for those who ask the API
	Log     *slog.Logger
}

// Gateway is a running gateway role with its console.
type Gateway struct {
	*gateway.Gateway
	cfg     GatewayConfig
	host    *p2p.Host
	purse   *payment.Purse
	archive *verify.Archive
	keys    *apikey.Book
	admin   *http.Server // of keys, at a Unix socket
	paywall *x402.Paywall
	server  *http.Server
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// StartGateway opens the purse and serves the API and the console.
func StartGateway(ctx context.Context, cfg GatewayConfig) (_ *Gateway, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g := &Gateway{cfg: cfg, cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	st, err := cfg.Chain.Status(ctx)
	if err != nil {
		return g, err
	}
	if g.purse, err = payment.OpenPurse(ctx, filepath.Join(cfg.Dir, "purse.db"), cfg.Wallet, cfg.Chain, payment.PurseOptions{Deposit: cfg.Deposit, Log: cfg.Log}); err != nil {
		return g, err
	}
	if g.archive, err = verify.OpenArchive(filepath.Join(cfg.Dir, "receipts.db"), verify.ArchiveOptions{Boundaries: true}); err != nil {
		return g, err
	}
	if g.keys, err = apikey.Open(filepath.Join(cfg.Dir, keyFile), apikey.Options{}); err != nil {
		return g, err
	}
	if g.admin, err = apikey.Serve(filepath.Join(cfg.Dir, keySocket), g.keys); err != nil {
		cfg.Log.Warn("keys can be managed only while the gateway is stopped", "err", err)
	}
	if g.host, err = p2p.New(p2p.Config{Key: cfg.PeerKey}); err != nil {
		return g, err
	}
	var facilitator *x402.Facilitator
	if cfg.Ledger != nil {
		settle := x402.FacilitatorConfig{ChainID: st.EVMChainID, Ledger: cfg.Ledger, Account: cfg.Wallet.Address()}
		if len(hostsOf(cfg.Listener)) == 0 { // strangers reach it: they shall not spend our fees
			settle.Payees = []core.Address{cfg.Wallet.Address()}
		}
		facilitator = x402.NewFacilitator(settle)
		g.paywall, err = x402.NewPaywall(x402.Config{Facilitator: facilitator, PayTo: cfg.Wallet.Address(), Books: filepath.Join(cfg.Dir, "paywall.db"), Log: cfg.Log})
		if err != nil {
			return g, err
		}
	}
	g.Gateway = gateway.New(gateway.Config{
		Paywall: g.paywall,
		Chain:   cfg.Chain, ChainID: st.EVMChainID, Dialer: g.host.Client(vrf.Verify), Signer: cfg.Wallet, Purse: gateway.FromPurse(g.purse),
		Archive: g.archive, Codec: g.codec, Hosts: hostsOf(cfg.Listener), Keys: g.keys, NeedKey: len(hostsOf(cfg.Listener)) == 0, Version: cfg.Version, Log: cfg.Log,
	})
	page := console.New(console.Config{
		Gateway: g.Gateway, Chain: cfg.Chain, Purse: g.purse, Verify: g.verdict, Disputes: cfg.Disputes,
		Newest: func(n int) ([]verify.Summary, error) { return g.archive.List(0, n) },
	})
	mux := http.NewServeMux()
	api := g.Handler()
	for _, path := range []string{"/v1/", "/api/", "/healthz"} {
		mux.Handle(path, api)
	}
	if g.paywall != nil {
		mux.Handle("/x402/v1/", http.StripPrefix("/x402", g.PaidHandler()))
		mux.Handle("/x402/", g.Guard(http.StripPrefix("/x402", facilitator.Handler())))
	}
	mux.Handle("/metrics", g.Owned(http.HandlerFunc(g.metrics)))
	mux.Handle("/", g.Owned(page.Handler()))
	g.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn), BaseContext: func(net.Listener) context.Context { return background },
	}
	g.work.Go(func() {
		if err := g.server.Serve(cfg.Listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("the API stopped", "err", err)
		}
	})
	g.work.Go(func() { g.prepare(background) })
	g.work.Go(func() { g.prune(background) })
	return g, g.watch(background)
}

// watch weighs answers of the statistical tier and shuns whom it finds
// implausible, now or before.
func (g *Gateway) watch(ctx context.Context) error {
	if len(g.cfg.Calibrations) == 0 {
		return nil
	}
	before, err := g.archive.Suspicions()
	if err != nil {
		return err
	}
	for _, s := range before {
		if s.Found != nil {
			g.Shun(s.Provider, s.Model, core.TierStatistical)
		}
	}
	w, err := verify.NewWatcher(verify.WatcherOptions{
		Archive: g.archive, Calibrations: g.cfg.Calibrations, Share: g.cfg.WeighShare, Log: g.cfg.Log,
		Reference: func(id core.ModelID) core.Reference { r, _ := g.cfg.Engines[id].(core.Reference); return r },
		Found: func(s verify.Suspicion) {
			g.Shun(s.Provider, s.Model, core.TierStatistical)
			g.cfg.Log.Warn("a provider's answers are implausible: it gets no more questions", "provider", s.Provider, "model", s.Model.Short(),
				"answers", s.Answers, "tokens", s.Tokens, "weight", s.Weight(), "evidence", s.Evidence)
		},
	})
	if err != nil {
		return err
	}
	g.work.Go(func() { w.Run(ctx) })
	return nil
}

// Names within a gateway's folder.
const (
	keyFile   = "keys.db"
	keySocket = "keys.sock"
)

// OpenKeys opens the API keys of the gateway with this home folder, be it a
// devnet's or a role's own, and whether it runs or not.
func OpenKeys(home string) (apikey.Owner, error) {
	dir := filepath.Join(home, "books")
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join(home, "gateway")
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, &core.Error{Code: core.CodeNotFound, Message: "there is no gateway in " + home, Next: "start one, or name its folder with --home DIR"}
	}
	if c, ok := apikey.Dial(filepath.Join(dir, keySocket)); ok {
		return c, nil
	}
	return apikey.Open(filepath.Join(dir, keyFile), apikey.Options{})
}

// hostsOf are the names that lead to a listener on loopback; a listener that is
// open to others is called by names that only its owner knows.
func hostsOf(l net.Listener) []string {
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok || !a.IP.IsLoopback() {
		return nil
	}
	return []string{"127.0.0.1", "localhost", "::1", a.IP.String()}
}

// prepare opens channels to the providers on the market, so that the first
// question does not wait for a block.
func (g *Gateway) prepare(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		if ps, err := g.cfg.Chain.Providers(ctx); err == nil {
			var as []core.Address
			for _, p := range ps {
				if len(p.Offers) > 0 && !p.Jailed && len(as) < 8 {
					as = append(as, p.Address)
				}
			}
			if err := g.purse.Prepare(ctx, as...); err != nil && ctx.Err() == nil {
				g.cfg.Log.Warn("channels not prepared", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// prune keeps the archive within its bounds.
func (g *Gateway) prune(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if _, err := g.archive.Prune(); err != nil {
			g.cfg.Log.Warn("receipts not pruned", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Ready waits until a question can be paid: a provider offers something and the
// channel to it is open.
func (g *Gateway) Ready(ctx context.Context) error {
	for {
		for _, a := range g.purse.Accounts() {
			if a.Channel.State == core.ChannelOpen && !a.Free.IsZero() {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no payment channel: %w", context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Archive keeps the evidence of all answers.
func (g *Gateway) Archive() *verify.Archive { return g.archive }

// Purse is the gateway's money.
func (g *Gateway) Purse() *payment.Purse { return g.purse }

// codec opens a model's tokenizer: from the file at hand, or fetched by its
// hash from a provider that serves the model.
func (g *Gateway) codec(ctx context.Context, m core.Manifest) (*gateway.Codec, error) {
	if md, ok := g.cfg.Metadata[m.ID]; ok {
		return gateway.NewCodec(md)
	}
	ps, err := g.cfg.Chain.Providers(ctx)
	if err != nil {
		return nil, err
	}
	last := error(core.Errorf(core.CodeNoProvider, "nobody serves %s", m.Name))
	for _, p := range ps {
		if !slices.ContainsFunc(p.Offers, func(o core.Offer) bool { return o.Model == m.ID }) {
			continue
		}
		b, err := g.host.FetchBlob(ctx, p, m.Tokenizer, gguf.MaxBundle)
		if err != nil {
			last = err
			continue
		}
		md, err := gguf.OpenBundle(b, m.Tokenizer)
		if err != nil {
			last = err
			continue
		}
		return gateway.NewCodec(md)
	}
	return nil, last
}

// verdict re-executes an answer here.
func (g *Gateway) verdict(ctx context.Context, e core.Evidence) console.Verdict {
	engine, ok := g.cfg.Engines[e.Receipt.Model]
	if !ok {
		return console.Verdict{Text: "this machine does not have the model; run koinon verify --model FILE on one that does"}
	}
	r, err := verify.Verify(ctx, e, engine, verify.Facts{})
	if err != nil {
		return console.Verdict{Text: err.Error()}
	}
	return console.Verdict{Matches: r.Verdict == verify.Matches, Text: r.Message}
}

// Close stops serving, then closes books and connections.
func (g *Gateway) Close() error {
	var errs []error
	g.cancel()
	if g.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		if g.server.Shutdown(ctx) != nil {
			errs = append(errs, g.server.Close())
		}
		cancel()
	}
	g.work.Wait()
	if g.admin != nil {
		errs = append(errs, g.admin.Close())
	}
	if g.keys != nil {
		errs = append(errs, g.keys.Close())
	}
	if g.paywall != nil {
		errs = append(errs, g.paywall.Close())
	}
	if g.host != nil {
		errs = append(errs, g.host.Close())
	}
	if g.archive != nil {
		errs = append(errs, g.archive.Close())
	}
	if g.purse != nil {
		errs = append(errs, g.purse.Close())
	}
	return errors.Join(errs...)
}
