package spec

import "fmt"

// Format is how a row of weights is stored, named as in GGUF.
type Format uint8

// The formats of semantics version 1.
const (
	F32 Format = iota
	F16
	Q8_0 // blocks of 32 columns: f16 scale, int8
	Q4_0 // blocks of 32 columns: f16 scale, 4 bits
	Q4_1 // blocks of 32 columns: f16 scale and minimum, 4 bits
	Q5_0 // blocks of 32 columns: f16 scale, 5 bits
	Q5_1 // blocks of 32 columns: f16 scale and minimum, 5 bits
	Q4_K // superblocks of 256 columns: 4 bits, a 6-bit scale and minimum per 32
	Q5_K // superblocks of 256 columns: 5 bits, a 6-bit scale and minimum per 32
	Q6_K // superblocks of 256 columns: 6 bits, an 8-bit scale per 16
	BF16
)

// Formats lists all of them.
func Formats() []Format {
	return []Format{F32, F16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, BF16}
}

func (f Format) String() string {
	switch f {
	case F32:
		return "F32"
	case F16:
		return "F16"
	case Q8_0:
		return "Q8_0"
	case Q4_0:
		return "Q4_0"
	case Q4_1:
		return "Q4_1"
	case Q5_0:
		return "Q5_0"
	case Q5_1:
		return "Q5_1"
	case Q4_K:
		return "Q4_K"
	case Q5_K:
		return "Q5_K"
	case Q6_K:
		return "Q6_K"
	case BF16:
		return "BF16"
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Block is how many columns form a block of the format and how many bytes it
// takes; zeros for an unknown format.
func (f Format) Block() (columns, bytes int) {
	switch f {
	case F32:
		return 1, 4
	case F16, BF16:
		return 1, 2
	case Q8_0:
		return Block, Q8Bytes
	case Q4_0:
		return Block, Q4Bytes
	case Q4_1:
		return Block, Q41Bytes
	case Q5_0:
		return Block, Q50Bytes
	case Q5_1:
		return Block, Q51Bytes
	case Q4_K:
		return Superblock, Q4KBytes
	case Q5_K:
		return Superblock, Q5KBytes
	case Q6_K:
		return Superblock, Q6KBytes
	}
	return 0, 0
}

// Quantized reports whether products use quantised activations, which needs a
// number of columns that is a multiple of 32.
func (f Format) Quantized() bool {
	columns, _ := f.Block()
	return columns >= Block
}

// RowBytes is the size of a row of cols weights, or an error where the format
// cannot hold it.
func (f Format) RowBytes(cols int) (int, error) {
	columns, bytes := f.Block()
	switch {
	case columns == 0:
		return 0, fmt.Errorf("unknown weight format %d", uint8(f))
	case cols <= 0:
		return 0, fmt.Errorf("a row of %d columns", cols)
	case cols%columns != 0:
		return 0, fmt.Errorf("%v needs a multiple of %d columns, not %d", f, columns, cols)
	}
	return cols / columns * bytes, nil
}

// Decode sets dst to a row of weights as float32: the embedding of a token. The
// format's own function says how it rounds. len(dst) is a number of columns
// that RowBytes accepts.
func (f Format) Decode(dst []float32, row []byte) {
	switch f {
	case F32:
		DecodeF32(dst, row)
	case F16:
		DecodeF16(dst, row)
	case BF16:
		DecodeBF16(dst, row)
	case Q8_0:
		DequantizeQ8(dst, row)
	case Q4_0:
		DequantizeQ4(dst, row)
	case Q4_1:
		DequantizeQ41(dst, row)
	case Q5_0:
		DequantizeQ50(dst, row)
	case Q5_1:
		DequantizeQ51(dst, row)
	case Q4_K:
		DequantizeQ4K(dst, row)
	case Q5_K:
		DequantizeQ5K(dst, row)
	case Q6_K:
		DequantizeQ6K(dst, row)
	default:
		panic("spec: " + f.String() + " cannot be decoded")
	}
}

// Input is some consecutive columns of a linear operator's input: the values,
// which F32, F16 and BF16 weights use, and their quants, which all others use.
type Input struct {
	X      []float32 // [columns]
	Q      []int8    // [columns]
	Scales []float32 // [columns/32]
}

// NewInput quantises x where its length is a multiple of 32.
func NewInput(x []float32) Input {
	in := Input{X: x}
	if len(x)%Block == 0 {
		in.Q, in.Scales = make([]int8, len(x)), make([]float32, len(x)/Block)
		QuantizeRow(in.Q, in.Scales, x)
	}
	return in
}

// Slice is columns lo to hi-1, at multiples of 32 where there are quants.
func (in Input) Slice(lo, hi int) Input {
	if in.Q == nil {
		return Input{X: in.X[lo:hi]}
	}
	return Input{in.X[lo:hi], in.Q[lo:hi], in.Scales[lo/Block : hi/Block]}
}

// LinearStep continues one output element over the columns of in with weights w
// of format f: the step function of that format. It splits at every multiple of
// the format's block.
func LinearStep(f Format, acc float32, w []byte, in Input) float32 {
	switch f {
	case F32:
		return LinearF32Step(acc, w, in.X)
	case F16:
		return LinearF16Step(acc, w, in.X)
	case BF16:
		return LinearBF16Step(acc, w, in.X)
	case Q8_0:
		return LinearQ8Step(acc, w, in.Q, in.Scales)
	case Q4_0:
		return LinearQ4Step(acc, w, in.Q, in.Scales)
	case Q4_1:
		return LinearQ41Step(acc, w, in.Q, in.Scales)
	case Q5_0:
		return LinearQ50Step(acc, w, in.Q, in.Scales)
	case Q5_1:
		return LinearQ51Step(acc, w, in.Q, in.Scales)
	case Q4_K:
		return LinearQ4KStep(acc, w, in.Q, in.Scales)
	case Q5_K:
		return LinearQ5KStep(acc, w, in.Q, in.Scales)
	case Q6_K:
		return LinearQ6KStep(acc, w, in.Q, in.Scales)
	}
	panic("spec: no product with " + f.String())
}
