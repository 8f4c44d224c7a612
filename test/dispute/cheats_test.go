package dispute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/prover"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/voucher"
)

// The cheats of the game and of receipts, one test each; docs/security/verification.md
// has the list.

// attacked is the model whose key weights a cheating provider has changed.
func attacked(t testing.TB) (honest, cheat engine) {
	b := shape.File(t)
	return open(t, b), open(t, changed(t, b, "blk.0.attn_k.weight", func(d []byte) { d[40] ^= 2 }))
}

// govern changes parameters as governance does.
func (s *scene) govern(change func(p *verify.Params)) {
	s.t.Helper()
	r, err := verify.NewQueryServer(s.chain.Verify).Params(s.chain.Ctx, &verify.QueryParamsRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	change(&r.Params)
	s.deliver(&verify.MsgUpdateParams{Authority: fixture.Authority(), Params: r.Params})
}

// public gives the clocks of a public network.
func public(p *verify.Params) {
	d := verify.DefaultParams()
	p.MoveTime, p.Clock, p.Extension, p.MinBlocks = d.MoveTime, d.Clock, d.Extension, d.MinBlocks
}

// resign signs the scene's receipt after a change.
func (s *scene) resign(change func(r *core.Receipt)) {
	s.t.Helper()
	change(&s.receipt.Receipt)
	var err error
	if s.receipt.Signature, err = provider.Sign(s.receipt.Receipt.Digest()); err != nil {
		s.t.Fatal(err)
	}
}

// refuse delivers what must fail, and must move nothing.
func (s *scene) refuse(what string, want error, msg interface {
	Reset()
	String() string
	ProtoMessage()
}) {
	s.t.Helper()
	before := s.chain.Balance(challenger.Address())
	if _, err := s.chain.Deliver(msg); err == nil || want != nil && !errors.Is(err, want) {
		s.t.Errorf("%s: %v, want %v", what, err, want)
	}
	if after := s.chain.Balance(challenger.Address()); !after.Equal(before) {
		s.t.Errorf("%s: the challenger had %s and has %s", what, before, after)
	}
	s.check()
}

// move makes one side's move.
func (s *scene) move(id uint64, key *voucher.Key, who *prover.Answer) error {
	s.t.Helper()
	var game referee.State
	if err := referee.Decode(s.dispute(id).State, &game); err != nil {
		s.t.Fatal(err)
	}
	m, err := who.Move(context.Background(), &game)
	if err != nil {
		return err
	}
	_, err = s.chain.Deliver(&verify.MsgMove{Sender: text(key), Dispute: id, Move: referee.EncodeMove(m)})
	return err
}

// silence lets blocks pass until a dispute is over.
func (s *scene) silence(id uint64) verify.Dispute {
	s.t.Helper()
	for range 2000 {
		if d := s.dispute(id); d.Winner != "" {
			return d
		}
		s.advance(2 * time.Second)
	}
	s.t.Fatal("the dispute does not end")
	return verify.Dispute{}
}

func (e engine) side(o order, leaves []core.Hash) *prover.Answer {
	return e.prover.Answer(o.input, o.output, leaves, o.salt)
}

// own are the leaves that an engine computes of an answer.
func (e engine) own(t testing.TB, o order) []core.Hash {
	t.Helper()
	r, err := e.Replay(context.Background(), core.SequenceInput{Input: o.input, Sampler: o.sampler, Seed: o.seed, Salt: o.salt, Trace: true}, o.output)
	if err != nil {
		t.Fatal(err)
	}
	return r.Boundaries
}

func TestCheatReplayOnAnotherChain(t *testing.T) {
	honest := open(t, shape.File(t))
	s := newScene(t, honest, honest.answer(t, newOrder(31)))
	s.resign(func(r *core.Receipt) { r.ChainID++ })
	s.refuse("a receipt of another chain", verify.ErrReceipt, s.openMsg(challenger, referee.Claim{}))
	raw, _ := json.Marshal(s.receipt)
	other := s.receipt
	s.receipt.Receipt.Output--
	s.resign(func(*core.Receipt) {})
	again, _ := json.Marshal(s.receipt)
	s.refuse("two receipts of another chain", verify.ErrReceipt, &verify.MsgConvict{Challenger: text(challenger), First: raw, Second: again})
	other.ChainID-- // the signature was for the other chain
	raw, _ = json.Marshal(other)
	s.refuse("another chain's signature", verify.ErrReceipt, &verify.MsgOpenDispute{Challenger: text(challenger), Receipt: raw, Claim: referee.Encode(referee.Claim{})})
}

// searched plays a search for what is wrong with the scene's receipt.
func (s *scene) searched(t *testing.T, honest engine, defender *prover.Answer) verify.Dispute {
	t.Helper()
	s.deliver(s.openMsg(challenger, referee.Claim{Search: true}))
	d, _ := s.play(1, defender, honest.side(s.order, honest.own(t, s.order)))
	return d
}

// The computation of another request's answer does not serve as this one's.
func TestCheatReplayOnAnotherRequest(t *testing.T) {
	honest := open(t, shape.File(t))
	o, other := honest.answer(t, newOrder(32)), honest.answer(t, newOrder(33))
	s := newScene(t, honest, o)
	s.resign(func(r *core.Receipt) { r.BoundaryRoot = merkle.Root(other.leaves) })
	defender := honest.prover.Answer(other.input, other.output, other.leaves, other.salt)
	if d := s.searched(t, honest, defender); d.Winner != "challenger" {
		t.Errorf("%s wins: %s", d.Winner, d.Cause)
	}
}

// Nor does a single leaf of it, among true ones.
func TestCheatLeafSplicedAcrossRequests(t *testing.T) {
	honest := open(t, shape.File(t))
	o, other := honest.answer(t, newOrder(34)), honest.answer(t, newOrder(35))
	s := newScene(t, honest, o)
	spliced := append([]core.Hash(nil), o.leaves...)
	const at = 13*3 + 1
	spliced[at] = other.leaves[at]
	s.resign(func(r *core.Receipt) { r.BoundaryRoot = merkle.Root(spliced) })
	if d := s.searched(t, honest, honest.side(o, spliced)); d.Winner != "challenger" {
		t.Errorf("%s wins: %s", d.Winner, d.Cause)
	}
}

// Inner nodes do not pass for leaves: a tree over them cannot be opened.
func TestCheatLeafAsNode(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(36))
	s := newScene(t, honest, o)
	n := uint64(len(o.leaves))
	var inner []core.Hash
	for _, part := range (merkle.Span{Len: n}).Split(4) {
		inner = append(inner, merkle.Node(o.leaves, part))
	}
	s.resign(func(r *core.Receipt) { r.BoundaryRoot = merkle.Root(inner) })
	s.deliver(s.openMsg(challenger, referee.Claim{Search: true}))
	for name, shown := range map[string][]core.Hash{"the inner nodes": inner, "the leaves": o.leaves[:64]} {
		s.refuse(name, verify.ErrMove, &verify.MsgMove{Sender: text(provider), Dispute: 1, Move: referee.EncodeMove(&referee.Nodes{Nodes: shown})})
	}
	if d := s.silence(1); d.Winner != "challenger" {
		t.Errorf("%s wins: %s", d.Winner, d.Cause)
	}
}

