package verify_test

import (
	"crypto/ecdh"
	"crypto/sha256"
	"testing"
	"time"

	"cosmossdk.io/math"
	"pgregory.net/rapid"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/voucher"
)

// crowd plays random audits. What was said is remembered, so that much of what
// it does is possible; the rest must be refused without a trace.
type crowd struct {
	*hall
	batches [][]answer // by sequence
	said    map[[2]uint64]uint32
	answers byte
	key     *ecdh.PrivateKey
}

func newCrowd(t *testing.T) *crowd {
	h := newHall(t, 3)
	h.p.Audits.Interval, h.p.Audits.MaxSteps, h.p.Audits.MaxDraws = 2, 2, 2
	h.must(&verify.MsgUpdateParams{Authority: fixture.Authority(), Params: h.p})
	seed := sha256.Sum256([]byte("one-time"))
	k, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return &crowd{hall: h, said: map[[2]uint64]uint32{}, key: k}
}

// try delivers a message that may be refused.
func (w *crowd) try(msg sdk.Msg) bool {
	_, err := w.c.Deliver(msg)
	return err == nil
}

func (w *crowd) commitBatch(r *rapid.T) {
	if w.answers > 200 {
		r.Skip("enough")
	}
	var as []answer
	for range rapid.IntRange(1, 4).Draw(r, "receipts") {
		w.answers++
		secret := core.Hash{}
		if rapid.IntRange(0, 3).Draw(r, "canary") == 0 {
			secret = theSecret
		}
		a := w.answer(w.answers, secret)
		if !secret.IsZero() {
			hash := core.CanaryHash(a.receipt.Receipt.Digest(), secret)
			w.try(&verify.MsgCommitCanary{Committer: name(stranger), Hash: hash[:]})
			w.step(r, time.Second)
		}
		as = append(as, a)
	}
	ids := make([]core.Hash, len(as))
	for i, a := range as {
		ids[i] = a.receipt.Receipt.Digest()
	}
	root := merkle.Root(ids)
	if w.try(&verify.MsgCommitReceipts{Provider: name(provider), Sequence: w.next, Root: root[:], Count: uint32(len(ids)), Model: theModel[:]}) {
		w.next++
		w.batches = append(w.batches, as)
	}
}

// pickAudit is one of the audits on chain with its receipt and way.
func (w *crowd) pickAudit(r *rapid.T) (verify.Audit, answer, [][]byte, int) {
	q, err := verify.NewQueryServer(w.c.Verify).Audits(w.c.Ctx, &verify.QueryAuditsRequest{})
	if err != nil {
		r.Fatal(err)
	}
	if len(q.Audits) == 0 {
		r.Skip("no audit")
	}
	a := q.Audits[rapid.IntRange(0, len(q.Audits)-1).Draw(r, "audit")]
	as := w.batches[a.Sequence-1]
	ids := make([]core.Hash, len(as))
	for i, x := range as {
		ids[i] = x.receipt.Receipt.Digest()
	}
	p, err := merkle.Prove(ids, int(a.Index))
	if err != nil {
		r.Fatal(err)
	}
	return a, as[a.Index], bare(p.Path), rapid.IntRange(0, len(a.Duties)-1).Draw(r, "duty")
}

func (w *crowd) keyOf(account string) *voucher.Key {
	for _, k := range auditors {
		if name(k) == account {
			return k
		}
	}
	panic(account)
}

func (w *crowd) verdict(r *rapid.T) {
	a, ans, _, i := w.pickAudit(r)
	k := w.keyOf(a.Duties[i].Auditor)
	v := rapid.SampledFrom([]uint32{core.VerdictRight, core.VerdictRight, core.VerdictWrong}).Draw(r, "verdict")
	x := core.AuditCommitment(a.Id, k.Address(), v, core.TraceOf(a.Id, k.Address(), ans.leaves), salt(k))
	if w.try(&verify.MsgCommitVerdict{Auditor: name(k), Audit: a.Id, Commitment: x[:]}) {
		w.said[[2]uint64{a.Id, uint64(i)}] = v
	}
}

func (w *crowd) open(r *rapid.T) {
	a, ans, path, i := w.pickAudit(r)
	if len(a.Beacon) == 0 {
		r.Skip("no beacon")
	}
	m := w.reveal(w.keyOf(a.Duties[i].Auditor), a.Id, w.said[[2]uint64{a.Id, uint64(i)}], ans, ans.leaves)
	m.Path = path
	w.try(m)
}

func (w *crowd) demand(r *rapid.T) {
	a, _, _, i := w.pickAudit(r)
	w.try(&verify.MsgDemand{Auditor: a.Duties[i].Auditor, Audit: a.Id, Key: w.key.PublicKey().Bytes()})
}

