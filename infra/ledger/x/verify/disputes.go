package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"cosmossdk.io/collections"
	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Limits of what a message may carry, in bytes, and the price of a signature.
const (
	maxReceipt   = 4 << 10
	maxClaim     = 64 << 10
	signatureGas = 3_000
)

// receipt reads a signed receipt and checks that its provider signed it for
// this chain.
func (k Keeper) receipt(ctx sdk.Context, b []byte) (*core.SignedReceipt, error) {
	ctx.GasMeter().ConsumeGas(signatureGas, "receipt's signature")
	if len(b) > maxReceipt {
		return nil, ErrReceipt.Wrapf("it has %d bytes, at most %d are possible", len(b), maxReceipt)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	r := new(core.SignedReceipt)
	if err := d.Decode(r); err != nil {
		return nil, ErrReceipt.Wrap(err.Error())
	}
	if d.More() {
		return nil, ErrReceipt.Wrap("something follows it")
	}
	if r.ChainID != k.evmChainID {
		return nil, ErrReceipt.Wrapf("it is for chain %d", r.ChainID)
	}
	if err := voucher.VerifyDigest(r.Digest(), r.Signature, r.Provider); err != nil {
		return nil, ErrReceipt.Wrap(err.Error())
	}
	return r, nil
}

func (s msgServer) OpenDispute(goCtx context.Context, msg *MsgOpenDispute) (*MsgOpenDisputeResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	challenger, err := s.account(msg.Challenger)
	if err != nil {
		return nil, err
	}
	r, err := s.receipt(ctx, msg.Receipt)
	if err != nil {
		return nil, err
	}
	if r.Expiry <= ctx.BlockTime().Unix() {
		return nil, ErrReceipt.Wrapf("it could be disputed until %d", r.Expiry)
	}
	provider := sdk.AccAddress(r.Provider[:])
	if err := s.unproven(ctx, r.Digest()); err != nil {
		return nil, err
	}
	game, err := s.newGame(ctx, r, msg.Claim)
	if err != nil {
		return nil, err
	}
	d, err := s.start(ctx, challenger, provider, r, msg, game)
	if err != nil {
		return nil, err
	}
	return &MsgOpenDisputeResponse{Id: d.Id}, ctx.EventManager().EmitTypedEvents(
		&EventOpened{Id: d.Id, Challenger: d.Challenger, Provider: d.Provider, Receipt: hex.EncodeToString(d.Receipt)},
		&EventMoved{Id: d.Id, Side: referee.Challenger.String(), Move: "claim", Next: d.Phase, Deadline: d.Deadline})
}

// unproven refuses a receipt that was proven wrong before.
func (k Keeper) unproven(ctx context.Context, id core.Hash) error {
	known, err := k.convicted.Has(ctx, id[:])
	if err == nil && known {
		err = ErrReceipt.Wrap("it was proven wrong already")
	}
	return err
}

func (k Keeper) newGame(ctx sdk.Context, r *core.SignedReceipt, claim []byte) (*referee.State, error) {
	if len(claim) > maxClaim {
		return nil, ErrInvalid.Wrapf("a claim has at most %d bytes", maxClaim)
	}
	m, err := k.model(ctx, r.Model[:])
	if err != nil {
		return nil, err
	}
	var c referee.Claim
	if err := referee.Decode(claim, &c); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	game, err := referee.Open(m, &r.Receipt, c)
	if err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	return game, nil
}

// start takes the bond and makes the dispute.
func (k Keeper) start(ctx sdk.Context, challenger, provider sdk.AccAddress, r *core.SignedReceipt, msg *MsgOpenDispute, game *referee.State) (Dispute, error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return Dispute{}, err
	}
	if n, err := k.countOpen(ctx, provider, int(p.MaxOpen)); err != nil {
		return Dispute{}, err
	} else if n >= int(p.MaxOpen) {
		return Dispute{}, ErrOpen.Wrapf("%d are open", n)
	}
	if known, err := k.market.Registered(ctx, provider); err != nil {
		return Dispute{}, err
	} else if !known {
		return Dispute{}, ErrStranger.Wrap(k.canonical(provider))
	}
	if err := k.bank.SendCoinsFromAccountToModule(ctx, challenger, ModuleName, coins(p.ChallengerBond)); err != nil {
		return Dispute{}, ErrFunds.Wrap(err.Error())
	}
	if err := k.market.Freeze(ctx, provider); err != nil {
		return Dispute{}, err
	}
	id, err := k.next.Next(ctx)
	if err != nil {
		return Dispute{}, err
	}
	digest := r.Digest()
	zero := math.ZeroInt()
	now := ctx.BlockTime().Unix()
	d := Dispute{
		Id: id, Challenger: k.canonical(challenger), Provider: k.canonical(provider), Receipt: digest[:], Model: r.Model[:], Channel: r.Channel[:],
		Claim: msg.Claim, Cost: cost(r), Bond: p.ChallengerBond, Opened: now, Moved: now,
		ChallengerClock: p.Clock, ProviderClock: p.Clock, Slashed: zero, Bounty: zero, Refund: zero,
	}
	d.record(ctx, referee.Challenger, "claim", len(msg.Receipt)+len(msg.Claim))
	if err := k.open.Set(ctx, collections.Join(provider, id)); err != nil {
		return d, err
	}
	return d, k.keep(ctx, &d, p, game)
}

