package referee

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// A row of keys or values that is kept as int8 is a sequence of 32-bit words: n
// quants, four to a word, and then the scale of each block of 32.

// tileBytes is the size of a tile of such a row.
const tileBytes = 4 * commit.TileLen

// Kept is a row of n numbers, a multiple of 32, as an int8 cache keeps it.
func Kept(x []float32) []byte {
	rows := spec.QuantizeRows(x)
	b := make([]byte, 0, keptBytes(len(x)))
	for _, q := range rows.Q {
		b = append(b, byte(q))
	}
	for _, v := range rows.Scales {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func keptBytes(n int) int { return n + n/spec.Block*4 }

// KeptFrom is the range of numbers of a row of n that a tile of the kept row
// depends on.
func KeptFrom(n, tile int) (lo, hi int) {
	from, to := tile*tileBytes, min(keptBytes(n), (tile+1)*tileBytes)
	lo, hi = n, 0
	if from < n { // quants
		lo, hi = from, min(n, to)
	}
	if to > n { // scales
		lo, hi = min(lo, max(0, from-n)/4*spec.Block), max(hi, (to-n)/4*spec.Block)
	}
	return lo, hi
}

// keptTile is a tile of the kept row, of which x are the numbers from lo on.
func keptTile(x []float32, lo, n, tile int) []byte {
	from, to := tile*tileBytes, min(keptBytes(n), (tile+1)*tileBytes)
	rows := spec.QuantizeRows(x)
	b := make([]byte, 0, to-from)
	for i := from; i < min(n, to); i++ {
		b = append(b, byte(rows.Q[i-lo]))
	}
	for i := max(from, n); i < to; i += 4 {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(rows.Scales[(i-n)/4-lo/spec.Block]))
	}
	return b
}

// Words opens some tiles of a kept row.
type Words struct {
	First uint32 // the first tile that is shown
	Data  []byte // whole tiles
}

// KeptRow opens a kept row where a step needs it.
type KeptRow struct {
	Tiles  []core.Hash // of the whole row
	Quants *Words
	Scales *Words
}

// open returns the bytes from from to to of a row of size bytes.
func (w *Words) open(tiles []core.Hash, size, from, to int) ([]byte, error) {
	first, last := from/tileBytes, (to-1)/tileBytes
	start := first * tileBytes
	if w == nil || int(w.First) != first || len(w.Data) != min(size, (last+1)*tileBytes)-start {
		return nil, errors.New("the row is not opened where it is needed")
	}
	for i := first; i <= last; i++ {
		at := i*tileBytes - start
		if sha256.Sum256(w.Data[at:min(len(w.Data), at+tileBytes)]) != tiles[i] {
			return nil, fmt.Errorf("tile %d of the row is not the one committed to", i)
		}
	}
	return w.Data[from-start : to-start], nil
}

// openRow opens the quants, the scales or both of numbers from to to-1 of a kept
// row.
func (v *Step) openRow(m *Model, row core.Hash, from, to int, quants, scales bool) (q []int8, s []float32, err error) {
	n := m.config.KVWidth()
	size := keptBytes(n)
	k := v.Kept
	if k == nil || len(k.Tiles) != commit.Count(size/4) || commit.Opened(size/4, k.Tiles) != row {
		return nil, nil, errors.New("the tiles are not those of the row that was committed to")
	}
	if quants {
		b, err := k.Quants.open(k.Tiles, size, from, to)
		if err != nil {
			return nil, nil, err
		}
		for _, x := range b {
			q = append(q, int8(x))
		}
	}
	if scales {
		b, err := k.Scales.open(k.Tiles, size, n+from/spec.Block*4, n+to/spec.Block*4)
		if err != nil {
			return nil, nil, err
		}
		for ; len(b) > 0; b = b[4:] {
			x := math.Float32frombits(binary.LittleEndian.Uint32(b))
			if x != x {
				return nil, nil, errors.New("a scale is not a number")
			}
			s = append(s, x)
		}
	}
	return q, s, nil
}

// OpenKept shows of a kept row the tiles with the numbers from to to-1: their
// quants, their scales or both.
func OpenKept(row []byte, n, from, to int, quants, scales bool) *KeptRow {
	k := &KeptRow{Tiles: KeptTiles(row)}
	show := func(from, to int) *Words {
		first, last := from/tileBytes, (to-1)/tileBytes
		return &Words{uint32(first), row[first*tileBytes : min(len(row), (last+1)*tileBytes)]}
	}
	if quants {
		k.Quants = show(from, to)
	}
	if scales {
		k.Scales = show(n+from/spec.Block*4, n+to/spec.Block*4)
	}
	return k
}

// KeptTiles are the hashes of a kept row's tiles.
func KeptTiles(row []byte) (out []core.Hash) {
	for ; len(row) > tileBytes; row = row[tileBytes:] {
		out = append(out, sha256.Sum256(row[:tileBytes]))
	}
	return append(out, sha256.Sum256(row))
}
