package kernel

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

var exhaustive = flag.Bool("exhaustive", false, "try Exp on all 2^32 inputs")

// extremes returns n values of every kind, NaN and Inf among them.
func extremes(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		switch r.IntN(6) {
		case 0:
			x[i] = math.Float32frombits(r.Uint32())
		case 1:
			x[i] = []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
				math.MaxFloat32, -math.MaxFloat32, 1, -1, 88, -87, 88.7, -87.4}[r.IntN(13)]
		default:
			x[i] = float32(r.NormFloat64() * 20)
		}
	}
	return x
}

func TestExpEqualsSpec(t *testing.T) {
	step := uint64(4093)
	if *exhaustive {
		step = 1
	}
	x, in := make([]float32, 4096), make([]float32, 4096)
	for bits := uint64(0); bits < 1<<32; {
		for i := range x {
			in[i] = math.Float32frombits(uint32(bits))
			bits += step
		}
		copy(x, in)
		Exp(x)
		for i, v := range in {
			if want := spec.Exp(v); math.Float32bits(x[i]) != math.Float32bits(want) {
				t.Fatalf("exp(%v = %08x) = %v, want %v", v, math.Float32bits(v), x[i], want)
			}
		}
	}
}

func TestVectorsEqualSpec(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for n := range 70 {
		for range 20 {
			x, y := extremes(r, n), extremes(r, n)
			numbers := activationRows(r, 1, n)
			label := fmt.Sprintf("length %d", n)
			pair := func(name string, fast, reference func(a, b []float32)) {
				t.Helper()
				got, want := slices.Clone(x), slices.Clone(x)
				fast(got, y)
				reference(want, y)
				same(t, name+" "+label, got, want)
			}
			pair("add", AddInto, spec.Add)
			pair("silu", SiLUMul, spec.SiLUMul)
			pair("gelu", GELUMul, spec.GELUMul)
			pair("soft cap", func(a, _ []float32) { SoftCap(a, 30) }, func(a, _ []float32) { spec.SoftCap(a, 30) })
			pair("expert", func(a, b []float32) { MixExpert(a, b, 0.3) }, func(a, b []float32) { spec.MixExpert(a, b, 0.3) })
			pair("scale", func(a, _ []float32) { Scale(a, 1.7) }, func(a, _ []float32) { scalePortable(a, 1.7) })
			pair("norm", func(a, b []float32) { RMSNorm(a, numbers, b, 1e-5) }, func(a, b []float32) { spec.RMSNorm(a, numbers, b, 1e-5) })
			pair("norm of extremes", func(a, b []float32) { RMSNorm(a, a, b, 1e-5) }, func(a, b []float32) { spec.RMSNorm(a, a, b, 1e-5) })
			for _, row := range [][]float32{x, numbers} {
				got, want := slices.Clone(row), slices.Clone(row)
				gotSum, wantSum := Softmax(got), spec.Softmax(want)
				same(t, "softmax "+label, append(got, gotSum), append(want, wantSum))
			}
			if Finite(x) != spec.Finite(x) || Finite(numbers) != spec.Finite(numbers) {
				t.Fatalf("finite %s disagrees on %v", label, x)
			}
			if got, want := Greatest(x), greatestPortable(x); got != want {
				t.Fatalf("greatest %s is %v, want %v of %v", label, got, want, x)
			}
		}
	}
}

func TestFiniteSeesEveryElement(t *testing.T) {
	for n := 1; n < 40; n++ {
		for i := range n {
			for _, bad := range []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
				x := make([]float32, n)
				if x[i] = math.MaxFloat32; !Finite(x) {
					t.Fatalf("the largest number at %d of %d is not finite", i, n)
				}
				if x[i] = bad; Finite(x) {
					t.Fatalf("%v at %d of %d is finite", bad, i, n)
				}
			}
		}
	}
}

