// Package dispute plays disputes between real engines on the ledger's state
// machine: a cheating provider's receipts, an honest challenger, and what the
// chain makes of it.
package dispute

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/prover"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/tiny"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	ledgermodel "github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/voucher"
)

var (
	provider, payer, hot    = fixture.Key(1), fixture.Key(2), fixture.Key(3)
	challenger, challenger2 = fixture.Key(4), fixture.Key(5)
)

const (
	bond      = 1_000_000
	won       = bond * 8 / 10 // what a provider gets of it; the rest is burned
	stake     = 100_000_000
	moveTime  = 20
	purseEach = 1_000_000_000
)

var shape = tiny.Shape{Arch: "qwen2", Layers: 2, Width: 320, Hidden: 352, Heads: 5, KVHeads: 1, HeadDim: 64, Format: gguf.Q8_0, Tied: true}

// engine is an open model with its prover.
type engine struct {
	*model.Model
	prover *prover.Prover
}

func open(t testing.TB, b []byte) engine {
	t.Helper()
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.OpenBytes(b, model.Options{Threads: 1, KVBudget: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	p, err := prover.New(f, m)
	if err != nil {
		t.Fatal(err)
	}
	return engine{m, p}
}

// order is one request with its answer.
type order struct {
	input, output []core.Token
	sampler       core.Sampler
	seed          core.Seed
	salt          core.Hash
	leaves        []core.Hash
	finish        core.FinishReason // core.FinishLength where it says none
}

func (e engine) answer(t testing.TB, o order) order {
	t.Helper()
	in := core.SequenceInput{Input: o.input, Sampler: o.sampler, Seed: o.seed, Salt: o.salt, Trace: true}
	s, err := e.NewSequence(in)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	for s.Finish() == "" {
		if err := e.Step(context.Background(), []core.Sequence{s}); err != nil {
			t.Fatal(err)
		}
	}
	o.output, o.leaves = append([]core.Token(nil), s.Output()...), s.Boundaries()
	return o
}

func newOrder(seed byte) order {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	o := order{sampler: core.Sampler{Temperature: 700_000, MaxTokens: 6, IgnoreEOS: true}, seed: core.Seed{seed}, salt: core.Hash{seed, 1}}
	for range 24 {
		o.input = append(o.input, core.Token(r.IntN(tiny.Vocabulary-1)))
	}
	return o
}

// scene is a chain with a bonded provider, an admitted model, an open channel
// and one receipt.
type scene struct {
	t       *testing.T
	chain   *fixture.Chain
	order   order
	receipt core.SignedReceipt
	channel []byte
}

func newScene(t *testing.T, honest engine, o order) *scene {
	t.Helper()
	gk := market.DefaultGenesis()
	gk.Params.MinBond = math.NewInt(1)
	c := fixture.Start(t, ledgermodel.DefaultGenesis(), gk, payment.DefaultGenesis(), nil)
	s := &scene{t: t, chain: c, order: o}
	for _, k := range []*voucher.Key{provider, payer, challenger, challenger2} {
		c.Fund(k.Address(), purseEach)
	}
	p := verify.DefaultParams()
	p.ChallengerBond, p.MoveTime, p.Clock, p.Extension, p.MinBlocks = math.NewInt(bond), moveTime, 3*moveTime, 5, 1
	s.deliver(&verify.MsgUpdateParams{Authority: fixture.Authority(), Params: p})
	peer := ed25519.NewKeyFromSeed(make([]byte, 32))
	s.deliver(&market.MsgRegister{Provider: text(provider), PeerId: market.PeerID(peer.Public().(ed25519.PublicKey)), Moniker: "machine",
		Addrs: []string{"/ip4/127.0.0.1/tcp/4001"}, PeerSignature: ed25519.Sign(peer, core.PeerBinding(fixture.ChainID, provider.Address())), Bond: math.NewInt(stake)})
	s.deliver(&verify.MsgAdmitModel{Sender: text(challenger), Model: honest.prover.Model.Root[:], Admission: referee.Encode(honest.prover.Admission())})
	open := &payment.MsgOpen{Payer: text(payer), Signer: text(hot), Provider: text(provider), Deposit: math.NewInt(10_000_000), Salt: make([]byte, 32), WithdrawDelay: 900, Expiry: c.Now() + 3600}
	s.deliver(open)
	channels, err := payment.NewQueryServer(c.Payment).Channels(c.Ctx, &payment.QueryChannelsRequest{Account: text(payer)})
	if err != nil || len(channels.Channels) != 1 {
		t.Fatalf("%v, %v", channels, err)
	}
	s.channel = channels.Channels[0].Id
	s.receipt = s.sign(honest, o, core.RequestID{7})
	return s
}

// sign makes the receipt of an answer, under the honest model's name.
func (s *scene) sign(honest engine, o order, request core.RequestID) core.SignedReceipt {
	r := core.SignedReceipt{Receipt: core.Receipt{ChainID: fixture.EVMChainID, Semantics: core.SemanticsV1, Model: honest.prover.Model.Root, Request: request,
		Provider: provider.Address(), Channel: core.ChannelID(s.channel), InputHash: core.HashTokens(o.input), OutputHash: core.HashTokens(o.output),
		Sampler: o.sampler.Digest(), Seed: o.seed.Commitment(), Input: uint32(len(o.input)), Output: uint32(len(o.output)), Billed: uint32(len(o.input)),
		Finish: cmp.Or(o.finish, core.FinishLength), BoundaryRoot: merkle.Root(o.leaves), PriceIn: core.NewAmount(10), PriceOut: core.NewAmount(100), Issued: s.chain.Now(), Expiry: s.chain.Now() + 86400}}
	r.RequestHash = head(&r.Receipt).Digest()
	sig, err := provider.Sign(r.Digest())
	if err != nil {
		s.t.Fatal(err)
	}
	r.Signature = sig
	return r
}

// head is that of the request which the receipt answers.
func head(r *core.Receipt) *core.RequestHead {
	return &core.RequestHead{ChainID: r.ChainID, ID: r.Request, Model: r.Model, Semantics: r.Semantics, Provider: r.Provider, Channel: r.Channel, Input: r.InputHash,
		Prompt: r.Input, Sampler: r.Sampler, PriceIn: r.PriceIn, PriceOut: r.PriceOut, Expiry: r.Expiry}
}

const cost = 24*10 + 6*100

func text(k *voucher.Key) string { return fixture.Bech32(k.Address()) }

func (s *scene) deliver(msg interface {
	Reset()
	String() string
	ProtoMessage()
}) {
	s.t.Helper()
	if _, err := s.chain.Deliver(msg); err != nil {
		s.t.Fatalf("%T: %v", msg, err)
	}
	s.check()
}

func (s *scene) check() {
	s.t.Helper()
	if err := s.chain.Check(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) openMsg(by *voucher.Key, c referee.Claim) *verify.MsgOpenDispute {
	raw, err := json.Marshal(s.receipt)
	if err != nil {
		s.t.Fatal(err)
	}
	return &verify.MsgOpenDispute{Challenger: text(by), Receipt: raw, Claim: referee.Encode(c)}
}

func (s *scene) dispute(id uint64) verify.Dispute {
	s.t.Helper()
	r, err := verify.NewQueryServer(s.chain.Verify).Dispute(s.chain.Ctx, &verify.QueryDisputeRequest{Id: id})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Dispute
}

// play moves for both sides, a block each, until the dispute is over; a side
// without a move that holds lets its time pass.
func (s *scene) play(id uint64, defender, accuser *prover.Answer) (d verify.Dispute, gas uint64) {
	s.t.Helper()
	for range 60 {
		if d = s.dispute(id); d.Winner != "" {
			return d, gas
		}
		var game referee.State
		if err := referee.Decode(d.State, &game); err != nil {
			s.t.Fatal(err)
		}
		who, key := accuser, challenger
		if game.Phase.Side() == referee.Provider {
			who, key = defender, provider
		}
		move, err := who.Move(context.Background(), &game)
		if err == nil {
			var used uint64
			used, err = s.chain.Deliver(&verify.MsgMove{Sender: text(key), Dispute: id, Move: referee.EncodeMove(move)})
			gas += used
		}
		if err != nil { // nothing to say
			s.advance(5 * time.Second)
			continue
		}
		s.advance(time.Second)
	}
	s.t.Fatal("the dispute does not end")
	return d, gas
}

func (s *scene) advance(d time.Duration) {
	s.t.Helper()
	if err := s.chain.Advance(d); err != nil {
		s.t.Fatal(err)
	}
	s.check()
}

// changed is the model's file with one tensor's data changed.
func changed(t testing.TB, b []byte, name string, change func(data []byte)) []byte {
	t.Helper()
	out := bytes.Clone(b)
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	tensor, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	change(out[tensor.Offset : tensor.Offset+tensor.Size])
	return out
}

// firstDifference is the first leaf that an honest engine has otherwise.
func firstDifference(t testing.TB, honest engine, o order) referee.Claim {
	t.Helper()
	replayed, err := honest.Replay(context.Background(), core.SequenceInput{Input: o.input, Sampler: o.sampler, Seed: o.seed, Salt: o.salt, Trace: true}, o.output)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range replayed.Boundaries {
		if i >= len(o.leaves) || h != o.leaves[i] {
			per := honest.Info().Layers + 1
			return referee.Claim{Position: uint32(i / per), Layer: uint32(i % per)}
		}
	}
	t.Fatal("no leaf differs")
	return referee.Claim{}
}

// Whoever computes with other weights than those under the model root loses the
// stake; the consumer gets the money back, the challenger a bounty.
func TestOtherWeightsAreConvicted(t *testing.T) {
	b := shape.File(t)
	honest := open(t, b)
	for name, change := range map[string]func([]byte){
		"token_embd.weight":        func(d []byte) { d[len(d)/2] ^= 1 },
		"blk.0.attn_k.weight":      func(d []byte) { d[40] ^= 2 },
		"blk.0.attn_v.bias":        func(d []byte) { d[2] ^= 1 },
		"blk.1.attn_q.weight":      func(d []byte) { d[3000] ^= 1 },
		"blk.1.attn_output.weight": func(d []byte) { d[5] ^= 4 },
		"blk.0.ffn_norm.weight":    func(d []byte) { d[602] ^= 8 },
		"blk.1.ffn_down.weight":    func(d []byte) { clear(d) }, // a layer is skipped in part
	} {
		t.Run(name, func(t *testing.T) {
			cheat := open(t, changed(t, b, name, change))
			o := newOrder(3)
			if name == "token_embd.weight" {
				o.input[5] = tiny.Vocabulary / 2
			}
			o = cheat.answer(t, o)
			s := newScene(t, honest, o)
			before := s.chain.Balance(payer.Address())
			s.deliver(s.openMsg(challenger, firstDifference(t, honest, o)))
			if n := s.chain.Balance(challenger.Address()); !n.Equal(math.NewInt(purseEach - bond)) {
				t.Errorf("the challenger has %s", n)
			}
			d, gas := s.play(1, cheat.prover.Answer(o.input, o.output, o.leaves, o.salt), honest.prover.Answer(o.input, o.output, nil, o.salt))
			if d.Winner != "challenger" {
				t.Fatalf("%s: %s", d.Winner, d.Cause)
			}
			t.Logf("%d moves, %d bytes, %d gas: %s", d.Moves, d.Bytes, gas, d.Cause)
			bounty := int64((stake - cost) * 3 / 10)
			for what, v := range map[string][2]math.Int{
				"slashed":    {d.Slashed, math.NewInt(stake)},
				"refund":     {s.chain.Balance(payer.Address()).Sub(before), math.NewInt(cost)},
				"challenger": {s.chain.Balance(challenger.Address()), math.NewInt(purseEach + bounty)},
				"burned":     {s.chain.Burned(), math.NewInt(stake - cost - bounty)},
				"stake":      {stakeOf(s), math.ZeroInt()},
			} {
				if !v[0].Equal(v[1]) {
					t.Errorf("%s: %s, want %s", what, v[0], v[1])
				}
			}
			if _, err := s.chain.Deliver(s.openMsg(challenger2, referee.Claim{})); !errors.Is(err, verify.ErrReceipt) {
				t.Errorf("the same receipt again: %v", err)
			}
		})
	}
}

func stakeOf(s *scene) math.Int {
	p, err := s.chain.Market.Provider(s.chain.Ctx, account(provider))
	if err != nil {
		s.t.Fatal(err)
	}
	return p.Bond
}

// An honest provider wins against whoever accuses it, and keeps the bond.
func TestHonestProvidersWin(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(4))
	s := newScene(t, honest, o)
	defender := honest.prover.Answer(o.input, o.output, o.leaves, o.salt)
	// An honest accuser has nothing to say and runs out of time.
	s.deliver(s.openMsg(challenger, referee.Claim{Position: 12, Layer: 1}))
	if d, _ := s.play(1, defender, honest.prover.Answer(o.input, o.output, nil, o.salt)); d.Winner != "provider" {
		t.Errorf("%+v", d)
	}
	// One with another model in hand points somewhere, and meets a step that holds.
	other := open(t, changed(t, shape.File(t), "blk.0.attn_q.weight", func(d []byte) { d[100] ^= 16 }))
	s.deliver(s.openMsg(challenger, referee.Claim{Position: 28, Layer: 1}))
	d, gas := s.play(2, defender, other.prover.Answer(o.input, o.output, nil, o.salt))
	if d.Winner != "provider" || d.Ended == 0 {
		t.Errorf("%+v", d)
	}
	t.Logf("%d moves, %d bytes, %d gas: %s", d.Moves, d.Bytes, gas, d.Cause)
	if got, want := s.chain.Balance(provider.Address()), math.NewInt(purseEach-stake+2*won); !got.Equal(want) {
		t.Errorf("the provider has %s, want %s", got, want)
	}
	if !stakeOf(s).Equal(math.NewInt(stake)) {
		t.Errorf("the stake is %s", stakeOf(s))
	}
}

// A hundred challengers at once cost an honest provider nothing.
func TestCheatAHundredSybils(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(5))
	s := newScene(t, honest, o)
	s.chain.Fund(challenger.Address(), 200*bond)
	for i := range 100 {
		s.deliver(s.openMsg(challenger, referee.Claim{Position: uint32(i % 29), Layer: uint32(i % 3)}))
	}
	defender := honest.prover.Answer(o.input, o.output, o.leaves, o.salt)
	for id := uint64(1); id <= 100; id++ {
		var game referee.State
		if err := referee.Decode(s.dispute(id).State, &game); err != nil {
			t.Fatal(err)
		}
		move, err := defender.Move(context.Background(), &game)
		if err != nil {
			t.Fatal(err)
		}
		s.deliver(&verify.MsgMove{Sender: text(provider), Dispute: id, Move: referee.EncodeMove(move)})
	}
	s.advance((moveTime + 1) * time.Second) // nobody goes on
	s.advance(time.Second)
	if got, want := s.chain.Balance(provider.Address()), math.NewInt(purseEach-stake+(64+2*36)*won); !got.Equal(want) {
		t.Errorf("the provider has %s, want %s", got, want)
	}
}

// Two receipts for one request need no game.
func TestCheatTwoReceiptsForOneRequest(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(7))
	s := newScene(t, honest, o)
	second := s.receipt
	second.Output, second.Billed = 5, 1
	second.Signature, _ = provider.Sign(second.Receipt.Digest())
	raw := func(r core.SignedReceipt) []byte { b, _ := json.Marshal(r); return b }
	if _, err := s.chain.Deliver(&verify.MsgConvict{Challenger: text(challenger), First: raw(s.receipt), Second: raw(s.receipt)}); !errors.Is(err, verify.ErrReceipt) {
		t.Errorf("one receipt twice: %v", err)
	}
	forged := second
	forged.Signature, _ = challenger.Sign(second.Receipt.Digest())
	if _, err := s.chain.Deliver(&verify.MsgConvict{Challenger: text(challenger), First: raw(s.receipt), Second: raw(forged)}); !errors.Is(err, verify.ErrReceipt) {
		t.Errorf("somebody else's signature: %v", err)
	}
	s.deliver(&verify.MsgConvict{Challenger: text(challenger), First: raw(s.receipt), Second: raw(second)})
	if !stakeOf(s).IsZero() {
		t.Errorf("the stake is %s", stakeOf(s))
	}
}

