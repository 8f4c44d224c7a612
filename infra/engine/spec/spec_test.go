package spec

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

var (
	nan     = float32(math.NaN())
	inf     = float32(math.Inf(1))
	negZero = float32(math.Copysign(0, -1))
)

func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i, g := range got {
		if math.Float32bits(g) != math.Float32bits(want[i]) && !(g != g && want[i] != want[i]) {
			t.Fatalf("%s: element %d is %v (%08x), want %v (%08x)", what, i, g, math.Float32bits(g), want[i], math.Float32bits(want[i]))
		}
	}
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 3)
	}
	return x
}

// ulps is the distance of got from want in units of got's last place.
func ulps(got float32, want float64) float64 {
	unit := math.Exp2(math.Floor(math.Log2(math.Abs(want))) - 23)
	return math.Abs(float64(got)-want) / unit
}

func TestExp(t *testing.T) {
	for _, c := range []struct{ x, want float32 }{
		{0, 1}, {negZero, 1}, {nan, 0}, {-inf, 0}, {-87.00001, 0}, {-1000, 0},
		{inf, Exp(88)}, {88.5, Exp(88)}, {math.SmallestNonzeroFloat32, 1},
	} {
		if got := Exp(c.x); got != c.want {
			t.Errorf("Exp(%v) = %v, want %v", c.x, got, c.want)
		}
	}
	worst := 0.0
	for x := float32(-87); x <= 88; x += 0.00071 {
		worst = max(worst, ulps(Exp(x), math.Exp(float64(x))))
	}
	if worst > 1 {
		t.Errorf("an error of %.3f units in the last place", worst)
	}
}

func TestLog(t *testing.T) {
	for _, c := range []struct{ x, want float32 }{{1, 0}, {0, -inf}, {negZero, -inf}, {inf, inf}, {-1, nan}, {nan, nan}, {-inf, nan}} {
		same(t, "Log", []float32{Log(c.x)}, []float32{c.want})
	}
	worst := 0.0
	for bits := uint32(1); bits < 0x7f800000; bits += 12289 {
		x := math.Float32frombits(bits)
		if x > 0.9 && x < 1.1 { // close to the zero the relative error is what counts
			if e := math.Abs(float64(Log(x))/math.Log(float64(x)) - 1); x != 1 && e > 2e-7 {
				t.Errorf("Log(%v) has a relative error of %g", x, e)
			}
			continue
		}
		worst = max(worst, ulps(Log(x), math.Log(float64(x))))
	}
	if worst > 1 {
		t.Errorf("an error of %.3f units in the last place", worst)
	}
}

func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		h := uint16(h)
		f := HalfToFloat(h)
		if h&0x7c00 == 0x7c00 && h&0x3ff != 0 {
			if f == f || FloatToHalf(f) != h&0x8000|0x7e00 {
				t.Fatalf("NaN %04x became %v and %04x", h, f, FloatToHalf(f))
			}
			continue
		}
		if back := FloatToHalf(f); back != h {
			t.Fatalf("%04x became %v and then %04x", h, f, back)
		}
		if h&0x7fff >= 0x7bff {
			continue
		}
		// The midpoint to the next half goes to the even one, a hair more goes up.
		next := HalfToFloat(h + 1)
		middle := (f + next) / 2
		even := h + h&1
		if got := FloatToHalf(middle); got != even {
			t.Fatalf("the middle %v after %04x became %04x, want %04x", middle, h, got, even)
		}
		if got := FloatToHalf(math.Nextafter32(middle, next)); got != h+1 {
			t.Fatalf("just after the middle %v after %04x became %04x", middle, h, got)
		}
	}
	if got := FloatToHalf(65519.99); got != 0x7bff {
		t.Errorf("65519.99 became %04x", got)
	}
	if got := FloatToHalf(65520); got != 0x7c00 {
		t.Errorf("65520 became %04x", got)
	}
}

