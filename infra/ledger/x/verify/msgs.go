package verify

import (
	"context"
	"encoding/hex"
	"errors"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
)

// DefaultParams allow a million receipts in a batch.
func DefaultParams() Params { return Params{MaxCount: 1 << 20} }

// Validate checks the bounds within which governance may move.
func (p Params) Validate() error {
	if p.MaxCount == 0 || p.MaxCount > 1<<30 {
		return errors.New("max_count must lie in [1, 2^30]")
	}
	return nil
}

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
		Height: ctx.BlockHeight(), Time: ctx.BlockTime().Unix(),
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
	return &MsgCommitReceiptsResponse{}, ctx.EventManager().EmitTypedEvent(&EventCommitted{
		Provider: b.Provider, Sequence: b.Sequence, Root: hex.EncodeToString(b.Root), Count: b.Count,
	})
}

func (b Batch) validate(p Params) error {
	if len(b.Root) != 32 || core.Hash(b.Root).IsZero() {
		return errors.New("a root has 32 bytes, not all zero")
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
