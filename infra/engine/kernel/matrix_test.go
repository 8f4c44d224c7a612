package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

func TestRowEqualsSpec(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	const rows, cols = 11, 768
	for _, f := range formats {
		data := weightBytes(r, f, rows, cols)
		w, err := NewMatrix(f, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		got, want := make([]float32, cols), make([]float32, cols)
		for row := range rows {
			w.Row(got, row)
			f.Decode(want, data[row*len(data)/rows:])
			same(t, fmt.Sprintf("%v row %d", f, row), got, want)
		}
	}
}

func TestNewMatrixRefuses(t *testing.T) {
	scale := func(h uint16, size, at int) []byte {
		data := make([]byte, size)
		binary.LittleEndian.PutUint16(data[at:], h)
		return data
	}
	float := func(f float64) []byte {
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f)))
	}
	for _, c := range []struct {
		what       string
		format     Format
		rows, cols int
		data       []byte
	}{
		{"columns that are no multiple of 32", Q8_0, 1, 33, make([]byte, 36)},
		{"no columns", Q4_0, 1, 0, nil},
		{"no rows", F32, 0, 4, nil},
		{"negative rows", F32, -1, 4, nil},
		{"missing bytes", F16, 2, 4, make([]byte, 15)},
		{"bytes too many", Q4_0, 1, 32, make([]byte, 19)},
		{"an unknown format", Format(99), 1, 32, make([]byte, 128)},
		{"columns that are no multiple of 256", Q4_K, 1, 288, make([]byte, 162)},
		{"an infinite scale", Q8_0, 1, 32, scale(0x7c00, 34, 0)},
		{"a NaN scale", Q4_0, 1, 32, scale(0xfe01, 18, 0)},
		{"an infinite minimum", Q4_1, 1, 32, scale(0x7c00, 20, 2)},
		{"a NaN minimum", Q5_1, 1, 32, scale(0x7e00, 24, 2)},
		{"an infinite scale", Q5_0, 1, 32, scale(0x7c00, 22, 0)},
		{"an infinite minimum", Q4_K, 1, 256, scale(0xfc00, 144, 2)},
		{"a NaN scale", Q5_K, 1, 256, scale(0x7c01, 176, 0)},
		{"a NaN scale", Q6_K, 1, 256, scale(0x7c01, 210, 208)},
		{"an infinite bfloat16", BF16, 1, 1, scale(0xff80, 2, 0)},
		{"an infinite half", F16, 1, 1, scale(0xfc00, 2, 0)},
		{"a NaN", F32, 1, 1, float(math.NaN())},
		{"an Inf", F32, 1, 1, float(math.Inf(-1))},
	} {
		if _, err := NewMatrix(c.format, c.rows, c.cols, c.data); err == nil {
			t.Errorf("%s: no error", c.what)
		}
	}
}

func TestLargeMatrixLives(t *testing.T) {
	const rows, cols = 8192, 512 // large enough for memory of its own
	data := make([]byte, rows*cols/32*spec.Q8Bytes)
	for i := 0; i < len(data); i += spec.Q8Bytes {
		binary.LittleEndian.PutUint16(data[i:], 0x3c00)
		data[i+2] = byte(i / spec.Q8Bytes % 100)
	}
	w, err := NewMatrix(Q8_0, rows, cols, data)
	if err != nil {
		t.Fatal(err)
	}
	if want := rows * cols / 32 * spec.Q8Bytes; w.Bytes() != want {
		t.Errorf("takes %d bytes, want %d", w.Bytes(), want)
	}
	row := make([]float32, cols)
	w.Row(row, rows-1)
	if want := float32(((rows-1)*cols/32 + 3) % 100); row[96] != want {
		t.Errorf("the last row holds %v, want %v", row[96], want)
	}
}

// FuzzNewMatrix packs whatever it is given and compares one product with the
// specification.
func FuzzNewMatrix(f *testing.F) {
	r := rand.New(rand.NewPCG(21, 22))
	for _, format := range formats {
		f.Add(uint8(format), 3, 256, weightBytes(r, format, 3, 256))
	}
	f.Fuzz(func(t *testing.T, format uint8, rows, cols int, data []byte) {
		w, err := NewMatrix(Format(format), rows, cols, data)
		if err != nil {
			return
		}
		x := make([]float32, cols)
		for i := range x {
			x[i] = float32(i%7) - 3
		}
		var a Activations
		a.Quantize(nil, x, cols, 1, cols)
		out := make([]float32, rows)
		Linear(nil, out, rows, w, &a)
		same(t, "product", out, linearSpec(Format(format), rows, cols, data, x))
	})
}
