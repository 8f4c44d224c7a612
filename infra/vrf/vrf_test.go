package vrf

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fromSeed(t testing.TB, seed []byte) *Key {
	t.Helper()
	k, err := NewKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestRFC9381 pins the first example of the RFC's appendix B.4 literally, so
// that a changed library cannot move our vectors unnoticed.
func TestRFC9381(t *testing.T) {
	key := fromSeed(t, unhex(t, "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
	proof, output, err := key.Prove(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantProof := unhex(t, "7d9c633ffeee27349264cf5c667579fc583b4bda63ab71d001f89c10003ab46f14adf9a3cd8b8412d9038531e865c341cafa73589b023d14311c331a9ad15ff2fb37831e00f0acaa6d73bc9997b06501")
	wantOutput := unhex(t, "9d574bf9b8302ec0fc1e21c3ec5368269527b87b462ce36dab2d14ccf80c53cccf6758f058c5b1c856b116388152bbe509ee3b9ecfe63d93c3b4346c1fbc6c54")
	if !bytes.Equal(proof, wantProof) || !bytes.Equal(output, wantOutput) {
		t.Errorf("proof %x\noutput %x", proof, output)
	}
}

func TestForeignOrBentProofIsRefused(t *testing.T) {
	key, other := fromSeed(t, bytes.Repeat([]byte{1}, 32)), fromSeed(t, bytes.Repeat([]byte{2}, 32))
	message := []byte("request")
	proof, _, err := key.Prove(message)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, public, message, proof []byte) {
		if out, err := Verify(public, message, proof); err == nil || out != nil {
			t.Errorf("%s was accepted", what)
		}
	}
	refuse("another key", other.PublicKey(), message, proof)
	refuse("another message", key.PublicKey(), []byte("Request"), proof)
	refuse("a short proof", key.PublicKey(), message, proof[:79])
	refuse("no proof", key.PublicKey(), message, nil)
	refuse("a short key", key.PublicKey()[:31], message, proof)
	refuse("a small-order key", make([]byte, 32), message, proof)
	for i := range proof {
		bent := bytes.Clone(proof)
		bent[i] ^= 1
		refuse("a bent proof", key.PublicKey(), message, bent)
	}
}

func TestVRFKeyMustBeWhole(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	key[40] ^= 1
	if _, err := NewKey(key); err == nil {
		t.Error("a key whose halves differ was accepted")
	}
	if _, err := NewKey(key[:32]); err == nil {
		t.Error("half a key was accepted")
	}
}
