package referee_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// null is the model of 7 billion parameters in the shape of Llama 2, all of
// whose weights are zero, and its answer of 1,000 positions. Every number that
// it computes is known without computing it, so that whole disputes about it,
// as large as those of any such model, are played with real openings.
type null struct {
	model  *referee.Model
	layers int
	kv8    bool
	leaves []core.Hash // under the model root
	bounds []core.Hash // under the boundary root
	tokens []core.Hash
	salt   core.Hash
	wrong  uint64    // the leaf that a search looks for
	row    core.Hash // commitment to a residual stream
	value  core.Hash
	keys   []core.Hash
}

const (
	layers, width, hidden, heads, headDim, vocabulary = 32, 4096, 11008, 32, 128, 32000
	experts                                           = 8
	positions                                         = 1000
)

func newNull(t *testing.T) *null {
	t.Helper()
	n := &null{layers: layers}
	n.build(t, "llama", nil)
	return n
}

// newNullMixture has layers of the same size, each with 8 experts, and keeps keys
// and values as int8; there are fewer of them.
func newNullMixture(t *testing.T) *null {
	t.Helper()
	n := &null{layers: 2, kv8: true}
	n.build(t, "qwen3moe", map[string]int{"expert_count": experts, "expert_used_count": 2})
	return n
}

func (n *null) build(t *testing.T, arch string, keys map[string]int) {
	t.Helper()
	var m gguf.Metadata
	m.Set("general.architecture", arch)
	all := map[string]int{"block_count": n.layers, "embedding_length": width, "feed_forward_length": hidden, "context_length": 4096, "attention.head_count": heads}
	maps.Copy(all, keys)
	for k, v := range all {
		m.Set(arch+"."+k, uint32(v))
	}
	m.Set(arch+".attention.layer_norm_rms_epsilon", float32(1e-5))
	f := &gguf.File{Metadata: m}
	add := func(name string, format gguf.Type, dims ...uint64) {
		f.Tensors = append(f.Tensors, gguf.Tensor{Name: name + ".weight", Type: format, Dims: dims})
	}
	add("token_embd", gguf.Q8_0, width, vocabulary)
	add("output", gguf.Q8_0, width, vocabulary)
	add("output_norm", gguf.F32, width)
	for l := range n.layers {
		p := fmt.Sprintf("blk.%d.", l)
		add(p+"attn_norm", gguf.F32, width)
		add(p+"ffn_norm", gguf.F32, width)
		for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output"} {
			add(p+name, gguf.Q8_0, width, width)
		}
		if keys == nil {
			add(p+"ffn_gate", gguf.Q8_0, width, hidden)
			add(p+"ffn_up", gguf.Q8_0, width, hidden)
			add(p+"ffn_down", gguf.Q8_0, hidden, width)
			continue
		}
		add(p+"attn_q_norm", gguf.F32, headDim)
		add(p+"attn_k_norm", gguf.F32, headDim)
		add(p+"ffn_gate_inp", gguf.Q8_0, width, experts)
		add(p+"ffn_gate_exps", gguf.Q8_0, width, hidden, experts)
		add(p+"ffn_up_exps", gguf.Q8_0, width, hidden, experts)
		add(p+"ffn_down_exps", gguf.Q8_0, hidden, width, experts)
	}
	n.salt, n.row = core.Hash{7}, commit.Vector(make([]float32, width))
	if n.value = n.row; n.kv8 {
		n.value = commit.Encoded(n.kept())
	}
	a := referee.Admission{Semantics: core.SemanticsV1, Description: gguf.Description(m), Index: gguf.Index(f), Vocabulary: gguf.VocabularyOf(m).Encode()}
	if n.kv8 {
		a.Semantics = core.SemanticsKV8
	}
	n.leaves = n.weightTree(t, a)
	a.Leaves = uint64(len(n.leaves))
	a.DescriptionPath, a.IndexPath, a.VocabularyPath = prove(t, n.leaves, gguf.LeafMetadata), prove(t, n.leaves, gguf.LeafIndex), prove(t, n.leaves, gguf.LeafVocabulary)
	var err error
	a.Root = merkle.Root(n.leaves)
	if n.model, err = referee.Admit(core.ModelVariant(a.Root, a.Semantics), a); err != nil {
		t.Fatal(err)
	}
	for at := range positions {
		key := n.value
		if !n.kv8 {
			key = commit.Vector(n.rotated(at))
		}
		n.keys, n.tokens = append(n.keys, key), append(n.tokens, core.TokenLeaf(0))
		for l := range n.layers + 1 {
			n.bounds = append(n.bounds, n.leaf(at, l))
		}
	}
}

