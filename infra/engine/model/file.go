package model

import "github.com/koinon-network/koinon/infra/engine/gguf"

// File is the open file, for whoever has to show its weights. It is closed with
// the model.
func (m *Model) File() *gguf.File { return m.file }