// cost is what the consumer owes for an answer.
func cost(r *core.SignedReceipt) math.Int {
	return math.NewIntFromBigInt(core.Usage{Input: r.Billed, Output: r.Output}.Cost(r.PriceIn, r.PriceOut).Big())
}

func (k Keeper) countOpen(ctx context.Context, provider sdk.AccAddress, limit int) (n int, err error) {
	err = k.open.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](provider), func(openKey) (bool, error) {
		n++
		return n >= limit, nil
	})
	return n, err
}

// record notes a move in the history.
func (d *Dispute) record(ctx sdk.Context, side referee.Side, move string, size int) {
	d.Moves++
	d.Bytes += uint64(size)
	d.History = append(d.History, Moved{Height: ctx.BlockHeight(), Side: side.String(), Move: move, Bytes: uint32(size)})
}

// keep stores the dispute with the game's state and sets the deadline of the
// side that has to move.
func (k Keeper) keep(ctx sdk.Context, d *Dispute, p Params, game *referee.State) error {
	if d.Deadline != 0 {
		if err := k.due.Remove(ctx, collections.Join(d.Deadline, d.Id)); err != nil {
			return err
		}
	}
	clock := d.ChallengerClock
	if game.Phase.Side() == referee.Provider {
		clock = d.ProviderClock
	}
	d.State, d.Phase, d.Turn = referee.Encode(*game), game.Phase.String(), game.Phase.Side().String()
	d.Deadline = d.Moved + int64(min(p.MoveTime, clock))
	if err := k.due.Set(ctx, collections.Join(d.Deadline, d.Id)); err != nil {
		return err
	}
	return k.disputes.Set(ctx, d.Id, *d)
}

// openDispute returns a dispute that is not over.
func (k Keeper) openDispute(ctx context.Context, id uint64) (Dispute, error) {
	d, err := k.disputes.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) || err == nil && d.Winner != "" {
		return d, ErrDispute.Wrapf("%d", id)
	}
	return d, err
}