// kept is a row of zeros in an int8 cache.
func (n *null) kept() []byte { return referee.Kept(make([]float32, width)) }

// weightTree has the leaves of all tensors, in the order of the index.
func (n *null) weightTree(t *testing.T, a referee.Admission) []core.Hash {
	t.Helper()
	tensors, err := gguf.ParseIndex(a.Index)
	if err != nil {
		t.Fatal(err)
	}
	leaves := make([]core.Hash, gguf.LeafWeights)
	known := map[int]core.Hash{} // by length
	leaves[gguf.LeafMetadata], leaves[gguf.LeafIndex], leaves[gguf.LeafVocabulary] = gguf.DescriptionLeaf(a.Description), gguf.IndexLeaf(a.Index), gguf.VocabularyLeaf(a.Vocabulary)
	for i := range tensors {
		x := &tensors[i]
		rows := x.Rows()
		w := referee.Matrix{Format: x.Type, Rows: rows, Total: rows, Cols: x.Cols()}
		all, across := gguf.WeightLeaves(x.Type, rows, w.Cols)
		for k := range all {
			data := zeroWeights(w, int(k/across), int(k%across))
			if known[len(data)].IsZero() {
				known[len(data)] = gguf.WeightLeafHash(data)
			}
			leaves = append(leaves, known[len(data)])
		}
	}
	return leaves
}

func zeroWeights(w referee.Matrix, group, column int) []byte {
	from, to := w.Group(group)
	return make([]byte, (to-from)*w.Format.RowSize(min(commit.TileLen, w.Cols-column*commit.TileLen)))
}

func prove(t *testing.T, leaves []core.Hash, i int) []core.Hash {
	t.Helper()
	p, err := merkle.Prove(leaves, i)
	if err != nil {
		t.Fatal(err)
	}
	return p.Path
}

// rotated is a row of zeros after the rotary embedding, some of them negative.
func (n *null) rotated(at int) []float32 {
	f := n.model.Config().RoPEs[0].Frequencies()
	cos, sin, x := make([]float32, len(f)), make([]float32, len(f)), make([]float32, width)
	spec.RoPERow(cos, sin, f, at)
	for h := 0; h < width; h += headDim {
		spec.Rotate(x[h:h+headDim], cos, sin, n.model.Config().RoPEs[0].Style)
	}
	return x
}

func (n *null) kv(at, l int) (k, v core.Hash) {
	if l < n.layers {
		k, v = n.keys[at], n.value
	}
	return k, v
}

func (n *null) leaf(at, l int) core.Hash {
	k, v := n.kv(at, l)
	return commit.Leaf(core.BoundarySalt(n.salt, uint32(at), uint32(l)), commit.Boundary(n.row, k, v))
}

func (n *null) boundary(t *testing.T, at, l int) *referee.Boundary {
	k, v := n.kv(at, l)
	return &referee.Boundary{Salt: core.BoundarySalt(n.salt, uint32(at), uint32(l)), X: n.row, K: k, V: v, Path: prove(t, n.bounds, at*(n.layers+1)+l)}
}

// values are the result of an operator that has no heads.
func (n *null) values(o *referee.Operator, at int) []float32 {
	switch o.Kind {
	case referee.Rotate:
		return n.rotated(at)
	case referee.Route:
		return n.model.Routed(make([]float32, experts))
	}
	return make([]float32, o.Len)
}

