package app

import (
	"bytes"
	"errors"
	"flag"
	"math/big"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	dbm "github.com/cosmos/cosmos-db"
	feemarkettypes "github.com/cosmos/evm/x/feemarket/types"
	evmtypes "github.com/cosmos/evm/x/vm/types"
	"github.com/ethereum/go-ethereum/common"
	ethcrypto "github.com/ethereum/go-ethereum/crypto"
	"pgregory.net/rapid"

	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/x/authz"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/koinon-network/koinon/core"
)

func TestGenesisIsWhatCanNeverChange(t *testing.T) {
	c := newChain(t)
	ctx := c.Context()
	meta, ok := c.Bank.GetDenomMetaData(ctx, "akoin")
	if !ok || meta.Display != "koin" || meta.DenomUnits[1].Exponent != 18 {
		t.Errorf("the coin is %v", meta)
	}
	if id := evmtypes.GetEthChainConfig().ChainID.Int64(); id != 564666 {
		t.Errorf("the EVM's chain id is %d", id)
	}
	for _, a := range []string{"0x4e59b44847b379578588920ca78fbf26c0b4956c", "0xcA11bde05977b3631167028862bE2a173976CA11", "0x000000000022D473030F116dDEE9F6B43aC78BA3"} {
		if code := c.EVM.GetCode(ctx, c.EVM.GetCodeHash(ctx, common.HexToAddress(a))); len(code) < 50 {
			t.Errorf("%s has %d bytes of code", a, len(code))
		}
	}
	params := c.GetConsensusParams(ctx)
	fees := c.FeeMarket.GetParams(ctx)
	if params.Block.MaxGas != BlockGas || !fees.MinGasPrice.IsPositive() || !fees.MinGasMultiplier.IsZero() {
		t.Errorf("block gas %d, fees %v", params.Block.MaxGas, fees)
	}
	if bond, _ := c.Staking.BondDenom(ctx); bond != core.BaseDenom {
		t.Errorf("stake is in %s", bond)
	}
	if got := newWallet(1).sdk().String(); got[:7] != "koinon1" {
		t.Errorf("an account is %s", got)
	}
}

func TestOneAccountTwoWorlds(t *testing.T) {
	alice, bob := newWallet(1), newWallet(2)
	c := newChain(t, alice)
	c.ok(c.sign(alice, alice.send(bob.address(), 1_000)))
	to := common.Address(bob.address())
	_, tx := c.ethereum(alice, &to, big.NewInt(234), nil, 21_000)
	before := c.balance(alice.address())
	if r := c.ok(tx); r.GasUsed != 21_000 {
		t.Errorf("a transfer used %d gas", r.GasUsed)
	}
	if got := c.balance(bob.address()); got.Int64() != 1_234 {
		t.Errorf("bob has %s", got)
	}
	paid := new(big.Int).Sub(before, c.balance(alice.address()))
	if least := MinGasPrice.MulInt64(21_000).TruncateInt().BigInt(); paid.Cmp(least) < 0 || paid.Cmp(new(big.Int).Mul(least, big.NewInt(2))) > 0 {
		t.Errorf("alice paid %s for a transfer of 234, the least is %s", paid, least)
	}
}

// code returns 42 and keeps it at storage slot 0 when created.
const code = "602a600055600a6011600039600a6000f3fe60005460005260206000f3"

func TestContractsRunAndUnusedGasComesBack(t *testing.T) {
	alice := newWallet(1)
	c := newChain(t, alice)
	before := c.balance(alice.address())
	_, tx := c.ethereum(alice, nil, new(big.Int), common.FromHex(code), 5_000_000)
	r := c.ok(tx)
	paid := new(big.Int).Sub(before, c.balance(alice.address()))
	price := new(big.Int).Div(paid, big.NewInt(r.GasUsed))
	if r.GasUsed > 200_000 || price.Cmp(MinGasPrice.MulInt64(3).TruncateInt().BigInt()) > 0 {
		t.Errorf("%d gas cost %s: the unused gas was kept", r.GasUsed, paid)
	}
	at := ethcrypto.CreateAddress(common.Address(alice.address()), 0)
	if v := c.EVM.GetState(c.Context(), at, common.Hash{}); v.Big().Int64() != 42 {
		t.Errorf("the contract keeps %s", v)
	}
}

