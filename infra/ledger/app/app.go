package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/ethereum/go-ethereum/common"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/grpc/cmtservice"
	nodeservice "github.com/cosmos/cosmos-sdk/client/grpc/node"
	"github.com/cosmos/cosmos-sdk/server/api"
	"github.com/cosmos/cosmos-sdk/server/config"
	servertypes "github.com/cosmos/cosmos-sdk/server/types"
	pruningtypes "github.com/cosmos/cosmos-sdk/store/v2/pruning/types"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/mempool"
	"github.com/cosmos/cosmos-sdk/types/module"
	authtx "github.com/cosmos/cosmos-sdk/x/auth/tx"

	"github.com/koinon-network/koinon/infra/ledger/app/upgrades"
)

const (
	// QueryGasLimit bounds the work one query may cause.
	QueryGasLimit = 50_000_000
	// iavlCacheNodes is per store; there are about twenty stores.
	iavlCacheNodes = 2_000
)

// Options says where the state lies and how much of it to keep. The zero
// value of every field but DB is usable.
type Options struct {
	DB      dbm.DB
	ChainID string     // default [DevnetID]
	Home    string     // where upgrade plans are noted
	Logger  log.Logger // default: none
	// Pruning of old state; default: the last 100 heights, swept every 50 blocks.
	Pruning *pruningtypes.PruningOptions
	// Height to load instead of the latest, for exports. 0 is the latest.
	Height int64
	// SkipUpgrades are heights whose planned upgrade is not applied.
	SkipUpgrades []int64
}

// App is the state machine. It is safe for one consensus engine and any number
// of concurrent queries.
type App struct {
	*baseapp.BaseApp
	Encoding
	keepers

	Modules *module.Manager
	Basics  module.BasicManager

	stores       stores
	configurator module.Configurator
	close        sync.Once
	listeners    []func(common.Hash)
	contributor  atomic.Pointer[Contributor]
}

var _ servertypes.Application = (*App)(nil)

// New opens the state machine over o.DB, which [App.Close] closes. It must not
// run while another App of the same process executes blocks, because the EVM
// keeps its chain configuration in a package variable.
func New(o Options) (a *App, err error) {
	defer func() {
		if r := recover(); r != nil {
			a, err = nil, fmt.Errorf("cannot open the chain's state: %v", r)
		}
	}()
	if o.DB == nil {
		return nil, errors.New("the chain's state needs a database")
	}
	if o.ChainID == "" {
		o.ChainID = DevnetID
	}
	if o.Logger == nil {
		o.Logger = log.NewNopLogger()
	}
	evmGlobals()
	enc, err := newEncoding()
	if err != nil {
		return nil, err
	}
	b := baseapp.NewBaseApp(Name, o.Logger, o.DB, enc.Tx.TxDecoder(), baseOptions(o)...)
	b.SetInterfaceRegistry(enc.Registry)
	b.SetTxEncoder(enc.Tx.TxEncoder())

	a = &App{BaseApp: b, Encoding: enc, stores: newStores()}
	a.keepers = newKeepers(a, o)
	a.wireModules()
	a.MountKVStores(a.stores.kv)
	a.MountObjectStores(a.stores.object)
	a.SetInitChainer(a.initChain)
	a.SetPreBlocker(func(ctx sdk.Context, r *abci.RequestFinalizeBlock) (*sdk.ResponsePreBlock, error) {
		res, err := a.Modules.PreBlock(ctx)
		if err != nil {
			return nil, err
		}
		return res, a.Beacon.Step(ctx, contributions(r))
	})
	a.wireVotes()
	a.SetBeginBlocker(a.Modules.BeginBlock)
	a.SetEndBlocker(a.Modules.EndBlock)
	a.SetAnteHandler(a.anteHandler())
	upgrades.Register(a.Upgrade, a.Modules, a.configurator)
	if err := upgrades.SetStoreLoader(b, a.Upgrade); err != nil {
		return nil, err
	}
	if o.Height > 0 {
		err = a.LoadVersion(o.Height)
	} else {
		err = a.LoadLatestVersion()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot load the chain's state: %w", err)
	}
	return a, nil
}

