package payment

import (
	"context"
	"encoding/hex"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/koinon-network/koinon/core"
)

type queryServer struct{ Keeper }

// NewQueryServer serves the module's queries.
func NewQueryServer(k Keeper) QueryServer { return queryServer{k} }

func (q queryServer) Params(ctx context.Context, _ *QueryParamsRequest) (*QueryParamsResponse, error) {
	p, err := q.params.Get(ctx)
	return &QueryParamsResponse{Params: p, EvmChainId: q.chainID}, err
}

func (q queryServer) Channel(ctx context.Context, r *QueryChannelRequest) (*QueryChannelResponse, error) {
	id, err := hex.DecodeString(strings.TrimPrefix(r.Channel, "0x"))
	if err != nil || len(id) != 32 {
		return nil, status.Error(codes.InvalidArgument, "a channel id has 64 hex digits")
	}
	c, err := q.Keeper.Channel(ctx, id)
	if ErrNotFound.Is(err) {
		return nil, status.Errorf(codes.NotFound, "there is no channel %s", r.Channel)
	}
	return &QueryChannelResponse{Channel: c}, err
}

func (q queryServer) Channels(ctx context.Context, r *QueryChannelsRequest) (*QueryChannelsResponse, error) {
	a, err := q.account(r.Account)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	var last Channel // the one that the predicate has just read
	read := func(id []byte) (err error) { last, err = q.channels.Get(ctx, id); return err }
	channels, page, err := query.CollectionFilteredPaginate(ctx, q.parties, r.Pagination,
		func(k byParty, _ collections.NoValue) (bool, error) {
			err := read(k.K2())
			return err == nil && !(r.OpenOnly && last.State == StateClosed), err
		},
		func(byParty, collections.NoValue) (Channel, error) { return last, nil },
		query.WithCollectionPaginationPairPrefix[sdk.AccAddress, []byte](a))
	return &QueryChannelsResponse{Channels: channels, Pagination: page}, err
}

func (q queryServer) Totals(ctx context.Context, _ *QueryTotalsRequest) (*QueryTotalsResponse, error) {
	t, err := q.totals.Get(ctx)
	return &QueryTotalsResponse{Totals: t, Locked: q.bank.GetBalance(ctx, q.self(), core.BaseDenom).Amount}, err
}
