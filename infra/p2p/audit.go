package p2p

import (
	"context"
	"encoding/json"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// ProtocolAudit hands evidence to the auditors that the chain drew.
const ProtocolAudit = protocol.ID("/koinon/audit/1.0.0")

// auditQuery asks for the evidence of an audit; the auditor's account signs it.
type auditQuery struct {
	Audit     uint64         `json:"audit"`
	Time      int64          `json:"time"` // Unix seconds
	Signature core.Signature `json:"signature"`
}

// ServeAudits hands what find returns to the account that signed the query. find
// decides whether that account is drawn.
func (h *Host) ServeAudits(chainID uint64, provider core.Address, find func(ctx context.Context, audit uint64, auditor core.Address) (core.Handed, error)) {
	h.answer(ProtocolAudit, func(ctx context.Context, f frame) ([]byte, int64, error) {
		var q auditQuery
		if err := f.decode(&q); err != nil {
			return nil, 0, core.Errorf(core.CodeInvalid, "%v", err)
		}
		if age := time.Since(time.Unix(q.Time, 0)); age > clockSkew || age < -clockSkew {
			return nil, 0, core.Errorf(core.CodeUnauthorized, "the query is not of now; set the clock")
		}
		asker, err := voucher.Recover(core.AuditQuery(chainID, provider, q.Audit, q.Time), q.Signature)
		if err != nil {
			return nil, 0, core.Errorf(core.CodeUnauthorized, "the query's signature is invalid: %v", err)
		}
		e, err := find(ctx, q.Audit, asker)
		if err != nil {
			return nil, 0, err
		}
		e.Evidence.Boundaries = nil // an auditor computes them
		b, err := json.Marshal(e)
		return b, MaxEvidence, err
	})
}

// FetchAudit asks p for the evidence of an audit; signer is the auditor's account.
func (h *Host) FetchAudit(ctx context.Context, p core.Provider, chainID, audit uint64, signer core.Signer) (core.Handed, error) {
	var e core.Handed
	q := auditQuery{Audit: audit, Time: time.Now().Unix()}
	var err error
	if q.Signature, err = signer.Sign(core.AuditQuery(chainID, p.Address, audit, q.Time)); err != nil {
		return e, err
	}
	b, err := h.ask(ctx, p, ProtocolAudit, q, MaxEvidence)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return core.Handed{}, broken(p, "sent no evidence for audit %d: %v", audit, err)
	}
	return e, nil
}
