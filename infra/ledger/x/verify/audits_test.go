package verify_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	ledgermodel "github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/voucher"
)

// People of the tests below.
var (
	provider  = fixture.Key(1)
	payer     = fixture.Key(2)
	hot       = fixture.Key(3)
	stranger  = fixture.Key(4)
	auditors  = []*voucher.Key{fixture.Key(11), fixture.Key(12), fixture.Key(13)}
	theModel  = core.Hash{42}
	theSecret = core.Hash{7, 7}
)

const (
	stake = 1_000_000_000
	purse = 10_000_000_000
	duty  = 1_000_000 // what auditors bond
)

func name(k *voucher.Key) string { return fixture.Bech32(k.Address()) }

// hall is a chain with a provider, a consumer's channel and auditors. Answers
// are made up: the chain sees their hashes only.
type hall struct {
	t       testing.TB
	c       *fixture.Chain
	p       verify.Params
	channel []byte
	next    uint64 // sequence of the next batch
	claimed int64
}

func newHall(t testing.TB, seats int) *hall {
	g := market.DefaultGenesis()
	g.Params.MinBond = math.NewInt(1)
	h := &hall{t: t, c: fixture.Start(t, ledgermodel.DefaultGenesis(), g, payment.DefaultGenesis(), nil), next: 1}
	for _, k := range append([]*voucher.Key{provider, payer, stranger}, auditors...) {
		h.c.Fund(k.Address(), purse)
	}
	h.p = verify.DefaultParams()
	a := &h.p.Audits
	a.Interval, a.MinBond, a.MissPenalty, a.FalsePenalty, a.WithheldPenalty = 1, math.NewInt(1000), math.NewInt(10), math.NewInt(500), math.NewInt(700)
	a.CanaryDeposit, a.MaxCanaries = math.NewInt(5), 2
	a.CommitTime, a.SupplyTime, a.RevealTime, a.Keep, a.UnbondDelay = 60, 30, 30, 1000, 2000
	h.p.ChallengerBond = math.NewInt(100)
	h.must(&verify.MsgUpdateParams{Authority: fixture.Authority(), Params: h.p})
	h.register(provider, 0)
	open := &payment.MsgOpen{Payer: name(payer), Signer: name(hot), Provider: name(provider), Deposit: math.NewInt(10_000_000), Salt: make([]byte, 32), WithdrawDelay: 900, Expiry: h.c.Now() + 86_400}
	h.must(open)
	list, err := payment.NewQueryServer(h.c.Payment).Channels(h.c.Ctx, &payment.QueryChannelsRequest{Account: name(payer)})
	if err != nil || len(list.Channels) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	h.channel = list.Channels[0].Id
	for _, k := range auditors[:seats] {
		h.must(&verify.MsgRegisterAuditor{Auditor: name(k), Bond: math.NewInt(duty), Models: [][]byte{theModel[:]}})
	}
	h.advance(time.Second)
	return h
}

func (h *hall) register(k *voucher.Key, n int) {
	peer := ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%032d", n)))
	h.must(&market.MsgRegister{Provider: name(k), PeerId: market.PeerID(peer.Public().(ed25519.PublicKey)), Moniker: "machine",
		Addrs: []string{"/ip4/127.0.0.1/tcp/4001"}, PeerSignature: ed25519.Sign(peer, core.PeerBinding(fixture.ChainID, k.Address())), Bond: math.NewInt(stake)})
}

func (h *hall) must(msg sdk.Msg) {
	h.t.Helper()
	if _, err := h.c.Deliver(msg); err != nil {
		h.t.Fatalf("%T: %v", msg, err)
	}
	h.check()
}

func (h *hall) refuse(msg sdk.Msg, want error) {
	h.t.Helper()
	if _, err := h.c.Deliver(msg); !errors.Is(err, want) {
		h.t.Fatalf("%T: got %v, want %v", msg, err, want)
	}
	h.check()
}

