package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Builder assembles a GGUF version 3 file: set metadata, add tensors, write.
// Keys are written in ascending order, tensors in the order they were added.
type Builder struct {
	Metadata
	tensors []Tensor
	data    []func(w io.Writer) error
}

// Add appends a tensor from its encoded bytes, which the builder keeps without
// copying. Dims are fastest-varying first.
func (b *Builder) Add(name string, t Type, dims []int, data []byte) error {
	err := b.AddFrom(name, t, dims, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	last := len(b.tensors) - 1
	if size := b.tensors[last].Size; size != uint64(len(data)) {
		b.tensors, b.data = b.tensors[:last], b.data[:last]
		return fmt.Errorf("gguf: tensor %q needs %d bytes, got %d", name, size, len(data))
	}
	return nil
}

// AddFrom appends a tensor whose encoded bytes are made when the file is
// written, so that a model need not fit into memory. It must write exactly the
// tensor's size.
func (b *Builder) AddFrom(name string, t Type, dims []int, write func(w io.Writer) error) error {
	if name == "" || len(name) > maxName || len(dims) == 0 || len(dims) > maxDims {
		return fmt.Errorf("gguf: tensor %q has an impossible name or shape", name)
	}
	if slices.ContainsFunc(b.tensors, func(x Tensor) bool { return x.Name == name }) {
		return fmt.Errorf("gguf: two tensors are named %q", name)
	}
	tensor := Tensor{Name: name, Type: t}
	for _, d := range dims {
		tensor.Dims = append(tensor.Dims, uint64(d))
	}
	var err error
	if tensor.Size, err = dataSize(t, tensor.Dims); err != nil {
		return fmt.Errorf("gguf: tensor %q: %w", name, err)
	}
	b.tensors, b.data = append(b.tensors, tensor), append(b.data, write)
	return nil
}

// AddFloats quantises values and appends them as a tensor.
func (b *Builder) AddFloats(name string, t Type, dims []int, values []float32) error {
	data, err := Quantize(t, values)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	return b.Add(name, t, dims, data)
}

// WriteTo writes the file.
func (b *Builder) WriteTo(w io.Writer) (int64, error) {
	align, err := Or(b.Uint("general.alignment"))(alignment)
	if err != nil {
		return 0, err
	}
	if align < 8 || align > 1<<16 || align&(align-1) != 0 {
		return 0, fmt.Errorf("gguf: general.alignment %d is not a power of two from 8 to 65536", align)
	}
	head := appendMetadata(nil, b.Metadata, len(b.tensors))
	offset := uint64(0)
	for _, t := range b.tensors {
		head = appendText(head, t.Name)
		head = binary.LittleEndian.AppendUint32(head, uint32(len(t.Dims)))
		for _, d := range t.Dims {
			head = binary.LittleEndian.AppendUint64(head, d)
		}
		head = binary.LittleEndian.AppendUint32(head, uint32(t.Type))
		head = binary.LittleEndian.AppendUint64(head, offset)
		offset = padded(offset+t.Size, align)
	}
	out := &counter{w: w}
	if _, err := out.Write(head); err != nil {
		return out.n, err
	}
	zeros := make([]byte, align)
	for i, write := range b.data {
		if _, err := out.Write(zeros[:padded(uint64(out.n), align)-uint64(out.n)]); err != nil {
			return out.n, err
		}
		begin, t := out.n, &b.tensors[i]
		if err := write(out); err != nil {
			return out.n, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if got := uint64(out.n - begin); got != t.Size {
			return out.n, fmt.Errorf("gguf: tensor %q has %d bytes, not %d", t.Name, got, t.Size)
		}
	}
	return out.n, nil
}

// counter counts what goes through.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Create writes the file to path by way of a temporary file beside it, so that
// path never holds half a model.
func (b *Builder) Create(path string) (err error) {
	fd, err := os.CreateTemp(filepath.Dir(path), ".gguf-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fd.Close()
			os.Remove(fd.Name())
		}
	}()
	w := bufio.NewWriterSize(fd, 1<<20)
	if _, err = b.WriteTo(w); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = fd.Chmod(0o644); err != nil {
		return err
	}
	if err = fd.Sync(); err != nil {
		return err
	}
	if err = fd.Close(); err != nil {
		return err
	}
	return os.Rename(fd.Name(), path)
}

// appendMetadata appends a header up to the tensor index, keys ascending: the
// canonical encoding of the metadata when tensors is 0.
func appendMetadata(b []byte, m Metadata, tensors int) []byte {
	keys := m.Keys()
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, 3)
	b = binary.LittleEndian.AppendUint64(b, uint64(tensors))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(keys)))
	for _, k := range keys {
		v := m.values[k]
		b = appendText(b, k)
		b = binary.LittleEndian.AppendUint32(b, uint32(v.Type))
		switch v.Type {
		case String:
			b = binary.LittleEndian.AppendUint64(b, uint64(len(v.raw)))
		case Array:
			b = binary.LittleEndian.AppendUint32(b, uint32(v.Elem))
			b = binary.LittleEndian.AppendUint64(b, uint64(v.Len))
		}
		b = append(b, v.raw...)
	}
	return b
}
