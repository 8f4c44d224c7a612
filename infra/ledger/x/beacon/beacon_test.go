package beacon

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/codec"
	addresscodec "github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/runtime"
	"github.com/cosmos/cosmos-sdk/store/v2"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/vrf"
)

const chainID = "koinon-test-1"

// validator is a member of the set of a test.
type validator struct {
	operator  sdk.ValAddress
	consensus []byte
	power     int64
	key       *vrf.Key
}

// chain runs the keeper alone, block by block.
type chain struct {
	t      *testing.T
	ctx    sdk.Context
	k      Keeper
	set    []*validator
	staked map[string]stakingtypes.Validator
	last   []Vote // for the block before
}

func (c *chain) GetValidator(_ context.Context, a sdk.ValAddress) (stakingtypes.Validator, error) {
	v, ok := c.staked[string(a)]
	if !ok {
		return v, stakingtypes.ErrNoValidatorFound
	}
	return v, nil
}

func vrfKey(n int) *vrf.Key {
	seed := sha256.Sum256(fmt.Append(nil, "vrf", n))
	k, err := vrf.NewKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return k
}

// start begins a chain of validators with these powers, keys from genesis.
func start(t *testing.T, p Params, powers ...int64) *chain {
	t.Helper()
	key := storetypes.NewKVStoreKey(StoreKey)
	db := dbm.NewMemDB()
	cms := store.NewCommitMultiStore(db, log.NewNopLogger())
	cms.MountStoreWithDB(key, storetypes.StoreTypeIAVL, db)
	if err := cms.LoadLatestVersion(); err != nil {
		t.Fatal(err)
	}
	registry := codectypes.NewInterfaceRegistry()
	cryptocodec.RegisterInterfaces(registry)
	c := &chain{t: t, staked: map[string]stakingtypes.Validator{}}
	c.ctx = sdk.NewContext(cms, cmtproto.Header{ChainID: chainID, Height: 1}, false, log.NewNopLogger())
	c.k = NewKeeper(codec.NewProtoCodec(registry), runtime.NewKVStoreService(key), addresscodec.NewBech32Codec("koinonvaloper"), "gov", c)
	g := DefaultGenesis()
	g.Params = p
	for i, power := range powers {
		c.join(i, power)
		v := c.set[i]
		g.Members = append(g.Members, Member{Consensus: v.consensus, Operator: c.name(v), Keys: []Key{{Public: v.key.PublicKey()}}})
	}
	if err := c.k.InitGenesis(c.ctx, g); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *chain) name(v *validator) string {
	s, err := addresscodec.NewBech32Codec("koinonvaloper").BytesToString(v.operator)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *chain) join(i int, power int64) *validator {
	signer := cmted25519.GenPrivKeyFromSecret(fmt.Append(nil, "consensus", i)).PubKey()
	public, err := cryptocodec.FromCmtPubKeyInterface(signer)
	if err != nil {
		c.t.Fatal(err)
	}
	packed, err := codectypes.NewAnyWithValue(public)
	if err != nil {
		c.t.Fatal(err)
	}
	h := sha256.Sum256(fmt.Append(nil, "operator", i))
	v := &validator{operator: h[:20], consensus: signer.Address(), power: power, key: vrfKey(i)}
	c.staked[string(v.operator)] = stakingtypes.Validator{OperatorAddress: c.name(v), ConsensusPubkey: packed}
	c.set = append(c.set, v)
	return v
}

// vote is what v adds to its vote for height: its extension by the state before
// that block, which is the state of the test until [chain.block].
func (c *chain) vote(v *validator, height int64) Vote {
	c.t.Helper()
	var keys []Prover
	if v.key != nil {
		keys = append(keys, v.key, vrfKey(51))
	}
	ext, err := c.k.Extend(c.ctx, height, v.consensus, keys)
	if err != nil {
		c.t.Fatal(err)
	}
	return Vote{Consensus: v.consensus, Power: v.power, Extension: ext}
}

