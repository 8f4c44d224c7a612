package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// activationRows returns rows with outliers, zeros, zero blocks, subnormals
// and extremes.
func activationRows(r *rand.Rand, tokens, cols int) []float32 {
	x := make([]float32, tokens*cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
		switch r.IntN(60) {
		case 0:
			x[i] *= 50
		case 1:
			x[i] = 0
		case 2:
			x[i] = math.Float32frombits(r.Uint32N(1<<23) | r.Uint32()&(1<<31))
		}
	}
	for b := 0; b+32 <= len(x); b += 32 {
		block := x[b : b+32]
		switch r.IntN(12) {
		case 0:
			clear(block)
		case 1: // saturated: every quant is 127 or -127
			for i := range block {
				block[i] = float32(1 - 2*r.IntN(2))
			}
		case 2: // around the threshold 2^-100
			for i := range block {
				block[i] = math.Float32frombits(0x0d7fffff + r.Uint32N(3)*uint32(i&1))
			}
		case 3: // ties to even
			for i := range block {
				block[i] = float32(i) + 0.5
			}
			block[0] = 127
		case 4:
			for i := range block {
				block[i] *= 1e36
			}
		}
	}
	return x
}

// weightBytes returns a matrix in GGUF layout with adversarial weights.
func weightBytes(r *rand.Rand, f Format, rows, cols int) []byte {
	rowBytes, err := f.RowBytes(cols)
	if err != nil {
		panic(err)
	}
	data := make([]byte, rows*rowBytes)
	for i := range data {
		data[i] = byte(r.Uint32())
		if r.IntN(4) == 0 {
			data[i] = []byte{0x80, 0x7f, 0x81, 0x00, 0xff, 0xf0, 0x0f}[r.IntN(7)]
		}
	}
	half := func(b []byte) {
		h := spec.FloatToHalf(float32(r.NormFloat64()))
		if r.IntN(10) == 0 {
			h = uint16(r.Uint32N(0x400)) | uint16(r.Uint32())&0x8000 // subnormal
		}
		binary.LittleEndian.PutUint16(b, h)
	}
	switch f {
	case F32:
		for i := 0; i < len(data); i += 4 {
			binary.LittleEndian.PutUint32(data[i:], math.Float32bits(float32(r.NormFloat64())))
		}
	case F16:
		for i := 0; i < len(data); i += 2 {
			half(data[i:])
		}
	case BF16:
		for i := 0; i < len(data); i += 2 {
			binary.LittleEndian.PutUint16(data[i:], spec.FloatToBrain(float32(r.NormFloat64())))
		}
	default:
		_, size := f.Block()
		for i := 0; i < len(data); i += size {
			switch f {
			case Q4_1, Q5_1, Q4_K, Q5_K:
				half(data[i+2:])
			case Q6_K:
				half(data[i+size-2:])
				continue
			}
			half(data[i:])
		}
	}
	return data
}

// linearSpec is y = W x by package spec, from GGUF bytes.
func linearSpec(f Format, rows, cols int, data []byte, x []float32) []float32 {
	rowBytes := len(data) / rows
	in := spec.NewInput(x)
	y := make([]float32, rows)
	for r := range y {
		y[r] = spec.LinearStep(f, 0, data[r*rowBytes:(r+1)*rowBytes], in)
	}
	return y
}

// same fails unless both hold the same bits, any NaN being equal to any other.
func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i, g := range got {
		if math.Float32bits(g) != math.Float32bits(want[i]) && !(g != g && want[i] != want[i]) {
			t.Fatalf("%s: element %d is %v (%08x), want %v (%08x)", what, i, g, math.Float32bits(g), want[i], math.Float32bits(want[i]))
		}
	}
}

var formats = spec.Formats()

func TestLinearEqualsSpec(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	shapes := []struct{ rows, cols int }{{1, 32}, {8, 32}, {7, 64}, {9, 96}, {64, 896}, {43, 1056}, {24, 2048}, {1, 256}, {8, 256}, {19, 768}}
	pool := NewPool(3)
	defer pool.Close()
	for _, f := range formats {
		for _, s := range shapes {
			if _, err := f.RowBytes(s.cols); err != nil {
				continue
			}
			data := weightBytes(r, f, s.rows, s.cols)
			w, err := NewMatrix(f, s.rows, s.cols, data)
			if err != nil {
				t.Fatal(err)
			}
			for _, tokens := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9} {
				x := activationRows(r, tokens, s.cols)
				stride := s.rows + 5
				out := make([]float32, tokens*stride)
				var a Activations
				a.Quantize(pool, x, s.cols, tokens, s.cols)
				Linear(pool, out, stride, w, &a)
				for i := range tokens {
					what := fmt.Sprintf("%v %dx%d token %d of %d", f, s.rows, s.cols, i, tokens)
					same(t, what, out[i*stride:i*stride+s.rows], linearSpec(f, s.rows, s.cols, data, x[i*s.cols:(i+1)*s.cols]))
					for _, v := range out[i*stride+s.rows : (i+1)*stride] {
						if v != 0 {
							t.Fatalf("%s: wrote beyond its rows", what)
						}
					}
				}
			}
		}
	}
}

