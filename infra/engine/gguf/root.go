package gguf

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

// Positions of the leaves that come before the weights (spec/model.md).
const (
	LeafSemantics  = iota // the semantics version
	LeafTokenizer         // TokenizerHash
	LeafMetadata          // all other metadata
	LeafIndex             // the tensor index
	LeafVocabulary        // the vocabulary's summary
	LeafWeights           // the first weight leaf
)

// leafCols is the width of a weight leaf; its height depends on the type.
const leafCols = 256

// leafRows is how many rows of a type make a weight leaf: 16 KiB of plain
// numbers, and 64 rows of any quantised type, at most 17 KiB.
func leafRows(t Type) int {
	switch t {
	case F32:
		return 16
	case F16, BF16:
		return 32
	}
	return 64
}

// Root computes the model root: the model's name on the network. It reads the
// whole file once, on all processors.
func Root(f *File) (core.ModelID, error) { return RootProgress(f, nil) }

// RootProgress is Root for a large file: progress is told the bytes hashed, from
// several goroutines.
func RootProgress(f *File, progress func(n int64)) (core.ModelID, error) {
	leaves, err := hashLeaves(f, progress)
	if err != nil {
		return core.ModelID{}, err
	}
	return merkle.Root(leaves), nil
}

// Leaves returns the leaf hashes under the model root, for proofs.
func Leaves(f *File) ([]core.Hash, error) { return hashLeaves(f, nil) }

func hashLeaves(f *File, progress func(n int64)) ([]core.Hash, error) {
	tensors := canonicalOrder(f.Tensors)
	var stripes []stripe
	next := LeafWeights
	for _, t := range tensors {
		if !t.Type.Usable() {
			return nil, unusable(t)
		}
		height, across := leafRows(t.Type), (t.Cols()+leafCols-1)/leafCols
		for row := 0; row < t.Rows(); row += height {
			stripes = append(stripes, stripe{t, row, min(height, t.Rows()-row), next})
			next += across
		}
	}
	leaves := make([]core.Hash, next)
	leaves[LeafSemantics] = tagged("koinon/semantics/1", binary.BigEndian.AppendUint32(nil, core.SemanticsV1))
	leaves[LeafTokenizer] = TokenizerHash(f.Metadata)
	leaves[LeafMetadata] = tagged("koinon/metadata/1", appendMetadata(nil, descriptionPart(f.Metadata), 0))
	leaves[LeafIndex] = tagged("koinon/tensors/1", encodeIndex(tensors))
	leaves[LeafVocabulary] = VocabularyLeaf(VocabularyOf(f.Metadata).Encode())
	return leaves, hashStripes(f, stripes, leaves, progress)
}

// stripe is a run of rows of one tensor, cut into leaves from left to right.
type stripe struct {
	tensor    *Tensor
	row, rows int
	leaf      int // position of the leftmost leaf
}

func hashStripes(f *File, stripes []stripe, leaves []core.Hash, progress func(n int64)) error {
	var (
		next   atomic.Int64
		failed atomic.Pointer[error]
		wait   sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			var buf stripeBuffer
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(stripes) {
					return
				}
				if err := stripes[i].hash(f, leaves, &buf); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
				if progress != nil {
					progress(int64(stripes[i].rows * stripes[i].tensor.Type.RowSize(stripes[i].tensor.Cols())))
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

const weightsTag = "koinon/weights/1"

// stripeBuffer holds rows of a band of leaves.
type stripeBuffer struct {
	bytes []byte
	rows  [][]byte
}

func (s stripe) hash(f *File, leaves []core.Hash, buf *stripeBuffer) error {
	t := s.tensor
	rowSize, leafSize := t.Type.RowSize(t.Cols()), t.Type.RowSize(leafCols)
	// A band of leaves is read at a time: the memory is bounded also where a row
	// is very long.
	band := max(1, (8<<20)/(s.rows*leafSize)) * leafSize
	h := sha256.New()
	for left := 0; left < rowSize; left += band {
		width := min(band, rowSize-left)
		if err := s.read(f, buf, left, width); err != nil {
			return err
		}
		for at := 0; at < width; at += leafSize {
			h.Reset()
			h.Write([]byte(weightsTag))
			for _, row := range buf.rows {
				h.Write(row[at:min(at+leafSize, width)])
			}
			h.Sum(leaves[s.leaf+(left+at)/leafSize][:0])
		}
	}
	return nil
}

// read sets the rows of buf to width bytes of the stripe's rows, from left on.
func (s stripe) read(f *File, buf *stripeBuffer, left, width int) error {
	rowSize := s.tensor.Type.RowSize(s.tensor.Cols())
	first := uint64(s.row) * uint64(rowSize)
	buf.rows = buf.rows[:0]
	if width == rowSize {
		all, err := f.span(buf.bytes, s.tensor, first, s.rows*rowSize)
		if err != nil {
			return err
		}
		for r := range s.rows {
			buf.rows = append(buf.rows, all[r*rowSize:(r+1)*rowSize])
		}
		if f.parts[s.tensor.part].view() == nil {
			buf.bytes = all
		}
		return nil
	}
	if need := s.rows * width; len(buf.bytes) < need {
		buf.bytes = make([]byte, need)
	}
	for r := range s.rows {
		row, err := f.span(buf.bytes[r*width:(r+1)*width], s.tensor, first+uint64(r)*uint64(rowSize)+uint64(left), width)
		if err != nil {
			return err
		}
		buf.rows = append(buf.rows, row)
	}
	return nil
}

// canonicalOrder sorts tensors by name, whatever their order in the file.
func canonicalOrder(tensors []Tensor) []*Tensor {
	out := make([]*Tensor, len(tensors))
	for i := range tensors {
		out[i] = &tensors[i]
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func encodeIndex(tensors []*Tensor) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(tensors)))
	for _, t := range tensors {
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.Name)))
		b = append(b, t.Name...)
		b = binary.BigEndian.AppendUint32(b, uint32(t.Type))
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.Dims)))
		for _, d := range t.Dims {
			b = binary.BigEndian.AppendUint64(b, d)
		}
	}
	return b
}

func tagged(tag string, b []byte) core.Hash {
	h := sha256.New()
	h.Write([]byte(tag))
	h.Write(b)
	return core.Hash(h.Sum(nil))
}

// inTokenizerPart tells the keys that a gateway needs from the others.
func inTokenizerPart(key string) bool {
	return strings.HasPrefix(key, "tokenizer.") || strings.HasPrefix(key, "general.sampling.") || strings.HasSuffix(key, ".pooling_type")
}

// TokenizerPart returns the metadata that decide how text becomes tokens and
// tokens become text: the tokenizer, the chat template, and the sampling and the
// pooling that the model recommends.
func TokenizerPart(m Metadata) Metadata { return m.filter(inTokenizerPart) }

// descriptionPart returns everything else that names the model.
func descriptionPart(m Metadata) Metadata {
	return m.filter(func(key string) bool { return !inTokenizerPart(key) && !isLayout(key) })
}

// isLayout tells the keys that say how files hold a model, not what it is.
func isLayout(key string) bool {
	return key == "general.alignment" || key == splitNumber || key == splitCount || key == splitTensors
}

func (m Metadata) filter(keep func(key string) bool) Metadata {
	out := Metadata{values: map[string]Value{}}
	for k, v := range m.values {
		if keep(k) {
			out.values[k] = v
		}
	}
	return out
}
