package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/ledger/client"
	"github.com/koinon-network/koinon/infra/ledger/keys"
	"github.com/koinon-network/koinon/node"
)

// role is what a single role needs before it starts: its folder, its account
// and the chain.
type role struct {
	home   *node.Home
	ring   *keys.Ring
	name   string
	client *client.Client
	wallet *client.Wallet
	log    *slog.Logger
}

// openRole takes the home folder, opens or makes the account, and connects.
func openRole(cmd *cobra.Command) (_ *role, err error) {
	dir, _ := cmd.Flags().GetString("home")
	url, _ := cmd.Flags().GetString("node")
	r := &role{log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	r.name, _ = cmd.Flags().GetString("key")
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.home, err = node.OpenHome(dir); err != nil {
		return r, err
	}
	pass, err := keys.Passphrase(r.home.Dir)
	if err != nil {
		return r, err
	}
	if r.ring, err = keys.Open(r.home.Dir, pass); err != nil {
		return r, err
	}
	if !r.ring.Has(r.name) {
		if _, _, err := r.ring.Create(r.name); err != nil {
			return r, err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "made the key %s in %s; keep a copy of that folder and its passphrase\n", r.name, r.home.Path("keyring-file"))
	}
	s, err := r.ring.Signer(r.name)
	if err != nil {
		return r, err
	}
	if r.client, err = dialChain(cmd.Context(), dir, url); err != nil {
		return r, err
	}
	r.wallet, err = r.client.Wallet(s)
	return r, err
}

func (r *role) close() error {
	var errs []error
	if r.client != nil {
		errs = append(errs, r.client.Close())
	}
	if r.home != nil {
		errs = append(errs, r.home.Close())
	}
	return errors.Join(errs...)
}

// needs fails unless the account holds at least the amount.
func (r *role) needs(ctx context.Context, amount core.Amount, what string) error {
	b, err := r.client.Balance(ctx, r.wallet.Address())
	if err != nil {
		return err
	}
	if b.Cmp(amount) < 0 {
		return &core.Error{Code: core.CodeUnpaid, Message: fmt.Sprintf("the account %s holds %s and needs %s for %s", r.wallet.Address(), b.Format(), amount.Format(), what),
			Next: fmt.Sprintf("send koin to it; on a devnet: koinon wallet send %s %skoin --from faucet", r.wallet.Address(), wholeKoin(amount))}
	}
	return nil
}

// wholeKoin rounds up to whole koin.
func wholeKoin(a core.Amount) string {
	one := core.Koin(1).Big()
	n := a.Big()
	n.Add(n, one).Sub(n, core.NewAmount(1).Big())
	return n.Quo(n, one).String()
}

func roleFlags(cmd *cobra.Command, name string) {
	cmd.Flags().String("home", node.DefaultHome(name), "`DIR` of keys, books and receipts")
	cmd.Flags().String("node", "", "`URL` of a node's CometBFT RPC (default tcp://127.0.0.1:26657)")
	cmd.Flags().String("key", name, "`NAME` of the account's key, made if missing")
}

func providerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "provider", Short: "Offer this machine and be paid per token"}
	cmd.AddCommand(providerStart())
	return cmd
}

func providerStart() *cobra.Command {
	cmd := &cobra.Command{
		Use: "start", Short: "Serve a model", Args: cobra.NoArgs,
		Example: `koinon provider start --model llama.Q8_0.gguf --price-in 0.5koin --price-out 1koin
koinon provider start --model llama.Q8_0.gguf --backend http://127.0.0.1:8000 --backend-model llama`,
		RunE: runProvider,
	}
	roleFlags(cmd, "provider")
	f := cmd.Flags()
	f.String("model", "", "`FILE.gguf` to serve (default: the built-in model)")
	f.Bool("kv8", false, kv8Usage)
	f.String("backend", "", "`URL` of an OpenAI-compatible server that answers in the engine's place, on the statistical tier (key in "+node.BackendKeyVariable+")")
	f.String("backend-model", "", "`NAME` of the model on that server (default: as the file is called)")
	f.Int("backend-context", 0, "`TOKENS` that the server's context holds (default: the model's own)")
	f.String("price-in", "1koin", "price of a million input tokens")
	f.String("price-out", "2koin", "price of a million output tokens")
	f.String("bond", "500koin", "bond at the first registration; it is locked while you serve")
	f.String("moniker", hostname(), "`NAME` shown to people")
	f.String("listen", "/ip4/127.0.0.1/tcp/0", "libp2p `MULTIADDRESS` to listen on")
	f.Int("slots", 8, "answers at once")
	f.String("watchtower", "", "`URL` of a watchtower that claims while this machine is off (koinon watchtower start)")
	return cmd
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil || h == "" {
		return "provider"
	}
	return h
}

