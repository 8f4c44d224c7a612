package spec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the test vectors")

const vectorFile = "../../../spec/vectors/numerics.json"

// vectorSet is the published file; spec/numerics.md explains it.
type vectorSet struct {
	Semantics int      `json:"semantics"`
	About     string   `json:"about"`
	Vectors   []vector `json:"vectors"`
}

type vector struct {
	Name     string    `json:"name"`
	Seed     uint64    `json:"seed,omitempty"`
	About    string    `json:"about"`
	Bytes    int       `json:"bytes"`
	Digest   string    `json:"digest"`
	Examples []example `json:"examples,omitempty"`
}

// example is one evaluation, values as the hexadecimal bits of binary32.
type example struct {
	In  []string `json:"in"`
	Out []string `json:"out"`
}

// stream is SplitMix64.
type stream uint64

func (s *stream) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// number is a multiple of 2^-21 in [-4, 4).
func (s *stream) number() float32 {
	return float32(float32(int32(s.next()>>40)-1<<23) * (1.0 / (1 << 21)))
}

func (s *stream) numbers(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = s.number()
	}
	return x
}

// half is a binary16 in [2^-6, 2^-5) of either sign.
func (s *stream) half() uint16 {
	z := s.next()
	return uint16(z&0x83ff) | 9<<10
}

func (s *stream) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.next())
	}
	return b
}

// blocks is quantised weights: per block a half, then its bytes.
func (s *stream) blocks(n, size int) []byte {
	var b []byte
	for range n {
		b = binary.LittleEndian.AppendUint16(b, s.half())
		b = append(b, s.bytes(size-2)...)
	}
	return b
}

