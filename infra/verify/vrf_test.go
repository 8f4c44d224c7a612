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

// TestRFC9381 pins the first example of the RFC's appendix B.4 literally, so
// that a changed library cannot move our vectors unnoticed.
func TestRFC9381(t *testing.T) {
	vrf := vrfFromSeed(t, unhex(t, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
	proof, output, err := vrf.Prove(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantProof := unhex(t, "7d9c633ffeee27349264cf5c667579fc583b4bda63ab71d001f89c10003ab46f14adf9a3cd8b8412d9038531e865c341cafa73589b023d14311c331a9ad15ff2fb37831e00f0acaa6d73bc9997b06501")
	wantOutput := unhex(t, "9d574bf9b8302ec0fc1e21c3ec5368269527b87b462ce36dab2d14ccf80c53cccf6758f058c5b1c856b116388152bbe509ee3b9ecfe63d93c3b4346c1fbc6c54")
	if !bytes.Equal(proof, wantProof) || !bytes.Equal(output, wantOutput) {
		t.Errorf("proof %x\noutput %x", proof, output)
	}
}

func TestVRFVectors(t *testing.T) {
	var vectors []vrfVector
	add := func(note, seed string, message []byte) {
		vrf := vrfFromSeed(t, unhex(t, seed))
		proof, output, err := vrf.Prove(message)
		if err != nil {
			t.Fatal(err)
		}
		verified, err := VerifyVRF(vrf.PublicKey(), message, proof)
		if err != nil || !bytes.Equal(verified, output) {
			t.Fatalf("%s: own proof: %v", note, err)
		}
		vectors = append(vectors, vrfVector{note, unhex(t, seed), vrf.PublicKey(), message, proof, output})
	}
	add("RFC 9381 B.4 example 16", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", []byte{})
	add("RFC 9381 B.4 example 17", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", []byte{0x72})
	add("RFC 9381 B.4 example 18", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", []byte{0xaf, 0x82})
	r := sampleRequest(t).Request
	add("VRF input of the request in receipt.json", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", r.VRFInput())
	golden(t, "vrf.json", vectors)
}

func TestForeignOrBentProofIsRefused(t *testing.T) {
	vrf, other := vrfFromSeed(t, bytes.Repeat([]byte{1}, 32)), vrfFromSeed(t, bytes.Repeat([]byte{2}, 32))
	message := []byte("request")
	proof, _, err := vrf.Prove(message)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, key, message, proof []byte) {
		if out, err := VerifyVRF(key, message, proof); err == nil || out != nil {
			t.Errorf("%s was accepted", what)
		}
	}
	refuse("another key", other.PublicKey(), message, proof)
	refuse("another message", vrf.PublicKey(), []byte("Request"), proof)
	refuse("a short proof", vrf.PublicKey(), message, proof[:79])
	refuse("no proof", vrf.PublicKey(), message, nil)
	refuse("a short key", vrf.PublicKey()[:31], message, proof)
	refuse("a small-order key", make([]byte, 32), message, proof)
	for i := range proof {
		bent := bytes.Clone(proof)
		bent[i] ^= 1
		refuse("a bent proof", vrf.PublicKey(), message, bent)
	}
}

func TestSeedNeedsBothSides(t *testing.T) {
	vrf := vrfFromSeed(t, bytes.Repeat([]byte{1}, 32))
	nonce := core.Hash{42}
	r := core.Request{ChainID: 1, ID: core.Hash{1}, NonceCommit: sha256.Sum256(nonce[:])}
	proof, output, _ := vrf.Prove(r.VRFInput())
	seed, err := SeedFor(&r, nonce, proof, vrf.PublicKey())
	if err != nil || seed != r.DeriveSeed(nonce, output) {
		t.Fatalf("seed %x, %v", seed, err)
	}
	if _, err := SeedFor(&r, core.Hash{43}, proof, vrf.PublicKey()); err != ErrNonce {
		t.Errorf("a changed nonce: %v", err)
	}
	if _, err := SeedFor(&r, nonce, nil, vrf.PublicKey()); err != ErrVRF {
		t.Errorf("a missing proof: %v", err)
	}
	user := uint64(7)
	r.UserSeed = &user
	if _, err := SeedFor(&r, nonce, proof, vrf.PublicKey()); err != ErrVRF {
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

func TestVRFKeyMustBeWhole(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	key[40] ^= 1
	if _, err := NewVRF(key); err == nil {
		t.Error("a key whose halves differ was accepted")
	}
	if _, err := NewVRF(key[:32]); err == nil {
		t.Error("half a key was accepted")
	}
}

func vrfFromSeed(t testing.TB, seed []byte) *VRF {
	t.Helper()
	v, err := NewVRF(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
