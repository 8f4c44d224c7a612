package model

import "github.com/koinon-network/koinon/infra/engine/kernel"

// WeightBytes is the memory of the packed weight matrices. A pass reads all of
// them, in a mixture of experts those of the experts it chooses.
func (m *Model) WeightBytes() int64 { return m.storage.bytes }

// CacheBytesPerToken is the memory of one position's keys and values.
func (m *Model) CacheBytesPerToken() int64 {
	n, _ := m.config.blockBytes()
	return n / kernel.PageTokens
}
