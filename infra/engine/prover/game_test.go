package prover

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/tiny"
)

var shapes = []tiny.Shape{
	{Arch: "qwen2", Layers: 2, Width: 320, Hidden: 352, Heads: 5, KVHeads: 1, HeadDim: 64, Format: gguf.Q8_0, Tied: true},
	{Arch: "llama", Layers: 3, Width: 64, Hidden: 544, Heads: 4, KVHeads: 2, HeadDim: 16, Format: gguf.Q4_0, Factors: true},
	{Arch: "llama", Layers: 1, Width: 48, Hidden: 40, Heads: 3, KVHeads: 3, HeadDim: 16, Format: gguf.F16},
	{Arch: "llama", Layers: 1, Width: 256, Hidden: 512, Heads: 4, KVHeads: 2, HeadDim: 64, Format: gguf.Q4_K, Tied: true},
	{Arch: "qwen2", Layers: 1, Width: 256, Hidden: 256, Heads: 2, KVHeads: 1, HeadDim: 128, Format: gguf.Q6_K},
	{Arch: "qwen2", Layers: 1, Width: 64, Hidden: 300, Heads: 2, KVHeads: 2, HeadDim: 32, Format: gguf.F32},
}

// every has the architectures too.
var every = append(shapes[:len(shapes):len(shapes)], tiny.All()...)

const vocabulary = tiny.Vocabulary

// scene is an answer of a model with everything that both sides hold.
type scene struct {
	t       testing.TB
	prover  *Prover
	input   []core.Token
	output  []core.Token
	leaves  []core.Hash
	salt    core.Hash
	seed    core.Seed
	sampler core.Sampler
	receipt core.Receipt
	head    core.RequestHead
	base    int // last tokens of the input that another provider delivered
}

func newScene(t testing.TB, s tiny.Shape, inputs, outputs int) *scene {
	t.Helper()
	return newSampledScene(t, s, inputs, 0, core.Sampler{Temperature: 800_000, MaxTokens: uint32(outputs), IgnoreEOS: true})
}

func newSampledScene(t testing.TB, s tiny.Shape, inputs, base int, sampler core.Sampler) *scene {
	t.Helper()
	return sceneOf(t, s, s.File(t), inputs, base, sampler)
}

