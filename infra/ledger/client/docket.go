package client

import (
	"context"
	"encoding/json"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

var _ core.Docket = (*Wallet)(nil)

// Audits lists the newest audits first; limit 0 means [pageSize].
func (c *Client) Audits(ctx context.Context, limit int) ([]core.Audit, error) {
	if limit <= 0 {
		limit = pageSize
	}
	r, err := verify.NewQueryClient(c).Audits(ctx, &verify.QueryAuditsRequest{Pagination: &query.PageRequest{Limit: uint64(limit), Reverse: true}})
	if err != nil {
		return nil, readError("the audits cannot be read", err)
	}
	return each(r.Audits, audit)
}

// Audit returns one audit; CodeInvalid when there is none.
func (c *Client) Audit(ctx context.Context, id uint64) (core.Audit, error) {
	r, err := verify.NewQueryClient(c).Audit(ctx, &verify.QueryAuditRequest{Id: id})
	if isNotFound(err) {
		return core.Audit{}, &core.Error{Code: core.CodeInvalid, Message: "there is no such audit, or it is long over", Next: "koinon audit list"}
	}
	if err != nil {
		return core.Audit{}, readError("the audit cannot be read", err)
	}
	return audit(r.Audit)
}

// Auditors lists all auditors.
func (c *Client) Auditors(ctx context.Context) ([]core.Auditing, error) {
	return pages(func(p *query.PageRequest) ([]core.Auditing, *query.PageResponse, error) {
		r, err := verify.NewQueryClient(c).Auditors(ctx, &verify.QueryAuditorsRequest{Pagination: p})
		if err != nil {
			return nil, nil, readError("the auditors cannot be read", err)
		}
		out, err := each(r.Auditors, auditing)
		return out, r.Pagination, err
	})
}

// OpenAudits lists the audits that are not over in which an account is provider
// or auditor.
func (c *Client) OpenAudits(ctx context.Context, of core.Address) ([]core.Audit, error) {
	return remember(ctx, &c.memo, "audits/"+of.String(), func(ctx context.Context) ([]core.Audit, error) {
		r, err := verify.NewQueryClient(c).OpenAudits(ctx, &verify.QueryOpenAuditsRequest{Account: Bech32(of)})
		if err != nil {
			return nil, readError("the open audits cannot be read", err)
		}
		return each(r.Audits, audit)
	})
}

func auditing(v verify.Auditor) (core.Auditing, error) {
	var r reader
	out := core.Auditing{Account: r.account(v.Account), Bond: r.amount(v.Bond), Leaves: v.Leaves, Open: v.Open, Audits: v.Audits,
		Right: v.Right, Wrong: v.Wrong, Missed: v.Missed, Earned: r.amount(v.Earned), Lost: r.amount(v.Lost)}
	for _, m := range v.Models {
		out.Models = append(out.Models, r.hash(m))
	}
	return out, r.err
}

func audit(a verify.Audit) (core.Audit, error) {
	var r reader
	out := core.Audit{ID: a.Id, Provider: r.account(a.Provider), Sequence: a.Sequence, Index: a.Index, Model: r.hash(a.Model), Phase: a.Phase,
		Drawn: a.Drawn, Deadline: a.Deadline, Ended: a.Ended, Receipt: r.hash(a.Receipt), Pay: r.amount(a.Pay), Beacon: r.hash(a.Beacon), Withheld: a.Withheld, Signed: a.Signed}
	if a.Canary != "" {
		out.Canary = r.account(a.Canary)
	}
	for _, d := range a.Duties {
		out.Duties = append(out.Duties, core.Duty{Auditor: r.account(d.Auditor), Commitment: r.hash(d.Commitment), Verdict: d.Verdict, Key: r.hash(d.Key), Due: d.Due,
			Size: d.Size_, Received: d.Received, Outcome: d.Outcome, Paid: r.amount(d.Paid), Lost: r.amount(d.Lost)})
	}
	return out, r.err
}

// RegisterAuditor bonds this account as an auditor of the models, in rising
// order of ids; bond is added to what is bonded.
func (w *Wallet) RegisterAuditor(ctx context.Context, bond core.Amount, models []core.ModelID) error {
	msg := &verify.MsgRegisterAuditor{Auditor: w.account, Bond: integer(bond)}
	for _, m := range models {
		msg.Models = append(msg.Models, m[:])
	}
	_, err := w.Submit(ctx, msg)
	return err
}

// LeaveAuditing ends the draws of this account; its bond returns later.
func (w *Wallet) LeaveAuditing(ctx context.Context) error {
	_, err := w.Submit(ctx, &verify.MsgLeaveAuditing{Auditor: w.account})
	return err
}

// OpenAudits implements core.Docket.
func (w *Wallet) OpenAudits(ctx context.Context, of core.Address) ([]core.Audit, error) {
	return w.c.OpenAudits(ctx, of)
}

// Audit implements core.Docket.
func (w *Wallet) Audit(ctx context.Context, id uint64) (core.Audit, error) { return w.c.Audit(ctx, id) }

// Batch implements core.Docket.
func (w *Wallet) Batch(ctx context.Context, provider core.Address, sequence uint64) (core.ReceiptBatch, error) {
	r, err := verify.NewQueryClient(w.c).Batch(ctx, &verify.QueryBatchRequest{Provider: Bech32(provider), Sequence: sequence})
	if err != nil {
		return core.ReceiptBatch{}, readError("the batch cannot be read", err)
	}
	return batch(r.Batch)
}

// CommitVerdict implements core.Docket.
func (w *Wallet) CommitVerdict(ctx context.Context, audit uint64, commitment core.Hash) error {
	_, err := w.Submit(ctx, &verify.MsgCommitVerdict{Auditor: w.account, Audit: audit, Commitment: commitment[:]})
	return err
}

// RevealVerdict implements core.Docket.
func (w *Wallet) RevealVerdict(ctx context.Context, r core.Revelation) error {
	msg := &verify.MsgRevealVerdict{Auditor: w.account, Audit: r.Audit, Verdict: r.Verdict, Trace: r.Trace[:], Salt: r.Salt[:]}
	if r.Placed != nil {
		raw, err := json.Marshal(r.Placed.Receipt)
		if err != nil {
			return err
		}
		msg.Receipt, msg.Path = raw, steps(r.Placed.Place.Path)
	}
	for _, s := range r.Spots {
		msg.Spots = append(msg.Spots, verify.Spot{Leaf: s.Leaf[:], Index: s.Place.Index, Size_: s.Place.Size, Path: steps(s.Place.Path), TracePath: steps(s.Trace)})
	}
	_, err := w.Submit(ctx, msg)
	return err
}

func steps(path []core.Hash) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}

