package model

import (
	"context"

	"github.com/koinon-network/koinon/core"
)

// Embed implements core.Engine.
func (m *Model) Embed(context.Context, [][]core.Token, core.Pooling) ([][]float32, error) {
	return nil, core.Errorf(core.CodeInvalid, "embeddings are not served yet")
}