// sceneOf is a scene of a file of that shape.
func sceneOf(t testing.TB, s tiny.Shape, b []byte, inputs, base int, sampler core.Sampler) *scene {
	t.Helper()
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.OpenBytes(b, model.Options{Threads: 2, KVBudget: 64 << 20, KV8: s.KV8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	p, err := New(f, m)
	if err != nil {
		t.Fatal(err)
	}
	sc := &scene{t: t, prover: p, salt: core.Hash{1}, seed: core.Seed{2}, sampler: sampler, base: base}
	r := rand.New(rand.NewPCG(3, 4))
	for range inputs {
		sc.input = append(sc.input, core.Token(r.IntN(vocabulary)))
	}
	in := core.SequenceInput{Input: sc.input, Base: base, Sampler: sc.sampler, Seed: sc.seed, Salt: sc.salt, Trace: true}
	q, err := m.NewSequence(in)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Release()
	for q.Finish() == "" {
		if err := m.Step(context.Background(), []core.Sequence{q}); err != nil {
			t.Fatal(err)
		}
	}
	sc.output, sc.leaves = append(sc.output, q.Output()...), q.Boundaries()
	sc.sign()
	return sc
}

// sign makes the receipt that fits answer and leaves.
func (sc *scene) sign() {
	sc.receipt = core.Receipt{Semantics: sc.prover.Model.Semantics, Model: sc.prover.Model.ID,
		InputHash: core.HashTokens(sc.input), OutputHash: core.HashTokens(sc.output), Input: uint32(len(sc.input)), Billed: uint32(len(sc.input)), Output: uint32(len(sc.output)),
		Sampler: sc.sampler.Digest(), Seed: sc.seed.Commitment(), BoundaryRoot: merkle.Root(sc.leaves), Finish: core.FinishLength}
	r := &sc.receipt
	sc.head = core.RequestHead{Model: r.Model, Semantics: r.Semantics, Input: r.InputHash, Prompt: r.Input - uint32(sc.base), Sampler: r.Sampler, NonceCommit: core.Hash{3}, Expiry: 99}
	r.RequestHash = sc.head.Digest()
}

func (sc *scene) answer() *Answer { return sc.prover.Answer(sc.input, sc.output, sc.leaves, sc.salt) }

func (sc *scene) open(c referee.Claim) *referee.State {
	sc.t.Helper()
	s, err := referee.Open(sc.prover.Model, &sc.receipt, c)
	if err != nil {
		sc.t.Fatal(err)
	}
	return s
}

func leafClaim(t, l int) referee.Claim { return referee.Claim{Position: uint32(t), Layer: uint32(l)} }

// mover finds the next move of a side.
type mover func(*referee.State) (referee.Move, error)

func (a *Answer) mover() mover {
	return func(s *referee.State) (referee.Move, error) { return a.Move(context.Background(), s) }
}

// outcome of a game.
type outcome struct {
	stuck referee.Side // the side that has no move that holds, 0 where the step held
	why   error
	moves int
	bytes int
}

// play passes every move through its encoding, as a chain does, and the state
// through its own.
func play(t testing.TB, m *referee.Model, s *referee.State, provider, challenger mover) (o outcome) {
	t.Helper()
	for s.Phase != referee.Held {
		if o.moves++; o.moves > 40 {
			t.Fatal("the game does not end")
		}
		side, next := s.Phase.Side(), challenger
		if side == referee.Provider {
			next = provider
		}
		move, err := next(s)
		if err != nil {
			o.stuck, o.why = side, err
			return o
		}
		b := referee.EncodeMove(move)
		o.bytes += len(b)
		decoded, err := referee.DecodeMove(b)
		if err != nil {
			t.Fatalf("%T: %v", move, err)
		}
		if err := s.Apply(m, decoded); err != nil {
			o.stuck, o.why = side, fmt.Errorf("%T: %w", move, err)
			return o
		}
		var copied referee.State
		if err := referee.Decode(referee.Encode(*s), &copied); err != nil {
			t.Fatal(err)
		}
		*s = copied
	}
	return o
}

// anywhere points at random; of a leaf's operators see aimed.
func anywhere(m *referee.Model, r *rand.Rand) mover {
	return func(s *referee.State) (referee.Move, error) {
		for range 1000 {
			var move referee.Move
			n, token := uint32(r.IntN(40)), core.Token(r.IntN(m.Vocabulary))
			switch {
			case s.Draw != nil && (s.Phase == referee.NeedOperator || s.Phase == referee.NeedTile && s.Draw.Hi > 0):
				if c := s.Draw.Claims; n%2 == 0 { // one of which something was said
					token = []core.Token{c.Given.Token, c.Better.Token, c.Top.Token}[r.IntN(3)]
				}
				if s.Draw.Tile != nil {
					token = core.Token(int(s.Draw.Lo)*commit.TileLen + r.IntN(commit.TileLen))
				}
				move = []referee.Move{&referee.PickLogit{Token: token}, &referee.PickOperator{}, &referee.PickSum{Run: n}, &referee.PickCount{Token: token, Answer: n < 20}}[r.IntN(4)]
			case s.Phase == referee.NeedOperator:
				move = &referee.PickOperator{Operator: n % 8}
			case s.Phase == referee.NeedNode:
				move = &referee.PickNode{Node: n}
			case s.Phase == referee.NeedTile:
				move = &referee.PickTile{Tile: uint32(r.IntN(6)), Part: uint32(r.IntN(3))}
			default:
				if move = (&referee.PickChunk{Chunk: n}); s.Logit != nil && r.IntN(3) == 0 {
					move = &referee.PickCount{Token: s.Logit.Token, Answer: n < 20}
				}
			}
			probe := *s
			if probe.Apply(m, move) == nil {
				return move, nil
			}
		}
		return nil, fmt.Errorf("no pick is possible in phase %s", s.Phase)
	}
}

// A provider with the true answer wins, wherever a challenger points.
func TestTrueAnswersAreDefended(t *testing.T) {
	for i, s := range every {
		t.Run(s.String(), func(t *testing.T) {
			sc := newScene(t, s, length(s), 6)
			if i == 0 {
				sc = newScene(t, s, 300, 4) // scores of two tiles, mixes of two rounds
			}
			r := rand.New(rand.NewPCG(uint64(i), 9))
			provider := sc.answer().mover()
			last := int(sc.receipt.Input+sc.receipt.Output) - 2
			for l := range s.Layers + 1 {
				for operator := range sc.prover.Model.LeafProgram(last, l).Ops {
					for range 2 {
						at := last - r.IntN(2)*r.IntN(last)
						s := sc.open(leafClaim(at, l))
						challenger := anywhere(sc.prover.Model, r)
						if o := play(t, sc.prover.Model, s, provider, aimed(operator, challenger, sc.prover.Model, r)); s.Phase != referee.Held {
							t.Fatalf("leaf (%d,%d), operator %d: %v has no move: %v", at, l, operator, o.stuck, o.why)
						}
					}
				}
			}
		})
	}
}

// length is that of prompts: behind the windows, and over several blocks of an
// int8 cache.
func length(s tiny.Shape) int {
	if s.KV8 {
		return 90
	}
	return 38
}

// aimed points at one operator, and then anywhere.
func aimed(operator int, then mover, m *referee.Model, r *rand.Rand) mover {
	return func(s *referee.State) (referee.Move, error) {
		if s.Phase != referee.NeedOperator {
			return then(s)
		}
		o := m.LeafProgram(int(s.Claim.Position), int(s.Claim.Layer)).Ops[operator]
		return &referee.PickOperator{Operator: uint32(operator), Head: uint32(r.IntN(max(o.Heads, 1)))}, nil
	}
}

// An honest challenger finds nothing in a true answer.
func TestHonestChallengersAccuseNoTrueAnswer(t *testing.T) {
	sc := newScene(t, shapes[1], 12, 5)
	for _, c := range []referee.Claim{leafClaim(0, 0), leafClaim(7, 2), leafClaim(15, 3)} {
		o := play(t, sc.prover.Model, sc.open(c), sc.answer().mover(), sc.answer().mover())
		if o.stuck != referee.Challenger || !errors.Is(o.why, ErrNothing) {
			t.Errorf("%+v: %+v", c, o)
		}
	}
}

// A provider with a false leaf has no step that holds against an honest
// challenger, at whatever operator, number and partial sum the lie begins.
func TestFalseLeavesAreConvicted(t *testing.T) {
	for i, s := range every {
		t.Run(s.String(), func(t *testing.T) {
			sc := newScene(t, s, length(s), 6)
			if i == 0 {
				sc = newScene(t, s, 300, 4)
			}
			r := rand.New(rand.NewPCG(uint64(i), 10))
			positions := len(sc.input) + len(sc.output) - 1
			for l := range s.Layers + 1 {
				for operator := range sc.prover.Model.LeafProgram(0, l).Ops {
					at := r.IntN(positions)
					if r.IntN(2) == 0 {
						at = positions - 1
					}
					liar, v := sc.forge(r, at, l, operator)
					honest := sc.receipt.BoundaryRoot
					sc.receipt.BoundaryRoot = merkle.Root(liar.leaves)
					s := sc.open(leafClaim(at, l))
					o := play(t, sc.prover.Model, s, v.tell(liar), sc.answer().mover())
					sc.receipt.BoundaryRoot = honest
					if s.Phase == referee.Held || o.stuck != referee.Provider {
						t.Fatalf("leaf (%d,%d), lie %+v of %s: stuck is %v (%v)", at, l, *v, sc.prover.Model.LeafProgram(at, l).Ops[operator].Name, o.stuck, o.why)
					}
					if s.Phase != referee.NeedStep {
						t.Logf("%s: stuck before the step, in %s: %v", sc.prover.Model.LeafProgram(at, l).Ops[operator].Name, s.Phase, o.why)
					}
				}
			}
		})
	}
}

var search = referee.Claim{Search: true}

// A challenger who has not seen the provider's leaves finds the first false one
// through the tree, and convicts.
func TestSearchesFindTheFirstFalseLeaf(t *testing.T) {
	sc := newScene(t, shapes[1], 35, 6)
	r := rand.New(rand.NewPCG(4, 10))
	m := sc.prover.Model
	positions, truth := len(sc.input)+len(sc.output)-1, sc.receipt.BoundaryRoot
	for round := range 40 {
		at, l := r.IntN(positions), r.IntN(m.Layers+1)
		if round == 0 {
			at, l = positions-1, m.Layers // the last leaf of all
		}
		liar, v := sc.forge(r, at, l, r.IntN(len(m.LeafProgram(at, l).Ops)))
		for i := at*(m.Layers+1) + l + 1; i < len(liar.leaves) && round%2 == 1; i++ {
			liar.leaves[i] = core.Hash{byte(i)} // what follows is false as well
		}
		sc.receipt.BoundaryRoot = merkle.Root(liar.leaves)
		s := sc.open(search)
		o := play(t, m, s, v.tell(liar), sc.answer().mover())
		sc.receipt.BoundaryRoot = truth
		if int(s.Claim.Position) != at || int(s.Claim.Layer) != l {
			t.Fatalf("leaf (%d,%d) is false, found was (%d,%d)", at, l, s.Claim.Position, s.Claim.Layer)
		}
		if o.stuck != referee.Provider || s.Phase == referee.Held {
			t.Fatalf("leaf (%d,%d): stuck is %v (%v)", at, l, o.stuck, o.why)
		}
	}
}

// Whoever searches a true answer points at a leaf that is defended, or finds
// nothing.
func TestTrueAnswersAreDefendedAgainstSearches(t *testing.T) {
	sc := newScene(t, shapes[1], 35, 6)
	r := rand.New(rand.NewPCG(6, 1))
	for range 40 {
		s := sc.open(search)
		if o := play(t, sc.prover.Model, s, sc.answer().mover(), anywhere(sc.prover.Model, r)); s.Phase != referee.Held {
			t.Fatalf("leaf (%d,%d): %v has no move: %v", s.Claim.Position, s.Claim.Layer, o.stuck, o.why)
		}
	}
	if o := play(t, sc.prover.Model, sc.open(search), sc.answer().mover(), sc.answer().mover()); o.stuck != referee.Challenger || !errors.Is(o.why, ErrNothing) {
		t.Errorf("an honest challenger goes on: %+v", o)
	}
}

// A tree that is not of the answer's size, or whose nodes are others than those
// under the root, cannot be opened.
func TestSearchesTakeTrueNodesOnly(t *testing.T) {
	sc := newScene(t, shapes[1], 12, 3)
	m := sc.prover.Model
	move, err := sc.answer().Move(context.Background(), sc.open(search))
	if err != nil {
		t.Fatal(err)
	}
	nodes := move.(*referee.Nodes).Nodes
	for name, shown := range map[string][]core.Hash{
		"none": nil, "one too few": nodes[1:], "one too many": append(nodes[:len(nodes):len(nodes)], core.Hash{}),
		"another": append([]core.Hash{{1}}, nodes[1:]...), "in another order": append([]core.Hash{nodes[1], nodes[0]}, nodes[2:]...),
	} {
		if err := sc.open(search).Apply(m, &referee.Nodes{Nodes: shown}); err == nil {
			t.Errorf("%s: the nodes are taken", name)
		}
	}
	sc.receipt.BoundaryRoot = merkle.Root(sc.leaves[:len(sc.leaves)-1])
	if err := sc.open(search).Apply(m, move); err == nil {
		t.Error("a tree of another size is opened")
	}
	if _, err := referee.Open(m, &sc.receipt, referee.Claim{Search: true, Layer: 1}); err == nil {
		t.Error("a search that names a leaf is taken")
	}
}

// A sum whose zero has the wrong sign is false too: it must not shield a false
// leaf from the challenger, who names the first false result.
func TestTheSignOfAZeroIsNoShield(t *testing.T) {
	sc := newScene(t, shapes[1], 12, 3)
	r := rand.New(rand.NewPCG(3, 1))
	const at, l = 3, 2 // four positions leave four of eight lanes at +0
	ops := sc.prover.Model.LeafProgram(at, l).Ops
	liar, v := sc.forge(r, at, l, len(ops)-1)
	for i := range ops {
		if ops[i].Kind != referee.Exp {
			continue
		}
		e := &liar.trace.results[i]
		if e.softmax[0].Lanes[7] != 0 {
			t.Fatal("the lane holds a sum")
		}
		e.softmax[0].Lanes[7] = float32(math.Copysign(0, -1))
		e.segment[0] = e.softmax[0].Segment(e.weights[0])
	}
	sc.receipt.BoundaryRoot = merkle.Root(liar.leaves)
	shown := v.tell(liar)
	provider := func(s *referee.State) (referee.Move, error) {
		move, err := shown(s)
		if m, ok := move.(*referee.Tiles); ok && m.Softmax != nil {
			m.Running[len(m.Running)-1][7] = 0 // the true sum
		}
		return move, err
	}
	if o := play(t, sc.prover.Model, sc.open(leafClaim(at, l)), provider, sc.answer().mover()); o.stuck != referee.Provider {
		t.Fatalf("stuck is %v: %v", o.stuck, o.why)
	}
}

// tokenClaim says that better should have been drawn at an output position.
func (sc *scene) tokenClaim(a *Answer, output int, better core.Token) referee.Claim {
	path, err := a.TokenPath(output)
	if err != nil {
		sc.t.Fatal(err)
	}
	return referee.Claim{Token: &referee.TokenClaim{Output: uint32(output), Given: sc.output[output], Path: path, Better: better, Sampler: sc.sampler, Seed: sc.seed, Request: referee.OpeningOf(&sc.head)}}
}

func TestTrueTokensAreDefended(t *testing.T) {
	sc := newScene(t, shapes[0], 20, 6)
	r := rand.New(rand.NewPCG(5, 6))
	a := sc.answer()
	for range 40 {
		output, better := r.IntN(len(sc.output)), core.Token(r.IntN(vocabulary))
		if better == sc.output[output] {
			continue
		}
		s := sc.open(sc.tokenClaim(a, output, better))
		o := play(t, sc.prover.Model, s, a.mover(), anywhere(sc.prover.Model, r))
		if s.Phase != referee.Held {
			t.Fatalf("output %d against %d: %v has no move: %v", output, better, o.stuck, o.why)
		}
		if o := play(t, sc.prover.Model, sc.open(sc.tokenClaim(a, output, better)), a.mover(), a.mover()); !errors.Is(o.why, ErrNothing) {
			t.Fatalf("an honest challenger accuses: %+v", o)
		}
	}
}

// A provider whose answer holds another token than the one drawn cannot claim
// logits by which it wins.
func TestFalseTokensAreConvicted(t *testing.T) {
	sc := newScene(t, shapes[0], 20, 6)
	drawn := append([]core.Token(nil), sc.output...)
	r := rand.New(rand.NewPCG(8, 6))
	for round := range 30 {
		i := len(drawn) - 1 // what follows it would differ too
		sc.output = append([]core.Token(nil), drawn...)
		for sc.output[i] == drawn[i] {
			sc.output[i] = core.Token(r.IntN(vocabulary))
		}
		sc.sign()
		a := sc.answer()
		claim := sc.tokenClaim(a, i, drawn[i])
		liar := func(s *referee.State) (referee.Move, error) {
			move, err := a.Move(context.Background(), s)
			if c, ok := move.(*referee.Claims); ok {
				switch round % 3 {
				case 0:
					c.Given.Logit = c.Top.Logit
					c.Better.Logit -= 40
				case 1:
					c.Better.Logit -= 60
				case 2: // a greatest logit so great that the candidate drops out
					c.Given.Logit = c.Top.Logit + 100
					c.Top = c.Given
				}
			}
			if c, ok := move.(*referee.Chunks); ok && s.Logit != nil {
				from, _ := sc.prover.Model.Head().Group(int(s.Tile))
				for _, said := range []referee.Shown{s.Draw.Claims.Given, s.Draw.Claims.Better} {
					if said.Token == s.Logit.Token {
						c.Values[int(said.Token)-from] = said.Logit
					}
				}
				c.Sums[len(c.Sums)-1] = commit.Tile(c.Values)
			}
			return move, err
		}
		s := sc.open(claim)
		o := play(t, sc.prover.Model, s, liar, sc.answer().mover())
		if s.Phase == referee.Held || o.stuck != referee.Provider {
			t.Fatalf("round %d: %+v", round, o)
		}
	}
}

func next(x float32, direction int32) float32 {
	bits := int32(math.Float32bits(x))
	if x < 0 {
		direction = -direction
	}
	return math.Float32frombits(uint32(bits + direction))
}

// Every pointer there is, at one leaf: the provider of a true answer has a step
// that holds behind each.
func TestTrueAnswersAreDefendedEverywhere(t *testing.T) {
	for _, s := range tiny.All() {
		if s.Experts == 0 && !s.KV8 && !s.Fused || s.Width > 100 {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			sc := newScene(t, s, length(s), 2)
			m, provider := sc.prover.Model, sc.answer()
			games := 0
			var walk func(s referee.State)
			walk = func(s referee.State) {
				if s.Phase == referee.Held {
					games++
					return
				}
				if s.Phase.Side() == referee.Provider {
					move, err := provider.Move(context.Background(), &s)
					if err == nil {
						err = s.Apply(m, move)
					}
					if err != nil {
						t.Fatalf("operator %d, phase %s: %v", s.Operator, s.Phase, err)
					}
					walk(s)
					return
				}
				for _, move := range picks(&s) {
					if next := s; next.Apply(m, move) == nil {
						walk(next)
					}
				}
			}
			walk(*sc.open(leafClaim(len(sc.input), s.Layers)))
			if t.Logf("%d games", games); games < 200 {
				t.Error("too few games to show anything")
			}
		})
	}
}

// picks are more than all moves of a challenger of a small leaf.
func picks(s *referee.State) (moves []referee.Move) {
	for i := range uint32(60) {
		switch s.Phase {
		case referee.NeedOperator:
			for h := range uint32(8) {
				moves = append(moves, &referee.PickOperator{Operator: i, Head: h})
			}
		case referee.NeedTile:
			moves = append(moves, &referee.PickTile{Tile: i / 3, Part: i % 3})
		case referee.NeedChunk:
			moves = append(moves, &referee.PickChunk{Chunk: i}, &referee.PickChunk{Chunk: 60 + i})
		}
	}
	return moves
}
