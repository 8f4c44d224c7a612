package model

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// readRoPE reads how positions become rotations, and which layers take which.
func (c *config) readRoPE(r *reader) {
	rope := spec.RoPE{Style: c.family.rope, Dim: r.size("rope.dimension_count", maxHeadDim, c.headDim), Base: r.float("rope.freq_base", 10000)}
	if rope.Dim > c.headDim || rope.Dim%2 != 0 {
		r.fail(fmt.Errorf("%d rotated elements do not fit heads of %d", rope.Dim, c.headDim))
	}
	if rope.Base <= 1 {
		r.fail(fmt.Errorf("%s is %v, it must be more than 1", r.key("rope.freq_base"), rope.Base))
	}
	local := rope
	readScaling(r, &rope)
	if c.family.longFactors {
		c.originalContext = r.size("rope.scaling.original_context_length", 1<<30, c.context)
	}
	c.ropes, c.rotary = []spec.RoPE{rope}, make([]int, c.layers)
	if c.family.localBase == 0 {
		return
	}
	local.Base = r.float("rope.freq_base_swa", float64(c.family.localBase))
	c.ropes = append(c.ropes, local)
	for l, window := range c.windows {
		if window > 0 {
			c.rotary[l] = 1
		}
	}
}

// readScaling reads the scaling of positions to a longer context.
func readScaling(r *reader, rope *spec.RoPE) {
	factor := float32(1)
	for _, name := range []string{"rope.scale_linear", "rope.scaling.factor"} {
		if v := r.optional(name); v != 0 {
			factor = v
		}
	}
	if !stretch(factor) {
		r.fail(fmt.Errorf("positions scaled by the factor %v are not supported", factor))
	}
	kind, err := gguf.Or(r.m.Text(r.key("rope.scaling.type")))("linear")
	r.fail(err)
	rope.Magnitude = r.optional("rope.scaling.attn_factor")
	switch kind {
	case "none", "":
	case "linear":
		if factor != 1 {
			rope.Scale = 1 / factor
		}
	case "yarn":
		rope.YaRN = spec.YaRN{Factor: factor, Context: r.size("rope.scaling.original_context_length", 1<<30, 0),
			BetaFast: r.float("rope.scaling.yarn_beta_fast", 32), BetaSlow: r.float("rope.scaling.yarn_beta_slow", 1)}
		if rope.YaRN.BetaFast < rope.YaRN.BetaSlow {
			r.fail(fmt.Errorf("YaRN's betas %v and %v are in the wrong order", rope.YaRN.BetaFast, rope.YaRN.BetaSlow))
		}
		for _, name := range []string{"rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"} {
			if v := r.float(name, 1); v != 1 {
				r.fail(fmt.Errorf("%s = %v is not supported", r.key(name), v))
			}
		}
	case "longrope", "su":
		if factor != 1 {
			r.fail(fmt.Errorf("LongRoPE with the factor %v is not supported", factor))
		}
	default:
		r.fail(fmt.Errorf("the position scaling %.40q is not supported", kind))
	}
}

// stretch reports whether positions may be divided by v: the rotary table holds
// angles below 2^63.
func stretch(v float32) bool { return v >= 1e-3 && v <= 1e9 }

// factors reads the frequency factors that some files keep as tensors. Of
// LongRoPE's two lists the model's context decides, never an answer's length:
// the keys of a position must not depend on what follows.
func (l *loader) factors(c *config) {
	pairs := c.ropes[0].Dim / 2
	if _, ok := l.file.Tensor("rope_freqs.weight"); ok && c.family.ropeFreqs {
		l.vector(&c.ropes[0].Factors, "rope_freqs.weight", pairs)
	}
	if _, ok := l.file.Tensor("rope_factors_long.weight"); ok && c.family.longFactors {
		var short, long []float32
		l.vector(&short, "rope_factors_short.weight", pairs)
		l.vector(&long, "rope_factors_long.weight", pairs)
		c.ropes[0].Factors = short
		if c.context > c.originalContext {
			c.ropes[0].Factors = long
		}
	}
	for _, v := range c.ropes[0].Factors {
		if !stretch(v) {
			l.fail(fmt.Errorf("the frequency factors of positions hold %v", v))
		}
	}
}