// An answer by rules that this program does not know is no fraud.
func TestCheatUnknownSemantics(t *testing.T) {
	honest := open(t, shape.File(t))
	s := newScene(t, honest, honest.answer(t, newOrder(37)))
	s.resign(func(r *core.Receipt) { r.Semantics = 99 })
	s.refuse("unknown semantics", nil, s.openMsg(challenger, referee.Claim{}))
	s.silenceFor(100 * time.Second)
	if !stakeOf(s).Equal(math.NewInt(stake)) {
		t.Errorf("the stake is %s", stakeOf(s))
	}
}

func (s *scene) silenceFor(d time.Duration) {
	for range int(d / time.Second / 2) {
		s.advance(2 * time.Second)
	}
}

func TestCheatExpiredReceipt(t *testing.T) {
	honest, cheat := attacked(t)
	o := cheat.answer(t, newOrder(38))
	s := newScene(t, honest, o)
	first, _ := json.Marshal(s.receipt)
	again := s.receipt
	again.Output--
	again.Signature, _ = provider.Sign(again.Receipt.Digest())
	second, _ := json.Marshal(again)
	s.advance(24*time.Hour - time.Second)
	s.deliver(s.openMsg(challenger2, firstDifference(t, honest, o))) // in its last second
	s.advance(2 * time.Second)
	s.refuse("an expired receipt", verify.ErrReceipt, s.openMsg(challenger, firstDifference(t, honest, o)))
	s.refuse("two expired receipts", verify.ErrReceipt, &verify.MsgConvict{Challenger: text(challenger), First: first, Second: second})
	if d := s.silence(1); d.Winner != "challenger" {
		t.Errorf("the dispute opened in time is won by the %s", d.Winner)
	}
}

