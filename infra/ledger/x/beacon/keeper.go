package beacon

import (
	"context"
	"errors"

	"cosmossdk.io/collections"
	"cosmossdk.io/core/address"
	"cosmossdk.io/core/store"

	"github.com/cosmos/cosmos-sdk/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
)

// ModuleName is the module's name and store key. It holds no money.
const (
	ModuleName = "beacon"
	StoreKey   = ModuleName
)

// Staking knows the validators by their operators.
type Staking interface {
	GetValidator(ctx context.Context, operator sdk.ValAddress) (stakingtypes.Validator, error)
}

// Keeper holds the beacons, the rounds in which the next ones are made, and the
// validators' keys.
type Keeper struct {
	operators address.Codec
	authority string
	staking   Staking

	Schema  collections.Schema
	params  collections.Item[Params]
	members collections.Map[[]byte, Member] // by consensus address
	owners  collections.Map[[]byte, []byte] // public key -> consensus address
	rounds  collections.Map[int64, Round]
	beacons collections.Map[int64, Beacon]
}

// NewKeeper opens the module's store. operators writes validators' addresses;
// authority is governance's account in bech32.
func NewKeeper(cdc codec.BinaryCodec, ss store.KVStoreService, operators address.Codec, authority string, staking Staking) Keeper {
	b := collections.NewSchemaBuilder(ss)
	k := Keeper{
		operators: operators, authority: authority, staking: staking,
		params:  collections.NewItem(b, collections.NewPrefix(0), "params", codec.CollValue[Params](cdc)),
		members: collections.NewMap(b, collections.NewPrefix(1), "members", collections.BytesKey, codec.CollValue[Member](cdc)),
		owners:  collections.NewMap(b, collections.NewPrefix(2), "owners", collections.BytesKey, collections.BytesValue),
		rounds:  collections.NewMap(b, collections.NewPrefix(3), "rounds", collections.Int64Key, codec.CollValue[Round](cdc)),
		beacons: collections.NewMap(b, collections.NewPrefix(4), "beacons", collections.Int64Key, codec.CollValue[Beacon](cdc)),
	}
	var err error
	if k.Schema, err = b.Build(); err != nil {
		panic(err)
	}
	return k
}

// At returns the beacon of a height. ok is false while it is being made, when
// too few validators contributed, and when it is no longer kept. The beacon of
// height h is made in the votes for block h and stored some blocks later.
func (k Keeper) At(ctx context.Context, height int64) (value [32]byte, ok bool, err error) {
	b, err := k.beacons.Get(ctx, height)
	if errors.Is(err, collections.ErrNotFound) {
		return value, false, nil
	}
	if err != nil || b.Missing {
		return value, false, err
	}
	return [32]byte(b.Value), true, nil
}

// Lead is the number of blocks between a block and the first height whose
// beacon no validator could have foreseen when that block was made: not even by
// a contribution of his own that he expected to win (spec/beacon.md).
func (k Keeper) Lead(ctx context.Context) (int64, error) {
	p, err := k.params.Get(ctx)
	return int64(p.Window) + 2, err
}

// Draw returns the randomness by which lots about something that block settled
// are drawn: the first beacon at least [Keeper.Lead] blocks later, and its
// height. ok is false while there is none yet; ask again in a later block. Ask
// before keep blocks have passed, and remember the answer.
func (k Keeper) Draw(ctx context.Context, settled int64) (height int64, value [32]byte, ok bool, err error) {
	lead, err := k.Lead(ctx)
	if err != nil {
		return 0, value, false, err
	}
	from := new(collections.Range[int64]).StartInclusive(settled + lead)
	err = k.beacons.Walk(ctx, from, func(h int64, b Beacon) (bool, error) {
		if b.Missing {
			return false, nil
		}
		height, value, ok = h, [32]byte(b.Value), true
		return true, nil
	})
	return height, value, ok, err
}

// newest is the last finished round's outcome.
func (k Keeper) newest(ctx context.Context) (b Beacon, ok bool, err error) {
	err = k.beacons.Walk(ctx, new(collections.Range[int64]).Descending(), func(_ int64, last Beacon) (bool, error) {
		b, ok = last, true
		return true, nil
	})
	return b, ok, err
}

func (k Keeper) operator(s string) (sdk.ValAddress, error) {
	a, err := k.operators.StringToBytes(s)
	if err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	return a, nil
}
