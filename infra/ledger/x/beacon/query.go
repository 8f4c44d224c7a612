package beacon

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cosmossdk.io/collections"

	"github.com/cosmos/cosmos-sdk/types/query"
)

type queryServer struct{ Keeper }

// NewQueryServer serves the module's queries.
func NewQueryServer(k Keeper) QueryServer { return queryServer{k} }

func (q queryServer) Params(ctx context.Context, _ *QueryParamsRequest) (*QueryParamsResponse, error) {
	p, err := q.params.Get(ctx)
	return &QueryParamsResponse{Params: p}, err
}

func (q queryServer) Beacon(ctx context.Context, r *QueryBeaconRequest) (*QueryBeaconResponse, error) {
	if r.Height == 0 {
		b, ok, err := q.newest(ctx)
		if err == nil && !ok {
			err = status.Error(codes.NotFound, "there is no beacon yet")
		}
		return &QueryBeaconResponse{Beacon: b}, err
	}
	b, err := q.beacons.Get(ctx, r.Height)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "the beacon of height %d is not made yet or no longer kept", r.Height)
	}
	return &QueryBeaconResponse{Beacon: b}, err
}

func (q queryServer) Beacons(ctx context.Context, r *QueryBeaconsRequest) (*QueryBeaconsResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.beacons, r.Pagination,
		func(_ int64, b Beacon) (Beacon, error) { return b, nil })
	return &QueryBeaconsResponse{Beacons: list, Pagination: page}, err
}

func (q queryServer) Members(ctx context.Context, r *QueryMembersRequest) (*QueryMembersResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.members, r.Pagination,
		func(_ []byte, m Member) (Member, error) { return m, nil })
	return &QueryMembersResponse{Members: list, Pagination: page}, err
}
