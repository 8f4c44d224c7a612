package token

import (
	"context"
	"encoding/hex"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

type msgServer struct{ Keeper }

// NewMsgServer serves the module's messages.
func NewMsgServer(k Keeper) MsgServer { return msgServer{k} }

func (s msgServer) TransferWithAuthorization(ctx context.Context, msg *MsgTransferWithAuthorization) (*MsgTransferWithAuthorizationResponse, error) {
	if _, err := s.account(msg.Sender); err != nil {
		return nil, err
	}
	a, err := s.authorization(msg)
	if err != nil {
		return nil, err
	}
	return &MsgTransferWithAuthorizationResponse{}, s.Keeper.TransferWithAuthorization(ctx, a, msg.Signature)
}

func (k Keeper) authorization(msg *MsgTransferWithAuthorization) (a voucher.Authorization, err error) {
	if a.From, err = k.account(msg.From); err != nil {
		return a, err
	}
	if a.To, err = k.account(msg.To); err != nil {
		return a, err
	}
	for _, v := range []struct {
		to   *core.Amount
		from math.Int
	}{{&a.Value, msg.Value}, {&a.ValidAfter, msg.ValidAfter}, {&a.ValidBefore, msg.ValidBefore}} {
		if v.from.IsNil() {
			return a, ErrInvalid.Wrap("value, valid_after and valid_before must be given")
		}
		if *v.to, err = core.AmountFromBig(v.from.BigInt()); err != nil {
			return a, ErrInvalid.Wrap(err.Error())
		}
	}
	if len(msg.Nonce) != len(a.Nonce) {
		return a, ErrInvalid.Wrap("a nonce has 32 bytes")
	}
	a.Nonce = core.Hash(msg.Nonce)
	return a, nil
}

type queryServer struct{ Keeper }

// NewQueryServer serves the module's queries.
func NewQueryServer(k Keeper) QueryServer { return queryServer{k} }

func (q queryServer) Authorization(ctx context.Context, r *QueryAuthorizationRequest) (*QueryAuthorizationResponse, error) {
	owner, err := q.account(r.Owner)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b, err := hex.DecodeString(strings.TrimPrefix(r.Nonce, "0x"))
	if err != nil || len(b) != len(core.Hash{}) {
		return nil, status.Error(codes.InvalidArgument, "a nonce has 64 hex digits")
	}
	used, err := q.Used(ctx, owner, core.Hash(b))
	return &QueryAuthorizationResponse{Used: used}, err
}