// votes are those of the whole set.
func (c *chain) votes(height int64) []Vote {
	var list []Vote
	for _, v := range c.set {
		list = append(list, c.vote(v, height))
	}
	return list
}

// block executes the block of ctx with what the last block's votes brought and
// goes to the next height.
func (c *chain) block(votes []Vote) {
	c.t.Helper()
	if err := c.k.Step(c.ctx, votes); err != nil {
		c.t.Fatal(err)
	}
	if err := c.k.CheckInvariants(c.ctx); err != nil {
		c.t.Fatal(err)
	}
	c.ctx = c.ctx.WithBlockHeight(c.ctx.BlockHeight() + 1).WithEventManager(sdk.NewEventManager())
}

// run executes n blocks. change, which may be nil, alters the votes for a height.
func (c *chain) run(n int, change func(height int64, votes []Vote) []Vote) {
	c.t.Helper()
	for range n {
		h := c.ctx.BlockHeight()
		next := c.votes(h)
		if change != nil {
			next = change(h, next)
		}
		c.block(c.last)
		c.last = next
	}
}

func (c *chain) at(height int64) ([32]byte, bool) {
	c.t.Helper()
	v, ok, err := c.k.At(c.ctx, height)
	if err != nil {
		c.t.Fatal(err)
	}
	return v, ok
}

