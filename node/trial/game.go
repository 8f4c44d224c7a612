package trial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/prover"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/tiny"
)

// side finds moves: encoded state in, encoded moves out. Of several, one that
// the rules take is enough.
type side func(ctx context.Context, s *referee.State) ([][]byte, error)

// honest is a side that says what it computes.
func honest(v core.Advocate, c core.Computation) side {
	return func(ctx context.Context, s *referee.State) ([][]byte, error) {
		move, err := v.Move(ctx, c, referee.Encode(*s))
		return [][]byte{move}, err
	}
}

// liar is a provider that computed with other weights. At the step it tries its
// own weights and inputs, and those of the true model.
func liar(own, truth core.Advocate, c core.Computation) side {
	return func(ctx context.Context, s *referee.State) ([][]byte, error) {
		moves, err := honest(own, c)(ctx, s)
		if err != nil || s.Phase != referee.NeedStep {
			return moves, err
		}
		if other, err := truth.Move(ctx, c, referee.Encode(*s)); err == nil {
			moves = append(moves, other, mixed(moves[0], other))
		}
		return moves, nil
	}
}

// mixed is a step with the inputs of one and the weights of another.
func mixed(inputs, weights []byte) []byte {
	a, err := referee.DecodeMove(inputs)
	b, err2 := referee.DecodeMove(weights)
	if err != nil || err2 != nil {
		return inputs
	}
	step, other := *a.(*referee.Step), b.(*referee.Step)
	step.Weights = other.Weights
	return referee.EncodeMove(&step)
}

// game is one that was played.
type game struct {
	moves    int
	bytes    int
	held     bool
	stuck    referee.Side // who had no move that holds
	cause    error
	operator string        // of the step
	step     time.Duration // of a step that held, least of three
}

// maxMoves is more than any game has.
const maxMoves = 40

// play takes every move and every state through its encoding.
func play(ctx context.Context, m *referee.Model, receipt *core.Receipt, claim []byte, provider, challenger side) (g game, err error) {
	var c referee.Claim
	if err := referee.Decode(claim, &c); err != nil {
		return g, err
	}
	s, err := referee.Open(m, receipt, c)
	if err != nil {
		return g, fmt.Errorf("the dispute cannot be opened: %w", err)
	}
	g.bytes = len(claim)
	if s.Phase == referee.Proven {
		g.stuck, g.cause = referee.Provider, errors.New(s.Fault)
		return g, nil
	}
	for s.Phase != referee.Held {
		if g.moves++; g.moves > maxMoves {
			return g, errors.New("a game does not end")
		}
		turn, who := s.Phase.Side(), challenger
		if turn == referee.Provider {
			who = provider
		}
		moves, err := who(ctx, s)
		if err != nil {
			g.stuck, g.cause = turn, err
			return g, ctx.Err()
		}
		if g.cause = g.take(m, s, moves); g.cause != nil {
			g.stuck = turn
			return g, nil
		}
		next := new(referee.State)
		if err := referee.Decode(referee.Encode(*s), next); err != nil {
			return g, fmt.Errorf("a state cannot be read again: %w", err)
		}
		s = next
	}
	g.held = true
	return g, nil
}

// take applies the first move that holds.
func (g *game) take(m *referee.Model, s *referee.State, moves [][]byte) (err error) {
	for _, b := range moves {
		var move referee.Move
		if move, err = referee.DecodeMove(b); err != nil {
			continue
		}
		before := *s
		if err = s.Apply(m, move); err != nil {
			continue
		}
		g.bytes += len(b)
		if step, ok := move.(*referee.Step); ok {
			g.operator, g.step = operatorOf(m, &before), timed(m, &before, step)
		}
		return nil
	}
	return err
}

func operatorOf(m *referee.Model, s *referee.State) string {
	switch {
	case s.Draw != nil && s.Draw.Count != nil:
		return "count"
	case s.Logit != nil:
		return "logit"
	case s.Claim.Token != nil:
		return m.TokenProgram().Ops[s.Operator].Kind.String()
	}
	return m.LeafProgram(int(s.Claim.Position), int(s.Claim.Layer)).Ops[s.Operator].Kind.String()
}

