package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

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
	claimGas     = 2 // a byte
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
	if err := ctx.EventManager().EmitTypedEvents(
		&EventOpened{Id: d.Id, Challenger: d.Challenger, Provider: d.Provider, Receipt: hex.EncodeToString(d.Receipt)},
		&EventMoved{Id: d.Id, Side: referee.Challenger.String(), Move: "claim", Next: d.Phase, Deadline: d.Deadline}); err != nil {
		return nil, err
	}
	if game.Phase == referee.Proven { // by the claim itself
		err = s.convict(ctx, &d, game.Fault)
	}
	return &MsgOpenDisputeResponse{Id: d.Id}, err
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
	ctx.GasMeter().ConsumeGas(uint64(len(claim))*claimGas, "claim's openings")
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
	n, err := k.countOpen(ctx, provider, int(p.MaxOpen))
	if err != nil {
		return Dispute{}, err
	}
	if n >= int(p.MaxOpen) {
		return Dispute{}, ErrOpen.Wrapf("%d are open", n)
	}
	bond := p.bond(n)
	if known, err := k.market.Registered(ctx, provider); err != nil {
		return Dispute{}, err
	} else if !known {
		return Dispute{}, ErrStranger.Wrap(k.canonical(provider))
	}
	if err := k.bank.SendCoinsFromAccountToModule(ctx, challenger, ModuleName, coins(bond)); err != nil {
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
		Claim: msg.Claim, Cost: cost(r), Bond: bond, Opened: now, Moved: now, TurnHeight: ctx.BlockHeight(), Expiry: r.Expiry,
		ChallengerClock: p.Clock, ProviderClock: p.Clock, Slashed: zero, Bounty: zero, Refund: zero,
		Terms: Terms{MoveTime: p.MoveTime, Extension: p.Extension, MinBlocks: p.MinBlocks, BountyPoints: p.BountyPoints, BurnPoints: p.BurnPoints},
	}
	d.record(ctx, referee.Challenger, "claim", len(msg.Receipt)+len(msg.Claim))
	if err := k.list(ctx, &d, provider); err != nil {
		return d, err
	}
	return d, k.keep(ctx, &d, game)
}

// bond is the challenger's for one more dispute where n are open about a
// provider. It grows so that nobody, the provider least of all, can fill the
// list and keep others out.
func (p Params) bond(n int) math.Int {
	return p.ChallengerBond.Mul(math.NewIntFromBigInt(new(big.Int).Lsh(big.NewInt(1), uint(n/max(int(p.BondDoubling), 1)))))
}

// list notes an open dispute where it is looked for.
func (k Keeper) list(ctx context.Context, d *Dispute, provider sdk.AccAddress) error {
	challenger, err := k.account(d.Challenger)
	if err != nil {
		return err
	}
	if err := k.open.Set(ctx, collections.Join(provider, d.Id)); err != nil {
		return err
	}
	if err := k.raised.Set(ctx, collections.Join(challenger, d.Id)); err != nil {
		return err
	}
	return k.accused.Set(ctx, collections.Join(d.Receipt, d.Id))
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
func (k Keeper) keep(ctx context.Context, d *Dispute, game *referee.State) error {
	clock := d.ChallengerClock
	if game.Phase.Side() == referee.Provider {
		clock = d.ProviderClock
	}
	d.State, d.Phase, d.Turn = referee.Encode(*game), game.Phase.String(), game.Phase.Side().String()
	return k.postpone(ctx, d, d.Moved+int64(min(d.Terms.MoveTime, clock)))
}

// postpone sets a dispute's deadline and stores it.
func (k Keeper) postpone(ctx context.Context, d *Dispute, deadline int64) error {
	if d.Deadline != 0 {
		if err := k.due.Remove(ctx, collections.Join(d.Deadline, d.Id)); err != nil {
			return err
		}
	}
	d.Deadline = deadline
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
	if ctx.BlockTime().Unix() > d.Deadline && ctx.BlockHeight() > d.TurnHeight+int64(d.Terms.MinBlocks) {
		return nil, ErrTurn.Wrap("the time for this move is over")
	}
	if err := s.unproven(ctx, core.Hash(d.Receipt)); err != nil {
		return nil, err
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
	d.spend(ctx, side)
	if game.Phase == referee.Held {
		return &MsgMoveResponse{Winner: referee.Provider.String()}, s.acquit(ctx, &d, "the step holds: "+describe(game, name))
	}
	if game.Phase == referee.Proven {
		return &MsgMoveResponse{Winner: referee.Challenger.String()}, s.convict(ctx, &d, game.Fault)
	}
	if err := s.keep(ctx, &d, game); err != nil {
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
// least the extension: a side's moves take no longer than its clock and an
// extension for each of them.
func (d *Dispute) spend(ctx sdk.Context, side referee.Side) {
	clock := &d.ChallengerClock
	if side == referee.Provider {
		clock = &d.ProviderClock
	}
	now := ctx.BlockTime().Unix()
	used := uint64(max(now-d.Moved, 0))
	*clock = max(*clock-min(*clock, used), d.Terms.Extension)
	d.Moved, d.TurnHeight = now, ctx.BlockHeight()
}