func (h *hall) check() {
	h.t.Helper()
	if err := h.c.Check(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hall) advance(d time.Duration) {
	h.t.Helper()
	if err := h.c.Advance(d); err != nil {
		h.t.Fatal(err)
	}
	h.check()
}

func (h *hall) blocks(n int) {
	h.t.Helper()
	for range n {
		h.advance(time.Second)
	}
}

// answer is a receipt with what belongs to it.
type answer struct {
	receipt core.SignedReceipt
	payload core.Payload
	leaves  []core.Hash
}

// answer makes up an answer; with a secret it is a canary.
func (h *hall) answer(n byte, secret core.Hash) answer {
	q := core.Request{ChainID: fixture.EVMChainID, ID: core.Hash{n, 1}, Model: theModel, Semantics: core.SemanticsV1, Provider: provider.Address(),
		Channel: core.Hash(h.channel), Input: []core.Token{1, 2, core.Token(n)}, Prompt: 3, Sampler: core.Sampler{MaxTokens: 4}, PriceIn: core.NewAmount(10), PriceOut: core.NewAmount(100)}
	a := answer{payload: core.Payload{Request: core.SignedRequest{Request: q}, Seed: core.Hash{n, 2}, Output: []core.Token{5, 6}}}
	for i := range 12 {
		a.leaves = append(a.leaves, sha256.Sum256([]byte{n, byte(i)}))
	}
	a.receipt.Receipt = core.Receipt{ChainID: fixture.EVMChainID, Semantics: core.SemanticsV1, Model: theModel, Request: q.ID, RequestHash: q.Digest(), Provider: provider.Address(),
		Channel: q.Channel, InputHash: core.HashTokens(q.Input), OutputHash: core.HashTokens(a.payload.Output), Sampler: q.Sampler.Digest(), Seed: core.Seed(a.payload.Seed).Commitment(),
		Input: 3, Output: 2, Billed: 3, Finish: core.FinishLength, BoundaryRoot: merkle.Root(a.leaves), PriceIn: q.PriceIn, PriceOut: q.PriceOut, Issued: h.c.Now(), Expiry: h.c.Now() + 86_400}
	if !secret.IsZero() {
		a.receipt.BoundaryRoot = core.CanaryRoot(secret)
	}
	a.receipt.Signature, _ = provider.Sign(a.receipt.Receipt.Digest())
	return a
}

const cost = 3*10 + 2*100

func raw(r core.SignedReceipt) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return b
}

// commit puts answers into the next batch.
func (h *hall) commit(as ...answer) {
	h.t.Helper()
	ids := make([]core.Hash, len(as))
	for i, a := range as {
		ids[i] = a.receipt.Receipt.Digest()
	}
	root := merkle.Root(ids)
	h.must(&verify.MsgCommitReceipts{Provider: name(provider), Sequence: h.next, Root: root[:], Count: uint32(len(ids)), Model: theModel[:]})
	h.next++
}

// earn lets the provider claim, which fills its credit.
func (h *hall) earn(amount int64) {
	h.claimed += amount
	v, err := voucher.Sign(voucher.NewDomain(fixture.EVMChainID), hot, core.Hash(h.channel), core.NewAmount(uint64(h.claimed)))
	if err != nil {
		h.t.Fatal(err)
	}
	h.must(&payment.MsgClaim{Provider: name(provider), Claims: []payment.Claim{{Channel: h.channel, Amount: math.NewInt(h.claimed), Signature: v.Signature[:]}}})
}

func (h *hall) audit(id uint64) verify.Audit {
	h.t.Helper()
	r, err := verify.NewQueryServer(h.c.Verify).Audit(h.c.Ctx, &verify.QueryAuditRequest{Id: id})
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Audit
}

func (h *hall) auditor(k *voucher.Key) verify.Auditor {
	h.t.Helper()
	r, err := verify.NewQueryServer(h.c.Verify).Auditor(h.c.Ctx, &verify.QueryAuditorRequest{Account: name(k)})
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Auditor
}

// drawn are the keys of an audit's auditors.
func (h *hall) drawn(id uint64) (ks []*voucher.Key) {
	for _, d := range h.audit(id).Duties {
		for _, k := range auditors {
			if name(k) == d.Auditor {
				ks = append(ks, k)
			}
		}
	}
	return ks
}

func salt(k *voucher.Key) core.Hash { return sha256.Sum256([]byte(name(k))) }

// say commits to a verdict.
func (h *hall) say(k *voucher.Key, id uint64, verdict uint32, leaves []core.Hash) {
	h.t.Helper()
	x := core.AuditCommitment(id, k.Address(), verdict, core.TraceOf(id, k.Address(), leaves), salt(k))
	h.must(&verify.MsgCommitVerdict{Auditor: name(k), Audit: id, Commitment: x[:]})
}

