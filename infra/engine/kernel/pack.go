package kernel

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// A packed matrix is one region of memory with up to three sections, each
// [panel][...], so that a product reads every section from its begin to its
// end. Rows that fill up the last panel are zeros.
//
// F32, F16, BF16 have one section, floats or halves: [column][8 rows].
//
// The others have a section quants, [block of 32 columns][record]. Records are
// made of vectors of 32 bytes, [8 rows][4 columns]; group g is columns 4g to
// 4g+3 of the block:
//
//	Q8_0                8 vectors: group g as int8
//	all others          4 vectors of nibbles: lower half group g, upper half group g+4
//	then Q5_0 Q5_1 Q5_K 1 vector: bit g is the fifth bit of group g
//	or Q6_K             2 vectors: vector h has the upper two bits of groups
//	                    2h, 2h+1, 2h+4, 2h+5, in its bits 0-1, 2-3, 4-5, 6-7
//
// Values are those of the file, without the offset (8, 16, 32) of Q4_0, Q5_0
// and Q6_K.
//
// K-quants then have a section fine, 128 bytes for each superblock:
//
//	Q4_K Q5_K           [8 blocks][8 rows] scales, then [8 blocks][8 rows] minima
//	Q6_K                [8 blocks][2][8 rows] int8: scales of columns 0-15 and 16-31
//
// Last comes scales, binary16: [block or superblock][8 rows]; with minima
// (Q4_1, Q5_1, Q4_K, Q5_K) [block or superblock][2][8 rows], the scales first.

// layout is how large the packed parts of a format are.
type layout struct {
	element int // bytes of a weight that is not quantised, or 0
	record  int // quants of a panel's 32 columns
	fine    int // small scales of a panel's superblock
	columns int // of a block with scales of its own
	scales  int // binary16 numbers per row of such a block
}

func layoutOf(f Format) layout {
	switch f {
	case F32:
		return layout{element: 4}
	case F16, BF16:
		return layout{element: 2}
	case Q8_0:
		return layout{record: 256, columns: spec.Block, scales: 1}
	case Q4_0:
		return layout{record: 128, columns: spec.Block, scales: 1}
	case Q4_1:
		return layout{record: 128, columns: spec.Block, scales: 2}
	case Q5_0:
		return layout{record: 160, columns: spec.Block, scales: 1}
	case Q5_1:
		return layout{record: 160, columns: spec.Block, scales: 2}
	case Q4_K:
		return layout{record: 128, fine: 128, columns: spec.Superblock, scales: 2}
	case Q5_K:
		return layout{record: 160, fine: 128, columns: spec.Superblock, scales: 2}
	case Q6_K:
		return layout{record: 192, fine: 128, columns: spec.Superblock, scales: 1}
	}
	panic("kernel: no layout for " + f.String())
}

// panelParts is the bytes of a panel in each section.
func (l layout) panelParts(cols int) (plain, quants, fine, scales int) {
	if l.element > 0 {
		return panelRows * cols * l.element, 0, 0, 0
	}
	return 0, cols / spec.Block * l.record, cols / l.columns * l.fine, cols / l.columns * l.scales * panelRows * 2
}

func (l layout) panelBytes(cols int) int {
	plain, quants, fine, scales := l.panelParts(cols)
	return plain + quants + fine + scales
}

