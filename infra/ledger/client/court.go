package client

import (
	"context"
	"encoding/hex"
	"encoding/json"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

var _ core.Court = (*Wallet)(nil)

// Judged reports whether a model is admitted, so that its answers can be judged.
func (c *Client) Judged(ctx context.Context, id core.ModelID) (bool, error) {
	_, err := verify.NewQueryClient(c).Model(ctx, &verify.QueryModelRequest{Model: hex.EncodeToString(id[:])})
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, readError("the admitted models cannot be read", err)
	}
	return true, nil
}

// Dispute returns one dispute; CodeInvalid when there is none.
func (c *Client) Dispute(ctx context.Context, id uint64) (core.Dispute, error) {
	r, err := verify.NewQueryClient(c).Dispute(ctx, &verify.QueryDisputeRequest{Id: id})
	if isNotFound(err) {
		return core.Dispute{}, &core.Error{Code: core.CodeInvalid, Message: "there is no such dispute", Next: "koinon dispute list"}
	}
	if err != nil {
		return core.Dispute{}, readError("the dispute cannot be read", err)
	}
	return dispute(r.Dispute)
}

// Disputes lists the newest disputes first, states left out; limit 0 means
// [pageSize].
func (c *Client) Disputes(ctx context.Context, limit int) ([]core.Dispute, error) {
	if limit <= 0 {
		limit = pageSize
	}
	r, err := verify.NewQueryClient(c).Disputes(ctx, &verify.QueryDisputesRequest{Pagination: &query.PageRequest{Limit: uint64(limit), Reverse: true}})
	if err != nil {
		return nil, readError("the disputes cannot be read", err)
	}
	return each(r.Disputes, dispute)
}

// OpenDisputes lists all disputes that are not over, states left out: those of
// which an account is a party, or with the zero address everybody's.
func (c *Client) OpenDisputes(ctx context.Context, party core.Address) ([]core.Dispute, error) {
	of := []verify.QueryOpenRequest{{}}
	if party != (core.Address{}) {
		of = []verify.QueryOpenRequest{{Provider: Bech32(party)}, {Challenger: Bech32(party)}}
	}
	var all []core.Dispute
	for i := range of {
		some, err := pages(func(p *query.PageRequest) ([]core.Dispute, *query.PageResponse, error) {
			of[i].Pagination = p
			r, err := verify.NewQueryClient(c).Open(ctx, &of[i])
			if err != nil {
				return nil, nil, readError("the open disputes cannot be read", err)
			}
			out, err := each(r.Disputes, dispute)
			return out, r.Pagination, err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func dispute(d verify.Dispute) (core.Dispute, error) {
	var r reader
	out := core.Dispute{
		ID: d.Id, Challenger: r.account(d.Challenger), Provider: r.account(d.Provider), Receipt: r.hash(d.Receipt), Model: r.hash(d.Model),
		Claim: d.Claim, State: d.State, Phase: d.Phase, Turn: d.Turn, Opened: d.Opened, Moved: d.Moved, Deadline: d.Deadline, Ended: d.Ended,
		Moves: d.Moves, Size: d.Bytes, Winner: d.Winner, Cause: d.Cause,
		Slashed: r.amount(d.Slashed), Bounty: r.amount(d.Bounty), Refund: r.amount(d.Refund),
	}
	for _, m := range d.History {
		out.History = append(out.History, core.DisputeMove{Height: m.Height, Side: m.Side, Move: m.Move, Size: m.Bytes})
	}
	return out, r.err
}

// Judged implements core.Court.
func (w *Wallet) Judged(ctx context.Context, id core.ModelID) (bool, error) {
	return w.c.Judged(ctx, id)
}

// Dispute implements core.Court.
func (w *Wallet) Dispute(ctx context.Context, id uint64) (core.Dispute, error) {
	return w.c.Dispute(ctx, id)
}

// Disputes implements core.Court.
func (w *Wallet) Disputes(ctx context.Context, limit int) ([]core.Dispute, error) {
	return w.c.Disputes(ctx, limit)
}

// OpenDisputes implements core.Court.
func (w *Wallet) OpenDisputes(ctx context.Context, party core.Address) ([]core.Dispute, error) {
	return w.c.OpenDisputes(ctx, party)
}

// AdmitModel shows a model's shape to the chain; doing it twice changes nothing.
func (w *Wallet) AdmitModel(ctx context.Context, id core.ModelID, admission []byte) error {
	_, err := w.Submit(ctx, &verify.MsgAdmitModel{Sender: w.account, Model: id[:], Admission: admission})
	return err
}

// OpenDispute says that a receipt is wrong; this account's bond is at stake.
func (w *Wallet) OpenDispute(ctx context.Context, r core.SignedReceipt, claim []byte) (uint64, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	if _, err := w.Submit(ctx, &verify.MsgOpenDispute{Challenger: w.account, Receipt: raw, Claim: claim}); err != nil {
		return 0, err
	}
	ds, err := w.c.OpenDisputes(ctx, w.Address())
	if err != nil {
		return 0, err
	}
	id, newest := r.Digest(), uint64(0)
	for _, d := range ds {
		if d.Receipt == id && d.Challenger == w.Address() {
			newest = max(newest, d.ID)
		}
	}
	if newest > 0 {
		return newest, nil
	}
	return 0, core.Errorf(core.CodeInternal, "the dispute about receipt %s was opened and is not listed", id.Short())
}

// MoveDispute makes the next move for this account's side.
func (w *Wallet) MoveDispute(ctx context.Context, id uint64, move []byte) error {
	_, err := w.Submit(ctx, &verify.MsgMove{Sender: w.account, Dispute: id, Move: move})
	return err
}
