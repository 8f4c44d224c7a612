package spec

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// randomRow returns n columns in a format, with ordinary and extreme scales.
func randomRow(r *rand.Rand, f Format, n int) []byte {
	columns, size := f.Block()
	w := make([]byte, n/columns*size)
	for i := range w {
		w[i] = byte(r.Uint32())
	}
	half := func(b []byte) {
		h := FloatToHalf(float32(r.NormFloat64()))
		if r.IntN(10) == 0 {
			h = uint16(r.Uint32()) & 0x83ff // subnormal
		}
		binary.LittleEndian.PutUint16(b, h)
	}
	for b := 0; b < len(w); b += size {
		switch f {
		case F32:
			binary.LittleEndian.PutUint32(w[b:], math.Float32bits(float32(r.NormFloat64())))
		case BF16:
			binary.LittleEndian.PutUint16(w[b:], FloatToBrain(float32(r.NormFloat64())))
		case Q6_K:
			half(w[b+size-2:])
		case Q4_1, Q5_1, Q4_K, Q5_K:
			half(w[b+2:])
			half(w[b:])
		default:
			half(w[b:])
		}
	}
	return w
}

// TestProductsOfDecodedRows holds every product to the sum over decoded weights
// and decoded activations: quantising the activations, 32 at a time, is all
// that a product loses beyond float32's own rounding.
func TestProductsOfDecodedRows(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	const n = 1024
	for _, f := range Formats() {
		for range 50 {
			w, in := randomRow(r, f, n), NewInput(normal(r, n))
			weights := make([]float32, n)
			f.Decode(weights, w)
			want, size := 0.0, 0.0
			for c, v := range weights {
				x := float64(in.X[c])
				if f.Quantized() {
					x = float64(in.Scales[c/Block]) * float64(in.Q[c])
				}
				want += float64(v) * x
				size += math.Abs(float64(v) * x)
			}
			// Minima are subtracted from larger numbers: compare with the parts.
			if f == Q4_1 || f == Q5_1 || f == Q4_K || f == Q5_K {
				size *= 8
			}
			if got := float64(LinearStep(f, 0, w, in)); math.Abs(got-want) > size*2e-6 {
				t.Fatalf("%v: %v, want %v", f, got, want)
			}
		}
	}
}

// TestStepsOfFormats cuts products at every multiple of 256.
func TestStepsOfFormats(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	const n = 1024
	for _, f := range Formats() {
		w, in := randomRow(r, f, n), NewInput(normal(r, n))
		whole := LinearStep(f, 0, w, in)
		for cut := 0; cut <= n; cut += Superblock {
			at, _ := f.RowBytes(max(cut, 1) / Superblock * Superblock)
			acc := LinearStep(f, 0, w[:at], in.Slice(0, cut))
			same(t, f.String(), []float32{LinearStep(f, acc, w[at:], in.Slice(cut, n))}, []float32{whole})
		}
	}
}

// TestIntegersStayExact puts the largest quants and scales together: a block's
// integer must stay below 2^24, from where float32 is not exact any more.
func TestIntegersStayExact(t *testing.T) {
	x := make([]float32, Superblock)
	for i := range x {
		x[i] = -127
	}
	in := NewInput(x)
	fill := func(f Format, change func(w []byte)) []byte {
		_, size := f.Block()
		w := make([]byte, size)
		for i := range w {
			w[i] = 0xff
		}
		change(w)
		return w
	}
	half := func(w []byte, f float32) { binary.LittleEndian.PutUint16(w, FloatToHalf(f)) }
	for _, c := range []struct {
		f    Format
		w    []byte
		want float32
	}{
		{Q4_K, fill(Q4_K, func(w []byte) { half(w, 1); half(w[2:], 0) }), -63 * 15 * 127 * 256},
		{Q5_K, fill(Q5_K, func(w []byte) { half(w, 1); half(w[2:], 0) }), -63 * 31 * 127 * 256},
		{Q5_K, fill(Q5_K, func(w []byte) { half(w, 0); half(w[2:], 1) }), 63 * 127 * 256},
		{Q6_K, fill(Q6_K, func(w []byte) {
			clear(w[:192]) // every quant is -32
			for i := range 16 {
				w[192+i] = 0x80
			}
			half(w[208:], 1)
		}), -32 * 128 * 127 * 256},
	} {
		if got := LinearStep(c.f, 0, c.w, in); got != c.want {
			t.Errorf("%v: %v, want %v", c.f, got, c.want)
		}
	}
	if most := 32 * 128 * 32 * 127; most >= 1<<24 {
		t.Errorf("a block of Q6_K reaches %d", most)
	}
}

// TestScalesPer32 compares the error that activations suffer with a scale per 32
// values to that with one for a whole superblock, where one channel in 256 is an
// outlier, as in the residual stream of real models.
func TestScalesPer32(t *testing.T) {
	r := rand.New(rand.NewPCG(35, 36))
	var fine, coarse float64
	for range 200 {
		x := normal(r, Superblock)
		x[r.IntN(Superblock)] *= 30
		in := NewInput(x)
		top := float32(0)
		for _, v := range x {
			top = max(top, max(v, -v))
		}
		for i, v := range x {
			e := float64(v) - float64(in.Scales[i/Block])*float64(in.Q[i])
			fine += e * e
			scale := float64(top) / 127
			e = float64(v) - scale*math.RoundToEven(float64(v)/scale)
			coarse += e * e
		}
	}
	ratio := math.Sqrt(coarse / fine)
	t.Logf("one scale per 256 has %.2f times the error", ratio)
	if ratio < 2 {
		t.Errorf("one scale per 256 has only %.2f times the error", ratio)
	}
}

func TestBrain(t *testing.T) {
	for b := range 1 << 16 {
		b := uint16(b)
		f := BrainToFloat(b)
		if f != f {
			if got := FloatToBrain(f); got != b&0x8000|0x7fc0 {
				t.Fatalf("NaN %04x became %04x", b, got)
			}
			continue
		}
		if got := FloatToBrain(f); got != b {
			t.Fatalf("%04x became %v and then %04x", b, f, got)
		}
		if b&0x7f80 == 0x7f80 {
			continue
		}
		middle := math.Float32frombits(math.Float32bits(f) + 0x8000)
		if got := FloatToBrain(middle); got != b+b&1 {
			t.Fatalf("the middle after %04x became %04x", b, got)
		}
	}
}

// FuzzRows decodes hostile rows and multiplies by them: no panic, and a step
// form that agrees with the whole.
func FuzzRows(f *testing.F) {
	r := rand.New(rand.NewPCG(37, 38))
	for _, format := range Formats() {
		f.Add(uint8(format), randomRow(r, format, 512))
	}
	f.Fuzz(func(t *testing.T, kind uint8, row []byte) {
		format := Format(kind)
		columns, size := format.Block()
		if columns == 0 || len(row) < size {
			return
		}
		blocks := min(len(row)/size, 2048/columns)
		n := blocks * columns
		row = row[:blocks*size]
		dst := make([]float32, n)
		format.Decode(dst, row)
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(i%13) - 6
		}
		in := Input{X: x}
		if format.Quantized() {
			in = NewInput(x)
		}
		cut := blocks / 2
		acc := LinearStep(format, 0, row[:cut*size], in.Slice(0, cut*columns))
		parts := LinearStep(format, acc, row[cut*size:], in.Slice(cut*columns, n))
		same(t, format.String(), []float32{parts}, []float32{LinearStep(format, 0, row, in)})
	})
}
