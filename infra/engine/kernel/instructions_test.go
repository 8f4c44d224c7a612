package kernel

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestEveryInstructionSet runs the comparisons with package spec again on the
// instruction sets that are not used by themselves.
func TestEveryInstructionSet(t *testing.T) {
	defer useInstructions(InstructionSet())
	for _, set := range InstructionSets() {
		if set == InstructionSet() {
			continue
		}
		t.Run(set, func(t *testing.T) {
			useInstructions(set)
			t.Run("linear", TestLinearEqualsSpec)
			t.Run("splits", TestSplitsDoNotMatter)
			t.Run("gated", TestLinearsAndGatedLinear)
			t.Run("attention", TestAttentionEqualsSpec)
			t.Run("tiles", TestAttentionInTiles)
			t.Run("vectors", TestVectorsEqualSpec)
			t.Run("rotate", TestRotateEqualsSpec)
			t.Run("quantize", TestQuantizeEqualsSpec)
		})
	}
}

func TestInstructionSetByName(t *testing.T) {
	sets := InstructionSets()
	if sets[len(sets)-1] != Portable {
		t.Errorf("the sets are %q: portable is not the last", sets)
	}
	if runtime.GOARCH == "arm64" && !slices.Contains(sets, "neon") {
		t.Errorf("the sets are %q: every arm64 processor has NEON", sets)
	}
	for _, set := range sets {
		if got, err := chooseInstructions(set); got != set || err != nil {
			t.Errorf("asked for %s, got %s, %v", set, got, err)
		}
	}
	if got, err := chooseInstructions(""); got != sets[0] || err != nil {
		t.Errorf("asked for nothing, got %s, %v", got, err)
	}
	got, err := chooseInstructions("mmx")
	if got != Portable || err == nil || !strings.Contains(err.Error(), InstructionVariable) || !strings.Contains(err.Error(), Portable) {
		t.Errorf("asked for mmx, got %s, %v", got, err)
	}
}
