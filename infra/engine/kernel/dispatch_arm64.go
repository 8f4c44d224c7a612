package kernel

import "golang.org/x/sys/cpu"

// accelerated says that the assembly runs; dotProduct that it multiplies bytes
// in groups of four (SDOT).
var accelerated, dotProduct bool

func init() { useInstructions(instructions) }

func useInstructions(set string) { accelerated, dotProduct = set != Portable, set == neonDot }

// neonDot is NEON with SDOT; NEON itself is part of the architecture.
const neonDot = "neon-dotprod"

func processorSets() []string {
	if cpu.ARM64.HasASIMDDP {
		return []string{neonDot, "neon"}
	}
	return []string{"neon"}
}

// dotQuants says that int8 attention has assembly.
func dotQuants() bool { return dotProduct }
