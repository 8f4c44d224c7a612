package market

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"
	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
)

// ModuleName is the module's name, store key and account.
const (
	ModuleName = "market"
	StoreKey   = ModuleName
)

// Bank moves bonds.
type Bank interface {
	GetBalance(ctx context.Context, a sdk.AccAddress, denom string) sdk.Coin
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amount sdk.Coins) error
	SendCoinsFromModuleToAccount(ctx context.Context, module string, to sdk.AccAddress, amount sdk.Coins) error
	SendCoinsFromModuleToModule(ctx context.Context, from, to string, amount sdk.Coins) error
}

// Accounts names module accounts.
type Accounts interface {
	GetModuleAddress(module string) sdk.AccAddress
}

// Models says which models are published.
type Models interface {
	Has(ctx context.Context, id []byte) (bool, error)
}

type due = collections.Pair[int64, uint64] // time, id

// Keeper holds providers, offers and bonds.
type Keeper struct {
	addresses address.Codec
	authority string
	accounts  Accounts
	bank      Bank
	models    Models

	Schema     collections.Schema
	params     collections.Item[Params]
	providers  collections.Map[sdk.AccAddress, Provider]
	offers     collections.Map[sdk.AccAddress, Offers]
	records    collections.Map[sdk.AccAddress, Record]
	peers      collections.Map[string, []byte] // peer id -> account
	unbondings collections.Map[due, Unbonding]
	pending    collections.KeySet[collections.Pair[sdk.AccAddress, due]]
	next       collections.Sequence
	frozen     collections.Map[sdk.AccAddress, uint64] // open disputes; kept by x/verify
	earnings   collections.Map[earningKey, math.Int]   // not final yet
}

// NewKeeper opens the module's store. authority is governance's account in
// bech32. The module account needs no permission.
func NewKeeper(cdc codec.BinaryCodec, ss store.KVStoreService, addresses address.Codec, authority string, accounts Accounts, bank Bank, models Models) Keeper {
	b := collections.NewSchemaBuilder(ss)
	dueKey := collections.PairKeyCodec(collections.Int64Key, collections.Uint64Key)
	k := Keeper{
		addresses: addresses, authority: authority, accounts: accounts, bank: bank, models: models,
		params:     collections.NewItem(b, collections.NewPrefix(0), "params", codec.CollValue[Params](cdc)),
		providers:  collections.NewMap(b, collections.NewPrefix(1), "providers", sdk.AccAddressKey, codec.CollValue[Provider](cdc)),
		offers:     collections.NewMap(b, collections.NewPrefix(2), "offers", sdk.AccAddressKey, codec.CollValue[Offers](cdc)),
		records:    collections.NewMap(b, collections.NewPrefix(3), "records", sdk.AccAddressKey, codec.CollValue[Record](cdc)),
		peers:      collections.NewMap(b, collections.NewPrefix(4), "peers", collections.StringKey, collections.BytesValue),
		unbondings: collections.NewMap(b, collections.NewPrefix(5), "unbondings", dueKey, codec.CollValue[Unbonding](cdc)),
		pending:    collections.NewKeySet(b, collections.NewPrefix(6), "pending", collections.PairKeyCodec(sdk.AccAddressKey, dueKey)),
		next:       collections.NewSequence(b, collections.NewPrefix(7), "next"),
		frozen:     collections.NewMap(b, collections.NewPrefix(8), "frozen", sdk.AccAddressKey, collections.Uint64Value),
		earnings:   collections.NewMap(b, collections.NewPrefix(9), "earnings", collections.PairKeyCodec(sdk.AccAddressKey, collections.Int64Key), sdk.IntValue),
	}
	var err error
	if k.Schema, err = b.Build(); err != nil {
		panic(err)
	}
	return k
}

// Provider returns a registered provider, or [ErrUnregistered].
func (k Keeper) Provider(ctx context.Context, a sdk.AccAddress) (Provider, error) {
	p, err := k.providers.Get(ctx, a)
	if errors.Is(err, collections.ErrNotFound) {
		return p, ErrUnregistered.Wrap(k.canonical(a))
	}
	return p, err
}

// Registered reports whether a is a provider.
func (k Keeper) Registered(ctx context.Context, a sdk.AccAddress) (bool, error) {
	return k.providers.Has(ctx, a)
}

// Offers returns what a provider asks; none for anybody else.
func (k Keeper) Offers(ctx context.Context, a sdk.AccAddress) ([]Offer, error) {
	o, err := k.offers.Get(ctx, a)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, nil
	}
	return o.Offers, err
}

func (k Keeper) record(ctx context.Context, a sdk.AccAddress) (Record, error) {
	r, err := k.records.Get(ctx, a)
	if errors.Is(err, collections.ErrNotFound) {
		return Record{Claimed: math.ZeroInt(), Slashed: math.ZeroInt()}, nil
	}
	return r, err
}

// addClaimed counts what a provider's vouchers brought in, before the split.
func (k Keeper) addClaimed(ctx context.Context, a sdk.AccAddress, amount math.Int) error {
	r, err := k.record(ctx, a)
	if err != nil {
		return err
	}
	r.Claimed = r.Claimed.Add(amount)
	return k.records.Set(ctx, a, r)
}

// AddServed counts receipts that a provider committed on chain.
func (k Keeper) AddServed(ctx context.Context, a sdk.AccAddress, receipts uint64) error {
	r, err := k.record(ctx, a)
	if err != nil {
		return err
	}
	r.Served += receipts
	return k.records.Set(ctx, a, r)
}

// account reads a bech32 account of 20 bytes, the only length that both the
// Cosmos and the EVM side can spend from.
func (k Keeper) account(s string) (sdk.AccAddress, error) {
	a, err := k.addresses.StringToBytes(s)
	if err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if len(a) != 20 {
		return nil, ErrInvalid.Wrap(fmt.Sprintf("account %s has %d bytes, want 20", s, len(a)))
	}
	return a, nil
}

// canonical writes an account of 20 bytes, which bech32 always can.
func (k Keeper) canonical(a sdk.AccAddress) string {
	s, _ := k.addresses.BytesToString(a)
	return s
}