// bind makes region, of m.Bytes() bytes, the packed weights.
func (m *Matrix) bind(region []byte) {
	plain, quants, fine, scales := m.layout.panelParts(m.Cols)
	switch m.layout.element {
	case 4:
		m.floats = carve[float32](region, m.panels*plain/4)
		return
	case 2:
		m.halves = carve[uint16](region, m.panels*plain/2)
		return
	}
	m.quants = carve[int8](region, m.panels*quants)
	region = region[m.panels*quants:]
	m.fine = carve[uint8](region, m.panels*fine)
	region = region[m.panels*fine:]
	m.scales = carve[uint16](region, m.panels*scales/2)
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
		return finite
	case F16, BF16:
		infinite := uint16(0x7c00)
		if m.Format == BF16 {
			infinite = 0x7f80
		}
		for c := range m.Cols {
			h := binary.LittleEndian.Uint16(row[2*c:])
			finite = finite && h&infinite != infinite
			m.halves[at+c*panelRows] = h
		}
		return finite
	}
	_, size := m.Format.Block()
	for b := range m.Cols / m.layout.columns {
		block := row[b*size : (b+1)*size]
		finite = m.packScales(panel, b, lane, block) && finite
		switch m.Format {
		case Q8_0, Q4_0:
			spread(m.record(panel, b)[4*lane:], block[2:])
		case Q4_1:
			spread(m.record(panel, b)[4*lane:], block[4:])
		case Q5_0:
			packFives(m.record(panel, b)[4*lane:], block[2:])
		case Q5_1:
			packFives(m.record(panel, b)[4*lane:], block[4:])
		default:
			m.packSuperblock(panel, b, lane, block)
		}
	}
	return finite
}

// record is the quants of a panel's 32-column block b.
func (m *Matrix) record(panel, b int) []byte {
	at := (panel*m.blocks + b) * m.layout.record
	part := m.quants[at : at+m.layout.record]
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(part))), len(part))
}

// fineScales is the small scales of a panel's superblock b.
func (m *Matrix) fineScales(panel, b int) []uint8 {
	at := (panel*(m.blocks/blocksK) + b) * m.layout.fine
	return m.fine[at : at+m.layout.fine]
}

// blocksK is the number of 32-column blocks in a superblock.
const blocksK = spec.Superblock / spec.Block

// spread copies src four bytes at a time, to every 32nd byte of dst.
func spread(dst, src []byte) {
	for len(src) >= 4 {
		copy(dst[:4], src[:4])
		src = src[4:]
		if len(src) > 0 {
			dst = dst[32:]
		}
	}
}

// packFives packs the fifth bits and nibbles of 32 columns.
func packFives(dst, src []byte) {
	spread(dst, src[4:20])
	bits := binary.LittleEndian.Uint32(src)
	for i := range 4 {
		x := bits >> i & 0x11111111 // column 4g+i at bit 4g
		x = (x | x>>3) & 0x03030303
		x = (x | x>>6) & 0x000f000f
		dst[128+i] = byte(x | x>>12)
	}
}

const lowNibbles = 0x0f0f0f0f

// repack makes 4 vectors of nibbles of a block whose 32 quants are the lower,
// or the upper, halves of 32 bytes.
func repack(dst, src []byte, upper bool) {
	le := binary.LittleEndian
	for g := range 4 {
		first, second := le.Uint32(src[4*g:]), le.Uint32(src[16+4*g:])
		packed := first&lowNibbles | second&lowNibbles<<4
		if upper {
			packed = first>>4&lowNibbles | second&^lowNibbles
		}
		le.PutUint32(dst[32*g:], packed)
	}
}

// packSuperblock packs quants and small scales of one row's superblock b.
func (m *Matrix) packSuperblock(panel, b, lane int, src []byte) {
	le := binary.LittleEndian
	fine := m.fineScales(panel, b)
	for i := range blocksK {
		dst := m.record(panel, b*blocksK+i)[4*lane:]
		switch m.Format {
		case Q4_K, Q5_K:
			s, minimum := spec.ScaleK(src, i)
			fine[i*panelRows+lane], fine[64+i*panelRows+lane] = uint8(s), uint8(minimum)
			quants := src[16:]
			if m.Format == Q5_K {
				quants = src[48:]
				fifth := uint32(0)
				for g := range 8 {
					fifth |= le.Uint32(src[16+4*g:]) >> i & 0x01010101 << g
				}
				le.PutUint32(dst[128:], fifth)
			}
			repack(dst, quants[i/2*32:], i%2 == 1)
		case Q6_K:
			fine[2*i*panelRows+lane], fine[(2*i+1)*panelRows+lane] = uint8(spec.ScaleQ6K(src, 2*i)), uint8(spec.ScaleQ6K(src, 2*i+1))
			repack(dst, src[i/4*64+i%2*32:], i%4 >= 2)
			upper := src[128+i/4*32:]
			for h := range 2 {
				packed := uint32(0)
				for f, g := range [4]int{2 * h, 2*h + 1, 2*h + 4, 2*h + 5} {
					packed |= le.Uint32(upper[4*g:]) >> (i % 4 * 2) & 0x03030303 << (2 * f)
				}
				le.PutUint32(dst[128+32*h:], packed)
			}
		}
	}
}

