package model

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/architecture"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// Architectures lists the values of general.architecture that [Open] accepts.
var Architectures = architecture.Names

// config is what the forward pass and the loader follow: they know no
// architectures by name.
type config struct {
	*architecture.Config

	scoring    kernel.Scoring
	activation kernel.Activation
	int8       bool // keys and values are kept as int8
}

func readConfig(m gguf.Metadata) (*config, error) {
	a, err := architecture.Read(m)
	if err != nil {
		return nil, err
	}
	c := &config{Config: a, scoring: kernel.Scoring{Scale: a.ScoreScale, Cap: a.ScoreCap}, activation: kernel.SiLUMul}
	if a.Family.GELU {
		c.activation = kernel.GELUMul
	}
	return c, nil
}

// semantics is the version of the numerics with its option.
func (c *config) semantics() uint32 {
	if c.int8 {
		return core.SemanticsKV8
	}
	return core.SemanticsV1
}

func (c *config) shape() kernel.KVShape {
	return kernel.KVShape{Heads: c.KVHeads, Dim: c.HeadDim, Int8: c.int8}
}
