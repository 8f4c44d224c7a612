package verify

import (
	"context"
	"encoding/hex"
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

func (q queryServer) Model(ctx context.Context, r *QueryModelRequest) (*QueryModelResponse, error) {
	id, err := hex.DecodeString(r.Model)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%q is no model id", r.Model)
	}
	m, err := q.models.Get(ctx, id)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "the model %s is not admitted", r.Model)
	}
	return &QueryModelResponse{Model: m}, err
}

func (q queryServer) Dispute(ctx context.Context, r *QueryDisputeRequest) (*QueryDisputeResponse, error) {
	d, err := q.disputes.Get(ctx, r.Id)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "there is no dispute %d", r.Id)
	}
	return &QueryDisputeResponse{Dispute: d}, err
}

func (q queryServer) Disputes(ctx context.Context, r *QueryDisputesRequest) (*QueryDisputesResponse, error) {
	disputes, page, err := query.CollectionPaginate(ctx, q.disputes, r.Pagination,
		func(_ uint64, d Dispute) (Dispute, error) { d.State = nil; return d, nil })
	return &QueryDisputesResponse{Disputes: disputes, Pagination: page}, err
}

func (q queryServer) Open(ctx context.Context, r *QueryOpenRequest) (*QueryOpenResponse, error) {
	set, party := q.open, r.Provider
	if r.Challenger != "" {
		if r.Provider != "" {
			return nil, status.Error(codes.InvalidArgument, "either provider or challenger can be asked for")
		}
		set, party = q.raised, r.Challenger
	}
	var of []func(*query.CollectionsPaginateOptions[openKey])
	if party != "" {
		a, err := q.account(party)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		of = append(of, query.WithCollectionPaginationPairPrefix[sdk.AccAddress, uint64](a))
	}
	disputes, page, err := query.CollectionPaginate(ctx, set, r.Pagination, func(at openKey, _ collections.NoValue) (Dispute, error) {
		d, err := q.disputes.Get(ctx, at.K2())
		d.State = nil
		return d, err
	}, of...)
	return &QueryOpenResponse{Disputes: disputes, Pagination: page}, err
}
