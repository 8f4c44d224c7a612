package token

import (
	"context"
	"errors"
	"math/big"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// ModuleName is the module's name and store key.
const (
	ModuleName = "token"
	StoreKey   = ModuleName
)

// verifyGas is the price of one signature.
const verifyGas = 5_000

// Bank holds and moves the coin.
type Bank interface {
	SpendableCoin(ctx context.Context, a sdk.AccAddress, denom string) sdk.Coin
	GetSupply(ctx context.Context, denom string) sdk.Coin
	BlockedAddr(a sdk.AccAddress) bool
	SendCoins(ctx context.Context, from, to sdk.AccAddress, amount sdk.Coins) error
}

type (
	byNonce   = collections.Pair[sdk.AccAddress, []byte]         // owner, nonce
	bySpender = collections.Pair[sdk.AccAddress, sdk.AccAddress] // owner, spender
)

// Keeper holds allowances and used nonces.
type Keeper struct {
	addresses address.Codec
	domain    voucher.Domain
	bank      Bank

	Schema     collections.Schema
	used       collections.KeySet[byNonce]
	allowances collections.Map[bySpender, math.Int]
}

// NewKeeper opens the module's store. evmChainID enters every authorization's
// digest and can never change.
func NewKeeper(ss store.KVStoreService, addresses address.Codec, evmChainID uint64, bank Bank) Keeper {
	b := collections.NewSchemaBuilder(ss)
	k := Keeper{
		addresses: addresses, domain: voucher.NewTokenDomain(evmChainID), bank: bank,
		used:       collections.NewKeySet(b, collections.NewPrefix(0), "used", collections.PairKeyCodec(sdk.AccAddressKey, collections.BytesKey)),
		allowances: collections.NewMap(b, collections.NewPrefix(1), "allowances", collections.PairKeyCodec(sdk.AccAddressKey, sdk.AccAddressKey), sdk.IntValue),
	}
	var err error
	if k.Schema, err = b.Build(); err != nil {
		panic(err)
	}
	return k
}

// Domain is the EIP-712 domain of authorizations.
func (k Keeper) Domain() voucher.Domain { return k.domain }

// Balance is what a can spend.
func (k Keeper) Balance(ctx context.Context, a core.Address) math.Int {
	return k.bank.SpendableCoin(ctx, a[:], core.BaseDenom).Amount
}

// Supply is all there is of the coin.
func (k Keeper) Supply(ctx context.Context) math.Int {
	return k.bank.GetSupply(ctx, core.BaseDenom).Amount
}

// Transfer moves value for its owner.
func (k Keeper) Transfer(ctx context.Context, from, to core.Address, value math.Int) error {
	switch {
	case value.IsNil() || value.IsNegative():
		return ErrInvalid.Wrap("the value is missing or negative")
	case to.IsZero():
		return ErrRecipient.Wrap("it is the zero account")
	case k.bank.BlockedAddr(to[:]):
		return ErrRecipient.Wrapf("%s", to)
	case value.IsZero():
		return nil
	}
	if err := k.bank.SendCoins(ctx, from[:], to[:], sdk.NewCoins(sdk.NewCoin(core.BaseDenom, value))); err != nil {
		return ErrFunds.Wrap(err.Error())
	}
	return nil
}

// Allowance is what spender may still move from owner's account.
func (k Keeper) Allowance(ctx context.Context, owner, spender core.Address) (math.Int, error) {
	v, err := k.allowances.Get(ctx, collections.Join(sdk.AccAddress(owner[:]), sdk.AccAddress(spender[:])))
	if errors.Is(err, collections.ErrNotFound) {
		return math.ZeroInt(), nil
	}
	return v, err
}

// Approve sets what spender may move from owner's account.
func (k Keeper) Approve(ctx context.Context, owner, spender core.Address, value math.Int) error {
	key := collections.Join(sdk.AccAddress(owner[:]), sdk.AccAddress(spender[:]))
	switch {
	case value.IsNil() || value.IsNegative():
		return ErrInvalid.Wrap("the value is missing or negative")
	case spender.IsZero():
		return ErrInvalid.Wrap("the spender is the zero account")
	case value.IsZero():
		return k.allowances.Remove(ctx, key)
	}
	return k.allowances.Set(ctx, key, value)
}

// unlimited is an allowance that is never used up: 2^256-1.
var unlimited = math.NewIntFromBigInt(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)))

// TransferFrom moves value out of from's account within spender's allowance.
func (k Keeper) TransferFrom(ctx context.Context, spender, from, to core.Address, value math.Int) error {
	left, err := k.Allowance(ctx, from, spender)
	if err != nil {
		return err
	}
	if value.IsNil() || value.GT(left) {
		return ErrAllowance.Wrapf("%s may move %s", spender, left)
	}
	if err := k.Transfer(ctx, from, to, value); err != nil {
		return err
	}
	if left.Equal(unlimited) {
		return nil
	}
	return k.Approve(ctx, from, spender, left.Sub(value))
}

func (k Keeper) account(s string) (core.Address, error) {
	b, err := k.addresses.StringToBytes(s)
	if err != nil {
		return core.Address{}, ErrInvalid.Wrap(err.Error())
	}
	if len(b) != len(core.Address{}) {
		return core.Address{}, ErrInvalid.Wrapf("account %s has %d bytes, want 20", s, len(b))
	}
	return core.Address(b), nil
}
