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

func (q queryServer) Auditor(ctx context.Context, r *QueryAuditorRequest) (*QueryAuditorResponse, error) {
	a, err := q.account(r.Account)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	v, err := q.Keeper.Auditor(ctx, a)
	if errors.Is(err, ErrAuditor) {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	return &QueryAuditorResponse{Auditor: v}, err
}

func (q queryServer) Auditors(ctx context.Context, r *QueryAuditorsRequest) (*QueryAuditorsResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.audit.auditors, r.Pagination,
		func(_ sdk.AccAddress, v Auditor) (Auditor, error) { return v, nil })
	return &QueryAuditorsResponse{Auditors: list, Pagination: page}, err
}

func (q queryServer) Audit(ctx context.Context, r *QueryAuditRequest) (*QueryAuditResponse, error) {
	a, err := q.audit.audits.Get(ctx, r.Id)
	if errors.Is(err, collections.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "there is no audit %d", r.Id)
	}
	return &QueryAuditResponse{Audit: a}, err
}

func (q queryServer) Audits(ctx context.Context, r *QueryAuditsRequest) (*QueryAuditsResponse, error) {
	list, page, err := query.CollectionPaginate(ctx, q.audit.audits, r.Pagination,
		func(_ uint64, a Audit) (Audit, error) { return a, nil })
	return &QueryAuditsResponse{Audits: list, Pagination: page}, err
}

// maxListed bounds the open audits that one answer lists.
const maxListed = 1_000

func (q queryServer) OpenAudits(ctx context.Context, r *QueryOpenAuditsRequest) (*QueryOpenAuditsResponse, error) {
	who, err := q.account(r.Account)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := &QueryOpenAuditsResponse{}
	err = q.audit.parties.Walk(ctx, collections.NewPrefixedPairRange[sdk.AccAddress, uint64](who), func(at partyKey) (bool, error) {
		a, err := q.audit.audits.Get(ctx, at.K2())
		out.Audits = append(out.Audits, a)
		return err != nil || len(out.Audits) >= maxListed, err
	})
	return out, err
}

func (q queryServer) Payload(ctx context.Context, r *QueryPayloadRequest) (*QueryPayloadResponse, error) {
	x, err := q.account(r.Auditor)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b, err := q.sealed(ctx, r.Id, x)
	return &QueryPayloadResponse{Sealed: b}, err
}