func TestCheatOversizedAndGarbledMessages(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(39))
	s := newScene(t, honest, o)
	r := rand.New(rand.NewPCG(1, 39))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for _, n := range []int{0, 1, 5, 100, 5 << 10, 70 << 10} {
		m := s.openMsg(challenger, referee.Claim{})
		m.Receipt = noise(n)
		s.refuse("a receipt of noise", verify.ErrReceipt, m)
		m = s.openMsg(challenger, referee.Claim{})
		m.Claim = noise(n)
		s.refuse("a claim of noise", verify.ErrInvalid, m)
		s.refuse("an admission of noise", verify.ErrModel, &verify.MsgAdmitModel{Sender: text(challenger), Model: noise(min(n, 32)), Admission: noise(n)})
	}
	s.deliver(s.openMsg(challenger, referee.Claim{Position: 3, Layer: 1}))
	state := s.dispute(1).State
	defender := honest.side(o, o.leaves)
	var game referee.State
	if err := referee.Decode(state, &game); err != nil {
		t.Fatal(err)
	}
	m, err := defender.Move(context.Background(), &game)
	if err != nil {
		t.Fatal(err)
	}
	good := referee.EncodeMove(m)
	for i := range 200 {
		b := bytes.Clone(good)
		switch i % 3 {
		case 0:
			b[len(b)-1-r.IntN(100)] ^= 1 << r.IntN(8) // in the leaf's path: a result may be false until it is disputed
		case 1:
			b = b[:r.IntN(len(b))]
		case 2:
			b = append(b, noise(1+r.IntN(100<<10))...)
		}
		s.refuse("a garbled move", verify.ErrMove, &verify.MsgMove{Sender: text(provider), Dispute: 1, Move: b})
	}
	if !bytes.Equal(s.dispute(1).State, state) {
		t.Error("a refused move changed the game")
	}
	s.deliver(&verify.MsgMove{Sender: text(provider), Dispute: 1, Move: good})
}

// Who moves in the last second of every turn is heard, and gains no more time
// than the clock and an extension for every move.
func TestCheatClockExhaustion(t *testing.T) {
	honest, cheat := attacked(t)
	o := cheat.answer(t, newOrder(40))
	s := newScene(t, honest, o)
	s.govern(public)
	p := verify.DefaultParams()
	s.govern(func(q *verify.Params) { q.Clock = q.MoveTime }) // so that it runs out
	s.deliver(s.openMsg(challenger, referee.Claim{Search: true}))
	provides, accuses := cheat.side(o, o.leaves), honest.side(o, honest.own(t, o))
	moves := 0
	for s.dispute(1).Winner == "" && moves < 40 {
		d := s.dispute(1)
		s.advance(time.Duration(d.Deadline-s.chain.Now()) * time.Second)
		who, key := accuses, challenger
		if d.Turn == "provider" {
			who, key = provides, provider
		}
		if err := s.move(1, key, who); err != nil {
			break // the cheat has no step that holds
		}
		moves++
	}
	d := s.silence(1)
	if most := 2*int64(p.MoveTime) + int64(moves+40)*int64(p.Extension); d.Ended-d.Opened > most || moves < 8 {
		t.Errorf("%d moves took %d s, at most %d are possible", moves, d.Ended-d.Opened, most)
	}
	if d.Winner != "challenger" {
		t.Errorf("the %s wins: %s", d.Winner, d.Cause)
	}
}

// A challenger that is wrong as well loses to a provider that is, and the next
// one, who is right, still convicts.
func TestCheatBothSidesWrong(t *testing.T) {
	honest, cheat := attacked(t)
	o := cheat.answer(t, newOrder(41))
	s := newScene(t, honest, o)
	other := open(t, changed(t, shape.File(t), "blk.1.ffn_down.weight", func(d []byte) { d[9] ^= 1 }))
	s.deliver(s.openMsg(challenger, referee.Claim{Position: 2, Layer: 2}))
	d, _ := s.play(1, cheat.side(o, o.leaves), other.side(o, nil))
	t.Logf("the first dispute is won by the %s: %s", d.Winner, d.Cause)
	if d.Winner == "challenger" {
		return // the wrong provider had no step that holds there
	}
	s.deliver(s.openMsg(challenger, firstDifference(t, honest, o)))
	if d, _ = s.play(2, cheat.side(o, o.leaves), honest.side(o, nil)); d.Winner != "challenger" || !stakeOf(s).IsZero() {
		t.Errorf("the second dispute is won by the %s: %s", d.Winner, d.Cause)
	}
}

