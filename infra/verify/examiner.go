package verify

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

var (
	workBucket  = []byte("audits") // audit -> work JSON
	traceBucket = []byte("traces") // audit -> the auditor's own leaves in a row
)

// ExaminerOptions say what an [Examiner] works with. Evidence of the receipts
// that it examined is in Archive, and Evidence of the litigant's options should
// read it there.
type ExaminerOptions struct {
	LitigantOptions
	Docket  core.Docket
	Archive *Archive
	// Fetch asks a provider over the network for the evidence of an audit.
	Fetch func(ctx context.Context, provider core.Address, audit uint64) (core.Handed, error)
}

// Examiner does the audits that the chain draws its account for
// (spec/verification.md#audits): it fetches the evidence, or demands it on chain,
// re-executes, commits to a verdict, disputes a wrong answer and reveals. What
// it committed to is on disk before it is on chain.
type Examiner struct {
	opt ExaminerOptions
	own map[uint64]core.Replayed // of wrong answers, until they are disputed
}

// NewExaminer returns an examiner; [Examiner.Run] works. A [Litigant] of the same
// account pursues what it opens.
func NewExaminer(o ExaminerOptions) *Examiner {
	o.LitigantOptions = o.withDefaults()
	return &Examiner{o, map[uint64]core.Replayed{}}
}

// work is what an auditor must not forget of an audit.
type work struct {
	Salt    core.Hash    `json:"salt"`
	Key     core.Bytes   `json:"key"` // X25519 private key of a demand
	Placed  *core.Placed `json:"placed,omitempty"`
	Verdict uint32       `json:"verdict"` // 0 until it is known
	Trace   core.Hash    `json:"trace"`
	Text    string       `json:"text"`
}

// Run examines what is drawn, until ctx ends.
func (e *Examiner) Run(ctx context.Context) {
	every(ctx, e.opt.Every, func() {
		if err := e.Round(ctx); err != nil && ctx.Err() == nil {
			e.opt.Log.Warn("drawn audits", "err", err)
		}
	})
}

// Round does what is due in every open audit.
func (e *Examiner) Round(ctx context.Context) error {
	me := e.opt.Docket.Address()
	as, err := e.opt.Docket.OpenAudits(ctx, me)
	if err != nil {
		return err
	}
	var errs []error
	open := map[uint64]bool{}
	for i := range as {
		a := &as[i]
		open[a.ID] = true
		d, ok := a.Duty(me)
		if !ok || d.Outcome != "" {
			continue
		}
		switch {
		case a.Phase == core.PhaseCommit && d.Commitment.IsZero():
			err = e.examine(ctx, a, d)
		case a.Phase == core.PhaseReveal && !d.Commitment.IsZero() && d.Verdict == 0:
			err = e.reveal(ctx, a)
		default:
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("audit %d: %w", a.ID, err))
		}
	}
	return errors.Join(append(errs, e.forget(open))...)
}

// examine gets the evidence, re-executes the answer and commits to the verdict.
func (e *Examiner) examine(ctx context.Context, a *core.Audit, d core.Duty) error {
	engine := e.opt.Engine(a.Model)
	if engine == nil {
		return core.Errorf(core.CodeUnavailable, "the model %s is not at hand", a.Model.Short())
	}
	w, err := e.begin(a.ID)
	if err != nil {
		return err
	}
	if w.Verdict == 0 {
		ev, placed, err := e.obtain(ctx, a, d, w)
		if err != nil {
			return e.insist(ctx, a, d, w, err)
		}
		if err := e.judge(ctx, a, w, ev, placed, engine); err != nil {
			return err
		}
	}
	me := e.opt.Docket.Address()
	return e.opt.Docket.CommitVerdict(ctx, a.ID, core.AuditCommitment(a.ID, me, w.Verdict, w.Trace, w.Salt))
}

// judge re-executes an answer and keeps the verdict.
func (e *Examiner) judge(ctx context.Context, a *core.Audit, w *work, ev core.Evidence, placed core.Placed, engine core.Engine) error {
	report, own, err := examine(ctx, ev, engine, Facts{})
	if err != nil {
		return err
	}
	w.Verdict, w.Text, w.Placed = core.VerdictWrong, report.Message, &placed
	if report.Verdict == Matches || report.Verdict == Unproven { // one statistical answer is never wrong
		w.Verdict = core.VerdictRight
	}
	w.Trace = core.TraceOf(a.ID, e.opt.Docket.Address(), own.Boundaries)
	if err := e.opt.Archive.Put(ev); err != nil {
		return err
	}
	if err := e.put(a.ID, w, own.Boundaries); err != nil {
		return err
	}
	if w.Verdict == core.VerdictWrong {
		e.own[a.ID] = own
		e.opt.Report(Incident{Kind: Audited, Receipt: placed.Receipt.Digest(), Provider: a.Provider, Text: report.Message})
	}
	return nil
}

