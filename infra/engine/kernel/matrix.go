package kernel

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Format is how a matrix stores its weights, named as in GGUF.
type Format = spec.Format

// The formats of semantics version 1.
const (
	F32  = spec.F32
	F16  = spec.F16
	BF16 = spec.BF16
	Q8_0 = spec.Q8_0
	Q4_0 = spec.Q4_0
	Q4_1 = spec.Q4_1
	Q5_0 = spec.Q5_0
	Q5_1 = spec.Q5_1
	Q4_K = spec.Q4_K
	Q5_K = spec.Q5_K
	Q6_K = spec.Q6_K
)

// panelRows is the number of rows packed side by side: a SIMD lane is a row.
const panelRows = 8

// Matrix is a weight matrix of Rows outputs by Cols inputs, packed in panels of
// 8 rows; pack.go describes the layout. It is immutable and safe for concurrent
// use.
type Matrix struct {
	Rows, Cols int
	Format     Format

	layout layout
	panels int
	blocks int // 32-column blocks per row, quantised formats

	// The sections of the packed weights; pack.go says which a format has.
	floats []float32
	halves []uint16
	quants []int8
	fine   []uint8
	scales []uint16

	packed []byte // all of them
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
		return nil, fmt.Errorf("a %v matrix of %d x %d takes %d bytes, not %d", f, rows, cols, rows*rowBytes, len(data))
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
	m := &Matrix{Rows: rows, Cols: cols, Format: f, layout: layoutOf(f), panels: (rows + panelRows - 1) / panelRows}
	if f.Quantized() {
		m.blocks = cols / spec.Block
	}
	return m, nil
}

// Bytes is the memory the packed weights take.
func (m *Matrix) Bytes() int { return m.panels * m.layout.panelBytes(m.Cols) }

// panel is panel p as a matrix of its own, with all 8 rows.
func (m *Matrix) panel(p int) *Matrix {
	one := *m
	one.Rows, one.panels = panelRows, 1
	one.floats = section(m.floats, m.panels, p)
	one.halves = section(m.halves, m.panels, p)
	one.quants = section(m.quants, m.panels, p)
	one.fine = section(m.fine, m.panels, p)
	one.scales = section(m.scales, m.panels, p)
	return &one
}

// section is the part of a packed section that belongs to panel p.
func section[T any](s []T, panels, p int) []T {
	size := len(s) / panels
	return s[p*size : (p+1)*size]
}
