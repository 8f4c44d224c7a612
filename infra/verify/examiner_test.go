package verify

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

// docket is one audit as the chain would keep it, for auditor and provider alike.
type docket struct {
	me    core.Address
	audit *core.Audit
	batch core.ReceiptBatch
	said  *core.Revelation
	// sealed is what was supplied; exposed the key that was revealed.
	sealed  *[]byte
	exposed []byte
}

func (d *docket) Address() core.Address { return d.me }

func (d *docket) OpenAudits(context.Context, core.Address) ([]core.Audit, error) {
	if d.audit.Phase == core.PhaseDone {
		return nil, nil
	}
	return []core.Audit{*d.audit}, nil
}

func (d *docket) Audit(context.Context, uint64) (core.Audit, error) { return *d.audit, nil }

func (d *docket) Batch(context.Context, core.Address, uint64) (core.ReceiptBatch, error) {
	return d.batch, nil
}

func (d *docket) CommitVerdict(_ context.Context, _ uint64, c core.Hash) error {
	if !d.audit.Duties[0].Commitment.IsZero() {
		return errors.New("committed twice")
	}
	d.audit.Duties[0].Commitment = c
	d.audit.Phase, d.audit.Beacon = core.PhaseReveal, core.Hash{77}
	return nil
}

func (d *docket) RevealVerdict(_ context.Context, r core.Revelation) error {
	if core.AuditCommitment(r.Audit, d.me, r.Verdict, r.Trace, r.Salt) != d.audit.Duties[0].Commitment {
		return errors.New("not what was committed to")
	}
	d.said, d.audit.Duties[0].Verdict = &r, r.Verdict
	return nil
}

func (d *docket) Demand(_ context.Context, _ uint64, key core.Hash) error {
	d.audit.Duties[0].Key, d.audit.Duties[0].Due = key, time.Now().Unix()+100
	return nil
}

func (d *docket) Supply(_ context.Context, _ uint64, _ core.Address, p core.Placed, size, offset uint32, data []byte) error {
	x := &d.audit.Duties[0]
	if offset != x.Received {
		return errors.New("out of order")
	}
	if offset == 0 {
		d.audit.Receipt = p.Receipt.Digest()
		d.audit.Signed, _ = json.Marshal(p.Receipt)
	}
	*d.sealed = append(*d.sealed, data...)
	x.Size, x.Received = size, x.Received+uint32(len(data))
	return nil
}

func (d *docket) Expose(_ context.Context, _ uint64, key []byte) error {
	d.exposed = key
	d.audit.Duties[0].Outcome = "withheld"
	return nil
}

func (d *docket) Payload(context.Context, uint64, core.Address) ([]byte, error) {
	return *d.sealed, nil
}

// examination is an audit with the provider's books and an auditor's.
type examination struct {
	t        *testing.T
	ev       core.Evidence
	engine   *toy
	provider *Notary
	auditor  *docket
	supplier *Supplier
	path     string
	reached  bool // over the network
}

