package convert

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// Limits on a safetensors file, beyond what its size already bounds.
const (
	maxHeader  = 100 << 20
	maxFiles   = 1 << 12
	maxTensors = 1 << 20
	maxDims    = 4
	maxIndex   = 64 << 20
)

// stored is a tensor of a safetensors file.
type stored struct {
	name   string
	dtype  string
	shape  []int // slowest-varying first
	file   io.ReaderAt
	offset int64
}

// dtypes are the element types that are read, which GGUF has too.
var dtypes = map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}

func (s *stored) kind() (gguf.Type, error) {
	t, ok := dtypes[s.dtype]
	if !ok {
		return 0, fmt.Errorf("the tensor %q is stored as %.20q, which is not read: only F32, F16 and BF16 are", s.name, s.dtype)
	}
	return t, nil
}

func (s *stored) cols() int { return s.shape[len(s.shape)-1] }

// read decodes n rows from first on.
func (s *stored) read(dst []float32, first, n int) error {
	t, err := s.kind()
	if err != nil {
		return err
	}
	size := t.RowSize(s.cols())
	b := make([]byte, n*size)
	if k, err := s.file.ReadAt(b, s.offset+int64(first)*int64(size)); k < len(b) {
		return fmt.Errorf("reading %q: %w", s.name, err)
	}
	gguf.Dequantize(t, b, dst[:n*s.cols()])
	return nil
}

// parseSafetensors reads the header of a file of size bytes.
func parseSafetensors(r io.ReaderAt, size int64) (map[string]*stored, error) {
	var length [8]byte
	if n, err := r.ReadAt(length[:], 0); n < 8 {
		return nil, fmt.Errorf("it is too short: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("a header of %d bytes does not fit", n)
	}
	b := make([]byte, n)
	if k, err := r.ReadAt(b, 8); k < len(b) {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(b, &header); err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	delete(header, "__metadata__")
	if len(header) > maxTensors {
		return nil, fmt.Errorf("%d tensors are too many", len(header))
	}
	tensors := make(map[string]*stored, len(header))
	type span struct{ begin, end int64 }
	var spans []span
	for name, raw := range header {
		var entry struct {
			Dtype   string  `json:"dtype"`
			Shape   []int64 `json:"shape"`
			Offsets []int64 `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			return nil, fmt.Errorf("the tensor %.80q: %w", name, err)
		}
		if len(entry.Offsets) != 2 || entry.Offsets[0] < 0 || entry.Offsets[1] < entry.Offsets[0] || entry.Offsets[1] > size-8-int64(n) {
			return nil, fmt.Errorf("the tensor %.80q lies outside the file: is the file complete?", name)
		}
		s := &stored{name: name, dtype: entry.Dtype, file: r, offset: 8 + int64(n) + entry.Offsets[0]}
		elements := int64(1)
		for _, d := range entry.Shape {
			if d < 1 || d > math.MaxInt32 || elements > math.MaxInt64/8/d {
				return nil, fmt.Errorf("the tensor %.80q has the impossible shape %v", name, entry.Shape)
			}
			elements *= d
			s.shape = append(s.shape, int(d))
		}
		if len(s.shape) > maxDims {
			return nil, fmt.Errorf("the tensor %.80q has %d dimensions", name, len(s.shape))
		}
		if t, known := dtypes[entry.Dtype]; known {
			if _, width := t.Block(); elements*int64(width) != entry.Offsets[1]-entry.Offsets[0] {
				return nil, fmt.Errorf("the tensor %.80q of shape %v does not have %d bytes", name, entry.Shape, entry.Offsets[1]-entry.Offsets[0])
			}
		}
		tensors[name] = s
		spans = append(spans, span{entry.Offsets[0], entry.Offsets[1]})
	}
	slices.SortFunc(spans, func(a, b span) int { return int(min(1, max(-1, a.begin-b.begin))) })
	for i := 1; i < len(spans); i++ {
		if spans[i].begin < spans[i-1].end {
			return nil, errors.New("two tensors overlap")
		}
	}
	return tensors, nil
}

// weightFiles are the open safetensors files of a folder.
type weightFiles struct {
	tensors map[string]*stored
	files   []*os.File
}

func (w *weightFiles) Close() error {
	var failed error
	for _, f := range w.files {
		failed = errors.Join(failed, f.Close())
	}
	return failed
}

// openWeights opens what the folder's index lists, or its only safetensors file.
func openWeights(dir string) (*weightFiles, error) {
	w := &weightFiles{tensors: map[string]*stored{}}
	err := w.open(dir)
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *weightFiles) open(dir string) error {
	b, err := readLimited(filepath.Join(dir, "model.safetensors.index.json"), maxIndex)
	if errors.Is(err, fs.ErrNotExist) {
		found, _ := filepath.Glob(filepath.Join(dir, "*.safetensors"))
		if len(found) != 1 {
			return fmt.Errorf("the folder has %d files *.safetensors and no model.safetensors.index.json", len(found))
		}
		w.tensors, err = w.add(found[0])
		return err
	}
	if err != nil {
		return err
	}
	var index struct {
		Files map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return fmt.Errorf("model.safetensors.index.json: %w", err)
	}
	opened := map[string]map[string]*stored{}
	for name, file := range index.Files {
		if opened[file] == nil {
			if file != filepath.Base(file) || !strings.HasSuffix(file, ".safetensors") || len(opened) >= maxFiles {
				return fmt.Errorf("model.safetensors.index.json names the file %.80q", file)
			}
			if opened[file], err = w.add(filepath.Join(dir, file)); err != nil {
				return err
			}
		}
		s, ok := opened[file][name]
		if !ok {
			return fmt.Errorf("%s lacks the tensor %.80q that model.safetensors.index.json puts there", file, name)
		}
		w.tensors[name] = s
	}
	for file, tensors := range opened {
		for name := range tensors {
			if index.Files[name] != file {
				return fmt.Errorf("%s holds the tensor %.80q that model.safetensors.index.json does not put there", file, name)
			}
		}
	}
	return nil
}

func (w *weightFiles) add(path string) (map[string]*stored, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	w.files = append(w.files, f)
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	tensors, err := parseSafetensors(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return tensors, nil
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(path), limit)
	}
	return b, err
}