func TestQuantize(t *testing.T) {
	block := func(head ...float32) []float32 { return append(head, make([]float32, Block-len(head))...) }
	tiny := math.Float32frombits(smallest)
	for _, c := range []struct {
		what  string
		x     []float32
		scale float32
		q     []int8
	}{
		{"zeros", block(), 0, []int8{0}},
		{"ties go to even", block(127, 0.5, 1.5, 2.5, -0.5, -1.5), 1, []int8{127, 0, 2, 2, 0, -2}},
		{"the largest saturates at 127", block(-3, 3), 3.0 / 127, []int8{-127, 127}},
		{"below 2^-100 counts as zero", block(math.Nextafter32(tiny, 0)), 0, []int8{0}},
		{"2^-100 counts", block(tiny), tiny / 127, []int8{127}},
		{"NaN is invalid", block(1, nan), nan, []int8{0, 0}},
		{"Inf is invalid", block(1, -inf), nan, []int8{0, 0}},
		{"the largest number", block(math.MaxFloat32, -math.MaxFloat32), math.MaxFloat32 / 127, []int8{127, -127}},
	} {
		q := make([]int8, Block)
		q[31] = 99
		same(t, c.what, []float32{Quantize(q, c.x)}, []float32{c.scale})
		if !slices.Equal(q[:len(c.q)], c.q) || q[31] != 0 {
			t.Errorf("%s: quants %v, want %v", c.what, q, c.q)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	q := make([]int8, Block)
	for range 20000 {
		x := make([]float32, Block)
		for i := range x {
			x[i] = math.Float32frombits(r.Uint32N(0x7f800000) | r.Uint32()<<31)
		}
		Quantize(q, x)
		for _, v := range q {
			if v == -128 {
				t.Fatalf("a quant of -128 from %v", x)
			}
		}
	}
}

func TestSiLUAndNormEdges(t *testing.T) {
	if got := SiLU(0); got != 0 {
		t.Errorf("SiLU(0) = %v", got)
	}
	if got := SiLU(-1e30); got == 0 || got != got {
		t.Errorf("SiLU(-1e30) = %v: the exponential is clamped, not infinite", got)
	}
	for _, bad := range []float32{nan, inf, -inf} {
		if got := SiLU(bad); Finite([]float32{got}) {
			t.Errorf("SiLU(%v) = %v is finite", bad, got)
		}
	}
	x := []float32{1e30, 1, -1e30}
	RMSNorm(x, x, []float32{1, 1, 1}, 1e-6)
	same(t, "a norm that overflows", x, []float32{0, 0, negZero})
	y := []float32{3, 4}
	RMSNorm(y, y, []float32{1, 2}, 0)
	same(t, "norm", y, []float32{float32(3 * (1 / Sqrt(12.5))), float32(float32(4*(1/Sqrt(12.5))) * 2)})
}

func TestGELU(t *testing.T) {
	for x := -12.0; x <= 12; x += 0.0037 {
		v := float64(float32(x))
		want := 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		if got := float64(GELU(float32(x))); math.Abs(got-want) > 1e-6*math.Abs(want)+1e-7 {
			t.Fatalf("GELU(%v) = %v, want %v", x, got, want)
		}
	}
	if got := GELU(1e30); got != 1e30 {
		t.Errorf("GELU(1e30) = %v", got)
	}
	if got := GELU(-1e30); got > 0 || got < -1e-7 {
		t.Errorf("GELU(-1e30) = %v", got)
	}
	if got := GELU(nan); got == got {
		t.Errorf("GELU(NaN) = %v", got)
	}
}

func TestTanh(t *testing.T) {
	for _, c := range []struct{ x, want float32 }{{0, 0}, {negZero, negZero}, {inf, 1}, {-inf, -1}, {nan, nan}, {50, 1}, {-1e38, -1}} {
		same(t, "Tanh", []float32{Tanh(c.x)}, []float32{c.want})
	}
	worst := 0.0
	for x := float32(1e-6); x < 9; x *= 1.00013 {
		worst = max(worst, ulps(Tanh(x), math.Tanh(float64(x))))
		if Tanh(-x) != -Tanh(x) {
			t.Fatalf("Tanh(%v) is not odd", x)
		}
	}
	if worst > 2 {
		t.Errorf("an error of %.3f units in the last place", worst)
	}
	x := []float32{1e30, -75, 0.01, nan}
	SoftCap(x, 50)
	same(t, "cap", x, []float32{50, float32(Tanh(-1.5) * 50), float32(Tanh(float32(float32(0.01)/50)) * 50), nan})
}

func TestRoute(t *testing.T) {
	chosen, weights := make([]int, 3), make([]float32, 3)
	Route(chosen, weights, []float32{1, 3, 2, 2, 2}, true, 1)
	if !slices.Equal(chosen, []int{1, 2, 3}) {
		t.Errorf("of equals the lowest number wins: chosen are %v", chosen)
	}
	if sum := weights[0] + weights[1] + weights[2]; math.Abs(float64(sum)-1) > 1e-6 || weights[1] != weights[2] {
		t.Errorf("weights %v", weights)
	}
	all := make([]float32, 2)
	Route([]int{0, 0}, all, []float32{0, 0, 0, 0}, false, 3)
	same(t, "not normalised, scaled", all, []float32{0.75, 0.75})
	for _, bad := range []float32{nan, inf, -inf} {
		Route(chosen, weights, []float32{1, bad, 2, 3, 4}, true, 1)
		if Finite(weights[:1]) || Finite(weights[1:2]) || Finite(weights[2:]) {
			t.Errorf("%v among the logits: weights %v", bad, weights)
		}
	}
	Route(chosen, weights, []float32{nan, nan, nan}, true, 1)
	if !slices.Equal(chosen, []int{0, 1, 2}) {
		t.Errorf("chosen among NaN: %v", chosen)
	}
	y := []float32{1, 2}
	MixExpert(y, []float32{3, 4}, 0.5)
	same(t, "mix", y, []float32{2.5, 4})
}

func TestWindowHidesPositions(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	q, keys, values := normal(r, 16), normal(r, 16*20), normal(r, 16*20)
	dst, want := make([]float32, 16), make([]float32, 16)
	AttentionWindow(dst, q, keys, values, make([]float32, 20), 8, 0.25, 0)
	Attention(want, q, keys[8*16:], values[8*16:], make([]float32, 12), 0.25)
	same(t, "window at a multiple of 8", dst, want)
	for _, c := range []struct{ position, window, want int }{{5, 0, 0}, {5, 6, 0}, {5, 5, 1}, {5, 1, 5}, {0, 1, 0}} {
		if got := WindowStart(c.position, c.window); got != c.want {
			t.Errorf("at %d a window of %d starts at %d, want %d", c.position, c.window, got, c.want)
		}
	}
}

func TestYaRN(t *testing.T) {
	p := RoPE{Dim: 64, Base: 10000, YaRN: YaRN{Factor: 8, Context: 2048, BetaFast: 32, BetaSlow: 1}}
	plain, got := RoPE{Dim: 64, Base: 10000}.Frequencies(), p.Frequencies()
	turn := func(b float64) float64 { return 64 * math.Log(2048/(b*2*math.Pi)) / (2 * math.Log(10000)) }
	low, high := math.Floor(turn(32)), math.Ceil(turn(1))
	for i := range got {
		ramp := min(1, max(0, (float64(i)-low)/(high-low)))
		if want := plain[i]/8*ramp + plain[i]*(1-ramp); math.Abs(got[i]/want-1) > 1e-12 {
			t.Errorf("pair %d: %v, want %v", i, got[i], want)
		}
	}
	if got[0] != plain[0] || math.Abs(got[31]*8/plain[31]-1) > 1e-12 {
		t.Error("the fastest pair must stay and the slowest be stretched wholly")
	}
	if want := 0.1*math.Log(8) + 1; math.Abs(p.Gain()-want) > 1e-12 {
		t.Errorf("a gain of %v, want %v", p.Gain(), want)
	}
	for _, x := range []float64{0, 1.5, -1.5, 2, -3, 0.999999} {
		if floor64(x) != math.Floor(x) {
			t.Errorf("floor64(%v) = %v", x, floor64(x))
		}
	}
}

func TestSoftmaxEdges(t *testing.T) {
	x := []float32{-inf, 5, 5, negZero}
	if sum := Softmax(x); sum != float32(2+Exp(-5)) || x[0] != 0 || x[1] != 1 {
		t.Errorf("softmax %v, sum %v", x, sum)
	}
	for _, x := range [][]float32{{nan}, {inf, 1}, {-inf, -inf}} {
		if sum := Softmax(x); sum != 0 {
			t.Errorf("an invalid softmax sums to %v", sum)
		}
	}
}

// TestStepsEqualTheWhole splits every long sum at every place the rules allow.
func TestStepsEqualTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	x := normal(r, 320)
	for _, cut := range []int{0, 32, 64, 256, 288, 320} {
		q, scales := make([]int8, 320), make([]float32, 10)
		QuantizeRow(q, scales, x)
		w8, w4 := make([]byte, 10*Q8Bytes), make([]byte, 10*Q4Bytes)
		for i := range w8 {
			w8[i] = byte(r.Uint32())
		}
		for i := range w4 {
			w4[i] = byte(r.Uint32())
		}
		for b := range 10 {
			binary.LittleEndian.PutUint16(w8[b*Q8Bytes:], FloatToHalf(float32(r.NormFloat64())))
			binary.LittleEndian.PutUint16(w4[b*Q4Bytes:], FloatToHalf(float32(r.NormFloat64())))
		}
		b := cut / Block
		whole := LinearQ8Step(0, w8, q, scales)
		parts := LinearQ8Step(LinearQ8Step(0, w8[:b*Q8Bytes], q[:cut], scales[:b]), w8[b*Q8Bytes:], q[cut:], scales[b:])
		same(t, "Q8_0", []float32{parts}, []float32{whole})
		whole = LinearQ4Step(0, w4, q, scales)
		parts = LinearQ4Step(LinearQ4Step(0, w4[:b*Q4Bytes], q[:cut], scales[:b]), w4[b*Q4Bytes:], q[cut:], scales[b:])
		same(t, "Q4_0", []float32{parts}, []float32{whole})

		var one, two Lanes
		one.AddSquares(x)
		two.AddSquares(x[:cut])
		two.AddSquares(x[cut:])
		same(t, "squares", two[:], one[:])

		y, z := slices.Clone(x), slices.Clone(x)
		sum := Softmax(y)
		top := Max(Max(MaxStart(), z[cut:]), z[:cut])
		var lanes Lanes
		lanes.AddExp(z[:cut], top)
		lanes.AddExp(z[cut:], top)
		same(t, "softmax", append(z, lanes.Total()), append(y, sum))

		values, mixed, halves := normal(r, 320*8), make([]float32, 8), make([]float32, 8)
		AttentionMixStep(mixed, y, values, 8)
		AttentionMixStep(halves, y[:cut], values, 8)
		AttentionMixStep(halves, y[cut:], values[cut*8:], 8)
		same(t, "mix", halves, mixed)
		k := normal(r, 320)
		same(t, "score", []float32{AttentionScoreStep(AttentionScoreStep(0, x[:cut], k), x[cut:], k[cut:])}, []float32{AttentionScoreStep(0, x, k)})
	}
}

// TestRoPETable compares the table with the platform's own functions, which
// are accurate but not the same everywhere.
func TestRoPETable(t *testing.T) {
	for _, p := range []RoPE{
		{Dim: 64, Base: 10000}, {Dim: 128, Base: 500000}, {Dim: 64, Base: 1e6},
		{Dim: 8, Base: 10000, Scale: 0.25, Factors: []float32{1, 2, 8, 32}},
	} {
		frequencies := p.Frequencies()
		cos, sin := make([]float32, p.Dim/2), make([]float32, p.Dim/2)
		for _, position := range []int{0, 1, 2, 100, 4095, 131071, 1 << 20} {
			RoPERow(cos, sin, frequencies, position)
			for i := range cos {
				f := math.Pow(float64(p.Base), -float64(2*i)/float64(p.Dim))
				if p.Factors != nil {
					f /= float64(p.Factors[i])
				}
				if p.Scale != 0 {
					f *= float64(p.Scale)
				}
				s, c := math.Sincos(f * float64(position))
				if math.Abs(float64(cos[i])-c) > 7e-8 || math.Abs(float64(sin[i])-s) > 7e-8 {
					t.Fatalf("%+v position %d pair %d: %v %v, want %v %v", p, position, i, cos[i], sin[i], c, s)
				}
			}
		}
	}
	a, b := RoPE{Dim: 64, Base: 10000}, RoPE{Dim: 64, Base: 10001}
	if a.Hash(10) == b.Hash(10) {
		t.Error("different bases have equal hashes")
	}
}

func TestRotatePairs(t *testing.T) {
	cos, sin := []float32{0, 1}, []float32{1, 0}
	x := []float32{1, 2, 3, 4, 9}
	Rotate(x, cos, sin, RoPENorm)
	same(t, "neighbours", x, []float32{-2, 1, 3, 4, 9})
	x = []float32{1, 2, 3, 4, 9}
	Rotate(x, cos, sin, RoPENeoX)
	same(t, "halves", x, []float32{-3, 2, 1, 4, 9})
}
