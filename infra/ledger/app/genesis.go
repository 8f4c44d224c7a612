package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cometbft/cometbft/crypto"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	feemarkettypes "github.com/cosmos/evm/x/feemarket/types"
	evmtypes "github.com/cosmos/evm/x/vm/types"
	"github.com/cosmos/gogoproto/proto"
	"github.com/ethereum/go-ethereum/common"

	sdkmath "cosmossdk.io/math"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"
	minttypes "github.com/cosmos/cosmos-sdk/x/mint/types"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
	"github.com/koinon-network/koinon/infra/voucher"
)

// BlockGas is the work one block may hold.
const BlockGas = 100_000_000

// MinGasPrice is the least price of gas, in akoin: a transfer costs 0.000021 koin.
var MinGasPrice = sdkmath.LegacyNewDec(1_000_000_000)

// Genesis is the first state of a chain while it is being written.
type Genesis struct {
	ChainID string
	Time    time.Time

	app        *App
	state      map[string]json.RawMessage
	balances   map[core.Address]core.Amount
	validators []Validator
}

// Validator is one member of the first validator set.
type Validator struct {
	Moniker  string
	Key      crypto.PubKey // consensus key
	Operator core.Address  // owner of the stake
	Bond     core.Amount   // locked as stake, beside the operator's balance
	Beacon   []byte        // public key for the randomness beacon; may be empty
}

// NewGenesis returns the default state of all modules: EVM with its standard
// contracts, fees, governance and staking in akoin, no accounts, no validators.
func NewGenesis(chainID string) (*Genesis, error) {
	a, err := New(Options{DB: dbm.NewMemDB(), ChainID: chainID})
	if err != nil {
		return nil, err
	}
	g := &Genesis{
		ChainID: chainID, Time: time.Now().UTC(), app: a,
		state: a.Basics.DefaultGenesis(a.Codec), balances: map[core.Address]core.Amount{},
	}
	if err := g.setDefaults(); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Genesis) setDefaults() error {
	vm := evmtypes.DefaultGenesisState()
	vm.Params.EvmDenom = core.BaseDenom
	vm.Params.ExtendedDenomOptions = nil
	vm.Params.ActiveStaticPrecompiles = []string{
		evmtypes.P256PrecompileAddress, evmtypes.Bech32PrecompileAddress,
		common.Address(voucher.Contract).Hex(), common.Address(voucher.NativeToken).Hex(),
	}
	vm.Preinstalls = slices.Clone(evmtypes.DefaultPreinstalls)
	for name, at := range map[string]core.Address{"Koin": voucher.NativeToken, "x402 Batch Settlement": voucher.Contract} {
		// Programs take an account without code for no contract. This code is never
		// run: the precompile at the address answers in its place.
		vm.Preinstalls = append(vm.Preinstalls, evmtypes.Preinstall{Name: name, Address: common.Address(at).Hex(), Code: "0xfe"})
	}
	slices.SortFunc(vm.Preinstalls, func(a, b evmtypes.Preinstall) int { return strings.Compare(a.Address, b.Address) })

	fees := feemarkettypes.DefaultGenesisState()
	fees.Params.BaseFee, fees.Params.MinGasPrice = MinGasPrice, MinGasPrice
	fees.Params.MinGasMultiplier = sdkmath.LegacyZeroDec()

	stake := stakingtypes.DefaultGenesisState()
	stake.Params.BondDenom = core.BaseDenom
	stake.Params.HistoricalEntries = 100

	mint := minttypes.DefaultGenesisState()
	mint.Params.MintDenom = core.BaseDenom
	mint.Params.InflationMax, mint.Params.InflationMin = sdkmath.LegacyNewDecWithPrec(7, 2), sdkmath.LegacyNewDecWithPrec(2, 2)
	mint.Minter.Inflation = mint.Params.InflationMin
	mint.Params.BlocksPerYear = 365 * 24 * 3600

	gov := govv1.DefaultGenesisState()
	gov.Params.MinDeposit = sdk.NewCoins(coin(core.Koin(100)))
	gov.Params.ExpeditedMinDeposit = sdk.NewCoins(coin(core.Koin(500)))

	bank := banktypes.DefaultGenesisState()
	bank.DenomMetadata = []banktypes.Metadata{{
		Description: "The coin of the Koinon network", Name: "Koin", Symbol: "KOIN", Base: core.BaseDenom, Display: core.Denom,
		DenomUnits: []*banktypes.DenomUnit{{Denom: core.BaseDenom}, {Denom: core.Denom, Exponent: core.Decimals}},
	}}
	for name, state := range map[string]proto.Message{
		evmtypes.ModuleName: vm, feemarkettypes.ModuleName: fees, stakingtypes.ModuleName: stake,
		minttypes.ModuleName: mint, govtypes.ModuleName: gov, banktypes.ModuleName: bank,
	} {
		if err := g.Set(name, state); err != nil {
			return err
		}
	}
	return nil
}