// timed is what the step costs when nothing disturbs it.
func timed(m *referee.Model, before *referee.State, step *referee.Step) time.Duration {
	least := time.Hour
	for range 3 {
		s := *before
		begin := time.Now()
		err := s.Apply(m, step)
		if took := time.Since(begin); err == nil {
			least = min(least, took)
		}
	}
	return least
}

// court holds what games of the model need.
type court struct {
	*forger
	name    string
	judge   *referee.Model
	truth   core.Advocate
	counted map[string]int // steps so far, by operator, in all courts
}

func newCourt(f *forger, name string, counted map[string]int) (*court, error) {
	file, err := gguf.Parse(f.file)
	if err != nil {
		return nil, err
	}
	p, err := prover.New(file, f.engine)
	if err != nil {
		return nil, err
	}
	return &court{f, name, p.Model, prover.NewAdvocate(p), counted}, nil
}

// tinyCourt is a court over a small random model; it is closed by closing its
// engine.
func tinyCourt(home *court, shape tiny.Shape) (*court, error) {
	f := *home.forger
	var err error
	if f.file, err = shape.Bytes(); err != nil {
		return nil, err
	}
	parsed, err := gguf.Parse(f.file)
	if err != nil {
		return nil, err
	}
	f.tensors, f.options.KV8 = parsed.Tensors, shape.KV8
	if f.engine, err = model.OpenBytes(f.file, f.options); err != nil {
		return nil, err
	}
	c, err := newCourt(&f, shape.String(), home.counted)
	if err != nil {
		f.engine.Close()
	}
	return c, err
}

// accused plays a provider with a bent weight against an honest challenger.
func (c *court) accused(ctx context.Context) (g game, where string, err error) {
	for range 200 {
		m, where, file, err := mutated(c.r, c.file, c.tensors, c.options)
		if err != nil {
			return g, "", err
		}
		g, ok, err := c.accuse(ctx, m, file)
		m.Close()
		if err != nil || ok {
			return g, where, err
		}
	}
	return g, "", errors.New("no bit of the model changes an answer")
}

func (c *court) accuse(ctx context.Context, bent *model.Model, file []byte) (g game, ok bool, err error) {
	o, err := c.newOrder(c.r, c.engine.Info())
	if err != nil {
		return g, false, err
	}
	return c.contest(ctx, bent, o, o.in, func(claimed core.Computation) (side, error) {
		f, err := gguf.Parse(file)
		if err != nil {
			return nil, err
		}
		p, err := prover.New(f, bent)
		if err != nil {
			return nil, err
		}
		return liar(prover.NewAdvocate(p), c.truth, claimed), nil
	})
}

// contest plays the dispute about an engine's answer to in, signed as that to o,
// against an honest challenger; ok is false where nothing is wrong with it.
func (c *court) contest(ctx context.Context, m *model.Model, o *order, in core.SequenceInput, provider func(claimed core.Computation) (side, error)) (g game, ok bool, err error) {
	got, err := generate(ctx, m, []core.SequenceInput{in})
	if err != nil || !got[0].whole() {
		return g, false, err
	}
	ev, err := c.seal(o, got[0])
	if err != nil {
		return g, false, err
	}
	own, err := c.engine.Replay(ctx, o.in, ev.Output)
	if err != nil {
		return g, false, err
	}
	if slices.Equal(own.Tokens, ev.Output) && merkle.Root(own.Boundaries) == ev.Receipt.BoundaryRoot && own.Finish == ev.Receipt.Finish {
		return g, false, nil
	}
	claimed := c.claimed(&ev, o)
	p, err := provider(claimed)
	if err != nil {
		return g, false, err
	}
	claim, err := c.truth.Accuse(ctx, claimed, own)
	if err != nil {
		return g, false, fmt.Errorf("a wrong answer cannot be accused: %w", err)
	}
	g, err = play(ctx, c.judge, &ev.Receipt.Receipt, claim, p, honest(c.truth, claimed))
	return g, true, err
}

// claimed is what evidence says was computed.
func (c *court) claimed(ev *core.Evidence, o *order) core.Computation {
	return core.Computation{Request: ev.Request.Head(), Finish: ev.Receipt.Finish, Input: o.in, Output: ev.Output, Root: ev.Receipt.BoundaryRoot, Boundaries: ev.Boundaries}
}