func (c *chain) beacon(height int64) Beacon {
	c.t.Helper()
	b, err := c.k.beacons.Get(c.ctx, height)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func small() Params { return Params{Window: 2, QuorumPoints: 3_334, Keep: 64, KeyDelay: 6} }

func TestEveryHeightHasABeacon(t *testing.T) {
	c := start(t, small(), 10, 10, 10, 10)
	c.run(20, nil)
	seen := map[[32]byte]bool{}
	for h := int64(1); h <= 18; h++ {
		v, ok := c.at(h)
		if !ok || seen[v] {
			t.Fatalf("height %d: %x, %v", h, v, ok)
		}
		seen[v] = true
		if b := c.beacon(h); b.Contributors != 4 || b.Power != 40 || b.Total != 40 {
			t.Errorf("height %d: %+v", h, b)
		}
	}
	if _, ok := c.at(19); ok {
		t.Error("the window of height 19 is still open")
	}
}

// TestSameVotesSameBeacons: two validators that execute the same blocks agree,
// whatever the order in which a proposer lists equal contributions.
func TestSameVotesSameBeacons(t *testing.T) {
	a, b := start(t, small(), 5, 20, 1), start(t, small(), 5, 20, 1)
	a.run(12, nil)
	b.run(12, func(_ int64, v []Vote) []Vote { return []Vote{v[2], v[0], v[1]} })
	for h := int64(1); h <= 10; h++ {
		x, _ := a.at(h)
		if y, ok := b.at(h); !ok || x != y {
			t.Fatalf("height %d: %x and %x", h, x, y)
		}
	}
}

// TestProposerCannotLeaveOut: what one proposer omits, the next one brings.
func TestProposerCannotLeaveOut(t *testing.T) {
	all, censored := start(t, small(), 10, 10, 10), start(t, small(), 10, 10, 10)
	all.run(8, nil)
	censored.run(8, func(h int64, v []Vote) []Vote {
		if h%2 == 1 {
			for i := range v {
				v[i].Extension = nil
			}
		}
		return v
	})
	for h := int64(1); h <= 6; h++ {
		x, _ := all.at(h)
		if y, ok := censored.at(h); !ok || x != y {
			t.Errorf("height %d: %x and %x, %v", h, x, y, ok)
		}
	}
}

func TestTooFewContributorsAreAMissingBeacon(t *testing.T) {
	c := start(t, small(), 66, 17, 17)
	c.run(12, func(h int64, v []Vote) []Vote {
		if h >= 4 && h <= 6 {
			v[0].Extension, v[1].Extension = nil, []byte("garbage")
		}
		return v
	})
	// The window of 4 is votes for 4 and 5, that of 6 reaches a vote for 7.
	for h, want := range map[int64]bool{1: true, 3: true, 4: false, 5: false, 6: true, 7: true, 10: true} {
		if _, ok := c.at(h); ok != want {
			t.Errorf("height %d: %v, want %v: %+v", h, ok, want, c.beacon(h))
		}
	}
	if b := c.beacon(5); !b.Missing || b.Power != 17 || b.Total != 100 || !bytes.Equal(b.Value, c.beacon(3).Value) {
		t.Errorf("missing beacon %+v", b)
	}
}

func TestNothingAtAllIsNoError(t *testing.T) {
	c := start(t, small(), 1, 1)
	for range 10 {
		c.block(nil)
	}
	if _, ok := c.at(5); ok || !c.beacon(5).Missing {
		t.Error("a beacon without contributions")
	}
	c.run(6, nil)
	if _, ok := c.at(12); !ok {
		t.Error("the beacon did not come back")
	}
}

func TestGarbageIsLeftOut(t *testing.T) {
	honest := start(t, small(), 10, 10, 10, 10)
	honest.set[3].key = nil
	honest.set[3].consensus = nil // contributes nothing
	honest.run(10, nil)
	foreign := vrfKey(99)
	for name, bend := range map[string]func(c *chain, h int64, v []Vote){
		"noise":    func(_ *chain, _ int64, v []Vote) { v[3].Extension = bytes.Repeat([]byte{1}, 1+2*entrySize) },
		"too long": func(_ *chain, _ int64, v []Vote) { v[3].Extension = make([]byte, MaxExtension+1) },
		"a bent proof": func(_ *chain, _ int64, v []Vote) {
			for at := 40; at < len(v[3].Extension); at += entrySize {
				v[3].Extension[at] ^= 1
			}
		},
		"another's vote": func(_ *chain, _ int64, v []Vote) { v[3].Extension = v[2].Extension },
		"another key": func(c *chain, h int64, v []Vote) {
			r, err := c.k.rounds.Get(c.ctx, h)
			if err != nil {
				t.Fatal(err)
			}
			proof, _, _ := foreign.Prove(Message(chainID, h, r.Seed, v[3].Consensus))
			v[3].Extension = EncodeExtension([]Contribution{{Proof: proof}})
		},
		"another age": func(_ *chain, _ int64, v []Vote) {
			v[3].Extension[1] = 9
			v[3].Extension = v[3].Extension[:1+entrySize]
		},
		"a stranger": func(_ *chain, _ int64, v []Vote) { v[3].Consensus = make([]byte, 20) },
	} {
		c := start(t, small(), 10, 10, 10, 10)
		c.run(10, func(h int64, v []Vote) []Vote { bend(c, h, v); return v })
		for h := int64(1); h <= 8; h++ {
			want, _ := honest.at(h)
			if got, ok := c.at(h); !ok || got != want {
				t.Errorf("%s, height %d: %x, want %x", name, h, got, want)
			}
		}
	}
}

func TestRegisteredKeyTakesEffectLater(t *testing.T) {
	c := start(t, small(), 10)
	late := c.join(1, 10)
	register := func(v *validator, k *vrf.Key) error {
		proof, _, err := k.Prove(PossessionMessage(chainID, v.operator, k.PublicKey()))
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewMsgServer(c.k).RegisterKey(c.ctx, &MsgRegisterKey{Operator: c.name(v), Public: k.PublicKey(), Proof: proof})
		return err
	}
	if err := register(late, late.key); err != nil {
		t.Fatal(err)
	}
	if err := register(late, c.set[0].key); !errors.Is(err, ErrKeyTaken) {
		t.Errorf("another's key: %v", err)
	}
	if err := register(&validator{operator: make([]byte, 20)}, vrfKey(5)); !errors.Is(err, ErrValidator) {
		t.Errorf("no validator: %v", err)
	}
	_, err := NewMsgServer(c.k).RegisterKey(c.ctx, &MsgRegisterKey{Operator: c.name(late), Public: vrfKey(7).PublicKey(), Proof: make([]byte, 80)})
	if !errors.Is(err, ErrProof) {
		t.Errorf("no proof: %v", err)
	}
	c.run(12, nil)
	for h, want := range map[int64]uint32{1: 1, 6: 1, 7: 2, 9: 2} {
		if b := c.beacon(h); b.Contributors != want {
			t.Errorf("height %d: %d contributors, want %d", h, b.Contributors, want)
		}
	}
	// A rotation: the old key until the new one begins.
	now := c.ctx.BlockHeight()
	if err := register(late, vrfKey(50)); err != nil {
		t.Fatal(err)
	}
	if err := register(late, vrfKey(51)); err != nil { // the one that waits gives way
		t.Fatal(err)
	}
	if err := register(c.set[0], vrfKey(50)); err != nil {
		t.Errorf("a key that was given up: %v", err)
	}
	c.run(12, nil)
	m, err := c.k.members.Get(c.ctx, late.consensus)
	if err != nil || len(m.Keys) != 2 || m.Keys[1].From != now+6 {
		t.Fatalf("%+v, %v", m, err)
	}
	for h, want := range map[int64]uint32{now + 5: 2, now + 6: 1} { // the first validator has not got its new key
		if b := c.beacon(h); b.Contributors != want {
			t.Errorf("height %d: %d contributors, want %d", h, b.Contributors, want)
		}
	}
}

func TestOldBeaconsAreForgotten(t *testing.T) {
	c := start(t, small(), 1)
	c.run(100, nil)
	if _, ok := c.at(100 - 64 - 1); ok {
		t.Error("an old beacon is still there")
	}
	if _, ok := c.at(100 - 64); !ok {
		t.Error("a beacon was forgotten too early")
	}
}

func TestDrawComesAfterTheLead(t *testing.T) {
	c := start(t, small(), 10, 10, 10)
	c.run(20, func(h int64, v []Vote) []Vote {
		if h == 9 || h == 10 {
			for i := range v {
				v[i].Extension = nil
			}
		}
		return v
	})
	lead, err := c.k.Lead(c.ctx)
	if err != nil || lead != 4 {
		t.Fatalf("lead %d, %v", lead, err)
	}
	for settled, want := range map[int64]int64{4: 8, 5: 10, 14: 18} {
		h, v, ok, err := c.k.Draw(c.ctx, settled)
		if x, _ := c.at(want); err != nil || !ok || h != want || v != x {
			t.Errorf("settled in %d: drawn by %d (%v, %v), want %d", settled, h, ok, err, want)
		}
	}
	if _, _, ok, err := c.k.Draw(c.ctx, 15); ok || err != nil {
		t.Errorf("drawn too early: %v", err)
	}
}

// TestChanceIsInProportionToPower: who holds a third of the power wins about a
// third of the rounds, in one validator or in eight.
func TestChanceIsInProportionToPower(t *testing.T) {
	wins := func(powers ...int64) (n int) {
		for round := range 6000 {
			winner, best := -1, []byte(nil)
			for i, p := range powers {
				out := sha256.Sum256(fmt.Append(nil, round, "/", i))
				if winner < 0 || before(out[:], p, []byte{byte(i)}, best, powers[winner], []byte{byte(winner)}) {
					winner, best = i, out[:]
				}
			}
			if winner > 0 {
				n++
			}
		}
		return n
	}
	for _, powers := range [][]int64{{2_000_000, 1_000_000}, {16, 1, 1, 1, 1, 1, 1, 1, 1}, {2, 1}} {
		if n := wins(powers...); n < 1850 || n > 2150 {
			t.Errorf("a third of the power won %d of 6000", n)
		}
	}
}

func TestGenesisRoundTrip(t *testing.T) {
	c := start(t, small(), 10, 10, 10)
	c.run(10, nil)
	g, err := c.k.ExportGenesis(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, small())
	d.ctx = d.ctx.WithBlockHeight(11)
	if err := d.k.rounds.Remove(d.ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := d.k.InitGenesis(d.ctx, g); err != nil {
		t.Fatal(err)
	}
	if err := d.k.CheckInvariants(d.ctx); err != nil {
		t.Fatal(err)
	}
	again, err := d.k.ExportGenesis(d.ctx)
	if err != nil || !proto.Equal(g, again) {
		t.Errorf("exported again: %v", err)
	}
	e := start(t, small())
	if err := e.k.InitGenesis(e.ctx.WithBlockHeight(5), g); err == nil {
		t.Error("beacons of heights to come were accepted")
	}
	d.set = c.set
	d.run(6, nil)
	if _, ok := d.at(13); !ok {
		t.Error("the new chain makes no beacons")
	}
	if err := d.k.CheckInvariants(d.ctx); err != nil {
		t.Fatal(err)
	}
}

func TestGovernanceKeepsTheBounds(t *testing.T) {
	c := start(t, small(), 1)
	s := NewMsgServer(c.k)
	if _, err := s.UpdateParams(c.ctx, &MsgUpdateParams{Authority: "somebody", Params: small()}); !errors.Is(err, ErrAuthority) {
		t.Errorf("a stranger: %v", err)
	}
	for name, p := range map[string]Params{
		"no window":       {QuorumPoints: 1, Keep: 64, KeyDelay: 100},
		"long window":     {Window: 17, QuorumPoints: 1, Keep: 64, KeyDelay: 100},
		"no quorum":       {Window: 1, Keep: 64, KeyDelay: 100},
		"quorum of all":   {Window: 1, QuorumPoints: 10_000, Keep: 64, KeyDelay: 100},
		"nothing kept":    {Window: 1, QuorumPoints: 1, KeyDelay: 100},
		"a key at once":   {Window: 2, QuorumPoints: 1, Keep: 64, KeyDelay: 5},
		"a key too late":  {Window: 2, QuorumPoints: 1, Keep: 64, KeyDelay: 1 << 40},
		"everything kept": {Window: 2, QuorumPoints: 1, Keep: 1 << 40, KeyDelay: 100},
	} {
		if _, err := s.UpdateParams(c.ctx, &MsgUpdateParams{Authority: "gov", Params: p}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A shorter window finishes what it no longer leaves open.
	p := small()
	p.Window = 1
	c.run(6, nil)
	if _, err := s.UpdateParams(c.ctx, &MsgUpdateParams{Authority: "gov", Params: p}); err != nil {
		t.Fatal(err)
	}
	c.run(4, nil)
	p.Window, p.KeyDelay = 16, 100
	if _, err := s.UpdateParams(c.ctx, &MsgUpdateParams{Authority: "gov", Params: p}); err != nil {
		t.Fatal(err)
	}
	c.run(30, nil)
	for h := int64(8); h < 20; h++ {
		if _, ok := c.at(h); !ok {
			t.Errorf("height %d has none after the window changed", h)
		}
	}
}

func FuzzParseExtension(f *testing.F) {
	proof, _, _ := vrfKey(1).Prove(nil)
	f.Add(EncodeExtension([]Contribution{{0, proof}}))
	f.Add(EncodeExtension([]Contribution{{0, proof}, {3, proof}}))
	f.Add([]byte{1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseExtension(b)
		if err != nil {
			return
		}
		if len(list) > MaxWindow || !bytes.Equal(EncodeExtension(list), b) {
			t.Fatalf("%x was read as %d contributions, which are written otherwise", b, len(list))
		}
	})
}

var _ core.VRF = (*vrf.Key)(nil)
