// Package command is the chain's part of the command line: transactions,
// queries, keys, and a node of one's own.
//
// [Tx], [Query], [Keys] and [Node] are ready for a cobra tree. The first
// three build theirs, with every message and query of every module, only when
// they run: it takes a moment that other commands shall not wait for.
//
// Guarantees: a refused transaction is an error, not a printed result; keys
// are encrypted unless another keyring is asked for; nothing is broadcast
// without a question unless --yes is given.
package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	autocliv1 "cosmossdk.io/api/cosmos/autocli/v1"
	"cosmossdk.io/client/v2/autocli"
	"cosmossdk.io/core/appmodule"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/client/keys"
	clientrpc "github.com/cosmos/cosmos-sdk/client/rpc"
	"github.com/cosmos/cosmos-sdk/runtime/services"
	"github.com/cosmos/cosmos-sdk/server"
	authcli "github.com/cosmos/cosmos-sdk/x/auth/client/cli"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/rpc"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

// Tx signs and sends transactions: koinon tx bank send alice koinon1... 5akoin.
func Tx() *cobra.Command {
	return lazy("tx", "Sign and send a transaction", "koinon tx bank send alice 0x... 1000akoin --yes")
}

// Query reads the chain: koinon query bank balances koinon1...
func Query() *cobra.Command {
	c := lazy("query", "Read the chain's state", "koinon query bank balances koinon1...")
	c.Aliases = []string{"q"}
	return c
}

// Keys manages the keyring of account keys.
func Keys() *cobra.Command {
	return lazy("keys", "Manage account keys", "koinon keys add alice")
}

func lazy(name, short, example string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Example: example, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := app.New(app.Options{DB: dbm.NewMemDB()})
			if err != nil {
				return err
			}
			root, err := build(a)
			if err != nil {
				return err
			}
			return run(cmd, root, append([]string{name}, args...))
		},
	}
}

// explain adds what to do to the errors a newcomer meets first.
func explain(err error) error {
	var known *core.Error
	s := err.Error()
	switch {
	case errors.As(err, &known):
		return err
	case strings.Contains(s, "connection refused"):
		return &core.Error{Code: core.CodeUnavailable, Message: "no node answers", Next: "start a network with koinon devnet, or name a node with --node", Err: err}
	case strings.Contains(s, "key not found"):
		return &core.Error{Code: core.CodeInvalid, Message: "the keyring has no such key", Next: "make one with koinon keys add NAME, or list them with koinon keys list", Err: err}
	case strings.Contains(s, "account") && strings.Contains(s, "not found"):
		return &core.Error{Code: core.CodeUnpaid, Message: "the account has never received a coin", Next: "send it some first", Err: err}
	}
	return err
}

func build(a *app.App) (root *cobra.Command, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot build the chain's commands: %v", r)
		}
	}()
	root = &cobra.Command{Use: "koinon", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().String(flags.FlagHome, Home(), "`DIR` of the keyring")
	base := rpc.ClientContext(a).WithKeyringOptions(keyringOption).WithViper("KOINON").WithHomeDir(Home())
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if f := cmd.Flag(flags.FlagFees); f != nil && f.Changed {
			if p := cmd.Flag(flags.FlagGasPrices); !p.Changed {
				_ = p.Value.Set("")
			}
		}
		return client.SetCmdClientContextHandler(base.WithInput(cmd.InOrStdin()).WithOutput(cmd.OutOrStdout()), cmd)
	}
	root.AddCommand(txTree(), queryTree(), keys.Commands())
	modules := map[string]appmodule.AppModule{}
	for name, m := range a.Modules.Modules {
		if m, ok := m.(appmodule.AppModule); ok {
			modules[name] = m
		}
	}
	options := services.ExtractAutoCLIOptions(a.Modules.Modules)
	positional(options, verify.ModuleName, "CommitReceipts", "commit-receipts [sequence] [root] [count] [model]", "sequence", "root", "count", "model")
	err = autocli.AppOptions{
		Modules: modules, ModuleOptions: options,
		AddressCodec: app.AccountCodec(), ValidatorAddressCodec: app.ValidatorCodec(), ConsensusAddressCodec: app.ConsensusCodec(), ClientCtx: base,
	}.EnhanceRootCommand(root)
	if err != nil {
		return nil, fmt.Errorf("cannot build the chain's commands: %w", err)
	}
	presets(root)
	return root, nil
}

// positional makes arguments of fields whose names are flags of every
// transaction already.
func positional(options map[string]*autocliv1.ModuleOptions, module, method, use string, fields ...string) {
	for _, o := range options[module].Tx.RpcCommandOptions {
		if o.RpcMethod == method && len(o.PositionalArgs) == 0 {
			o.Use = use
			for _, f := range fields {
				o.PositionalArgs = append(o.PositionalArgs, &autocliv1.PositionalArgDescriptor{ProtoField: f})
			}
		}
	}
}

func txTree() *cobra.Command {
	c := &cobra.Command{Use: "tx", Short: "Sign and send a transaction", RunE: client.ValidateCmd, DisableFlagParsing: true, SuggestionsMinimumDistance: 2}
	c.AddCommand(
		authcli.GetSignCommand(), authcli.GetSignBatchCommand(), authcli.GetMultiSignCommand(), authcli.GetValidateSignaturesCommand(),
		authcli.GetBroadcastCommand(), authcli.GetEncodeCommand(), authcli.GetDecodeCommand(), authcli.GetSimulateCmd(),
	)
	return c
}

func queryTree() *cobra.Command {
	c := &cobra.Command{Use: "query", Aliases: []string{"q"}, Short: "Read the chain's state", RunE: client.ValidateCmd, DisableFlagParsing: true, SuggestionsMinimumDistance: 2}
	c.AddCommand(
		authcli.QueryTxCmd(), authcli.QueryTxsByEventsCmd(), clientrpc.WaitTxCmd(),
		server.QueryBlockCmd(), server.QueryBlocksCmd(), server.QueryBlockResultsCmd(),
	)
	return c
}

// presets gives the SDK's flags defaults that fit this chain.
func presets(root *cobra.Command) {
	node := os.Getenv("KOINON_NODE")
	if node == "" {
		node = "http://" + rpc.DefaultEndpoints().Comet
	}
	values := map[string]string{
		flags.FlagNode: node, flags.FlagChainID: app.DevnetID, flags.FlagKeyringBackend: "file",
		flags.FlagGas: flags.GasFlagAuto, flags.FlagGasAdjustment: "1.5",
		flags.FlagGasPrices: app.MinGasPrice.MulInt64(2).TruncateInt().String() + core.BaseDenom,
		flags.FlagKeyType:   "eth_secp256k1",
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		set := func(f *pflag.Flag) {
			if v, ok := values[f.Name]; ok && f.DefValue != v {
				if f.Value.Set(v) == nil {
					f.DefValue = v
				}
			}
		}
		c.Flags().VisitAll(set)
		c.PersistentFlags().VisitAll(set)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// Home is where keys and a node live unless --home says otherwise:
// $KOINON_HOME, or .koinon/chain in the user's folder.
func Home() string {
	if h := os.Getenv("KOINON_HOME"); h != "" {
		return h
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(".koinon", "chain")
	}
	return filepath.Join(h, ".koinon", "chain")
}