// TestSplitsDoNotMatter computes products in random pieces, on any number of
// threads, with tokens alone and together.
func TestSplitsDoNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	const rows, cols, tokens = 203, 256, 7
	x := activationRows(r, tokens, cols)
	for _, f := range formats {
		w, err := NewMatrix(f, rows, cols, weightBytes(r, f, rows, cols))
		if err != nil {
			t.Fatal(err)
		}
		var all Activations
		all.Quantize(nil, x, cols, tokens, cols)
		want := make([]float32, tokens*rows)
		Linear(nil, want, rows, w, &all)

		alone := make([]float32, tokens*rows)
		for token := range tokens {
			var a Activations
			a.Quantize(nil, x[token*cols:], cols, 1, cols)
			Linear(nil, alone[token*rows:], rows, w, &a)
		}
		same(t, f.String()+" token by token", alone, want)

		for _, threads := range []int{2, 3, 5, 16} {
			p := NewPool(threads)
			out := make([]float32, tokens*rows)
			var a Activations
			a.Quantize(p, x, cols, tokens, cols)
			Linear(p, out, rows, w, &a)
			same(t, fmt.Sprintf("%v on %d threads", f, threads), out, want)
			p.Close()
		}
		for range 20 {
			out := make([]float32, tokens*rows)
			product := Product{w, out, rows}
			for p0 := 0; p0 < w.panels; {
				p1 := min(w.panels, p0+1+r.IntN(9))
				product.run(&all, p0, p1)
				p0 = p1
			}
			same(t, f.String()+" in pieces", out, want)
		}
	}
}

func TestManyTokensShareTheCache(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	const rows, cols, tokens = 16, 2048, 133 // several passes of cacheBytes
	x := activationRows(r, tokens, cols)
	for _, f := range []Format{Q8_0, Q4_0, Q4_K, Q6_K} {
		data := weightBytes(r, f, rows, cols)
		w, err := NewMatrix(f, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		var a Activations
		a.Quantize(nil, x, cols, tokens, cols)
		out := make([]float32, tokens*rows)
		Linear(nil, out, rows, w, &a)
		for token := range tokens {
			same(t, fmt.Sprintf("%v token %d", f, token), out[token*rows:(token+1)*rows], linearSpec(f, rows, cols, data, x[token*cols:(token+1)*cols]))
		}
	}
}

func TestLinearsAndGatedLinear(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	pool := NewPool(3)
	defer pool.Close()
	const cols = 256
	for _, rows := range []int{32, 320, 1024, 44} {
		for _, tokens := range []int{1, 3, 5} {
			f := formats[r.IntN(len(formats))]
			gateData, upData := weightBytes(r, f, rows, cols), weightBytes(r, Q8_0, rows, cols)
			gate, err := NewMatrix(f, rows, cols, gateData)
			if err != nil {
				t.Fatal(err)
			}
			up, err := NewMatrix(Q8_0, rows, cols, upData)
			if err != nil {
				t.Fatal(err)
			}
			x := make([]float32, tokens*cols)
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			var a, hidden Activations
			a.Quantize(pool, x, cols, tokens, cols)
			g, u := make([]float32, tokens*rows), make([]float32, tokens*rows)
			Linears(pool, &a, Product{gate, g, rows}, Product{up, u, rows})
			h, scratch := make([]float32, tokens*rows), make([]float32, tokens*rows)
			activation, reference := Activation(SiLUMul), spec.SiLUMul
			if tokens == 3 {
				activation, reference = GELUMul, spec.GELUMul
			}
			GatedLinear(pool, activation, &hidden, h, scratch, rows, gate, up, &a)
			for token := range tokens {
				lo, hi := token*rows, (token+1)*rows
				row := x[token*cols : (token+1)*cols]
				wantGate, wantUp := linearSpec(f, rows, cols, gateData, row), linearSpec(Q8_0, rows, cols, upData, row)
				same(t, "gate", g[lo:hi], wantGate)
				same(t, "up", u[lo:hi], wantUp)
				reference(wantGate, wantUp)
				same(t, "hidden", h[lo:hi], wantGate)
			}
			if rows%32 != 0 {
				continue
			}
			var want Activations
			want.Quantize(nil, h, rows, tokens, rows)
			same(t, "scales", hidden.scales, want.scales)
			same(t, "weighted sums", hidden.weighted, want.weighted)
			for i, q := range want.quants {
				if hidden.quants[i] != q || hidden.eights[i/32] != want.eights[i/32] || hidden.halves[i/32] != want.halves[i/32] {
					t.Fatalf("%d rows, %d tokens: quant %d differs", rows, tokens, i)
				}
			}
		}
	}
}
