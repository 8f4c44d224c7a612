package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cometbft/cometbft/crypto"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"cosmossdk.io/log/v2"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
)

// Node runs one node of a chain: init, start, export.
func Node() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Run a node of the chain"}
	c.PersistentFlags().String("home", Home(), "`DIR` of the node's keys and state")
	c.AddCommand(initCommand(), startCommand(), exportCommand(), beaconKeyCommand())
	return c
}

func initCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "init", Short: "Make a node's keys, and a new chain or a place in an old one", Args: cobra.NoArgs,
		Long: "Without --genesis this begins a chain of its own with this node as its only validator. With it, the node follows the chain of that document.",
		RunE: runInit,
	}
	c.Flags().String("genesis", "", "`FILE` of the chain to join")
	c.Flags().String("chain-id", app.DevnetID, "`ID` of the new chain")
	c.Flags().StringArray("fund", nil, "`ADDRESS=AMOUNT` at genesis, such as 0x...=100koin; may be repeated")
	return c
}

func runInit(cmd *cobra.Command, _ []string) error {
	home, _ := cmd.Flags().GetString("home")
	file, _ := cmd.Flags().GetString("genesis")
	if _, err := os.Stat(fullnode.GenesisFile(home)); err == nil {
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("%s already holds a chain", home), Next: "start it with koinon node start, or choose another --home"}
	}
	signer, id, err := fullnode.Init(home)
	if err != nil {
		return err
	}
	var doc *cmttypes.GenesisDoc
	if file != "" {
		if doc, err = cmttypes.GenesisDocFromFile(file); err != nil {
			return &core.Error{Code: core.CodeInvalid, Message: file + " is not a genesis document", Err: err}
		}
	} else if doc, err = newChain(cmd, home, signer.Key.PubKey); err != nil {
		return err
	}
	if err := doc.SaveAs(fullnode.GenesisFile(home)); err != nil {
		return fmt.Errorf("cannot write the genesis document: %w", err)
	}
	if wantsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"chain_id": doc.ChainID, "home": home, "peer": id, "genesis": fullnode.GenesisFile(home)})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "chain   %s\nfolder  %s\npeer    %s\nnext    koinon node start --home %s\n", doc.ChainID, home, id, home)
	return nil
}

func newChain(cmd *cobra.Command, home string, key crypto.PubKey) (*cmttypes.GenesisDoc, error) {
	chainID, _ := cmd.Flags().GetString("chain-id")
	g, err := app.NewGenesis(chainID)
	if err != nil {
		return nil, err
	}
	operator, err := fullnode.InitOperator(home)
	if err != nil {
		return nil, err
	}
	chance, err := fullnode.BeaconKey(home)
	if err != nil {
		return nil, err
	}
	g.AddValidator(app.Validator{Moniker: "validator-0", Key: key, Operator: operator, Bond: core.Koin(1_000_000), Beacon: chance.PublicKey()})
	g.Credit(operator, core.Koin(10_000))
	funds, _ := cmd.Flags().GetStringArray("fund")
	for _, f := range funds {
		who, amount, _ := strings.Cut(f, "=")
		raw, err := app.AccountCodec().StringToBytes(who)
		if err != nil || len(raw) != 20 {
			return nil, core.Errorf(core.CodeInvalid, "--fund %s: %q is not an address", f, who)
		}
		a, err := core.ParseAmount(amount)
		if err != nil {
			return nil, core.Errorf(core.CodeInvalid, "--fund %s: %v", f, err)
		}
		g.Credit(core.Address(raw), a)
	}
	return g.Document()
}

func startCommand() *cobra.Command {
	c := &cobra.Command{Use: "start", Short: "Run the node until Ctrl-C", Args: cobra.NoArgs, RunE: runStart}
	e := rpc.DefaultEndpoints()
	f := c.Flags()
	f.String("p2p", "0.0.0.0:26656", "`HOST:PORT` for other nodes")
	f.StringSlice("peers", nil, "`ID@HOST:PORT` of nodes to stay connected with")
	f.Duration("block-time", fullnode.DefaultBlockTime, "time from block to block, about")
	f.String("rpc", e.Comet, "`HOST:PORT` of CometBFT's RPC, empty for none")
	f.String("grpc", e.GRPC, "`HOST:PORT` of gRPC, empty for none")
	f.String("rest", e.REST, "`HOST:PORT` of REST, empty for none")
	f.String("evm", e.EVM, "`HOST:PORT` of the Ethereum JSON-RPC, empty for none")
	f.String("log-level", "error", "`LEVEL` on standard error: debug, info, warn or error")
	return c
}

