package verify

import (
	"context"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
)

// EndBlock ends the disputes whose side to move ran out of time and those about
// receipts that were proven wrong, lets the audits go on, and removes what is old.
// Each of these takes a bounded number per block; what is left waits for the next
// one.
func (k Keeper) EndBlock(goCtx context.Context) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	late, err := first(ctx, k.due, collections.Join(ctx.BlockTime().Unix(), uint64(0)), p.MaxVerdicts)
	if err != nil {
		return err
	}
	for _, at := range late {
		if err := k.timeOut(ctx, at.K2()); err != nil {
			return err
		}
	}
	if err := k.settle(ctx, int(p.MaxVerdicts)); err != nil {
		return err
	}
	if err := k.endAudits(ctx, p); err != nil {
		return err
	}
	return k.prune(ctx, p)
}

// first are the keys before end, at most limit of them.
func first[A, B any](ctx context.Context, set collections.KeySet[collections.Pair[A, B]], end collections.Pair[A, B], limit uint32) ([]collections.Pair[A, B], error) {
	return some(ctx, set, new(collections.Range[collections.Pair[A, B]]).EndExclusive(end), int(limit))
}

// some are the keys of a range in their order, at most limit of them.
func some[K any](ctx context.Context, set collections.KeySet[K], r collections.Ranger[K], limit int) (keys []K, err error) {
	err = set.Walk(ctx, r, func(key K) (bool, error) {
		keys = append(keys, key)
		return len(keys) >= limit, nil
	})
	return keys, err
}

// timeOut ends a dispute whose deadline has passed, unless its receipt was
// proven wrong and the dispute waits to be settled, or the turn has had too few
// blocks: then it goes on for another extension.
func (k Keeper) timeOut(ctx sdk.Context, id uint64) error {
	d, err := k.openDispute(ctx, id)
	if errors.Is(err, ErrDispute) {
		return nil // an earlier verdict of this block ended it
	}
	if err != nil {
		return err
	}
	proven, err := k.convicted.Has(ctx, d.Receipt)
	if err != nil {
		return err
	}
	if proven || ctx.BlockHeight() < d.TurnHeight+int64(d.Terms.MinBlocks) {
		return k.postpone(ctx, &d, ctx.BlockTime().Unix()+max(int64(d.Terms.Extension), 1))
	}
	cause := fmt.Sprintf("the %s did not show the %s in time", d.Turn, d.Phase)
	if d.Turn == referee.Provider.String() {
		return k.convict(ctx, &d, cause)
	}
	return k.acquit(ctx, &d, cause)
}

// finish takes an open dispute off the lists.
func (k Keeper) finish(ctx sdk.Context, d *Dispute, winner referee.Side, cause string) error {
	provider, err := k.account(d.Provider)
	if err != nil {
		return err
	}
	challenger, err := k.account(d.Challenger)
	if err != nil {
		return err
	}
	err = errors.Join(
		k.due.Remove(ctx, collections.Join(d.Deadline, d.Id)), k.open.Remove(ctx, collections.Join(provider, d.Id)),
		k.raised.Remove(ctx, collections.Join(challenger, d.Id)), k.accused.Remove(ctx, collections.Join(d.Receipt, d.Id)))
	if err != nil {
		return err
	}
	if err := k.market.Thaw(ctx, provider); err != nil {
		return err
	}
	d.State, d.Phase, d.Turn, d.Deadline = nil, "", "", 0
	d.Winner, d.Cause, d.Ended = winner.String(), cause, ctx.BlockTime().Unix()
	if err := k.ended.Set(ctx, collections.Join(d.Ended, d.Id)); err != nil {
		return err
	}
	return k.disputes.Set(ctx, d.Id, *d)
}

// acquit ends a dispute for the provider, who gets the challenger's bond but for
// the part that is burned, so that nobody challenges itself for nothing.
func (k Keeper) acquit(ctx sdk.Context, d *Dispute, cause string) error {
	provider, err := k.account(d.Provider)
	if err != nil {
		return err
	}
	if err := k.finish(ctx, d, referee.Provider, cause); err != nil {
		return err
	}
	burned := d.Bond.MulRaw(int64(d.Terms.BurnPoints)).QuoRaw(Basis)
	if err := k.pay(ctx, provider, d.Bond.Sub(burned)); err != nil {
		return err
	}
	if err := k.burn(ctx, burned); err != nil {
		return err
	}
	return k.announce(ctx, d, burned)
}

