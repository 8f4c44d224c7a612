package app

import (
	"github.com/cosmos/evm/precompiles/bech32"
	"github.com/cosmos/evm/precompiles/p256"
	feemarketkeeper "github.com/cosmos/evm/x/feemarket/keeper"
	feemarkettypes "github.com/cosmos/evm/x/feemarket/types"
	evmkeeper "github.com/cosmos/evm/x/vm/keeper"
	evmtypes "github.com/cosmos/evm/x/vm/types"
	"github.com/ethereum/go-ethereum/common"
	corevm "github.com/ethereum/go-ethereum/core/vm"

	corestore "cosmossdk.io/core/store"
	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/runtime"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authkeeper "github.com/cosmos/cosmos-sdk/x/auth/keeper"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	authzkeeper "github.com/cosmos/cosmos-sdk/x/authz/keeper"
	bankkeeper "github.com/cosmos/cosmos-sdk/x/bank/keeper"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	consensuskeeper "github.com/cosmos/cosmos-sdk/x/consensus/keeper"
	consensustypes "github.com/cosmos/cosmos-sdk/x/consensus/types"
	distrkeeper "github.com/cosmos/cosmos-sdk/x/distribution/keeper"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	evidencekeeper "github.com/cosmos/cosmos-sdk/x/evidence/keeper"
	evidencetypes "github.com/cosmos/cosmos-sdk/x/evidence/types"
	"github.com/cosmos/cosmos-sdk/x/feegrant"
	feegrantkeeper "github.com/cosmos/cosmos-sdk/x/feegrant/keeper"
	govkeeper "github.com/cosmos/cosmos-sdk/x/gov/keeper"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	mintkeeper "github.com/cosmos/cosmos-sdk/x/mint/keeper"
	minttypes "github.com/cosmos/cosmos-sdk/x/mint/types"
	slashingkeeper "github.com/cosmos/cosmos-sdk/x/slashing/keeper"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingkeeper "github.com/cosmos/cosmos-sdk/x/staking/keeper"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
	upgradekeeper "github.com/cosmos/cosmos-sdk/x/upgrade/keeper"
	upgradetypes "github.com/cosmos/cosmos-sdk/x/upgrade/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/precompile"
	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/token"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/voucher"
)

// bech32Gas is the price of converting one address in the EVM.
const bech32Gas = 6_000

// keepers own one module's state each.
type keepers struct {
	Account   authkeeper.AccountKeeper
	Bank      bankkeeper.BaseKeeper
	Staking   *stakingkeeper.Keeper
	Slashing  slashingkeeper.Keeper
	Mint      mintkeeper.Keeper
	Distr     distrkeeper.Keeper
	Gov       *govkeeper.Keeper
	Upgrade   *upgradekeeper.Keeper
	Authz     authzkeeper.Keeper
	Evidence  *evidencekeeper.Keeper
	FeeGrant  feegrantkeeper.Keeper
	Consensus consensuskeeper.Keeper
	FeeMarket feemarketkeeper.Keeper
	EVM       *evmkeeper.Keeper

	Beacon  beacon.Keeper
	Model   model.Keeper
	Market  market.Keeper
	Token   token.Keeper
	Payment payment.Keeper
	Verify  verify.Keeper
}

// permissions says which module accounts exist and who may mint and burn.
var permissions = map[string][]string{
	authtypes.FeeCollectorName:     nil,
	distrtypes.ModuleName:          nil,
	minttypes.ModuleName:           {authtypes.Minter},
	stakingtypes.BondedPoolName:    {authtypes.Burner, authtypes.Staking},
	stakingtypes.NotBondedPoolName: {authtypes.Burner, authtypes.Staking},
	govtypes.ModuleName:            {authtypes.Burner},
	evmtypes.ModuleName:            {authtypes.Minter, authtypes.Burner},
	feemarkettypes.ModuleName:      nil,
	model.ModuleName:               {authtypes.Burner},
	market.ModuleName:              nil,
	payment.ModuleName:             {authtypes.Burner},
	verify.ModuleName:              {authtypes.Burner},
}

// Authority is the only account that may change parameters: governance.
func Authority() string {
	s, _ := AccountCodec().BytesToString(authtypes.NewModuleAddress(govtypes.ModuleName))
	return s
}

func newStores() stores {
	return stores{
		kv: storetypes.NewKVStoreKeys(
			authtypes.StoreKey, banktypes.StoreKey, stakingtypes.StoreKey, minttypes.StoreKey, distrtypes.StoreKey,
			slashingtypes.StoreKey, govtypes.StoreKey, consensustypes.StoreKey, upgradetypes.StoreKey, feegrant.StoreKey,
			evidencetypes.StoreKey, authzkeeper.StoreKey, feemarkettypes.StoreKey, evmtypes.StoreKey,
			beacon.StoreKey, model.StoreKey, market.StoreKey, token.StoreKey, payment.StoreKey, verify.StoreKey,
		),
		object: storetypes.NewObjectStoreKeys(banktypes.ObjectStoreKey, evmtypes.ObjectKey),
	}
}

