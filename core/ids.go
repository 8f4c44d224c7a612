package core

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Hash is a SHA-256 digest, written as 64 lower-case hex digits.
type Hash [32]byte

// Names for hashes with a meaning of their own.
type (
	// ModelID is a model root: the Merkle root over weights, tensor index,
	// tokenizer, chat template and semantics version (spec/model.md).
	ModelID = Hash
	// RequestID names one request; the consumer draws it at random.
	RequestID = Hash
	// ChannelID is the EIP-712 struct hash of a channel's configuration.
	ChannelID = Hash
)

// ParseHash reads 64 hex digits, with or without a leading 0x.
func ParseHash(s string) (Hash, error) {
	var h Hash
	t := strings.TrimPrefix(s, "0x")
	if len(t) != 2*len(h) {
		return h, fmt.Errorf("a hash has 64 hex digits, %q has %d", abbreviate(s), len(t))
	}
	if _, err := hex.Decode(h[:], []byte(t)); err != nil {
		return h, fmt.Errorf("%q is not hexadecimal", abbreviate(s))
	}
	return h, nil
}

// IsZero reports whether h was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short returns the first 8 hex digits, for people.
func (h Hash) Short() string { return hex.EncodeToString(h[:4]) }

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(b []byte) (err error) { *h, err = ParseHash(string(b)); return err }

// Address is an account: the last 20 bytes of the Keccak-256 of a secp256k1
// public key. The same account is written 0x... for EVM clients and
// koinon1... (bech32) for Cosmos clients.
type Address [20]byte

// ParseAddress reads the 0x form, in any letter case.
func ParseAddress(s string) (Address, error) {
	var a Address
	t, ok := strings.CutPrefix(s, "0x")
	if !ok || len(t) != 2*len(a) {
		return a, fmt.Errorf("an address is 0x and 40 hex digits, got %q", abbreviate(s))
	}
	if _, err := hex.Decode(a[:], []byte(t)); err != nil {
		return a, fmt.Errorf("%q is not hexadecimal", abbreviate(s))
	}
	return a, nil
}

// IsZero reports whether a was never set.
func (a Address) IsZero() bool { return a == Address{} }

// String returns 0x and 40 lower-case hex digits (no EIP-55 checksum).
func (a Address) String() string { return "0x" + hex.EncodeToString(a[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *Address) UnmarshalText(b []byte) (err error) { *a, err = ParseAddress(string(b)); return err }

// Signature is a recoverable secp256k1 signature, r || s || v with v 27 or 28
// and s in the lower half of the group order (EIP-2).
type Signature [65]byte

// MarshalText writes 0x and 130 hex digits.
func (s Signature) MarshalText() ([]byte, error) {
	return []byte("0x" + hex.EncodeToString(s[:])), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Signature) UnmarshalText(b []byte) error {
	t := strings.TrimPrefix(string(b), "0x")
	if len(t) != 2*len(s) {
		return errors.New("a signature has 130 hex digits")
	}
	_, err := hex.Decode(s[:], []byte(t))
	return err
}

// Bytes is a byte string written as 0x and hex digits in JSON.
type Bytes []byte

// MarshalText implements [encoding.TextMarshaler].
func (b Bytes) MarshalText() ([]byte, error) { return []byte("0x" + hex.EncodeToString(b)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bytes) UnmarshalText(t []byte) (err error) {
	*b, err = hex.DecodeString(strings.TrimPrefix(string(t), "0x"))
	return err
}

func abbreviate(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
