package packed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// Entry is a matrix to keep: rows of a tensor from First on.
type Entry struct {
	Tensor string
	First  int
	Matrix *kernel.Matrix
}

// ErrTaken says that another process keeps the same model at the moment.
var ErrTaken = errors.New("packed: another process is at it")

// Keep writes a packed model into folder, which it makes if necessary, in place
// of what was kept for an earlier state of the same file. Progress, which may be
// nil, is told the bytes written. An error means that nothing was kept; the
// model works all the same.
func Keep(folder string, s Source, root core.ModelID, entries []Entry, progress func(n int64)) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	Clean(folder)
	total := int64(alignment)
	for _, e := range entries {
		total += aligned(int64(len(e.Matrix.Packed())))
	}
	final := filepath.Join(folder, s.name())
	fd, err := takePartial(final + partial)
	if err != nil {
		return err
	}
	defer fd.Close()
	w := &writer{fd: fd, progress: progress}
	if err = room(folder, total); err == nil {
		err = w.write(&header{Layout: layout(), Source: s, Root: root}, entries)
	}
	if err == nil {
		err = os.Rename(fd.Name(), final)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fd.Name()))
	}
	return syncFolder(folder)
}

const partial = ".partial"

func aligned(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

// takePartial opens the partial file for this process alone. A process that was
// killed leaves one behind without its lock.
func takePartial(path string) (*os.File, error) {
	fd, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err = owned(fd, path); err == nil {
		err = fd.Truncate(0)
	}
	if err != nil {
		fd.Close()
		return nil, err
	}
	return fd, nil
}

// owned locks fd and makes sure that it still is the file of that name: between
// opening and locking, another process may have finished it.
func owned(fd *os.File, path string) error {
	if !lock(fd) {
		return ErrTaken
	}
	a, err := fd.Stat()
	if err != nil {
		return err
	}
	b, err := os.Lstat(path)
	if err != nil || !os.SameFile(a, b) || !mine(a) {
		return ErrTaken
	}
	return nil
}

// room refuses to fill a disk to the last twentieth.
func room(folder string, n int64) error {
	free, size, err := available(folder)
	if err != nil {
		return err
	}
	if free < uint64(n)+size/20 {
		return fmt.Errorf("packed: %d MB would not leave a twentieth of the disk free", n>>20)
	}
	return nil
}

type writer struct {
	fd       *os.File
	at       int64
	progress func(n int64)
}

func (w *writer) write(h *header, entries []Entry) error {
	w.at = alignment
	for _, e := range entries {
		m, err := w.matrix(e)
		if err != nil {
			return err
		}
		h.Matrices = append(h.Matrices, m)
	}
	first, text, err := h.encode(w.at)
	if err != nil {
		return err
	}
	_, e1 := w.fd.WriteAt(text, w.at)
	_, e2 := w.fd.WriteAt(first, 0)
	return errors.Join(e1, e2, w.fd.Sync())
}

func (w *writer) matrix(e Entry) (Matrix, error) {
	data := e.Matrix.Packed()
	m := Matrix{Tensor: e.Tensor, First: e.First, Rows: e.Matrix.Rows, Cols: e.Matrix.Cols, Format: e.Matrix.Format,
		Offset: w.at, Size: int64(len(data))}
	for len(data) > 0 {
		part := data[:min(len(data), chunk)]
		data = data[len(part):]
		m.Sums = append(m.Sums, sum(part))
		if _, err := w.fd.WriteAt(part, w.at); err != nil {
			return m, err
		}
		w.at += int64(len(part))
		if w.progress != nil {
			w.progress(int64(len(part)))
		}
	}
	w.at = aligned(w.at)
	return m, nil
}

func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Clean removes what folder keeps of model files that exist no longer, and what
// no process can use: other versions and damaged headers.
func Clean(folder string) {
	names, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, n := range names {
		path := filepath.Join(folder, n.Name())
		if strings.HasSuffix(n.Name(), suffix) && !usable(path) {
			os.Remove(path)
		}
	}
}

// usable reports whether path keeps a model whose file is there.
func usable(path string) bool {
	fd, err := os.Open(path)
	if err != nil {
		return true // not ours to judge
	}
	defer fd.Close()
	stat, err := fd.Stat()
	if err != nil {
		return true
	}
	h, err := decode(fd, stat.Size())
	if err != nil {
		return false
	}
	_, err = os.Stat(h.Source.Path)
	return !errors.Is(err, os.ErrNotExist)
}