func (n *null) weights(t *testing.T, w referee.Matrix, group, column int) *referee.Weights {
	return &referee.Weights{Data: zeroWeights(w, group, column), Path: prove(t, n.leaves, int(w.Leaf(group, column)))}
}

// vector opens the tiles of a zero vector from number from to number to.
func vector(x []float32, from, to int) *referee.Vector {
	first, last := from/commit.TileLen, (to-1)/commit.TileLen
	return &referee.Vector{Tiles: commit.Tiles(nil, x), First: uint32(first), Values: x[first*commit.TileLen : min(len(x), (last+1)*commit.TileLen)]}
}

func repeat(h core.Hash, n int) (out []core.Hash) {
	for range n {
		out = append(out, h)
	}
	return out
}

// head are the numbers of one head: scores of zero, weights of one.
func head(at int) (scores, weights []float32, soft referee.Softmax, running []spec.Lanes) {
	scores, weights = make([]float32, at+1), make([]float32, at+1)
	var lanes spec.Lanes
	for from := 0; from <= at; from += commit.TileLen {
		tile := weights[from:min(at+1, from+commit.TileLen)]
		lanes.AddExp(tile, 0)
		running = append(running, lanes)
	}
	return scores, weights, referee.Softmax{Lanes: lanes}, running
}

