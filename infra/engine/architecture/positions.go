package architecture

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// readRoPE reads how positions become rotations, and which layers take which.
func (c *Config) readRoPE(r *reader) {
	rope := spec.RoPE{Style: c.Family.RoPE, Dim: r.size("rope.dimension_count", maxHeadDim, c.HeadDim), Base: r.float("rope.freq_base", 10000)}
	if rope.Dim > c.HeadDim || rope.Dim%2 != 0 {
		r.fail(fmt.Errorf("%d rotated elements do not fit heads of %d", rope.Dim, c.HeadDim))
	}
	if rope.Base <= 1 {
		r.fail(fmt.Errorf("%s is %v, it must be more than 1", r.key("rope.freq_base"), rope.Base))
	}
	local := rope
	readScaling(r, &rope)
	if c.Family.LongFactors {
		c.OriginalContext = r.size("rope.scaling.original_context_length", 1<<30, c.Context)
	}
	c.RoPEs, c.Rotary = []spec.RoPE{rope}, make([]int, c.Layers)
	if c.Family.localBase == 0 {
		return
	}
	local.Base = r.float("rope.freq_base_swa", float64(c.Family.localBase))
	c.RoPEs = append(c.RoPEs, local)
	for l, window := range c.Windows {
		if window > 0 {
			c.Rotary[l] = 1
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
	if !Stretch(factor) {
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

// Stretch reports whether positions may be divided by v: the rotary table holds
// angles below 2^63.
func Stretch(v float32) bool { return v >= 1e-3 && v <= 1e9 }
