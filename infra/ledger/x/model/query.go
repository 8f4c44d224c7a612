package model

import (
	"context"
	"encoding/hex"
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

func (q queryServer) Model(ctx context.Context, r *QueryModelRequest) (*QueryModelResponse, error) {
	id, err := hex.DecodeString(r.Model)
	if err != nil || len(id) != 32 {
		id, err = q.names.Get(ctx, fold(r.Model))
	}
	var m Model
	if err == nil {
		m, err = q.models.Get(ctx, id)
	}
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "no model %q is published", r.Model)
	}
	return &QueryModelResponse{Model: m}, err
}

func (q queryServer) Models(ctx context.Context, r *QueryModelsRequest) (*QueryModelsResponse, error) {
	models, page, err := query.CollectionPaginate(ctx, q.models, r.Pagination,
		func(_ []byte, m Model) (Model, error) { return m, nil })
	return &QueryModelsResponse{Models: models, Pagination: page}, err
}
