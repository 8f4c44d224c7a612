package app

import (
	"context"
	"math/big"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmttypes "github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/evm/crypto/ethsecp256k1"
	evmtypes "github.com/cosmos/evm/x/vm/types"
	"github.com/ethereum/go-ethereum/common"
	ethtypes "github.com/ethereum/go-ethereum/core/types"

	sdkmath "cosmossdk.io/math"

	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/koinon-network/koinon/core"
)

// chain is the state machine without consensus: blocks are made by hand.
type chain struct {
	*App
	t         testing.TB
	validator crypto.PubKey
	operator  core.Address
	height    int64
	clock     time.Time
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newChain(t testing.TB, funded ...*wallet) *chain {
	t.Helper()
	return startChain(t, newDocument(t, funded...))
}

func newDocument(t testing.TB, funded ...*wallet) *cmttypes.GenesisDoc {
	t.Helper()
	g, err := NewGenesis(DevnetID)
	if err != nil {
		t.Fatal(err)
	}
	g.Time = epoch
	g.AddValidator(Validator{
		Moniker: "only", Key: ed25519.GenPrivKeyFromSecret([]byte("validator")).PubKey(),
		Operator: newWallet(99).address(), Bond: core.Koin(100),
	})
	for _, w := range funded {
		g.Credit(w.address(), core.Koin(100))
	}
	doc, err := g.Document()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func startChain(t testing.TB, doc *cmttypes.GenesisDoc) *chain {
	t.Helper()
	a, err := New(Options{DB: dbm.NewMemDB(), ChainID: doc.ChainID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	c := &chain{App: a, t: t, validator: doc.Validators[0].PubKey, operator: newWallet(99).address(), height: doc.InitialHeight - 1, clock: epoch}
	params := doc.ConsensusParams.ToProto()
	if _, err := a.InitChain(&abci.RequestInitChain{
		ChainId: doc.ChainID, Time: epoch, InitialHeight: doc.InitialHeight, ConsensusParams: &params, AppStateBytes: doc.AppState,
		Validators: cmttypes.TM2PB.ValidatorUpdates(validatorSet(doc)),
	}); err != nil {
		t.Fatal(err)
	}
	c.block()
	return c
}

func validatorSet(doc *cmttypes.GenesisDoc) *cmttypes.ValidatorSet {
	var vs []*cmttypes.Validator
	for _, v := range doc.Validators {
		vs = append(vs, cmttypes.NewValidator(v.PubKey, v.Power))
	}
	return cmttypes.NewValidatorSet(vs)
}

// block commits the transactions and wants balanced books after them.
func (c *chain) block(txs ...[]byte) *abci.ResponseFinalizeBlock {
	c.t.Helper()
	c.height++
	c.clock = c.clock.Add(time.Second)
	res, err := c.FinalizeBlock(&abci.RequestFinalizeBlock{
		Height: c.height, Time: c.clock, Txs: txs, ProposerAddress: c.validator.Address(),
		DecidedLastCommit: abci.CommitInfo{Votes: []abci.VoteInfo{{Validator: abci.Validator{Address: c.validator.Address(), Power: 100}, BlockIdFlag: 2}}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.Commit(); err != nil {
		c.t.Fatal(err)
	}
	if err := c.CheckInvariants(c.Context()); err != nil {
		c.t.Fatal(err)
	}
	return res
}

// one commits a block with one transaction and returns its result.
func (c *chain) one(tx []byte) *abci.ExecTxResult { c.t.Helper(); return c.block(tx).TxResults[0] }

func (c *chain) ok(tx []byte) *abci.ExecTxResult {
	c.t.Helper()
	r := c.one(tx)
	if r.Code != 0 {
		c.t.Fatal(r.Log)
	}
	return r
}

func (c *chain) refused(what string, tx []byte, want string) {
	c.t.Helper()
	if r := c.one(tx); r.Code == 0 || !strings.Contains(r.Log, want) {
		c.t.Errorf("%s: code %d, %s", what, r.Code, r.Log)
	}
}

func (c *chain) balance(a core.Address) *big.Int {
	return c.Bank.GetBalance(c.Context(), a[:], core.BaseDenom).Amount.BigInt()
}

type wallet struct {
	key cryptotypes.PrivKey
	// gasPrice in akoin; 0 is twice the minimum.
	gasPrice int64
	denom    string
	gas      uint64
}

func newWallet(seed byte) *wallet {
	return &wallet{key: &ethsecp256k1.PrivKey{Key: []byte(strings.Repeat(string([]byte{seed}), 32))}}
}

func (w *wallet) address() core.Address { return core.Address(w.key.PubKey().Address()) }
func (w *wallet) sdk() sdk.AccAddress   { return sdk.AccAddress(w.key.PubKey().Address()) }

func (w *wallet) send(to core.Address, amount int64) sdk.Msg {
	return &banktypes.MsgSend{FromAddress: w.sdk().String(), ToAddress: sdk.AccAddress(to[:]).String(), Amount: akoin(amount)}
}

func akoin(n int64) sdk.Coins { return sdk.NewCoins(sdk.NewInt64Coin(core.BaseDenom, n)) }

// sign makes a Cosmos transaction from w's state on the chain.
func (c *chain) sign(w *wallet, msgs ...sdk.Msg) []byte {
	c.t.Helper()
	acc := c.Account.GetAccount(c.Context(), w.sdk())
	var number, sequence uint64
	if acc != nil {
		number, sequence = acc.GetAccountNumber(), acc.GetSequence()
	}
	gas, price, denom := w.gas, sdkmath.NewInt(w.gasPrice), w.denom
	if gas == 0 {
		gas = 500_000
	}
	if price.IsZero() {
		price = MinGasPrice.MulInt64(2).TruncateInt()
	}
	if denom == "" {
		denom = core.BaseDenom
	}
	b := c.Tx.NewTxBuilder()
	if err := b.SetMsgs(msgs...); err != nil {
		c.t.Fatal(err)
	}
	b.SetGasLimit(gas)
	b.SetFeeAmount(sdk.NewCoins(sdk.NewCoin(denom, price.MulRaw(int64(gas)))))
	data := &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT}
	sig := signing.SignatureV2{PubKey: w.key.PubKey(), Data: data, Sequence: sequence}
	if err := b.SetSignatures(sig); err != nil {
		c.t.Fatal(err)
	}
	raw, err := authsigning.GetSignBytesAdapter(context.Background(), c.Tx.SignModeHandler(), signing.SignMode_SIGN_MODE_DIRECT,
		authsigning.SignerData{Address: w.sdk().String(), ChainID: c.ChainID(), AccountNumber: number, Sequence: sequence, PubKey: w.key.PubKey()}, b.GetTx())
	if err != nil {
		c.t.Fatal(err)
	}
	if data.Signature, err = w.key.Sign(raw); err != nil {
		c.t.Fatal(err)
	}
	if err := b.SetSignatures(sig); err != nil {
		c.t.Fatal(err)
	}
	return c.encode(b.GetTx())
}

func (c *chain) encode(tx sdk.Tx) []byte {
	c.t.Helper()
	bz, err := c.Tx.TxEncoder()(tx)
	if err != nil {
		c.t.Fatal(err)
	}
	return bz
}

// ethereum makes a signed Ethereum transaction as a wallet's JSON-RPC call would.
func (c *chain) ethereum(w *wallet, to *common.Address, value *big.Int, data []byte, gas uint64) (*evmtypes.MsgEthereumTx, []byte) {
	c.t.Helper()
	key, err := w.key.(*ethsecp256k1.PrivKey).ToECDSA()
	if err != nil {
		c.t.Fatal(err)
	}
	var nonce uint64
	if acc := c.Account.GetAccount(c.Context(), w.sdk()); acc != nil {
		nonce = acc.GetSequence()
	}
	signer := ethtypes.LatestSignerForChainID(big.NewInt(EVMChainID))
	tx, err := ethtypes.SignNewTx(key, signer, &ethtypes.DynamicFeeTx{
		ChainID: big.NewInt(EVMChainID), Nonce: nonce, To: to, Value: value, Data: data, Gas: gas,
		GasFeeCap: MinGasPrice.MulInt64(3).TruncateInt().BigInt(), GasTipCap: big.NewInt(1),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	msg := new(evmtypes.MsgEthereumTx)
	if err := msg.FromSignedEthereumTx(tx, signer); err != nil {
		c.t.Fatal(err)
	}
	built, err := msg.BuildTx(c.Tx.NewTxBuilder(), core.BaseDenom)
	if err != nil {
		c.t.Fatal(err)
	}
	return msg, c.encode(built)
}
