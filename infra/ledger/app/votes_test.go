package app

import (
	stded25519 "crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/beacon"
	"github.com/koinon-network/koinon/infra/vrf"
)

// voter is a validator of a chain whose blocks are made by hand.
type voter struct {
	signer ed25519.PrivKey
	beacon *Contributor
	power  int64
}

// assembly is a chain with voters, in the order of the validator set.
type assembly struct {
	*chain
	voters []voter
	last   abci.ExtendedCommitInfo // for the last block
}

func assemble(t *testing.T, n int) *assembly {
	t.Helper()
	g, err := NewGenesis(DevnetID)
	if err != nil {
		t.Fatal(err)
	}
	g.Time = epoch
	m := new(assembly)
	for i := range n {
		seed := sha256.Sum256(fmt.Append(nil, "voter", i))
		key, err := vrf.NewKey(stded25519.NewKeyFromSeed(seed[:]))
		if err != nil {
			t.Fatal(err)
		}
		v := voter{signer: ed25519.GenPrivKeyFromSecret(seed[:])}
		v.beacon = &Contributor{Consensus: v.signer.PubKey().Address(), Keys: []beacon.Prover{key}}
		g.AddValidator(Validator{Moniker: fmt.Sprint(i), Key: v.signer.PubKey(), Operator: newWallet(byte(100 + i)).address(), Bond: core.Koin(100), Beacon: key.PublicKey()})
		m.voters = append(m.voters, v)
	}
	doc, err := g.Document()
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{DB: dbm.NewMemDB(), ChainID: doc.ChainID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	m.chain = &chain{App: a, t: t, validator: doc.Validators[0].PubKey, clock: epoch}
	params := doc.ConsensusParams.ToProto()
	set := validatorSet(doc)
	if _, err := a.InitChain(&abci.RequestInitChain{
		ChainId: doc.ChainID, Time: epoch, InitialHeight: 1, ConsensusParams: &params, AppStateBytes: doc.AppState,
		Validators: cmttypes.TM2PB.ValidatorUpdates(set),
	}); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(m.voters, func(a, b voter) int {
		i, _ := set.GetByAddress(a.signer.PubKey().Address())
		j, _ := set.GetByAddress(b.signer.PubKey().Address())
		return int(i - j)
	})
	for i := range m.voters {
		_, v := set.GetByAddress(m.voters[i].signer.PubKey().Address())
		m.voters[i].power = v.VotingPower
	}
	m.step(nil) // the first block has no last commit
	return m
}

// sign makes voter i's vote for the block at height, with this extension.
func (m *assembly) sign(i int, height int64, ext []byte) abci.ExtendedVoteInfo {
	m.t.Helper()
	v := m.voters[i]
	sig, err := v.signer.Sign(cmttypes.VoteExtensionSignBytes(m.ChainID(), &cmtproto.Vote{Extension: ext, Height: height}))
	if err != nil {
		m.t.Fatal(err)
	}
	return abci.ExtendedVoteInfo{
		Validator:     abci.Validator{Address: v.signer.PubKey().Address(), Power: v.power},
		VoteExtension: ext, ExtensionSignature: sig, BlockIdFlag: cmtproto.BlockIDFlagCommit,
	}
}

// commit is the votes of all for height, by the state before it.
func (m *assembly) commit(height int64) (c abci.ExtendedCommitInfo) {
	for i, v := range m.voters {
		c.Votes = append(c.Votes, m.sign(i, height, m.extension(m.Context(), height, v.beacon)))
	}
	return c
}

func plain(c abci.ExtendedCommitInfo) (p abci.CommitInfo) {
	for _, v := range c.Votes {
		p.Votes = append(p.Votes, abci.VoteInfo{Validator: v.Validator, BlockIdFlag: v.BlockIdFlag})
	}
	return p
}

// propose lets the application make the next block's transactions.
func (m *assembly) proposal(txs ...[]byte) [][]byte {
	m.t.Helper()
	r, err := m.PrepareProposal(&abci.RequestPrepareProposal{Height: m.height + 1, Time: m.clock.Add(time.Second), MaxTxBytes: 1 << 20, LocalLastCommit: m.last, Txs: txs})
	if err != nil {
		m.t.Fatal(err)
	}
	return r.Txs
}

func (m *assembly) accepts(txs [][]byte) bool {
	m.t.Helper()
	r, err := m.ProcessProposal(&abci.RequestProcessProposal{Height: m.height + 1, Time: m.clock.Add(time.Second), Txs: txs, ProposedLastCommit: plain(m.last)})
	if err != nil {
		m.t.Fatal(err)
	}
	return r.Status == abci.ResponseProcessProposal_ACCEPT
}

// step executes the next block; every validator votes for it.
func (m *assembly) step(txs [][]byte) *abci.ResponseFinalizeBlock {
	m.t.Helper()
	var next abci.ExtendedCommitInfo
	if m.height > 0 {
		next = m.commit(m.height + 1)
	}
	m.height++
	m.clock = m.clock.Add(time.Second)
	res, err := m.FinalizeBlock(&abci.RequestFinalizeBlock{Height: m.height, Time: m.clock, Txs: txs, ProposerAddress: m.validator.Address(), DecidedLastCommit: plain(m.last)})
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.Commit(); err != nil {
		m.t.Fatal(err)
	}
	if err := m.CheckInvariants(m.Context()); err != nil {
		m.t.Fatal(err)
	}
	if m.height == 1 {
		for i := range m.voters {
			next.Votes = append(next.Votes, m.sign(i, 1, nil))
		}
	}
	m.last = next
	return res
}

func (m *assembly) has(height int64) bool {
	m.t.Helper()
	_, ok, err := m.Beacon.At(m.Context(), height)
	if err != nil {
		m.t.Fatal(err)
	}
	return ok
}

func TestVotesCarryTheBeacon(t *testing.T) {
	m := assemble(t, 4)
	for range 8 {
		txs := m.proposal()
		if len(txs) != 1 || !m.accepts(txs) {
			t.Fatalf("height %d: a proposal of %d transactions was refused", m.height+1, len(txs))
		}
		if res := m.step(txs); res.TxResults[0].Code != 0 {
			t.Fatal("the votes are reported as a transaction that failed")
		}
	}
	for h := int64(2); h <= 6; h++ {
		if !m.has(h) {
			t.Errorf("height %d has no beacon", h)
		}
	}
	if r, err := m.CheckTx(&abci.RequestCheckTx{Tx: m.proposal()[0]}); err == nil && r.Code == 0 {
		t.Error("a stranger may send votes as a transaction")
	}
}

func TestForgedVotesAreRefused(t *testing.T) {
	m := assemble(t, 4)
	for range 3 {
		m.step(m.proposal())
	}
	encode := func(bend func(c *abci.ExtendedCommitInfo)) [][]byte {
		c := abci.ExtendedCommitInfo{Round: m.last.Round, Votes: slices.Clone(m.last.Votes)}
		bend(&c)
		raw, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{append(slices.Clone(votesTag), raw...)}
	}
	if !m.accepts(encode(func(*abci.ExtendedCommitInfo) {})) || !m.accepts(nil) {
		t.Fatal("true votes, or none, were refused")
	}
	for name, txs := range map[string][][]byte{
		"another extension": encode(func(c *abci.ExtendedCommitInfo) { c.Votes[1].VoteExtension = c.Votes[2].VoteExtension }),
		"no extension":      encode(func(c *abci.ExtendedCommitInfo) { c.Votes[1].VoteExtension = nil }),
		"no signature":      encode(func(c *abci.ExtendedCommitInfo) { c.Votes[1].ExtensionSignature = nil }),
		"a hidden vote":     encode(func(c *abci.ExtendedCommitInfo) { c.Votes[1].BlockIdFlag = cmtproto.BlockIDFlagAbsent }),
		"a vote less":       encode(func(c *abci.ExtendedCommitInfo) { c.Votes = c.Votes[:3] }),
		"a vote twice":      encode(func(c *abci.ExtendedCommitInfo) { c.Votes[1] = c.Votes[0] }),
		"more power":        encode(func(c *abci.ExtendedCommitInfo) { c.Votes[0].Validator.Power++ }),
		"another round":     encode(func(c *abci.ExtendedCommitInfo) { c.Round++ }),
		"last height's":     encode(func(c *abci.ExtendedCommitInfo) { c.Votes[1] = m.sign(1, m.height-1, c.Votes[1].VoteExtension) }),
		"a long extension": encode(func(c *abci.ExtendedCommitInfo) {
			c.Votes[1] = m.sign(1, m.height, make([]byte, beacon.MaxExtension+1))
		}),
		"noise":              {append(slices.Clone(votesTag), "noise"...)},
		"unknown fields":     {append(encode(func(*abci.ExtendedCommitInfo) {})[0], 0xf8, 0x07, 1)},
		"more than may come": {append(slices.Clone(votesTag), make([]byte, maxVotes+1)...)},
	} {
		if m.accepts(txs) {
			t.Errorf("%s: accepted", name)
		}
		if name == "noise" { // should such a block be decided after all, it executes
			m.step(txs)
		}
	}
}

// TestVotesNeverStopTheChain: absent, silent and malicious validators cost at
// most the beacon.
func TestVotesNeverStopTheChain(t *testing.T) {
	m := assemble(t, 4)
	run := func(n int, bend func()) {
		for range n {
			bend()
			txs := m.proposal()
			if !m.accepts(txs) {
				t.Fatalf("height %d: own proposal refused", m.height+1)
			}
			m.step(txs)
		}
	}
	garbage := func(i int) { m.last.Votes[i] = m.sign(i, m.height, []byte{1, 0, 2, 3}) }
	absent := func(i int) {
		v := &m.last.Votes[i]
		v.VoteExtension, v.ExtensionSignature, v.BlockIdFlag = nil, nil, cmtproto.BlockIDFlagAbsent
	}
	run(8, func() { garbage(1); absent(2) })
	if !m.has(m.height - 4) {
		t.Error("two of four contributed, and the beacon is missing")
	}
	before := m.height
	run(8, func() { garbage(0); garbage(1); absent(2); garbage(3) })
	if m.has(before + 2) {
		t.Error("nobody contributed, and there is a beacon")
	}
	run(8, func() { absent(1); absent(2) }) // not even a commit: such a proposal comes without votes
	if txs := m.proposal(); len(txs) != 1 {
		t.Error("votes of all are not proposed")
	}
	run(8, func() {})
	if !m.has(m.height - 4) {
		t.Error("the beacon did not come back")
	}
}

func FuzzParseVotes(f *testing.F) {
	c := abci.ExtendedCommitInfo{Round: 1, Votes: []abci.ExtendedVoteInfo{{Validator: abci.Validator{Address: make([]byte, 20), Power: 1}, VoteExtension: []byte{1}, ExtensionSignature: make([]byte, 64), BlockIdFlag: 2}}}
	raw, _ := c.Marshal()
	f.Add(raw)
	f.Add([]byte{})
	f.Add([]byte("koinon"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseVotes(raw)
		if err != nil {
			return
		}
		if again, err := c.Marshal(); err != nil || string(again) != string(raw) {
			t.Fatalf("%x is accepted, and written as %x (%v)", raw, again, err)
		}
	})
}
