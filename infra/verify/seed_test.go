package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/vrf"
)

var update = flag.Bool("update", false, "rewrite spec/vectors")

// golden compares v with a file of spec/vectors, or writes it with -update.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := filepath.Join("..", "..", "spec", "vectors", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what this code computes; go test ./infra/verify -update rewrites it", path)
	}
}

type vrfVector struct {
	Note      string     `json:"note"`
	SecretKey core.Bytes `json:"secret_key"` // ed25519 seed
	PublicKey core.Bytes `json:"public_key"`
	Message   core.Bytes `json:"message"`
	Proof     core.Bytes `json:"proof"`
	Output    core.Bytes `json:"output"`
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVRFVectors(t *testing.T) {
	var vectors []vrfVector
	add := func(note, seed string, message []byte) {
		key := vrfFromSeed(t, unhex(t, seed))
		proof, output, err := key.Prove(message)
		if err != nil {
			t.Fatal(err)
		}
		verified, err := vrf.Verify(key.PublicKey(), message, proof)
		if err != nil || !bytes.Equal(verified, output) {
			t.Fatalf("%s: own proof: %v", note, err)
		}
		vectors = append(vectors, vrfVector{note, unhex(t, seed), key.PublicKey(), message, proof, output})
	}
	add("RFC 9381 B.4 example 16", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", []byte{})
	add("RFC 9381 B.4 example 17", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", []byte{0x72})
	add("RFC 9381 B.4 example 18", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", []byte{0xaf, 0x82})
	r := sampleRequest(t).Request
	add("VRF input of the request in receipt.json", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", r.VRFInput())
	golden(t, "vrf.json", vectors)
}

func TestSeedNeedsBothSides(t *testing.T) {
	key := vrfFromSeed(t, bytes.Repeat([]byte{1}, 32))
	nonce := core.Hash{42}
	r := core.Request{ChainID: 1, ID: core.Hash{1}, NonceCommit: sha256.Sum256(nonce[:])}
	proof, output, _ := key.Prove(r.VRFInput())
	seed, err := SeedFor(&r, nonce, proof, key.PublicKey())
	if err != nil || seed != r.DeriveSeed(nonce, output) {
		t.Fatalf("seed %x, %v", seed, err)
	}
	if _, err := SeedFor(&r, core.Hash{43}, proof, key.PublicKey()); err != ErrNonce {
		t.Errorf("a changed nonce: %v", err)
	}
	if _, err := SeedFor(&r, nonce, nil, key.PublicKey()); err != vrf.ErrProof {
		t.Errorf("a missing proof: %v", err)
	}
	user := uint64(7)
	r.UserSeed = &user
	if _, err := SeedFor(&r, nonce, proof, key.PublicKey()); err != vrf.ErrProof {
		t.Errorf("a proof beside a user seed: %v", err)
	}
	a, err := SeedFor(&r, nonce, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.ID = core.Hash{2}
	if b, _ := SeedFor(&r, nonce, nil, nil); a != b {
		t.Error("a user seed must not depend on the request")
	}
}

func vrfFromSeed(t testing.TB, seed []byte) *vrf.Key {
	t.Helper()
	v, err := vrf.NewKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
