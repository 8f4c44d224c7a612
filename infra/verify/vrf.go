package verify

import (
	stded25519 "crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"

	"github.com/koinon-network/koinon/core"
)

// Sizes of a VRF's proof, output and public key, in bytes.
const (
	ProofSize  = ecvrf.ProofSize
	OutputSize = ecvrf.OutputSize
	KeySize    = ed25519.PublicKeySize
)

// VRF is an ed25519 key used as ECVRF-EDWARDS25519-SHA512-ELL2 (RFC 9381). It
// implements [core.VRF] and is safe for concurrent use.
type VRF struct{ key ed25519.PrivateKey }

// NewVRF takes a standard ed25519 private key of 64 bytes, such as the raw form
// of a libp2p identity.
func NewVRF(key []byte) (*VRF, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("a VRF key has %d bytes, got %d", ed25519.PrivateKeySize, len(key))
	}
	own := stded25519.NewKeyFromSeed(key[:stded25519.SeedSize])
	if !own.Equal(stded25519.PrivateKey(key)) {
		return nil, errors.New("the halves of the VRF key do not belong together")
	}
	return &VRF{ed25519.PrivateKey(own)}, nil
}

// PublicKey is the ed25519 public key, 32 bytes.
func (v *VRF) PublicKey() []byte { return append([]byte(nil), v.key[32:]...) }

// Prove returns the proof (80 bytes) and its output (64 bytes). Equal messages
// give equal proofs.
func (v *VRF) Prove(message []byte) (proof, output []byte, err error) {
	proof = ecvrf.Prove(v.key, message)
	output, err = ecvrf.ProofToHash(proof)
	return proof, output, err
}

// ErrVRF means that a proof does not belong to key and message.
var ErrVRF = errors.New("the provider's VRF proof does not verify")

// VerifyVRF checks proof and returns the VRF's output, 64 bytes.
func VerifyVRF(key, message, proof []byte) ([]byte, error) {
	if len(key) != KeySize || len(proof) != ProofSize {
		return nil, ErrVRF
	}
	ok, output := ecvrf.Verify(key, proof, message)
	if !ok {
		return nil, ErrVRF
	}
	return output, nil
}

// ErrNonce means that a nonce does not open the request's commitment.
var ErrNonce = errors.New("the nonce does not open the request's commitment")

// SeedFor derives the sampler's seed of r from the consumer's nonce and the
// provider's proof, after checking both. With a UserSeed the proof must be
// empty.
func SeedFor(r *core.Request, nonce core.Hash, proof, key []byte) (core.Seed, error) {
	if sha256.Sum256(nonce[:]) != r.NonceCommit {
		return core.Seed{}, ErrNonce
	}
	if r.UserSeed != nil {
		if len(proof) != 0 {
			return core.Seed{}, ErrVRF
		}
		return r.DeriveSeed(nonce, nil), nil
	}
	output, err := VerifyVRF(key, r.VRFInput(), proof)
	if err != nil {
		return core.Seed{}, err
	}
	return r.DeriveSeed(nonce, output), nil
}