// Credit adds to an account's balance, making the account when it is new.
func (g *Genesis) Credit(to core.Address, amount core.Amount) {
	g.balances[to] = g.balances[to].Add(amount)
}

// AddValidator adds v to the first validator set. Its bond is new money.
func (g *Genesis) AddValidator(v Validator) { g.validators = append(g.validators, v) }

// Get reads a module's state into its GenesisState message.
func (g *Genesis) Get(module string, state proto.Message) error {
	raw, ok := g.state[module]
	if !ok {
		return fmt.Errorf("the chain has no module %q", module)
	}
	return g.app.Codec.UnmarshalJSON(raw, state)
}

// Set replaces a module's state by its GenesisState message. Accounts,
// balances and stake belong to Credit and AddValidator.
func (g *Genesis) Set(module string, state proto.Message) error {
	if _, ok := g.state[module]; !ok {
		return fmt.Errorf("the chain has no module %q", module)
	}
	raw, err := g.app.Codec.MarshalJSON(state)
	if err != nil {
		return fmt.Errorf("genesis of %s: %w", module, err)
	}
	g.state[module] = raw
	return nil
}

// Document returns the finished, validated genesis document. It is the same
// for the same calls in any order of Credit.
func (g *Genesis) Document() (*cmttypes.GenesisDoc, error) {
	if len(g.validators) == 0 {
		return nil, fmt.Errorf("a chain needs at least one validator")
	}
	validators, err := g.addStake()
	if err != nil {
		return nil, err
	}
	if err := g.addAccounts(); err != nil {
		return nil, err
	}
	if err := g.app.Basics.ValidateGenesis(g.app.Codec, g.app.Tx, g.state); err != nil {
		return nil, fmt.Errorf("the genesis state is not valid: %w", err)
	}
	raw, err := json.Marshal(g.state)
	if err != nil {
		return nil, err
	}
	doc := &cmttypes.GenesisDoc{
		ChainID: g.ChainID, GenesisTime: g.Time, InitialHeight: 1,
		ConsensusParams: ConsensusParams(), Validators: validators, AppState: raw,
	}
	return doc, doc.ValidateAndComplete()
}

// ConsensusParams bounds blocks in bytes and gas, lets validators hold ed25519
// keys only and lets votes carry contributions to the randomness beacon.
func ConsensusParams() *cmttypes.ConsensusParams {
	p := cmttypes.DefaultConsensusParams()
	p.Block.MaxBytes = 4 << 20
	p.Block.MaxGas = BlockGas
	p.ABCI.VoteExtensionsEnableHeight = 1
	return p
}

