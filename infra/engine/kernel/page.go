package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// PageTokens is the number of positions in a page of the KV cache.
const PageTokens = 64

// KVShape is the shape of one layer's keys and values.
type KVShape struct {
	Heads int // key-value heads
	Dim   int // elements per head
	// Int8 keeps them as int8 with a scale for every 32 elements (see
	// spec.Attention8); Dim is then a multiple of 32.
	Int8 bool
}

// KVPage holds the keys and values of one layer for PageTokens positions, as
// float32
//
//	K [head][position/8][dim][8]   eight keys side by side, a SIMD lane each
//	V [head][position][dim]
//
// or as int8, where K and V hold the scales of blocks of 32 dimensions:
//
//	K8 [head][position/8][dim/4][8][4]               key in a lane, four dimensions
//	K  [head][position/8][dim/32][8]
//	V8 [head][dim/8][position/32][position/4%8][8][4] element in a lane, four positions
//	V  [head][dim/32][position]
//
// Pages can be shared between sequences with a common prefix; a position must
// be stored before a query may see it, and not changed while one does.
type KVPage struct {
	K, V   []float32
	K8, V8 []int8
}

// PageLen is the number of keys' and of values' elements in a page.
func (s KVShape) PageLen() int { return s.Heads * s.Dim * PageTokens }

// PageBytes is the memory of a page.
func (s KVShape) PageBytes() int {
	if s.Int8 {
		return 2 * (s.PageLen() + s.PageLen()/spec.Block*4)
	}
	return 8 * s.PageLen()
}

// NewPages allocates pages side by side, zeroed.
func (s KVShape) NewPages(count int) []KVPage {
	n, scales := s.PageLen(), s.PageLen()/spec.Block
	pages := make([]KVPage, count)
	if !s.Int8 {
		m := make([]float32, 2*n*count)
		for i := range pages {
			p := m[2*n*i : 2*n*(i+1)]
			pages[i] = KVPage{K: p[:n:n], V: p[n:]}
		}
		return pages
	}
	q, f := make([]int8, 2*n*count), make([]float32, 2*scales*count)
	for i := range pages {
		p, r := q[2*n*i:2*n*(i+1)], f[2*scales*i:2*scales*(i+1)]
		pages[i] = KVPage{K8: p[:n:n], V8: p[n:], K: r[:scales:scales], V: r[scales:]}
	}
	return pages
}

// NewPage allocates a page, zeroed.
func (s KVShape) NewPage() KVPage { return s.NewPages(1)[0] }

// Copy copies what src holds to p, of the same shape.
func (p KVPage) Copy(src KVPage) {
	copy(p.K, src.K)
	copy(p.V, src.V)
	copy(p.K8, src.K8)
	copy(p.V8, src.V8)
}

// Store writes the key row (rotated) and the value row of one position, each
// Heads*Dim long, to slot = position mod PageTokens of a float32 page.
func (s KVShape) Store(page KVPage, slot int, k, v []float32) {
	for h := range s.Heads {
		keys := page.K[(h*PageTokens+slot/8*8)*s.Dim+slot%8:]
		for d, x := range k[h*s.Dim : (h+1)*s.Dim] {
			keys[8*d] = x
		}
		copy(page.V[(h*PageTokens+slot)*s.Dim:][:s.Dim], v[h*s.Dim:(h+1)*s.Dim])
	}
}

// Load reads back what Store wrote.
func (s KVShape) Load(k, v []float32, page KVPage, slot int) {
	for h := range s.Heads {
		keys := page.K[(h*PageTokens+slot/8*8)*s.Dim+slot%8:]
		for d := range s.Dim {
			k[h*s.Dim+d] = keys[8*d]
		}
		copy(v[h*s.Dim:(h+1)*s.Dim], page.V[(h*PageTokens+slot)*s.Dim:])
	}
}

// RowBytes is the length of a quantised key or value row of all heads.
func (s KVShape) RowBytes() int { return s.Heads * s.Dim / spec.Block * (spec.Block + 4) }