// defended plays an honest provider against a challenger that points at random.
func (c *court) defended(ctx context.Context) (g game, err error) {
	o, err := c.newOrder(c.r, c.engine.Info())
	if err != nil {
		return g, err
	}
	got, err := generate(ctx, c.engine, []core.SequenceInput{o.in})
	if err != nil {
		return g, err
	}
	ev, err := c.seal(o, got[0])
	if err != nil {
		return g, err
	}
	claim := referee.Claim{Position: uint32(c.r.IntN(len(ev.Request.Input) + len(ev.Output) - 1)), Layer: uint32(c.r.IntN(c.judge.Layers + 1))}
	if c.r.IntN(6) == 0 {
		if claim.Token, err = c.candidate(&ev, o); err != nil {
			return g, err
		}
	}
	computation := c.claimed(&ev, o)
	g, err = play(ctx, c.judge, &ev.Receipt.Receipt, referee.Encode(claim), honest(c.truth, computation), c.pointer())
	c.counted[g.operator]++
	return g, err
}

// candidate claims at random that another token should have been drawn.
func (c *court) candidate(ev *core.Evidence, o *order) (*referee.TokenClaim, error) {
	i := c.r.IntN(len(ev.Output))
	leaves := make([]core.Hash, len(ev.Output))
	for k, t := range ev.Output {
		leaves[k] = core.TokenLeaf(t)
	}
	p, err := merkle.Prove(leaves, i)
	better := []core.Token{ev.Output[i]}
	c.token(better)
	return &referee.TokenClaim{Output: uint32(i), Given: ev.Output[i], Path: p.Path, Better: better[0], Sampler: o.in.Sampler, Seed: o.in.Seed,
		Request: openingOf(ev)}, err
}

func openingOf(ev *core.Evidence) referee.Opening {
	h := ev.Request.Head()
	return referee.OpeningOf(&h)
}

// pointer points anywhere; where it may choose, at operators whose steps were
// rare so far.
func (c *court) pointer() side {
	return func(_ context.Context, s *referee.State) ([][]byte, error) {
		for range 20_000 {
			move := c.point(s)
			probe := *s
			if probe.Apply(c.judge, move) == nil {
				return [][]byte{referee.EncodeMove(move)}, nil
			}
		}
		return nil, errors.New("no pick is possible")
	}
}

func (c *court) point(s *referee.State) referee.Move {
	if s.Draw != nil {
		return c.pointDraw(s)
	}
	switch s.Phase {
	case referee.NeedOperator:
		ops := c.judge.LeafProgram(int(s.Claim.Position), int(s.Claim.Layer)).Ops
		i := c.rarest(ops)
		return &referee.PickOperator{Operator: uint32(i), Head: uint32(c.r.IntN(max(ops[i].Heads, 1)))}
	case referee.NeedTile:
		return &referee.PickTile{Tile: uint32(c.r.IntN(16)), Part: uint32(c.r.IntN(3))}
	}
	return &referee.PickChunk{Chunk: uint32(c.r.IntN(64))}
}

// pointDraw points at what was said of a draw, or within what decides it.
func (c *court) pointDraw(s *referee.State) referee.Move {
	token, n := core.Token(c.r.IntN(c.judge.Vocabulary)), uint32(c.r.IntN(64))>>(2*c.r.IntN(4))
	said := s.Draw.Claims
	switch {
	case s.Logit != nil:
		token = s.Logit.Token
	case s.Draw.Tile != nil:
		token = core.Token(int(s.Draw.Lo)*commit.TileLen + c.r.IntN(commit.TileLen))
	case n%2 == 0:
		token = []core.Token{said.Given.Token, said.Better.Token, said.Top.Token}[c.r.IntN(3)]
	}
	return []referee.Move{&referee.PickLogit{Token: token}, &referee.PickOperator{}, &referee.PickSum{Run: n}, &referee.PickCount{Token: token, Answer: c.r.IntN(2) == 0},
		&referee.PickTile{Tile: n}, &referee.PickChunk{Chunk: n}}[c.r.IntN(6)]
}

func (c *court) rarest(ops []referee.Operator) int {
	order := rand.New(c.r).Perm(len(ops))
	return slices.MinFunc(order, func(a, b int) int { return c.counted[ops[a].Kind.String()] - c.counted[ops[b].Kind.String()] })
}
