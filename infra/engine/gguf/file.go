package gguf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/koinon-network/koinon/core"
)

// File is an open GGUF file. Its methods are safe for concurrent use until
// Close.
type File struct {
	// Metadata holds the header's keys; it stays valid after Close.
	Metadata
	// Version is the format version, 2 or 3.
	Version uint32
	// Tensors is the index in the file's order. Do not change it.
	Tensors []Tensor
	// Size is the length of the file in bytes.
	Size int64

	byName map[string]int
	source io.ReaderAt
	mapped []byte // the whole file where it could be mapped
	fd     *os.File
	close  func() error
}

// Open maps the file at path, or reads it on demand where mapping is not
// possible, and parses its header.
func Open(path string) (*File, error) {
	fd, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	stat, err := fd.Stat()
	if err != nil || !stat.Mode().IsRegular() {
		fd.Close()
		return nil, errors.Join(err, fmt.Errorf("gguf: %s is not a regular file", path))
	}
	var f *File
	mapped, unmap, err := mapFile(fd, stat.Size())
	if err == nil {
		f, err = parseMapped(mapped)
		if err != nil {
			err = errors.Join(err, unmap())
		}
	} else {
		f, err = New(fd, stat.Size())
		unmap = func() error { return nil }
	}
	if err != nil {
		fd.Close()
		return nil, &core.Error{Code: core.CodeInvalid, Message: path + " cannot be used", Err: err,
			Next: "check that the download is complete and that it is a GGUF file"}
	}
	f.fd = fd
	f.close = func() error { return errors.Join(unmap(), fd.Close()) }
	return f, nil
}

// New parses a file of size bytes that is read through r.
func New(r io.ReaderAt, size int64) (*File, error) {
	if size < 0 {
		return nil, errors.New("gguf: negative size")
	}
	for n := min(int64(64<<10), size); ; n = min(2*n, size, maxHeader) {
		b := make([]byte, n)
		if k, err := r.ReadAt(b, 0); k < len(b) {
			return nil, fmt.Errorf("gguf: reading the header: %w", err)
		}
		h, err := parse(b, uint64(size))
		if errors.Is(err, errShort) && n < size && n < maxHeader {
			continue
		}
		if err != nil {
			return nil, err
		}
		return newFile(h, r, size), nil
	}
}

// Parse opens a file that is in memory. The file keeps b.
func Parse(b []byte) (*File, error) {
	h, err := parse(b[:min(len(b), maxHeader)], uint64(len(b)))
	if err != nil {
		return nil, err
	}
	f := newFile(h, bytes.NewReader(b), int64(len(b)))
	f.mapped = b
	return f, nil
}

// parseMapped is Parse for memory that Close takes away: the metadata move to
// memory of their own.
func parseMapped(b []byte) (*File, error) {
	f, err := Parse(b)
	if err != nil {
		return nil, err
	}
	for k, v := range f.values {
		v.raw = slices.Clone(v.raw)
		f.values[k] = v
	}
	return f, nil
}

func newFile(h *header, r io.ReaderAt, size int64) *File {
	f := &File{Metadata: h.meta, Version: h.version, Tensors: h.tensors, Size: size, source: r,
		byName: make(map[string]int, len(h.tensors)), close: func() error { return nil }}
	for i, t := range h.tensors {
		f.byName[t.Name] = i
	}
	return f
}

// Close releases the file. Slices from Data must not be used afterwards.
func (f *File) Close() error {
	f.mapped = nil
	return f.close()
}

// Tensor returns the index entry of a name.
func (f *File) Tensor(name string) (*Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return nil, false
	}
	return &f.Tensors[i], true
}

// Data returns the bytes of a tensor of the file: a view of the mapping, valid
// until Close and not to be written to, or a copy where the file is not mapped.
// It refuses types that the engine cannot compute with.
func (f *File) Data(t *Tensor) ([]byte, error) {
	if !t.Type.Usable() {
		return nil, unusable(t)
	}
	if f.mapped != nil {
		return f.mapped[t.Offset : t.Offset+t.Size : t.Offset+t.Size], nil
	}
	b := make([]byte, t.Size)
	if n, err := f.source.ReadAt(b, int64(t.Offset)); n < len(b) {
		return nil, fmt.Errorf("gguf: reading tensor %q: %w", t.Name, err)
	}
	return b, nil
}

// Rows returns the bytes of n rows of a tensor from first on, in buf if they
// must be read. Unlike views from Data they leave no pages of a mapping behind
// that would count as this process's memory.
func (f *File) Rows(t *Tensor, first, n int, buf []byte) ([]byte, error) {
	if !t.Type.Usable() {
		return nil, unusable(t)
	}
	size := t.Type.RowSize(t.Cols())
	return f.span(buf, t.Offset+uint64(first)*uint64(size), n*size)
}

// view is the file where its bytes are in memory anyway.
func (f *File) view() []byte {
	if f.fd != nil {
		return nil
	}
	return f.mapped
}

// span returns n bytes of the file, read into buf unless they are in memory.
func (f *File) span(buf []byte, offset uint64, n int) ([]byte, error) {
	if b := f.view(); b != nil {
		return b[offset : offset+uint64(n)], nil
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	source := f.source
	if f.fd != nil {
		source = f.fd
	}
	if k, err := source.ReadAt(buf, int64(offset)); k < n {
		return nil, err
	}
	return buf, nil
}

// FloatData returns a tensor of the file as float32, whatever its type.
func (f *File) FloatData(t *Tensor) ([]float32, error) {
	b, err := f.Data(t)
	if err != nil {
		return nil, err
	}
	out := make([]float32, t.Elements())
	Dequantize(t.Type, b, out)
	return out, nil
}

func unusable(t *Tensor) error {
	return &core.Error{Code: core.CodeInvalid,
		Message: fmt.Sprintf("tensor %q is stored as %v, which the engine does not compute with", t.Name, t.Type),
		Next:    "use a file quantised to Q8_0 or Q4_0, or one in F16 or F32"}
}
