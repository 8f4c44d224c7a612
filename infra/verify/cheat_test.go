package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/koinon-network/koinon/core"
)

// A provider that wants another seed tries ten thousand proofs: with bent ones,
// with other keys and with other nonces it gets none that is taken, and with its
// own key always the same.
func TestCheatSeedGrinding(t *testing.T) {
	key := vrfFromSeed(t, bytes.Repeat([]byte{1}, 32))
	nonce := core.Hash{42}
	q := core.Request{ChainID: 1, ID: core.Hash{1}, NonceCommit: sha256.Sum256(nonce[:])}
	proof, output, err := key.Prove(q.VRFInput())
	if err != nil {
		t.Fatal(err)
	}
	want := q.DeriveSeed(nonce, output)
	r := rand.New(rand.NewPCG(1, 1))
	other := vrfFromSeed(t, bytes.Repeat([]byte{2}, 32))
	for i := range 10_000 {
		tried, with, public := bytes.Clone(proof), nonce, key.PublicKey()
		switch i % 4 {
		case 0:
			tried[r.IntN(len(tried))] ^= 1 << r.IntN(8)
		case 1:
			binary.BigEndian.PutUint64(with[:], r.Uint64())
		case 2: // another key than the registered one, and a message of its own
			if tried, _, err = other.Prove(binary.BigEndian.AppendUint64(q.VRFInput(), uint64(i))); err != nil {
				t.Fatal(err)
			}
		case 3: // the same once more: nothing to choose
			if tried, _, err = key.Prove(q.VRFInput()); err != nil {
				t.Fatal(err)
			}
		}
		seed, err := SeedFor(&q, with, tried, public)
		if i%4 == 3 && (err != nil || seed != want) || i%4 != 3 && err == nil {
			t.Fatalf("try %d: seed %x, %v", i, seed, err)
		}
	}
	// Nor can a receipt name a seed that was found otherwise.
	ev := sampleEvidence(t)
	ev.Receipt.Seed = core.Seed{1}.Commitment()
	reseal(t, &ev)
	if r := verdict(t, ev); r.Verdict != Tampered || r.Field != "receipt.seed" {
		t.Errorf("%+v", r)
	}
}
