package beacon

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite spec/vectors/beacon.json")

type vectorContribution struct {
	Consensus string `json:"consensus"`
	Public    string `json:"public"`
	Power     int64  `json:"power"`
	Message   string `json:"message"`
	Proof     string `json:"proof"`
	Output    string `json:"output"`
	Lot       string `json:"lot"`
}

type vectorRound struct {
	Height        int64                `json:"height"`
	Seed          string               `json:"seed"`
	Contributions []vectorContribution `json:"contributions"`
	Winner        string               `json:"winner"`
	Value         string               `json:"value"`
}

type vectors struct {
	ChainID    string        `json:"chain_id"`
	Rounds     []vectorRound `json:"rounds"`
	Extension  string        `json:"extension"`
	Possession string        `json:"possession_message"`
}

func TestVectors(t *testing.T) {
	v := vectors{ChainID: chainID}
	seed := FirstSeed(chainID)
	var list []Contribution
	for h := int64(1); h <= 3; h++ {
		r := Round{Height: h, Seed: seed}
		out := vectorRound{Height: h, Seed: hex.EncodeToString(seed)}
		for i, power := range []int64{10, 25, 4, 1} {
			key, consensus := vrfKey(i), bytes.Repeat([]byte{byte(0x11 * (i + 1))}, 20)
			message := Message(chainID, h, seed, consensus)
			proof, output, err := key.Prove(message)
			if err != nil {
				t.Fatal(err)
			}
			if !r.add(chainID, Member{Consensus: consensus, Keys: []Key{{Public: key.PublicKey()}}}, power, proof) {
				t.Fatal("own contribution refused")
			}
			if i == 0 {
				list = append(list, Contribution{Age: uint8(h - 1), Proof: proof})
			}
			out.Contributions = append(out.Contributions, vectorContribution{
				hex.EncodeToString(consensus), hex.EncodeToString(key.PublicKey()), power, hex.EncodeToString(message),
				hex.EncodeToString(proof), hex.EncodeToString(output), fmt.Sprint(lot(output)),
			})
		}
		seed = Value(h, seed, r.Output)
		out.Winner, out.Value = hex.EncodeToString(r.Winner), hex.EncodeToString(seed)
		v.Rounds = append(v.Rounds, out)
	}
	v.Extension = hex.EncodeToString(EncodeExtension(list))
	v.Possession = hex.EncodeToString(PossessionMessage(chainID, bytes.Repeat([]byte{0x22}, 20), vrfKey(0).PublicKey()))
	got, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const path = "../../../../spec/vectors/beacon.json"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs from what this code computes (%v); -update rewrites it", path, err)
	}
}
