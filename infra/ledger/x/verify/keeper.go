package verify

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
)

// ModuleName is the module's name and store key. It has no account.
const (
	ModuleName = "verify"
	StoreKey   = ModuleName
)

// Market knows the providers and keeps their records.
type Market interface {
	Registered(ctx context.Context, a sdk.AccAddress) (bool, error)
	AddServed(ctx context.Context, a sdk.AccAddress, receipts uint64) error
}

type batchKey = collections.Pair[sdk.AccAddress, uint64] // provider, sequence

// Keeper holds the committed batches.
type Keeper struct {
	addresses address.Codec
	authority string
	market    Market

	Schema  collections.Schema
	params  collections.Item[Params]
	batches collections.Map[batchKey, Batch]
	last    collections.Map[sdk.AccAddress, uint64]
}

// NewKeeper opens the module's store. authority is governance's account in
// bech32.
func NewKeeper(cdc codec.BinaryCodec, ss store.KVStoreService, addresses address.Codec, authority string, market Market) Keeper {
	b := collections.NewSchemaBuilder(ss)
	k := Keeper{
		addresses: addresses, authority: authority, market: market,
		params:  collections.NewItem(b, collections.NewPrefix(0), "params", codec.CollValue[Params](cdc)),
		batches: collections.NewMap(b, collections.NewPrefix(1), "batches", collections.PairKeyCodec(sdk.AccAddressKey, collections.Uint64Key), codec.CollValue[Batch](cdc)),
		last:    collections.NewMap(b, collections.NewPrefix(2), "last", sdk.AccAddressKey, collections.Uint64Value),
	}
	var err error
	if k.Schema, err = b.Build(); err != nil {
		panic(err)
	}
	return k
}

// Last returns the sequence of a provider's newest batch, 0 before the first.
func (k Keeper) Last(ctx context.Context, a sdk.AccAddress) (uint64, error) {
	n, err := k.last.Get(ctx, a)
	if errors.Is(err, collections.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

func (k Keeper) put(ctx context.Context, a sdk.AccAddress, b Batch) error {
	if err := k.batches.Set(ctx, collections.Join(a, b.Sequence), b); err != nil {
		return err
	}
	return k.last.Set(ctx, a, b.Sequence)
}

// account reads a bech32 account of 20 bytes.
func (k Keeper) account(s string) (sdk.AccAddress, error) {
	a, err := k.addresses.StringToBytes(s)
	if err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if len(a) != 20 {
		return nil, ErrInvalid.Wrapf("account %s has %d bytes, want 20", s, len(a))
	}
	return a, nil
}

// canonical writes an account of 20 bytes, which bech32 always can.
func (k Keeper) canonical(a sdk.AccAddress) string {
	s, _ := k.addresses.BytesToString(a)
	return s
}