// Who copies a claim gets no bounty behind the one who made it; before him, he
// has to play the game himself, and loses his bond when he cannot.
func TestCheatCopiedClaim(t *testing.T) {
	honest, cheat := attacked(t)
	o := cheat.answer(t, newOrder(42))
	for name, copierFirst := range map[string]bool{"behind": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, honest, o)
			claim := firstDifference(t, honest, o)
			id, parties := uint64(1), []*voucher.Key{challenger, challenger2}
			if copierFirst {
				id, parties = 2, []*voucher.Key{challenger2, challenger}
			}
			for _, k := range parties {
				s.deliver(s.openMsg(k, claim))
			}
			if copierFirst { // the provider moves, and the copier has nothing to say
				if err := s.move(1, provider, cheat.side(o, o.leaves)); err != nil {
					t.Fatal(err)
				}
			}
			d, _ := s.play(id, cheat.side(o, o.leaves), honest.side(o, nil))
			for range 20 {
				s.advance(5 * time.Second)
			}
			copied := s.dispute(3 - id)
			if d = s.dispute(id); d.Winner != "challenger" {
				t.Fatalf("the %s wins: %s", d.Winner, d.Cause)
			}
			got := s.chain.Balance(challenger2.Address()).Sub(math.NewInt(purseEach))
			t.Logf("the copier's dispute: won by the %s (%s), which brings %s", copied.Winner, copied.Cause, got)
			if !copierFirst && !got.IsZero() {
				t.Errorf("the copier gets %s", got)
			}
			if copierFirst && copied.Winner == "provider" && !got.Equal(math.NewInt(-bond)) {
				t.Errorf("the copier gets %s", got)
			}
		})
	}
}

// Challenging oneself costs money, whether one wins or loses.
func TestCheatSelfChallenge(t *testing.T) {
	honest, cheat := attacked(t)
	wealth := func(s *scene) math.Int {
		return s.chain.Balance(provider.Address()).Add(s.chain.Balance(challenger.Address())).Add(stakeOf(s))
	}
	o := cheat.answer(t, newOrder(43))
	s := newScene(t, honest, o)
	before := wealth(s)
	s.deliver(s.openMsg(challenger, referee.Claim{})) // its own, and it does not defend itself
	if d := s.silence(1); d.Winner != "challenger" {
		t.Fatal(d.Cause)
	}
	if after := wealth(s); !after.LT(before.SubRaw(stake / 2)) {
		t.Errorf("being convicted by oneself: %s before, %s after", before, after)
	}
	o = honest.answer(t, newOrder(44))
	s = newScene(t, honest, o)
	before = wealth(s)
	s.deliver(s.openMsg(challenger, referee.Claim{}))
	if err := s.move(1, provider, honest.side(o, o.leaves)); err != nil {
		t.Fatal(err)
	}
	if d := s.silence(1); d.Winner != "provider" {
		t.Fatal(d.Cause)
	}
	if after, want := wealth(s), before.SubRaw(bond-won); !after.Equal(want) {
		t.Errorf("being acquitted of one's own accusation leaves %s, want %s", after, want)
	}
}

// Nobody keeps others out by filling the list of disputes: every 64 that are
// open double the bond, and a share of what is lost is burned.
func TestCheatFillingTheList(t *testing.T) {
	honest := open(t, shape.File(t))
	s := newScene(t, honest, honest.answer(t, newOrder(45)))
	paid := math.ZeroInt()
	for i := range 200 {
		before := s.chain.Balance(challenger.Address())
		if _, err := s.chain.Deliver(s.openMsg(challenger, referee.Claim{Position: uint32(i % 29)})); err != nil {
			t.Fatal(err)
		}
		cost := before.Sub(s.chain.Balance(challenger.Address()))
		if want := math.NewInt(bond << (i / 64)); !cost.Equal(want) {
			t.Fatalf("dispute %d costs %s, want %s", i, cost, want)
		}
		paid = paid.Add(cost)
	}
	s.check()
	t.Logf("200 disputes lock %s bonds", paid.QuoRaw(bond))
}

