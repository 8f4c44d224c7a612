package model

import (
	"errors"
	"fmt"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/packed"
)

// storage is where the packed matrices of a model come from: from the model's
// file, or from what an earlier Open kept. Those that were kept are read stage by
// stage when a pass first needs them; a stage is a layer, or what follows the
// last one.
type storage struct {
	file     *gguf.File
	pool     *kernel.Pool
	folder   string // "" to keep nothing
	source   packed.Source
	progress *progress
	dry      bool // matrices are checked and stay empty

	kept   *packed.File // nil where there is nothing to read
	stages [][]place
	stage  int // that matrix adds to
	left   int // stages that are not in memory
	bytes  int64
}

// place is a matrix and where its weights are.
type place struct {
	matrix *kernel.Matrix
	tensor *gguf.Tensor
	first  int // row of the tensor
	kept   *packed.Matrix
}

// openStorage looks for what was kept of the file.
func openStorage(f *gguf.File, pool *kernel.Pool, o Options) *storage {
	s := &storage{file: f, pool: pool, progress: &progress{tell: o.Progress, total: f.Size}}
	// What is kept is tied to one file's state: not for a model in several.
	if o.Keep == "" || len(f.Paths()) == 0 || f.Size < o.KeepFrom || f.Parts > 1 {
		return s
	}
	source, err := packed.Identify(f.Paths()...)
	if err != nil {
		return s
	}
	s.folder, s.source = o.Keep, source
	if s.kept, err = packed.Open(o.Keep, source); err != nil {
		s.kept = nil
	}
	return s
}

// errForeign says that what was kept does not fit the model after all.
var errForeign = errors.New("what was kept of the model does not fit it")

// matrix provides rows of a tensor for the current stage.
func (s *storage) matrix(t *gguf.Tensor, first, rows int) (*kernel.Matrix, error) {
	if s.dry {
		return nil, nil
	}
	format, _ := t.Type.Format()
	m, err := kernel.NewEmpty(format, rows, t.Cols())
	if err != nil {
		return nil, err
	}
	p := place{matrix: m, tensor: t, first: first}
	if s.kept == nil {
		if err := s.pack(p); err != nil {
			return nil, err
		}
	} else if p.kept, _ = s.kept.Matrix(t.Name, first, rows, t.Cols(), m.Format); p.kept == nil {
		return nil, errForeign
	}
	s.bytes += int64(m.Bytes())
	for len(s.stages) <= s.stage {
		s.stages = append(s.stages, nil)
		s.left++
	}
	s.stages[s.stage] = append(s.stages[s.stage], p)
	return m, nil
}

// pack fills a matrix from the model's file.
func (s *storage) pack(p place) error {
	return p.matrix.Pack(s.pool, func(buf []byte, first, n int) ([]byte, error) {
		b, err := s.file.Rows(p.tensor, p.first+first, n, buf)
		s.progress.add("packing the weights", int64(len(b)))
		return b, err
	})
}

// ready makes sure that the matrices of a stage are in memory. Damaged ones are
// packed again from the model's file.
func (s *storage) ready(stage int) error {
	if s.kept == nil || stage >= len(s.stages) || s.stages[stage] == nil {
		return nil
	}
	for _, p := range s.stages[stage] {
		err := p.matrix.Fill(func(b []byte) error { return s.kept.Read(s.pool, p.kept, b) })
		if err != nil {
			s.kept.Discard()
			err = s.pack(p)
		}
		if err != nil {
			return fmt.Errorf("the weights of %q: %w", p.tensor.Name, err)
		}
	}
	s.stages[stage] = nil
	if s.left--; s.left == 0 {
		s.close()
	}
	return nil
}

// root is the model's root: what was kept, or computed from the file.
func (s *storage) root() (core.ModelID, error) {
	if s.kept != nil {
		return s.kept.Root(), nil
	}
	return gguf.RootProgress(s.file, func(n int64) { s.progress.add("computing the root", n) })
}

// forget gives up what was kept.
func (s *storage) forget() {
	s.kept.Discard()
	s.close()
	s.stages, s.stage, s.left, s.bytes = nil, 0, 0, 0
}

// keep stores the packed matrices for the next Open. What goes wrong is told to
// nobody but the progress: the model is complete without it.
func (s *storage) keep(root core.ModelID) {
	if s.kept != nil {
		return
	}
	stages := s.stages
	s.stages, s.left = nil, 0
	if s.folder == "" {
		return
	}
	var entries []packed.Entry
	for _, stage := range stages {
		for _, p := range stage {
			entries = append(entries, packed.Entry{Tensor: p.tensor.Name, First: p.first, Matrix: p.matrix})
		}
	}
	if now, err := packed.Identify(s.file.Paths()...); err != nil || !now.Equal(s.source) {
		return // it changed while it was read
	}
	err := packed.Keep(s.folder, s.source, root, entries, func(n int64) { s.progress.add("keeping the packed weights", n) })
	if err != nil && !errors.Is(err, packed.ErrTaken) {
		s.progress.add("not keeping the packed weights: "+err.Error(), 0)
	}
}

func (s *storage) close() {
	if s.kept != nil {
		s.kept.Close()
		s.kept = nil
	}
}

// progress tells the bytes of one activity after the other.
type progress struct {
	tell  func(what string, done, total int64)
	total int64

	mu   sync.Mutex
	what string
	done int64
}

func (p *progress) add(what string, n int64) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if what != p.what {
		p.what, p.done = what, 0
	}
	p.done += n
	p.tell(what, p.done, p.total)
}
