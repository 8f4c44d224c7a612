package dispute

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math/big"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/prover"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	chain "github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/infra/voucher"
)

// court lets a role of the program work on the chain of a scene.
type court struct {
	s   *scene
	key *voucher.Key
	mu  *sync.Mutex // of the chain
}

var _ core.Court = (*court)(nil)

func (c *court) Address() core.Address { return c.key.Address() }

func (c *court) deliver(msg interface {
	Reset()
	String() string
	ProtoMessage()
}) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.s.chain.Deliver(msg); err != nil {
		return &core.Error{Code: core.CodeInvalid, Message: "the chain refused it", Err: err}
	}
	return nil
}

func (c *court) Judged(context.Context, core.ModelID) (bool, error) { return true, nil }

func (c *court) AdmitModel(_ context.Context, id core.ModelID, admission []byte) error {
	return c.deliver(&chain.MsgAdmitModel{Sender: text(c.key), Model: id[:], Admission: admission})
}

func (c *court) Dispute(ctx context.Context, id uint64) (core.Dispute, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := chain.NewQueryServer(c.s.chain.Verify).Dispute(c.s.chain.Ctx, &chain.QueryDisputeRequest{Id: id})
	if err != nil {
		return core.Dispute{}, err
	}
	return converted(r.Dispute), nil
}

func (c *court) Disputes(context.Context, int) ([]core.Dispute, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := chain.NewQueryServer(c.s.chain.Verify).Disputes(c.s.chain.Ctx, &chain.QueryDisputesRequest{})
	return all(r.GetDisputes()), err
}

func (c *court) OpenDisputes(_ context.Context, party core.Address) (out []core.Dispute, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := []chain.QueryOpenRequest{{}}
	if party != (core.Address{}) {
		of = []chain.QueryOpenRequest{{Provider: fixture.Bech32(party)}, {Challenger: fixture.Bech32(party)}}
	}
	for i := range of {
		r, err := chain.NewQueryServer(c.s.chain.Verify).Open(c.s.chain.Ctx, &of[i])
		if err != nil {
			return nil, err
		}
		out = append(out, all(r.Disputes)...)
	}
	return out, nil
}

func (c *court) OpenDispute(ctx context.Context, r core.SignedReceipt, claim []byte) (uint64, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	if err := c.deliver(&chain.MsgOpenDispute{Challenger: text(c.key), Receipt: raw, Claim: claim}); err != nil {
		return 0, err
	}
	ds, err := c.Disputes(ctx, 0)
	return ds[len(ds)-1].ID, err
}

func (c *court) MoveDispute(_ context.Context, id uint64, move []byte) error {
	return c.deliver(&chain.MsgMove{Sender: text(c.key), Dispute: id, Move: move})
}

func all(ds []chain.Dispute) (out []core.Dispute) {
	for _, d := range ds {
		out = append(out, converted(d))
	}
	return out
}

func converted(d chain.Dispute) core.Dispute {
	address := func(s string) (a core.Address) {
		b, _ := fixture.Addresses().StringToBytes(s)
		copy(a[:], b)
		return a
	}
	amount := func(b *big.Int) core.Amount { a, _ := core.AmountFromBig(b); return a }
	return core.Dispute{ID: d.Id, Challenger: address(d.Challenger), Provider: address(d.Provider), Receipt: core.Hash(d.Receipt), Model: core.Hash(d.Model),
		Claim: d.Claim, State: d.State, Phase: d.Phase, Turn: d.Turn, Opened: d.Opened, Moved: d.Moved, Deadline: d.Deadline, Ended: d.Ended,
		Moves: d.Moves, Winner: d.Winner, Cause: d.Cause,
		Slashed: amount(d.Slashed.BigInt()), Bounty: amount(d.Bounty.BigInt()), Refund: amount(d.Refund.BigInt())}
}

// ordered is an answer by the engine to a signed request, with its evidence;
// the scene's receipt becomes that answer's.
func (s *scene) ordered(honest, by engine, seed byte) core.Evidence {
	s.t.Helper()
	o, user := newOrder(seed), uint64(seed)
	nonce := core.Hash{seed}
	q := core.Request{ChainID: fixture.EVMChainID, ID: core.RequestID{seed}, Model: honest.prover.Model.Root, Semantics: core.SemanticsV1, Provider: provider.Address(),
		Channel: core.ChannelID(s.channel), Input: o.input, Prompt: uint32(len(o.input)), Sampler: o.sampler, NonceCommit: sha256.Sum256(nonce[:]), UserSeed: &user,
		PriceIn: core.NewAmount(10), PriceOut: core.NewAmount(100), Expiry: s.chain.Now() + 60}
	o.seed = q.DeriveSeed(nonce, nil)
	o.salt = q.Salt(o.seed)
	o = by.answer(s.t, o)
	s.order = o
	s.receipt = s.sign(honest, o, q.ID)
	r := &s.receipt
	r.RequestHash, r.Logprobs, r.BoundaryRoot = q.Digest(), core.HashLogprobs(nil), merkle.Root(o.leaves)
	var err error
	if r.Signature, err = provider.Sign(r.Digest()); err != nil {
		s.t.Fatal(err)
	}
	ev := core.Evidence{Version: 1, Receipt: *r, Request: core.SignedRequest{Request: q}, Nonce: nonce, Output: o.output}
	if ev.Request.Signature, err = hot.Sign(q.Digest()); err != nil {
		s.t.Fatal(err)
	}
	if report := verify.Check(ev, verify.Facts{}); report.Verdict != verify.Matches {
		s.t.Fatalf("the evidence is none: %s", report.Message)
	}
	return ev
}

