// Package localnet runs a whole chain in this process: several CometBFT
// validators that talk over loopback, each with its own state on disk.
//
// Call [Start] with a folder; the first call makes keys and genesis in it,
// later ones continue. [Net.Stop] ends it in order.
//
// Guarantees: consensus, gossip and storage are those of a real network, only
// the distance is missing; a process killed at any moment continues from its
// folder; nothing listens anywhere but on 127.0.0.1.
package localnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/rs/zerolog"

	"cosmossdk.io/log/v2"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
)

// MaxValidators keeps the mesh of connections small.
const MaxValidators = 16

// Options of a network. Home is required.
type Options struct {
	Home       string
	Validators int    // default 4; fixed by the first start
	ChainID    string // default [app.DevnetID]; fixed by the first start
	// Genesis adds accounts, balances and module state at the first start.
	Genesis func(*app.Genesis) error
	// BlockTime from block to block, about; default [fullnode.DefaultBlockTime].
	BlockTime time.Duration
	// Endpoints of the first validator. Port 0 takes a free port and
	// remembers it. The zero value serves nothing.
	Endpoints rpc.Endpoints
	// LogLevel of the file chain.log: debug, info, warn or error (default).
	LogLevel string
}

// Net is a running network.
type Net struct {
	ChainID    string
	Nodes      []*fullnode.Node // the first one serves Endpoints
	Endpoints  rpc.Endpoints    // with the ports in use
	Validators []core.Address   // operators; keys in [Net.OperatorKeyFile]
	Fresh      bool             // made by this start

	home   string
	peers  []string // id@host:port of each validator
	lock   *flock.Flock
	server *rpc.Server
	log    *logFile
}

// Start makes or continues the network in o.Home and returns after the first
// new block. The context bounds the start only.
func Start(ctx context.Context, o Options) (n *Net, err error) {
	if o.Validators == 0 {
		o.Validators = 4
	}
	if o.Validators < 1 || o.Validators > MaxValidators {
		return nil, core.Errorf(core.CodeInvalid, "a local network has 1 to %d validators, not %d", MaxValidators, o.Validators)
	}
	if o.ChainID == "" {
		o.ChainID = app.DevnetID
	}
	n = &Net{ChainID: o.ChainID, home: o.Home}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Stop())
			n = nil
		}
	}()
	if err := n.claim(); err != nil {
		return n, err
	}
	plan, err := n.plan(o)
	if err != nil {
		return n, err
	}
	logger, err := n.openLog(o.LogLevel)
	if err != nil {
		return n, err
	}
	if err := n.open(o, plan, logger); err != nil {
		return n, err
	}
	return n, n.run(ctx, logger)
}

// claim takes the folder for this process.
func (n *Net) claim() error {
	if n.home == "" {
		return core.Errorf(core.CodeInvalid, "a local network needs a folder")
	}
	if err := os.MkdirAll(n.home, 0o700); err != nil {
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("the folder %s cannot be made", n.home), Next: "choose another --home", Err: err}
	}
	n.lock = flock.New(filepath.Join(n.home, "lock"))
	held, err := n.lock.TryLock()
	if err != nil {
		n.lock = nil
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("the folder %s cannot be written", n.home), Next: "choose another --home", Err: err}
	}
	if !held {
		n.lock = nil
		return &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("another process runs the network in %s", n.home), Next: "stop it, or choose another --home"}
	}
	return nil
}

func (n *Net) openLog(level string) (log.Logger, error) {
	if level == "" {
		level = "error"
	}
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalid, "%q is not a log level; choose debug, info, warn or error", level)
	}
	if n.log, err = openLogFile(filepath.Join(n.home, "chain.log"), maxLog); err != nil {
		return nil, fmt.Errorf("cannot write the log: %w", err)
	}
	return log.NewLogger(n.log, log.LevelOption(l), log.ColorOption(false)), nil
}

// open builds every node before any runs, as the EVM's globals demand.
func (n *Net) open(o Options, p *plan, logger log.Logger) error {
	var err error
	if n.peers, err = p.addresses(); err != nil {
		return err
	}
	for i := range p.Members {
		opts := fullnode.Options{
			Home: n.validatorHome(i), Moniker: p.Members[i].Moniker, Listen: p.Members[i].address(), BlockTime: o.BlockTime,
			Logger: logger.With("validator", i), Index: i == 0,
		}
		for j, peer := range n.peers {
			if j != i {
				opts.Peers = append(opts.Peers, peer)
			}
		}
		if i == 0 {
			opts.RPC = p.Endpoints.Comet
		}
		node, err := fullnode.Open(opts)
		if err != nil {
			return err
		}
		n.Nodes = append(n.Nodes, node)
		n.Validators = append(n.Validators, p.Members[i].Operator)
	}
	if n.server, err = rpc.Prepare(n.Nodes[0], p.Endpoints, logger); err != nil {
		return err
	}
	n.Endpoints = n.server.Endpoints()
	p.Endpoints = n.Endpoints
	return p.save(n.planFile())
}

func (n *Net) run(ctx context.Context, logger log.Logger) error {
	height := n.Nodes[0].App.LastBlockHeight()
	for _, node := range n.Nodes {
		if err := node.Start(); err != nil {
			return err
		}
	}
	for i, node := range n.Nodes {
		for _, peer := range n.peers[i+1:] {
			_ = node.Dial(peer) // the engine tries again for ever
		}
	}
	if err := n.server.Serve(); err != nil {
		return err
	}
	if err := n.Nodes[0].WaitBlock(ctx, height); err != nil {
		return &core.Error{Code: core.CodeUnavailable, Message: "the validators did not agree on a block", Next: "look into " + n.log.path, Err: err}
	}
	return nil
}

// Height of the first validator's last block.
func (n *Net) Height() int64 { return n.Nodes[0].App.LastBlockHeight() }

// OperatorKeyFile holds the hexadecimal secp256k1 key of a validator's owner.
func (n *Net) OperatorKeyFile(i int) string {
	return fullnode.OperatorFile(n.validatorHome(i))
}

// GenesisFile is the document that all validators started from.
func (n *Net) GenesisFile() string { return fullnode.GenesisFile(n.validatorHome(0)) }

func (n *Net) validatorHome(i int) string {
	return filepath.Join(n.home, "validators", fmt.Sprint(i))
}

func (n *Net) planFile() string { return filepath.Join(n.home, "localnet.json") }

// Stop ends serving, then consensus, then closes the files.
func (n *Net) Stop() error {
	var errs []error
	if n.server != nil {
		errs = append(errs, n.server.Close())
		n.server = nil
	}
	if len(n.Nodes) > 0 {
		errs = append(errs, fullnode.StopAll(n.Nodes))
	}
	if n.log != nil {
		errs = append(errs, n.log.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Unlock())
	}
	return errors.Join(errs...)
}