func runStart(cmd *cobra.Command, _ []string) (err error) {
	text := func(name string) string { s, _ := cmd.Flags().GetString(name); return s }
	level, err := zerolog.ParseLevel(text("log-level"))
	if err != nil {
		return core.Errorf(core.CodeInvalid, "%q is not a log level; choose debug, info, warn or error", text("log-level"))
	}
	out := &mutable{to: cmd.ErrOrStderr()}
	logger := log.NewLogger(out, log.LevelOption(level), log.ColorOption(false))
	peers, _ := cmd.Flags().GetStringSlice("peers")
	pause, _ := cmd.Flags().GetDuration("block-time")
	for name, address := range map[string]string{"the node": text("p2p"), "CometBFT RPC": text("rpc")} {
		if address == "" {
			continue
		}
		l, err := rpc.Listen(name, address)
		if err != nil {
			return err
		}
		_ = l.Close()
	}
	node, err := fullnode.Open(fullnode.Options{
		Home: text("home"), Moniker: "koinon", Listen: text("p2p"), Peers: peers, RPC: text("rpc"),
		BlockTime: pause, Index: true, Discover: true, Logger: logger,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Stop()) }()
	server, err := rpc.Prepare(node, rpc.Endpoints{GRPC: text("grpc"), REST: text("rest"), EVM: text("evm")}, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(server.Close(), err) }()
	if err := node.Start(); err != nil {
		return err
	}
	if err := server.Serve(); err != nil {
		return err
	}
	if err := announce(cmd, node, server.Endpoints()); err != nil {
		return err
	}
	<-cmd.Context().Done()
	out.mute.Store(true)
	return nil
}

// mutable drops the complaints of a stopping node about its closing doors.
type mutable struct {
	to   io.Writer
	mute atomic.Bool
}

func (m *mutable) Write(b []byte) (int, error) {
	if m.mute.Load() {
		return len(b), nil
	}
	return m.to.Write(b)
}

// announce says where to find the node once it has a block.
func announce(cmd *cobra.Command, node *fullnode.Node, e rpc.Endpoints) error {
	if err := node.WaitBlock(cmd.Context(), node.App.LastBlockHeight()); err != nil {
		return nil // stopped, or without peers to agree with
	}
	height := node.App.LastBlockHeight()
	if wantsJSON(cmd) {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"chain_id": node.App.ChainID(), "height": height, "endpoints": e})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "chain   %s at block %d\nrpc     http://%s\ngrpc    %s\nrest    http://%s\nevm     http://%s\nstop    Ctrl-C\n",
		node.App.ChainID(), height, e.Comet, e.GRPC, e.REST, e.EVM)
	return nil
}

func exportCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "export", Short: "Write the state of a stopped node as a genesis document", Args: cobra.NoArgs, RunE: runExport,
		Long: "The new chain continues at the next height with the same accounts, stake and validators. Restore it with koinon node init --genesis FILE.",
	}
	c.Flags().Int64("height", 0, "height to export, among those kept (default: the latest)")
	return c
}

func runExport(cmd *cobra.Command, _ []string) error {
	home, _ := cmd.Flags().GetString("home")
	height, _ := cmd.Flags().GetInt64("height")
	doc, err := cmttypes.GenesisDocFromFile(fullnode.GenesisFile(home))
	if err != nil {
		return &core.Error{Code: core.CodeInvalid, Message: home + " holds no chain", Next: "name its folder with --home", Err: err}
	}
	db, err := dbm.NewGoLevelDB("application", filepath.Join(home, "data"), nil)
	if err != nil {
		return &core.Error{Code: core.CodeUnavailable, Message: "the state in " + home + " cannot be opened", Next: "stop the node first", Err: err}
	}
	a, err := app.New(app.Options{DB: db, ChainID: doc.ChainID, Home: home, Height: height})
	if err != nil {
		_ = db.Close()
		return err
	}
	defer func() { _ = a.Close() }()
	out, err := a.Export()
	if err != nil {
		return err
	}
	raw, err := cmtjson.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(append(raw, '\n'))
	return err
}

func wantsJSON(cmd *cobra.Command) bool {
	f := cmd.Flag("output")
	return f != nil && f.Value.String() == "json"
}