// roles of one account: what a provider or a gateway runs.
type roles struct {
	*verify.Litigant
	*verify.Auditor
}

// role starts nothing: its rounds are called by hand.
func (s *scene) role(t *testing.T, key *voucher.Key, mu *sync.Mutex, e engine, evidence ...core.Evidence) roles {
	t.Helper()
	archive, err := verify.OpenArchive(filepath.Join(t.TempDir(), "receipts.db"), verify.ArchiveOptions{Boundaries: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { archive.Close() })
	for _, ev := range evidence {
		if err := archive.Put(ev); err != nil {
			t.Fatal(err)
		}
	}
	advocate := prover.NewAdvocate(e.prover)
	o := verify.LitigantOptions{Court: &court{s, key, mu}, Evidence: archive.Get,
		Engine: func(core.ModelID) core.Engine { return e }, Advocate: func(core.ModelID) core.Advocate { return advocate },
		Report: func(i verify.Incident) { t.Logf("%s: %s %s: %s", text(key)[:12], i.Kind, i.Side, i.Text) },
		Now:    func() time.Time { return s.chain.Ctx.BlockTime() }}
	a, err := verify.NewAuditor(verify.AuditorOptions{LitigantOptions: o, Archive: archive, Share: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	return roles{verify.NewLitigant(o), a}
}

// A third party with the evidence finishes what a challenger has begun and
// dropped: it opens its own dispute before the first is lost, so that the
// provider's stake is never free, and convicts.
func TestCheatChallengerGoneOffline(t *testing.T) {
	b := shape.File(t)
	honest := open(t, b)
	cheat := open(t, changed(t, b, "blk.0.attn_k.weight", func(d []byte) { d[40] ^= 2 }))
	s := newScene(t, honest, newOrder(1))
	var mu sync.Mutex
	ev := s.ordered(honest, cheat, 21)
	kept := ev
	kept.Boundaries = s.order.leaves
	defender := s.role(t, provider, &mu, cheat, kept)
	first, third := s.role(t, challenger, &mu, honest, ev), s.role(t, challenger2, &mu, honest, ev)
	ctx := context.Background()
	if err := first.Auditor.Round(ctx); err != nil {
		t.Fatal(err)
	}
	frozen := true
	for range 200 {
		if s.advance(time.Second); s.dispute(1).Moves < 4 {
			_ = first.Litigant.Round(ctx) // and then never again
		}
		_ = defender.Litigant.Round(ctx)
		if err := third.StandIn(ctx); err != nil {
			t.Fatal(err)
		}
		_ = third.Litigant.Round(ctx)
		ds, err := (&court{s, challenger2, &mu}).OpenDisputes(ctx, core.Address{})
		if err != nil {
			t.Fatal(err)
		}
		frozen = frozen && len(ds) > 0 || stakeOf(s).IsZero()
		if len(ds) == 0 {
			break
		}
	}
	if d := s.dispute(1); d.Winner != "provider" || d.Moves < 4 {
		t.Errorf("the silent challenger's dispute: %d moves, won by %q", d.Moves, d.Winner)
	}
	if d := s.dispute(2); d.Winner != "challenger" || d.Challenger != text(challenger2) || !d.Bounty.IsPositive() {
		t.Errorf("the third party's dispute is won by %q: %s", d.Winner, d.Cause)
	}
	if !frozen || !stakeOf(s).IsZero() {
		t.Errorf("the stake was free in between (%t), %s are left", !frozen, stakeOf(s))
	}
}

// A leaf whose contents are true and whose salt is not that of its request is
// false: an auditor that finds it shows the salt, and is not left with nothing to
// say. Of a true leaf nobody can say so.
func TestCheatWrongSalt(t *testing.T) {
	honest := open(t, shape.File(t))
	for name, wrong := range map[string]bool{"wrong": true, "true": false} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, honest, newOrder(1))
			ev := s.ordered(honest, honest, 22)
			o := s.order
			if wrong {
				o.salt = core.Hash{9} // for all leaves: the computation is right
				o = honest.answer(t, o)
				s.resign(func(r *core.Receipt) { r.BoundaryRoot = merkle.Root(o.leaves) })
				ev.Receipt = s.receipt
			}
			const id = 1
			s.deliver(s.openMsg(challenger, referee.Claim{})) // the first leaf
			if err := s.move(id, provider, honest.side(o, o.leaves)); err != nil {
				t.Fatal(err)
			}
			accuser := honest.side(s.order, nil)
			q := ev.Request.Request.Head()
			if err := accuser.Salted(ev.Receipt.Receipt, &q, s.order.seed); err != nil {
				t.Fatal(err)
			}
			if !wrong {
				b, _ := json.Marshal(ev.Receipt.Receipt)
				m := &referee.WrongSalt{Receipt: b, Request: referee.OpeningOf(&q), Seed: s.order.seed}
				s.refuse("a true salt", chain.ErrMove, &chain.MsgMove{Sender: text(challenger), Dispute: id, Move: referee.EncodeMove(m)})
			}
			err := s.move(id, challenger, accuser)
			if d := s.dispute(id); wrong && (err != nil || d.Winner != "challenger") || !wrong && d.Winner != "" {
				t.Errorf("%v; the winner is %q: %s", err, d.Winner, d.Cause)
			}
		})
	}
}
