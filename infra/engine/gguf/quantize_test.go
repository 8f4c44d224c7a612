package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

var update = flag.Bool("update", false, "write the test vectors")

const vectorFile = "../../../spec/vectors/quantisation.json"

// usable lists the types by name, as the vectors do.
var usable = []Type{F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K}

func TestQuantisation(t *testing.T) {
	x := make([]float32, 32)
	for i := range x {
		x[i] = float32(i) - 16
	}
	q8, err := Quantize(Q8_0, x)
	if err != nil {
		t.Fatal(err)
	}
	// d = 16/127; q = RNE(x*127/16): -127 for -16, 8 for 1 (7.9375).
	if got := spec.HalfToFloat(binary.LittleEndian.Uint16(q8)); got != spec.HalfToFloat(spec.FloatToHalf(16.0/127)) || int8(q8[2]) != -127 || int8(q8[2+17]) != 8 {
		t.Errorf("Q8_0: d %v, q %v", got, q8[2:])
	}
	q4, err := Quantize(Q4_0, x)
	if err != nil {
		t.Fatal(err)
	}
	// d = -16/-8 = 2: -16 is 0, 0 is 8, 15 would be 15.5+ and is clamped to 15.
	if q4[2] != 0|8<<4 || q4[17] != byte(int(-0.5+8.5))|15<<4 {
		t.Errorf("Q4_0: %x", q4)
	}
	// -16..15 are exactly the values of Q5_0 with d = 1, and of Q5_1 with m = -16.
	for _, kind := range []Type{Q5_0, Q5_1} {
		row, err := Quantize(kind, x)
		if err != nil {
			t.Fatal(err)
		}
		back := make([]float32, 32)
		Dequantize(kind, row, back)
		for i, v := range back {
			if v != x[i] {
				t.Errorf("%v: %v became %v", kind, x[i], v)
			}
		}
	}
	zero, err := Quantize(Q4_0, append(make([]float32, 31), math.SmallestNonzeroFloat32))
	if err != nil {
		t.Error(err)
	}
	back := make([]float32, 32)
	if Dequantize(Q4_0, zero, back); back[31] != 0 {
		t.Error(back)
	}
}

// TestQuantiserRefuses feeds each type what it cannot hold.
func TestQuantiserRefuses(t *testing.T) {
	for _, kind := range usable {
		block, _ := kind.Block()
		bad := func(v float32) []float32 { return append(make([]float32, block-1), v) }
		for _, v := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			if _, err := Quantize(kind, bad(v)); err == nil {
				t.Errorf("%v takes %v", kind, v)
			}
		}
		if _, err := Quantize(kind, bad(-math.MaxFloat32)); err == nil && kind != F32 {
			t.Errorf("%v takes %v", kind, -math.MaxFloat32)
		}
		if block > 1 {
			if _, err := Quantize(kind, make([]float32, block+1)); err == nil {
				t.Errorf("%v takes part of a block", kind)
			}
		}
	}
	if _, err := Quantize(10, make([]float32, 256)); err == nil {
		t.Error("Q2_K is written")
	}
}

// TestQuantisationError quantises normal weights: more bits mean less error, and
// the search of the K-quants pays.
func TestQuantisationError(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 64*256)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	// Relative errors (root mean square) in per cent that must not be exceeded.
	for kind, limit := range map[Type]float64{F32: 0, F16: 0.03, BF16: 0.2, Q8_0: 0.6, Q4_0: 9.5, Q4_1: 8, Q5_0: 4.7, Q5_1: 3.9, Q4_K: 7.3, Q5_K: 3.7, Q6_K: 1.9} {
		b, err := Quantize(kind, x)
		if err != nil {
			t.Fatal(err)
		}
		back := make([]float32, len(x))
		Dequantize(kind, b, back)
		var e, s float64
		for i, v := range back {
			e += float64(v-x[i]) * float64(v-x[i])
			s += float64(x[i]) * float64(x[i])
		}
		got := 100 * math.Sqrt(e/s)
		t.Logf("%v: %.3f %%", kind, got)
		if got > limit {
			t.Errorf("%v: an error of %.3f %%, want at most %v %%", kind, got, limit)
		}
	}
}

func TestQuantisationEdges(t *testing.T) {
	for name, value := range map[string]func(i int) float32{
		"zeros":         func(int) float32 { return 0 },
		"negative zero": func(int) float32 { return float32(math.Copysign(0, -1)) },
		"all the same":  func(int) float32 { return -2.5 },
		"positive":      func(i int) float32 { return 3 + float32(i%5) },
		"negative":      func(i int) float32 { return -3 - float32(i%5) },
		"subnormal":     func(i int) float32 { return float32(i%7) * math.SmallestNonzeroFloat32 },
		"one value":     func(i int) float32 { return float32(i / 255 * 100) },
	} {
		for _, kind := range usable {
			x := make([]float32, 256)
			for i := range x {
				x[i] = value(i)
			}
			b, err := Quantize(kind, x)
			if err != nil {
				t.Errorf("%v, %s: %v", kind, name, err)
				continue
			}
			back := make([]float32, 256)
			Dequantize(kind, b, back)
			top := abs(extreme(x))
			for i, v := range back {
				if abs(v-x[i]) > top/7+1e-7 {
					t.Errorf("%v, %s: %v became %v", kind, name, x[i], v)
					break
				}
			}
		}
	}
}

// quantisation is the published file.
type quantisation struct {
	About string `json:"about"`
	// SHA-256 of the encoded bytes by type.
	Digests map[string]string `json:"digests"`
}

// TestQuantisationVectors holds this machine to the published bytes.
func TestQuantisationVectors(t *testing.T) {
	state := uint64(100)
	x := make([]float32, 16*256)
	for i := range x {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		x[i] = float32(float32(int32(z>>40)-1<<23) * (1.0 / (1 << 21)))
	}
	got := quantisation{
		About:   "4096 numbers of the stream with seed 100 that spec/numerics.md defines, encoded in each type; SHA-256 of the bytes. spec/model.md defines them.",
		Digests: map[string]string{},
	}
	for _, kind := range usable {
		b, err := Quantize(kind, x)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		got.Digests[kind.String()] = hex.EncodeToString(sum[:])
	}
	b, err := json.MarshalIndent(got, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.WriteFile(vectorFile, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("got %s", b)
	}
}

// FuzzQuantize encodes whatever it is given: no panic, the same bytes again,
// and finite values back.
func FuzzQuantize(f *testing.F) {
	for _, kind := range usable {
		f.Add(uint32(kind), []byte{0, 0, 0x80, 0x3f, 1, 0, 0, 0, 0xff, 0xff, 0x7f, 0x7f})
	}
	f.Fuzz(func(t *testing.T, kind uint32, data []byte) {
		x := make([]float32, 256)
		for i := range x {
			if len(data) >= 4 {
				x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[i*4%(len(data)/4*4):]))
			}
		}
		b, err := Quantize(Type(kind), x)
		if err != nil {
			return
		}
		again, err := Quantize(Type(kind), x)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatal("other bytes the second time")
		}
		Dequantize(Type(kind), b, x)
		if !spec.Finite(x) {
			t.Fatalf("%v decodes to a value that is not finite", Type(kind))
		}
	})
}
