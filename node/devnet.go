package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/ledger/keys"
	"github.com/koinon-network/koinon/infra/ledger/localnet"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
	chainverify "github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/verify"
)

// DevnetConfig says what network to run. The zero value is good but for Home.
type DevnetConfig struct {
	Home       string
	Listen     string // HOST:PORT of API and console, default 127.0.0.1:8080
	Validators int    // fixed by the first start, default 4; 0 continues with what is there
	Providers  int    // default 3
	Model      string // GGUF file; default the built-in model
	KV8        bool   // keep keys and values as int8 (see OpenModel)
	Reset      bool   // delete everything in Home first
	// Cheat makes the first provider deceive in one of the [Cheats]; then every
	// answer is audited.
	Cheat   string
	Version string // of this program, for those who ask the API
	// Progress is told what is being done, in a few words. Optional.
	Progress func(step string)
}

// Devnet is a whole network in this process.
type Devnet struct {
	cfg       DevnetConfig
	home      *Home
	log       *logFile
	listener  net.Listener
	chain     *localnet.Net
	client    *client.Client
	ring      *ring
	model     *model.Model
	Providers []*Provider
	Gateway   *Gateway
	auditor   *Auditor
	examiners []*Examiner
	cheat     *cheat
	incidents chan verify.Incident
	info      DevnetInfo
}

// DevnetInfo tells where a devnet can be reached.
type DevnetInfo struct {
	Ready      bool              `json:"ready"`
	API        string            `json:"api"`
	Console    string            `json:"console"`
	Home       string            `json:"home"`
	ChainID    string            `json:"chain_id"`
	EVMChainID uint64            `json:"evm_chain_id"`
	CometRPC   string            `json:"comet_rpc"`
	GRPC       string            `json:"grpc"`
	REST       string            `json:"rest"`
	EVMRPC     string            `json:"evm_rpc"`
	EVMWS      string            `json:"evm_ws"`
	Validators int               `json:"validators"`
	Model      DevnetModel       `json:"model"`
	Accounts   map[string]string `json:"accounts"` // key name: 0x address
	Providers  []DevnetProvider  `json:"providers"`
}

// DevnetModel names the model that the devnet's providers serve.
type DevnetModel struct {
	Name string       `json:"name"`
	Root core.ModelID `json:"root"`
}

// DevnetProvider is one provider of a devnet.
type DevnetProvider struct {
	Moniker string       `json:"moniker"`
	Address core.Address `json:"address"`
	PeerID  string       `json:"peer_id"`
	Addrs   []string     `json:"addrs"`
}

// Accounts of a devnet and their balances at genesis. The faucet's money is for
// whoever tries things out.
const (
	accountGateway = "gateway"
	accountFaucet  = "faucet"
	accountAuditor = "auditor"
)

// auditors is how many independent accounts audit what the chain draws.
const auditors = 2

func auditorAccount(i int) string { return fmt.Sprintf("auditor-%d", i+1) }

// blockTime is what validators aim at; a block takes about a quarter longer.
const blockTime = 700 * time.Millisecond

// maxProviders keeps the devnet within one machine.
const maxProviders = 16

