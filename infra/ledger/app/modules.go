package app

import (
	"context"
	"encoding/json"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/cosmos/evm/x/feemarket"
	feemarkettypes "github.com/cosmos/evm/x/feemarket/types"
	"github.com/cosmos/evm/x/vm"
	evmtypes "github.com/cosmos/evm/x/vm/types"

	"cosmossdk.io/core/appmodule"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/module"
	"github.com/cosmos/cosmos-sdk/x/auth"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/auth/vesting"
	vestingtypes "github.com/cosmos/cosmos-sdk/x/auth/vesting/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	authzmodule "github.com/cosmos/cosmos-sdk/x/authz/module"
	"github.com/cosmos/cosmos-sdk/x/bank"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/cosmos-sdk/x/consensus"
	consensustypes "github.com/cosmos/cosmos-sdk/x/consensus/types"
	distr "github.com/cosmos/cosmos-sdk/x/distribution"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	"github.com/cosmos/cosmos-sdk/x/evidence"
	evidencetypes "github.com/cosmos/cosmos-sdk/x/evidence/types"
	"github.com/cosmos/cosmos-sdk/x/feegrant"
	feegrantmodule "github.com/cosmos/cosmos-sdk/x/feegrant/module"
	"github.com/cosmos/cosmos-sdk/x/genutil"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/cosmos/cosmos-sdk/x/gov"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	"github.com/cosmos/cosmos-sdk/x/mint"
	minttypes "github.com/cosmos/cosmos-sdk/x/mint/types"
	"github.com/cosmos/cosmos-sdk/x/slashing"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
	"github.com/cosmos/cosmos-sdk/x/upgrade"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/token"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

func (a *App) wireModules() {
	cdc := a.Codec
	a.Modules = module.NewManager(
		genutil.NewAppModule(a.Account, a.Staking, a, a.Tx),
		auth.NewAppModule(cdc, a.Account, nil, nil),
		vesting.NewAppModule(a.Account, a.Bank),
		bank.NewAppModule(cdc, a.Bank, a.Account, nil),
		feegrantmodule.NewAppModule(cdc, a.Account, a.Bank, a.FeeGrant, a.Registry),
		gov.NewAppModule(cdc, a.Gov, a.Account, a.Bank, nil),
		mint.NewAppModule(cdc, a.Mint, a.Account, nil, nil),
		slashing.NewAppModule(cdc, a.Slashing, a.Account, a.Bank, a.Staking, nil, a.Registry),
		distr.NewAppModule(cdc, a.Distr, a.Account, a.Bank, a.Staking, nil),
		staking.NewAppModule(cdc, a.Staking, a.Account, a.Bank, nil),
		upgrade.NewAppModule(a.Upgrade, AccountCodec()),
		evidence.NewAppModule(*a.Evidence),
		authzmodule.NewAppModule(cdc, a.Authz, a.Account, a.Bank, a.Registry),
		consensus.NewAppModule(cdc, a.Consensus),
		feemarket.NewAppModule(a.FeeMarket),
		evmModule{vm.NewAppModule(a.EVM, a.Account, a.Bank, AccountCodec()), a},
		beacon.NewAppModule(a.Beacon),
		model.NewAppModule(a.Model),
		market.NewAppModule(a.Market),
		token.NewAppModule(a.Token),
		payment.NewAppModule(a.Payment),
		verify.NewAppModule(a.Verify),
	)
	a.Basics = module.NewBasicManagerFromManager(a.Modules, map[string]module.AppModuleBasic{
		genutiltypes.ModuleName: genutil.NewAppModuleBasic(genutiltypes.DefaultMessageValidator),
	})
	a.Basics.RegisterLegacyAminoCodec(a.Amino)
	a.Basics.RegisterInterfaces(a.Registry)

	a.Modules.SetOrderPreBlockers(upgradetypes.ModuleName, authtypes.ModuleName, evmtypes.ModuleName)
	a.Modules.SetOrderBeginBlockers(
		minttypes.ModuleName, feemarkettypes.ModuleName, evmtypes.ModuleName,
		distrtypes.ModuleName, slashingtypes.ModuleName, evidencetypes.ModuleName, stakingtypes.ModuleName, authz.ModuleName,
	)
	// The fee market closes the block's gas account: it goes last.
	a.Modules.SetOrderEndBlockers(
		banktypes.ModuleName, govtypes.ModuleName, stakingtypes.ModuleName, feegrant.ModuleName,
		market.ModuleName, payment.ModuleName, verify.ModuleName,
		evmtypes.ModuleName, feemarkettypes.ModuleName,
	)
	// Accounts and balances come first; genesis transactions need all that stands before them.
	order := []string{
		consensustypes.ModuleName, authtypes.ModuleName, banktypes.ModuleName, distrtypes.ModuleName,
		stakingtypes.ModuleName, slashingtypes.ModuleName, govtypes.ModuleName, minttypes.ModuleName,
		evidencetypes.ModuleName, authz.ModuleName, feegrant.ModuleName, upgradetypes.ModuleName, vestingtypes.ModuleName,
		evmtypes.ModuleName, feemarkettypes.ModuleName,
		beacon.ModuleName, model.ModuleName, market.ModuleName, token.ModuleName, payment.ModuleName, verify.ModuleName,
		genutiltypes.ModuleName,
	}
	a.Modules.SetOrderInitGenesis(order...)
	a.Modules.SetOrderExportGenesis(order...)

	a.configurator = module.NewConfigurator(cdc, a.MsgServiceRouter(), a.GRPCQueryRouter())
	if err := a.Modules.RegisterServices(a.configurator); err != nil {
		panic(err)
	}
}

// evmModule is the EVM's module without its habit of setting the process's
// coin at genesis and at start, which several nodes in one process would do
// twice. [New] has set it.
type evmModule struct {
	vm.AppModule
	app *App
}

func (evmModule) HydrateGlobals(context.Context) {}

func (evmModule) PreBlock(context.Context) (appmodule.ResponsePreBlock, error) {
	return &sdk.ResponsePreBlock{}, nil
}

func (m evmModule) InitGenesis(ctx sdk.Context, cdc codec.JSONCodec, data json.RawMessage) []abci.ValidatorUpdate {
	var state evmtypes.GenesisState
	cdc.MustUnmarshalJSON(data, &state)
	done := new(sync.Once)
	done.Do(func() {})
	return vm.InitGenesis(ctx, m.app.EVM, m.app.Account, m.app.Bank, state, done)
}