// With the clocks of a public network a side that is left out of 20 blocks in a
// row still moves in time, even when its clock has run out, and however long a
// block takes.
func TestCheatMovesCensoredForTwentyBlocks(t *testing.T) {
	honest, cheat := attacked(t)
	o := cheat.answer(t, newOrder(46))
	for _, interval := range []time.Duration{time.Second, 15 * time.Second, 2 * time.Minute, time.Hour} {
		t.Run(interval.String(), func(t *testing.T) {
			s := newScene(t, honest, o)
			s.govern(public)
			s.govern(func(p *verify.Params) { p.Clock = p.MoveTime })
			s.deliver(s.openMsg(challenger, firstDifference(t, honest, o)))
			provides, accuses := cheat.side(o, o.leaves), honest.side(o, nil)
			for {
				d := s.dispute(1)
				if d.Turn == "provider" {
					if s.move(1, provider, provides) != nil {
						break // it has no step that holds
					}
					s.advance(time.Second)
					continue
				}
				for range 20 {
					s.advance(interval)
				}
				if err := s.move(1, challenger, accuses); err != nil {
					t.Fatalf("after 20 blocks of %s, with %d s on the clock: %v", interval, d.ChallengerClock, err)
				}
			}
			for range 40 {
				s.advance(time.Hour)
			}
			if d := s.dispute(1); d.Winner != "challenger" {
				t.Errorf("the %s wins: %s", d.Winner, d.Cause)
			}
		})
	}
	// Whoever stays silent for longer loses all the same.
	s := newScene(t, honest, o)
	s.govern(public)
	s.deliver(s.openMsg(challenger, firstDifference(t, honest, o)))
	for range 40 {
		s.advance(time.Hour)
	}
	if d := s.dispute(1); d.Winner != "challenger" || d.Moves != 1 {
		t.Errorf("a silent provider: the %q wins", d.Winner)
	}
}