func TestGreatestSeesEveryElement(t *testing.T) {
	for n := 1; n < 40; n++ {
		for i := range n {
			x := slices.Repeat([]float32{-3, float32(math.NaN())}, n)[:n]
			if x[i] = -2; Greatest(x) != -2 {
				t.Fatalf("-2 at %d of %d is not the greatest", i, n)
			}
			if x[i] = float32(math.Inf(1)); Greatest(x) != x[i] {
				t.Fatalf("infinity at %d of %d is not the greatest", i, n)
			}
		}
	}
}

func TestRotateEqualsSpec(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for _, style := range []spec.RoPEStyle{spec.RoPENorm, spec.RoPENeoX} {
		for _, c := range []struct{ head, dim int }{{64, 64}, {80, 80}, {128, 128}, {128, 64}, {20, 20}, {32, 16}, {2, 2}, {96, 48}} {
			parameters := spec.RoPE{Style: style, Dim: c.dim, Base: 10000}
			rope := NewRoPE(parameters, 40)
			if rope.Positions() != 40 {
				t.Fatalf("a table of %d positions, want 40", rope.Positions())
			}
			frequencies := parameters.Frequencies()
			cos, sin := make([]float32, c.dim/2), make([]float32, c.dim/2)
			for _, position := range []int{0, 1, 39} {
				x := extremes(r, 3*c.head)
				want := slices.Clone(x)
				rope.Rotate(x, c.head, position)
				spec.RoPERow(cos, sin, frequencies, position)
				for h := range 3 {
					spec.Rotate(want[h*c.head:(h+1)*c.head], cos, sin, style)
				}
				same(t, fmt.Sprintf("style %d, %d of %d elements, position %d", style, c.dim, c.head, position), x, want)
			}
		}
	}
}

func TestQuantizeEqualsSpec(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	const cols, blocks = 320, 10
	for tokens := 1; tokens <= 9; tokens++ {
		for round := range 20 {
			x := activationRows(r, tokens, cols)
			if round%4 == 3 {
				x = extremes(r, tokens*cols)
			}
			var a Activations
			a.Quantize(nil, x, cols, tokens, cols)
			for token := range tokens {
				q, scales := make([]int8, cols), make([]float32, blocks)
				spec.QuantizeRow(q, scales, x[token*cols:(token+1)*cols])
				quants, got, weighted, size := a.token(token)
				sums := a.blockSums.from(token/groupTokens*groupTokens*blocks + token%groupTokens)
				for b := range blocks {
					same(t, "scale", got[b*size:b*size+1], scales[b:b+1])
					block := q[b*spec.Block : (b+1)*spec.Block]
					same(t, "weighted sum", weighted[b*size:b*size+1], []float32{spec.BlockSum(block, scales[b])})
					var half [2]int32
					for i, v := range block {
						half[i/16] += int32(v)
					}
					if sums.eights[b*size] != 8*(half[0]+half[1]) || int16(sums.halves[b*size]) != int16(half[0]) || sums.halves[b*size]>>16 != half[1] {
						t.Fatalf("token %d of %d, block %d: sums %d and %x, want %v", token, tokens, b, sums.eights[b*size], sums.halves[b*size], half)
					}
					for i := range spec.Block {
						if v := quants[(b*8+i/4)*4*size+i%4]; v != q[b*spec.Block+i] {
							t.Fatalf("token %d of %d, block %d: quant %d is %d, want %d", token, tokens, b, i, v, q[b*spec.Block+i])
						}
					}
				}
			}
		}
	}
}

// TestAssemblyStaysInItsSet fails when the generator ran out of registers and
// took some that only AVX-512 has; the products for AVX-512 VNNI use none of
// them either.
func TestAssemblyStaysInItsSet(t *testing.T) {
	for _, file := range []string{"avx2_amd64.s", "avx512_amd64.s"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`\b([XY](1[6-9]|2\d|3[01])|Z\d+|K\d|VFN?M(ADD|SUB)\w+)\b`).Find(source); found != nil {
			t.Errorf("%s uses %s", file, found)
		}
		if vnni := bytes.Contains(source, []byte("VPDPBUSD")); vnni != (file == "avx512_amd64.s") {
			t.Errorf("%s has products of AVX-512 VNNI: %v", file, vnni)
		}
	}
}