// obtain gets the evidence: from the chain if it was demanded there, or from the
// provider.
func (e *Examiner) obtain(ctx context.Context, a *core.Audit, d core.Duty, w *work) (core.Evidence, core.Placed, error) {
	if d.Size > 0 && d.Received == d.Size {
		return e.supplied(ctx, a, w)
	}
	h, err := e.opt.Fetch(ctx, a.Provider, a.ID)
	if err != nil {
		return core.Evidence{}, core.Placed{}, err
	}
	b, err := e.opt.Docket.Batch(ctx, a.Provider, a.Sequence)
	if err != nil {
		return core.Evidence{}, core.Placed{}, err
	}
	ev, id := h.Evidence, h.Evidence.Receipt.Digest()
	if h.Place.Index != uint64(a.Index) || h.Place.Size != uint64(b.Count) || !merkle.Verify(b.Root, id, h.Place) || ev.Receipt.Model != a.Model {
		return ev, core.Placed{}, core.Errorf(core.CodeProvider, "the evidence is not that of receipt %d in batch %d", a.Index, a.Sequence)
	}
	ev.Boundaries = nil
	if report := Check(ev, Facts{}); report.Verdict != Matches {
		return ev, core.Placed{}, core.Errorf(core.CodeProvider, "the evidence is none: %s", report.Message)
	}
	return ev, core.Placed{Receipt: ev.Receipt, Place: h.Place}, nil
}

// errExposed says that a payload was exposed, and the audit is over.
var errExposed = errors.New("the payload was exposed")

// supplied opens what the provider put on chain, and exposes it if it is none.
func (e *Examiner) supplied(ctx context.Context, a *core.Audit, w *work) (ev core.Evidence, placed core.Placed, err error) {
	me := e.opt.Docket.Address()
	sealed, err := e.opt.Docket.Payload(ctx, a.ID, me)
	if err != nil {
		return ev, placed, err
	}
	if err := json.Unmarshal(a.Signed, &placed.Receipt); err != nil {
		return ev, placed, err
	}
	p, err := core.OpenPayload(w.Key, a.ID, me, sealed)
	if err != nil || p.Check(&placed.Receipt.Receipt) != "" {
		if err := e.opt.Docket.Expose(ctx, a.ID, w.Key); err != nil {
			return ev, placed, err
		}
		return ev, placed, errExposed
	}
	ev = p.Evidence(placed.Receipt)
	return ev, placed, e.complete(ctx, &ev, core.Seed(p.Seed))
}

// complete computes what a payload leaves out: log-probabilities and vectors.
func (e *Examiner) complete(ctx context.Context, ev *core.Evidence, seed core.Seed) error {
	engine := e.opt.Engine(ev.Receipt.Model)
	if q := &ev.Request; q.Pooling != "" {
		v, err := engine.Embed(ctx, [][]core.Token{q.Input}, q.Pooling)
		if err == nil {
			ev.Embedding = core.EncodeVector(v[0])
		}
		return err
	}
	if ev.Request.Sampler.Logprobs == 0 || len(ev.Output) == 0 {
		return nil
	}
	own, err := engine.Replay(ctx, input(ev, seed), ev.Output)
	ev.Logprobs = own.Logprobs
	return err
}

// insist demands the payload on chain when the provider had a quarter of the
// time to hand it over and did not.
func (e *Examiner) insist(ctx context.Context, a *core.Audit, d core.Duty, w *work, why error) error {
	now := e.opt.Now().Unix()
	if errors.Is(why, errExposed) {
		return nil
	}
	if d.Due != 0 || core.CodeOf(why) == core.CodeUnavailable && now < a.Drawn+(a.Deadline-a.Drawn)/2 || now < a.Drawn+(a.Deadline-a.Drawn)/4 {
		return why // tried again at the next round
	}
	k, err := ecdh.X25519().NewPrivateKey(w.Key)
	if err != nil {
		return err
	}
	if err := e.opt.Docket.Demand(ctx, a.ID, core.Hash(k.PublicKey().Bytes())); err != nil {
		return err
	}
	e.opt.Log.Info("demanded a payload on chain", "audit", a.ID, "because", why)
	return nil
}

