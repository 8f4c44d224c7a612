package model

import (
	"bytes"
	"context"
	"encoding/hex"

	sdk "github.com/cosmos/cosmos-sdk/types"
)

type msgServer struct{ Keeper }

// NewMsgServer serves the module's messages.
func NewMsgServer(k Keeper) MsgServer { return msgServer{k} }

func (s msgServer) Publish(goCtx context.Context, msg *MsgPublish) (*MsgPublishResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	publisher, err := s.account(msg.Publisher)
	if err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	m := Model{
		Id: msg.Id, Name: msg.Name, Publisher: s.canonical(publisher), Format: msg.Format, Semantics: msg.Semantics,
		Tokenizer: msg.Tokenizer, Licence: msg.Licence, Parent: msg.Parent, Shares: msg.Shares, Data: msg.Data,
		Context: msg.Context, Size_: msg.Size_, Published: ctx.BlockTime().Unix(),
	}
	if err := s.check(p, m); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	if err := s.unused(ctx, m); err != nil {
		return nil, err
	}
	m.Shares, m.Data = s.canonicalShares(m.Shares), s.canonicalShares(m.Data)
	if m.Depth, err = s.depth(ctx, p, m); err != nil {
		return nil, err
	}
	if p.PublishFee.IsPositive() {
		fee := coins(p.PublishFee)
		if err := s.bank.SendCoinsFromAccountToModule(ctx, publisher, ModuleName, fee); err != nil {
			return nil, ErrFee.Wrap(err.Error())
		}
		if err := s.bank.BurnCoins(ctx, ModuleName, fee); err != nil {
			return nil, err
		}
	}
	if err := s.put(ctx, m); err != nil {
		return nil, err
	}
	return &MsgPublishResponse{}, ctx.EventManager().EmitTypedEvent(&EventPublished{
		Model: hex.EncodeToString(m.Id), Name: m.Name, Publisher: m.Publisher, Parent: hex.EncodeToString(m.Parent),
	})
}

func (s msgServer) unused(ctx context.Context, m Model) error {
	if ok, err := s.models.Has(ctx, m.Id); err != nil || ok {
		return orError(err, ErrExists.Wrapf("%x", m.Id))
	}
	if ok, err := s.names.Has(ctx, fold(m.Name)); err != nil || ok {
		return orError(err, ErrNameTaken.Wrap(m.Name))
	}
	return nil
}

func orError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func (k Keeper) depth(ctx context.Context, p Params, m Model) (uint32, error) {
	if len(m.Parent) == 0 {
		return 0, nil
	}
	parent, err := k.Model(ctx, m.Parent)
	if err != nil {
		return 0, ErrNotFound.Wrapf("parent %x", m.Parent)
	}
	if parent.Depth >= p.MaxDepth {
		return 0, ErrInvalid.Wrapf("parent has %d ancestors, at most %d are allowed", parent.Depth+1, p.MaxDepth)
	}
	return parent.Depth + 1, nil
}

func (s msgServer) SetShares(goCtx context.Context, msg *MsgSetShares) (*MsgSetSharesResponse, error) {
	ctx := sdk.UnwrapSDKContext(goCtx)
	publisher, err := s.account(msg.Publisher)
	if err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	p, err := s.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	m, err := s.Model(ctx, msg.Id)
	if err != nil {
		return nil, err
	}
	owner, err := s.account(m.Publisher)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(owner, publisher) {
		return nil, ErrNotOwner.Wrapf("%s was published by %s", m.Name, m.Publisher)
	}
	if err := s.checkShares("shares", msg.Shares, p.MaxShares); err != nil {
		return nil, ErrInvalid.Wrap(err.Error())
	}
	m.Shares = s.canonicalShares(msg.Shares)
	if err := s.models.Set(ctx, m.Id, m); err != nil {
		return nil, err
	}
	return &MsgSetSharesResponse{}, ctx.EventManager().EmitTypedEvent(&EventSharesSet{Model: hex.EncodeToString(m.Id)})
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
