package model

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
)

// ModuleName is the module's name, store key and account.
const (
	ModuleName = "model"
	StoreKey   = ModuleName
)

// Bank burns publishing fees.
type Bank interface {
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amount sdk.Coins) error
	BurnCoins(ctx context.Context, module string, amount sdk.Coins) error
}

// Keeper holds the published models.
type Keeper struct {
	addresses address.Codec
	authority string
	bank      Bank

	Schema collections.Schema
	params collections.Item[Params]
	models collections.Map[[]byte, Model]
	names  collections.Map[string, []byte] // folded name -> id
}

// NewKeeper opens the module's store. authority is governance's account in
// bech32. The module account needs the permission to burn.
func NewKeeper(cdc codec.BinaryCodec, ss store.KVStoreService, addresses address.Codec, authority string, bank Bank) Keeper {
	b := collections.NewSchemaBuilder(ss)
	k := Keeper{
		addresses: addresses, authority: authority, bank: bank,
		params: collections.NewItem(b, collections.NewPrefix(0), "params", codec.CollValue[Params](cdc)),
		models: collections.NewMap(b, collections.NewPrefix(1), "models", collections.BytesKey, codec.CollValue[Model](cdc)),
		names:  collections.NewMap(b, collections.NewPrefix(2), "names", collections.StringKey, collections.BytesValue),
	}
	var err error
	if k.Schema, err = b.Build(); err != nil {
		panic(err)
	}
	return k
}

// Model returns the model with this id, or [ErrNotFound].
func (k Keeper) Model(ctx context.Context, id []byte) (Model, error) {
	m, err := k.models.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) {
		return m, ErrNotFound.Wrapf("model %x", id)
	}
	return m, err
}

// Has reports whether a model with this id is published.
func (k Keeper) Has(ctx context.Context, id []byte) (bool, error) { return k.models.Has(ctx, id) }

func (k Keeper) put(ctx context.Context, m Model) error {
	if err := k.models.Set(ctx, m.Id, m); err != nil {
		return err
	}
	return k.names.Set(ctx, fold(m.Name), m.Id)
}

// account reads a bech32 account of 20 bytes, the only length that both the
// Cosmos and the EVM side can spend from.
func (k Keeper) account(s string) (sdk.AccAddress, error) {
	a, err := k.addresses.StringToBytes(s)
	if err != nil {
		return nil, err
	}
	if len(a) != 20 {
		return nil, fmt.Errorf("account %s has %d bytes, want 20", s, len(a))
	}
	return a, nil
}

// canonicalShares writes checked shares in one form.
func (k Keeper) canonicalShares(shares []Share) []Share {
	out := make([]Share, len(shares))
	for i, s := range shares {
		a, _ := k.account(s.Account)
		out[i] = Share{Account: k.canonical(a), Points: s.Points}
	}
	return out
}

// canonical writes an account of 20 bytes, which bech32 always can.
func (k Keeper) canonical(a sdk.AccAddress) string {
	s, _ := k.addresses.BytesToString(a)
	return s
}