// perMillion reads a price for a million tokens and returns that of one.
func perMillion(cmd *cobra.Command, flag string) (core.Amount, error) {
	s, _ := cmd.Flags().GetString(flag)
	a, err := core.ParseAmount(s)
	if err != nil {
		return a, usage("--%s: %v", flag, err)
	}
	return a.Div(1_000_000), nil
}

func runProvider(cmd *cobra.Command, _ []string) (err error) {
	ctx := cmd.Context()
	cfg := node.ProviderConfig{}
	if cfg.PriceIn, err = perMillion(cmd, "price-in"); err != nil {
		return err
	}
	if cfg.PriceOut, err = perMillion(cmd, "price-out"); err != nil {
		return err
	}
	bond, _ := cmd.Flags().GetString("bond")
	if cfg.Bond, err = core.ParseAmount(bond); err != nil {
		return usage("--bond: %v", err)
	}
	path, _ := cmd.Flags().GetString("model")
	kv8, _ := cmd.Flags().GetBool("kv8")
	info, err := openAnswering(cmd, &cfg, path, kv8)
	if err != nil {
		return err
	}
	if cfg.Backend != nil {
		defer func() { err = errors.Join(err, cfg.Backend.Close()) }()
	} else {
		defer func() { err = errors.Join(err, cfg.Model.Close()) }()
	}
	r, err := openRole(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	known, err := node.Registered(ctx, r.client, r.wallet.Address())
	if err != nil {
		return err
	}
	if !known {
		if err := r.needs(ctx, cfg.Bond.Add(core.Koin(2)), "bond, publishing a model and fees"); err != nil {
			return err
		}
	}
	if cfg.PeerKey, err = r.ring.PeerKey(r.name); err != nil {
		return err
	}
	listen, _ := cmd.Flags().GetString("listen")
	cfg.Slots, _ = cmd.Flags().GetInt("slots")
	cfg.Watchtower, _ = cmd.Flags().GetString("watchtower")
	cfg.Client = r.client
	cfg.Moniker, _ = cmd.Flags().GetString("moniker")
	cfg.Dir, cfg.Chain, cfg.Wallet, cfg.Listen, cfg.Log = r.home.Path("books"), r.client, r.wallet, []string{listen}, r.log
	cfg.Name, cfg.Hardware, cfg.Licence = node.ModelName(path, kv8), node.Hardware(), "unknown"
	p, err := node.StartProvider(ctx, cfg)
	if err != nil {
		return err
	}
	err = printRole(cmd, map[string]any{"ready": true, "provider": p.Address(), "peer_id": p.PeerID(), "addrs": p.Addrs(), "model": cfg.Name, "root": info.ID, "tier": core.TierOf(info.Semantics)},
		fmt.Sprintf("%s serves %s (%s) as %s", cfg.Moniker, cfg.Name, core.TierOf(info.Semantics), p.Address()))
	if err == nil {
		<-ctx.Done()
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if rerr := p.Retire(leave); rerr != nil {
			r.log.Warn("the offer is still on the market", "err", rerr)
		}
	}
	return errors.Join(err, p.Close())
}

// openAnswering opens what answers: the model's file, or the server that is said
// to run it.
func openAnswering(cmd *cobra.Command, cfg *node.ProviderConfig, path string, kv8 bool) (core.ModelInfo, error) {
	url, _ := cmd.Flags().GetString("backend")
	if url == "" {
		if cmd.Flags().Changed("backend-model") || cmd.Flags().Changed("backend-context") {
			return core.ModelInfo{}, usage("--backend-model and --backend-context need --backend")
		}
		var err error
		if cfg.Model, err = openModel(cmd, path, kv8); err != nil {
			return core.ModelInfo{}, err
		}
		return cfg.Model.Info(), nil
	}
	if kv8 {
		return core.ModelInfo{}, usage("--kv8 is the engine's own and does not go with --backend")
	}
	var err error
	if cfg.Backend, err = openBackend(cmd, url, path); err != nil {
		return core.ModelInfo{}, err
	}
	return cfg.Backend.Info(), nil
}

// openBackend opens the server that the flags name.
func openBackend(cmd *cobra.Command, url, path string) (*node.Backend, error) {
	s := newSteps(cmd.ErrOrStderr(), wantsJSON(cmd))
	b := node.BackendConfig{URL: url, Model: path, Progress: s.show}
	if b.Name, _ = cmd.Flags().GetString("backend-model"); b.Name == "" {
		b.Name = node.ModelName(path, false)
	}
	b.Context, _ = cmd.Flags().GetInt("backend-context")
	backend, err := node.OpenBackend(cmd.Context(), b)
	s.end()
	if err == nil && !wantsJSON(cmd) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", url, backend.Dialect())
	}
	return backend, err
}

func gatewayCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "gateway", Short: "Use the network through the OpenAI API"}
	cmd.AddCommand(gatewayStart())
	return cmd
}

func gatewayStart() *cobra.Command {
	cmd := &cobra.Command{Use: "start", Short: "Serve API and console", Args: cobra.NoArgs, RunE: runGateway}
	roleFlags(cmd, "gateway")
	cmd.Flags().String("listen", "127.0.0.1:8080", "`HOST:PORT` of API and console")
	cmd.Flags().String("deposit", "1koin", "deposit of each new payment channel")
	cmd.Flags().Bool("x402", true, "sell answers, by the call, to wallets without an account (below /x402/)")
	cmd.Flags().Bool("kv8", false, kv8Usage)
	cmd.Flags().String("model", "", "`FILE.gguf` at hand, to verify receipts with (default: the built-in model)")
	cmd.Flags().StringSlice("calibration", nil, "`FILE.json` of an honest back end, by which answers of the statistical tier are weighed; may be repeated")
	cmd.Flags().Float64("weigh", 0.1, "`SHARE` of those answers that is weighed")
	return cmd
}

func runGateway(cmd *cobra.Command, _ []string) (err error) {
	ctx := cmd.Context()
	deposit, _ := cmd.Flags().GetString("deposit")
	cfg := node.GatewayConfig{Version: Version()}
	if cfg.Deposit, err = core.ParseAmount(deposit); err != nil {
		return usage("--deposit: %v", err)
	}
	addr, _ := cmd.Flags().GetString("listen")
	if cfg.Listener, err = node.Listen(addr); err != nil {
		return err
	}
	if err := calibrations(cmd, &cfg); err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	path, _ := cmd.Flags().GetString("model")
	kv8, _ := cmd.Flags().GetBool("kv8")
	m, err := openModel(cmd, path, kv8)
	if err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	r, err := openRole(cmd)
	if err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.needs(ctx, cfg.Deposit.Add(core.Koin(1)), "a payment channel and fees"); err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	if cfg.PeerKey, err = r.ring.PeerKey(r.name); err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	cfg.Dir, cfg.Chain, cfg.Disputes, cfg.Wallet, cfg.Log = r.home.Path("books"), r.client, r.client.Disputes, r.wallet, r.log
	if sell, _ := cmd.Flags().GetBool("x402"); sell {
		cfg.Ledger = node.PaymentLedger(r.client, r.wallet)
	}
	cfg.Engines = map[core.ModelID]core.Engine{m.Root(): m}
	cfg.Metadata = map[core.ModelID]gguf.Metadata{m.Root(): m.Metadata()}
	g, err := node.StartGateway(ctx, cfg)
	if err != nil {
		return errors.Join(err, cfg.Listener.Close())
	}
	base := "http://" + cfg.Listener.Addr().String()
	err = printRole(cmd, map[string]any{"ready": true, "api": base + "/v1", "console": base + "/", "account": r.wallet.Address()},
		fmt.Sprintf("API at %s/v1, console at %s/", base, base))
	if w := exposure(base + "/v1"); w != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s %s\n", bad.Render("careful:"), w)
	}
	settled, stop := g.Watch()
	defer stop()
	for err == nil {
		select {
		case s := <-settled:
			err = printSettled(cmd, s)
		case <-ctx.Done():
			return g.Close()
		}
	}
	return errors.Join(err, g.Close())
}

// printRole says that a role is ready.
func printRole(cmd *cobra.Command, v map[string]any, text string) error {
	if wantsJSON(cmd) {
		return printJSON(cmd, v)
	}
	_, err := io.WriteString(cmd.OutOrStdout(), good.Render("✓")+" "+text+dim.Render("   (Ctrl-C stops)")+"\n")
	return err
}
