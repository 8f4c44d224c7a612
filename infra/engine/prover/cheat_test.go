package prover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/spec"
	"github.com/koinon-network/koinon/infra/engine/tiny"
)

// of returns a shape of [tiny.All].
func of(t *testing.T, name string) tiny.Shape {
	t.Helper()
	for _, s := range tiny.All() {
		if s.String() == name {
			return s
		}
	}
	t.Fatalf("there is no shape %q", name)
	return tiny.Shape{}
}

// with is the shape with another key; a nil value leaves it out.
func with(s tiny.Shape, key string, value any) tiny.Shape {
	s.Keys = maps.Clone(s.Keys)
	if s.Keys == nil {
		s.Keys = map[string]any{}
	}
	if s.Keys[key] = value; value == nil {
		delete(s.Keys, key)
	}
	return s
}

// edited is the shape's file with the data of the named tensors changed.
func edited(t *testing.T, s tiny.Shape, name string, change func(x *gguf.Tensor, d []byte)) []byte {
	t.Helper()
	b := s.File(t)
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range f.Tensors {
		if x := &f.Tensors[i]; strings.Contains(x.Name, name) {
			change(x, b[x.Offset:x.Offset+x.Size])
			n++
		}
	}
	if n == 0 {
		t.Fatalf("there is no tensor %q", name)
	}
	return b
}

