package market

import (
	"crypto/ed25519"
	"errors"

	"github.com/mr-tron/base58"
)

// peerPrefix is what a libp2p peer id of an ed25519 key starts with: an
// identity multihash (0x00, length 36) of the protobuf public key {type 1:
// Ed25519, data 2: 32 bytes}.
var peerPrefix = [6]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}

// PeerKey returns the ed25519 key inside a peer id in base58btc, the
// "12D3KooW..." form.
func PeerKey(id string) (ed25519.PublicKey, error) {
	if len(id) > 64 {
		return nil, errors.New("a peer id has at most 64 characters")
	}
	b, err := base58.Decode(id)
	if err != nil {
		return nil, errors.New("a peer id is written in base58")
	}
	if len(b) != len(peerPrefix)+ed25519.PublicKeySize || [6]byte(b) != peerPrefix {
		return nil, errors.New("the peer id must contain an ed25519 key (12D3KooW...)")
	}
	if base58.Encode(b) != id {
		return nil, errors.New("the peer id is not in canonical form")
	}
	return b[len(peerPrefix):], nil
}

// PeerID is the inverse of [PeerKey].
func PeerID(key ed25519.PublicKey) string { return base58.Encode(append(peerPrefix[:], key...)) }
