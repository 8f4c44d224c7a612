package model

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/architecture"
)

// factors reads the frequency factors that some files keep as tensors. Of
// LongRoPE's two lists the model's context decides, never an answer's length:
// the keys of a position must not depend on what follows.
func (l *loader) factors(c *config) {
	pairs := c.RoPEs[0].Dim / 2
	if _, ok := l.file.Tensor("rope_freqs.weight"); ok && c.Family.RoPEFreqs {
		l.vector(&c.RoPEs[0].Factors, "rope_freqs.weight", pairs)
	}
	if _, ok := l.file.Tensor("rope_factors_long.weight"); ok && c.Family.LongFactors {
		var short, long []float32
		l.vector(&short, "rope_factors_short.weight", pairs)
		l.vector(&long, "rope_factors_long.weight", pairs)
		c.RoPEs[0].Factors = short
		if c.Context > c.OriginalContext {
			c.RoPEs[0].Factors = long
		}
	}
	for _, v := range c.RoPEs[0].Factors {
		if !architecture.Stretch(v) {
			l.fail(fmt.Errorf("the frequency factors of positions hold %v", v))
		}
	}
}
