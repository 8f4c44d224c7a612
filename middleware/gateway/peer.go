package gateway

import (
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/koinon-network/koinon/core"
)

// peerKey returns the ed25519 public key inside a peer id, nil if it has none.
func peerKey(id string) core.Bytes {
	p, err := peer.Decode(id)
	if err != nil {
		return nil
	}
	k, err := p.ExtractPublicKey()
	if err != nil {
		return nil
	}
	raw, err := k.Raw()
	if err != nil {
		return nil
	}
	return raw
}