// Quantize writes a key or value row of Heads*Dim elements as an int8 cache
// keeps it: the quants of all blocks of 32, then their scales as little-endian
// float32. This is what a boundary commits to. dst has RowBytes bytes.
func (s KVShape) Quantize(dst []byte, x []float32) {
	n := s.Heads * s.Dim
	_, _ = dst[s.RowBytes()-1], x[n-1]
	var scales [32]float32
	var eights, halves [32]int32
	var weighted [32]float32
	sums := blockSums{eights[:], halves[:], weighted[:]}
	quants := unsafe.Slice((*int8)(unsafe.Pointer(&dst[0])), n)
	for b := 0; b < n/spec.Block; b += len(scales) {
		blocks := min(len(scales), n/spec.Block-b)
		quantize(x[b*spec.Block:], quants[b*spec.Block:], scales[:], sums, blocks, 1)
		for i, v := range scales[:blocks] {
			binary.LittleEndian.PutUint32(dst[n+4*(b+i):], math.Float32bits(v))
		}
	}
}

// StoreQuantized writes rows that Quantize made to a slot of an int8 page.
func (s KVShape) StoreQuantized(page KVPage, slot int, k, v []byte) {
	n, blocks := s.Heads*s.Dim, s.Dim/spec.Block
	for h := range s.Heads {
		keys := page.K8[s.key8(h, slot):]
		for d, x := range k[h*s.Dim : (h+1)*s.Dim] {
			keys[d/4*32+d%4] = int8(x)
		}
		values := page.V8[s.value8(h, slot):]
		for d, x := range v[h*s.Dim : (h+1)*s.Dim] {
			values[d/8*512+d%8*4] = int8(x)
		}
		for b := range blocks {
			at := n + 4*(h*blocks+b)
			page.K[s.keyScale(h, b, slot)] = math.Float32frombits(binary.LittleEndian.Uint32(k[at:]))
			page.V[s.valueScale(h, b, slot)] = math.Float32frombits(binary.LittleEndian.Uint32(v[at:]))
		}
	}
}

// LoadQuantized reads back what StoreQuantized wrote.
func (s KVShape) LoadQuantized(k, v []byte, page KVPage, slot int) {
	n, blocks := s.Heads*s.Dim, s.Dim/spec.Block
	for h := range s.Heads {
		keys, values := page.K8[s.key8(h, slot):], page.V8[s.value8(h, slot):]
		for d := range s.Dim {
			k[h*s.Dim+d] = byte(keys[d/4*32+d%4])
			v[h*s.Dim+d] = byte(values[d/8*512+d%8*4])
		}
		for b := range blocks {
			at := n + 4*(h*blocks+b)
			binary.LittleEndian.PutUint32(k[at:], math.Float32bits(page.K[s.keyScale(h, b, slot)]))
			binary.LittleEndian.PutUint32(v[at:], math.Float32bits(page.V[s.valueScale(h, b, slot)]))
		}
	}
}

// key8 is where a slot's first quant of a head's keys lies.
func (s KVShape) key8(h, slot int) int { return (h*PageTokens+slot/8*8)*s.Dim + slot%8*4 }

// value8 is where a slot's first quant of a head's values lies.
func (s KVShape) value8(h, slot int) int {
	return h*PageTokens*s.Dim + slot/32*256 + slot%32/4*32 + slot%4
}

func (s KVShape) keyScale(h, b, slot int) int {
	return ((h*8+slot/8)*(s.Dim/spec.Block)+b)*8 + slot%8
}

func (s KVShape) valueScale(h, b, slot int) int {
	return (h*(s.Dim/spec.Block)+b)*PageTokens + slot
}

// CheckInt8 says why heads of dim elements cannot be kept as int8.
func CheckInt8(dim int) error {
	if dim%spec.Block != 0 {
		return fmt.Errorf("int8 keys and values need heads of a multiple of %d elements, these have %d", spec.Block, dim)
	}
	return nil
}