// reveal is the provider's true move.
func (n *null) reveal(t *testing.T, s *referee.State) referee.Move {
	t.Helper()
	at, l := int(s.Claim.Position), int(s.Claim.Layer)
	program := n.model.LeafProgram(at, l)
	if program.Route >= 0 {
		chosen, err := n.model.Chosen(n.model.Routed(make([]float32, experts)))
		if err != nil {
			t.Fatal(err)
		}
		program.Choose(chosen)
	}
	scores, weights, soft, running := head(at)
	segments := map[referee.Kind][]core.Hash{referee.Score: repeat(commit.Vector(scores), heads), referee.Exp: repeat(soft.Segment(commit.Vector(weights)), heads),
		referee.Weigh: repeat(commit.Vector(scores), n.model.Parts())}
	exp := &referee.HeadExp{Segments: segments[referee.Exp], Weights: commit.Vector(weights), Softmax: soft}
	o := &program.Ops[s.Operator]
	zero := make([]float32, o.Len)
	tile := func(x []float32) []float32 {
		return x[int(s.Tile)*commit.TileLen : min(len(x), int(s.Tile+1)*commit.TileLen)]
	}
	from := int(s.Tile) * commit.TileLen
	to := min(o.Len, from+commit.TileLen)
	switch s.Phase {
	case referee.NeedNodes:
		m := &referee.Nodes{}
		node, levels := s.Searched()
		for _, part := range node.Split(levels) {
			m.Nodes = append(m.Nodes, merkle.Node(n.bounds, part))
		}
		return m
	case referee.NeedLayer:
		m := &referee.Layer{Leaf: *n.boundary(t, at, l)}
		if s.Claim.Search {
			m.Leaf.Path = nil
		}
		for _, o := range program.Ops {
			if own := segments[o.Kind]; own != nil {
				m.Results, m.Heads = append(m.Results, referee.HeadsCommitment(own)), append(m.Heads, own)
			} else {
				m.Results = append(m.Results, n.commitment(&o, at))
			}
		}
		if l > 0 {
			m.Before = n.boundary(t, at, l-1)
		}
		if program.Route >= 0 {
			m.Routed = n.values(&program.Ops[program.Route], at)
		}
		return m
	case referee.NeedTiles:
		m := &referee.Tiles{Segments: segments[o.Kind], Tiles: commit.Tiles(nil, n.values(o, at))}
		switch o.Kind {
		case referee.Exp:
			m.Tiles, m.Softmax, m.Running = commit.Tiles(nil, weights), &soft, running
		case referee.Keep:
			m.Tiles = referee.KeptTiles(n.kept())
		case referee.Mix:
			m.Segments = repeat(commit.Tile(make([]float32, n.model.Part())), n.model.Parts())
		}
		return m
	case referee.NeedChunks:
		m := &referee.Chunks{}
		switch o.Kind {
		case referee.Norm:
			m.Lanes = make([]spec.Lanes, commit.Count(o.Len))
		case referee.Linear:
			first, groups := s.Groups(o)
			m.Values = tile(zero)
			for g := range groups {
				from, to := s.GroupRows(o, first+g)
				m.Sums = append(m.Sums, repeat(commit.Tile(make([]float32, to-from)), commit.Count(o.Weights.Cols))...)
			}
		case referee.Score, referee.Weigh:
			m.Values = tile(scores)
		case referee.Mix:
			runs, _ := referee.Runs(int(s.Hi - s.Lo))
			if m.Sums = repeat(commit.Tile(make([]float32, n.model.MixState())), runs); !s.Linked {
				m.Values, m.Exp = make([]float32, n.model.MixState()), exp
				if n.kv8 {
					m.Weighed = segments[referee.Weigh]
				}
				from, to := referee.PartsAround(n.model.Part(), o.Len, int(s.Tile))
				m.Result = vector(zero, from, to)
			}
		}
		return m
	}
	m := &referee.Step{}
	switch o.Kind {
	case referee.Embed:
		m.Path, m.Weights = prove(t, n.tokens, at), n.weights(t, o.Weights, 0, int(s.Tile))
	case referee.Norm:
		if c := int(s.Chunk); c < commit.Count(o.Len) {
			from, to = c*commit.TileLen, min(o.Len, (c+1)*commit.TileLen)
		} else {
			m.Weights = n.weights(t, o.Weights, 0, int(s.Tile))
		}
		m.A = vector(zero, from, to)
	case referee.Linear:
		columns := commit.Count(o.Weights.Cols)
		first, _ := s.Groups(o)
		group, column := first+int(s.Chunk)/columns, int(s.Chunk)%columns
		m.A = vector(make([]float32, o.Weights.Cols), column*commit.TileLen, min(o.Weights.Cols, (column+1)*commit.TileLen))
		if column > 0 {
			from, to := s.GroupRows(o, group)
			m.Before = make([]float32, to-from)
		}
		m.Weights = n.weights(t, o.Weights, group, column)
	case referee.Score:
		p := from + int(s.Chunk)
		m.A = vector(n.rotated(at), int(s.Head)*headDim, int(s.Head+1)*headDim)
		n.openRow(t, m, p, l-1, int(s.Head)*headDim, int(s.Head+1)*headDim, n.rotated(p), true, true)
	case referee.Weigh:
		p := from + int(s.Chunk)
		lo, hi := n.model.PartRange(int(s.Head))
		m.Exp, m.A = exp, vector(weights, p, p+1)
		n.openRow(t, m, p, l-1, lo, hi, nil, false, true)
	case referee.HeadNorm:
		m.A, m.Weights = vector(zero, from, to), n.weights(t, o.Weights, 0, 0)
	case referee.Keep:
		lo, hi := referee.KeptFrom(width, int(s.Tile))
		x := make([]float32, width)
		if o.Name == "kept key" {
			x = n.rotated(at)
		}
		m.A = vector(x, lo, hi)
	case referee.Route:
		m.A = vector(make([]float32, experts), 0, experts)
	case referee.Blend:
		m.B, m.C = vector(zero, from, to), vector(n.values(&program.Ops[o.C], at), o.At, o.At+1)
		if o.A != referee.Nothing {
			m.A = vector(zero, from, to)
		}
	case referee.Exp:
		if s.Part == referee.PartSum {
			m.Values = tile(weights)
		} else {
			m.Segments, m.A = segments[referee.Score], vector(scores, from, to)
		}
	case referee.Mix:
		p := int(s.Lo)
		lo, hi := n.model.PartRange(int(s.Tile))
		if m.A = vector(weights, p, p+1); n.kv8 {
			m.A = vector(scores, p/32*32, min(at+1, p/32*32+32))
		}
		if p > 0 {
			m.Before = make([]float32, n.model.MixState())
		}
		n.openRow(t, m, p, l-1, lo, hi, make([]float32, width), true, false)
	case referee.Add, referee.Gate:
		m.B = vector(zero, from, to)
		fallthrough
	default:
		m.A = vector(zero, from, to)
	}
	return m
}

