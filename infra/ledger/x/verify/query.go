package verify

import (
	"context"
	"errors"

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

func (q queryServer) Batch(ctx context.Context, r *QueryBatchRequest) (*QueryBatchResponse, error) {
	a, err := q.account(r.Provider)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b, err := q.batches.Get(ctx, collections.Join(a, r.Sequence))
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "%s has no batch %d", r.Provider, r.Sequence)
	}
	return &QueryBatchResponse{Batch: b}, err
}

func (q queryServer) Batches(ctx context.Context, r *QueryBatchesRequest) (*QueryBatchesResponse, error) {
	a, err := q.account(r.Provider)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	batches, page, err := query.CollectionPaginate(ctx, q.batches, r.Pagination,
		func(_ batchKey, b Batch) (Batch, error) { return b, nil },
		query.WithCollectionPaginationPairPrefix[sdk.AccAddress, uint64](a))
	return &QueryBatchesResponse{Batches: batches, Pagination: page}, err
}
