package kernel

import "golang.org/x/sys/cpu"

// accelerated says that the assembly runs; vnni that it multiplies quantised
// weights by AVX-512's instruction for it.
var accelerated, vnni bool

func init() { useInstructions(instructions) }

func useInstructions(set string) { accelerated, vnni = set != Portable, set == avx512 }

// avx512 is AVX2 with the products of AVX-512 VNNI, in vectors of 256 bits.
const avx512 = "avx512-vnni"

func processorSets() []string {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !hasF16C():
		return nil
	case x.HasAVX512VL && x.HasAVX512BW && x.HasAVX512VNNI:
		return []string{"avx2", avx512}
	}
	return []string{"avx2"}
}

// dotQuants says that int8 attention has assembly.
func dotQuants() bool { return accelerated }
