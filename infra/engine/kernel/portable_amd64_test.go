package kernel

import "testing"

// TestPortableForms runs the comparisons with package spec again with the
// assembly switched off.
func TestPortableForms(t *testing.T) {
	if !accelerated {
		t.Skip("this processor runs the portable forms anyway")
	}
	accelerated = false
	defer func() { accelerated = true }()
	t.Run("linear", TestLinearEqualsSpec)
	t.Run("splits", TestSplitsDoNotMatter)
	t.Run("gated", TestLinearsAndGatedLinear)
	t.Run("attention", TestAttentionEqualsSpec)
	t.Run("vectors", TestVectorsEqualSpec)
	t.Run("rotate", TestRotateEqualsSpec)
	t.Run("quantize", TestQuantizeEqualsSpec)
}
