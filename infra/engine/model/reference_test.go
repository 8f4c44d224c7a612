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
	t    testing.TB
	file *gguf.File
	m    tiny
	rope spec.RoPE

	states [][]float32 // what run leaves: the normalised final state of every position
}

func newReference(t testing.TB, m tiny) *reference {
	f, err := gguf.Parse(m.bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &reference{t: t, file: f, m: m}
	r.rope = spec.RoPE{Style: spec.RoPENorm, Dim: m.headDim, Base: 10000}
	if m.arch == "qwen2" {
		r.rope.Style = spec.RoPENeoX
	}
	if m.ropeDim > 0 {
		r.rope.Dim = m.ropeDim
	}
	if m.ropeBase > 0 {
		r.rope.Base = m.ropeBase
	}
	if m.linear > 0 {
		r.rope.Scale = 1 / m.linear
	}
	if m.factors {
		r.rope.Factors = r.vector("rope_freqs.weight")
	}
	return r
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
	t, data := r.tensor(name)
	size := len(data) / t.Rows()
	q, scales := make([]int8, len(x)), make([]float32, len(x)/32)
	if t.Type == gguf.Q8_0 || t.Type == gguf.Q4_0 {
		spec.QuantizeRow(q, scales, x)
	}
	y := make([]float32, t.Rows())
	for i := range y {
		row := data[i*size : (i+1)*size]
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

// run returns the logits after every position and the unsalted boundary
// digests, [position][layer].
func (r *reference) run(ids []core.Token) (logits [][]float32, digests []core.Hash) {
	m := r.m
	r.states = nil
	q, kv := m.heads*m.headDim, m.kvHeads*m.headDim
	keys, values := make([][]float32, m.layers), make([][]float32, m.layers)
	frequencies := r.rope.Frequencies()
	cos, sin := make([]float32, len(frequencies)), make([]float32, len(frequencies))
	for pos, id := range ids {
		x := r.embed(id)
		spec.RoPERow(cos, sin, frequencies, pos)
		for l := range m.layers {
			p := fmt.Sprintf("blk.%d.", l)
			h := make([]float32, m.width)
			spec.RMSNorm(h, x, r.vector(p+"attn_norm.weight"), 1e-5)
			qs, k, v := r.linear(p+"attn_q.weight", h), r.linear(p+"attn_k.weight", h), r.linear(p+"attn_v.weight", h)
			if m.arch == "qwen2" {
				spec.Add(qs, r.vector(p+"attn_q.bias"))
				spec.Add(k, r.vector(p+"attn_k.bias"))
				spec.Add(v, r.vector(p+"attn_v.bias"))
			}
			for i := 0; i < q; i += m.headDim {
				spec.Rotate(qs[i:i+m.headDim], cos, sin, r.rope.Style)
			}
			for i := 0; i < kv; i += m.headDim {
				spec.Rotate(k[i:i+m.headDim], cos, sin, r.rope.Style)
			}
			digests = append(digests, commit.Boundary(commit.Vector(x), commit.Vector(k), commit.Vector(v)))
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
				spec.Attention(mixed[at:at+m.headDim], qs[at:at+m.headDim], hk, hv, make([]float32, pos+1), spec.AttentionScale(m.headDim))
			}
			spec.Add(x, r.linear(p+"attn_output.weight", mixed))
			spec.RMSNorm(h, x, r.vector(p+"ffn_norm.weight"), 1e-5)
			gate, up := r.linear(p+"ffn_gate.weight", h), r.linear(p+"ffn_up.weight", h)
			spec.SiLUMul(gate, up)
			spec.Add(x, r.linear(p+"ffn_down.weight", gate))
		}
		digests = append(digests, commit.Boundary(commit.Vector(x), core.Hash{}, core.Hash{}))
		h := make([]float32, m.width)
		spec.RMSNorm(h, x, r.vector("output_norm.weight"), 1e-5)
		r.states = append(r.states, h)
		head := "output.weight"
		if m.tied {
			head = "token_embd.weight"
		}
		logits = append(logits, r.linear(head, h))
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
