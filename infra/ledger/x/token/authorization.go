package token

import (
	"context"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Used reports whether owner's nonce was spent or cancelled.
func (k Keeper) Used(ctx context.Context, owner core.Address, nonce core.Hash) (bool, error) {
	return k.used.Has(ctx, collections.Join(sdk.AccAddress(owner[:]), nonce[:]))
}

// TransferWithAuthorization moves what its owner has signed away.
func (k Keeper) TransferWithAuthorization(ctx context.Context, a voucher.Authorization, signature []byte) error {
	if err := k.spend(ctx, a, a.TransferDigest(k.domain), signature); err != nil {
		return err
	}
	return k.Transfer(ctx, a.From, a.To, integer(a.Value))
}

// ReceiveWithAuthorization moves what its owner has signed away for the caller.
func (k Keeper) ReceiveWithAuthorization(ctx context.Context, caller core.Address, a voucher.Authorization, signature []byte) error {
	if caller != a.To {
		return ErrCaller.Wrapf("it is %s", a.To)
	}
	if err := k.SpendReceive(ctx, a, signature); err != nil {
		return err
	}
	return k.Transfer(ctx, a.From, a.To, integer(a.Value))
}

// SpendReceive checks a signed receive authorization and uses its nonce up
// without moving money: the module that acts for a.To moves it.
func (k Keeper) SpendReceive(ctx context.Context, a voucher.Authorization, signature []byte) error {
	return k.spend(ctx, a, a.ReceiveDigest(k.domain), signature)
}

// CancelAuthorization makes a nonce unusable, for whoever brings its owner's
// signature.
func (k Keeper) CancelAuthorization(ctx context.Context, owner core.Address, nonce core.Hash, signature []byte) error {
	return k.use(ctx, owner, nonce, voucher.CancelDigest(k.domain, owner, nonce), signature)
}

// spend checks the time and uses the nonce up.
func (k Keeper) spend(goCtx context.Context, a voucher.Authorization, digest core.Hash, signature []byte) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	now := core.NewAmount(uint64(max(ctx.BlockTime().Unix(), 0)))
	if now.Cmp(a.ValidAfter) <= 0 {
		return ErrEarly.Wrapf("before %s, the block's time is %s", a.ValidAfter, now)
	}
	if now.Cmp(a.ValidBefore) >= 0 {
		return ErrExpired.Wrapf("at %s, the block's time is %s", a.ValidBefore, now)
	}
	return k.use(ctx, a.From, a.Nonce, digest, signature)
}

func (k Keeper) use(goCtx context.Context, owner core.Address, nonce core.Hash, digest core.Hash, signature []byte) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	used, err := k.Used(ctx, owner, nonce)
	if err != nil {
		return err
	}
	if used {
		return ErrUsed.Wrapf("nonce %s of %s", nonce, owner)
	}
	if len(signature) != len(core.Signature{}) {
		return ErrSignature.Wrapf("%d bytes, want 65: signatures of contract wallets are not supported", len(signature))
	}
	ctx.GasMeter().ConsumeGas(verifyGas, "authorization")
	if err := voucher.VerifyDigest(digest, core.Signature(signature), owner); err != nil {
		return ErrSignature.Wrap(err.Error())
	}
	return k.used.Set(ctx, collections.Join(sdk.AccAddress(owner[:]), nonce[:]))
}

func integer(a core.Amount) math.Int { return math.NewIntFromBigInt(a.Big()) }
