package p2p

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// MaxEvidence bounds an evidence in bytes on the wire; longer ones travel
// without their boundary leaves, which can be derived.
const MaxEvidence = 16 << 20

// evidenceQuery asks for the evidence behind a receipt. Its signature is by the
// key that signed the request.
type evidenceQuery struct {
	Receipt   core.ReceiptID `json:"receipt"`
	Time      int64          `json:"time"` // Unix seconds
	Signature core.Signature `json:"signature"`
}

func (q *evidenceQuery) digest(provider core.Address) core.Hash {
	b := append([]byte("koinon/evidence-query/1"), q.Receipt[:]...)
	b = append(b, provider[:]...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(q.Time)))
}

// ServeEvidence hands the evidence that find returns to whoever signed the
// request behind it, and to nobody else.
func (h *Host) ServeEvidence(provider core.Address, find func(ctx context.Context, id core.ReceiptID) (core.Evidence, error)) {
	h.answer(ProtocolEvidence, func(ctx context.Context, f frame) ([]byte, int64, error) {
		var q evidenceQuery
		if err := f.decode(&q); err != nil {
			return nil, 0, core.Errorf(core.CodeInvalid, "%v", err)
		}
		if age := time.Since(time.Unix(q.Time, 0)); age > clockSkew || age < -clockSkew {
			return nil, 0, core.Errorf(core.CodeUnauthorized, "the query is not of now; set the clock")
		}
		asker, err := voucher.Recover(q.digest(provider), q.Signature)
		if err != nil {
			return nil, 0, core.Errorf(core.CodeUnauthorized, "the query's signature is invalid: %v", err)
		}
		// Whether the receipt exists is nobody's business but its consumer's.
		stranger := core.Errorf(core.CodeUnauthorized, "no receipt %s was issued to %v", q.Receipt.Short(), asker)
		e, err := find(ctx, q.Receipt)
		if err != nil {
			return nil, 0, stranger
		}
		if voucher.VerifyDigest(e.Request.Digest(), e.Request.Signature, asker) != nil {
			return nil, 0, stranger
		}
		b, err := json.Marshal(e)
		if err == nil && len(b) > MaxEvidence {
			e.Boundaries = nil
			b, err = json.Marshal(e)
		}
		return b, MaxEvidence, err
	})
}

// FetchEvidence returns the evidence behind a receipt of p. signer is the key
// that signed the request.
func (h *Host) FetchEvidence(ctx context.Context, p core.Provider, id core.ReceiptID, signer core.Signer) (core.Evidence, error) {
	var e core.Evidence
	q := evidenceQuery{Receipt: id, Time: time.Now().Unix()}
	var err error
	if q.Signature, err = signer.Sign(q.digest(p.Address)); err != nil {
		return e, err
	}
	b, err := h.ask(ctx, p, ProtocolEvidence, q, MaxEvidence)
	if err != nil {
		return e, err
	}
	if json.Unmarshal(b, &e) != nil || e.Receipt.Digest() != id {
		return core.Evidence{}, broken(p, "sent evidence that does not belong to receipt %s", id.Short())
	}
	return e, nil
}
