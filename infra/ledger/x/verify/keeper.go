package verify

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
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
)

// ModuleName is the module's name, store key and account, which holds the
// bonds of challengers and auditors.
const (
	ModuleName = "verify"
	StoreKey   = ModuleName
)

// Market knows the providers, keeps their records and what they have at stake.
type Market interface {
	Registered(ctx context.Context, a sdk.AccAddress) (bool, error)
	AddServed(ctx context.Context, a sdk.AccAddress, receipts uint64) error
	Freeze(ctx context.Context, a sdk.AccAddress) error
	Thaw(ctx context.Context, a sdk.AccAddress) error
	Slash(ctx context.Context, a sdk.AccAddress, module string) (math.Int, error)
	Fine(ctx context.Context, a sdk.AccAddress, amount math.Int, module string) (math.Int, error)
}

// Payments knows who paid for an answer, and pays its auditors.
type Payments interface {
	Channel(ctx context.Context, id []byte) (payment.Channel, error)
	PayAudit(ctx context.Context, provider, to sdk.AccAddress, amount math.Int) (math.Int, error)
}

// Bank moves and burns money.
type Bank interface {
	GetBalance(ctx context.Context, a sdk.AccAddress, denom string) sdk.Coin
	SendCoinsFromAccountToModule(ctx context.Context, from sdk.AccAddress, module string, amount sdk.Coins) error
	SendCoinsFromModuleToAccount(ctx context.Context, module string, to sdk.AccAddress, amount sdk.Coins) error
	BurnCoins(ctx context.Context, module string, amount sdk.Coins) error
}

// Accounts names module accounts.
type Accounts interface {
	GetModuleAddress(module string) sdk.AccAddress
}

type (
	batchKey = collections.Pair[sdk.AccAddress, uint64] // provider, sequence
	openKey  = collections.Pair[sdk.AccAddress, uint64] // provider, dispute
	dueKey   = collections.Pair[int64, uint64]          // deadline or end, dispute

	accusedKey  = collections.Pair[[]byte, uint64] // receipt, open dispute
	expiringKey = collections.Pair[int64, []byte]  // end of a mark, receipt
)

// Keeper holds the committed batches, the admitted models and the disputes.
type Keeper struct {
	addresses  address.Codec
	authority  string
	evmChainID uint64
	accounts   Accounts
	bank       Bank
	market     Market
	payments   Payments
	beacon     Beacon // nil without audits

	Schema  collections.Schema
	params  collections.Item[Params]
	batches collections.Map[batchKey, Batch]
	last    collections.Map[sdk.AccAddress, uint64]

	models    collections.Map[[]byte, Admitted]
	disputes  collections.Map[uint64, Dispute]
	open      collections.KeySet[openKey]
	raised    collections.KeySet[openKey] // by challenger instead of provider
	accused   collections.KeySet[accusedKey]
	due       collections.KeySet[dueKey]
	ended     collections.KeySet[dueKey]
	next      collections.Sequence
	convicted collections.Map[[]byte, int64] // receipts that were proven wrong, and until when that is kept
	expiring  collections.KeySet[expiringKey]
	settling  collections.KeySet[[]byte] // receipts proven wrong with disputes that may be open
	shapes    *shapes
	audit     auditStore
}

// NewKeeper opens the module's store. authority is governance's account in
// bech32.
func NewKeeper(cdc codec.BinaryCodec, ss store.KVStoreService, addresses address.Codec, authority string, evmChainID uint64,
	accounts Accounts, bank Bank, market Market, payments Payments) Keeper {
	b := collections.NewSchemaBuilder(ss)
	k := Keeper{
		addresses: addresses, authority: authority, evmChainID: evmChainID, accounts: accounts, bank: bank, market: market, payments: payments,
		params:  collections.NewItem(b, collections.NewPrefix(0), "params", codec.CollValue[Params](cdc)),
		batches: collections.NewMap(b, collections.NewPrefix(1), "batches", collections.PairKeyCodec(sdk.AccAddressKey, collections.Uint64Key), codec.CollValue[Batch](cdc)),
		last:    collections.NewMap(b, collections.NewPrefix(2), "last", sdk.AccAddressKey, collections.Uint64Value),

		models:    collections.NewMap(b, collections.NewPrefix(3), "models", collections.BytesKey, codec.CollValue[Admitted](cdc)),
		disputes:  collections.NewMap(b, collections.NewPrefix(4), "disputes", collections.Uint64Key, codec.CollValue[Dispute](cdc)),
		open:      collections.NewKeySet(b, collections.NewPrefix(5), "open", collections.PairKeyCodec(sdk.AccAddressKey, collections.Uint64Key)),
		due:       collections.NewKeySet(b, collections.NewPrefix(6), "due", collections.PairKeyCodec(collections.Int64Key, collections.Uint64Key)),
		next:      collections.NewSequence(b, collections.NewPrefix(7), "next"),
		convicted: collections.NewMap(b, collections.NewPrefix(8), "convicted", collections.BytesKey, collections.Int64Value),
		accused:   collections.NewKeySet(b, collections.NewPrefix(9), "accused", collections.PairKeyCodec(collections.BytesKey, collections.Uint64Key)),
		ended:     collections.NewKeySet(b, collections.NewPrefix(10), "ended", collections.PairKeyCodec(collections.Int64Key, collections.Uint64Key)),
		expiring:  collections.NewKeySet(b, collections.NewPrefix(11), "expiring", collections.PairKeyCodec(collections.Int64Key, collections.BytesKey)),
		settling:  collections.NewKeySet(b, collections.NewPrefix(12), "settling", collections.BytesKey),
		raised:    collections.NewKeySet(b, collections.NewPrefix(13), "raised", collections.PairKeyCodec(sdk.AccAddressKey, collections.Uint64Key)),
		shapes:    newShapes(),
		audit:     newAuditStore(b, cdc),
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

func (k Keeper) self() sdk.AccAddress { return k.accounts.GetModuleAddress(ModuleName) }

func coins(amount math.Int) sdk.Coins { return sdk.NewCoins(sdk.NewCoin(core.BaseDenom, amount)) }

// canonical writes an account of 20 bytes, which bech32 always can.
func (k Keeper) canonical(a sdk.AccAddress) string {
	s, _ := k.addresses.BytesToString(a)
	return s
}
