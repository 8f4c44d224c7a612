package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/p2p"
	"github.com/koinon-network/koinon/infra/payment"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/infra/vrf"
)

// ProviderConfig is what the provider role needs. Chain, Wallet, PeerKey and
// either Model or Backend are required.
type ProviderConfig struct {
	Dir     string // its books and receipts
	Chain   core.Chain
	Wallet  *client.Wallet
	PeerKey ed25519.PrivateKey
	// Model answers; the caller closes it after the provider. Several providers
	// of one process may share it.
	Model *model.Model
	// Backend answers in Model's place, on the statistical tier. The caller closes
	// it after the provider.
	Backend *Backend
	// Engine and Advocate replace Model's own for answers and disputes. Optional.
	Engine   core.Engine
	Advocate core.Advocate
	// Report is told of the disputes that this provider is a party of. Optional.
	Report func(verify.Incident)
	// Name under which the model is published if the chain does not know it yet.
	Name     string
	Licence  string
	Moniker  string
	Hardware string
	PriceIn  core.Amount // akoin per input token
	PriceOut core.Amount // akoin per output token
	Slots    int         // sequences at once, default 8
	Bond     core.Amount // at the first registration
	Listen   []string    // multiaddresses; default a free port of 127.0.0.1
	// ReceiptInterval is how often receipts are committed on chain.
	ReceiptInterval time.Duration
	ClaimEvery      time.Duration
	// Watchtower is the URL of one that claims while this provider sleeps, and
	// Client the connection to the chain. Optional.
	Watchtower string
	Client     *client.Client
	Log        *slog.Logger
}