// reveal is the message that opens what say committed to.
func (h *hall) reveal(k *voucher.Key, id uint64, verdict uint32, ans answer, leaves []core.Hash, ids ...core.Hash) *verify.MsgRevealVerdict {
	h.t.Helper()
	a := h.audit(id)
	trace, s := core.TraceOf(id, k.Address(), leaves), salt(k)
	m := &verify.MsgRevealVerdict{Auditor: name(k), Audit: id, Verdict: verdict, Trace: trace[:], Salt: s[:], Receipt: raw(ans.receipt)}
	if len(ids) > 0 {
		p, err := merkle.Prove(ids, int(a.Index))
		if err != nil {
			h.t.Fatal(err)
		}
		m.Path = bare(p.Path)
	}
	if verdict == core.VerdictRight {
		spots, err := core.OpenSpots(core.Hash(a.Beacon), id, k.Address(), leaves)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, s := range spots {
			m.Spots = append(m.Spots, verify.Spot{Leaf: s.Leaf[:], Index: s.Place.Index, Size_: s.Place.Size, Path: bare(s.Place.Path), TracePath: bare(s.Trace)})
		}
	}
	return m
}

func bare(path []core.Hash) (out [][]byte) {
	for _, h := range path {
		out = append(out, bytes.Clone(h[:]))
	}
	return out
}

func (h *hall) equal(what string, got math.Int, want int64) {
	h.t.Helper()
	if !got.Equal(math.NewInt(want)) {
		h.t.Errorf("%s: %s, want %d", what, got, want)
	}
}

// outcome is how a duty ended.
func (h *hall) outcome(id uint64, k *voucher.Key, want string) verify.Duty {
	h.t.Helper()
	for _, d := range h.audit(id).Duties {
		if d.Auditor == name(k) {
			if d.Outcome != want {
				h.t.Errorf("audit %d: the outcome is %q, want %q", id, d.Outcome, want)
			}
			return d
		}
	}
	h.t.Fatalf("%s is not drawn for audit %d", name(k), id)
	return verify.Duty{}
}

// An audit from the batch to the pay.
func TestAuditorsArePaid(t *testing.T) {
	h := newHall(t, 2)
	h.earn(100_000)
	credit, err := h.c.Payment.Credit(h.c.Ctx, sdk.AccAddress(account(provider)))
	if err != nil || credit.Int64() != 5_000 {
		t.Fatalf("credit %s, %v", credit, err)
	}
	ans := h.answer(1, core.Hash{})
	h.commit(ans)
	h.advance(time.Second)
	if _, err := verify.NewQueryServer(h.c.Verify).Audit(h.c.Ctx, &verify.QueryAuditRequest{Id: 1}); err == nil {
		t.Fatal("the audit was drawn before the beacon")
	}
	h.blocks(2)
	ks := h.drawn(1)
	if len(ks) != 2 || ks[0] == ks[1] {
		t.Fatalf("%d auditors are drawn", len(ks))
	}
	h.refuse(&verify.MsgCommitVerdict{Auditor: name(stranger), Audit: 1, Commitment: make([]byte, 32)}, verify.ErrAudit)
	h.say(ks[0], 1, core.VerdictRight, ans.leaves)
	h.refuse(h.reveal(ks[0], 1, core.VerdictWrong, ans, ans.leaves), verify.ErrAudit) // too early
	h.say(ks[1], 1, core.VerdictRight, ans.leaves)
	h.blocks(4)
	if a := h.audit(1); a.Phase != core.PhaseReveal || core.Hash(a.Beacon).IsZero() {
		t.Fatalf("%+v", a)
	}
	other := h.answer(2, core.Hash{})
	h.refuse(h.reveal(ks[0], 1, core.VerdictRight, other, ans.leaves), verify.ErrReceipt)
	h.refuse(h.reveal(ks[0], 1, core.VerdictRight, ans, other.leaves), verify.ErrAudit)
	before := h.c.Balance(ks[0].Address())
	h.must(h.reveal(ks[0], 1, core.VerdictRight, ans, ans.leaves))
	h.must(h.reveal(ks[1], 1, core.VerdictRight, ans, ans.leaves))
	h.outcome(1, ks[0], "paid")
	h.equal("pay", h.c.Balance(ks[0].Address()).Sub(before), cost/2)
	if v := h.auditor(ks[1]); v.Open != 0 || v.Right != 1 || v.Earned.Int64() != cost/2 {
		t.Errorf("%+v", v)
	}
	h.advance(1100 * time.Second)
	h.advance(time.Second)
	if _, err := verify.NewQueryServer(h.c.Verify).Audit(h.c.Ctx, &verify.QueryAuditRequest{Id: 1}); err == nil {
		t.Error("the audit is not forgotten")
	}
}