// StartDevnet starts a network, or continues the one in cfg.Home, and returns
// when a question can be answered.
func StartDevnet(ctx context.Context, cfg DevnetConfig) (_ *Devnet, err error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:8080"
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.Providers < 1 || cfg.Providers > maxProviders {
		return nil, core.Errorf(core.CodeInvalid, "a devnet has 1 to %d providers, not %d", maxProviders, cfg.Providers)
	}
	if cfg.Cheat != "" && !slices.Contains(Cheats, cfg.Cheat) {
		return nil, core.Errorf(core.CodeInvalid, "there is no cheat %q; possible are %s", cfg.Cheat, strings.Join(Cheats, ", "))
	}
	d := &Devnet{cfg: cfg, incidents: make(chan verify.Incident, 256)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if err := d.open(); err != nil {
		return d, err
	}
	if err := d.startChain(ctx); err != nil {
		return d, err
	}
	return d, d.startRoles(ctx)
}

// open takes the folder, the port and the model: what can fail for a reason
// that the user can mend comes first.
func (d *Devnet) open() (err error) {
	if d.home, err = OpenHome(d.cfg.Home); err != nil {
		return err
	}
	if d.listener, err = Listen(d.cfg.Listen); err != nil {
		return err
	}
	if d.cfg.Reset {
		if err := d.home.Reset(); err != nil {
			return fmt.Errorf("%s cannot be emptied: %w", d.home.Dir, err)
		}
	}
	if d.log, err = openLog(d.home.Path("koinon.log")); err != nil {
		return err
	}
	if d.cfg.Validators == 0 {
		there, err := filepath.Glob(d.home.Path("chain", "validators", "*"))
		if err != nil {
			return err
		}
		if d.cfg.Validators = len(there); len(there) == 0 {
			d.cfg.Validators = 4
		}
	}
	d.cfg.Progress("opening the model")
	if d.model, err = OpenModel(d.cfg.Model, d.cfg.KV8, d.cfg.Progress); err != nil || d.cfg.Cheat == "" {
		return err
	}
	d.cheat, err = newCheat(d.cfg.Cheat, d.cfg.Model, d.model)
	return err
}

// Listen opens the port and words the usual failures.
func Listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "cannot listen on " + addr, Next: "free the port, or choose another with --listen HOST:PORT", Err: errors.Unwrap(err)}
	}
	return l, nil
}

func providerAccount(i int) string { return fmt.Sprintf("provider-%d", i+1) }

// startChain makes keys and genesis at the first start and runs the validators.
func (d *Devnet) startChain(ctx context.Context) error {
	d.cfg.Progress("unlocking the keys")
	var err error
	if d.ring, err = d.openRing(); err != nil {
		return err
	}
	d.cfg.Progress("starting the validators")
	// Another devnet that starts at the same moment may take a port that was free.
	for range 3 {
		d.chain, err = d.startNet(ctx)
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return err
	}
	d.client, err = client.New(ctx, d.chain.Nodes[0].Client)
	return err
}

func (d *Devnet) startNet(ctx context.Context) (*localnet.Net, error) {
	return localnet.Start(ctx, localnet.Options{
		Home: d.home.Path("chain"), Validators: d.cfg.Validators, Endpoints: freeEndpoints(), BlockTime: blockTime,
		Genesis: func(g *app.Genesis) error {
			for name, a := range d.ring.accounts {
				amount := core.Koin(1_000)
				if name == accountFaucet {
					amount = core.Koin(1_000_000)
				}
				g.Credit(a, amount)
			}
			return hurry(g, d.cfg.Cheat != "")
		},
	})
}

// hurry gives the parties of a dispute seconds where a public network gives
// them minutes.
func hurry(g *app.Genesis, cheat bool) error {
	var s chainverify.GenesisState
	if err := g.Get(chainverify.ModuleName, &s); err != nil {
		return err
	}
	s.Params.MoveTime, s.Params.Clock, s.Params.Extension, s.Params.MinBlocks = 15, 120, 5, 8
	a := &s.Params.Audits
	a.CommitTime, a.SupplyTime, a.RevealTime, a.UnbondDelay, a.Keep = 40, 20, 30, 2*3600, 3600
	if cheat {
		a.Interval = 1 // every receipt is drawn
	}
	return g.Set(chainverify.ModuleName, &s)
}

// purse of keys that a devnet works with.
type ring struct {
	*keys.Ring
	accounts map[string]core.Address
}

// openRing opens the devnet's keys and makes those that are missing.
func (d *Devnet) openRing() (*ring, error) {
	pass, err := keys.DevnetPassphrase(d.home.Dir)
	if err != nil {
		return nil, err
	}
	kr, err := keys.Open(d.home.Dir, pass)
	if err != nil {
		return nil, err
	}
	r := &ring{kr, map[string]core.Address{}}
	names := []string{accountGateway, accountFaucet, accountAuditor}
	for i := range auditors {
		names = append(names, auditorAccount(i))
	}
	for i := range d.cfg.Providers {
		names = append(names, providerAccount(i))
	}
	for _, n := range names {
		if !kr.Has(n) {
			if _, _, err := kr.Create(n); err != nil {
				return nil, err
			}
		}
		s, err := kr.Signer(n)
		if err != nil {
			return nil, err
		}
		r.accounts[n] = s.Address()
	}
	return r, nil
}