// openRow opens a key or value row where a step needs it.
func (n *null) openRow(t *testing.T, m *referee.Step, at, l, from, to int, row []float32, quants, scales bool) {
	if m.Boundary = n.boundary(t, at, l); n.kv8 {
		m.Kept = referee.OpenKept(n.kept(), width, from, to, quants, scales)
	} else {
		m.Row = vector(row, from, to)
	}
}

// commitment is that of an operator's result without segments.
func (n *null) commitment(o *referee.Operator, at int) core.Hash {
	if o.Kind == referee.Keep {
		return n.value
	}
	return commit.Vector(n.values(o, at))
}

// dispute is the size of one that was played to its end.
type dispute struct {
	moves, bytes, stored int
	largest              int // message
	gas                  uint64
	step                 time.Duration // the check of the last message, least of three
}

// play lets the challenger pick operator, and where it may, the last of all
// places, which have the longest openings.
func (n *null) play(t *testing.T, claim referee.Claim, operator int) (d dispute) {
	t.Helper()
	hash := core.HashTokens(make([]core.Token, positions))
	s, err := referee.Open(n.model, &core.Receipt{Semantics: n.model.Semantics, Model: n.model.ID, Input: positions, Output: 1,
		InputHash: hash, BoundaryRoot: merkle.Root(n.bounds)}, claim)
	if err != nil {
		t.Fatal(err)
	}
	for s.Phase != referee.Held {
		d.moves++
		work := s.Work(n.model)
		var b []byte
		if s.Phase.Side() == referee.Provider {
			before := *s
			move := n.reveal(t, s)
			if b = n.apply(t, s, move); s.Phase == referee.Held {
				d.step = n.timed(before, move)
			}
		} else {
			b = n.point(t, s, operator)
		}
		state := 0 // none is kept of a game that is over
		if s.Phase != referee.Held {
			state = len(referee.Encode(*s))
		}
		d.bytes, d.stored, d.largest = d.bytes+len(b), max(d.stored, state), max(d.largest, len(b))
		d.gas += gas(len(b), state, work)
	}
	return d
}

func (n *null) timed(before referee.State, move referee.Move) time.Duration {
	least := time.Hour
	for range 3 {
		s, begin := before, time.Now()
		if s.Apply(n.model, move) == nil {
			least = min(least, time.Since(begin))
		}
	}
	return least
}

func (n *null) apply(t *testing.T, s *referee.State, m referee.Move) []byte {
	t.Helper()
	b := referee.EncodeMove(m)
	decoded, err := referee.DecodeMove(b)
	if err == nil {
		err = s.Apply(n.model, decoded)
	}
	if err != nil {
		t.Fatalf("%T in phase %s, operator %d: %v", m, s.Phase, s.Operator, err)
	}
	return b
}

// point takes the last place that is possible.
func (n *null) point(t *testing.T, s *referee.State, operator int) []byte {
	t.Helper()
	if s.Phase == referee.NeedNode {
		node, levels := s.Searched()
		for i, part := range node.Split(levels) {
			if n.wrong >= part.From && n.wrong < part.From+part.Len {
				return n.apply(t, s, &referee.PickNode{Node: uint32(i)})
			}
		}
	}
	for i := 511; i >= 0; i-- {
		var m referee.Move
		switch s.Phase {
		case referee.NeedOperator:
			m = &referee.PickOperator{Operator: uint32(operator), Head: uint32(i)}
		case referee.NeedTile:
			m = &referee.PickTile{Tile: uint32(i / 3), Part: uint32(i % 3)}
		default:
			m = &referee.PickChunk{Chunk: uint32(i)}
		}
		if probe := *s; probe.Apply(n.model, m) == nil {
			return n.apply(t, s, m)
		}
	}
	t.Fatalf("no pick in phase %s", s.Phase)
	return nil
}