// What cannot be disputed is refused, and nothing moves.
func TestRefusals(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(8))
	s := newScene(t, honest, o)
	elsewhere := s.receipt
	elsewhere.ChainID++
	elsewhere.Signature, _ = provider.Sign(elsewhere.Receipt.Digest())
	for name, v := range map[string]struct {
		change func(m *verify.MsgOpenDispute)
		want   error
	}{
		"another chain's": {func(m *verify.MsgOpenDispute) { m.Receipt, _ = json.Marshal(elsewhere) }, verify.ErrReceipt},
		"garbled":         {func(m *verify.MsgOpenDispute) { m.Receipt[20] ^= 1 }, verify.ErrReceipt},
		"more than one":   {func(m *verify.MsgOpenDispute) { m.Receipt = append(m.Receipt, m.Receipt...) }, verify.ErrReceipt},
		"no leaf":         {func(m *verify.MsgOpenDispute) { m.Claim = referee.Encode(referee.Claim{Position: 29}) }, verify.ErrInvalid},
		"no layer":        {func(m *verify.MsgOpenDispute) { m.Claim = referee.Encode(referee.Claim{Layer: 3}) }, verify.ErrInvalid},
		"garbled claim":   {func(m *verify.MsgOpenDispute) { m.Claim = []byte{1, 2} }, verify.ErrInvalid},
		"a beggar":        {func(m *verify.MsgOpenDispute) { m.Challenger = text(fixture.Key(99)) }, verify.ErrFunds},
		"no account":      {func(m *verify.MsgOpenDispute) { m.Challenger = "koinon1" }, verify.ErrInvalid},
	} {
		m := s.openMsg(challenger, referee.Claim{Position: 1})
		v.change(m)
		if _, err := s.chain.Deliver(m); !errors.Is(err, v.want) {
			t.Errorf("%s: %v", name, err)
		}
		s.check()
	}
	s.deliver(s.openMsg(challenger, referee.Claim{Position: 1, Layer: 1}))
	defender := honest.prover.Answer(o.input, o.output, o.leaves, o.salt)
	var game referee.State
	if err := referee.Decode(s.dispute(1).State, &game); err != nil {
		t.Fatal(err)
	}
	move, err := defender.Move(context.Background(), &game)
	if err != nil {
		t.Fatal(err)
	}
	b := referee.EncodeMove(move)
	for name, m := range map[string]*verify.MsgMove{
		"a stranger":     {Sender: text(challenger2), Dispute: 1, Move: b},
		"the other side": {Sender: text(challenger), Dispute: 1, Move: b},
		"no dispute":     {Sender: text(provider), Dispute: 2, Move: b},
		"garbled":        {Sender: text(provider), Dispute: 1, Move: b[:len(b)-1]},
		"another kind":   {Sender: text(provider), Dispute: 1, Move: referee.EncodeMove(&referee.Step{})},
		"enormous":       {Sender: text(provider), Dispute: 1, Move: make([]byte, referee.MaxMove+1)},
	} {
		if _, err := s.chain.Deliver(m); err == nil {
			t.Errorf("%s was taken", name)
		}
		s.check()
	}
	// Expired receipts rest.
	s.advance(2 * 24 * time.Hour)
	if _, err := s.chain.Deliver(s.openMsg(challenger, referee.Claim{})); !errors.Is(err, verify.ErrReceipt) {
		t.Errorf("an expired receipt: %v", err)
	}
}

