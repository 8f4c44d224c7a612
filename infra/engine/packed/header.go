package packed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// A file is
//
//	magic (8 bytes), u64 offset and u32 length of the header, SHA-256 of the header
//	the matrices, each at a multiple of 4096 bytes
//	the header (JSON), to the end of the file
//
// with these numbers in little-endian order, and the matrices in this machine's.
const (
	magic     = "koinonP\x02"
	preamble  = len(magic) + 8 + 4 + sha256.Size
	maxHeader = 64 << 20
	alignment = 4096
)

// chunk is how many bytes of a matrix have a checksum of their own.
const chunk = 1 << 20

// header describes a file.
type header struct {
	Layout   string       `json:"layout"`
	Source   Source       `json:"source"`
	Root     core.ModelID `json:"root"`
	Matrices []Matrix     `json:"matrices"`
}

// Matrix is where a packed matrix lies. Rows of a tensor can be kept as several.
type Matrix struct {
	Tensor string        `json:"tensor"`
	First  int           `json:"first"` // row of the tensor
	Rows   int           `json:"rows"`
	Cols   int           `json:"cols"`
	Format kernel.Format `json:"format"`

	Offset int64    `json:"offset"`
	Size   int64    `json:"size"`
	Sums   []uint32 `json:"sums"` // CRC-32C of every chunk
}

// layout names how matrices are packed here.
func layout() string {
	order := "little-endian"
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		order = "big-endian"
	}
	return fmt.Sprintf("panels %d, %s", kernel.PackVersion, order)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the checksum of a chunk.
func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func chunks(size int64) int { return int((size + chunk - 1) / chunk) }

// encode returns the header and the preamble that finds it at an offset.
func (h *header) encode(offset int64) (first, text []byte, err error) {
	text, err = json.Marshal(h)
	if err == nil && len(text) > maxHeader {
		err = errors.New("packed: the model has too many matrices")
	}
	digest := sha256.Sum256(text)
	first = binary.LittleEndian.AppendUint64([]byte(magic), uint64(offset))
	first = binary.LittleEndian.AppendUint32(first, uint32(len(text)))
	return append(first, digest[:]...), text, err
}

// decode reads and checks the header of a file of size bytes.
func decode(r io.ReaderAt, size int64) (*header, error) {
	first := make([]byte, preamble)
	if n, err := r.ReadAt(first, 0); n < len(first) {
		return nil, fmt.Errorf("packed: %w", err)
	}
	rest, ours := bytes.CutPrefix(first, []byte(magic))
	offset, n := binary.LittleEndian.Uint64(rest), int64(binary.LittleEndian.Uint32(rest[8:]))
	if !ours || n > maxHeader || n > size || offset != uint64(size-n) {
		return nil, errors.New("packed: this is not a whole kept model")
	}
	text := make([]byte, n)
	if k, err := r.ReadAt(text, size-n); k < len(text) {
		return nil, fmt.Errorf("packed: %w", err)
	}
	if digest := sha256.Sum256(text); !bytes.Equal(digest[:], rest[12:]) {
		return nil, errors.New("packed: the header is damaged")
	}
	h := &header{}
	if err := json.Unmarshal(text, h); err != nil {
		return nil, fmt.Errorf("packed: %w", err)
	}
	return h, h.check(size - n)
}

// check refuses a header that does not describe matrices in the first end bytes.
func (h *header) check(end int64) error {
	if h.Layout != layout() {
		return fmt.Errorf("packed: the layout is %.60q, not %q", h.Layout, layout())
	}
	for i := range h.Matrices {
		m := &h.Matrices[i]
		want, err := kernel.PackedBytes(m.Format, m.Rows, m.Cols)
		if err != nil {
			return err
		}
		if m.First < 0 || m.Size != int64(want) || m.Offset < alignment || m.Offset%alignment != 0 || m.Offset > end-m.Size || len(m.Sums) != chunks(m.Size) {
			return fmt.Errorf("packed: the matrix %.60q has no place in the file", m.Tensor)
		}
	}
	return nil
}
