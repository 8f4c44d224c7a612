package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// InstructionVariable is the environment variable that names the instruction
// set to use, for those who compare: one of [InstructionSets]. Unset or empty
// means the first of them. Results are the same in every bit.
const InstructionVariable = "KOINON_INSTRUCTION_SET"

// Portable names the forms in plain Go.
const Portable = "portable"

// InstructionSets are those that this processor and this build have, the one
// that is used by itself first, "portable" last. The others are "avx2" (with
// F16C) and "avx512-vnni" on amd64, and "neon-dotprod" and "neon" on arm64.
func InstructionSets() []string { return append(processorSets(), Portable) }

// InstructionSet is the one in use.
func InstructionSet() string { return instructions }

// CheckInstructionSet fails when the environment asks for an instruction set
// that is not there; the portable forms are in use then.
func CheckInstructionSet() error { return instructionsError }

var instructions, instructionsError = chooseInstructions(os.Getenv(InstructionVariable))

func chooseInstructions(asked string) (string, error) {
	sets := InstructionSets()
	switch {
	case asked == "":
		return sets[0], nil
	case slices.Contains(sets, asked):
		return asked, nil
	}
	return Portable, fmt.Errorf("%s=%q: this processor and build have %s", InstructionVariable, asked, strings.Join(sets, ", "))
}
