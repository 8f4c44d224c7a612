package dispute

import (
	"context"
	"testing"
	"time"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/prover"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/tiny"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

// small is a model whose games are short enough to be explored whole.
var small = tiny.Shape{Arch: "llama", Layers: 1, Width: 64, Hidden: 32, Heads: 2, KVHeads: 1, HeadDim: 32, Format: gguf.Q8_0, Tied: true}

// explorer walks through every course of a dispute: at each turn a side moves at
// once, or in the last second of its time; the side that is not honest may
// also stay silent, and an adversary that points may point anywhere it can.
type explorer struct {
	t      *testing.T
	honest referee.Side
	moves  map[referee.Side]func(s *referee.State) []referee.Move
	ended  int
	late   int // courses in which the honest side always moved in the last second
}

func (e *explorer) walk(s *scene, lastSecond bool) {
	d := s.dispute(1)
	if d.Winner != "" {
		e.ended++
		if lastSecond {
			e.late++
		}
		if d.Winner != e.honest.String() {
			e.t.Fatalf("the honest %v loses: %s (%+v)", e.honest, d.Cause, d.History)
		}
		return
	}
	var game referee.State
	if err := referee.Decode(d.State, &game); err != nil {
		e.t.Fatal(err)
	}
	side := game.Phase.Side()
	key := challenger
	if side == referee.Provider {
		key = provider
	}
	wait := time.Duration(d.Deadline-s.chain.Now()) * time.Second
	moved := false
	for _, move := range e.moves[side](&game) {
		for _, delay := range []time.Duration{0, wait} {
			b := s.branch()
			b.advance(delay)
			if _, err := b.chain.Deliver(&verify.MsgMove{Sender: text(key), Dispute: 1, Move: referee.EncodeMove(move)}); err != nil {
				continue
			}
			b.check()
			moved = true
			e.walk(b, lastSecond && (side != e.honest || delay == wait))
		}
	}
	if side != e.honest || !moved {
		b := s.branch()
		b.advance(wait + time.Second)
		b.advance(time.Second)
		e.walk(b, lastSecond)
	}
}

// branch is the same chain, on which what follows happens to nobody else.
func (s *scene) branch() *scene {
	b, c := *s, *s.chain
	c.Ctx, _ = s.chain.Ctx.CacheContext()
	b.chain = &c
	return &b
}

// only returns the one move that a party finds.
func only(a *prover.Answer) func(*referee.State) []referee.Move {
	return func(s *referee.State) []referee.Move {
		move, err := a.Move(context.Background(), s)
		if err != nil {
			return nil
		}
		return []referee.Move{move}
	}
}

// anyPick are a few moves of every kind that a challenger could make; what does
// not fit is refused.
func anyPick(s *referee.State) (moves []referee.Move) {
	for i := range uint32(4) {
		switch s.Phase {
		case referee.NeedOperator:
			moves = append(moves, &referee.PickOperator{Operator: i * 4})
		case referee.NeedTile:
			moves = append(moves, &referee.PickTile{Tile: i / 2, Part: i % 2})
		case referee.NeedChunk:
			moves = append(moves, &referee.PickChunk{Chunk: i % 2})
		}
	}
	return moves
}

// Whatever the challenger does and when, a provider with the true answer that
// moves within its time wins.
func TestEveryCourseAgainstAnHonestProvider(t *testing.T) {
	honest := open(t, small.File(t))
	o := honest.answer(t, newOrder(12))
	s := newScene(t, honest, o)
	s.deliver(s.openMsg(challenger, referee.Claim{Position: 27, Layer: 1}))
	e := &explorer{t: t, honest: referee.Provider, moves: map[referee.Side]func(*referee.State) []referee.Move{
		referee.Provider: only(honest.prover.Answer(o.input, o.output, o.leaves, o.salt)), referee.Challenger: anyPick}}
	e.walk(s, true)
	t.Logf("%d courses, %d of them with every move of the provider in its last second", e.ended, e.late)
	if e.ended < 100 || e.late == 0 {
		t.Error("too few courses were explored to show anything")
	}
}

// Whatever a provider with a false answer does and when, an honest challenger
// that moves within its time wins.
func TestEveryCourseAgainstAnHonestChallenger(t *testing.T) {
	b := small.File(t)
	honest := open(t, b)
	for _, tensor := range []string{"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.0.ffn_down.weight"} {
		cheat := open(t, changed(t, b, tensor, func(d []byte) { d[len(d)/2] ^= 4 }))
		o := cheat.answer(t, newOrder(13))
		s := newScene(t, honest, o)
		s.deliver(s.openMsg(challenger, firstDifference(t, honest, o)))
		e := &explorer{t: t, honest: referee.Challenger, moves: map[referee.Side]func(*referee.State) []referee.Move{
			referee.Provider: only(cheat.prover.Answer(o.input, o.output, o.leaves, o.salt)), referee.Challenger: only(honest.prover.Answer(o.input, o.output, nil, o.salt))}}
		e.walk(s, true)
		t.Logf("%s: %d courses, %d with every move of the challenger in its last second", tensor, e.ended, e.late)
		if e.ended < 10 || e.late == 0 {
			t.Error("too few courses were explored to show anything")
		}
	}
}
