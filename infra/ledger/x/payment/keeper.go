package payment

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/voucher"
)

// ModuleName is the module's name, store key and account.
const (
	ModuleName = "payment"
	StoreKey   = ModuleName
)

// Bank moves and burns money.
type Bank interface {
	GetBalance(ctx context.Context, a sdk.AccAddress, denom string) sdk.Coin
	BlockedAddr(a sdk.AccAddress) bool
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amount sdk.Coins) error
	SendCoinsFromModuleToAccount(ctx context.Context, module string, to sdk.AccAddress, amount sdk.Coins) error
	SendCoinsFromModuleToModule(ctx context.Context, from, to string, amount sdk.Coins) error
	BurnCoins(ctx context.Context, module string, amount sdk.Coins) error
}

// Accounts names module accounts.
type Accounts interface {
	GetModuleAddress(module string) sdk.AccAddress
}

// Treasury is what governance spends: the distribution module's community pool.
type Treasury interface {
	FundCommunityPool(ctx context.Context, amount sdk.Coins, from sdk.AccAddress) error
}

// Models tells whom a model's revenue belongs to.
type Models interface {
	Model(ctx context.Context, id []byte) (model.Model, error)
}

// Market knows what a provider offers, keeps its record and holds what it earned
// beyond what its stake covers.
type Market interface {
	Offers(ctx context.Context, a sdk.AccAddress) ([]market.Offer, error)
	Earn(ctx context.Context, a sdk.AccAddress, amount, own math.Int) (held math.Int, err error)
}

// Token checks authorizations to spend the coin and uses them up.
type Token interface {
	SpendReceive(ctx context.Context, a voucher.Authorization, signature []byte) error
}

type (
	byParty = collections.Pair[sdk.AccAddress, []byte] // account, channel
	byTime  = collections.Pair[int64, []byte]          // closing time, channel
)

// Keeper holds the channels.
type Keeper struct {
	addresses address.Codec
	authority string
	chainID   uint64
	domain    voucher.Domain
	accounts  Accounts
	bank      Bank
	treasury  Treasury
	models    Models
	market    Market
	token     Token

	Schema   collections.Schema
	params   collections.Item[Params]
	channels collections.Map[[]byte, Channel]
	parties  collections.KeySet[byParty]
	queue    collections.KeySet[byTime]
	totals   collections.Item[Totals]
	credits  collections.Map[sdk.AccAddress, math.Int] // provider -> what pays its audits
}

// NewKeeper opens the module's store. authority is governance's account in
// bech32, evmChainID enters every voucher's digest and can never change. The
// module account needs the permission to burn.
func NewKeeper(cdc codec.BinaryCodec, ss store.KVStoreService, addresses address.Codec, authority string, evmChainID uint64,
	accounts Accounts, bank Bank, treasury Treasury, models Models, market Market, token Token,
) Keeper {
	b := collections.NewSchemaBuilder(ss)
	k := Keeper{
		addresses: addresses, authority: authority, chainID: evmChainID, domain: voucher.NewDomain(evmChainID),
		accounts: accounts, bank: bank, treasury: treasury, models: models, market: market, token: token,
		params:   collections.NewItem(b, collections.NewPrefix(0), "params", codec.CollValue[Params](cdc)),
		channels: collections.NewMap(b, collections.NewPrefix(1), "channels", collections.BytesKey, codec.CollValue[Channel](cdc)),
		parties:  collections.NewKeySet(b, collections.NewPrefix(2), "parties", collections.PairKeyCodec(sdk.AccAddressKey, collections.BytesKey)),
		queue:    collections.NewKeySet(b, collections.NewPrefix(3), "queue", collections.PairKeyCodec(collections.Int64Key, collections.BytesKey)),
		totals:   collections.NewItem(b, collections.NewPrefix(4), "totals", codec.CollValue[Totals](cdc)),
		credits:  collections.NewMap(b, collections.NewPrefix(5), "credits", sdk.AccAddressKey, sdk.IntValue),
	}
	var err error
	if k.Schema, err = b.Build(); err != nil {
		panic(err)
	}
	return k
}

// Domain is the EIP-712 domain of channel ids and vouchers.
func (k Keeper) Domain() voucher.Domain { return k.domain }

// Channel returns a channel, or [ErrNotFound].
func (k Keeper) Channel(ctx context.Context, id []byte) (Channel, error) {
	c, err := k.channels.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) {
		return c, ErrNotFound.Wrapf("channel %x", id)
	}
	return c, err
}

// account reads a bech32 account of 20 bytes, the only length that both the
// Cosmos and the EVM side can spend from.
func (k Keeper) account(s string) (sdk.AccAddress, error) {
	a, err := k.addresses.StringToBytes(s)
	if err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if len(a) != len(core.Address{}) {
		return nil, ErrInvalid.Wrapf("account %s has %d bytes, want 20", s, len(a))
	}
	return a, nil
}

// canonical writes an account of 20 bytes, which bech32 always can.
func (k Keeper) canonical(a sdk.AccAddress) string {
	s, _ := k.addresses.BytesToString(a)
	return s
}

// self is the module account.
func (k Keeper) self() sdk.AccAddress { return k.accounts.GetModuleAddress(ModuleName) }