func account(k *voucher.Key) []byte { a := k.Address(); return a[:] }

// Receipts are drawn evenly however batches are cut, and a block does no more
// than its share.
func TestDrawsAreEvenAndBounded(t *testing.T) {
	h := newHall(t, 3)
	h.p.Audits.Interval, h.p.Audits.MaxDraws, h.p.Audits.MaxOpen, h.p.Audits.CommitTime = 4, 3, 1000, 100_000
	h.must(&verify.MsgUpdateParams{Authority: fixture.Authority(), Params: h.p})
	for n := range 40 {
		root := core.Hash{1, byte(n)}
		h.must(&verify.MsgCommitReceipts{Provider: name(provider), Sequence: h.next, Root: root[:], Count: uint32(1 + n%13), Model: theModel[:]})
		h.next++
	}
	total, drawn := 0, 0
	for n := range 40 {
		total += 1 + n%13
	}
	for range 200 {
		before := drawn
		h.advance(time.Second)
		r, err := verify.NewQueryServer(h.c.Verify).Audits(h.c.Ctx, &verify.QueryAuditsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if drawn = len(r.Audits); drawn > before+3 {
			t.Fatalf("%d audits in one block", drawn-before)
		}
		seen := map[string]bool{}
		for _, a := range r.Audits {
			at := fmt.Sprint(a.Sequence, "/", a.Index)
			if seen[at] || a.Index >= uint32(1+(a.Sequence-1)%13) {
				t.Fatalf("receipt %s", at)
			}
			seen[at] = true
		}
	}
	if drawn < total/4*6/10 || drawn > total/4*14/10 {
		t.Errorf("%d of %d receipts are audited, want about a quarter", drawn, total)
	}
}

// A height without beacon passes; the next one that has one draws.
func TestDarkHeightsPass(t *testing.T) {
	h := newHall(t, 1)
	for at := h.c.Ctx.BlockHeight(); at < h.c.Ctx.BlockHeight()+6; at++ {
		h.c.Dark[at] = true
	}
	h.commit(h.answer(1, core.Hash{}))
	h.blocks(5)
	if _, err := verify.NewQueryServer(h.c.Verify).Audit(h.c.Ctx, &verify.QueryAuditRequest{Id: 1}); err == nil {
		t.Fatal("drawn in the dark")
	}
	h.blocks(3)
	h.audit(1)
}

// An auditor who names no model of the batch is never drawn, nor is a provider,
// nor who came after the batch.
func TestWhoIsNotDrawn(t *testing.T) {
	h := newHall(t, 0)
	other := core.Hash{1}
	h.must(&verify.MsgRegisterAuditor{Auditor: name(auditors[0]), Bond: math.NewInt(duty), Models: [][]byte{other[:]}})
	h.must(&verify.MsgRegisterAuditor{Auditor: name(auditors[1]), Bond: math.NewInt(duty), Models: [][]byte{theModel[:]}})
	h.register(auditors[1], 1) // becomes a provider later
	h.refuse(&verify.MsgRegisterAuditor{Auditor: name(provider), Bond: math.NewInt(duty), Models: [][]byte{theModel[:]}}, verify.ErrAuditor)
	h.advance(time.Second)
	h.commit(h.answer(1, core.Hash{}))
	h.must(&verify.MsgRegisterAuditor{Auditor: name(auditors[2]), Bond: math.NewInt(duty), Models: [][]byte{theModel[:]}})
	h.blocks(5)
	if r, err := verify.NewQueryServer(h.c.Verify).Audits(h.c.Ctx, &verify.QueryAuditsRequest{}); err != nil || len(r.Audits) != 0 {
		t.Errorf("%v, %v", r, err)
	}
	h.commit(h.answer(2, core.Hash{}))
	h.blocks(4)
	if ks := h.drawn(1); len(ks) != 1 || ks[0] != auditors[2] {
		t.Errorf("%v", ks)
	}
}

// Seats go to the greater bonds; who leaves gets the bond back after the delay,
// and not before its audits are over.
func TestSeatsAndLeaving(t *testing.T) {
	h := newHall(t, 2)
	h.p.Audits.MaxSeats = 2
	h.must(&verify.MsgUpdateParams{Authority: fixture.Authority(), Params: h.p})
	h.refuse(&verify.MsgRegisterAuditor{Auditor: name(auditors[2]), Bond: math.NewInt(duty), Models: [][]byte{theModel[:]}}, verify.ErrAuditor)
	h.must(&verify.MsgRegisterAuditor{Auditor: name(auditors[2]), Bond: math.NewInt(duty + 1), Models: [][]byte{theModel[:]}})
	lost := 0
	for _, k := range auditors[:2] {
		if len(h.auditor(k).Models) == 0 {
			lost++
		}
	}
	if lost != 1 {
		t.Errorf("%d auditors lost their seat", lost)
	}
	h.refuse(&verify.MsgRegisterAuditor{Auditor: name(stranger), Bond: math.NewInt(10), Models: [][]byte{theModel[:]}}, verify.ErrFunds)
	h.advance(time.Second)
	h.commit(h.answer(1, core.Hash{}))
	h.blocks(3)
	h.must(&verify.MsgLeaveAuditing{Auditor: name(auditors[2])})
	h.refuse(&verify.MsgLeaveAuditing{Auditor: name(auditors[2])}, verify.ErrAuditor)
	before := h.c.Balance(auditors[2].Address())
	h.advance(1990 * time.Second)
	h.blocks(5)
	h.equal("before the delay", h.c.Balance(auditors[2].Address()).Sub(before), 0)
	h.advance(100 * time.Second)
	h.advance(time.Second)
	h.equal("the bond less a miss", h.c.Balance(auditors[2].Address()).Sub(before), duty+1-10)
}

// A provider that withholds the payload is challenged on chain: it supplies in
// time or pays, and garbage counts as nothing.
func TestPayloads(t *testing.T) {
	key, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	public := core.Hash(key.PublicKey().Bytes())
	begin := func(t *testing.T) (*hall, answer, *voucher.Key) {
		h := newHall(t, 1)
		ans := h.answer(1, core.Hash{})
		h.commit(ans)
		h.blocks(3)
		k := h.drawn(1)[0]
		h.refuse(&verify.MsgSupply{Provider: name(provider), Audit: 1, Auditor: name(k), Receipt: raw(ans.receipt), Size_: 1, Data: []byte{1}}, verify.ErrAudit)
		h.must(&verify.MsgDemand{Auditor: name(k), Audit: 1, Key: public[:]})
		h.refuse(&verify.MsgDemand{Auditor: name(k), Audit: 1, Key: public[:]}, verify.ErrAudit)
		return h, ans, k
	}
	supply := func(h *hall, k *voucher.Key, ans answer, sealed []byte) {
		half := len(sealed) / 2
		m := &verify.MsgSupply{Provider: name(provider), Audit: 1, Auditor: name(k), Size_: uint32(len(sealed)), Data: sealed[:half]}
		wrong := h.answer(2, core.Hash{})
		m.Receipt = raw(wrong.receipt)
		h.refuse(m, verify.ErrReceipt)
		m.Receipt = raw(ans.receipt)
		h.must(m)
		h.refuse(m, verify.ErrSequence)
		m.Offset, m.Data = uint32(half), sealed[half:]
		h.must(m)
	}
	t.Run("withheld", func(t *testing.T) {
		h, _, k := begin(t)
		before := h.c.Balance(k.Address())
		h.advance(31 * time.Second)
		h.advance(40 * time.Second)
		h.advance(time.Second)
		h.outcome(1, k, "withheld")
		h.equal("bounty", h.c.Balance(k.Address()).Sub(before), 210)
		h.equal("burned", h.c.Burned(), 490)
		h.equal("the auditor's bond", h.auditor(k).Bond, duty)
	})
	t.Run("supplied", func(t *testing.T) {
		h, ans, k := begin(t)
		sealed, err := core.SealPayload(public, 1, k.Address(), ans.payload)
		if err != nil {
			t.Fatal(err)
		}
		supply(h, k, ans, sealed)
		r, err := verify.NewQueryServer(h.c.Verify).Payload(h.c.Ctx, &verify.QueryPayloadRequest{Id: 1, Auditor: name(k)})
		if err != nil || !bytes.Equal(r.Sealed, sealed) {
			t.Fatalf("%v", err)
		}
		if p, err := core.OpenPayload(key.Bytes(), 1, k.Address(), r.Sealed); err != nil || p.Check(&ans.receipt.Receipt) != "" {
			t.Fatalf("%v", err)
		}
		h.refuse(&verify.MsgExpose{Auditor: name(k), Audit: 1, Key: bytes.Repeat([]byte{8}, 32)}, verify.ErrInvalid)
		// Exposing what is right costs the auditor.
		h.must(&verify.MsgExpose{Auditor: name(k), Audit: 1, Key: key.Bytes()})
		h.outcome(1, k, "exposed")
		h.equal("the auditor's bond", h.auditor(k).Bond, duty-10)
	})
	for what, spoil := range map[string]func(core.Payload) core.Payload{
		"another output": func(p core.Payload) core.Payload { p.Output = []core.Token{5, 7}; return p },
		"another input":  func(p core.Payload) core.Payload { p.Request.Input = []core.Token{1}; return p },
		"another seed":   func(p core.Payload) core.Payload { p.Seed[3] ^= 1; return p },
	} {
		t.Run(what, func(t *testing.T) {
			h, ans, k := begin(t)
			sealed, err := core.SealPayload(public, 1, k.Address(), spoil(ans.payload))
			if err != nil {
				t.Fatal(err)
			}
			supply(h, k, ans, sealed)
			h.must(&verify.MsgExpose{Auditor: name(k), Audit: 1, Key: key.Bytes()})
			h.outcome(1, k, "withheld")
			h.equal("burned", h.c.Burned(), 490)
		})
	}
	t.Run("garbage", func(t *testing.T) {
		h, ans, k := begin(t)
		supply(h, k, ans, bytes.Repeat([]byte{1}, 500))
		h.must(&verify.MsgExpose{Auditor: name(k), Audit: 1, Key: key.Bytes()})
		h.outcome(1, k, "withheld")
	})
}

// TestCheatPayloadWithheld: a provider that hides what it did pays more than an
// audit costs, each time.
func TestCheatPayloadWithheld(t *testing.T) {
	h := newHall(t, 2)
	h.commit(h.answer(1, core.Hash{}))
	h.blocks(3)
	for _, k := range h.drawn(1) {
		key := core.Hash{9, byte(len(k.Address()))}
		h.must(&verify.MsgDemand{Auditor: name(k), Audit: 1, Key: key[:]})
	}
	h.advance(62 * time.Second)
	h.advance(time.Second)
	a := h.audit(1)
	if a.Phase != core.PhaseDone || !a.Withheld {
		t.Fatalf("%+v", a)
	}
	p, err := h.c.Market.Provider(h.c.Ctx, account(provider))
	if err != nil {
		t.Fatal(err)
	}
	h.equal("the provider's bond, fined once", p.Bond, stake-700)
	for _, k := range h.drawn(1) {
		h.equal("an auditor's bond", h.auditor(k).Bond, duty)
	}
}

// canaryAudit begins an audit of a canary.
func canaryAudit(t *testing.T) (*hall, answer, []*voucher.Key) {
	h := newHall(t, 2)
	h.earn(100_000)
	ans := h.answer(1, theSecret)
	hash := core.CanaryHash(ans.receipt.Receipt.Digest(), theSecret)
	h.must(&verify.MsgCommitCanary{Committer: name(stranger), Hash: hash[:]})
	h.advance(time.Second)
	h.commit(ans)
	h.blocks(3)
	return h, ans, h.drawn(1)
}

func (h *hall) revealCanary(ans answer) {
	h.t.Helper()
	h.must(&verify.MsgRevealCanary{Payer: name(payer), Receipt: raw(ans.receipt), Secret: theSecret[:]})
}

// TestCheatLazyYes: who says "right" without computing cannot open the spots; on
// a canary it is slashed, and the honest auditor is paid.
func TestCheatLazyYes(t *testing.T) {
	h, ans, ks := canaryAudit(t)
	lazy, honest := ks[0], ks[1]
	h.say(lazy, 1, core.VerdictRight, ans.leaves) // has the leaves that belong to the tokens, and they are not the receipt's
	h.say(honest, 1, core.VerdictWrong, ans.leaves)
	h.blocks(4)
	h.refuse(h.reveal(lazy, 1, core.VerdictRight, ans, ans.leaves), verify.ErrAudit)
	h.must(h.reveal(honest, 1, core.VerdictWrong, ans, ans.leaves))
	h.advance(31 * time.Second)
	h.advance(time.Second)
	h.outcome(1, lazy, "silent")
	h.outcome(1, honest, "unproven")
	before := h.c.Balance(stranger.Address())
	burned := h.c.Burned()
	h.revealCanary(ans)
	h.outcome(1, lazy, "false")
	h.outcome(1, honest, "paid")
	h.equal("the lazy one's bond", h.auditor(lazy).Bond, duty-10-500)
	h.equal("bounty and deposit", h.c.Balance(stranger.Address()).Sub(before), 150+5)
	h.equal("burned", h.c.Burned().Sub(burned), 350)
	h.equal("the honest one's bond", h.auditor(honest).Bond, duty)
	h.equal("earned", h.auditor(honest).Earned, cost/2)
	p, _ := h.c.Market.Provider(h.c.Ctx, account(provider))
	h.equal("the provider's stake", p.Bond, stake)
	h.refuse(&verify.MsgRevealCanary{Payer: name(payer), Receipt: raw(ans.receipt), Secret: theSecret[:]}, verify.ErrCanary)
	h.refuse(&verify.MsgOpenDispute{Challenger: name(stranger), Receipt: raw(ans.receipt)}, verify.ErrReceipt)
}

// A cheat cannot call a consumer's receipt a canary, nor after the batch.
func TestCanariesAreNoHidingPlace(t *testing.T) {
	h := newHall(t, 2)
	ans := h.answer(1, theSecret)
	hash := core.CanaryHash(ans.receipt.Receipt.Digest(), theSecret)
	by := func(k *voucher.Key) *verify.MsgRevealCanary {
		return &verify.MsgRevealCanary{Payer: name(k), Receipt: raw(ans.receipt), Secret: theSecret[:]}
	}
	h.refuse(by(payer), verify.ErrCanary) // nobody committed
	h.commit(ans)
	h.blocks(4)
	ks := h.drawn(1)
	for _, k := range ks {
		h.say(k, 1, core.VerdictWrong, ans.leaves)
	}
	h.blocks(4)
	for _, k := range ks {
		h.must(h.reveal(k, 1, core.VerdictWrong, ans, ans.leaves))
	}
	h.must(&verify.MsgCommitCanary{Committer: name(stranger), Hash: hash[:]}) // too late
	h.refuse(by(provider), verify.ErrCanary)
	h.refuse(by(payer), verify.ErrCanary)
	good := h.answer(2, core.Hash{})
	h.refuse(&verify.MsgRevealCanary{Payer: name(payer), Receipt: raw(good.receipt), Secret: theSecret[:]}, verify.ErrCanary)
	for i := range 2 {
		x := core.Hash{byte(i + 1)}
		m := &verify.MsgCommitCanary{Committer: name(stranger), Hash: x[:]}
		if i == 0 {
			h.must(m)
		} else {
			h.refuse(m, verify.ErrCanary) // max_canaries
		}
	}
	h.refuse(&verify.MsgCommitCanary{Committer: name(payer), Hash: hash[:]}, verify.ErrCanary)
}

// TestCheatCopiedVerdict: a commitment names its auditor, so a copy cannot be
// opened.
func TestCheatCopiedVerdict(t *testing.T) {
	h := newHall(t, 2)
	ans := h.answer(1, core.Hash{})
	h.commit(ans)
	h.blocks(3)
	ks := h.drawn(1)
	honest, copier := ks[0], ks[1]
	h.say(honest, 1, core.VerdictRight, ans.leaves)
	copied := h.audit(1).Duties[0].Commitment
	h.must(&verify.MsgCommitVerdict{Auditor: name(copier), Audit: 1, Commitment: copied})
	h.blocks(4)
	m := h.reveal(honest, 1, core.VerdictRight, ans, ans.leaves)
	h.must(m)
	same := *m
	same.Auditor = name(copier)
	h.refuse(&same, verify.ErrAudit)
	h.refuse(h.reveal(copier, 1, core.VerdictRight, ans, ans.leaves), verify.ErrAudit)
	h.advance(31 * time.Second)
	h.advance(time.Second)
	h.outcome(1, honest, "paid")
	h.outcome(1, copier, "silent")
	h.equal("the copier's bond", h.auditor(copier).Bond, duty-10)
}

// TestCheatAuditorOwnsTheProvider: one account cannot be both; with two accounts
// the auditor who covers for its provider falls with it.
func TestCheatAuditorOwnsTheProvider(t *testing.T) {
	h := newHall(t, 2)
	h.earn(100_000)
	h.refuse(&verify.MsgRegisterAuditor{Auditor: name(provider), Bond: math.NewInt(duty), Models: [][]byte{theModel[:]}}, verify.ErrAuditor)
	ans := h.answer(1, core.Hash{})
	h.commit(ans)
	h.blocks(3)
	ks := h.drawn(1)
	accomplice, honest := ks[0], ks[1]
	h.say(accomplice, 1, core.VerdictRight, ans.leaves) // the provider told it the leaves
	h.say(honest, 1, core.VerdictWrong, nil)
	h.blocks(4)
	h.must(h.reveal(accomplice, 1, core.VerdictRight, ans, ans.leaves))
	h.must(h.reveal(honest, 1, core.VerdictWrong, ans, nil))
	h.outcome(1, accomplice, "paid")
	h.outcome(1, honest, "unproven")
	// The receipt is convicted while the audit is kept: here by a second one for the same request.
	second := ans.receipt
	second.Issued++
	second.Signature, _ = provider.Sign(second.Receipt.Digest())
	h.must(&verify.MsgConvict{Challenger: name(stranger), First: raw(ans.receipt), Second: raw(second)})
	h.outcome(1, accomplice, "false")
	h.outcome(1, honest, "paid")
	h.equal("the accomplice's bond", h.auditor(accomplice).Bond, duty-500)
	h.equal("earned", h.auditor(honest).Earned, cost/2)
}

// TestCheatAuditorWithoutTheModel: who names a model that it does not hold cannot
// open leaves of it.
func TestCheatAuditorWithoutTheModel(t *testing.T) {
	h := newHall(t, 1)
	ans := h.answer(1, core.Hash{})
	h.commit(ans)
	h.blocks(3)
	k := h.drawn(1)[0]
	invented := h.answer(9, core.Hash{}).leaves
	h.say(k, 1, core.VerdictRight, invented)
	h.blocks(4)
	h.refuse(h.reveal(k, 1, core.VerdictRight, ans, invented), verify.ErrAudit)
	m := h.reveal(k, 1, core.VerdictRight, ans, invented)
	m.Spots = nil
	h.refuse(m, verify.ErrAudit)
	h.advance(31 * time.Second)
	h.advance(time.Second)
	h.outcome(1, k, "silent")
}

// TestCheatSelectiveAbort: who commits and then prefers to be silent counts as
// having said "right"; who never commits loses the penalty.
func TestCheatSelectiveAbort(t *testing.T) {
	h, ans, ks := canaryAudit(t)
	h.say(ks[0], 1, core.VerdictRight, ans.leaves)
	h.advance(61 * time.Second) // the other one does nothing
	h.blocks(4)
	// The canary comes too early for its committer's good, and yet nobody escapes.
	h.must(&verify.MsgRevealCanary{Payer: name(payer), Receipt: raw(ans.receipt), Secret: theSecret[:], Audit: 1})
	h.advance(31 * time.Second)
	h.advance(time.Second)
	h.outcome(1, ks[0], "false")
	h.outcome(1, ks[1], "missed")
	h.equal("silent", h.auditor(ks[0]).Bond, duty-10-500)
	h.equal("missed", h.auditor(ks[1]).Bond, duty-10)
}

// The state survives export and import in every phase.
func TestGenesisOfAudits(t *testing.T) {
	h := newHall(t, 2)
	h.commit(h.answer(1, core.Hash{}), h.answer(2, core.Hash{}))
	hash := core.Hash{3}
	h.must(&verify.MsgCommitCanary{Committer: name(stranger), Hash: hash[:]})
	for step := range 8 {
		state, err := h.c.Verify.ExportGenesis(h.c.Ctx)
		if err != nil {
			t.Fatal(err)
		}
		again := fixture.New(t)
		held := h.c.Bank.GetBalance(h.c.Ctx, h.c.Account.GetModuleAddress(verify.ModuleName), core.BaseDenom).Amount
		again.FundModule(verify.ModuleName, held)
		if err := again.Verify.InitGenesis(again.Ctx, state); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if err := again.Check(); err != nil {
			t.Errorf("step %d: %v", step, err)
		}
		second, err := again.Verify.ExportGenesis(again.Ctx)
		if err != nil || fmt.Sprint(second) != fmt.Sprint(state) {
			t.Errorf("step %d: exported again it differs (%v)\n%v\n%v", step, err, second.Audits, state.Audits)
		}
		switch step {
		case 2:
			h.blocks(3)
			ks := h.drawn(1)
			h.say(ks[0], 1, core.VerdictRight, nil)
			key := core.Hash{9}
			h.must(&verify.MsgDemand{Auditor: name(ks[1]), Audit: 1, Key: key[:]})
			r, _ := verify.NewQueryServer(h.c.Verify).OpenAudits(h.c.Ctx, &verify.QueryOpenAuditsRequest{Account: name(provider)})
			if !slices.ContainsFunc(r.Audits, func(a verify.Audit) bool { return a.Id == 1 }) {
				t.Error("the open audit is not listed")
			}
		case 5:
			h.advance(70 * time.Second)
		default:
			h.advance(3 * time.Second)
		}
	}
}