// A dispute keeps the rules and terms that it was opened under.
func TestCheatUpgradeInMidDispute(t *testing.T) {
	honest, cheat := attacked(t)
	o := cheat.answer(t, newOrder(47))
	s := newScene(t, honest, o)
	s.deliver(s.openMsg(challenger, firstDifference(t, honest, o)))
	terms := s.dispute(1).Terms
	// Governance shortens the time to nothing and takes the bounty away.
	s.govern(func(p *verify.Params) { p.MoveTime, p.Clock, p.Extension, p.BountyPoints = 1, 1, 0, 0 })
	// The chain goes on as a new program, from its exported state.
	state, err := s.chain.Verify.ExportGenesis(s.chain.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.restart(state)
	var game referee.State
	if err := referee.Decode(s.dispute(1).State, &game); err != nil || game.Semantics != core.SemanticsV1 {
		t.Fatalf("semantics %d, %v", game.Semantics, err)
	}
	s.advance((moveTime - 2) * time.Second)
	if err := s.move(1, provider, cheat.side(o, o.leaves)); err != nil {
		t.Fatalf("within the time that it was opened with: %v", err)
	}
	d, _ := s.play(1, cheat.side(o, o.leaves), honest.side(o, nil))
	if want := math.NewInt((stake - cost) * 3 / 10); d.Winner != "challenger" || d.Terms != terms || !d.Bounty.Equal(want) {
		t.Errorf("the %s wins, bounty %s of %s, terms %v, opened under %v", d.Winner, d.Bounty, want, d.Terms, terms)
	}
	// Rules that the program lacks decide nothing: the move fails, the state stays.
	game.Semantics = 99
	if err := game.Apply(honest.prover.Model, &referee.Layer{}); err == nil {
		t.Error("a game by unknown rules goes on")
	}
}

// restart empties the module's store and begins again with the state.
func (s *scene) restart(state *verify.GenesisState) {
	s.t.Helper()
	c := s.chain
	c.Clear(verify.StoreKey)
	for _, d := range state.Disputes {
		if d.Winner == "" {
			if err := c.Market.Thaw(c.Ctx, account(provider)); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := c.Verify.InitGenesis(c.Ctx, state); err != nil {
		s.t.Fatal(err)
	}
	s.check()
}

// A dispute goes on after an export and import in every phase, and ends as it
// would have.
func TestExportInEveryPhase(t *testing.T) {
	honest, cheat := attacked(t)
	o := cheat.answer(t, newOrder(48))
	s := newScene(t, honest, o)
	s.deliver(s.openMsg(challenger, referee.Claim{Search: true}))
	provides, accuses := cheat.side(o, o.leaves), honest.side(o, honest.own(t, o))
	seen := map[string]bool{}
	for {
		d := s.dispute(1)
		seen[d.Phase] = true
		state, err := s.chain.Verify.ExportGenesis(s.chain.Ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.restart(state)
		if after := s.dispute(1); after.String() != d.String() {
			t.Fatalf("phase %s: imported is %v, exported was %v", d.Phase, after, d)
		}
		who, key := accuses, challenger
		if d.Turn == "provider" {
			who, key = provides, provider
		}
		if s.move(1, key, who) != nil {
			break
		}
		s.advance(time.Second)
	}
	if len(seen) != 9 {
		t.Errorf("seen were the phases %v", seen)
	}
	if d := s.silence(1); d.Winner != "challenger" {
		t.Errorf("the %s wins: %s", d.Winner, d.Cause)
	}
	state, err := s.chain.Verify.ExportGenesis(s.chain.Ctx)
	if err != nil || len(state.Convictions) != 1 {
		t.Fatalf("%v, %v", state.Convictions, err)
	}
	s.restart(state)
	s.refuse("a receipt that was proven wrong", verify.ErrReceipt, s.openMsg(challenger2, referee.Claim{}))
}

// A block ends and removes no more disputes than the parameters say; the others
// follow.
func TestABlockEndsAndRemovesABoundedNumber(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(49))
	s := newScene(t, honest, o)
	s.govern(func(p *verify.Params) { p.MaxVerdicts, p.MaxPruned, p.Keep = 7, 5, 2*p.Clock })
	for i := range 20 {
		s.deliver(s.openMsg(challenger, referee.Claim{Position: uint32(i)}))
	}
	count := func() (open, ended int) {
		state, err := s.chain.Verify.ExportGenesis(s.chain.Ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range state.Disputes {
			if d.Winner == "" {
				open++
			} else {
				ended++
			}
		}
		return open, ended
	}
	s.advance((moveTime + 1) * time.Second)
	was, _ := count()
	for blocks := 0; was > 0; blocks++ {
		s.advance(time.Second)
		n, _ := count()
		// One by the clock convicts; those that it settles have a bound of their own.
		if was-n > 2*7 || blocks > 20 {
			t.Fatalf("a block ended %d of %d disputes", was-n, was)
		}
		was = n
	}
	s.advance(2*3*moveTime*time.Second + time.Second)
	_, before := count()
	for blocks := 0; before > 0; blocks++ {
		s.advance(time.Second)
		_, n := count()
		if before-n > 5 || blocks > 20 {
			t.Fatalf("a block removed %d of %d disputes", before-n, before)
		}
		before = n
	}
	// The mark stays as long as the receipt can be disputed, and goes then.
	s.refuse("a receipt that was proven wrong", verify.ErrReceipt, s.openMsg(challenger, referee.Claim{}))
	s.advance(25 * time.Hour)
	s.advance(time.Second)
	state, err := s.chain.Verify.ExportGenesis(s.chain.Ctx)
	if err != nil || len(state.Convictions) != 0 {
		t.Errorf("marks left: %v, %v", state.Convictions, err)
	}
}

// Governance cannot set what would let a game be lost for nothing.
func TestParametersStayWithinBounds(t *testing.T) {
	for name, change := range map[string]func(p *verify.Params){
		"no blocks": func(p *verify.Params) { p.MinBlocks = 0 }, "nothing burned": func(p *verify.Params) { p.BurnPoints = 0 },
		"all burned": func(p *verify.Params) { p.BurnPoints = verify.Basis }, "no doubling": func(p *verify.Params) { p.BondDoubling = 0 },
		"kept too briefly": func(p *verify.Params) { p.Keep = p.Clock }, "never removed": func(p *verify.Params) { p.MaxPruned = 0 },
		"bounty": func(p *verify.Params) { p.BountyPoints = 3_001 }, "extension": func(p *verify.Params) { p.Extension = p.MoveTime + 1 },
	} {
		p := verify.DefaultParams()
		if change(&p); p.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := verify.DefaultParams().Validate(); err != nil {
		t.Error(err)
	}
}
