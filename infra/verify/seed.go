package verify

import (
	"crypto/sha256"
	"errors"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/vrf"
)

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
			return core.Seed{}, vrf.ErrProof
		}
		return r.DeriveSeed(nonce, nil), nil
	}
	output, err := vrf.Verify(key, r.VRFInput(), proof)
	if err != nil {
		return core.Seed{}, err
	}
	return r.DeriveSeed(nonce, output), nil
}
