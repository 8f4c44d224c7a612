package model

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// reference is the forward pass as the specification has it: one position
// after the other, scalar, straight from the file.
type reference struct {
	t     testing.TB
	file  *gguf.File
	m     tiny
	c     *config
	ropes []spec.RoPE

	int8   bool        // the cache is
	states [][]float32 // what run leaves: the normalised final state of every position
}

func newReference(t testing.TB, m tiny) *reference {
	f, err := gguf.Parse(m.bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &reference{t: t, file: f, m: m}
	if r.c, err = readConfig(f.Metadata); err != nil {
		t.Fatal(err)
	}
	r.ropes = slices.Clone(r.c.RoPEs)
	for _, name := range []string{"rope_freqs.weight", "rope_factors_long.weight"} {
		if r.has(name) {
			r.ropes[0].Factors = r.vector(name)
		}
	}
	return r
}

func (r *reference) has(name string) bool {
	_, ok := r.file.Tensor(name)
	return ok
}

func (r *reference) tensor(name string) (*gguf.Tensor, []byte) {
	t, ok := r.file.Tensor(name)
	if !ok {
		r.t.Fatalf("no tensor %s", name)
	}
	data, err := r.file.Data(t)
	if err != nil {
		r.t.Fatal(err)
	}
	return t, data
}

func (r *reference) vector(name string) []float32 {
	t, data := r.tensor(name)
	out := make([]float32, t.Elements())
	spec.DecodeF32(out, data)
	return out
}

func (r *reference) embed(id core.Token) []float32 {
	t, data := r.tensor("token_embd.weight")
	size := len(data) / t.Rows()
	row, x := data[int(id)*size:(int(id)+1)*size], make([]float32, t.Cols())
	switch t.Type {
	case gguf.F32:
		spec.DecodeF32(x, row)
	case gguf.F16:
		spec.DecodeF16(x, row)
	case gguf.Q8_0:
		spec.DequantizeQ8(x, row)
	case gguf.Q4_0:
		spec.DequantizeQ4(x, row)
	}
	return x
}

func (r *reference) linear(name string, x []float32) []float32 {
	t, _ := r.tensor(name)
	return r.rows(name, x, 0, t.Rows())
}

// rows multiplies x by the rows from lo to hi-1 of a tensor.
func (r *reference) rows(name string, x []float32, lo, hi int) []float32 {
	t, data := r.tensor(name)
	size := len(data) / t.Rows()
	q, scales := make([]int8, len(x)), make([]float32, len(x)/32)
	if t.Type == gguf.Q8_0 || t.Type == gguf.Q4_0 {
		spec.QuantizeRow(q, scales, x)
	}
	y := make([]float32, hi-lo)
	for i := range y {
		row := data[(lo+i)*size : (lo+i+1)*size]
		switch t.Type {
		case gguf.F32:
			y[i] = spec.LinearF32Step(0, row, x)
		case gguf.F16:
			y[i] = spec.LinearF16Step(0, row, x)
		case gguf.Q8_0:
			y[i] = spec.LinearQ8Step(0, row, q, scales)
		case gguf.Q4_0:
			y[i] = spec.LinearQ4Step(0, row, q, scales)
		}
	}
	return y
}

// heads returns queries, keys and values of layer prefix p.
func (r *reference) heads(p string, h []float32, rope spec.RoPE, pos int) (q, k, v []float32) {
	dim, nq, nkv := r.m.headDim, r.m.heads*r.m.headDim, r.m.kvHeads*r.m.headDim
	if fused := p + "attn_qkv.weight"; r.has(fused) {
		q, k, v = r.rows(fused, h, 0, nq), r.rows(fused, h, nq, nq+nkv), r.rows(fused, h, nq+nkv, nq+2*nkv)
	} else {
		q, k, v = r.linear(p+"attn_q.weight", h), r.linear(p+"attn_k.weight", h), r.linear(p+"attn_v.weight", h)
	}
	if r.has(p + "attn_q.bias") {
		spec.Add(q, r.vector(p+"attn_q.bias"))
		spec.Add(k, r.vector(p+"attn_k.bias"))
		spec.Add(v, r.vector(p+"attn_v.bias"))
	}
	frequencies := rope.Frequencies()
	cos, sin := make([]float32, len(frequencies)), make([]float32, len(frequencies))
	spec.RoPERowGain(cos, sin, frequencies, rope.Gain(), pos)
	for name, x := range map[string][]float32{"attn_q_norm.weight": q, "attn_k_norm.weight": k} {
		for i := 0; i < len(x); i += dim {
			if head := x[i : i+dim]; r.has(p + name) {
				spec.RMSNorm(head, head, r.vector(p+name), 1e-5)
			}
			spec.Rotate(x[i:i+dim], cos, sin, rope.Style)
		}
	}
	return q, k, v
}

// gated is a feed-forward network's answer: expert e of its tensors, 0 where
// they have only two dimensions.
func (r *reference) gated(p, suffix string, hidden, e int, h []float32) []float32 {
	var gate, up []float32
	if r.has(p + "ffn_gate" + suffix + ".weight") {
		gate = r.rows(p+"ffn_gate"+suffix+".weight", h, e*hidden, (e+1)*hidden)
		up = r.rows(p+"ffn_up"+suffix+".weight", h, e*hidden, (e+1)*hidden)
	} else {
		gate, up = r.rows(p+"ffn_up.weight", h, 0, hidden), r.rows(p+"ffn_up.weight", h, hidden, 2*hidden)
	}
	switch r.m.arch {
	case "gemma", "gemma2", "gemma3":
		spec.GELUMul(gate, up)
	default:
		spec.SiLUMul(gate, up)
	}
	return r.rows(p+"ffn_down"+suffix+".weight", gate, e*r.m.width, (e+1)*r.m.width)
}

func (r *reference) feed(p string, h []float32) []float32 {
	m := r.m
	if m.experts == 0 {
		return r.gated(p, "", m.hidden, 0, h)
	}
	chosen, weights := make([]int, m.used), make([]float32, m.used)
	spec.Route(chosen, weights, r.linear(p+"ffn_gate_inp.weight", h), m.arch != "qwen2moe", 1)
	y := make([]float32, m.width)
	for i, e := range chosen {
		spec.MixExpert(y, r.gated(p, "_exps", m.expertHidden, e, h), weights[i])
	}
	if m.arch == "qwen2moe" {
		gate := r.linear(p+"ffn_gate_inp_shexp.weight", h)[0]
		spec.MixExpert(y, r.gated(p, "_shexp", m.hidden, 0, h), spec.Sigmoid(gate))
	}
	return y
}

// quantizedRow is a key or value row as an int8 cache keeps it.
func quantizedRow(x []float32) []byte {
	rows := spec.QuantizeRows(x)
	var b []byte
	for _, v := range rows.Q {
		b = append(b, byte(v))
	}
	return append(b, core.EncodeVector(rows.Scales)...)
}

// run returns the logits after every position and the unsalted boundary
// digests, [position][layer].
func (r *reference) run(ids []core.Token) (logits [][]float32, digests []core.Hash) {
	m := r.m
	r.states = nil
	q, kv := m.heads*m.headDim, m.kvHeads*m.headDim
	keys, values := make([][]float32, m.layers), make([][]float32, m.layers)
	for pos, id := range ids {
		x := r.embed(id)
		if r.c.InputScale != 0 {
			for i := range x {
				x[i] = float32(x[i] * r.c.InputScale)
			}
		}
		for l := range m.layers {
			p := fmt.Sprintf("blk.%d.", l)
			add := func(y []float32, norm string) {
				if r.has(p + norm) {
					spec.RMSNorm(y, y, r.vector(p+norm), 1e-5)
				}
				spec.Add(x, y)
			}
			h := make([]float32, m.width)
			spec.RMSNorm(h, x, r.vector(p+"attn_norm.weight"), 1e-5)
			qs, k, v := r.heads(p, h, r.ropes[r.c.Rotary[l]], pos)
			if r.int8 {
				digests = append(digests, commit.Boundary(commit.Vector(x), commit.Encoded(quantizedRow(k)), commit.Encoded(quantizedRow(v))))
			} else {
				digests = append(digests, commit.Boundary(commit.Vector(x), commit.Vector(k), commit.Vector(v)))
			}
			keys[l], values[l] = append(keys[l], k...), append(values[l], v...)
			mixed := make([]float32, q)
			for head := range m.heads {
				from := head / (m.heads / m.kvHeads) * m.headDim
				var hk, hv []float32
				for t := range pos + 1 {
					hk = append(hk, keys[l][t*kv+from:][:m.headDim]...)
					hv = append(hv, values[l][t*kv+from:][:m.headDim]...)
				}
				at := head * m.headDim
				if r.int8 {
					spec.Attention8(mixed[at:at+m.headDim], qs[at:at+m.headDim], spec.QuantizeRows(hk), spec.QuantizeRows(hv), make([]float32, pos+1),
						spec.WindowStart(pos, r.c.Windows[l]), r.c.scoring.Scale, r.c.scoring.Cap)
					continue
				}
				spec.AttentionWindow(mixed[at:at+m.headDim], qs[at:at+m.headDim], hk, hv, make([]float32, pos+1),
					spec.WindowStart(pos, r.c.Windows[l]), r.c.scoring.Scale, r.c.scoring.Cap)
			}
			add(r.linear(p+"attn_output.weight", mixed), "post_attention_norm.weight")
			spec.RMSNorm(h, x, r.vector(p+"ffn_norm.weight"), 1e-5)
			add(r.feed(p, h), "post_ffw_norm.weight")
		}
		digests = append(digests, commit.Boundary(commit.Vector(x), core.Hash{}, core.Hash{}))
		h := make([]float32, m.width)
		spec.RMSNorm(h, x, r.vector("output_norm.weight"), 1e-5)
		r.states = append(r.states, h)
		head := "output.weight"
		if m.tied {
			head = "token_embd.weight"
		}
		row := r.linear(head, h)
		if r.c.LogitCap != 0 {
			spec.SoftCap(row, r.c.LogitCap)
		}
		logits = append(logits, row)
	}
	return logits, digests
}

// answer generates as the specification has it.
func (r *reference) answer(in core.SequenceInput, n int) (output []core.Token, leaves []core.Hash) {
	ids := append([]core.Token(nil), in.Input...)
	var d sample.Drawer
	var digests []core.Hash
	for range n {
		var logits [][]float32
		logits, digests = r.run(ids)
		prompt := len(in.Input) - in.Base
		h := sample.NewHistory(prompt)
		h.Append(ids...)
		at := sample.Point{Seed: in.Seed, Position: uint32(len(ids) - prompt), Past: h.Before(len(ids))}
		id, _, err := d.Draw(slices.Clone(logits[len(ids)-1]), &in.Sampler, at)
		if err != nil {
			r.t.Fatal(err)
		}
		ids, output = append(ids, id), append(output, id)
	}
	for i, d := range digests {
		perToken := r.m.layers + 1
		salt := core.BoundarySalt(in.Salt, uint32(i/perToken), uint32(i%perToken))
		leaves = append(leaves, sha256.Sum256(append(salt[:], d[:]...)))
	}
	return output, leaves
}