// packScales stores the binary16 numbers of a block.
func (m *Matrix) packScales(panel, block, lane int, data []byte) bool {
	if m.Format == Q6_K {
		data = data[spec.Q6KBytes-2:]
	}
	finite := true
	for i := range m.layout.scales {
		h := binary.LittleEndian.Uint16(data[2*i:])
		m.scales[m.scaleAt(panel, block, i)+lane] = h
		finite = finite && h&0x7c00 != 0x7c00
	}
	return finite
}

// scaleAt is where the scales (i = 0) or minima (1) of a panel's block start.
func (m *Matrix) scaleAt(panel, block, i int) int {
	return ((panel*(m.Cols/m.layout.columns)+block)*m.layout.scales + i) * panelRows
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
	case BF16:
		for c := range dst {
			dst[c] = spec.BrainToFloat(m.halves[at+c*panelRows])
		}
	default:
		var quants [spec.Block][panelRows]int32
		for b := range m.blocks {
			m.unpack(&quants, panel, b)
			m.dequantize(dst[b*spec.Block:(b+1)*spec.Block], &quants, panel, b, lane)
		}
	}
}

// dequantize sets dst to one lane of 32 columns.
func (m *Matrix) dequantize(dst []float32, quants *[spec.Block][panelRows]int32, panel, b, lane int) {
	block := b * spec.Block / m.layout.columns
	scale := spec.HalfToFloat(m.scales[m.scaleAt(panel, block, 0)+lane])
	second, minimum := scale, float32(0)
	switch m.Format {
	case Q4_1, Q5_1:
		minimum = -spec.HalfToFloat(m.scales[m.scaleAt(panel, block, 1)+lane])
	case Q4_K, Q5_K:
		fine := m.fineScales(panel, block)[b%blocksK*panelRows+lane:]
		minimum = float32(spec.HalfToFloat(m.scales[m.scaleAt(panel, block, 1)+lane]) * float32(fine[64]))
		scale = float32(scale * float32(fine[0]))
		second = scale
	case Q6_K:
		fine := m.fineScales(panel, block)[b%blocksK*2*panelRows+lane:]
		scale, second = float32(scale*float32(int8(fine[0]))), float32(scale*float32(int8(fine[panelRows])))
	}
	for c := range dst {
		if c == spec.Block/2 {
			scale = second
		}
		dst[c] = float32(scale * float32(quants[c][lane]))
		if m.layout.scales == 2 {
			dst[c] -= minimum
		}
	}
}

// unpack sets quants to the integers of a panel's 32-column block.
func (m *Matrix) unpack(quants *[spec.Block][panelRows]int32, panel, b int) {
	record := m.record(panel, b)
	if m.Format == Q8_0 {
		for i, v := range record {
			quants[i/32*4+i%4][i%32/4] = int32(int8(v))
		}
		return
	}
	for i, v := range record[:128] {
		c, r := i/32*4+i%4, i%32/4
		quants[c][r], quants[c+16][r] = int32(v&15), int32(v>>4)
	}
	offset := int32(0)
	switch m.Format {
	case Q5_0, Q5_1, Q5_K:
		for i, v := range record[128:160] {
			for g := range 8 {
				quants[4*g+i%4][i/4] |= int32(v>>g&1) << 4
			}
		}
	case Q6_K:
		for i, v := range record[128:192] {
			h := i / 32
			for f, g := range [4]int{2 * h, 2*h + 1, 2*h + 4, 2*h + 5} {
				quants[4*g+i%4][i%32/4] |= int32(v>>(2*f)&3) << 4
			}
		}
	}
	switch m.Format {
	case Q4_0:
		offset = 8
	case Q5_0:
		offset = 16
	case Q6_K:
		offset = 32
	default:
		return
	}
	for c := range quants {
		for r := range quants[c] {
			quants[c][r] -= offset
		}
	}
}