// convict ends a dispute for the challenger: the provider loses all it has at
// stake. The consumer gets back what the answer cost, the challenger its bond
// and the bounty; the rest is burned. Other disputes about the receipt are
// settled at the end of the block.
func (k Keeper) convict(ctx sdk.Context, d *Dispute, cause string) error {
	provider, err := k.account(d.Provider)
	if err != nil {
		return err
	}
	// A provider that plays with one challenger and loses to another, of its own,
	// on purpose gets no bounty: it is the first accuser's.
	earliest, err := k.earliest(ctx, d.Receipt)
	if err != nil {
		return err
	}
	if earliest.Id != d.Id {
		cause = fmt.Sprintf("%s in dispute %d", cause, d.Id)
		d = &earliest
	}
	challenger, err := k.account(d.Challenger)
	if err != nil {
		return err
	}
	burned, err := k.slash(ctx, d, provider, challenger)
	if err != nil {
		return err
	}
	if err := k.mark(ctx, d.Receipt, d.Expiry); err != nil {
		return err
	}
	if err := k.finish(ctx, d, referee.Challenger, cause); err != nil {
		return err
	}
	if err := k.pay(ctx, challenger, d.Bond); err != nil {
		return err
	}
	return k.announce(ctx, d, burned)
}

// slash takes the provider's stake and divides it; it notes the parts in d and
// returns what was burned.
func (k Keeper) slash(ctx sdk.Context, d *Dispute, provider, challenger sdk.AccAddress) (burned math.Int, err error) {
	if d.Slashed, err = k.market.Slash(ctx, provider, ModuleName); err != nil {
		return burned, err
	}
	rest := d.Slashed
	if payer, ok := k.payer(ctx, d.Channel); ok {
		d.Refund = math.MinInt(d.Cost, rest)
		rest = rest.Sub(d.Refund)
		if err := k.pay(ctx, payer, d.Refund); err != nil {
			return burned, err
		}
	}
	d.Bounty = rest.MulRaw(int64(d.Terms.BountyPoints)).QuoRaw(Basis)
	burned = rest.Sub(d.Bounty)
	if err := k.pay(ctx, challenger, d.Bounty); err != nil {
		return burned, err
	}
	return burned, k.burn(ctx, burned)
}

func (k Keeper) burn(ctx context.Context, amount math.Int) error {
	if !amount.IsPositive() {
		return nil
	}
	return k.bank.BurnCoins(ctx, ModuleName, coins(amount))
}

func (k Keeper) pay(ctx sdk.Context, to sdk.AccAddress, amount math.Int) error {
	if !amount.IsPositive() {
		return nil
	}
	return k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, to, coins(amount))
}

// payer is the consumer of a receipt, if its channel is known.
func (k Keeper) payer(ctx sdk.Context, channel []byte) (sdk.AccAddress, bool) {
	c, err := k.payments.Channel(ctx, channel)
	if err != nil {
		return nil, false
	}
	a, err := k.account(c.Payer)
	return a, err == nil
}

// earliest is the oldest open dispute about a receipt.
func (k Keeper) earliest(ctx context.Context, receipt []byte) (Dispute, error) {
	keys, err := k.about(ctx, receipt, 1)
	if err != nil || len(keys) == 0 {
		return Dispute{}, errors.Join(ErrDispute, err)
	}
	return k.disputes.Get(ctx, keys[0].K2())
}

// about names the open disputes about a receipt, oldest first, at most limit.
func (k Keeper) about(ctx context.Context, receipt []byte, limit int) ([]accusedKey, error) {
	return some(ctx, k.accused, collections.NewPrefixedPairRange[[]byte, uint64](receipt), limit)
}

