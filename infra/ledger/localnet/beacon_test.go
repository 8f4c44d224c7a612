package localnet

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/cometbft/cometbft/privval"

	"github.com/koinon-network/koinon/infra/ledger/app"
	"github.com/koinon-network/koinon/infra/ledger/fullnode"
	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
	"github.com/koinon-network/koinon/infra/vrf"
)

// liar proves nothing with the registered key.
type liar struct{ *vrf.Key }

func (liar) Prove([]byte) (proof, output []byte, err error) {
	return bytes.Repeat([]byte{7}, vrf.ProofSize), nil, nil
}

// TestBeaconOutlivesItsValidators: every height has a value that all nodes hold,
// with one validator silent, one down and one sending garbage it is still made,
// and when nobody contributes the chain goes on without.
func TestBeaconOutlivesItsValidators(t *testing.T) {
	n := start(t, Options{Home: t.TempDir(), BlockTime: 150 * time.Millisecond})
	if info, err := os.Stat(fullnode.BeaconFile(n.validatorHome(0))); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("beacon key: %v, %v", info, err)
	}
	wait := func(blocks int64) int64 {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		h := n.Height() + blocks
		for _, node := range n.Nodes[:3] {
			if err := node.WaitBlock(ctx, h); err != nil {
				t.Fatal(err)
			}
		}
		return h
	}
	at := func(node *fullnode.Node, height int64) (v [32]byte, ok bool) {
		t.Helper()
		v, ok, err := node.App.Beacon.At(node.App.Context(), height)
		if err != nil {
			t.Fatal(err)
		}
		return v, ok
	}
	h := wait(8) - 4
	want, ok := at(n.Nodes[0], h)
	for i, node := range n.Nodes[1:3] {
		if got, ok := at(node, h); !ok || got != want {
			t.Errorf("validator %d has %x, %v", i+1, got, ok)
		}
	}
	if !ok || bytes.Equal(want[:], make([]byte, 32)) {
		t.Fatalf("height %d: %x, %v", h, want, ok)
	}

	lie := func(i int) {
		t.Helper()
		key, err := fullnode.BeaconKey(n.validatorHome(i))
		if err != nil {
			t.Fatal(err)
		}
		n.Nodes[i].App.SetContributor(&app.Contributor{
			Consensus: n.Nodes[i].Comet.PrivValidator().(*privval.FilePV).GetAddress(), Keys: []beacon.Prover{liar{key}},
		})
	}
	lie(2)
	if err := n.Nodes[3].Stop(); err != nil {
		t.Fatal(err)
	}
	h = wait(10) - 4
	if _, ok := at(n.Nodes[0], h); !ok {
		t.Error("with one validator down and one sending garbage the beacon is missing")
	}
	lie(0)
	lie(1)
	h = wait(10) - 4
	if _, ok := at(n.Nodes[0], h); ok {
		t.Error("a beacon that nobody made")
	}
	if err := n.Nodes[0].App.CheckInvariants(n.Nodes[0].App.Context()); err != nil {
		t.Error(err)
	}
}