func (s msgServer) Move(goCtx context.Context, msg *MsgMove) (*MsgMoveResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	sender, err := s.account(msg.Sender)
	if err != nil {
		return nil, err
	}
	d, err := s.openDispute(ctx, msg.Dispute)
	if err != nil {
		return nil, err
	}
	game := new(referee.State)
	if err := referee.Decode(d.State, game); err != nil {
		return nil, err
	}
	side := game.Phase.Side()
	party := d.Challenger
	if side == referee.Provider {
		party = d.Provider
	}
	if s.canonical(sender) != party {
		return nil, ErrTurn.Wrapf("it is the turn of the %s, %s", side, party)
	}
	if ctx.BlockTime().Unix() > d.Deadline {
		return nil, ErrTurn.Wrap("the time for this move is over")
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	name, err := s.apply(ctx, p, &d, game, msg.Move)
	if err != nil {
		return nil, err
	}
	d.record(ctx, side, name, len(msg.Move))
	d.spend(p, side, ctx.BlockTime().Unix())
	if game.Phase == referee.Held {
		return &MsgMoveResponse{Winner: referee.Provider.String()}, s.acquit(ctx, &d, "the step holds: "+describe(game, name))
	}
	if err := s.keep(ctx, &d, p, game); err != nil {
		return nil, err
	}
	return &MsgMoveResponse{}, ctx.EventManager().EmitTypedEvent(
		&EventMoved{Id: d.Id, Side: side.String(), Move: name, Next: d.Phase, Deadline: d.Deadline})
}

func describe(game *referee.State, name string) string {
	if game.Claim.Token != nil {
		return fmt.Sprintf("%s of output token %d", name, game.Claim.Token.Output)
	}
	return fmt.Sprintf("%s of leaf (%d,%d), operator %d", name, game.Claim.Position, game.Claim.Layer, game.Operator)
}

// apply charges a move's work and takes it.
func (k Keeper) apply(ctx sdk.Context, p Params, d *Dispute, game *referee.State, move []byte) (name string, err error) {
	m, err := k.model(ctx, d.Model)
	if err != nil {
		return "", err
	}
	ctx.GasMeter().ConsumeGas(game.Work(m)*p.StepGas/1000, "step of a dispute")
	v, err := referee.DecodeMove(move)
	if err != nil {
		return "", ErrMove.Wrap(err.Error())
	}
	if err := game.Apply(m, v); err != nil {
		return "", ErrMove.Wrap(err.Error())
	}
	return referee.Name(v), nil
}

// spend takes the time since the last move off a side's clock, and leaves it at
// least the extension.
func (d *Dispute) spend(p Params, side referee.Side, now int64) {
	clock := &d.ChallengerClock
	if side == referee.Provider {
		clock = &d.ProviderClock
	}
	used := uint64(max(now-d.Moved, 0))
	*clock = max(*clock-min(*clock, used), p.Extension)
	d.Moved = now
}

// EndBlock ends the disputes whose side to move ran out of time, at most
// max_verdicts of them.
func (k Keeper) EndBlock(goCtx context.Context) error {
	ctx := sdk.UnwrapSDKContext(goCtx)
	p, err := k.params.Get(ctx)
	if err != nil {
		return err
	}
	var late []uint64
	now := new(collections.Range[dueKey]).EndExclusive(collections.Join(ctx.BlockTime().Unix(), uint64(0)))
	err = k.due.Walk(ctx, now, func(at dueKey) (bool, error) {
		late = append(late, at.K2())
		return len(late) >= int(p.MaxVerdicts), nil
	})
	if err != nil {
		return err
	}
	for _, id := range late {
		if err := k.timeOut(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (k Keeper) timeOut(ctx sdk.Context, id uint64) error {
	d, err := k.openDispute(ctx, id)
	if errors.Is(err, ErrDispute) {
		return nil // an earlier verdict of this block ended it
	}
	if err != nil {
		return err
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
	if err := k.due.Remove(ctx, collections.Join(d.Deadline, d.Id)); err != nil {
		return err
	}
	if err := k.open.Remove(ctx, collections.Join(provider, d.Id)); err != nil {
		return err
	}
	if err := k.market.Thaw(ctx, provider); err != nil {
		return err
	}
	d.State, d.Phase, d.Turn, d.Deadline = nil, "", "", 0
	d.Winner, d.Cause, d.Ended = winner.String(), cause, ctx.BlockTime().Unix()
	return k.disputes.Set(ctx, d.Id, *d)
}

// acquit ends a dispute for the provider, who gets the challenger's bond.
func (k Keeper) acquit(ctx sdk.Context, d *Dispute, cause string) error {
	provider, err := k.account(d.Provider)
	if err != nil {
		return err
	}
	if err := k.finish(ctx, d, referee.Provider, cause); err != nil {
		return err
	}
	if err := k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, provider, coins(d.Bond)); err != nil {
		return err
	}
	return k.announce(ctx, d, math.ZeroInt())
}

// convict ends a dispute for the challenger: the provider loses all it has at
// stake. The consumer gets back what the answer cost, the challenger its bond
// and the bounty; the rest is burned. Other disputes about the receipt end too.
func (k Keeper) convict(ctx sdk.Context, d *Dispute, cause string) error {
	provider, err := k.account(d.Provider)
	if err != nil {
		return err
	}
	// A provider that plays with one challenger and loses to another, of its own,
	// on purpose gets no bounty: it is the first accuser's.
	others, err := k.about(ctx, provider, d.Receipt)
	if err != nil {
		return err
	}
	if others[0].Id != d.Id {
		cause = fmt.Sprintf("%s in dispute %d", cause, d.Id)
		d = &others[0]
	}
	challenger, err := k.account(d.Challenger)
	if err != nil {
		return err
	}
	burned, err := k.slash(ctx, d, provider, challenger)
	if err != nil {
		return err
	}
	if err := k.convicted.Set(ctx, d.Receipt); err != nil {
		return err
	}
	if err := k.finish(ctx, d, referee.Challenger, cause); err != nil {
		return err
	}
	if err := k.bank.SendCoinsFromModuleToAccount(ctx, ModuleName, challenger, coins(d.Bond)); err != nil {
		return err
	}
	if err := k.announce(ctx, d, burned); err != nil {
		return err
	}
	return k.settleOthers(ctx, provider, d.Receipt)
}

// slash takes the provider's stake and divides it; it notes the parts in d and
// returns what was burned.
func (k Keeper) slash(ctx sdk.Context, d *Dispute, provider, challenger sdk.AccAddress) (burned math.Int, err error) {
	p, err := k.params.Get(ctx)
	if err != nil {
		return burned, err
	}
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
	d.Bounty = rest.MulRaw(int64(p.BountyPoints)).QuoRaw(Basis)
	burned = rest.Sub(d.Bounty)
	if err := k.pay(ctx, challenger, d.Bounty); err != nil {
		return burned, err
	}
	if burned.IsPositive() {
		err = k.bank.BurnCoins(ctx, ModuleName, coins(burned))
	}
	return burned, err
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

// about are the open disputes about a receipt, oldest first.
func (k Keeper) about(ctx sdk.Context, provider sdk.AccAddress, receipt []byte) (ds []Dispute, err error) {
	err = k.open.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](provider), func(at openKey) (bool, error) {
		d, err := k.disputes.Get(ctx, at.K2())
		if bytes.Equal(d.Receipt, receipt) {
			ds = append(ds, d)
		}
		return err != nil, err
	})
	return ds, err
}

// settleOthers ends the other open disputes about a receipt that was proven
// wrong: their challengers were right too, and get their bonds back.
func (k Keeper) settleOthers(ctx sdk.Context, provider sdk.AccAddress, receipt []byte) error {
	ds, err := k.about(ctx, provider, receipt)
	if err != nil {
		return err
	}
	for _, d := range ds {
		challenger, err := k.account(d.Challenger)
		if err != nil {
			return err
		}
		if err := k.finish(ctx, &d, referee.Challenger, "the receipt was proven wrong in another dispute"); err != nil {
			return err
		}
		if err := k.pay(ctx, challenger, d.Bond); err != nil {
			return err
		}
		if err := k.announce(ctx, &d, math.ZeroInt()); err != nil {
			return err
		}
	}
	return nil
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
	provider := sdk.AccAddress(first.Provider[:])
	zero := math.ZeroInt()
	d := Dispute{Provider: s.canonical(provider), Channel: first.Channel[:], Cost: cost(first),
		Winner: referee.Challenger.String(), Cause: "two receipts for one request", Slashed: zero, Bounty: zero, Refund: zero}
	burned, err := s.slash(ctx, &d, provider, challenger)
	if err != nil {
		return nil, err
	}
	for _, id := range []core.Hash{a, b} {
		if err := s.convicted.Set(ctx, id[:]); err != nil {
			return nil, err
		}
		if err := s.settleOthers(ctx, provider, id[:]); err != nil {
			return nil, err
		}
	}
	return &MsgConvictResponse{}, s.announce(ctx, &d, burned)
}
