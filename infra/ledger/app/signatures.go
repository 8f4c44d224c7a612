package app

import (
	"crypto/sha256"
	"encoding/binary"

	lru "github.com/hashicorp/golang-lru/v2"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/x/auth/ante"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
)

// verified holds what [verifyOnce] has seen, for all nodes of the process.
var verified = func() *lru.Cache[[32]byte, struct{}] {
	c, err := lru.New[[32]byte, struct{}](1 << 14)
	if err != nil {
		panic(err)
	}
	return c
}()

// verifyOnce remembers transactions whose signatures were good, because the
// same transaction is checked on its way into the mempool and again in its
// block. The key covers everything that is signed, and the keys that signed.
type verifyOnce struct {
	accounts ante.AccountKeeper
	verify   sdk.AnteDecorator
}

func newVerifyOnce(accounts ante.AccountKeeper, verify sdk.AnteDecorator) verifyOnce {
	return verifyOnce{accounts, verify}
}

func (v verifyOnce) AnteHandle(ctx sdk.Context, tx sdk.Tx, simulate bool, next sdk.AnteHandler) (sdk.Context, error) {
	key, ok := v.key(ctx, tx)
	if !ok || simulate || ctx.IsReCheckTx() || !ctx.IsSigverifyTx() {
		return v.verify.AnteHandle(ctx, tx, simulate, next)
	}
	if verified.Contains(key) {
		ctx = ctx.WithIsSigverifyTx(false)
	}
	return v.verify.AnteHandle(ctx, tx, simulate, func(ctx sdk.Context, tx sdk.Tx, simulate bool) (sdk.Context, error) {
		verified.Add(key, struct{}{})
		return next(ctx.WithIsSigverifyTx(true), tx, simulate)
	})
}

func (v verifyOnce) key(ctx sdk.Context, tx sdk.Tx) (key [32]byte, ok bool) {
	signed, ok := tx.(authsigning.Tx)
	if !ok || ctx.BlockHeight() == 0 || len(ctx.TxBytes()) == 0 {
		return key, false
	}
	signers, err := signed.GetSigners()
	if err != nil {
		return key, false
	}
	h := sha256.New()
	field := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	field([]byte(ctx.ChainID()))
	field(ctx.TxBytes())
	for _, s := range signers {
		acc := v.accounts.GetAccount(ctx, s)
		if acc == nil || acc.GetPubKey() == nil {
			return key, false
		}
		field(binary.BigEndian.AppendUint64(nil, acc.GetAccountNumber()))
		field(acc.GetPubKey().Bytes())
	}
	h.Sum(key[:0])
	return key, true
}
