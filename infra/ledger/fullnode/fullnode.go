// Package fullnode runs one CometBFT node with Koinon's state machine in this
// process: the validator or follower that consensus, queries and wallets meet.
//
// Call [Init] once to make its keys, put a genesis document beside them, then
// [Open], [Node.Start] and, in the end, [Node.Stop].
//
// Guarantees: a node killed at any moment continues from its files, with the
// application and the block store in step; a second process on the same folder
// is refused; keys are readable by their owner only.
package fullnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	cmtcfg "github.com/cometbft/cometbft/config"
	cmtnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/rpc/client/local"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/gofrs/flock"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/server"
	servercmtlog "github.com/cosmos/cosmos-sdk/server/log"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
)

// Options of one node. Home is required.
type Options struct {
	Home    string // holds config/ and data/
	Moniker string
	Listen  string   // peer-to-peer, host:port
	Peers   []string // id@host:port, dialled for ever
	// RPC is CometBFT's own, host:port; empty serves none.
	RPC string
	// BlockTime is the pause that gives about this much time from block to
	// block; default [DefaultBlockTime].
	BlockTime time.Duration
	// Index lets transactions be found by hash and by event.
	Index bool
	// Discover asks peers for more peers; off on a network with fixed members.
	Discover bool
	Logger   log.Logger // default: none
}

// DefaultBlockTime suits people who wait for a transaction.
const DefaultBlockTime = time.Second

// grace lets a stopped engine's last readers leave before its files close.
const grace = 250 * time.Millisecond

// Node is one node, from [Open] to [Node.Stop].
type Node struct {
	App    *app.App
	Comet  *cmtnode.Node
	Client *local.Local // CometBFT's RPC without a socket
	Config *cmtcfg.Config

	lock *flock.Flock
	dbs  []*lateDB
	once sync.Once
	err  error
}

// Open builds the node from its folder without starting it. No other App of
// the process may be executing blocks: see [app.New].
func Open(o Options) (n *Node, err error) {
	cfg := configure(o)
	if o.Logger == nil {
		o.Logger = log.NewNopLogger()
	}
	doc, err := cmttypes.GenesisDocFromFile(cfg.GenesisFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("%s holds no chain", o.Home), Next: "run koinon node init"}
	} else if err != nil {
		return nil, fmt.Errorf("the genesis document of %s cannot be read: %w", o.Home, err)
	}
	n = &Node{Config: cfg, lock: flock.New(filepath.Join(cfg.RootDir, "lock"))}
	held, err := n.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", o.Home, err)
	}
	if !held {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("another process runs the node in %s", o.Home), Next: "stop it, or choose another --home"}
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot continue the chain of %s: %v", o.Home, r)
		}
		if err != nil {
			_ = n.close()
			n = nil
		}
	}()
	signer, err := loadSigner(cfg)
	if err != nil {
		return n, err
	}
	chances, err := BeaconKeys(o.Home)
	if err != nil {
		return n, err
	}
	if n.App, err = openApp(cfg.DBDir(), app.Options{ChainID: doc.ChainID, Home: cfg.RootDir, Logger: o.Logger}); err != nil {
		return n, err
	}
	if len(chances) > 0 {
		c := &app.Contributor{Consensus: signer.GetAddress()}
		for _, k := range chances {
			c.Keys = append(c.Keys, k)
		}
		n.App.SetContributor(c)
	}
	key, err := p2p.LoadNodeKey(cfg.NodeKeyFile())
	if err != nil {
		return n, fmt.Errorf("cannot read the node's key: %w", err)
	}
	n.Comet, err = cmtnode.NewNodeWithContext(context.Background(), cfg, signer, key,
		proxy.NewLocalClientCreator(server.NewCometABCIWrapper(n.App)),
		func() (*cmttypes.GenesisDoc, error) { return doc, nil }, n.openDB,
		cmtnode.DefaultMetricsProvider(cfg.Instrumentation), servercmtlog.CometLoggerWrapper{Logger: o.Logger})
	if err != nil {
		return n, fmt.Errorf("cannot start the node of %s: %w", o.Home, err)
	}
	n.Client = local.New(n.Comet)
	return n, nil
}

// configure returns CometBFT's settings. Only the pause after a commit is
// tuned: shorter consensus timeouts fail under load.
func configure(o Options) *cmtcfg.Config {
	if o.BlockTime <= 0 {
		o.BlockTime = DefaultBlockTime
	}
	c := cmtcfg.DefaultConfig()
	c.SetRoot(o.Home)
	c.Moniker = o.Moniker
	if c.Moniker == "" {
		c.Moniker = app.Name
	}
	c.DBBackend = string(cmtdb.GoLevelDBBackend)
	c.RPC.ListenAddress = ""
	if o.RPC != "" {
		c.RPC.ListenAddress = "tcp://" + o.RPC
	}
	c.P2P.ListenAddress = "tcp://" + o.Listen
	for i, p := range o.Peers {
		if i > 0 {
			c.P2P.PersistentPeers += ","
		}
		c.P2P.PersistentPeers += p
	}
	c.P2P.PexReactor = o.Discover
	if !o.Discover {
		c.P2P.AddrBookStrict, c.P2P.AllowDuplicateIP = false, true
	}
	c.Consensus.TimeoutCommit = o.BlockTime * 17 / 20 // the rest is agreeing
	c.TxIndex.Indexer = "null"
	if o.Index {
		c.TxIndex.Indexer = "kv"
	}
	c.Mempool.MaxTxsBytes = 64 << 20
	c.Instrumentation.Prometheus = false
	return c
}

// GenesisFile is where [Open] looks for the genesis document.
func GenesisFile(home string) string { return filepath.Join(home, "config", "genesis.json") }

// Start joins the network. It returns at once; see [Node.WaitBlock].
func (n *Node) Start() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the node stopped while starting: %v", r)
		}
	}()
	if err := n.Comet.Start(); err != nil {
		return fmt.Errorf("cannot start the node: %w", err)
	}
	return nil
}

// Dial connects to a peer now; the engine's own dialling of its peers waits a
// random time of up to three seconds.
func (n *Node) Dial(peer string) error {
	a, err := p2p.NewNetAddressString(peer)
	if err != nil {
		return err
	}
	return n.Comet.Switch().DialPeerWithAddress(a)
}

// WaitBlock returns when the node has committed a block above height.
func (n *Node) WaitBlock(ctx context.Context, height int64) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n.App.LastBlockHeight() <= height {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no block above %d: %w", height, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Stop ends consensus first, then closes the files. It may be called twice.
func (n *Node) Stop() error {
	n.once.Do(func() {
		n.halt()
		time.Sleep(grace)
		n.err = n.close()
	})
	return n.err
}

// StopAll stops several nodes of one network together, so that none of them
// waits for another's votes.
func StopAll(nodes []*Node) error {
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() { n.once.Do(n.halt) })
	}
	wg.Wait()
	time.Sleep(grace)
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		errs[i] = n.close()
	}
	return errors.Join(errs...)
}

func (n *Node) halt() {
	if n.Comet != nil && n.Comet.IsRunning() {
		_ = n.Comet.Stop()
		n.Comet.Wait()
	}
}

func (n *Node) close() error {
	var errs []error
	for _, db := range n.dbs {
		errs = append(errs, db.shut())
	}
	n.dbs = nil
	if n.App != nil {
		errs = append(errs, n.App.Close())
	}
	errs = append(errs, n.lock.Unlock())
	return errors.Join(errs...)
}
