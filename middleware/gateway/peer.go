package gateway

import (
	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/p2p"
)

// vrfKey is the key under which a provider proves its randomness: the one in
// its peer id. A provider whose peer id holds none was never dialled.
func vrfKey(p core.Provider) core.Bytes {
	k, err := p2p.PeerKey(p.PeerID)
	if err != nil {
		return nil
	}
	return core.Bytes(k)
}