// reveal disputes a wrong answer, then opens the verdict.
func (e *Examiner) reveal(ctx context.Context, a *core.Audit) error {
	w, leaves, err := e.load(a.ID)
	if err != nil {
		return err
	}
	if w == nil || w.Verdict == 0 {
		return core.Errorf(core.CodeInternal, "this verdict was committed to with other books; they are lost")
	}
	if w.Verdict == core.VerdictWrong {
		e.dispute(ctx, a, w)
	}
	r := core.Revelation{Audit: a.ID, Verdict: w.Verdict, Trace: w.Trace, Salt: w.Salt}
	if a.Receipt.IsZero() {
		r.Placed = w.Placed
	}
	if w.Verdict == core.VerdictRight && len(leaves) > 0 {
		if r.Spots, err = core.OpenSpots(a.Beacon, a.ID, e.opt.Docket.Address(), leaves); err != nil {
			return err
		}
	}
	return e.opt.Docket.RevealVerdict(ctx, r)
}

// dispute accuses a wrong answer. Where no court takes it the verdict stands
// alone.
func (e *Examiner) dispute(ctx context.Context, a *core.Audit, w *work) {
	advocate, engine := e.opt.Advocate(a.Model), e.opt.Engine(a.Model)
	if advocate == nil || engine == nil {
		return
	}
	ev, err := e.opt.Archive.Get(w.Placed.Receipt.Digest())
	if err != nil {
		e.opt.Log.Warn("the evidence of a wrong answer is gone", "audit", a.ID, "err", err)
		return
	}
	c, err := computation(&ev)
	if err == nil {
		own, known := e.own[a.ID]
		if !known { // examined before the last start
			own, err = engine.Replay(ctx, c.Input, c.Output)
		}
		if err == nil {
			err = e.opt.accuse(ctx, ev, own, advocate)
		}
	}
	if err != nil {
		e.opt.Log.Warn("a wrong answer cannot be disputed", "audit", a.ID, "receipt", ev.Receipt.Digest(), "err", err)
	}
}

// begin returns what is known of an audit, or starts it with a salt and a key.
func (e *Examiner) begin(id uint64) (*work, error) {
	w, _, err := e.load(id)
	if err != nil || w != nil {
		return w, err
	}
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	w = &work{Key: k.Bytes()}
	if _, err := rand.Read(w.Salt[:]); err != nil {
		return nil, err
	}
	return w, e.put(id, w, nil)
}

func (e *Examiner) put(id uint64, w *work, leaves []core.Hash) error {
	js, err := json.Marshal(w)
	if err != nil {
		return err
	}
	a := e.opt.Archive
	return a.failed(a.writer.Do(func(tx *bolt.Tx) error {
		var row []byte
		for _, l := range leaves {
			row = append(row, l[:]...)
		}
		if err := tx.Bucket(traceBucket).Put(number(id), row); err != nil {
			return err
		}
		return tx.Bucket(workBucket).Put(number(id), js)
	}))
}

func (e *Examiner) load(id uint64) (w *work, leaves []core.Hash, err error) {
	err = e.opt.Archive.db.View(func(tx *bolt.Tx) error {
		js := tx.Bucket(workBucket).Get(number(id))
		if js == nil {
			return nil
		}
		for row := tx.Bucket(traceBucket).Get(number(id)); len(row) >= 32; row = row[32:] {
			leaves = append(leaves, core.Hash(row[:32]))
		}
		w = new(work)
		return json.Unmarshal(js, w)
	})
	return w, leaves, err
}

// forget drops the books of audits that are no longer open.
func (e *Examiner) forget(open map[uint64]bool) error {
	a := e.opt.Archive
	for id := range e.own {
		if !open[id] {
			delete(e.own, id)
		}
	}
	var old [][]byte
	err := a.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(workBucket).ForEach(func(k, _ []byte) error {
			if len(k) == 8 && !open[order(k)] {
				old = append(old, append([]byte(nil), k...))
			}
			return nil
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return a.failed(a.writer.Do(func(tx *bolt.Tx) error {
		for _, k := range old {
			if err := errors.Join(tx.Bucket(workBucket).Delete(k), tx.Bucket(traceBucket).Delete(k)); err != nil {
				return err
			}
		}
		return nil
	}))
}