func floatBytes(x ...float32) []byte {
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		if v != v {
			v = math.Float32frombits(0x7fc00000)
		}
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func bitsOf(x ...float32) []string {
	out := make([]string, len(x))
	for i, v := range x {
		out[i] = fmt.Sprintf("%08x", math.Float32bits(v))
	}
	return out
}

// row is a row of n blocks of a format, drawn in the order of its layout: a half
// where that has a binary16 number, a byte elsewhere.
func (s *stream) row(f Format, n int) []byte {
	_, size := f.Block()
	var b []byte
	for range n {
		switch f {
		case BF16:
			b = binary.LittleEndian.AppendUint16(b, FloatToBrain(s.number()))
		case Q6_K:
			b = append(b, s.bytes(size-2)...)
			b = binary.LittleEndian.AppendUint16(b, s.half())
		case Q5_0:
			b = append(b, s.blocks(1, size)...)
		default:
			b = binary.LittleEndian.AppendUint16(b, s.half())
			b = append(b, s.blocks(1, size-2)...)
		}
	}
	return b
}

// formatCases are products and rows of the formats that joined Q8_0 and Q4_0.
func formatCases() []vectorCase {
	var cases []vectorCase
	for i, f := range []Format{Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, BF16} {
		columns, name := 1024, strings.ToLower(f.String())
		if f == BF16 {
			columns = 101
		}
		width, size := f.Block()
		blocks := columns / width
		cases = append(cases, vectorCase{"linear-" + name, fmt.Sprintf("x = %d numbers; 8 rows of %d blocks; the 8 products", columns, blocks), uint64(80 + i), func(s *stream) []byte {
			in := NewInput(s.numbers(columns))
			var out []byte
			for range 8 {
				w := s.row(f, blocks)
				cut := blocks / 2 // a product may stop anywhere and go on
				acc := LinearStep(f, 0, w[:cut*size], in.Slice(0, cut*width))
				out = append(out, floatBytes(LinearStep(f, acc, w[cut*size:], in.Slice(cut*width, columns)))...)
			}
			return out
		}, nil}, vectorCase{"embedding-" + name, fmt.Sprintf("%d blocks; the row", blocks), uint64(90 + i), func(s *stream) []byte {
			dst := make([]float32, columns)
			f.Decode(dst, s.row(f, blocks))
			return floatBytes(dst...)
		}, nil})
	}
	return append(cases, vectorCase{"float-to-bfloat16", "FloatToBrain of the binary32 with bits i*65537, i = 0..65535, 2 bytes each", 0, func(*stream) []byte {
		var out []byte
		for i := range uint32(1 << 16) {
			out = binary.LittleEndian.AppendUint16(out, FloatToBrain(math.Float32frombits(i*65537)))
		}
		return out
	}, nil})
}

type vectorCase struct {
	name, about string
	seed        uint64
	output      func(s *stream) []byte
	examples    []example
}

func unary(f func(float32) float32, inputs ...float32) []example {
	var out []example
	for _, x := range inputs {
		out = append(out, example{bitsOf(x), bitsOf(f(x))})
	}
	return out
}

func vectorCases() []vectorCase {
	each := func(f func(float32) float32, n int, input func(s *stream, i int) float32) func(*stream) []byte {
		return func(s *stream) []byte {
			var out []byte
			for i := range n {
				out = append(out, floatBytes(f(input(s, i)))...)
			}
			return out
		}
	}
	linear := func(cols, rowBytes int, weights func(s *stream) []byte, product func(w []byte, x []float32) float32) func(*stream) []byte {
		return func(s *stream) []byte {
			x := s.numbers(cols)
			var out []byte
			for range 8 {
				w := weights(s)
				if len(w) != rowBytes {
					panic("row size")
				}
				out = append(out, floatBytes(product(w, x))...)
			}
			return out
		}
	}
	quantized := func(step func(float32, []byte, []int8, []float32) float32) func([]byte, []float32) float32 {
		return func(w []byte, x []float32) float32 {
			q, scales := make([]int8, len(x)), make([]float32, len(x)/Block)
			QuantizeRow(q, scales, x)
			return step(0, w, q, scales)
		}
	}
	halves := func(n int) func(*stream) []byte {
		return func(s *stream) []byte {
			var w []byte
			for range n {
				w = binary.LittleEndian.AppendUint16(w, s.half())
			}
			return w
		}
	}
	decoded := func(row []byte, n int, decode func([]float32, []byte)) []byte {
		dst := make([]float32, n)
		decode(dst, row)
		return floatBytes(dst...)
	}
	return append([]vectorCase{
		{"exp", "Exp(16*number), 65536 times", 1, each(Exp, 65536, func(s *stream, _ int) float32 { return 16 * s.number() }),
			unary(Exp, 0, 1, -1, 10.5, -87, 88, 100, -88, 1e-30)},
		{"exp-bits", "Exp of the binary32 with bits i*65537, i = 0..65535", 0,
			each(Exp, 65536, func(_ *stream, i int) float32 { return math.Float32frombits(uint32(i) * 65537) }), nil},
		{"log", "Log of the binary32 with bits i*32639+1, i = 0..65535 (all positive and finite)", 0,
			each(Log, 65536, func(_ *stream, i int) float32 { return math.Float32frombits(uint32(i)*32639 + 1) }),
			unary(Log, 1, 2, 0.5, 10, 1e-40)},
		{"half-to-float", "HalfToFloat(i), i = 0..65535 without those whose exponent is 31", 0, func(*stream) []byte {
			var out []byte
			for h := range 1 << 16 {
				if h&0x7c00 != 0x7c00 {
					out = append(out, floatBytes(HalfToFloat(uint16(h)))...)
				}
			}
			return out
		}, nil},
		{"float-to-half", "FloatToHalf of the binary32 with bits i*65537, i = 0..65535, 2 bytes each", 0, func(*stream) []byte {
			var out []byte
			for i := range uint32(1 << 16) {
				out = binary.LittleEndian.AppendUint16(out, FloatToHalf(math.Float32frombits(i*65537)))
			}
			return out
		}, nil},
		{"silu", "gate = 896 of 8*number, up = 896 numbers; SiLU(gate)*up", 2, func(s *stream) []byte {
			gate := s.numbers(896)
			for i := range gate {
				gate[i] *= 8
			}
			SiLUMul(gate, s.numbers(896))
			return floatBytes(gate...)
		}, unary(SiLU, 0, 1, -1, 20, -20, -100)},
		{"rmsnorm", "for n = 896, 101: x = n numbers, weight = n numbers; RMSNorm with eps the binary32 nearest 1e-6", 3, func(s *stream) []byte {
			var out []byte
			for _, n := range []int{896, 101} {
				x, weight := s.numbers(n), s.numbers(n)
				RMSNorm(x, x, weight, 1e-6)
				out = append(out, floatBytes(x...)...)
			}
			return out
		}, nil},
		{"softmax", "for n = 896, 101: x = n of 4*number; the exponentials, then their sum", 4, func(s *stream) []byte {
			var out []byte
			for _, n := range []int{896, 101} {
				x := s.numbers(n)
				for i := range x {
					x[i] *= 4
				}
				sum := Softmax(x)
				out = append(out, floatBytes(append(x, sum)...)...)
			}
			return out
		}, nil},
		{"rope-table", "the 32-byte hashes of the first 4096 positions of: dim 128, base 10000; dim 64, base 1000000; dim 8, base 500000, scale 0.25, factors 1 2 8 32", 0, func(*stream) []byte {
			var out []byte
			for _, p := range []RoPE{{Dim: 128, Base: 10000}, {Dim: 64, Base: 1e6}, {Dim: 8, Base: 500000, Scale: 0.25, Factors: []float32{1, 2, 8, 32}}} {
				h := p.Hash(4096)
				out = append(out, h[:]...)
			}
			return out
		}, nil},
		{"rope", "dim 64, base 10000; for positions 0, 1, 1000: x = 80 numbers, rotated as neighbours, then again as halves", 5, func(s *stream) []byte {
			f := RoPE{Dim: 64, Base: 10000}.Frequencies()
			cos, sin := make([]float32, 32), make([]float32, 32)
			var out []byte
			for _, position := range []int{0, 1, 1000} {
				RoPERow(cos, sin, f, position)
				x := s.numbers(80)
				Rotate(x, cos, sin, RoPENorm)
				Rotate(x, cos, sin, RoPENeoX)
				out = append(out, floatBytes(x...)...)
			}
			return out
		}, nil},
		{"attention", "q = 64 numbers, keys = 200 rows of 64, values = 200 rows of 64; Attention with scale 1/8", 6, func(s *stream) []byte {
			q, keys, values := s.numbers(64), s.numbers(200*64), s.numbers(200*64)
			dst := make([]float32, 64)
			Attention(dst, q, keys, values, make([]float32, 200), AttentionScale(64))
			return floatBytes(dst...)
		}, nil},
		{"quantize", "x = 896 numbers; per block the 32 quants as bytes, then the scale", 7, func(s *stream) []byte {
			x := s.numbers(896)
			q := make([]int8, Block)
			var out []byte
			for b := 0; b < len(x); b += Block {
				scale := Quantize(q, x[b:b+Block])
				for _, v := range q {
					out = append(out, byte(v))
				}
				out = append(out, floatBytes(scale)...)
			}
			return out
		}, nil},
		{"linear-q8_0", "x = 896 numbers; 8 rows of 28 blocks (half, 32 bytes); the 8 products", 8,
			linear(896, 28*Q8Bytes, func(s *stream) []byte { return s.blocks(28, Q8Bytes) }, quantized(LinearQ8Step)), nil},
		{"linear-q4_0", "x = 896 numbers; 8 rows of 28 blocks (half, 16 bytes); the 8 products", 9,
			linear(896, 28*Q4Bytes, func(s *stream) []byte { return s.blocks(28, Q4Bytes) }, quantized(LinearQ4Step)), nil},
		{"linear-f16", "x = 101 numbers; 8 rows of 101 halves; the 8 products", 10,
			linear(101, 202, halves(101), func(w []byte, x []float32) float32 { return LinearF16Step(0, w, x) }), nil},
		{"linear-f32", "x = 101 numbers; 8 rows of 101 numbers; the 8 products", 11,
			linear(101, 404, func(s *stream) []byte { return floatBytes(s.numbers(101)...) }, func(w []byte, x []float32) float32 { return LinearF32Step(0, w, x) }), nil},
		{"embedding-q8_0", "28 blocks (half, 32 bytes); the row", 12, func(s *stream) []byte { return decoded(s.blocks(28, Q8Bytes), 896, DequantizeQ8) }, nil},
		{"embedding-q4_0", "28 blocks (half, 16 bytes); the row", 13, func(s *stream) []byte { return decoded(s.blocks(28, Q4Bytes), 896, DequantizeQ4) }, nil},
		{"gelu", "gate = 896 of 8*number, up = 896 numbers; GELU(gate)*up", 60, func(s *stream) []byte {
			gate := s.numbers(896)
			for i := range gate {
				gate[i] *= 8
			}
			GELUMul(gate, s.numbers(896))
			return floatBytes(gate...)
		}, unary(GELU, 0, 1, -1, 3, -3, 100, -100)},
		{"tanh", "x = number for 4096 numbers; Tanh(x)", 61, each(Tanh, 4096, func(s *stream, _ int) float32 { return s.number() }),
			unary(Tanh, 0, 0.625, 0.624, -0.625, 1, 100, -100)},
		{"soft-cap", "x = 896 of 32*number; capped at 50", 62, func(s *stream) []byte {
			x := s.numbers(896)
			for i := range x {
				x[i] *= 32
			}
			SoftCap(x, 50)
			return floatBytes(x...)
		}, nil},
		{"attention-window", "q = 64 numbers, keys = 200 rows of 64, values = 200 rows of 64; positions 91 to 199, scale 1/8, capped at 5", 63, func(s *stream) []byte {
			q, keys, values := s.numbers(64), s.numbers(200*64), s.numbers(200*64)
			dst := make([]float32, 64)
			AttentionWindow(dst, q, keys, values, make([]float32, 200), 91, AttentionScale(64), 5)
			return floatBytes(dst...)
		}, nil},
		{"attention-int8", "q = 64 numbers, keys = 200 rows of 64, values = 200 rows of 64; Attention8 of the quantised rows with scale 1/8; then of positions 91 to 199, capped at 5", 66, func(s *stream) []byte {
			q, keys, values := s.numbers(64), QuantizeRows(s.numbers(200*64)), QuantizeRows(s.numbers(200*64))
			dst := make([]float32, 64)
			Attention8(dst, q, keys, values, make([]float32, 200), 0, AttentionScale(64), 0)
			out := floatBytes(dst...)
			Attention8(dst, q, keys, values, make([]float32, 200), 91, AttentionScale(64), 5)
			return append(out, floatBytes(dst...)...)
		}, nil},
		{"rope-yarn", "as rope-table, hash of 4096 positions: dim 64, base 1e6, YaRN of factor 4, context 1024, betas 32 and 1; then the same with dim 128, base 10000, magnitude 1.25", 0, func(*stream) []byte {
			var out []byte
			for _, p := range []RoPE{{Dim: 64, Base: 1e6}, {Dim: 128, Base: 10000, Magnitude: 1.25}} {
				p.YaRN = YaRN{Factor: 4, Context: 1024, BetaFast: 32, BetaSlow: 1}
				h := p.Hash(4096)
				out = append(out, h[:]...)
			}
			return out
		}, nil},
		{"route", "64 times: 12 numbers, of which the fourth is replaced by the third; the 3 experts chosen as bytes and their weights, normalised; then the same not normalised, times 2.5", 64, func(s *stream) []byte {
			var out []byte
			for range 64 {
				logits := s.numbers(12)
				logits[3] = logits[2]
				for _, normalised := range []bool{true, false} {
					chosen, weights, scale := make([]int, 3), make([]float32, 3), float32(1)
					if !normalised {
						scale = 2.5
					}
					Route(chosen, weights, append([]float32(nil), logits...), normalised, scale)
					for _, c := range chosen {
						out = append(out, byte(c))
					}
					out = append(out, floatBytes(weights...)...)
				}
			}
			return out
		}, nil},
		{"add", "x = 101 numbers, y = 101 numbers; x + y", 70, func(s *stream) []byte {
			x := s.numbers(101)
			Add(x, s.numbers(101))
			return floatBytes(x...)
		}, nil},
		{"sum", "x = 101 numbers; the lane sum", 71, func(s *stream) []byte {
			var lanes Lanes
			lanes.Add(s.numbers(101))
			return floatBytes(lanes.Total())
		}, nil},
		{"sigmoid", "x = 4*number for 4096 numbers; Sigmoid(x)", 72, each(Sigmoid, 4096, func(s *stream, _ int) float32 { return 4 * s.number() }),
			unary(Sigmoid, 0, 1, -1, 100, -100)},
		{"mix-expert", "acc = 101 numbers, answer = 101 numbers, weight = a number; acc with the weighted answer added", 73, func(s *stream) []byte {
			acc, answer := s.numbers(101), s.numbers(101)
			MixExpert(acc, answer, s.number())
			return floatBytes(acc...)
		}, nil},
		{"pool", "5 rows of 101 numbers; their mean, then that scaled to unit length", 74, func(s *stream) []byte {
			acc := make([]float32, 101)
			for range 5 {
				PoolStep(acc, s.numbers(101))
			}
			PoolMean(acc, 5)
			out := floatBytes(acc...)
			if !Unit(acc) {
				panic("not finite")
			}
			return append(out, floatBytes(acc...)...)
		}, nil},
		{"quantize-edges", "blocks whose elements all have the bits 0d7fffff, 0d800000 (the threshold), 00000001, 7f7fffff; then one of i+0.5, i = 0..31, the first being 127; per block the 32 quants as bytes, then the scale", 0, func(*stream) []byte {
			var x [5][Block]float32
			for i := range Block {
				for b, bits := range []uint32{0x0d7fffff, 0x0d800000, 1, 0x7f7fffff} {
					x[b][i] = math.Float32frombits(bits)
				}
				x[4][i] = float32(i) + 0.5
			}
			x[4][0] = 127
			q := make([]int8, Block)
			var out []byte
			for _, block := range x {
				scale := Quantize(q, block[:])
				for _, v := range q {
					out = append(out, byte(v))
				}
				out = append(out, floatBytes(scale)...)
			}
			return out
		}, nil},
		{"embedding-f32", "101 numbers; the row", 75, func(s *stream) []byte { return decoded(floatBytes(s.numbers(101)...), 101, DecodeF32) }, nil},
		{"embedding-f16", "101 halves; the row", 14, func(s *stream) []byte { return decoded(halves(101)(s), 101, DecodeF16) }, nil},
	}, formatCases()...)
}

// TestVectors holds this machine to the published digests, which were computed
// on another.
func TestVectors(t *testing.T) {
	set := vectorSet{Semantics: 1, About: "Canonical numerics, semantics version 1. spec/numerics.md defines the operators and the input streams. digest = SHA-256 of the output, floats as little-endian binary32."}
	for _, c := range vectorCases() {
		s := stream(c.seed)
		out := c.output(&s)
		sum := sha256.Sum256(out)
		set.Vectors = append(set.Vectors, vector{c.name, c.seed, c.about, len(out), hex.EncodeToString(sum[:]), c.examples})
	}
	got, err := json.MarshalIndent(set, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	var published vectorSet
	if err := json.Unmarshal(want, &published); err != nil {
		t.Fatal(err)
	}
	if len(published.Vectors) != len(set.Vectors) {
		t.Fatalf("%d vectors, the file has %d", len(set.Vectors), len(published.Vectors))
	}
	for i, v := range set.Vectors {
		if p := published.Vectors[i]; v.Digest != p.Digest || fmt.Sprint(v.Examples) != fmt.Sprint(p.Examples) {
			t.Errorf("%s: digest %s, published %s", v.Name, v.Digest, p.Digest)
		}
	}
	if !t.Failed() {
		t.Error("the file's text is not current; run the test with -update")
	}
}