// Demand implements core.Docket.
func (w *Wallet) Demand(ctx context.Context, audit uint64, key core.Hash) error {
	_, err := w.Submit(ctx, &verify.MsgDemand{Auditor: w.account, Audit: audit, Key: key[:]})
	return err
}

// Supply implements core.Docket.
func (w *Wallet) Supply(ctx context.Context, audit uint64, auditor core.Address, p core.Placed, size, offset uint32, data []byte) error {
	msg := &verify.MsgSupply{Provider: w.account, Audit: audit, Auditor: Bech32(auditor), Size_: size, Offset: offset, Data: data}
	if offset == 0 {
		raw, err := json.Marshal(p.Receipt)
		if err != nil {
			return err
		}
		msg.Receipt, msg.Path = raw, steps(p.Place.Path)
	}
	_, err := w.Submit(ctx, msg)
	return err
}

// Expose implements core.Docket.
func (w *Wallet) Expose(ctx context.Context, audit uint64, key []byte) error {
	_, err := w.Submit(ctx, &verify.MsgExpose{Auditor: w.account, Audit: audit, Key: key})
	return err
}

// Payload implements core.Docket.
func (w *Wallet) Payload(ctx context.Context, audit uint64, auditor core.Address) ([]byte, error) {
	r, err := verify.NewQueryClient(w.c).Payload(ctx, &verify.QueryPayloadRequest{Id: audit, Auditor: Bech32(auditor)})
	if err != nil {
		return nil, readError("the payload cannot be read", err)
	}
	return r.Sealed, nil
}
