package precompile

import (
	_ "embed"
	"math/big"

	"github.com/ethereum/go-ethereum/common"

	evm "github.com/cosmos/evm/precompiles/common"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/token"
	"github.com/koinon-network/koinon/infra/voucher"
)

//go:embed token.abi.json
var tokenABI []byte

// Token is the chain's coin as a contract: ERC-20, EIP-3009 and EIP-5267, at
// [voucher.NativeToken]. A balance of the token is the account's balance.
type Token struct {
	*contract
	keeper  token.Keeper
	chainID uint64
}

// NewToken returns the contract over the module.
func NewToken(k token.Keeper, chainID uint64, bank evm.BankKeeper) *Token {
	t := &Token{keeper: k, chainID: chainID}
	text := func(s string) method { return func(c *call) ([]byte, error) { return c.returns(s) } }
	const authorization = "(address,address,uint256,uint256,uint256,bytes32,"
	t.contract = newContract("koinon-token", voucher.NativeToken, tokenABI, bank, map[string]method{
		"name()":                                text(voucher.TokenName),
		"symbol()":                              text("KOIN"),
		"version()":                             text(voucher.TokenVersion),
		"decimals()":                            func(c *call) ([]byte, error) { return c.returns(uint8(core.Decimals)) },
		"DOMAIN_SEPARATOR()":                    func(c *call) ([]byte, error) { return c.returns([32]byte(k.Domain())) },
		"eip712Domain()":                        t.domain,
		"totalSupply()":                         func(c *call) ([]byte, error) { return c.returns(k.Supply(c.ctx).BigInt()) },
		"balanceOf(address)":                    t.balance,
		"allowance(address,address)":            t.allowance,
		"authorizationState(address,bytes32)":   t.state,
		"transfer(address,uint256)":             t.transfer,
		"transferFrom(address,address,uint256)": t.transferFrom,
		"approve(address,uint256)":              t.approve,
		"transferWithAuthorization" + authorization + "uint8,bytes32,bytes32)": t.transferSigned,
		"transferWithAuthorization" + authorization + "bytes)":                 t.transferSigned,
		"receiveWithAuthorization" + authorization + "uint8,bytes32,bytes32)":  t.receiveSigned,
		"receiveWithAuthorization" + authorization + "bytes)":                  t.receiveSigned,
		"cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)":           t.cancel,
		"cancelAuthorization(address,bytes32,bytes)":                           t.cancel,
	})
	return t
}

func (t *Token) domain(c *call) ([]byte, error) {
	return c.returns([1]byte{0x0f}, voucher.TokenName, voucher.TokenVersion, new(big.Int).SetUint64(t.chainID), t.ContractAddress, [32]byte{}, []*big.Int{})
}

func (t *Token) balance(c *call) ([]byte, error) {
	return c.returns(t.keeper.Balance(c.ctx, core.Address(c.args[0].(common.Address))).BigInt())
}

func (t *Token) allowance(c *call) ([]byte, error) {
	v, err := t.keeper.Allowance(c.ctx, core.Address(c.args[0].(common.Address)), core.Address(c.args[1].(common.Address)))
	if err != nil {
		return nil, err
	}
	return c.returns(v.BigInt())
}

func (t *Token) state(c *call) ([]byte, error) {
	used, err := t.keeper.Used(c.ctx, core.Address(c.args[0].(common.Address)), c.args[1].([32]byte))
	if err != nil {
		return nil, err
	}
	return c.returns(used)
}

func (t *Token) transfer(c *call) ([]byte, error) {
	to, value := c.args[0].(common.Address), c.args[1].(*big.Int)
	if err := t.keeper.Transfer(c.ctx, c.caller, core.Address(to), integer(value)); err != nil {
		return nil, err
	}
	if err := t.moved(c, common.Address(c.caller), to, value); err != nil {
		return nil, err
	}
	return c.returns(true)
}

func (t *Token) transferFrom(c *call) ([]byte, error) {
	from, to, value := c.args[0].(common.Address), c.args[1].(common.Address), c.args[2].(*big.Int)
	if err := t.keeper.TransferFrom(c.ctx, c.caller, core.Address(from), core.Address(to), integer(value)); err != nil {
		return nil, err
	}
	if err := t.moved(c, from, to, value); err != nil {
		return nil, err
	}
	return c.returns(true)
}

func (t *Token) approve(c *call) ([]byte, error) {
	spender, value := c.args[0].(common.Address), c.args[1].(*big.Int)
	if err := t.keeper.Approve(c.ctx, c.caller, core.Address(spender), integer(value)); err != nil {
		return nil, err
	}
	if err := t.emit(c, "Approval", topics(common.Address(c.caller), spender), value); err != nil {
		return nil, err
	}
	return c.returns(true)
}

// signed are the arguments of both forms of EIP-3009's functions.
type signed struct {
	voucher.Authorization
	signature []byte
}

func (c *call) signed() signed {
	s := signed{Authorization: voucher.Authorization{
		From: core.Address(c.args[0].(common.Address)), To: core.Address(c.args[1].(common.Address)), Value: amount(c.args[2].(*big.Int)),
		ValidAfter: amount(c.args[3].(*big.Int)), ValidBefore: amount(c.args[4].(*big.Int)), Nonce: c.args[5].([32]byte),
	}}
	s.signature = signature(c.args[6:])
	return s
}

// signature joins v, r, s, or takes the one that is joined already.
func signature(args []any) []byte {
	if len(args) == 1 {
		return args[0].([]byte)
	}
	v, r, s := args[0].(uint8), args[1].([32]byte), args[2].([32]byte)
	return append(append(r[:], s[:]...), v)
}

func (t *Token) transferSigned(c *call) ([]byte, error) {
	s := c.signed()
	if err := t.keeper.TransferWithAuthorization(c.ctx, s.Authorization, s.signature); err != nil {
		return nil, err
	}
	return nil, t.used(c, s.Authorization)
}

func (t *Token) receiveSigned(c *call) ([]byte, error) {
	s := c.signed()
	if err := t.keeper.ReceiveWithAuthorization(c.ctx, c.caller, s.Authorization, s.signature); err != nil {
		return nil, err
	}
	return nil, t.used(c, s.Authorization)
}

// used reports a spent authorization and its transfer.
func (t *Token) used(c *call, a voucher.Authorization) error {
	if err := t.emit(c, "AuthorizationUsed", []common.Hash{topic(common.Address(a.From)), common.Hash(a.Nonce)}); err != nil {
		return err
	}
	return t.moved(c, common.Address(a.From), common.Address(a.To), a.Value.Big())
}

func (t *Token) cancel(c *call) ([]byte, error) {
	owner, nonce := c.args[0].(common.Address), c.args[1].([32]byte)
	if err := t.keeper.CancelAuthorization(c.ctx, core.Address(owner), nonce, signature(c.args[2:])); err != nil {
		return nil, err
	}
	return nil, t.emit(c, "AuthorizationCanceled", []common.Hash{topic(owner), nonce})
}

func (t *Token) moved(c *call, from, to common.Address, value *big.Int) error {
	return t.emit(c, "Transfer", topics(from, to), value)
}

func topics(as ...common.Address) (out []common.Hash) {
	for _, a := range as {
		out = append(out, topic(a))
	}
	return out
}
