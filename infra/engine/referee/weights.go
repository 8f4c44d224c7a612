package referee

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// judgedFormat reports whether steps with weights of a type are executed.
func judgedFormat(t gguf.Type) bool {
	switch t {
	case gguf.F32, gguf.F16, gguf.Q8_0, gguf.Q4_0:
		return true
	}
	return false
}

// Decode sets dst to a row's columns as numbers.
func (w Matrix) Decode(dst []float32, row []byte) {
	switch w.Format {
	case gguf.F32:
		spec.DecodeF32(dst, row)
	case gguf.F16:
		spec.DecodeF16(dst, row)
	case gguf.Q8_0:
		spec.DequantizeQ8(dst, row)
	case gguf.Q4_0:
		spec.DequantizeQ4(dst, row)
	default:
		panic(fmt.Sprintf("referee: weights of type %v", w.Format))
	}
}

// Accumulate continues each row's sum over the columns x, of which there are at
// most 256.
func (w Matrix) Accumulate(sums []float32, rows [][]byte, x []float32) {
	var q []int8
	var scales []float32
	if w.Format == gguf.Q8_0 || w.Format == gguf.Q4_0 {
		q, scales = make([]int8, len(x)), make([]float32, len(x)/spec.Block)
		spec.QuantizeRow(q, scales, x)
	}
	for i, row := range rows {
		switch w.Format {
		case gguf.F32:
			sums[i] = spec.LinearF32Step(sums[i], row, x)
		case gguf.F16:
			sums[i] = spec.LinearF16Step(sums[i], row, x)
		case gguf.Q8_0:
			sums[i] = spec.LinearQ8Step(sums[i], row, q, scales)
		case gguf.Q4_0:
			sums[i] = spec.LinearQ4Step(sums[i], row, q, scales)
		default:
			panic(fmt.Sprintf("referee: weights of type %v", w.Format))
		}
	}
}
