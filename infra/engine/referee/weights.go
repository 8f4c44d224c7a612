package referee

import (
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Decode sets dst to a row's columns as numbers.
func (w Matrix) Decode(dst []float32, row []byte) { w.spec.Decode(dst, row) }

// Accumulate continues each row's sum over the columns x, of which there are at
// most 256.
func (w Matrix) Accumulate(sums []float32, rows [][]byte, x []float32) {
	in := spec.NewInput(x)
	for i, row := range rows {
		sums[i] = spec.LinearStep(w.spec, sums[i], row, in)
	}
}
