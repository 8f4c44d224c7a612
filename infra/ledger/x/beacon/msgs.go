package beacon

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/infra/vrf"
)

type msgServer struct{ Keeper }

// NewMsgServer serves the module's messages.
func NewMsgServer(k Keeper) MsgServer { return msgServer{k} }

func (s msgServer) RegisterKey(goCtx context.Context, msg *MsgRegisterKey) (*MsgRegisterKeyResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	operator, err := s.operator(msg.Operator)
	if err != nil {
		return nil, err
	}
	v, err := s.staking.GetValidator(ctx, operator)
	if err != nil {
		return nil, ErrValidator.Wrap(msg.Operator)
	}
	consensus, err := v.GetConsAddr()
	if err != nil {
		return nil, err
	}
	if _, err := vrf.Verify(msg.Public, PossessionMessage(ctx.ChainID(), operator, msg.Public), msg.Proof); err != nil {
		return nil, ErrProof.Wrap("the proof is not this key's for this chain and operator")
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	key := Key{Public: msg.Public, From: ctx.BlockHeight() + int64(p.KeyDelay)}
	if err := s.rotate(ctx, consensus, v.OperatorAddress, key); err != nil {
		return nil, err
	}
	return &MsgRegisterKeyResponse{From: key.From}, ctx.EventManager().EmitTypedEvent(&EventKeyRegistered{
		Operator: v.OperatorAddress, Public: hex.EncodeToString(msg.Public), From: key.From,
	})
}

// rotate leaves a validator the key that it uses now and the new one. A key that
// waited to take effect gives way to the new one.
func (k Keeper) rotate(ctx sdk.Context, consensus []byte, operator string, key Key) error {
	owner, err := k.owners.Get(ctx, key.Public)
	if err == nil && !bytes.Equal(owner, consensus) {
		return ErrKeyTaken.Wrapf("%x", key.Public)
	}
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	m, err := k.members.Get(ctx, consensus)
	if err != nil && !errors.Is(err, collections.ErrNotFound) {
		return err
	}
	for _, old := range m.Keys {
		if err := k.owners.Remove(ctx, old.Public); err != nil {
			return err
		}
	}
	next := Member{Consensus: consensus, Operator: operator}
	for i, old := range m.Keys {
		last := i == len(m.Keys)-1
		if old.From <= ctx.BlockHeight() && (last || m.Keys[i+1].From > ctx.BlockHeight()) {
			next.Keys = append(next.Keys, old)
		}
	}
	next.Keys = append(next.Keys, key)
	return k.putMember(ctx, next)
}

func (k Keeper) putMember(ctx context.Context, m Member) error {
	for _, key := range m.Keys {
		if err := k.owners.Set(ctx, key.Public, m.Consensus); err != nil {
			return err
		}
	}
	return k.members.Set(ctx, m.Consensus, m)
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
