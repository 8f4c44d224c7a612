package verify

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

var sealedBucket = []byte("sealed") // audit ‖ auditor -> sealed payload

func order(k []byte) uint64 { return binary.BigEndian.Uint64(k) }

// Supplier is a provider's part in audits: it hands evidence to the auditors
// that the chain drew, and supplies on chain what they demand there.
type Supplier struct {
	Notary *Notary
	Docket core.Docket
	Every  time.Duration // between two looks at the chain; default 2 s
	Log    *slog.Logger
}

// At returns the evidence of a receipt by its place on chain.
func (n *Notary) At(sequence uint64, index uint32) (core.Handed, error) {
	var b batch
	err := n.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(batchBucket).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			var x batch
			if err := json.Unmarshal(v, &x); err != nil {
				return err
			}
			if x.Sequence == sequence {
				b = x
				return nil
			}
			if x.Final && x.Sequence < sequence {
				break
			}
		}
		return ErrUnknown
	})
	if err != nil {
		return core.Handed{}, err
	}
	if int(index) >= len(b.IDs) {
		return core.Handed{}, ErrUnknown
	}
	ev, err := n.Get(b.IDs[index])
	if err != nil {
		return core.Handed{}, err
	}
	place, err := merkle.Prove(b.IDs, int(index))
	return core.Handed{Evidence: ev, Place: place}, err
}

// Hand returns the evidence of an audit to an account that is drawn for it.
func (s *Supplier) Hand(ctx context.Context, audit uint64, auditor core.Address) (core.Handed, error) {
	a, err := s.Docket.Audit(ctx, audit)
	if err != nil {
		return core.Handed{}, err
	}
	if _, drawn := a.Duty(auditor); !drawn || a.Provider != s.Docket.Address() || a.Phase == core.PhaseDone {
		return core.Handed{}, core.Errorf(core.CodeUnauthorized, "%v is not drawn for audit %d of this provider", auditor, audit)
	}
	return s.Notary.At(a.Sequence, a.Index)
}

// Run supplies what is demanded, until ctx ends.
func (s *Supplier) Run(ctx context.Context) {
	pause := s.Every
	if pause <= 0 {
		pause = 2 * time.Second
	}
	every(ctx, pause, func() {
		if err := s.Round(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("demands of auditors", "err", err)
		}
	})
}

// Round supplies every demand that is open.
func (s *Supplier) Round(ctx context.Context) error {
	as, err := s.Docket.OpenAudits(ctx, s.Docket.Address())
	if err != nil {
		return err
	}
	var errs []error
	for i := range as {
		for _, d := range as[i].Duties {
			if d.Due == 0 || d.Size > 0 && d.Received == d.Size || d.Outcome != "" || as[i].Phase != core.PhaseCommit {
				continue
			}
			if err := s.supply(ctx, &as[i], d); err != nil {
				errs = append(errs, fmt.Errorf("audit %d: %w", as[i].ID, err))
			}
		}
	}
	return errors.Join(errs...)
}

// pieceSize is how many bytes one message carries.
const pieceSize = 64 << 10

func (s *Supplier) supply(ctx context.Context, a *core.Audit, d core.Duty) error {
	h, err := s.Notary.At(a.Sequence, a.Index)
	if err != nil {
		return err
	}
	sealed, err := s.sealed(a, d, h)
	if err != nil {
		return err
	}
	for at := int(d.Received); at < len(sealed); at += pieceSize {
		piece := sealed[at:min(at+pieceSize, len(sealed))]
		if err := s.Docket.Supply(ctx, a.ID, d.Auditor, core.Placed{Receipt: h.Evidence.Receipt, Place: h.Place}, uint32(len(sealed)), uint32(at), piece); err != nil {
			return err
		}
	}
	return nil
}

// sealed is a payload as it goes on chain, the same after a restart.
func (s *Supplier) sealed(a *core.Audit, d core.Duty, h core.Handed) (b []byte, err error) {
	key := append(number(a.ID), d.Auditor[:]...)
	err = s.Notary.db.View(func(tx *bolt.Tx) error {
		b = append([]byte(nil), tx.Bucket(sealedBucket).Get(key)...)
		return nil
	})
	if err != nil || len(b) > 0 {
		return b, err
	}
	report, seed := check(&h.Evidence, Facts{})
	if report.Verdict != Matches {
		return nil, core.Errorf(core.CodeInternal, "the evidence at hand is none: %s", report.Message)
	}
	if b, err = core.SealPayload(d.Key, a.ID, d.Auditor, core.PayloadOf(&h.Evidence, seed)); err != nil {
		return nil, err
	}
	return b, s.Notary.failed(s.Notary.writer.Do(func(tx *bolt.Tx) error { return tx.Bucket(sealedBucket).Put(key, b) }))
}
