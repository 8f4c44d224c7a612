// Package vrf is ECVRF-EDWARDS25519-SHA512-ELL2 of RFC 9381: randomness that
// only the owner of an ed25519 key can compute and that anybody can check.
//
// Start with [NewKey] to prove and [Verify] to check.
//
// Guarantees: for a key and a message there is exactly one output that
// verifies, even if the key was made to cheat (keys of small order are refused);
// equal messages give equal proofs. Vectors are in spec/vectors/vrf.json.
package vrf

import (
	stded25519 "crypto/ed25519"
	"errors"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"
)

// Sizes of a proof, an output and a public key, in bytes.
const (
	ProofSize  = ecvrf.ProofSize
	OutputSize = ecvrf.OutputSize
	KeySize    = ed25519.PublicKeySize
)

// Key proves. It implements core.VRF and is safe for concurrent use.
type Key struct{ key ed25519.PrivateKey }

// NewKey takes a standard ed25519 private key of 64 bytes, such as the raw form
// of a libp2p identity.
func NewKey(key []byte) (*Key, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("a VRF key has %d bytes, got %d", ed25519.PrivateKeySize, len(key))
	}
	own := stded25519.NewKeyFromSeed(key[:stded25519.SeedSize])
	if !own.Equal(stded25519.PrivateKey(key)) {
		return nil, errors.New("the halves of the VRF key do not belong together")
	}
	return &Key{ed25519.PrivateKey(own)}, nil
}

// PublicKey is the ed25519 public key, 32 bytes.
func (k *Key) PublicKey() []byte { return append([]byte(nil), k.key[32:]...) }

// Prove returns the proof (80 bytes) and its output (64 bytes).
func (k *Key) Prove(message []byte) (proof, output []byte, err error) {
	proof = ecvrf.Prove(k.key, message)
	output, err = ecvrf.ProofToHash(proof)
	return proof, output, err
}

// ErrProof means that a proof does not belong to key and message.
var ErrProof = errors.New("the VRF proof does not verify")

// Verify checks proof and returns the output, 64 bytes.
func Verify(key, message, proof []byte) ([]byte, error) {
	if len(key) != KeySize || len(proof) != ProofSize {
		return nil, ErrProof
	}
	ok, output := ecvrf.Verify(key, proof, message)
	if !ok {
		return nil, ErrProof
	}
	return output, nil
}