func (w *crowd) supply(r *rapid.T) {
	a, ans, path, i := w.pickAudit(r)
	d := a.Duties[i]
	k := w.keyOf(d.Auditor)
	p := ans.payload
	if rapid.Bool().Draw(r, "garbage") {
		p.Output = nil
	}
	sealed, err := core.SealPayload(core.Hash(w.key.PublicKey().Bytes()), a.Id, k.Address(), p)
	if err != nil {
		r.Fatal(err)
	}
	size := uint32(len(sealed))
	if d.Size_ != 0 {
		size = d.Size_
	}
	from := min(int(d.Received), len(sealed)-1)
	to := rapid.IntRange(from, len(sealed)).Draw(r, "to")
	w.try(&verify.MsgSupply{Provider: name(provider), Audit: a.Id, Auditor: d.Auditor, Receipt: raw(ans.receipt), Path: path, Size_: size, Offset: d.Received, Data: sealed[from:to]})
}

func (w *crowd) expose(r *rapid.T) {
	a, _, _, i := w.pickAudit(r)
	w.try(&verify.MsgExpose{Auditor: a.Duties[i].Auditor, Audit: a.Id, Key: w.key.Bytes()})
}

func (w *crowd) unmask(r *rapid.T) {
	a, ans, path, _ := w.pickAudit(r)
	m := &verify.MsgRevealCanary{Payer: name(payer), Receipt: raw(ans.receipt), Secret: theSecret[:]}
	if rapid.Bool().Draw(r, "show") {
		m.Audit, m.Path = a.Id, path
	}
	w.try(m)
}

func (w *crowd) convict(r *rapid.T) {
	_, ans, _, _ := w.pickAudit(r)
	if rapid.IntRange(0, 4).Draw(r, "rarely") != 0 {
		r.Skip("not now")
	}
	second := ans.receipt
	second.Issued++
	second.Signature, _ = provider.Sign(second.Receipt.Digest())
	w.try(&verify.MsgConvict{Challenger: name(stranger), First: raw(ans.receipt), Second: raw(second)})
	w.try(&market.MsgAddBond{Provider: name(provider), Amount: math.NewInt(1000)})
}

func (w *crowd) enrol(r *rapid.T) {
	k := auditors[rapid.IntRange(0, 2).Draw(r, "who")]
	if rapid.IntRange(0, 3).Draw(r, "leave") == 0 {
		w.try(&verify.MsgLeaveAuditing{Auditor: name(k)})
		return
	}
	w.try(&verify.MsgRegisterAuditor{Auditor: name(k), Bond: math.NewInt(rapid.Int64Range(0, 2000).Draw(r, "bond")), Models: [][]byte{theModel[:]}})
}

func (w *crowd) cash(r *rapid.T) {
	w.claimed += rapid.Int64Range(1, 50_000).Draw(r, "amount")
	v, err := voucher.Sign(voucher.NewDomain(fixture.EVMChainID), hot, core.Hash(w.channel), core.NewAmount(uint64(w.claimed)))
	if err != nil {
		r.Fatal(err)
	}
	w.try(&payment.MsgClaim{Provider: name(provider), Claims: []payment.Claim{{Channel: w.channel, Amount: math.NewInt(w.claimed), Signature: v.Signature[:]}}})
}

func (w *crowd) step(r *rapid.T, d time.Duration) {
	if err := w.c.Advance(d); err != nil {
		r.Fatal(err)
	}
}

func (w *crowd) pass(r *rapid.T) {
	if rapid.Bool().Draw(r, "dark") {
		w.c.Dark[w.c.Ctx.BlockHeight()+1] = true
	}
	w.step(r, time.Duration(rapid.SampledFrom([]int{1, 1, 1, 5, 40, 400}).Draw(r, "seconds"))*time.Second)
}

func TestAuditsConserveMoneyOverAnyHistory(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newCrowd(t)
		r.Repeat(map[string]func(*rapid.T){
			"commit batch": w.commitBatch, "verdict": w.verdict, "verdict again": w.verdict, "open": w.open, "open again": w.open,
			"demand": w.demand, "supply": w.supply, "supply again": w.supply, "expose": w.expose, "unmask": w.unmask, "convict": w.convict,
			"enrol": w.enrol, "cash": w.cash, "pass": w.pass, "pass again": w.pass, "pass on": w.pass,
			"": func(r *rapid.T) {
				if err := w.c.Check(); err != nil {
					r.Fatal(err)
				}
			},
		})
		// Time ends everything: no audit stays open, no bond of a leaver is kept.
		w.p.Audits.MaxSteps, w.p.Audits.MaxDraws = 100, 100
		w.must(&verify.MsgUpdateParams{Authority: fixture.Authority(), Params: w.p})
		for range 35 {
			w.step(r, 100*time.Second)
		}
		q, err := verify.NewQueryServer(w.c.Verify).Audits(w.c.Ctx, &verify.QueryAuditsRequest{})
		if err != nil || len(q.Audits) != 0 {
			r.Fatalf("%d audits never end (%v)", len(q.Audits), err)
		}
	})
}
