package market

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cosmossdk.io/collections"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/query"
)

type queryServer struct{ Keeper }

// NewQueryServer serves the module's queries.
func NewQueryServer(k Keeper) QueryServer { return queryServer{k} }

func (q queryServer) Params(ctx context.Context, _ *QueryParamsRequest) (*QueryParamsResponse, error) {
	p, err := q.params.Get(ctx)
	return &QueryParamsResponse{Params: p}, err
}

func (q queryServer) listing(ctx context.Context, a sdk.AccAddress, p Provider) (l Listing, err error) {
	l.Provider = p
	if l.Offers, err = q.Offers(ctx, a); err != nil {
		return l, err
	}
	if l.Record, err = q.record(ctx, a); err != nil {
		return l, err
	}
	if l.Stake, err = q.Stake(ctx, a); err != nil {
		return l, err
	}
	params, err := q.params.Get(ctx)
	if err != nil {
		return l, err
	}
	l.Cover = params.cover(l.Stake)
	l.Exposure, err = q.Exposure(ctx, a)
	return l, err
}

func (q queryServer) Provider(ctx context.Context, r *QueryProviderRequest) (*QueryProviderResponse, error) {
	a, err := q.account(r.Provider)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p, err := q.Keeper.Provider(ctx, a)
	if ErrUnregistered.Is(err) {
		return nil, status.Errorf(codes.NotFound, "%s is not a registered provider", r.Provider)
	}
	if err != nil {
		return nil, err
	}
	l, err := q.listing(ctx, a, p)
	return &QueryProviderResponse{Listing: l}, err
}

func (q queryServer) Providers(ctx context.Context, r *QueryProvidersRequest) (*QueryProvidersResponse, error) {
	l, page, err := query.CollectionPaginate(ctx, q.providers, r.Pagination,
		func(a sdk.AccAddress, p Provider) (Listing, error) { return q.listing(ctx, a, p) })
	return &QueryProvidersResponse{Listings: l, Pagination: page}, err
}

func (q queryServer) Unbondings(ctx context.Context, r *QueryUnbondingsRequest) (*QueryUnbondingsResponse, error) {
	a, err := q.account(r.Provider)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	var out []Unbonding
	err = q.pending.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, due](a),
		func(k collections.Pair[sdk.AccAddress, due]) (bool, error) {
			u, err := q.unbondings.Get(ctx, k.K2())
			out = append(out, u)
			return false, err
		})
	return &QueryUnbondingsResponse{Unbondings: out}, err
}
