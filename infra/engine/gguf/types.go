package gguf

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Type is a tensor's element format, numbered as in ggml.
type Type uint32

// Types whose data this package reads and writes.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q4_K Type = 12
	Q5_K Type = 13
	Q6_K Type = 14
	BF16 Type = 30
)

// computable maps the types that the engine computes with to their definitions.
var computable = map[Type]spec.Format{
	F32: spec.F32, F16: spec.F16, BF16: spec.BF16, Q8_0: spec.Q8_0, Q4_0: spec.Q4_0, Q4_1: spec.Q4_1,
	Q5_0: spec.Q5_0, Q5_1: spec.Q5_1, Q4_K: spec.Q4_K, Q5_K: spec.Q5_K, Q6_K: spec.Q6_K,
}

// Format returns how the engine computes with the type, if it does.
func (t Type) Format() (f spec.Format, ok bool) {
	f, ok = computable[t]
	return f, ok
}

// TypeNamed returns the usable type of that name, such as "Q4_K".
func TypeNamed(name string) (Type, bool) {
	for t := range computable {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}

// format describes a ggml type: size bytes hold block elements.
type format struct {
	name        string
	block, size uint64
}

// formats lists every type of ggml, so that a file with foreign tensors can be
// opened, listed and refused by name. Removed types have no size.
var formats = map[Type]format{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, Q4_0: {"Q4_0", 32, 18}, Q4_1: {"Q4_1", 32, 20},
	4: {name: "Q4_2"}, 5: {name: "Q4_3"}, Q5_0: {"Q5_0", 32, 22}, Q5_1: {"Q5_1", 32, 24},
	Q8_0: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36}, 10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110},
	Q4_K: {"Q4_K", 256, 144}, Q5_K: {"Q5_K", 256, 176}, Q6_K: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50},
	20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
	29: {"IQ1_M", 256, 56}, BF16: {"BF16", 1, 2},
	31: {name: "Q4_0_4_4"}, 32: {name: "Q4_0_4_8"}, 33: {name: "Q4_0_8_8"},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66},
	36: {name: "IQ4_NL_4_4"}, 37: {name: "IQ4_NL_4_8"}, 38: {name: "IQ4_NL_8_8"},
	39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36},
}

// String returns ggml's name of the type.
func (t Type) String() string {
	if f, ok := formats[t]; ok {
		return f.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Usable reports whether the engine can compute with the type.
func (t Type) Usable() bool {
	_, ok := computable[t]
	return ok
}

// Block returns how many elements form a block and how many bytes it takes;
// zeros for a type that ggml has removed or that is unknown.
func (t Type) Block() (elements, bytes int) {
	f := formats[t]
	return int(f.block), int(f.size)
}

// RowSize returns the bytes of a row of n elements. It panics when n is not a
// whole number of blocks, which Open has excluded for every listed tensor.
func (t Type) RowSize(n int) int {
	block, size := t.Block()
	if block == 0 || n%block != 0 {
		panic(fmt.Sprintf("gguf: a row of %d elements is no whole number of %v blocks", n, t))
	}
	return n / block * size
}

// Tensor is an entry of the tensor index.
type Tensor struct {
	Name string
	Type Type
	// Dims has 1 to 4 lengths, fastest-varying first, as in ggml: a matrix of
	// r rows and c columns has Dims {c, r}.
	Dims []uint64
	// Offset is counted from the start of the file, Size is in bytes.
	Offset, Size uint64

	part int // the file of a model in several that holds it
}

// Cols is the length of a row.
func (t *Tensor) Cols() int { return int(t.Dims[0]) }

// Rows is the number of rows, all outer dimensions multiplied.
func (t *Tensor) Rows() int {
	n := 1
	for _, d := range t.Dims[1:] {
		n *= int(d)
	}
	return n
}

// Elements is the number of elements.
func (t *Tensor) Elements() int { return t.Rows() * t.Cols() }
