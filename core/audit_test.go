package core

import (
	"bytes"
	"crypto/ecdh"
	"encoding/json"
	"testing"

	"github.com/koinon-network/koinon/core/merkle"
)

func somePayload() (Payload, Receipt) {
	q := Request{ChainID: 5, ID: Hash{1}, Input: []Token{1, 2, 3}, Prompt: 3, Sampler: Sampler{MaxTokens: 9}}
	p := Payload{Request: SignedRequest{Request: q}, Seed: Hash{4}, Output: []Token{7, 8}}
	return p, Receipt{RequestHash: q.Digest(), InputHash: HashTokens(q.Input), OutputHash: HashTokens(p.Output), Sampler: q.Sampler.Digest(), Seed: Seed(p.Seed).Commitment(), Input: 3, Output: 2}
}

func TestPayloadsAreSealedToOneAuditOfOneAuditor(t *testing.T) {
	k, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{3}, 32))
	if err != nil {
		t.Fatal(err)
	}
	p, r := somePayload()
	who := Address{9}
	sealed, err := SealPayload(Hash(k.PublicKey().Bytes()), 6, who, p)
	if err != nil {
		t.Fatal(err)
	}
	if bound := PayloadBound(&p.Request.Request, 1000); len(sealed) > bound {
		t.Errorf("%d bytes, the bound says %d", len(sealed), bound)
	}
	got, err := OpenPayload(k.Bytes(), 6, who, sealed)
	if err != nil || got.Check(&r) != "" {
		t.Fatalf("%v, %q", err, got.Check(&r))
	}
	for what, open := range map[string]func() error{
		"another audit":   func() error { _, err := OpenPayload(k.Bytes(), 7, who, sealed); return err },
		"another auditor": func() error { _, err := OpenPayload(k.Bytes(), 6, Address{8}, sealed); return err },
		"another key":     func() error { _, err := OpenPayload(bytes.Repeat([]byte{4}, 32), 6, who, sealed); return err },
		"a flipped bit": func() error {
			s := bytes.Clone(sealed)
			s[50] ^= 1
			_, err := OpenPayload(k.Bytes(), 6, who, s)
			return err
		},
		"nothing": func() error { _, err := OpenPayload(k.Bytes(), 6, who, nil); return err },
	} {
		if open() == nil {
			t.Errorf("%s opens it", what)
		}
	}
	for what, change := range map[string]func(*Payload){
		"request": func(p *Payload) { p.Request.Expiry++ },
		"output":  func(p *Payload) { p.Output = []Token{7, 9} },
		"length":  func(p *Payload) { p.Output = []Token{7} },
		"seed":    func(p *Payload) { p.Seed[0]++ },
	} {
		p, r := somePayload()
		change(&p)
		if p.Check(&r) == "" {
			t.Errorf("another %s is not noticed", what)
		}
	}
	if !OneTimeKey(k.Bytes(), Hash(k.PublicKey().Bytes())) || OneTimeKey(k.Bytes(), Hash{1}) || OneTimeKey(nil, Hash{1}) {
		t.Error("keys are not told apart")
	}
}

func TestSpotsFitTheirRootsAlone(t *testing.T) {
	var leaves []Hash
	for i := range 37 {
		leaves = append(leaves, Hash{byte(i + 1)})
	}
	beacon, who := Hash{5}, Address{6}
	boundary, trace := merkle.Root(leaves), TraceOf(3, who, leaves)
	spots, err := OpenSpots(beacon, 3, who, leaves)
	if err != nil || len(spots) != Spots {
		t.Fatal(err)
	}
	for j, s := range spots {
		j := uint32(j)
		if !CheckSpot(beacon, 3, who, j, s, boundary, trace) {
			t.Errorf("spot %d does not hold", j)
		}
		for what, holds := range map[string]bool{
			"another position": CheckSpot(beacon, 3, who, j+1, s, boundary, trace),
			"another beacon":   CheckSpot(Hash{7}, 3, who, j, s, boundary, trace),
			"another auditor":  CheckSpot(beacon, 3, Address{7}, j, s, boundary, trace),
			"another audit":    CheckSpot(beacon, 4, who, j, s, boundary, trace),
			"another answer":   CheckSpot(beacon, 3, who, j, s, Hash{1}, trace),
			"somebody's trace": CheckSpot(beacon, 3, who, j, s, boundary, TraceOf(3, Address{7}, leaves)),
			"the leaves' own":  CheckSpot(beacon, 3, who, j, s, boundary, boundary),
			"no place at all":  CheckSpot(beacon, 3, who, j, Spot{}, boundary, trace),
		} {
			if holds {
				t.Errorf("%s passes", what)
			}
		}
	}
}

func FuzzParsePayload(f *testing.F) {
	p, r := somePayload()
	b, _ := json.Marshal(p)
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePayload(b)
		if err != nil {
			return
		}
		p.Check(&r)
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := ParsePayload(again); len(again) <= MaxPayload && (err != nil || q.Check(&r) != p.Check(&r)) {
			t.Fatalf("read again it differs: %v", err)
		}
	})
}

func FuzzOpenPayload(f *testing.F) {
	k, _ := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{3}, 32))
	p, _ := somePayload()
	sealed, _ := SealPayload(Hash(k.PublicKey().Bytes()), 1, Address{2}, p)
	f.Add(k.Bytes(), sealed)
	f.Fuzz(func(t *testing.T, key, sealed []byte) {
		_, _ = OpenPayload(key, 1, Address{2}, sealed)
	})
}
