package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sort"
	"unicode/utf8"
)

// Limits on a header. The counts are also bounded by the bytes that are there.
const (
	maxHeader  = 512 << 20 // bytes before the tensors' data
	maxEntries = 1 << 16   // metadata keys
	maxTensors = 1 << 20
	maxKey     = 1<<16 - 1
	maxName    = 255
	maxDims    = 4
	alignment  = 32 // GGUF's default
)

const magic = "GGUF"

// errShort says that the header goes on behind the bytes at hand.
var errShort = errors.New("gguf: the file ends inside its header")

type header struct {
	version uint32
	meta    Metadata
	tensors []Tensor
	size    int // bytes, unpadded
}

// parse reads the header at the start of b, which is the beginning of a file
// of size bytes. It returns errShort when b is too short.
func parse(b []byte, size uint64) (*header, error) {
	c := &cursor{b: b}
	if string(c.take(4)) != magic && c.err == nil {
		return nil, errors.New("gguf: not a GGUF file: its first four bytes are not GGUF")
	}
	h := &header{version: c.u32()}
	if c.err == nil && h.version != 2 && h.version != 3 {
		if bits.ReverseBytes32(h.version) <= 3 {
			return nil, errors.New("gguf: big-endian files are not supported")
		}
		return nil, fmt.Errorf("gguf: version %d is not supported, only 2 and 3", h.version)
	}
	tensors, entries := c.u64(), c.u64()
	if c.err != nil {
		return nil, c.err
	}
	// The least an entry and a tensor can take.
	if entries > maxEntries || entries > size/13 {
		return nil, fmt.Errorf("gguf: %d metadata entries are too many", entries)
	}
	if tensors > maxTensors || tensors > size/32 {
		return nil, fmt.Errorf("gguf: %d tensors are too many", tensors)
	}
	h.meta.values = map[string]Value{}
	for range entries {
		if err := c.entry(&h.meta); err != nil {
			return nil, err
		}
	}
	for range tensors {
		t, err := c.tensor()
		if err != nil {
			return nil, err
		}
		h.tensors = append(h.tensors, t)
	}
	h.size = c.at
	return h, h.place(size)
}

// place turns the tensors' offsets into offsets in the file and checks that
// each lies aligned inside the file and apart from the others.
func (h *header) place(size uint64) error {
	align, err := Or(h.meta.Uint("general.alignment"))(alignment)
	if err != nil {
		return err
	}
	if align < 8 || align > 1<<16 || align&(align-1) != 0 {
		return fmt.Errorf("gguf: general.alignment %d is not a power of two from 8 to 65536", align)
	}
	if len(h.tensors) == 0 {
		return nil
	}
	base := padded(uint64(h.size), align)
	seen := make(map[string]bool, len(h.tensors))
	byOffset := make([]*Tensor, len(h.tensors))
	for i := range h.tensors {
		t := &h.tensors[i]
		if seen[t.Name] {
			return fmt.Errorf("gguf: two tensors are named %q", t.Name)
		}
		seen[t.Name] = true
		if t.Offset%align != 0 {
			return fmt.Errorf("gguf: tensor %q is not aligned to %d bytes", t.Name, align)
		}
		if base > size || t.Offset > size-base || t.Size > size-base-t.Offset {
			return fmt.Errorf("gguf: tensor %q lies outside the file: is the file complete?", t.Name)
		}
		t.Offset += base
		byOffset[i] = t
	}
	sort.Slice(byOffset, func(i, j int) bool { return byOffset[i].Offset < byOffset[j].Offset })
	for i, t := range byOffset[1:] {
		if before := byOffset[i]; before.Offset+before.Size > t.Offset {
			return fmt.Errorf("gguf: tensors %q and %q overlap", before.Name, t.Name)
		}
	}
	return nil
}

func padded(n, align uint64) uint64 { return (n + align - 1) &^ (align - 1) }

// cursor reads little-endian fields and remembers the first failure.
type cursor struct {
	b   []byte
	at  int
	err error
}

func (c *cursor) take(n uint64) []byte {
	if c.err == nil && n > uint64(len(c.b)-c.at) {
		c.err = errShort
	}
	if c.err != nil {
		return nil
	}
	p := c.b[c.at : c.at+int(n) : c.at+int(n)]
	c.at += int(n)
	return p
}