// mark notes that a receipt was proven wrong, until it can no longer be
// disputed and every dispute about it is long settled, has the others settled, and
// its audits judged anew.
func (k Keeper) mark(ctx sdk.Context, receipt []byte, expiry int64) error {
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	until := max(expiry, ctx.BlockTime().Unix()+int64(p.Keep))
	if err := k.settling.Set(ctx, receipt); err != nil {
		return err
	}
	if err := k.setMark(ctx, receipt, until); err != nil {
		return err
	}
	return k.judgeAudits(ctx, receipt)
}

// settle ends open disputes about receipts that were proven wrong, at most limit:
// their challengers were right too, and get their bonds back.
func (k Keeper) settle(ctx sdk.Context, limit int) error {
	for limit > 0 {
		var receipt []byte
		err := k.settling.Walk(ctx, nil, func(r []byte) (bool, error) { receipt = r; return true, nil })
		if err != nil || receipt == nil {
			return err
		}
		keys, err := k.about(ctx, receipt, limit)
		if err != nil {
			return err
		}
		for _, at := range keys {
			if err := k.release(ctx, at.K2()); err != nil {
				return err
			}
		}
		if len(keys) < limit {
			if err := k.settling.Remove(ctx, receipt); err != nil {
				return err
			}
		}
		limit -= max(len(keys), 1)
	}
	return nil
}

// release ends a dispute that another one has decided.
func (k Keeper) release(ctx sdk.Context, id uint64) error {
	d, err := k.disputes.Get(ctx, id)
	if err != nil {
		return err
	}
	challenger, err := k.account(d.Challenger)
	if err != nil {
		return err
	}
	if err := k.finish(ctx, &d, referee.Challenger, "the receipt was proven wrong elsewhere"); err != nil {
		return err
	}
	if err := k.pay(ctx, challenger, d.Bond); err != nil {
		return err
	}
	return k.announce(ctx, &d, math.ZeroInt())
}

func (k Keeper) announce(ctx sdk.Context, d *Dispute, burned math.Int) error {
	return ctx.EventManager().EmitTypedEvent(&EventVerdict{
		Id: d.Id, Provider: d.Provider, Winner: d.Winner, Cause: d.Cause,
		Slashed: d.Slashed.String(), Bounty: d.Bounty.String(), Refund: d.Refund.String(), Burned: burned.String(),
	})
}

// Convict takes two receipts of one provider for one request: a fault that needs
// no game.
func (s msgServer) Convict(goCtx context.Context, msg *MsgConvict) (*MsgConvictResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	challenger, err := s.account(msg.Challenger)
	if err != nil {
		return nil, err
	}
	first, err := s.receipt(ctx, msg.First)
	if err != nil {
		return nil, err
	}
	second, err := s.receipt(ctx, msg.Second)
	if err != nil {
		return nil, err
	}
	a, b := first.Digest(), second.Digest()
	if first.Provider != second.Provider || first.Request != second.Request || a == b {
		return nil, ErrReceipt.Wrap("these are not two receipts of one provider for one request")
	}
	for _, id := range []core.Hash{a, b} {
		if err := s.unproven(ctx, id); err != nil {
			return nil, err
		}
	}
	expiry := max(first.Expiry, second.Expiry)
	if expiry <= ctx.BlockTime().Unix() {
		return nil, ErrReceipt.Wrapf("they could be shown until %d", expiry)
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	provider := sdk.AccAddress(first.Provider[:])
	zero := math.ZeroInt()
	d := Dispute{Provider: s.canonical(provider), Channel: first.Channel[:], Cost: cost(first),
		Winner: referee.Challenger.String(), Cause: "two receipts for one request", Slashed: zero, Bounty: zero, Refund: zero, Terms: Terms{BountyPoints: p.BountyPoints}}
	burned, err := s.slash(ctx, &d, provider, challenger)
	if err != nil {
		return nil, err
	}
	for _, id := range []core.Hash{a, b} {
		if err := s.mark(ctx, id[:], expiry); err != nil {
			return nil, err
		}
	}
	return &MsgConvictResponse{}, s.announce(ctx, &d, burned)
}
