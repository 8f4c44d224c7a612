package precompile

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	ethtypes "github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/core/vm"

	evm "github.com/cosmos/evm/precompiles/common"

	"cosmossdk.io/math"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// call is one call of a contract.
type call struct {
	ctx    sdk.Context
	caller core.Address
	method *abi.Method
	args   []any
	log    func(*ethtypes.Log)
}

// into reads the arguments into a struct with the parameters' names.
func (c *call) into(v any) error { return c.method.Inputs.Copy(v, c.args) }

func (c *call) returns(vs ...any) ([]byte, error) { return c.method.Outputs.Pack(vs...) }

// method answers one function of the interface.
type method func(*call) ([]byte, error)

// contract is what both precompiles have in common.
type contract struct {
	evm.Precompile
	name    string
	abi     abi.ABI
	methods map[string]method // by signature, such as transfer(address,uint256)
}

func newContract(name string, at core.Address, description []byte, bank evm.BankKeeper, methods map[string]method) *contract {
	parsed, err := abi.JSON(bytes.NewReader(description))
	if err != nil {
		panic(err)
	}
	for _, m := range parsed.Methods {
		if methods[m.Sig] == nil {
			panic("precompile: nothing answers " + m.Sig)
		}
	}
	if len(methods) != len(parsed.Methods) {
		panic(fmt.Sprintf("precompile: %d functions are described and %d answered", len(parsed.Methods), len(methods)))
	}
	return &contract{
		Precompile: evm.Precompile{
			KvGasConfig: storetypes.KVGasConfig(), TransientKVGasConfig: storetypes.TransientGasConfig(),
			ContractAddress: common.Address(at), BalanceHandlerFactory: evm.NewBalanceHandlerFactory(bank),
		},
		name: name, abi: parsed, methods: methods,
	}
}

// Name is what the EVM's traces call the contract.
func (c *contract) Name() string { return c.name }

// RequiredGas is charged before a call, by the input's size.
func (c *contract) RequiredGas(input []byte) uint64 {
	m, err := c.find(input)
	if err != nil {
		return c.Precompile.RequiredGas(input, true)
	}
	return c.Precompile.RequiredGas(input, writes(m))
}

func writes(m *abi.Method) bool { return !m.IsConstant() }

func (c *contract) find(input []byte) (*abi.Method, error) {
	if len(input) < 4 {
		return nil, errors.New("the call names no function")
	}
	return c.abi.MethodById(input[:4])
}

// Run answers a call inside the EVM.
func (c *contract) Run(e *vm.EVM, at *vm.Contract, readOnly bool) ([]byte, error) {
	if at.Address() != c.ContractAddress {
		return evm.ReturnRevertError(e, errors.New("a precompile cannot be called in another contract's name"))
	}
	if v := at.Value(); v != nil && v.Sign() > 0 {
		return evm.ReturnRevertError(e, errors.New("this contract takes no value"))
	}
	return c.RunNativeAction(e, at, func(ctx sdk.Context) ([]byte, error) {
		return c.execute(ctx, core.Address(at.Caller()), at.Input, readOnly, e.StateDB.AddLog)
	})
}

func (c *contract) execute(ctx sdk.Context, caller core.Address, input []byte, readOnly bool, log func(*ethtypes.Log)) ([]byte, error) {
	m, err := c.find(input)
	if err != nil {
		return nil, err
	}
	if readOnly && writes(m) {
		return nil, vm.ErrWriteProtection
	}
	args, err := m.Inputs.Unpack(input[4:])
	if err != nil {
		return nil, err
	}
	return c.methods[m.Sig](&call{ctx, caller, m, args, log})
}

// emit writes a log of an event whose indexed parameters are topics.
func (c *contract) emit(k *call, event string, topics []common.Hash, data ...any) error {
	e := c.abi.Events[event]
	packed, err := e.Inputs.NonIndexed().Pack(data...)
	if err != nil {
		return err
	}
	k.log(&ethtypes.Log{
		Address: c.ContractAddress, Topics: append([]common.Hash{e.ID}, topics...), Data: packed, BlockNumber: uint64(k.ctx.BlockHeight()),
	})
	return nil
}

func topic(a common.Address) common.Hash { return common.BytesToHash(a[:]) }

// integer takes an argument of the EVM, which is never negative.
func integer(v *big.Int) math.Int { return math.NewIntFromBigInt(v) }

func amount(v *big.Int) core.Amount {
	a, err := core.AmountFromBig(v)
	if err != nil {
		panic(err) // the ABI's decoder bounds it
	}
	return a
}