func (c *cursor) u32() uint32 {
	if p := c.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if p := c.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// text reads a length and that many bytes, at most limit.
func (c *cursor) text(limit uint64, what string) []byte {
	n := c.u64()
	if c.err == nil && n > limit {
		c.err = fmt.Errorf("gguf: %s of %d bytes is too long", what, n)
	}
	return c.take(n)
}

func (c *cursor) entry(m *Metadata) error {
	key := c.text(maxKey, "a key")
	v := Value{Type: ValueType(c.u32())}
	switch {
	case c.err != nil:
		return c.err
	case len(key) == 0 || !utf8.Valid(key):
		return fmt.Errorf("gguf: the key %.40q is empty or not UTF-8", key)
	case m.Has(string(key)):
		return fmt.Errorf("gguf: the key %.80q occurs twice", key)
	}
	switch v.Type {
	case String:
		v.raw = c.text(maxHeader, "a string")
	case Array:
		if err := c.array(&v); err != nil {
			return fmt.Errorf("%w (at key %.80q)", err, key)
		}
	default:
		if int(v.Type) >= len(valueSizes) {
			return fmt.Errorf("gguf: %.80q has the unknown %v", key, v.Type)
		}
		v.raw = c.take(uint64(valueSizes[v.Type]))
		if c.err == nil && v.Type == Bool && v.raw[0] > 1 {
			return fmt.Errorf("gguf: %.80q is neither true nor false", key)
		}
	}
	if c.err != nil {
		return c.err
	}
	m.values[string(key)] = v
	return nil
}

func (c *cursor) array(v *Value) error {
	v.Elem = ValueType(c.u32())
	n := c.u64()
	if c.err != nil {
		return c.err
	}
	if v.Elem == Array || int(v.Elem) >= len(valueSizes) {
		return fmt.Errorf("gguf: an array of %v is not supported", v.Elem)
	}
	if n > maxHeader {
		return fmt.Errorf("gguf: an array of %d elements is too long", n)
	}
	v.Len = int(n)
	if v.Elem != String {
		v.raw = c.take(n * uint64(valueSizes[v.Elem]))
		for _, b := range v.raw {
			if v.Elem == Bool && b > 1 {
				return errors.New("gguf: an array of bool holds something else")
			}
		}
		return c.err
	}
	start := c.at
	for range n {
		if c.text(maxHeader, "a string"); c.err != nil {
			return c.err
		}
	}
	v.raw = c.b[start:c.at:c.at]
	return nil
}

func (c *cursor) tensor() (Tensor, error) {
	t := Tensor{Name: string(c.text(maxName, "a tensor's name"))}
	dims := c.u32()
	if c.err == nil && (dims == 0 || dims > maxDims) {
		return t, fmt.Errorf("gguf: tensor %q has %d dimensions", t.Name, dims)
	}
	for i := uint32(0); i < dims && c.err == nil; i++ {
		t.Dims = append(t.Dims, c.u64())
	}
	t.Type, t.Offset = Type(c.u32()), c.u64()
	if c.err != nil {
		return t, c.err
	}
	if t.Name == "" || !utf8.ValidString(t.Name) {
		return t, fmt.Errorf("gguf: the tensor name %q is empty or not UTF-8", t.Name)
	}
	var err error
	t.Size, err = dataSize(t.Type, t.Dims)
	if err != nil {
		return t, fmt.Errorf("gguf: tensor %q: %w", t.Name, err)
	}
	return t, nil
}

// dataSize is the number of bytes of a tensor, checked against overflow.
func dataSize(t Type, dims []uint64) (uint64, error) {
	f, known := formats[t]
	switch {
	case !known:
		return 0, fmt.Errorf("the unknown tensor type %d", uint32(t))
	case f.size == 0:
		return 0, fmt.Errorf("the tensor type %s, which GGUF has withdrawn", f.name)
	}
	n := uint64(1)
	for _, d := range dims {
		hi, lo := bits.Mul64(n, d)
		if d == 0 || hi != 0 || lo > math.MaxInt64/512 {
			return 0, fmt.Errorf("impossible dimensions %v", dims)
		}
		n = lo
	}
	if dims[0]%f.block != 0 {
		return 0, fmt.Errorf("rows of %d elements are no whole number of %s blocks", dims[0], f.name)
	}
	return n / f.block * f.size, nil
}
