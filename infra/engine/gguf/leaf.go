package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
)

// WeightLeaf returns how many rows and columns of a type make one weight leaf.
func WeightLeaf(t Type) (rows, cols int) { return leafRows(t), leafCols }

// WeightLeaves is the number of leaves of a matrix, and how many of them stand
// side by side.
func WeightLeaves(t Type, rows, cols int) (all, across uint64) {
	across = (uint64(cols) + leafCols - 1) / leafCols
	height := uint64(leafRows(t))
	return (uint64(rows) + height - 1) / height * across, across
}

// DescriptionLeaf is the leaf of the metadata outside the tokenizer part.
func DescriptionLeaf(description []byte) core.Hash { return tagged("koinon/metadata/1", description) }

// IndexLeaf is the leaf of the tensor index.
func IndexLeaf(index []byte) core.Hash { return tagged("koinon/tensors/1", index) }

// WeightLeafHash is the leaf of a tile of weights, row by row.
func WeightLeafHash(tile []byte) core.Hash { return tagged(weightsTag, tile) }

// Description is the file's metadata outside the tokenizer part, as the model
// root binds it: a GGUF file without tensors.
func Description(m Metadata) []byte { return appendMetadata(nil, descriptionPart(m), 0) }

// Index is the file's tensor index as the model root binds it.
func Index(f *File) []byte { return encodeIndex(canonicalOrder(f.Tensors)) }

// ParseIndex reads what [Index] wrote. Offsets and sizes are not part of it.
func ParseIndex(b []byte) ([]Tensor, error) {
	c := &cursor{b: b}
	n := c.bigU32()
	if c.err != nil {
		return nil, c.err
	}
	if uint64(n) > uint64(len(b))/21 {
		return nil, fmt.Errorf("gguf: an index of %d tensors in %d bytes", n, len(b))
	}
	tensors := make([]Tensor, 0, n)
	for range n {
		var t Tensor
		size := c.bigU32()
		if size == 0 || size > maxName {
			return nil, errors.New("gguf: a tensor's name in the index is empty or too long")
		}
		t.Name = string(c.take(uint64(size)))
		t.Type = Type(c.bigU32())
		dims := c.bigU32()
		if dims == 0 || dims > maxDims {
			return nil, errors.New("gguf: a tensor in the index has no dimensions, or too many")
		}
		for range dims {
			t.Dims = append(t.Dims, c.bigU64())
		}
		if c.err != nil {
			return nil, c.err
		}
		if _, err := dataSize(t.Type, t.Dims); err != nil {
			return nil, fmt.Errorf("gguf: tensor %q in the index: %w", t.Name, err)
		}
		if len(tensors) > 0 && tensors[len(tensors)-1].Name >= t.Name {
			return nil, errors.New("gguf: the index is not in the order of names")
		}
		tensors = append(tensors, t)
	}
	if c.at != len(b) {
		return nil, errors.New("gguf: bytes behind the tensor index")
	}
	return tensors, nil
}

func (c *cursor) bigU32() uint32 { return binary.BigEndian.Uint32(c.fixed(4)) }
func (c *cursor) bigU64() uint64 { return binary.BigEndian.Uint64(c.fixed(8)) }

// fixed is take for a small number of bytes, zeros where they are missing.
func (c *cursor) fixed(n int) []byte {
	if b := c.take(uint64(n)); len(b) == n {
		return b
	}
	return make([]byte, n)
}