// gas is what a move costs by the rules of the chain: bytes of the transaction,
// reading and writing the state, and the work of the check. envelope is what a
// transaction holds beside the move, and the dispute beside the game.
func gas(move, state int, work uint64) uint64 {
	const perByte, readFlat, readByte, writeFlat, writeByte, stepGas, envelope = 10, 1000, 3, 2000, 30, 130, 400
	return uint64(perByte*(move+envelope)+readFlat+readByte*(state+envelope)+writeFlat+writeByte*(state+envelope)) + work*stepGas/1000
}

// A dispute about a model of 7 billion parameters and 1,000 tokens stays small,
// whatever operator it ends at.
func TestDisputesOfLargeModelsStaySmall(t *testing.T) {
	n := newNull(t)
	n.everyOperator(t, 0, 35_000)
	n.everyOperator(t, 1, 35_000)
}

// So do those about a mixture of experts with int8 keys and values.
func TestDisputesOfLargeMixturesStaySmall(t *testing.T) {
	newNullMixture(t).everyOperator(t, 1, 37_000)
}

// everyOperator plays a dispute for every shape of operators in a leaf.
func (n *null) everyOperator(t *testing.T, l, mostBytes int) {
	t.Helper()
	const mostMoves, largest = 9, 35_000
	seen := map[[3]int]bool{}
	for i, o := range n.model.LeafProgram(positions-1, l).Ops {
		shape := [3]int{int(o.Kind), o.Len, o.Weights.Cols}
		if seen[shape] {
			continue
		}
		seen[shape] = true
		d := n.play(t, referee.Claim{Position: positions - 1, Layer: uint32(l)}, i)
		t.Logf("layer %2d, %-40s %d moves, %5d bytes, largest %5d, %5d bytes of state, about %d gas, step %v", l, o.Name, d.moves, d.bytes, d.largest, d.stored, d.gas, d.step)
		if d.moves > mostMoves || d.bytes > mostBytes || d.largest > largest {
			t.Errorf("layer %d, %s: %d moves and %d bytes, at most %d in one; %d, %d and %d are allowed", l, o.Name, d.moves, d.bytes, d.largest, mostMoves, mostBytes, largest)
		}
	}
}

// A search through the boundary tree of 33,000 leaves takes three rounds.
func TestSearchesOfLargeModelsStaySmall(t *testing.T) {
	n := newNull(t)
	const at, l = 991, 31 // in the deeper half; a mix takes two rounds
	n.wrong = at*(layers+1) + l
	const mostMoves, mostBytes = 15, 35_500
	for i, o := range n.model.LeafProgram(at, l).Ops {
		if o.Name != "down" && o.Kind != referee.Mix {
			continue // these have the most bytes and the most moves
		}
		named, searched := n.play(t, referee.Claim{Position: at, Layer: l}, i), n.play(t, referee.Claim{Search: true}, i)
		t.Logf("%s: a search adds %d moves, %d bytes and about %d gas: %d moves, %d bytes, about %d gas", o.Name,
			searched.moves-named.moves, searched.bytes-named.bytes, searched.gas-named.gas, searched.moves, searched.bytes, searched.gas)
		if searched.moves != named.moves+6 || searched.moves > mostMoves || searched.bytes > mostBytes {
			t.Errorf("%s: %d moves and %d bytes; %d and %d are allowed", o.Name, searched.moves, searched.bytes, mostMoves, mostBytes)
		}
	}
}
