package convert

import (
	"fmt"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
)

// ggmlTypes bounds the numbers of types that are looked through for a name.
const ggmlTypes = 64

// Types are the names of the types that models can be converted to.
func Types() []string {
	var names []string
	for t := range gguf.Type(ggmlTypes) {
		if t.Usable() {
			names = append(names, t.String())
		}
	}
	return names
}

// TypeNamed returns the type of a name as Q8_0, in upper or lower case.
func TypeNamed(name string) (gguf.Type, error) {
	if t, ok := gguf.TypeNamed(strings.ToUpper(name)); ok && t.Usable() {
		return t, nil
	}
	return 0, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("models are not converted to %.20q", name),
		Next: "choose one of " + strings.Join(Types(), ", ")}
}

// typeFor is the type that a tensor gets in a model converted to a type:
//
//   - vectors, norms, biases, position factors and routers: F32
//   - the output matrix of a model in Q4_K or Q5_K (the embedding, where that
//     serves as output): Q6_K
//   - rows that are no whole number of the type's blocks: Q8_0 where they are a
//     multiple of 32, else F16
//   - all others: the type itself
func typeFor(name string, rows, cols int, to gguf.Type, output string) gguf.Type {
	if rows == 1 || strings.HasSuffix(name, "_norm.weight") || strings.HasSuffix(name, ".bias") ||
		strings.HasSuffix(name, "ffn_gate_inp.weight") || strings.HasSuffix(name, "ffn_gate_inp_shexp.weight") || strings.HasPrefix(name, "rope_") {
		return gguf.F32
	}
	if name == output && (to == gguf.Q4_K || to == gguf.Q5_K) {
		to = gguf.Q6_K
	}
	if block, _ := to.Block(); cols%block == 0 {
		return to
	}
	if cols%32 == 0 {
		return gguf.Q8_0
	}
	return gguf.F16
}

// fileTypes are GGUF's numbers of models in a type, for general.file_type.
var fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q4_0: 2, gguf.Q4_1: 3, gguf.Q8_0: 7, gguf.Q5_0: 8, gguf.Q5_1: 9,
	gguf.Q4_K: 14, gguf.Q5_K: 16, gguf.Q6_K: 18, gguf.BF16: 32}

// describeType notes the type in a model's metadata.
func describeType(m *gguf.Metadata, to gguf.Type) {
	m.Delete("general.file_type")
	if n, ok := fileTypes[to]; ok {
		m.Set("general.file_type", n)
	}
	if block, _ := to.Block(); block > 1 {
		m.Set("general.quantization_version", uint32(2))
	} else {
		m.Delete("general.quantization_version")
	}
}
