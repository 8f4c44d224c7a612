package kernel

import (
	"fmt"
	"runtime"
	"sync"
)

// PackVersion is the version of the packed layout that [Matrix.Packed] exposes.
// It changes with the layout of any format.
const PackVersion = 1

// PackedBytes is the memory that a packed matrix takes.
func PackedBytes(f Format, rows, cols int) (int, error) {
	m, err := shaped(f, rows, cols)
	if err != nil {
		return 0, err
	}
	return m.Bytes(), nil
}

// NewEmpty returns a matrix that has no weights before Fill. It takes no memory
// until then, and may not be used.
func NewEmpty(f Format, rows, cols int) (*Matrix, error) { return shaped(f, rows, cols) }

// Fill gives an empty matrix its weights: fill writes all m.Bytes() packed bytes
// that Packed has returned elsewhere. It must have returned before the first use.
func (m *Matrix) Fill(fill func(packed []byte) error) error {
	m.allocate()
	return fill(m.packed)
}

// Packed returns the packed weights. They are not to be changed, and depend on
// the byte order of the machine.
func (m *Matrix) Packed() []byte { return m.packed }

func (m *Matrix) allocate() {
	if m.packed != nil {
		return
	}
	m.packed = m.memory.allocate(m.Bytes())
	m.bind(m.packed)
	if m.memory.region != nil {
		runtime.AddCleanup(m, unmap, m.memory.region)
	}
}

// packRows packs whole rows of GGUF layout from row first on.
func (m *Matrix) packRows(first int, data []byte) error {
	rowBytes, err := m.Format.RowBytes(m.Cols)
	if err != nil {
		return err
	}
	for r := first; len(data) > 0; r++ {
		if !m.packRow(r, data[:rowBytes]) {
			return fmt.Errorf("row %d holds a weight that is not finite", r)
		}
		data = data[rowBytes:]
	}
	return nil
}

// bandBytes is how much of a tensor Pack asks for at a time.
const bandBytes = 1 << 20

// Pack gives an empty matrix its weights from GGUF rows, on the pool: rows(buf,
// first, n) returns the bytes of n rows from first on, in buf or elsewhere. It
// refuses weights that are not finite.
func (m *Matrix) Pack(p *Pool, rows func(buf []byte, first, n int) ([]byte, error)) error {
	rowBytes, err := m.Format.RowBytes(m.Cols)
	if err != nil {
		return err
	}
	m.allocate()
	band := max(panelRows, bandBytes/rowBytes/panelRows*panelRows)
	bands := (m.Rows + band - 1) / band
	errs := make([]error, bands)
	p.Run(bands, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			first := i * band
			buf := bandBuffers.Get().(*[]byte)
			n := min(band, m.Rows-first)
			*buf = sized(*buf, n*rowBytes)
			data, err := rows(*buf, first, n)
			if err == nil {
				err = m.packRows(first, data)
			}
			errs[i] = err
			bandBuffers.Put(buf)
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var bandBuffers = sync.Pool{New: func() any { return new([]byte) }}
