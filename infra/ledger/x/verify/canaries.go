package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

func (s msgServer) CommitCanary(goCtx context.Context, msg *MsgCommitCanary) (*MsgCommitCanaryResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, err := s.account(msg.Committer)
	if err != nil {
		return nil, err
	}
	if len(msg.Hash) != 32 || core.Hash(msg.Hash).IsZero() {
		return nil, ErrInvalid.Wrap("a hash has 32 bytes, not all zero")
	}
	if known, err := s.audit.canaries.Has(ctx, msg.Hash); err != nil {
		return nil, err
	} else if known {
		return nil, ErrCanary.Wrap("it was committed to before")
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	n := uint32(0)
	err = s.audit.committed.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, []byte](a), func(canaryKey) (bool, error) {
		n++
		return n >= p.Audits.MaxCanaries, nil
	})
	if err != nil {
		return nil, err
	}
	if n >= p.Audits.MaxCanaries {
		return nil, ErrCanary.Wrapf("%d commitments of this account are open already", n)
	}
	if err := s.bank.SendCoinsFromAccountToModule(ctx, a, ModuleName, coins(p.Audits.CanaryDeposit)); err != nil {
		return nil, ErrFunds.Wrap(err.Error())
	}
	c := Canary{Hash: msg.Hash, Committer: s.canonical(a), Height: ctx.BlockHeight(), Deposit: p.Audits.CanaryDeposit}
	return &MsgCommitCanaryResponse{}, s.putCanary(ctx, a, c)
}

func (k Keeper) putCanary(ctx context.Context, a sdk.AccAddress, c Canary) error {
	if err := k.audit.committed.Set(ctx, collections.Join(a, c.Hash)); err != nil {
		return err
	}
	return k.audit.canaries.Set(ctx, c.Hash, c)
}

func (s msgServer) RevealCanary(goCtx context.Context, msg *MsgRevealCanary) (*MsgRevealCanaryResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	payer, err := s.account(msg.Payer)
	if err != nil {
		return nil, err
	}
	r, err := s.receipt(ctx, msg.Receipt)
	if err != nil {
		return nil, err
	}
	if len(msg.Secret) != 32 || r.BoundaryRoot != core.CanaryRoot(core.Hash(msg.Secret)) {
		return nil, ErrCanary.Wrap("the receipt's boundary root is not that of this secret")
	}
	if who, ok := s.payer(ctx, r.Channel[:]); !ok || !bytes.Equal(who, payer) {
		return nil, ErrCanary.Wrap("another account pays the receipt's channel: only it can call the receipt a canary")
	}
	id := r.Digest()
	hash := core.CanaryHash(id, core.Hash(msg.Secret))
	c, err := s.audit.canaries.Get(ctx, hash[:])
	if errors.Is(err, collections.ErrNotFound) {
		return nil, ErrCanary.Wrap("nobody committed to it")
	}
	if err != nil {
		return nil, err
	}
	if err := s.unproven(ctx, id); err != nil {
		return nil, err
	}
	if err := s.showCanary(ctx, msg); err != nil {
		return nil, err
	}
	caught, err := s.nameCanary(ctx, id, c)
	if err != nil {
		return nil, err
	}
	if err := s.endCanary(ctx, r, c); err != nil {
		return nil, err
	}
	return &MsgRevealCanaryResponse{Caught: caught}, ctx.EventManager().EmitTypedEvent(
		&EventCanary{Receipt: hex.EncodeToString(id[:]), Committer: c.Committer, Caught: caught})
}

// showCanary tells an audit its receipt, if its auditors were all silent.
func (k Keeper) showCanary(ctx sdk.Context, msg *MsgRevealCanary) error {
	if msg.Audit == 0 {
		return nil
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	a, err := k.audit.audits.Get(ctx, msg.Audit)
	if errors.Is(err, collections.ErrNotFound) {
		return ErrAudit.Wrapf("there is no audit %d", msg.Audit)
	}
	if err != nil || len(a.Receipt) != 0 {
		return err
	}
	if err := k.show(ctx, p.Audits, &a, msg.Receipt, msg.Path); err != nil {
		return err
	}
	return k.audit.audits.Set(ctx, a.Id, a)
}

// nameCanary marks the audits of a receipt as those of a canary, which must have
// been committed to before the batches, and counts who had said "right" so far.
func (k Keeper) nameCanary(ctx sdk.Context, id core.ReceiptID, c Canary) (caught uint32, err error) {
	ids, err := k.auditsOf(ctx, id[:])
	if err != nil {
		return caught, err
	}
	for _, n := range ids {
		a, err := k.audit.audits.Get(ctx, n)
		if err != nil {
			return caught, err
		}
		provider, err := k.account(a.Provider)
		if err != nil {
			return caught, err
		}
		b, err := k.batches.Get(ctx, collections.Join(provider, a.Sequence))
		if err != nil {
			return caught, err
		}
		if c.Height >= b.Height {
			return caught, ErrCanary.Wrapf("it was committed to at height %d, and the receipt at %d", c.Height, b.Height)
		}
		a.Canary = c.Committer
		for i := range a.Duties {
			if a.Duties[i].saidRight() {
				caught++
			}
		}
		if err := k.audit.audits.Set(ctx, n, a); err != nil {
			return caught, err
		}
	}
	return caught, nil
}

// endCanary returns the deposit, has the disputes about the receipt ended with
// nobody slashed, and bars new ones.
func (k Keeper) endCanary(ctx sdk.Context, r *core.SignedReceipt, c Canary) error {
	committer, err := k.account(c.Committer)
	if err != nil {
		return err
	}
	if err := k.audit.canaries.Remove(ctx, c.Hash); err != nil {
		return err
	}
	if err := k.audit.committed.Remove(ctx, collections.Join(committer, c.Hash)); err != nil {
		return err
	}
	if err := k.pay(ctx, committer, c.Deposit); err != nil {
		return err
	}
	id := r.Digest()
	return k.mark(ctx, id[:], r.Expiry)
}
