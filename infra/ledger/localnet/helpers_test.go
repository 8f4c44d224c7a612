package localnet

import (
	"context"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	"github.com/cosmos/evm/crypto/ethsecp256k1"

	sdkmath "cosmossdk.io/math"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/app"
)

// wallet signs Cosmos transactions as any client of the chain would.
type wallet struct {
	key      *ethsecp256k1.PrivKey
	number   uint64
	sequence uint64
}

func (w *wallet) address() core.Address   { return core.Address(w.key.PubKey().Address()) }
func (w *wallet) account() sdk.AccAddress { return sdk.AccAddress(w.key.PubKey().Address()) }

func newWallet(seed byte) *wallet {
	return &wallet{key: &ethsecp256k1.PrivKey{Key: []byte(strings.Repeat(string([]byte{seed}), 32))}}
}

func (w *wallet) sync(a *app.App) {
	acc := a.Account.GetAccount(a.Context(), w.account())
	w.number, w.sequence = acc.GetAccountNumber(), acc.GetSequence()
}

// sign builds a transaction at w's next sequence.
func (w *wallet) sign(a *app.App, gas uint64, msgs ...sdk.Msg) []byte {
	b := a.Tx.NewTxBuilder()
	if err := b.SetMsgs(msgs...); err != nil {
		panic(err)
	}
	b.SetGasLimit(gas)
	b.SetFeeAmount(sdk.NewCoins(sdk.NewCoin(core.BaseDenom, app.MinGasPrice.MulInt64(int64(2*gas)).TruncateInt())))
	data := &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT}
	sig := signing.SignatureV2{PubKey: w.key.PubKey(), Data: data, Sequence: w.sequence}
	if err := b.SetSignatures(sig); err != nil {
		panic(err)
	}
	raw, err := authsigning.GetSignBytesAdapter(context.Background(), a.Tx.SignModeHandler(), signing.SignMode_SIGN_MODE_DIRECT, authsigning.SignerData{
		Address: w.account().String(), ChainID: a.ChainID(), AccountNumber: w.number, Sequence: w.sequence, PubKey: w.key.PubKey(),
	}, b.GetTx())
	if err != nil {
		panic(err)
	}
	if data.Signature, err = w.key.Sign(raw); err != nil {
		panic(err)
	}
	if err := b.SetSignatures(sig); err != nil {
		panic(err)
	}
	bz, err := a.Tx.TxEncoder()(b.GetTx())
	if err != nil {
		panic(err)
	}
	w.sequence++
	return bz
}

func (w *wallet) send(to core.Address, amount int64) sdk.Msg {
	return &banktypes.MsgSend{
		FromAddress: w.account().String(), ToAddress: sdk.AccAddress(to[:]).String(),
		Amount: sdk.NewCoins(sdk.NewCoin(core.BaseDenom, sdkmath.NewInt(amount))),
	}
}

// commit sends a transaction to the first validator and waits for its block.
func commit(t testing.TB, n *Net, tx []byte) *abci.ExecTxResult {
	t.Helper()
	res, err := submit(n, tx)
	if err != nil {
		t.Fatal(err)
	}
	return &res.TxResult
}

func submit(n *Net, tx []byte) (*coretypes.ResultBroadcastTxCommit, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return n.Nodes[0].Client.BroadcastTxCommit(ctx, tx)
}
