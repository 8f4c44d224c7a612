package verify_test

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

var alice, bob = fixture.Key(1), fixture.Key(2)

func TestBatchesFollowOneAnother(t *testing.T) {
	g := market.DefaultGenesis()
	g.Params.MinBond = math.NewInt(1)
	c := fixture.Start(t, model.DefaultGenesis(), g, payment.DefaultGenesis(), nil)
	c.Fund(alice.Address(), 10)
	name := fixture.Bech32(alice.Address())
	peer := ed25519.NewKeyFromSeed(make([]byte, 32))
	_, err := c.Deliver(&market.MsgRegister{
		Provider: name, PeerId: market.PeerID(peer.Public().(ed25519.PublicKey)),
		PeerSignature: ed25519.Sign(peer, core.PeerBinding(fixture.ChainID, alice.Address())), Bond: math.NewInt(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	root, model := core.Hash{1}, make([]byte, 32)
	for _, v := range []struct {
		what string
		msg  verify.MsgCommitReceipts
		want error
	}{
		{"a gap before the first", verify.MsgCommitReceipts{Provider: name, Sequence: 2, Root: root[:], Count: 1, Model: model}, verify.ErrSequence},
		{"a stranger", verify.MsgCommitReceipts{Provider: fixture.Bech32(bob.Address()), Sequence: 1, Root: root[:], Count: 1, Model: model}, verify.ErrStranger},
		{"no receipts", verify.MsgCommitReceipts{Provider: name, Sequence: 1, Root: root[:], Model: model}, verify.ErrInvalid},
		{"too many", verify.MsgCommitReceipts{Provider: name, Sequence: 1, Root: root[:], Count: 1<<20 + 1, Model: model}, verify.ErrInvalid},
		{"short root", verify.MsgCommitReceipts{Provider: name, Sequence: 1, Root: root[:31], Count: 1, Model: model}, verify.ErrInvalid},
		{"zero root", verify.MsgCommitReceipts{Provider: name, Sequence: 1, Root: make([]byte, 32), Count: 1, Model: model}, verify.ErrInvalid},
		{"no model", verify.MsgCommitReceipts{Provider: name, Sequence: 1, Root: root[:], Count: 1}, verify.ErrInvalid},
		{"the first", verify.MsgCommitReceipts{Provider: name, Sequence: 1, Root: root[:], Count: 3, Model: model}, nil},
		{"the first again", verify.MsgCommitReceipts{Provider: name, Sequence: 1, Root: root[:], Count: 3, Model: model}, verify.ErrSequence},
		{"the second", verify.MsgCommitReceipts{Provider: name, Sequence: 2, Root: root[:], Count: 4, Model: model}, nil},
	} {
		if _, err := c.Deliver(&v.msg); !errors.Is(err, v.want) {
			t.Errorf("%s: got %v, want %v", v.what, err, v.want)
		}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
	}
	q := verify.NewQueryServer(c.Verify)
	r, err := q.Batches(c.Ctx, &verify.QueryBatchesRequest{Provider: name, Pagination: &query.PageRequest{Reverse: true, Limit: 1}})
	if err != nil || len(r.Batches) != 1 || r.Batches[0].Sequence != 2 {
		t.Errorf("newest: %v, %v", r, err)
	}
	l, err := market.NewQueryServer(c.Market).Provider(c.Ctx, &market.QueryProviderRequest{Provider: name})
	if err != nil || l.Listing.Record.Served != 7 {
		t.Errorf("served: %v, %v", l, err)
	}

	state, err := c.Verify.ExportGenesis(c.Ctx)
	if err != nil || len(state.Batches) != 2 {
		t.Fatalf("%v, %v", state, err)
	}
	again := fixture.New(t)
	if err := again.Verify.InitGenesis(again.Ctx, state); err != nil {
		t.Fatal(err)
	}
	if err := again.Verify.CheckInvariants(again.Ctx); err != nil {
		t.Error(err)
	}
}