// Provider is a running provider role.
type Provider struct {
	cfg      ProviderConfig
	info     core.ModelInfo
	metadata gguf.Metadata
	host     *p2p.Host
	till     *payment.Till
	notary   *verify.Notary
	worker   *compute.Worker
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// StartProvider opens the provider's books, serves requests, and makes the
// market know of it: the model is published, the provider bonded and its offer
// posted, as far as the chain does not say so already.
func StartProvider(ctx context.Context, cfg ProviderConfig) (_ *Provider, err error) {
	if cfg.Slots == 0 {
		cfg.Slots = 8
	}
	if len(cfg.Listen) == 0 {
		cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	var metadata gguf.Metadata
	var admit func(core.Sampler) error
	if b := cfg.Backend; b != nil {
		cfg.Engine, metadata, admit = b.Engine, b.Metadata, b.Engine.Admit
	} else {
		metadata, admit = cfg.Model.Metadata(), cfg.Model.Check
		if cfg.Engine == nil {
			cfg.Engine = cfg.Model
		}
		if cfg.Advocate == nil {
			cfg.Advocate = newAdvocate(cfg.Model)
		}
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &Provider{cfg: cfg, info: cfg.Engine.Info(), metadata: metadata, cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	st, err := cfg.Chain.Status(ctx)
	if err != nil {
		return p, err
	}
	if p.till, err = payment.OpenTill(ctx, filepath.Join(cfg.Dir, "till.db"), cfg.Wallet, cfg.Chain,
		payment.TillOptions{ClaimEvery: cfg.ClaimEvery, Submit: submitter(cfg.Wallet), Log: cfg.Log}); err != nil {
		return p, err
	}
	if cfg.Watchtower != "" {
		d, err := newWatchtower(ctx, cfg.Watchtower, p.till, cfg.Client, cfg.Wallet)
		if err != nil {
			return p, err
		}
		p.work.Go(func() { d.deliver(background, cfg.Log) })
	}
	if p.notary, err = verify.OpenNotary(ctx, filepath.Join(cfg.Dir, "receipts.db"), cfg.Wallet, cfg.Chain,
		verify.NotaryOptions{Interval: cfg.ReceiptInterval, Log: cfg.Log}); err != nil {
		return p, err
	}
	key, err := vrf.NewKey(cfg.PeerKey)
	if err != nil {
		return p, err
	}
	offer := core.Offer{Model: p.info.ID, Tier: core.TierOf(p.info.Semantics), PriceIn: cfg.PriceIn, PriceOut: cfg.PriceOut, Slots: uint32(cfg.Slots)}
	if p.worker, err = compute.New(compute.Config{ChainID: st.EVMChainID, Engine: cfg.Engine, Offer: offer, Signer: cfg.Wallet, VRF: key, Cashier: p.till, Notary: p.notary,
		Registered: func(ctx context.Context, a core.Address) (bool, error) { return Registered(ctx, cfg.Chain, a) }, Admit: admit, Slots: cfg.Slots}); err != nil {
		return p, err
	}
	if p.host, err = p2p.New(p2p.Config{Key: cfg.PeerKey, Listen: cfg.Listen}); err != nil {
		return p, err
	}
	p.host.Serve(p.worker)
	p.host.ServeBlobs(p.blob)
	p.host.ServeEvidence(cfg.Wallet.Address(), p.evidence)
	supplier := &verify.Supplier{Notary: p.notary, Docket: cfg.Wallet, Log: cfg.Log}
	p.host.ServeAudits(st.EVMChainID, cfg.Wallet.Address(), supplier.Hand)
	if err := p.announce(ctx, st.ChainID, offer); err != nil {
		return p, err
	}
	if offer.Tier == core.TierExact { // no court judges others
		p.work.Go(func() { p.litigant().Run(background) })
	}
	p.work.Go(func() { supplier.Run(background) })
	return p, nil
}

// litigant defends the provider's receipts.
func (p *Provider) litigant() *verify.Litigant {
	return verify.NewLitigant(verify.LitigantOptions{
		Court: p.cfg.Wallet, Evidence: p.notary.Get, Report: p.cfg.Report, Log: p.cfg.Log,
		Engine: func(id core.ModelID) core.Engine {
			if id != p.info.ID {
				return nil
			}
			return p.cfg.Engine
		},
		Advocate: func(id core.ModelID) core.Advocate {
			if id != p.info.ID {
				return nil
			}
			return p.cfg.Advocate
		},
	})
}

// Address is the provider's account.
func (p *Provider) Address() core.Address { return p.cfg.Wallet.Address() }

// Addrs are where peers reach it.
func (p *Provider) Addrs() []string { return p.host.Addrs() }

// PeerID is its libp2p identity.
func (p *Provider) PeerID() string { return p.host.PeerID() }

// Stats are the worker's counters.
func (p *Provider) Stats() compute.Stats { return p.worker.Stats() }

// Retire takes the provider's offers off the market.
func (p *Provider) Retire(ctx context.Context) error { return p.cfg.Wallet.PostOffers(ctx, nil) }

// Close drains the work for a moment, claims what is owed, and closes the books.
func (p *Provider) Close() error {
	var errs []error
	p.cancel()
	p.work.Wait()
	if p.worker != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		p.worker.Drain(ctx)
		cancel()
	}
	if p.host != nil {
		errs = append(errs, p.host.Close())
	}
	if p.notary != nil {
		errs = append(errs, p.notary.Close())
	}
	if p.till != nil {
		errs = append(errs, p.till.Close())
	}
	return errors.Join(errs...)
}

// Registered reports whether the market knows a provider.
func Registered(ctx context.Context, chain core.Chain, a core.Address) (bool, error) {
	ps, err := chain.Providers(ctx)
	return slices.ContainsFunc(ps, func(x core.Provider) bool { return x.Address == a }), err
}

// blob serves the model's tokenizer part to gateways that lack the file.
func (p *Provider) blob(_ context.Context, hash core.Hash) ([]byte, error) {
	m := p.metadata
	if hash != gguf.TokenizerHash(m) {
		return nil, core.Errorf(core.CodeInvalid, "there is no blob %s here", hash.Short())
	}
	return gguf.ExportBundle(m), nil
}

func (p *Provider) evidence(_ context.Context, id core.ReceiptID) (core.Evidence, error) {
	return p.notary.Get(id)
}

// announce brings the chain's view of this provider up to date.
func (p *Provider) announce(ctx context.Context, chainID string, offer core.Offer) error {
	if err := p.publish(ctx); err != nil {
		return fmt.Errorf("publishing the model: %w", err)
	}
	ps, err := p.cfg.Chain.Providers(ctx)
	if err != nil {
		return err
	}
	me := core.Provider{Address: p.Address(), Moniker: p.cfg.Moniker, PeerID: p.PeerID(), Addrs: p.Addrs(), Bond: p.cfg.Bond, Hardware: p.cfg.Hardware}
	i := slices.IndexFunc(ps, func(x core.Provider) bool { return x.Address == me.Address })
	if i >= 0 && ps[i].Jailed {
		return &core.Error{Code: core.CodeUnauthorized, Message: "this provider was convicted of a wrong answer and is jailed", Next: "koinon dispute list shows why; serve with another account"}
	}
	if i < 0 || ps[i].PeerID != me.PeerID || ps[i].Moniker != me.Moniker || !slices.Equal(ps[i].Addrs, me.Addrs) {
		sig := ed25519.Sign(p.cfg.PeerKey, core.PeerBinding(chainID, me.Address))
		if err := p.cfg.Wallet.RegisterProvider(ctx, me, sig); err != nil {
			return fmt.Errorf("registering the provider: %w", err)
		}
	}
	if i >= 0 && slices.ContainsFunc(ps[i].Offers, func(o core.Offer) bool { return sameOffer(o, offer) }) {
		return nil
	}
	if err := p.cfg.Wallet.PostOffers(ctx, []core.Offer{offer}); err != nil {
		return fmt.Errorf("posting the offer: %w", err)
	}
	return nil
}

func sameOffer(a, b core.Offer) bool {
	return a.Model == b.Model && a.Tier == b.Tier && a.Slots == b.Slots && a.PriceIn.Cmp(b.PriceIn) == 0 && a.PriceOut.Cmp(b.PriceOut) == 0
}

// publish puts the model's manifest on chain unless it is there. Of several
// providers that try at once, one succeeds and the others find it done.
func (p *Provider) publish(ctx context.Context) error {
	known := func() (bool, error) {
		ms, err := p.cfg.Chain.Manifests(ctx)
		return slices.ContainsFunc(ms, func(m core.Manifest) bool { return m.ID == p.info.ID }), err
	}
	if ok, err := known(); ok || err != nil {
		return err
	}
	err := p.cfg.Wallet.PublishModel(ctx, p.manifest())
	for range 20 {
		if err == nil {
			break
		}
		if ok, _ := known(); ok {
			return nil // somebody else was faster
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func (p *Provider) manifest() core.Manifest {
	info := p.info
	return core.Manifest{ID: info.ID, Name: p.cfg.Name, Publisher: p.Address(), Format: "gguf", Semantics: core.NumericsOf(info.Semantics), Licence: p.cfg.Licence,
		Tokenizer: gguf.TokenizerHash(p.metadata), Context: uint32(info.ContextLength), Size: info.Parameters}
}

// submitter brings a till's claims on chain, each with the models that it pays.
func submitter(w *client.Wallet) func(context.Context, []payment.Claim) error {
	return func(ctx context.Context, claims []payment.Claim) error {
		out := make([]client.Claim, len(claims))
		for i, c := range claims {
			out[i] = client.Claim(c)
		}
		return w.ClaimFor(ctx, out)
	}
}