func newKeepers(a *App, o Options) (k keepers) {
	cdc, authority := a.Codec, Authority()
	kv := func(name string) corestore.KVStoreService { return runtime.NewKVStoreService(a.stores.kv[name]) }

	k.Consensus = consensuskeeper.NewKeeper(cdc, kv(consensustypes.StoreKey), authority, runtime.EventService{})
	a.SetParamStore(k.Consensus.ParamsStore)
	k.Account = authkeeper.NewAccountKeeper(cdc, kv(authtypes.StoreKey), authtypes.ProtoBaseAccount, permissions,
		AccountCodec(), Bech32Prefix, authority, authkeeper.WithUnorderedTransactions(true))
	k.Bank = bankkeeper.NewBaseKeeper(cdc, kv(banktypes.StoreKey), k.Account, blockedRecipients(), authority, log.NewNopLogger()).
		WithObjStoreKey(a.stores.object[banktypes.ObjectStoreKey])
	k.Staking = stakingkeeper.NewKeeper(cdc, kv(stakingtypes.StoreKey), k.Account, k.Bank, authority, ValidatorCodec(), ConsensusCodec())
	k.Mint = mintkeeper.NewKeeper(cdc, kv(minttypes.StoreKey), k.Staking, k.Account, k.Bank, authtypes.FeeCollectorName, authority)
	k.Distr = distrkeeper.NewKeeper(cdc, kv(distrtypes.StoreKey), k.Account, k.Bank, k.Staking, authtypes.FeeCollectorName, authority)
	k.Slashing = slashingkeeper.NewKeeper(cdc, a.Amino, kv(slashingtypes.StoreKey), k.Staking, authority)
	k.FeeGrant = feegrantkeeper.NewKeeper(cdc, kv(feegrant.StoreKey), k.Account)
	k.Staking.SetHooks(stakingtypes.NewMultiStakingHooks(k.Distr.Hooks(), k.Slashing.Hooks()))
	k.Authz = authzkeeper.NewKeeper(kv(authzkeeper.StoreKey), cdc, a.MsgServiceRouter(), k.Account)
	skip := make(map[int64]bool, len(o.SkipUpgrades))
	for _, h := range o.SkipUpgrades {
		skip[h] = true
	}
	k.Upgrade = upgradekeeper.NewKeeper(skip, kv(upgradetypes.StoreKey), cdc, o.Home, a.BaseApp, authority)
	k.Gov = govkeeper.NewKeeper(cdc, kv(govtypes.StoreKey), k.Account, k.Bank, k.Distr, a.MsgServiceRouter(),
		govtypes.DefaultConfig(), authority, govkeeper.NewDefaultCalculateVoteResultsAndVotingPower(k.Staking))
	k.Evidence = evidencekeeper.NewKeeper(cdc, kv(evidencetypes.StoreKey), k.Staking, k.Slashing, AccountCodec(), runtime.ProvideCometInfoService())

	governor := authtypes.NewModuleAddress(govtypes.ModuleName)
	k.FeeMarket = feemarketkeeper.NewKeeper(cdc, governor, a.stores.kv[feemarkettypes.StoreKey])
	visible := make([]storetypes.StoreKey, 0, len(a.stores.kv))
	for _, key := range a.stores.kv {
		visible = append(visible, key)
	}
	k.EVM = evmkeeper.NewKeeper(cdc, a.stores.kv[evmtypes.StoreKey], a.stores.object[evmtypes.ObjectKey], visible, governor,
		k.Account, k.Bank, k.Staking, &k.FeeMarket, &k.Consensus, nil, EVMChainID, "")

	k.Beacon = beacon.NewKeeper(cdc, kv(beacon.StoreKey), ValidatorCodec(), authority, k.Staking)
	k.Model = model.NewKeeper(cdc, kv(model.StoreKey), AccountCodec(), authority, k.Bank)
	k.Market = market.NewKeeper(cdc, kv(market.StoreKey), AccountCodec(), authority, k.Account, k.Bank, k.Model)
	k.Token = token.NewKeeper(kv(token.StoreKey), AccountCodec(), EVMChainID, k.Bank)
	k.Payment = payment.NewKeeper(cdc, kv(payment.StoreKey), AccountCodec(), authority, EVMChainID, k.Account, k.Bank, k.Distr, k.Model, k.Market, k.Token)
	k.Verify = verify.NewKeeper(cdc, kv(verify.StoreKey), AccountCodec(), authority, EVMChainID, k.Account, k.Bank, k.Market, k.Payment).WithBeacon(k.Beacon)
	k.EVM.WithStaticPrecompiles(precompiles(k))
	return k
}

// blockedRecipients are module accounts, and contracts that keep no money, which
// nobody can pay by mistake.
// Governance is open: it holds what the chain owns.
func blockedRecipients() map[string]bool {
	blocked := make(map[string]bool, len(permissions))
	for name := range permissions {
		if name != govtypes.ModuleName {
			blocked[authtypes.NewModuleAddress(name).String()] = true
		}
	}
	for _, a := range []core.Address{voucher.NativeToken, voucher.Contract, voucher.DepositCollector} {
		blocked[sdk.AccAddress(a[:]).String()] = true
	}
	return blocked
}

// precompiles are Ethereum's own, P-256 (passkeys), address conversion, the coin
// as a token, and the payment channels. The SDK's modules are not exposed to
// contracts.
func precompiles(k keepers) map[common.Address]corevm.PrecompiledContract {
	m := make(map[common.Address]corevm.PrecompiledContract, len(corevm.PrecompiledContractsPrague)+4)
	for at, c := range corevm.PrecompiledContractsPrague {
		m[at] = c
	}
	addresses, err := bech32.NewPrecompile(bech32Gas)
	if err != nil {
		panic(err)
	}
	passkeys := &p256.Precompile{}
	coin, channels := precompile.NewToken(k.Token, EVMChainID, k.Bank), precompile.NewChannels(k.Payment, k.Bank)
	m[addresses.Address()], m[passkeys.Address()] = addresses, passkeys
	m[coin.Address()], m[channels.Address()] = coin, channels
	return m
}
