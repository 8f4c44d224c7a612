package packed

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// File is a kept model. Its methods are safe for concurrent use until Close.
type File struct {
	header
	path string
	fd   *os.File
	at   map[place]*Matrix
}

type place struct {
	tensor string
	first  int
}

// Open returns what folder keeps for a model file in this state. The error says
// why there is nothing to use; the caller then packs the model itself.
func Open(folder string, s Source) (*File, error) {
	path := filepath.Join(folder, s.name())
	fd, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, fd: fd, at: map[place]*Matrix{}}
	if err := f.read(s); err != nil {
		fd.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) read(s Source) error {
	stat, err := f.fd.Stat()
	if err != nil {
		return err
	}
	if !stat.Mode().IsRegular() || !mine(stat) {
		return fmt.Errorf("packed: %s is not a file of this user", f.path)
	}
	h, err := decode(f.fd, stat.Size())
	if err != nil {
		return err
	}
	if !h.Source.Equal(s) {
		return fmt.Errorf("packed: %s is of another state of %s", f.path, s.Path)
	}
	f.header = *h
	for i := range f.Matrices {
		m := &f.Matrices[i]
		f.at[place{m.Tensor, m.First}] = m
	}
	return nil
}

// Root is the model's root, as this machine computed it.
func (f *File) Root() core.ModelID { return f.header.Root }

// Matrix finds rows of a tensor.
func (f *File) Matrix(tensor string, first, rows, cols int, format kernel.Format) (*Matrix, bool) {
	m, ok := f.at[place{tensor, first}]
	if !ok || m.Rows != rows || m.Cols != cols || m.Format != format {
		return nil, false
	}
	return m, true
}

// Read fills dst, of m.Size bytes, with a packed matrix, on the pool, and checks
// it.
func (f *File) Read(p *kernel.Pool, m *Matrix, dst []byte) error {
	errs := make([]error, len(m.Sums))
	p.Run(len(m.Sums), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			errs[i] = f.readChunk(m, i, dst[int64(i)*chunk:min(int64(i+1)*chunk, m.Size)])
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *File) readChunk(m *Matrix, i int, dst []byte) error {
	if n, err := f.fd.ReadAt(dst, m.Offset+int64(i)*chunk); n < len(dst) {
		return fmt.Errorf("packed: reading %q: %w", m.Tensor, err)
	}
	if sum(dst) != m.Sums[i] {
		return fmt.Errorf("packed: %q is damaged", m.Tensor)
	}
	return nil
}

// Discard removes the file from its folder because it is of no use.
func (f *File) Discard() { os.Remove(f.path) }

// Close ends reading.
func (f *File) Close() error { return f.fd.Close() }

// Audit compares what folder keeps of a model with the root that its file has,
// computed anew, and reads all matrices. It removes a kept model that is wrong
// and says in what; fs.ErrNotExist is the error where nothing is kept.
func Audit(folder string, s Source, root core.ModelID) error {
	f, err := Open(folder, s)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Root() != root {
		f.Discard()
		return fmt.Errorf("packed: it says that the root is %v", f.Root())
	}
	buf := make([]byte, chunk)
	for i := range f.Matrices {
		m := &f.Matrices[i]
		for j := range m.Sums {
			if err := f.readChunk(m, j, buf[:min(chunk, m.Size-int64(j)*chunk)]); err != nil {
				f.Discard()
				return err
			}
		}
	}
	return nil
}