// A provider that unbonds in mid-dispute does not get away with it.
func TestCheatUnbondingInMidDispute(t *testing.T) {
	b := shape.File(t)
	honest := open(t, b)
	cheat := open(t, changed(t, b, "blk.0.attn_k.weight", func(d []byte) { d[40] ^= 2 }))
	o := cheat.answer(t, newOrder(9))
	s := newScene(t, honest, o)
	gk := market.DefaultParams()
	gk.MinBond, gk.UnbondDelay, gk.Finality = math.NewInt(1), 1, 0
	s.deliver(&market.MsgUpdateParams{Authority: fixture.Authority(), Params: gk})
	s.deliver(s.openMsg(challenger, firstDifference(t, honest, o)))
	s.deliver(s.openMsg(challenger2, firstDifference(t, honest, o)))
	s.deliver(&market.MsgUnbond{Provider: text(provider), Amount: math.NewInt(stake)})
	for range 4 {
		s.advance(4 * time.Second) // the unbonding is due, and waits
	}
	if n := s.chain.Balance(provider.Address()); !n.Equal(math.NewInt(purseEach - stake)) {
		t.Fatalf("the provider got away with %s", n)
	}
	s.advance(moveTime * time.Second)
	s.advance(time.Second)
	if d := s.dispute(1); d.Winner != "challenger" || !d.Slashed.Equal(math.NewInt(stake)) {
		t.Errorf("%+v", d)
	}
	// The other challenger of the same receipt has the bond back.
	if n := s.chain.Balance(challenger2.Address()); !n.Equal(math.NewInt(purseEach)) {
		t.Errorf("the second challenger has %s", n)
	}
}