func TestAnteRefuses(t *testing.T) {
	alice, bob := newWallet(1), newWallet(2)
	c := newChain(t, alice, bob)
	to := common.Address(bob.address())
	inner, _ := c.ethereum(alice, &to, big.NewInt(1), nil, 21_000)
	exec := func(msgs ...sdk.Msg) sdk.Msg {
		m := authz.NewMsgExec(bob.sdk(), msgs)
		return &m
	}
	nested := exec(bob.send(alice.address(), 1))
	for range maxNestedExec + 1 {
		nested = exec(nested)
	}
	later := epoch.Add(time.Hour)
	grant, err := authz.NewMsgGrant(alice.sdk(), bob.sdk(), authz.NewGenericAuthorization(sdk.MsgTypeURL(inner)), &later)
	if err != nil {
		t.Fatal(err)
	}
	c.refused("an Ethereum message in a Cosmos transaction", c.sign(bob, inner), "eth_sendRawTransaction")
	c.refused("an Ethereum message in authz", c.sign(bob, exec(inner)), "eth_sendRawTransaction")
	c.refused("an Ethereum message deep in authz", c.sign(bob, exec(exec(inner))), "eth_sendRawTransaction")
	c.refused("a tower of authz", c.sign(bob, nested), "inside one another")
	c.refused("a grant of Ethereum messages", c.sign(alice, grant), "nobody can be granted")
	c.refused("a fee below the floor", c.sign(&wallet{key: bob.key, gasPrice: 999_999_999}, bob.send(alice.address(), 1)), "the fee for 500000 gas is at least")
	c.refused("a fee in another coin", c.sign(&wallet{key: bob.key, denom: "gold"}, bob.send(alice.address(), 1)), "fees are paid in akoin")
	c.refused("more gas than the block", c.sign(&wallet{key: bob.key, gas: BlockGas + 1}, bob.send(alice.address(), 1)), "")

	// The key of another chain's accounts.
	foreign := &wallet{key: &secp256k1.PrivKey{Key: bytes.Repeat([]byte{7}, 32)}}
	c.ok(c.sign(alice, alice.send(foreign.address(), 1e18)))
	c.refused("a key that is not eth_secp256k1", c.sign(foreign, foreign.send(alice.address(), 1)), "eth_secp256k1")

	_, good := c.ethereum(alice, &to, big.NewInt(1), nil, 21_000)
	c.ok(good)
	c.refused("an Ethereum transaction twice", good, "nonce")
	tx := c.sign(bob, bob.send(alice.address(), 1))
	c.ok(tx)
	c.refused("a Cosmos transaction twice", tx, "sequence")
}

// The cache of good signatures must not lend one to another transaction.
func TestVerifiedOnceIsNotVerifiedAlways(t *testing.T) {
	alice, bob := newWallet(1), newWallet(2)
	c := newChain(t, alice, bob)
	tx := c.sign(alice, alice.send(bob.address(), 1))
	if r, err := c.CheckTx(&abci.RequestCheckTx{Tx: tx}); err != nil || r.Code != 0 {
		t.Fatal(err, r)
	}
	forged := bytes.Replace(tx, alice.sdk(), bob.sdk(), 1)
	tampered := bytes.Clone(tx)
	tampered[len(tx)-20] ^= 1 // within the signature's s
	for name, b := range map[string][]byte{"tampered": tampered, "forged": forged} {
		if bytes.Equal(b, tx) {
			continue
		}
		if r := c.one(b); r.Code == 0 {
			t.Errorf("%s transaction was accepted", name)
		}
	}
	c.ok(tx)

	// The same bytes on another chain, where alice has another account number.
	crowd := []*wallet{alice, bob}
	for i := byte(3); i < 30; i++ {
		crowd = append(crowd, newWallet(i))
	}
	other := startChain(t, newDocument(t, crowd...))
	number := func(c *chain) uint64 { return c.Account.GetAccount(c.Context(), alice.sdk()).GetAccountNumber() }
	if number(c) == number(other) {
		t.Fatal("the account numbers are the same: the test shows nothing")
	}
	other.refused("a signature for another account number", tx, "signature verification failed")
}

func TestSameBlocksSameState(t *testing.T) {
	alice, bob := newWallet(1), newWallet(2)
	doc := newDocument(t, alice, bob)
	a, b := startChain(t, doc), startChain(t, doc)
	to := common.Address(bob.address())
	for range 5 {
		_, eth := a.ethereum(bob, &to, big.NewInt(1), nil, 21_000)
		txs := [][]byte{a.sign(alice, alice.send(bob.address(), 3)), eth, []byte("no transaction")}
		if x, y := a.block(txs...).AppHash, b.block(txs...).AppHash; !bytes.Equal(x, y) {
			t.Fatalf("the hashes at height %d are %x and %x", a.height, x, y)
		}
	}
}