func newExamination(t *testing.T, ev core.Evidence, engine *toy) *examination {
	dir := scratch(t)
	r := newRegistry(t)
	n := openNotary(t, filepath.Join(dir, "receipts.db"), r, NotaryOptions{})
	t.Cleanup(func() { n.Close() })
	ctx := context.Background()
	for i := range uint64(3) {
		if _, err := n.Seal(ctx, numbered(t, ev, i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Seal(ctx, ev); err != nil {
		t.Fatal(err)
	}
	if c, err := n.Commit(ctx); err != nil || c != 4 {
		t.Fatalf("%d, %v", c, err)
	}
	me := testKey(t, 0x66).Address()
	now := time.Now().Unix()
	a := &core.Audit{ID: 5, Provider: r.Address(), Sequence: 1, Index: 3, Model: ev.Receipt.Model, Phase: core.PhaseCommit, Drawn: now, Deadline: now + 100, Duties: []core.Duty{{Auditor: me}}}
	sealed := new([]byte)
	x := &examination{t: t, ev: ev, engine: engine, provider: n, path: filepath.Join(dir, "audits.db"), reached: true}
	x.auditor = &docket{me: me, audit: a, batch: r.batches[0], sealed: sealed}
	x.supplier = &Supplier{Notary: n, Docket: &docket{me: r.Address(), audit: a, sealed: sealed}}
	return x
}

// round lets the auditor work once, as if it had been killed before.
func (x *examination) round(at time.Duration) error {
	x.t.Helper()
	archive, err := OpenArchive(x.path, ArchiveOptions{noSync: true})
	if err != nil {
		x.t.Fatal(err)
	}
	defer archive.Close()
	return NewExaminer(ExaminerOptions{
		LitigantOptions: LitigantOptions{
			Engine:   func(core.ModelID) core.Engine { return x.engine },
			Advocate: func(core.ModelID) core.Advocate { return nil },
			Now:      func() time.Time { return time.Now().Add(at) },
		},
		Docket: x.auditor, Archive: archive,
		Fetch: func(ctx context.Context, _ core.Address, audit uint64) (core.Handed, error) {
			if !x.reached {
				return core.Handed{}, core.Errorf(core.CodeProvider, "nobody is there")
			}
			return x.supplier.Hand(ctx, audit, x.auditor.me)
		},
	}).Round(context.Background())
}

func (x *examination) must(at time.Duration) {
	x.t.Helper()
	if err := x.round(at); err != nil {
		x.t.Fatal(err)
	}
}

// said checks the revealed verdict and its spots.
func (x *examination) said(want uint32) {
	x.t.Helper()
	r := x.auditor.said
	if r == nil || r.Verdict != want {
		x.t.Fatalf("revealed %+v, want verdict %d", r, want)
	}
	if want != core.VerdictRight {
		return
	}
	for j, s := range r.Spots {
		if !core.CheckSpot(x.auditor.audit.Beacon, 5, x.auditor.me, uint32(j), s, x.ev.Receipt.BoundaryRoot, r.Trace) {
			x.t.Errorf("spot %d does not hold", j)
		}
	}
	if len(r.Spots) != core.Spots {
		x.t.Errorf("%d spots", len(r.Spots))
	}
}

func toyFor(ev core.Evidence) *toy { return &toy{model: ev.Receipt.Model} }

// An auditor that is killed between any two steps goes on, and computes once.
func TestExaminerSurvivesKills(t *testing.T) {
	ev := sampleEvidence(t)
	x := newExamination(t, ev, toyFor(ev))
	x.must(0)
	x.must(0)
	x.said(core.VerdictRight)
	if p := x.auditor.said.Placed; p == nil || !merkle.Verify(x.auditor.batch.Root, p.Receipt.Digest(), p.Place) {
		t.Error("the receipt was not shown with its place")
	}
	if x.engine.replayed != 1 {
		t.Errorf("the answer was computed %d times", x.engine.replayed)
	}
	x.auditor.audit.Phase = core.PhaseDone
	x.must(0)
	if _, err := x.supplier.Hand(context.Background(), 5, x.auditor.me); core.CodeOf(err) != core.CodeUnauthorized {
		t.Errorf("after the end: %v", err)
	}
}

// Only who is drawn is handed evidence.
func TestStrangersAreHandedNothing(t *testing.T) {
	ev := sampleEvidence(t)
	x := newExamination(t, ev, toyFor(ev))
	if _, err := x.supplier.Hand(context.Background(), 5, testKey(t, 0x67).Address()); core.CodeOf(err) != core.CodeUnauthorized {
		t.Errorf("%v", err)
	}
}

// A wrong answer is called wrong.
func TestExaminerFindsWrongAnswers(t *testing.T) {
	ev := sampleEvidence(t)
	honest := toyFor(ev)
	honest.twist = 3 // this engine computes otherwise than the provider did
	x := newExamination(t, ev, honest)
	x.must(0)
	x.must(0)
	x.said(core.VerdictWrong)
}

// A payload that does not come is demanded after a while, supplied in pieces and
// opened; garbage is exposed.
func TestExaminerDemands(t *testing.T) {
	ev := sampleEvidence(t)
	x := newExamination(t, ev, toyFor(ev))
	x.reached = false
	if x.round(0) == nil || x.auditor.audit.Duties[0].Due != 0 {
		t.Fatal("it demands at once, or does not complain")
	}
	x.must(30 * time.Second)
	if x.auditor.audit.Duties[0].Due == 0 {
		t.Fatal("it does not demand")
	}
	if err := x.supplier.Round(context.Background()); err != nil {
		t.Fatal(err)
	}
	x.must(31 * time.Second)
	x.must(32 * time.Second)
	x.said(core.VerdictRight)

	x = newExamination(t, ev, toyFor(ev))
	x.reached = false
	x.must(30 * time.Second)
	if err := x.supplier.Round(context.Background()); err != nil {
		t.Fatal(err)
	}
	(*x.auditor.sealed)[40] ^= 1
	x.must(31 * time.Second)
	if !core.OneTimeKey(x.auditor.exposed, x.auditor.audit.Duties[0].Key) {
		t.Error("garbage is not exposed by the demand's key")
	}
}