// freeEndpoints are the ports that tools expect, as far as nobody uses them; in
// their place the system chooses, and the network remembers.
func freeEndpoints() rpc.Endpoints {
	e := rpc.DefaultEndpoints()
	for _, a := range []*string{&e.Comet, &e.GRPC, &e.REST, &e.EVM} {
		l, err := net.Listen("tcp", *a)
		if err != nil {
			*a = "127.0.0.1:0"
			continue
		}
		l.Close()
	}
	return e
}

// wallet opens the account of a key by its name.
func (d *Devnet) wallet(name string) (*client.Wallet, error) {
	s, err := d.ring.Signer(name)
	if err != nil {
		return nil, err
	}
	return d.client.Wallet(s)
}

// startRoles starts providers and gateway on the running chain.
func (d *Devnet) startRoles(ctx context.Context) error {
	if err := d.fund(ctx); err != nil {
		return err
	}
	d.cfg.Progress("starting the providers")
	free, err := d.atLarge(ctx)
	if err != nil {
		return err
	}
	d.Providers = make([]*Provider, len(free))
	var group errgroup.Group
	for n, i := range free {
		group.Go(func() (err error) {
			d.Providers[n], err = d.startProvider(ctx, i, n == 0)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.cfg.Progress("opening the gateway")
	if err := d.startGateway(ctx); err != nil {
		return err
	}
	if err := d.startAuditor(ctx); err != nil {
		return err
	}
	d.cfg.Progress("bonding the auditors")
	if err := d.startExaminers(ctx); err != nil {
		return err
	}
	d.cfg.Progress("opening payment channels")
	if err := d.Gateway.Ready(ctx); err != nil {
		return err
	}
	return d.describe(ctx)
}

// fund gives accounts that came after genesis something to bond.
func (d *Devnet) fund(ctx context.Context) error {
	faucet, err := d.wallet(accountFaucet)
	if err != nil {
		return err
	}
	names := []string{accountAuditor}
	for i := range auditors {
		names = append(names, auditorAccount(i))
	}
	for i := range d.cfg.Providers {
		names = append(names, providerAccount(i))
	}
	for _, name := range names {
		a := d.ring.accounts[name]
		b, err := d.client.Balance(ctx, a)
		if err != nil {
			return err
		}
		if b.IsZero() {
			if err := faucet.Send(ctx, a, core.Koin(1_000)); err != nil {
				return fmt.Errorf("funding %s: %w", name, err)
			}
		}
	}
	return nil
}

// price of provider i's tokens: the first one is the cheapest, so that there is
// something to choose.
func devnetPrice(i int) (in, out core.Amount) {
	unit := core.Koin(1).Div(1_000_000) // one koin per million tokens
	return unit.Mul(uint64(10 + i)).Div(10), unit.Mul(uint64(10 + i)).Div(5)
}

// atLarge are the providers that are not jailed for a wrong answer.
func (d *Devnet) atLarge(ctx context.Context) (free []int, err error) {
	ps, err := d.client.Providers(ctx)
	if err != nil {
		return nil, err
	}
	for i := range d.cfg.Providers {
		a := d.ring.accounts[providerAccount(i)]
		if !slices.ContainsFunc(ps, func(p core.Provider) bool { return p.Address == a && p.Jailed }) {
			free = append(free, i)
		}
	}
	if len(free) == 0 {
		return nil, &core.Error{Code: core.CodeNoProvider, Message: "all providers of this devnet were convicted of wrong answers and are jailed", Next: "start anew with --reset, or with more --providers"}
	}
	return free, nil
}

// startProvider starts provider i; the first one cheats if anybody does.
func (d *Devnet) startProvider(ctx context.Context, i int, first bool) (*Provider, error) {
	name := providerAccount(i)
	w, err := d.wallet(name)
	if err != nil {
		return nil, err
	}
	key, err := d.ring.PeerKey(name)
	if err != nil {
		return nil, err
	}
	in, out := devnetPrice(i)
	cfg := ProviderConfig{
		Dir: d.home.Path("providers", name), Chain: d.client, Wallet: w, PeerKey: key, Model: d.model, Name: ModelName(d.cfg.Model, d.cfg.KV8), Licence: "Apache-2.0",
		Moniker: name, Hardware: Hardware(), PriceIn: in, PriceOut: out, Bond: core.Koin(500), Listen: d.lastAddrs(ctx, w.Address()),
		ReceiptInterval: 30 * time.Second, ClaimEvery: time.Minute, Log: d.log.logger().With("role", name),
		Report: func(i verify.Incident) {
			if i.Kind != verify.Verdicts { // the auditor tells
				d.report(i)
			}
		},
	}
	if first && d.cheat != nil {
		cfg.Engine, cfg.Advocate = d.cheat.engine, d.cheat.advocate
	}
	p, err := StartProvider(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// lastAddrs are the addresses under which the market knows a provider, if they
// are free: keeping them saves a transaction at every start.
func (d *Devnet) lastAddrs(ctx context.Context, a core.Address) []string {
	ps, err := d.client.Providers(ctx)
	if err != nil {
		return nil
	}
	for _, p := range ps {
		if p.Address == a && len(p.Addrs) == 1 && free(p.Addrs[0]) {
			return p.Addrs
		}
	}
	return nil
}

// free reports whether a multiaddress of the form /ip4/A/tcp/P can be bound.
func free(addr string) bool {
	var ip, port string
	if parts := strings.Split(addr, "/"); len(parts) == 5 && parts[1] == "ip4" && parts[3] == "tcp" {
		ip, port = parts[2], parts[4]
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
	if ip == "" || err != nil {
		return false
	}
	return l.Close() == nil
}

func (d *Devnet) startGateway(ctx context.Context) error {
	w, err := d.wallet(accountGateway)
	if err != nil {
		return err
	}
	key, err := d.ring.PeerKey(accountGateway)
	if err != nil {
		return err
	}
	root := d.model.Root()
	d.Gateway, err = StartGateway(ctx, GatewayConfig{
		Dir: d.home.Path("gateway"), Chain: d.client, Disputes: d.client.Disputes, Wallet: w, PeerKey: key, Listener: d.listener,
		Ledger:  PaymentLedger(d.client, w),
		Engines: map[core.ModelID]core.Engine{root: d.model}, Metadata: map[core.ModelID]gguf.Metadata{root: d.model.Metadata()},
		Metrics: d.metrics, Version: d.cfg.Version, Log: d.log.logger().With("role", "gateway"),
	})
	return err
}

// startAuditor audits a twentieth of the answers, or all of them where somebody
// is known to cheat.
func (d *Devnet) startAuditor(ctx context.Context) error {
	w, err := d.wallet(accountAuditor)
	if err != nil {
		return err
	}
	share := uint32(500)
	if d.cheat != nil {
		share = 10_000
	}
	d.auditor, err = StartAuditor(ctx, AuditorConfig{
		Court: w, Archive: d.Gateway.Archive(), Models: map[core.ModelID]*model.Model{d.model.Root(): d.model}, Share: share,
		Report: d.report, Log: d.log.logger().With("role", accountAuditor),
	})
	return err
}

// startExaminers bonds independent auditors for the chain to draw.
func (d *Devnet) startExaminers(ctx context.Context) error {
	d.examiners = make([]*Examiner, auditors)
	var group errgroup.Group
	for i := range auditors {
		group.Go(func() error {
			name := auditorAccount(i)
			w, err := d.wallet(name)
			if err != nil {
				return err
			}
			key, err := d.ring.PeerKey(name)
			if err != nil {
				return err
			}
			d.examiners[i], err = StartExaminer(ctx, ExaminerConfig{
				Dir: d.home.Path("auditors", name), Client: d.client, Wallet: w, PeerKey: key, Bond: core.Koin(100),
				Models: map[core.ModelID]*model.Model{d.model.Root(): d.model}, Report: d.report, Log: d.log.logger().With("role", name),
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// report passes an incident on to whoever watches; nobody is waited for.
func (d *Devnet) report(i verify.Incident) {
	select {
	case d.incidents <- i:
	default:
	}
}

// Incidents are wrong answers that were found and the moves of the disputes
// about them.
func (d *Devnet) Incidents() <-chan verify.Incident { return d.incidents }

// metrics adds the providers' counters.
func (d *Devnet) metrics(m *MetricWriter) {
	for i, p := range d.Providers {
		help := func(t string) string {
			if i > 0 {
				return ""
			}
			return t
		}
		s := p.Stats()
		m.Gauge("koinon_provider_running", help("Sequences in the batch."), float64(s.Running), "provider", p.cfg.Moniker)
		m.Gauge("koinon_provider_queued", help("Requests waiting for a slot."), float64(s.Waiting), "provider", p.cfg.Moniker)
	}
}

// Info tells where the network can be reached.
func (d *Devnet) Info() DevnetInfo { return d.info }

func (d *Devnet) describe(ctx context.Context) error {
	st, err := d.client.Status(ctx)
	if err != nil {
		return err
	}
	base := "http://" + d.listener.Addr().String()
	e := d.chain.Endpoints
	d.info = DevnetInfo{
		Ready: true, API: base + "/v1", Console: base + "/", Home: d.home.Dir, ChainID: st.ChainID, EVMChainID: st.EVMChainID,
		CometRPC: "tcp://" + e.Comet, GRPC: e.GRPC, REST: "http://" + e.REST, EVMRPC: "http://" + e.EVM, EVMWS: "ws://" + e.EVM,
		Validators: len(d.chain.Nodes), Model: DevnetModel{ModelName(d.cfg.Model, d.cfg.KV8), d.model.Root()}, Accounts: map[string]string{},
	}
	for n, a := range d.ring.accounts {
		d.info.Accounts[n] = a.String()
	}
	for _, p := range d.Providers {
		d.info.Providers = append(d.info.Providers, DevnetProvider{p.cfg.Moniker, p.Address(), p.PeerID(), p.Addrs()})
	}
	return d.home.Save(infoFile, d.info)
}

// infoFile lets other commands find the devnet of a home folder.
const infoFile = "devnet.json"

// ReadDevnet returns where the devnet of a home folder was last reached.
func ReadDevnet(home string) (i DevnetInfo, err error) {
	ok, err := (&Home{Dir: home}).Load(infoFile, &i)
	if err == nil && !ok {
		err = core.Errorf(core.CodeUnavailable, "no devnet ran on %s", home)
	}
	return i, err
}

// Close stops everything in the order in which nothing is lost: first who asks,
// then who answers, then the chain that both settle on.
func (d *Devnet) Close() error {
	var errs []error
	if d.auditor != nil {
		errs = append(errs, d.auditor.Close())
	}
	for _, e := range d.examiners {
		if e != nil {
			errs = append(errs, e.Close())
		}
	}
	if d.Gateway != nil {
		errs = append(errs, d.Gateway.Close())
	} else if d.listener != nil {
		errs = append(errs, d.listener.Close())
	}
	var group errgroup.Group
	for _, p := range d.Providers {
		if p != nil {
			group.Go(p.Close)
		}
	}
	errs = append(errs, group.Wait())
	if d.client != nil {
		errs = append(errs, d.client.Close())
	}
	if d.chain != nil {
		errs = append(errs, d.chain.Stop())
	}
	errs = append(errs, d.cheat.close())
	if d.model != nil {
		errs = append(errs, d.model.Close())
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	if d.home != nil {
		errs = append(errs, d.home.Close())
	}
	return errors.Join(errs...)
}