func baseOptions(o Options) []func(*baseapp.BaseApp) {
	pruning := pruningtypes.NewCustomPruningOptions(100, 50)
	if o.Pruning != nil {
		pruning = *o.Pruning
	}
	return []func(*baseapp.BaseApp){
		baseapp.SetChainID(o.ChainID),
		baseapp.SetPruning(pruning),
		baseapp.SetMinGasPrices(MinGasPrice.String() + sdk.DefaultBondDenom),
		baseapp.SetQueryGasLimit(QueryGasLimit),
		baseapp.SetMempool(mempool.NoOpMempool{}), // CometBFT's own keeps the order
		baseapp.SetIAVLCacheSize(iavlCacheNodes),
		baseapp.SetIndexEvents(indexedEvents),
	}
}

// indexedEvents are those by which transactions can be searched. The rest,
// most of it from empty blocks, would only fill the disk.
var indexedEvents = []string{
	"message.action", "message.sender", "message.module", "transfer.sender", "transfer.recipient",
	"ethereum_tx.ethereumTxHash", "ethereum_tx.txIndex", "ethereum_tx.recipient", "tx.acc_seq", "tx.fee_payer",
	"withdraw_rewards.validator", "proposal_deposit.proposal_id", "submit_proposal.proposal_id",
}

// Close flushes and closes the database. Stop the consensus engine first.
func (a *App) Close() (err error) {
	a.close.Do(func() { err = a.BaseApp.Close() })
	return err
}

func (a *App) initChain(ctx sdk.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	var state map[string]json.RawMessage
	if err := json.Unmarshal(req.AppStateBytes, &state); err != nil {
		return nil, fmt.Errorf("the genesis state is not JSON: %w", err)
	}
	if err := a.Upgrade.SetModuleVersionMap(ctx, a.Modules.GetVersionMap()); err != nil {
		return nil, err
	}
	return a.Modules.InitGenesis(ctx, a.Codec, state)
}

// Context reads the state as of the last block. It is a view of its own: safe
// while blocks run, and nothing written to it lasts.
func (a *App) Context() sdk.Context {
	ctx, err := a.CreateQueryContextWithCheckHeader(0, false, false)
	if err != nil { // before the first block
		return a.NewUncachedContext(true, cmtproto.Header{ChainID: a.ChainID(), Time: time.Now().UTC()})
	}
	if h := ctx.BlockHeader(); h.Height == 0 { // just loaded
		h.ChainID, h.Height, h.Time = a.ChainID(), a.LastBlockHeight(), time.Now().UTC()
		ctx = ctx.WithBlockHeader(h)
	}
	return ctx
}

// RegisterPendingTxListener calls f with the hash of every Ethereum
// transaction that enters the mempool. Call it before blocks run.
func (a *App) RegisterPendingTxListener(f func(common.Hash)) { a.listeners = append(a.listeners, f) }

func (a *App) onPendingTx(h common.Hash) {
	for _, f := range a.listeners {
		f(h)
	}
}

// RegisterAPIRoutes adds the REST form of every query.
func (a *App) RegisterAPIRoutes(s *api.Server, _ config.APIConfig) {
	authtx.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
	cmtservice.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
	nodeservice.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
	a.Basics.RegisterGRPCGatewayRoutes(s.ClientCtx, s.GRPCGatewayRouter)
}

// RegisterTxService adds simulation, broadcast and search of transactions.
func (a *App) RegisterTxService(c client.Context) {
	authtx.RegisterTxService(a.GRPCQueryRouter(), c, a.Simulate, a.Registry)
}

// RegisterTendermintService adds queries about blocks and validators.
func (a *App) RegisterTendermintService(c client.Context) {
	cmtservice.RegisterTendermintService(c, a.GRPCQueryRouter(), a.Registry, a.Query)
}

// RegisterNodeService adds queries about this node.
func (a *App) RegisterNodeService(c client.Context, cfg config.Config) {
	nodeservice.RegisterNodeService(c, a.GRPCQueryRouter(), cfg, func() int64 { return a.CommitMultiStore().EarliestVersion() })
}

// stores are the roots of the state, one per module.
type stores struct {
	kv     map[string]*storetypes.KVStoreKey
	object map[string]*storetypes.ObjectStoreKey
}
