package kernel

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Format is how a matrix stores its weights, named as in GGUF.
type Format uint8

// The formats of semantics version 1.
const (
	F32 Format = iota
	F16
	Q8_0 // blocks of 32 columns: f16 scale, int8
	Q4_0 // blocks of 32 columns: f16 scale, 4 bits
)

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
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Quantized reports whether products use quantised activations (LIN32), which
// needs a number of columns that is a multiple of 32.
func (f Format) Quantized() bool { return f == Q8_0 || f == Q4_0 }

// RowBytes is the size of one row in GGUF layout, or an error where the format
// cannot hold a row of that many columns.
func (f Format) RowBytes(cols int) (int, error) {
	if cols <= 0 {
		return 0, fmt.Errorf("a matrix of %d columns", cols)
	}
	if f.Quantized() && cols%spec.Block != 0 {
		return 0, fmt.Errorf("%s needs a multiple of %d columns, not %d", f, spec.Block, cols)
	}
	switch f {
	case F32:
		return 4 * cols, nil
	case F16:
		return 2 * cols, nil
	case Q8_0:
		return cols / spec.Block * spec.Q8Bytes, nil
	case Q4_0:
		return cols / spec.Block * spec.Q4Bytes, nil
	}
	return 0, fmt.Errorf("unknown weight format %d", uint8(f))
}

// panelRows is the number of rows packed side by side: a SIMD lane is a row.
const panelRows = 8

// Matrix is a weight matrix of Rows outputs by Cols inputs, packed in panels of
// 8 rows. It is immutable and safe for concurrent use.
type Matrix struct {
	Rows, Cols int
	Format     Format

	panels int
	blocks int // 32-column blocks per row, quantised formats

	// The weights, one of:
	quants []int8    // Q8_0 [panel][block][8][8 rows][4]; Q4_0 [panel][block][4][8 rows][4], low nibbles columns 0..15
	halves []uint16  // F16 [panel][column][8 rows]
	floats []float32 // F32 [panel][column][8 rows]

	scales []uint16 // quantised formats [panel][block][8 rows], f16
	packed []byte   // all of them
	memory memory
}

// NewMatrix packs rows*cols weights given in GGUF layout, row by row. It copies
// data, and refuses weights that are not finite.
func NewMatrix(f Format, rows, cols int, data []byte) (*Matrix, error) {
	m, err := shaped(f, rows, cols)
	if err != nil {
		return nil, err
	}
	rowBytes, _ := f.RowBytes(cols)
	if len(data)/rowBytes < rows || len(data) != rows*rowBytes {
		return nil, fmt.Errorf("a %s matrix of %d x %d takes %d bytes, not %d", f, rows, cols, rows*rowBytes, len(data))
	}
	m.allocate()
	return m, m.packRows(0, data)
}

// shaped is a matrix without weights.
func shaped(f Format, rows, cols int) (*Matrix, error) {
	if _, err := f.RowBytes(cols); err != nil {
		return nil, err
	}
	if rows <= 0 || rows > 1<<28 || cols > 1<<24 {
		return nil, fmt.Errorf("a matrix of %d x %d", rows, cols)
	}
	m := &Matrix{Rows: rows, Cols: cols, Format: f, panels: (rows + panelRows - 1) / panelRows}
	if f.Quantized() {
		m.blocks = cols / spec.Block
	}
	return m, nil
}

// Bytes is the memory the packed weights take.
func (m *Matrix) Bytes() int {
	padded := m.panels * panelRows
	switch m.Format {
	case F32:
		return 4 * padded * m.Cols
	case F16:
		return 2 * padded * m.Cols
	}
	return m.panels*m.blocks*m.panelBlock() + 2*padded*m.blocks
}
