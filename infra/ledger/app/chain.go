package app

import (
	"sync"

	evmutils "github.com/cosmos/evm/utils"
	"github.com/cosmos/evm/x/vm"
	evmtypes "github.com/cosmos/evm/x/vm/types"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// What can never change once a chain runs.
const (
	Name         = "koinon"
	Bech32Prefix = "koinon"
	CoinType     = 60 // SLIP-44: the same keys as every EVM wallet
	EVMChainID   = 564666
	DevnetID     = "koinon-devnet-1"
)

// The SDK and the EVM keep their chain's identity in package variables. They
// are set once, before anything reads them: several nodes share a process.
func init() {
	c := sdk.GetConfig()
	c.SetBech32PrefixForAccount(Bech32Prefix, Bech32Prefix+sdk.PrefixPublic)
	c.SetBech32PrefixForValidator(Bech32Prefix+sdk.PrefixValidator+sdk.PrefixOperator, Bech32Prefix+sdk.PrefixValidator+sdk.PrefixOperator+sdk.PrefixPublic)
	c.SetBech32PrefixForConsensusNode(Bech32Prefix+sdk.PrefixValidator+sdk.PrefixConsensus, Bech32Prefix+sdk.PrefixValidator+sdk.PrefixConsensus+sdk.PrefixPublic)
	c.SetCoinType(CoinType)
	c.SetPurpose(44)
	sdk.DefaultBondDenom = core.BaseDenom
	sdk.DefaultPowerReduction = evmutils.AttoPowerReduction
	// Setting the chain configuration a second time is refused unless it is the default's.
	evmtypes.DefaultEVMChainID = EVMChainID
}

var evmGlobals = sync.OnceFunc(func() {
	vm.SetGlobalConfigVariables(evmtypes.EvmCoinInfo{
		Denom: core.BaseDenom, ExtendedDenom: core.BaseDenom, DisplayDenom: core.Denom, Decimals: core.Decimals,
	})
})
