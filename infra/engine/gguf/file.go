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

// File is an open GGUF file, or several that hold the parts of one model. Its
// methods are safe for concurrent use until Close.
type File struct {
	// Metadata holds the header's keys; it stays valid after Close.
	Metadata
	// Version is the format version, 2 or 3.
	Version uint32
	// Tensors is the index in the file's order. Do not change it.
	Tensors []Tensor
	// Size is the length of the file, of all parts together, in bytes.
	Size int64
	// Parts is the number of files.
	Parts int

	byName map[string]int
	parts  []part
}

// part is one file's content.
type part struct {
	source io.ReaderAt
	mapped []byte // the whole file where it could be mapped
	fd     *os.File
	close  func() error
}

// Open maps the file at path, or reads it on demand where mapping is not
// possible, and parses its header. A path that ends in -00001-of-0000N.gguf
// opens all N files of a model in parts as one.
func Open(path string) (*File, error) {
	f, err := openOne(path)
	if err != nil {
		return nil, err
	}
	if err := f.join(path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func openOne(path string) (*File, error) {
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
		f, err = read(fd, stat.Size())
		unmap = func() error { return nil }
	}
	if err != nil {
		fd.Close()
		return nil, &core.Error{Code: core.CodeInvalid, Message: path + " cannot be used", Err: err,
			Next: "check that the download is complete and that it is a GGUF file"}
	}
	p := &f.parts[0]
	p.fd, p.close = fd, func() error { return errors.Join(unmap(), fd.Close()) }
	return f, nil
}

// New parses a file of size bytes that is read through r.
func New(r io.ReaderAt, size int64) (*File, error) { return whole(read(r, size)) }

func read(r io.ReaderAt, size int64) (*File, error) {
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
func Parse(b []byte) (*File, error) { return whole(parseAll(b)) }

func parseAll(b []byte) (*File, error) {
	h, err := parse(b[:min(len(b), maxHeader)], uint64(len(b)))
	if err != nil {
		return nil, err
	}
	f := newFile(h, bytes.NewReader(b), int64(len(b)))
	f.parts[0].mapped = b
	return f, nil
}

// parseMapped is Parse for memory that Close takes away: the metadata move to
// memory of their own.
func parseMapped(b []byte) (*File, error) {
	f, err := parseAll(b)
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
	f := &File{Metadata: h.meta, Version: h.version, Tensors: h.tensors, Size: size, Parts: 1,
		byName: make(map[string]int, len(h.tensors)), parts: []part{{source: r, close: func() error { return nil }}}}
	for i, t := range h.tensors {
		f.byName[t.Name] = i
	}
	return f
}

// Paths are the files that were opened, none for one in memory.
func (f *File) Paths() []string {
	var paths []string
	for i := range f.parts {
		if fd := f.parts[i].fd; fd != nil {
			paths = append(paths, fd.Name())
		}
	}
	return paths
}

// Close releases the file. Slices from Data must not be used afterwards.
func (f *File) Close() error {
	var failed error
	for i := range f.parts {
		f.parts[i].mapped = nil
		failed = errors.Join(failed, f.parts[i].close())
	}
	return failed
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
	p := &f.parts[t.part]
	if p.mapped != nil {
		return p.mapped[t.Offset : t.Offset+t.Size : t.Offset+t.Size], nil
	}
	return f.span(nil, t, 0, int(t.Size))
}

// Rows returns the bytes of n rows of a tensor from first on, in buf if they
// must be read. Unlike views from Data they leave no pages of a mapping behind
// that would count as this process's memory.
func (f *File) Rows(t *Tensor, first, n int, buf []byte) ([]byte, error) {
	if !t.Type.Usable() {
		return nil, unusable(t)
	}
	size := t.Type.RowSize(t.Cols())
	return f.span(buf, t, uint64(first)*uint64(size), n*size)
}

// view is the file where its bytes are in memory anyway.
func (p *part) view() []byte {
	if p.fd != nil {
		return nil
	}
	return p.mapped
}

// span returns n bytes of a tensor from an offset in it, read into buf unless
// they are in memory.
func (f *File) span(buf []byte, t *Tensor, offset uint64, n int) ([]byte, error) {
	p, at := &f.parts[t.part], t.Offset+offset
	if b := p.view(); b != nil {
		return b[at : at+uint64(n) : at+uint64(n)], nil
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	source := p.source
	if p.fd != nil {
		source = p.fd
	}
	if k, err := source.ReadAt(buf, int64(at)); k < n {
		return nil, fmt.Errorf("gguf: reading tensor %q: %w", t.Name, err)
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
		Next:    "use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K"}
}