func TestExportKeepsContractsAndStake(t *testing.T) {
	alice, bob := newWallet(1), newWallet(2)
	c := newChain(t, alice)
	_, tx := c.ethereum(alice, nil, new(big.Int), common.FromHex(code), 500_000)
	c.ok(tx)
	c.ok(c.sign(alice, &stakingtypes.MsgDelegate{DelegatorAddress: alice.sdk().String(), ValidatorAddress: sdk.ValAddress(c.operator[:]).String(), Amount: akoin(5e17)[0]}))
	c.ok(c.sign(alice, alice.send(bob.address(), 77)))
	doc, err := c.Export()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.ValidateAndComplete(); err != nil {
		t.Fatal(err)
	}
	n := startChain(t, doc)
	if n.height != c.height+1 {
		t.Errorf("the new chain begins at %d after %d", n.height, c.height)
	}
	for _, w := range []*wallet{alice, bob} {
		if was, is := c.balance(w.address()), n.balance(w.address()); was.Cmp(is) != 0 {
			t.Errorf("%s had %s, has %s", w.address(), was, is)
		}
	}
	at := ethcrypto.CreateAddress(common.Address(alice.address()), 0)
	if v := n.EVM.GetState(n.Context(), at, common.Hash{}); v.Big().Int64() != 42 {
		t.Errorf("the contract keeps %s", v)
	}
	n.ok(n.sign(alice, alice.send(bob.address(), 1)))
}

// TestMoneyIsConserved sends random messages of random accounts, good and bad,
// over both worlds. The books are checked in every block.
func TestMoneyIsConserved(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("30")
	}
	wallets := []*wallet{newWallet(1), newWallet(2), newWallet(3)}
	doc := newDocument(t, wallets...)
	rapid.Check(t, func(rt *rapid.T) {
		c := startChain(t, doc)
		for range rapid.IntRange(1, 6).Draw(rt, "blocks") {
			var txs [][]byte
			for _, w := range wallets {
				if !rapid.Bool().Draw(rt, "acts") {
					continue
				}
				to := wallets[rapid.IntRange(0, 2).Draw(rt, "to")].address()
				amount := rapid.Int64Range(0, 2e18).Draw(rt, "amount")
				validator := sdk.ValAddress(c.operator[:]).String()
				switch rapid.IntRange(0, 4).Draw(rt, "what") {
				case 0:
					txs = append(txs, c.sign(w, w.send(to, amount)))
				case 1:
					at := common.Address(to)
					_, tx := c.ethereum(w, &at, big.NewInt(amount), nil, 21_000+uint64(amount%30_000))
					txs = append(txs, tx)
				case 2:
					txs = append(txs, c.sign(w, &stakingtypes.MsgDelegate{DelegatorAddress: w.sdk().String(), ValidatorAddress: validator, Amount: sdk.NewInt64Coin(core.BaseDenom, amount)}))
				case 3:
					txs = append(txs, c.sign(w, &stakingtypes.MsgUndelegate{DelegatorAddress: w.sdk().String(), ValidatorAddress: validator, Amount: sdk.NewInt64Coin(core.BaseDenom, amount/2)}))
				case 4:
					_, tx := c.ethereum(w, nil, big.NewInt(amount), common.FromHex(code)[:rapid.IntRange(0, 29).Draw(rt, "code")], 300_000)
					txs = append(txs, tx)
				}
			}
			c.block(txs...)
		}
	})
}

func TestNewRefusesInWords(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("a chain without a database")
	}
	a, err := New(Options{DB: dbm.NewMemDB(), ChainID: "x-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.InitChain(&abci.RequestInitChain{ChainId: "x-1", InitialHeight: 1, AppStateBytes: []byte("{")}); err == nil {
		t.Error("a genesis that is not JSON")
	}
	if _, err := New(Options{DB: dbm.NewMemDB(), Height: 7}); err == nil {
		t.Error("a height that never was")
	}
	g, err := NewGenesis("x-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Document(); err == nil {
		t.Error("a chain without validators")
	}
	g.AddValidator(Validator{Moniker: "poor", Key: ed25519.GenPrivKeyFromSecret([]byte("poor")).PubKey(), Operator: core.Address{1}, Bond: core.NewAmount(5)})
	if _, err := g.Document(); err == nil {
		t.Error("a validator without stake")
	}
	if err := g.Set("nosuch", feemarkettypes.DefaultGenesisState()); err == nil {
		t.Error("state of a module that is not there")
	}
	if err := errors.Join(g.Get("feemarket", new(feemarkettypes.GenesisState))); err != nil {
		t.Error(err)
	}
}
