package verify

import (
	"context"
	"encoding/hex"
	"errors"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// Basis is the whole of a number of points.
const Basis = 10_000

// DefaultParams are those of a public network: a batch has at most a million
// receipts, a side has 3 hours, and 20 minutes or at least 30 blocks for a move.
func DefaultParams() Params {
	return Params{
		MaxCount: 1 << 20, ChallengerBond: math.NewIntFromBigInt(core.Koin(5).Big()), MoveTime: 20 * 60, Clock: 3 * 60 * 60, Extension: 5 * 60,
		BountyPoints: 3_000, MaxOpen: 1024, MaxVerdicts: 100, StepGas: 130,
		MinBlocks: 30, BurnPoints: 2_000, BondDoubling: 64, Keep: 30 * 24 * 3600, MaxPruned: 100,
		Audits: DefaultAuditParams(),
	}
}

// Validate checks the bounds within which governance may move.
func (p Params) Validate() error {
	switch {
	case p.MaxCount == 0 || p.MaxCount > 1<<30:
		return errors.New("max_count must lie in [1, 2^30]")
	case p.ChallengerBond.IsNil() || !p.ChallengerBond.IsPositive():
		return errors.New("challenger_bond must be positive")
	case p.MoveTime == 0 || p.MoveTime > 7*24*3600 || p.Clock < p.MoveTime || p.Clock > 30*24*3600 || p.Extension > p.MoveTime:
		return errors.New("times must satisfy 0 < move_time <= 7 days, move_time <= clock <= 30 days, extension <= move_time")
	case p.BountyPoints > maxBounty:
		return errors.New("bounty_points must not exceed 3,000: a self-challenge would pay")
	case p.MaxOpen == 0 || p.MaxOpen > 1<<16 || p.MaxVerdicts == 0 || p.MaxVerdicts > 1<<12:
		return errors.New("max_open must lie in [1, 65536] and max_verdicts in [1, 4096]")
	case p.StepGas > 1<<20:
		return errors.New("step_gas must not exceed 2^20")
	case p.MinBlocks == 0 || p.MinBlocks > 10_000:
		return errors.New("min_blocks must lie in [1, 10,000]")
	case p.BurnPoints == 0 || p.BurnPoints > Basis/2:
		return errors.New("burn_points must lie in [1, 5,000]: a self-challenge must cost something, and a provider be paid for its defence")
	case p.BondDoubling == 0 || p.MaxOpen/p.BondDoubling > 128:
		return errors.New("bond_doubling must lie in [max_open / 128, max_open]")
	case p.Keep < 2*p.Clock || p.Keep > 10*365*24*3600 || p.MaxPruned == 0 || p.MaxPruned > 1<<12:
		return errors.New("keep must lie in [2 clocks, 10 years] and max_pruned in [1, 4096]")
	}
	return p.Audits.Validate()
}

// maxBounty is the greatest share of a slash that a challenger may get.
const maxBounty = 3_000

type msgServer struct{ Keeper }

// NewMsgServer serves the module's messages.
func NewMsgServer(k Keeper) MsgServer { return msgServer{k} }

func (s msgServer) CommitReceipts(goCtx context.Context, msg *MsgCommitReceipts) (*MsgCommitReceiptsResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	a, err := s.account(msg.Provider)
	if err != nil {
		return nil, err
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	b := Batch{
		Provider: s.canonical(a), Sequence: msg.Sequence, Root: msg.Root, Count: msg.Count,
		Height: ctx.BlockHeight(), Time: ctx.BlockTime().Unix(), Model: msg.Model,
	}
	if err := b.validate(p); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if known, err := s.market.Registered(ctx, a); err != nil {
		return nil, err
	} else if !known {
		return nil, ErrStranger.Wrap(msg.Provider)
	}
	last, err := s.Last(ctx, a)
	if err != nil {
		return nil, err
	}
	if msg.Sequence != last+1 {
		return nil, ErrSequence.Wrapf("have %d, the next is %d", msg.Sequence, last+1)
	}
	if err := s.put(ctx, a, b); err != nil {
		return nil, err
	}
	if err := s.market.AddServed(ctx, a, uint64(b.Count)); err != nil {
		return nil, err
	}
	if err := s.await(ctx, p.Audits, b); err != nil {
		return nil, err
	}
	return &MsgCommitReceiptsResponse{}, ctx.EventManager().EmitTypedEvent(&EventCommitted{
		Provider: b.Provider, Sequence: b.Sequence, Root: hex.EncodeToString(b.Root), Count: b.Count,
	})
}

func (b Batch) validate(p Params) error {
	if len(b.Root) != 32 || core.Hash(b.Root).IsZero() {
		return errors.New("a root has 32 bytes, not all zero")
	}
	if len(b.Model) != 32 {
		return errors.New("a batch names the model of its receipts, 32 bytes")
	}
	if b.Count == 0 || b.Count > p.MaxCount {
		return errors.New("count is out of range")
	}
	return nil
}

func (s msgServer) UpdateParams(ctx context.Context, msg *MsgUpdateParams) (*MsgUpdateParamsResponse, error) {
	if msg.Authority != s.authority {
		return nil, ErrAuthority.Wrap(msg.Authority)
	}
	if err := msg.Params.Validate(); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	return &MsgUpdateParamsResponse{}, s.params.Set(ctx, msg.Params)
}