func (g *Genesis) addStake() ([]cmttypes.GenesisValidator, error) {
	var (
		set      []cmttypes.GenesisValidator
		stake    stakingtypes.GenesisState
		slashing slashingtypes.GenesisState
		rewards  distrtypes.GenesisState
	)
	for name, state := range map[string]proto.Message{stakingtypes.ModuleName: &stake, slashingtypes.ModuleName: &slashing, distrtypes.ModuleName: &rewards} {
		if err := g.Get(name, state); err != nil {
			return nil, err
		}
	}
	var chance beacon.GenesisState
	if err := g.Get(beacon.ModuleName, &chance); err != nil {
		return nil, err
	}
	pool := core.Amount{}
	for _, v := range g.validators {
		key, err := cryptocodec.FromCmtPubKeyInterface(v.Key)
		if err != nil {
			return nil, fmt.Errorf("validator %s: %w", v.Moniker, err)
		}
		packed, err := codectypes.NewAnyWithValue(key)
		if err != nil {
			return nil, err
		}
		bond := sdkmath.NewIntFromBigInt(v.Bond.Big())
		operator := sdk.ValAddress(v.Operator[:]).String()
		consensus := sdk.ConsAddress(v.Key.Address())
		validator := stakingtypes.Validator{
			OperatorAddress: operator, ConsensusPubkey: packed, Status: stakingtypes.Bonded,
			Tokens: bond, DelegatorShares: sdkmath.LegacyNewDecFromInt(bond),
			Description: stakingtypes.Description{Moniker: v.Moniker}, UnbondingTime: time.Unix(0, 0).UTC(),
			Commission:        stakingtypes.NewCommission(sdkmath.LegacyNewDecWithPrec(5, 2), sdkmath.LegacyNewDecWithPrec(20, 2), sdkmath.LegacyNewDecWithPrec(1, 2)),
			MinSelfDelegation: sdkmath.OneInt(),
		}
		power := validator.ConsensusPower(sdk.DefaultPowerReduction)
		if power < 1 {
			return nil, fmt.Errorf("validator %s bonds %s; it needs at least 1 %s", v.Moniker, v.Bond.Format(), core.Denom)
		}
		stake.Validators = append(stake.Validators, validator)
		stake.Delegations = append(stake.Delegations, stakingtypes.NewDelegation(sdk.AccAddress(v.Operator[:]).String(), operator, validator.DelegatorShares))
		slashing.SigningInfos = append(slashing.SigningInfos, slashingtypes.SigningInfo{
			Address:              consensus.String(),
			ValidatorSigningInfo: slashingtypes.NewValidatorSigningInfo(consensus, 0, 0, time.Unix(0, 0).UTC(), false, 0),
		})
		set = append(set, cmttypes.GenesisValidator{Address: v.Key.Address(), PubKey: v.Key, Power: power, Name: v.Moniker})
		pool = pool.Add(v.Bond)
		if len(v.Beacon) > 0 {
			chance.Members = append(chance.Members, beacon.Member{Consensus: v.Key.Address(), Operator: operator, Keys: []beacon.Key{{Public: v.Beacon}}})
		}
	}
	g.Credit(core.Address(authtypes.NewModuleAddress(stakingtypes.BondedPoolName)), pool)
	if err := g.Set(stakingtypes.ModuleName, &stake); err != nil {
		return nil, err
	}
	if err := g.Set(beacon.ModuleName, &chance); err != nil {
		return nil, err
	}
	return set, g.Set(slashingtypes.ModuleName, &slashing)
}

func (g *Genesis) addAccounts() error {
	var (
		auth authtypes.GenesisState
		bank banktypes.GenesisState
	)
	if err := g.Get(authtypes.ModuleName, &auth); err != nil {
		return err
	}
	if err := g.Get(banktypes.ModuleName, &bank); err != nil {
		return err
	}
	owners := make([]core.Address, 0, len(g.balances))
	for a := range g.balances {
		owners = append(owners, a)
	}
	for _, v := range g.validators {
		if _, ok := g.balances[v.Operator]; !ok {
			owners = append(owners, v.Operator)
		}
	}
	slices.SortFunc(owners, func(a, b core.Address) int { return bytes.Compare(a[:], b[:]) })
	modules := make(map[string]bool, len(permissions))
	for name := range permissions {
		modules[authtypes.NewModuleAddress(name).String()] = true
	}
	var accounts authtypes.GenesisAccounts
	for i, a := range slices.Compact(owners) {
		owner := sdk.AccAddress(a[:])
		if !modules[owner.String()] {
			accounts = append(accounts, authtypes.NewBaseAccount(owner, nil, uint64(i), 0))
		}
		if amount := g.balances[a]; !amount.IsZero() {
			coins := sdk.NewCoins(coin(amount))
			bank.Balances = append(bank.Balances, banktypes.Balance{Address: owner.String(), Coins: coins})
			bank.Supply = bank.Supply.Add(coins...)
		}
	}
	packed, err := authtypes.PackAccounts(accounts)
	if err != nil {
		return err
	}
	auth.Accounts = append(auth.Accounts, packed...)
	if err := g.Set(authtypes.ModuleName, &auth); err != nil {
		return err
	}
	return g.Set(banktypes.ModuleName, &bank)
}

func coin(a core.Amount) sdk.Coin {
	return sdk.NewCoin(core.BaseDenom, sdkmath.NewIntFromBigInt(a.Big()))
}
