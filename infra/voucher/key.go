package voucher

import (
	"crypto/rand"
	"errors"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/koinon-network/koinon/core"
)

// Errors about signatures.
var (
	ErrMalleable = errors.New("the signature is not in canonical form (v 27 or 28, low s)")
	ErrSignature = errors.New("the signature is not valid")
	ErrSigner    = errors.New("the signature is by another key")
)

// Key is a secp256k1 private key in memory; it implements [core.Signer].
type Key struct {
	private *secp256k1.PrivateKey
	address core.Address
}

var _ core.Signer = (*Key)(nil)

// NewKey reads a private key of 32 big-endian bytes, not zero and below the
// group's order.
func NewKey(b []byte) (*Key, error) {
	if len(b) != 32 {
		return nil, errors.New("a private key has 32 bytes")
	}
	var s secp256k1.ModNScalar
	if s.SetByteSlice(b) || s.IsZero() {
		return nil, errors.New("the private key is outside the secp256k1 group's order")
	}
	p := secp256k1.NewPrivateKey(&s)
	return &Key{p, addressOf(p.PubKey())}, nil
}

// GenerateKey draws a key at random.
func GenerateKey() (*Key, error) {
	for {
		var b [32]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, err
		}
		if k, err := NewKey(b[:]); err == nil {
			return k, nil
		}
	}
}

// Address returns the key's account.
func (k *Key) Address() core.Address { return k.address }

// Sign signs the digest as it is, deterministically (RFC 6979).
func (k *Key) Sign(digest core.Hash) (core.Signature, error) {
	c := ecdsa.SignCompact(k.private, digest[:], false)
	var s core.Signature
	copy(s[:64], c[1:])
	s[64] = c[0]
	return s, nil
}

// String names the account and never the key.
func (k *Key) String() string { return "key of " + k.address.String() }

// GoString is String, so that %#v does not print the key either.
func (k *Key) GoString() string { return k.String() }

// Recover returns the account that signed digest. It fails with [ErrMalleable]
// or [ErrSignature].
func Recover(digest core.Hash, sig core.Signature) (core.Address, error) {
	p, err := recoverKey(digest, sig)
	if err != nil {
		return core.Address{}, err
	}
	return addressOf(p), nil
}

func recoverKey(digest core.Hash, sig core.Signature) (*secp256k1.PublicKey, error) {
	v := sig[64]
	var s secp256k1.ModNScalar
	if v != 27 && v != 28 || s.SetByteSlice(sig[32:64]) || s.IsOverHalfOrder() {
		return nil, ErrMalleable
	}
	var c [65]byte
	c[0] = v
	copy(c[1:], sig[:64])
	p, _, err := ecdsa.RecoverCompact(c[:], digest[:])
	if err != nil {
		return nil, ErrSignature
	}
	return p, nil
}

// VerifyDigest checks that signer signed digest. It fails with [ErrMalleable],
// [ErrSignature] or [ErrSigner].
func VerifyDigest(digest core.Hash, sig core.Signature, signer core.Address) error {
	a, err := Recover(digest, sig)
	if err != nil {
		return err
	}
	if a != signer {
		return ErrSigner
	}
	return nil
}

func addressOf(p *secp256k1.PublicKey) (a core.Address) {
	h := Keccak(p.SerializeUncompressed()[1:])
	copy(a[:], h[12:])
	return a
}

// RecoverPublicKey returns the public key that signed digest, in its compressed
// form of 33 bytes. It fails like [Recover].
func RecoverPublicKey(digest core.Hash, sig core.Signature) ([]byte, error) {
	p, err := recoverKey(digest, sig)
	if err != nil {
		return nil, err
	}
	return p.SerializeCompressed(), nil
}
