package kernel

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// panelBlock is the size of one block of one panel in bytes of quants.
func (m *Matrix) panelBlock() int {
	if m.Format == Q4_0 {
		return panelRows * spec.Block / 2
	}
	return panelRows * spec.Block
}

// bind makes region, of m.Bytes() bytes, the packed weights.
func (m *Matrix) bind(region []byte) {
	padded := m.panels * panelRows
	switch m.Format {
	case F32:
		m.floats = carve[float32](region, padded*m.Cols)
	case F16:
		m.halves = carve[uint16](region, padded*m.Cols)
	default:
		size := m.panels * m.blocks * m.panelBlock()
		m.quants = carve[int8](region, size)
		m.scales = carve[uint16](region[size:], padded*m.blocks)
	}
}

// packRow stores row r, and reports whether it was finite.
func (m *Matrix) packRow(r int, row []byte) bool {
	panel, lane := r/panelRows, r%panelRows
	at := panel*m.Cols*panelRows + lane
	finite := true
	switch m.Format {
	case F32:
		for c := range m.Cols {
			bits := binary.LittleEndian.Uint32(row[4*c:])
			finite = finite && bits&0x7f800000 != 0x7f800000
			m.floats[at+c*panelRows] = math.Float32frombits(bits)
		}
	case F16:
		for c := range m.Cols {
			h := binary.LittleEndian.Uint16(row[2*c:])
			finite = finite && h&0x7c00 != 0x7c00
			m.halves[at+c*panelRows] = h
		}
	case Q8_0:
		for b := range m.blocks {
			block := row[b*spec.Q8Bytes : (b+1)*spec.Q8Bytes]
			finite = m.packScale(panel, b, lane, block) && finite
			spread(m.quants[(panel*m.blocks+b)*256+4*lane:], block[2:])
		}
	case Q4_0:
		for b := range m.blocks {
			block := row[b*spec.Q4Bytes : (b+1)*spec.Q4Bytes]
			finite = m.packScale(panel, b, lane, block) && finite
			spread(m.quants[(panel*m.blocks+b)*128+4*lane:], block[2:])
		}
	}
	return finite
}

// spread copies src four bytes at a time, to every 32nd byte of dst.
func spread(dst []int8, src []byte) {
	to := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst))
	for len(src) >= 4 {
		copy(to[:4], src[:4])
		src = src[4:]
		if len(src) > 0 {
			to = to[32:]
		}
	}
}

func (m *Matrix) packScale(panel, block, lane int, data []byte) bool {
	h := binary.LittleEndian.Uint16(data)
	m.scales[(panel*m.blocks+block)*panelRows+lane] = h
	return h&0x7c00 != 0x7c00
}

// Row sets dst to row r as float32: the embedding of token r. len(dst) is Cols.
func (m *Matrix) Row(dst []float32, r int) {
	panel, lane := r/panelRows, r%panelRows
	at := panel*m.Cols*panelRows + lane
	dst = dst[:m.Cols]
	switch m.Format {
	case F32:
		for c := range dst {
			dst[c] = m.floats[at+c*panelRows]
		}
	case F16:
		for c := range dst {
			dst[c] = spec.HalfToFloat(m.halves[at+c*panelRows])
		}
	case Q8_0:
		for b := range m.blocks {
			scale := m.scale(panel, b, lane)
			src := m.quants[(panel*m.blocks+b)*256+4*lane:]
			for c := range spec.Block {
				dst[b*spec.Block+c] = float32(scale * float32(src[c/4*32+c%4]))
			}
		}
	case Q4_0:
		for b := range m.blocks {
			scale := m.scale(panel, b, lane)
			src := m.quants[(panel*m.blocks+b)*128+4*lane:]
			for c := range spec.Block / 2 {
				v := uint8(src[c/4*32+c%4])
				dst[b*spec.Block+c] = float32(scale * float32(int32(v&15)-8))
				dst[b*spec.Block+16+c] = float32(scale * float32(int32(v>>4)-8))
			}
		}
	}
}

func (m *Matrix) scale(panel, block, lane int) float32 {
	return spec.HalfToFloat(m.scales[(panel*m.blocks+block)*panelRows+lane])
}