// impostor computes from other bytes than those whose model it claims to be.
func impostor(t *testing.T, s tiny.Shape, file []byte) (*model.Model, *Prover) {
	t.Helper()
	m, err := model.OpenBytes(file, model.Options{Threads: 2, KVBudget: 64 << 20, KV8: s.KV8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	f, err := gguf.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(f, m)
	if err != nil {
		t.Fatal(err)
	}
	return m, p
}

// attempts tries several ways to move; the first that holds is made.
func attempts(m *referee.Model, ways ...mover) mover {
	return func(s *referee.State) (move referee.Move, err error) {
		var moves []referee.Move
		for _, w := range ways {
			if move, err := w(s); err == nil {
				moves = append(moves, move)
			}
		}
		if len(moves) == 2 && s.Phase == referee.NeedStep { // the inputs of one, the weights of the other
			a, b := *moves[0].(*referee.Step), *moves[1].(*referee.Step)
			a.Weights, b.Weights = b.Weights, a.Weights
			moves = append(moves, &a, &b)
		}
		err = errors.New("no way to move")
		for _, move := range moves {
			probe := *s
			if err = probe.Apply(m, move); err == nil {
				return move, nil
			}
		}
		return nil, err
	}
}

// caught plays a provider that computed from other bytes against an honest
// challenger.
func caught(t *testing.T, s tiny.Shape, file []byte) {
	t.Helper()
	sc := newScene(t, s, length(s), 6)
	m, p := impostor(t, s, file)
	in := core.SequenceInput{Input: sc.input, Sampler: sc.sampler, Seed: sc.seed, Salt: sc.salt, Trace: true}
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
	sc.output, sc.leaves = slices.Clone(q.Output()), q.Boundaries()
	sc.convict(t, p)
}

// convict accuses the scene's answer, whose provider computes with p, and plays
// the dispute.
func (sc *scene) convict(t *testing.T, p *Prover) {
	t.Helper()
	sc.sign()
	in := core.SequenceInput{Input: sc.input, Sampler: sc.sampler, Seed: sc.seed, Salt: sc.salt, Trace: true}
	own, err := sc.prover.engine.(*model.Model).Replay(context.Background(), in, sc.output)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewAdvocate(sc.prover).Accuse(context.Background(), core.Computation{Request: sc.head, Finish: sc.receipt.Finish, Input: in, Output: sc.output, Root: sc.receipt.BoundaryRoot, Boundaries: sc.leaves}, own)
	if err != nil {
		t.Fatal(err)
	}
	var claim referee.Claim
	if err := referee.Decode(b, &claim); err != nil {
		t.Fatal(err)
	}
	liar := attempts(sc.prover.Model, p.Answer(sc.input, sc.output, sc.leaves, sc.salt).mover(), sc.answer().mover())
	st := sc.open(claim)
	if o := play(t, sc.prover.Model, st, liar, sc.answer().mover()); st.Phase == referee.Held || o.stuck != referee.Provider {
		t.Errorf("%s, claim %+v: stuck is %v (%v)", t.Name(), claim, o.stuck, o.why)
	} else {
		t.Logf("leaf (%d,%d), stuck in phase %s of operator %d: %v", claim.Position, claim.Layer, st.Phase, st.Operator, o.why)
	}
}

func TestCheatRoPEBaseChanged(t *testing.T) {
	for _, s := range tiny.All() {
		t.Run(s.String(), func(t *testing.T) { caught(t, s, with(s, "rope.freq_base", float32(12345)).File(t)) })
	}
	s := of(t, "gemma3-Q6_K-linear")
	t.Run("base of the layers with a window", func(t *testing.T) { caught(t, s, with(s, "rope.freq_base_swa", float32(10001)).File(t)) })
	t.Run("scaling left out", func(t *testing.T) { caught(t, s, with(s, "rope.scaling.factor", float32(1)).File(t)) })
	s = of(t, "qwen3-F16-yarn")
	t.Run("YaRN with another context", func(t *testing.T) {
		caught(t, s, with(s, "rope.scaling.original_context_length", uint32(64)).File(t))
	})
	s = of(t, "phi3-F32-longrope-factors")
	t.Run("the short factors", func(t *testing.T) {
		caught(t, s, with(s, "rope.scaling.original_context_length", uint32(600)).File(t))
	})
	t.Run("no magnitude", func(t *testing.T) { caught(t, s, with(s, "rope.scaling.attn_factor", nil).File(t)) })
}

func TestCheatEpsilonChanged(t *testing.T) {
	for _, s := range tiny.All() {
		t.Run(s.String(), func(t *testing.T) { caught(t, s, with(s, "attention.layer_norm_rms_epsilon", float32(2e-5)).File(t)) })
	}
}

func TestCheatContextTruncated(t *testing.T) {
	for _, s := range tiny.All() {
		if _, windowed := s.Keys["attention.sliding_window"]; windowed {
			t.Run(s.String(), func(t *testing.T) { caught(t, s, with(s, "attention.sliding_window", uint32(7)).File(t)) })
		}
	}
	s := of(t, "gemma3-Q6_K-linear")
	t.Run("a window in every layer", func(t *testing.T) { caught(t, s, with(s, "attention.sliding_window_pattern", uint32(0)).File(t)) })
}

func TestCheatSoftCapLeftOut(t *testing.T) {
	s := of(t, "gemma2-Q8_0")
	t.Run("scores", func(t *testing.T) { caught(t, s, with(s, "attn_logit_softcapping", nil).File(t)) })
	t.Run("logits", func(t *testing.T) { caught(t, s, with(s, "final_logit_softcapping", float32(0.5)).File(t)) })
}

func TestCheatLayerSkipped(t *testing.T) {
	for _, s := range tiny.All() {
		t.Run(s.String(), func(t *testing.T) {
			last := fmt.Sprintf("blk.%d.", s.Layers-1)
			if s.Arch == "gemma2" || s.Arch == "gemma3" { // what a norm follows is never nothing
				caught(t, s, edited(t, s, last+"post_ffw_norm", func(_ *gguf.Tensor, d []byte) { clear(d) }))
				return
			}
			caught(t, s, edited(t, s, last+"ffn_down", func(_ *gguf.Tensor, d []byte) { clear(d) }))
		})
	}
}

func TestCheatOneWeightBit(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	for i, s := range tiny.All() {
		name := []string{"blk.0.attn_norm", "blk.0.attn_output", "blk.0.ffn_down"}[i%3]
		t.Run(s.String()+" "+name, func(t *testing.T) {
			caught(t, s, edited(t, s, name, func(x *gguf.Tensor, d []byte) {
				at := r.IntN(len(d))
				switch x.Type { // a bit that weighs something
				case gguf.F32, gguf.F16, gguf.BF16:
					at = at/4*4 + 2
				}
				d[at] ^= 1 << 5
			}))
		})
	}
}

func TestCheatFourBitWeights(t *testing.T) {
	for _, s := range tiny.All() {
		if s.Format != gguf.Q8_0 {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			caught(t, s, edited(t, s, "blk.", func(x *gguf.Tensor, d []byte) {
				if x.Type != gguf.Q8_0 {
					return
				}
				v := make([]float32, x.Elements())
				gguf.Dequantize(x.Type, d, v)
				small, err := gguf.Quantize(gguf.Q4_0, v)
				if err != nil {
					t.Fatal(err)
				}
				gguf.Dequantize(gguf.Q4_0, small, v)
				again, err := gguf.Quantize(x.Type, v)
				if err != nil {
					t.Fatal(err)
				}
				copy(d, again)
			}))
		})
	}
}

// A router that was bent chooses other experts: the choice is disputed.
func TestCheatWrongExpert(t *testing.T) {
	for _, s := range tiny.All() {
		if s.Experts > 0 {
			t.Run(s.String(), func(t *testing.T) {
				caught(t, s, edited(t, s, "ffn_gate_inp.weight", func(_ *gguf.Tensor, d []byte) {
					for i := range len(d) / 4 {
						d[4*i+3] ^= 1 << 7
					}
				}))
			})
		}
	}
}

// A provider adds the product of two thin matrices to the products of one
// operator, and spreads it over the partial sums.
func TestCheatHiddenAdapter(t *testing.T) {
	for _, s := range every {
		t.Run(s.String(), func(t *testing.T) {
			sc := newScene(t, s, length(s), 3)
			r := rand.New(rand.NewPCG(8, uint64(s.Width)))
			at := len(sc.input) + r.IntN(2)
			ops := sc.prover.Model.LeafProgram(at, s.Layers).Ops
			for operator := range ops {
				if ops[operator].Kind != referee.Linear || ops[operator].Len == 1 {
					continue
				}
				a := sc.adapted(r, at, s.Layers, operator)
				honest := sc.receipt.BoundaryRoot
				sc.receipt.BoundaryRoot = merkle.Root(a.leaves)
				st := sc.open(leafClaim(at, s.Layers))
				o := play(t, sc.prover.Model, st, a.spread(operator), sc.answer().mover())
				sc.receipt.BoundaryRoot = honest
				if st.Phase != referee.NeedStep || o.stuck != referee.Provider {
					t.Errorf("%s: phase %s, stuck is %v (%v)", ops[operator].Name, st.Phase, o.stuck, o.why)
				}
			}
		})
	}
}

// adapted is an answer in one of whose leaves an adapter works on an operator.
func (sc *scene) adapted(r *rand.Rand, at, l, operator int) *Answer {
	return sc.falsify(at, l, operator, func(_ *referee.Operator, res *result, x []float32) {
		dot := float32(0)
		for _, v := range x {
			dot += float32(v * float32(r.NormFloat64()) * 0.1)
		}
		for i := range res.values {
			res.values[i] += float32(dot*float32(r.NormFloat64())) + 0.01
		}
	})
}

// spread shows partial sums that grow evenly towards the false result.
func (a *Answer) spread(operator int) mover {
	return func(s *referee.State) (referee.Move, error) {
		move, err := a.Move(context.Background(), s)
		m, ok := move.(*referee.Chunks)
		if !ok || err != nil || int(s.Operator) != operator {
			return move, err
		}
		o, res := a.operator(s)
		first, n := s.Groups(o)
		columns := commit.Count(o.Weights.Cols)
		for g := range n {
			from, to := s.GroupRows(o, first+g)
			sums, err := a.prover.partial(o.Weights, from, to, a.trace.operand(o.A))
			if err != nil {
				return nil, err
			}
			for c := range columns {
				for i := range sums[c] {
					sums[c][i] += (res.values[from+i] - sums[columns-1][i]) * float32(c+1) / float32(columns)
				}
				if c == columns-1 {
					copy(sums[c], res.values[from:to])
				}
				m.Sums[g*columns+c] = commit.Tile(sums[c])
			}
		}
		return move, nil
	}
}

// A smaller model writes, and the real one computes the leaves of what it wrote.
func TestCheatCheapModelWrites(t *testing.T) {
	for _, name := range []string{"llama-Q8_0", "qwen3moe-Q8_0-8-experts", "gemma2-Q8_0"} {
		t.Run(name, func(t *testing.T) {
			s := of(t, name)
			sc := newScene(t, s, length(s), 6)
			m, p := impostor(t, s, edited(t, s, "blk.0.ffn_down", func(_ *gguf.Tensor, d []byte) { clear(d) }))
			in := core.SequenceInput{Input: sc.input, Sampler: sc.sampler, Seed: sc.seed, Salt: sc.salt, Trace: true}
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
			if slices.Equal(q.Output(), sc.output) {
				t.Fatal("the smaller model writes the same")
			}
			sc.output = slices.Clone(q.Output())
			real, err := sc.prover.engine.(*model.Model).Replay(context.Background(), in, sc.output)
			if err != nil {
				t.Fatal(err)
			}
			sc.leaves = real.Boundaries
			sc.convict(t, p)
		})
	}
}

// Numbers at the ends of their ranges have specified results: games about them
// end as all others do.
func TestCheatExtremes(t *testing.T) {
	for _, name := range []string{"llama-Q8_0", "llama-Q5_1-kv8", "qwen3-Q5_K-kv8", "gemma2-Q8_0", "llama-Q4_1-5-experts"} {
		t.Run(name, func(t *testing.T) {
			s := of(t, name)
			file := s.File(t)
			f, err := gguf.Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := range f.Tensors {
				x := &f.Tensors[i]
				if d := file[x.Offset : x.Offset+x.Size]; strings.Contains(x.Name, "attn_q.") || strings.Contains(x.Name, "attn_k.") {
					_, size := x.Type.Block()
					for at := 0; at < len(d); at += size {
						d[at], d[at+1] = 0xff, 0x7b // the largest scale
						for k := at + size/2; k < at+size; k++ {
							d[k] = 0x7f
						}
					}
				}
			}
			sc := sceneOf(t, s, file, length(s), 0, core.Sampler{Temperature: 800_000, MaxTokens: 4, IgnoreEOS: true})
			r := rand.New(rand.NewPCG(2, 2))
			last := len(sc.input) + len(sc.output) - 2
			provider := sc.answer().mover()
			for l := range s.Layers + 1 {
				for operator := range sc.prover.Model.LeafProgram(last, l).Ops {
					st := sc.open(leafClaim(last, l))
					if o := play(t, sc.prover.Model, st, provider, aimed(operator, anywhere(sc.prover.Model, r), sc.prover.Model, r)); st.Phase != referee.Held {
						t.Fatalf("leaf (%d,%d), operator %d: %v has no move: %v", last, l, operator, o.stuck, o.why)
					}
					liar, v := sc.forge(r, last, l, operator)
					honest := sc.receipt.BoundaryRoot
					sc.receipt.BoundaryRoot = merkle.Root(liar.leaves)
					st = sc.open(leafClaim(last, l))
					o := play(t, sc.prover.Model, st, v.tell(liar), sc.answer().mover())
					sc.receipt.BoundaryRoot = honest
					if o.stuck != referee.Provider {
						t.Fatalf("leaf (%d,%d), operator %d: stuck is %v: %v", last, l, operator, o.stuck, o.why)
					}
				}
			}
		})
	}
	t.Run("sums", func(t *testing.T) {
		x := make([]float32, 256)
		for i := range x {
			x[i] = math.MaxFloat32
		}
		in := spec.NewInput(x)
		for _, f := range spec.Formats() {
			n, err := f.RowBytes(len(x))
			if err != nil {
				t.Fatal(err)
			}
			for _, fill := range []byte{0x00, 0x7b, 0x7f, 0x80, 0xff} {
				row := make([]byte, n)
				for i := range row {
					row[i] = fill
				}
				a, b := spec.LinearStep(f, math.MaxFloat32, row, in), spec.LinearStep(f, math.MaxFloat32, row, in)
				if math.Float32bits(a) != math.Float32bits(b) && a == a {
					t.Errorf("%v: %v and %v", f, a, b)
				}
			}
		}
	})
}