// A provider that lets a challenger of its own win first gets no bounty back.
func TestTheFirstAccuserGetsTheBounty(t *testing.T) {
	b := shape.File(t)
	honest := open(t, b)
	cheat := open(t, changed(t, b, "blk.0.attn_k.weight", func(d []byte) { d[40] ^= 2 }))
	o := cheat.answer(t, newOrder(11))
	s := newScene(t, honest, o)
	claim := firstDifference(t, honest, o)
	s.deliver(s.openMsg(challenger, claim))
	s.advance(time.Second)
	s.deliver(s.openMsg(challenger2, claim)) // the provider's own
	var game referee.State
	if err := referee.Decode(s.dispute(1).State, &game); err != nil {
		t.Fatal(err)
	}
	move, err := cheat.prover.Answer(o.input, o.output, o.leaves, o.salt).Move(context.Background(), &game)
	if err != nil {
		t.Fatal(err)
	}
	s.advance(10 * time.Second)
	s.deliver(&verify.MsgMove{Sender: text(provider), Dispute: 1, Move: referee.EncodeMove(move)}) // and not in dispute 2
	s.advance(12 * time.Second)
	s.advance(time.Second)
	for id := uint64(1); id <= 2; id++ {
		if d := s.dispute(id); d.Winner != "challenger" || d.Bounty.IsPositive() != (id == 1) {
			t.Errorf("dispute %d: %s, bounty %s (%s)", id, d.Winner, d.Bounty, d.Cause)
		}
	}
	if n := s.chain.Balance(challenger2.Address()); !n.Equal(math.NewInt(purseEach)) {
		t.Errorf("the second accuser has %s", n)
	}
}

// The state survives an export in mid-dispute.
func TestExportInMidDispute(t *testing.T) {
	honest := open(t, shape.File(t))
	o := honest.answer(t, newOrder(10))
	s := newScene(t, honest, o)
	s.deliver(s.openMsg(challenger, referee.Claim{Position: 3, Layer: 2}))
	state, err := s.chain.Verify.ExportGenesis(s.chain.Ctx)
	if err != nil || len(state.Disputes) != 1 || len(state.Models) != 1 || state.Next != 2 {
		t.Fatalf("%+v, %v", state, err)
	}
	again := fixture.New(t)
	again.FundModule(verify.ModuleName, math.NewInt(bond))
	if err := again.Verify.InitGenesis(again.Ctx, state); err != nil {
		t.Fatal(err)
	}
	if err := again.Check(); err != nil {
		t.Error(err)
	}
	second, err := again.Verify.ExportGenesis(again.Ctx)
	if err != nil || fmt.Sprint(second) != fmt.Sprint(state) {
		t.Errorf("exported again it differs: %v", err)
	}
}

func account(k *voucher.Key) []byte { a := k.Address(); return a[:] }
