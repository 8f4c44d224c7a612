package model_test

import (
	"errors"
	"strings"
	"testing"

	"cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
)

var alice, bob = fixture.Key(1), fixture.Key(2)

func newChain(t *testing.T) *fixture.Chain {
	g := model.DefaultGenesis()
	g.Params.PublishFee, g.Params.MaxDepth, g.Params.MaxShares = math.NewInt(10), 2, 3
	c := fixture.Start(t, g, market.DefaultGenesis(), payment.DefaultGenesis(), nil)
	c.Fund(alice.Address(), 1000)
	c.Fund(bob.Address(), 5)
	return c
}

func text(k *voucher.Key) string { return fixture.Bech32(k.Address()) }

func publish(n byte, name string) *model.MsgPublish {
	id := core.Hash{n}
	return &model.MsgPublish{
		Publisher: text(alice), Id: id[:], Name: name, Format: "gguf", Semantics: 1, Tokenizer: make([]byte, 32),
		Licence: "Apache-2.0", Context: 2048, Size_: 1 << 30,
	}
}

func deliver(t *testing.T, c *fixture.Chain, msg sdk.Msg) {
	t.Helper()
	if _, err := c.Deliver(msg); err != nil {
		t.Fatalf("%T: %v", msg, err)
	}
	check(t, c)
}

func refuse(t *testing.T, c *fixture.Chain, msg sdk.Msg, want error) {
	t.Helper()
	if _, err := c.Deliver(msg); !errors.Is(err, want) {
		t.Fatalf("%T: got %v, want %v", msg, err, want)
	}
	check(t, c)
}

func check(t *testing.T, c *fixture.Chain) {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestNamesAndIdsAreGivenOnce(t *testing.T) {
	c := newChain(t)
	deliver(t, c, publish(1, "Llama-3"))
	refuse(t, c, publish(1, "other"), model.ErrExists)
	refuse(t, c, publish(2, "LLAMA-3"), model.ErrNameTaken)
	deliver(t, c, publish(2, "org/Llama-3.1:q8_0"))
	if got := c.Burned(); !got.Equal(math.NewInt(20)) {
		t.Errorf("%s burned in fees, want 20", got)
	}
	poor := publish(3, "poor")
	poor.Publisher = text(bob)
	refuse(t, c, poor, model.ErrFee)
	q := model.NewQueryServer(c.Model)
	if r, err := q.Model(c.Ctx, &model.QueryModelRequest{Model: "llama-3"}); err != nil || r.Model.Name != "Llama-3" {
		t.Errorf("%v, %v", r, err)
	}
}

func TestManifestsAreChecked(t *testing.T) {
	c := newChain(t)
	share := func(k *voucher.Key, points uint32) model.Share { return model.Share{Account: text(k), Points: points} }
	for name, change := range map[string]func(*model.MsgPublish){
		"no name":        func(m *model.MsgPublish) { m.Name = "" },
		"long name":      func(m *model.MsgPublish) { m.Name = strings.Repeat("a", 97) },
		"space":          func(m *model.MsgPublish) { m.Name = "a b" },
		"dot first":      func(m *model.MsgPublish) { m.Name = ".a" },
		"not ASCII":      func(m *model.MsgPublish) { m.Name = "modèle" },
		"short id":       func(m *model.MsgPublish) { m.Id = m.Id[:31] },
		"zero id":        func(m *model.MsgPublish) { m.Id = make([]byte, 32) },
		"short parent":   func(m *model.MsgPublish) { m.Parent = []byte{1} },
		"no tokenizer":   func(m *model.MsgPublish) { m.Tokenizer = nil },
		"no format":      func(m *model.MsgPublish) { m.Format = "" },
		"licence":        func(m *model.MsgPublish) { m.Licence = strings.Repeat("x", 65) },
		"no context":     func(m *model.MsgPublish) { m.Context = 0 },
		"sum 9,999":      func(m *model.MsgPublish) { m.Shares = []model.Share{share(alice, 9_999)} },
		"sum over 2^32":  func(m *model.MsgPublish) { m.Shares = []model.Share{share(alice, 1<<32-1), share(bob, 10_001)} },
		"no points":      func(m *model.MsgPublish) { m.Data = []model.Share{share(alice, 10_000), share(bob, 0)} },
		"named twice":    func(m *model.MsgPublish) { m.Data = []model.Share{share(alice, 5_000), share(alice, 5_000)} },
		"not an account": func(m *model.MsgPublish) { m.Shares = []model.Share{{Account: "alice", Points: 10_000}} },
		"too many": func(m *model.MsgPublish) {
			for i := range 4 {
				m.Shares = append(m.Shares, share(fixture.Key(10+i), 2_500))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := publish(1, "m")
			change(m)
			refuse(t, c, m, model.ErrInvalid)
		})
	}
}

func TestLineageIsBounded(t *testing.T) {
	c := newChain(t)
	orphan := publish(2, "orphan")
	orphan.Parent = publish(1, "").Id
	refuse(t, c, orphan, model.ErrNotFound)
	for i := byte(1); i <= 4; i++ {
		m := publish(i, strings.Repeat("m", int(i)))
		if i > 1 {
			m.Parent = publish(i-1, "").Id
		}
		if i <= 3 {
			deliver(t, c, m)
		} else {
			refuse(t, c, m, model.ErrInvalid)
		}
	}
}

func TestOnlyThePublisherReplacesShares(t *testing.T) {
	c := newChain(t)
	deliver(t, c, publish(1, "m"))
	id := core.Hash{1}
	to := []model.Share{{Account: text(bob), Points: 10_000}}
	refuse(t, c, &model.MsgSetShares{Publisher: text(bob), Id: id[:], Shares: to}, model.ErrNotOwner)
	refuse(t, c, &model.MsgSetShares{Publisher: text(alice), Id: []byte{7}, Shares: to}, model.ErrNotFound)
	deliver(t, c, &model.MsgSetShares{Publisher: text(alice), Id: id[:], Shares: to})
	m, err := c.Model.Model(c.Ctx, id[:])
	if err != nil || len(m.Shares) != 1 || m.Shares[0] != to[0] {
		t.Errorf("%v, %v", m.Shares, err)
	}
}

func TestGenesisRoundTrip(t *testing.T) {
	c := newChain(t)
	child := publish(1, "child") // sorts before its parent
	child.Parent = publish(9, "").Id
	deliver(t, c, publish(9, "parent"))
	deliver(t, c, child)
	g, err := c.Model.ExportGenesis(c.Ctx)
	if err != nil {
		t.Fatal(err)
	}
	again := fixture.Start(t, g, market.DefaultGenesis(), payment.DefaultGenesis(), nil)
	check(t, again)
	g2, err := again.Model.ExportGenesis(again.Ctx)
	if err != nil || string(again.Codec.MustMarshalJSON(g2)) != string(c.Codec.MustMarshalJSON(g)) {
		t.Errorf("not the same after a round trip (%v)", err)
	}
}
