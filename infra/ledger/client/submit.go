package client

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"time"

	"github.com/cosmos/evm/crypto/ethsecp256k1"
	feemarket "github.com/cosmos/evm/x/feemarket/types"
	"github.com/cosmos/gogoproto/proto"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

const (
	// lifetime is how many blocks a transaction stays valid.
	lifetime = 60
	// attempts bounds how often a transaction is numbered anew.
	attempts = 5
	// rebroadcast is how long a transaction may wait before the node gets it again.
	rebroadcast = 1500 * time.Millisecond
	// maxGas is what one transaction may ask for.
	maxGas = 50_000_000
)

// Result is a transaction that succeeded.
type Result struct {
	Hash    core.Hash
	Height  int64
	GasUsed int64
	Fee     core.Amount
}

// Submit sends one transaction with these messages, which take effect together
// or not at all, and returns when it is final.
func (w *Wallet) Submit(ctx context.Context, msgs ...proto.Message) (Result, error) {
	body, err := bodyOf(msgs)
	if err != nil {
		return Result{}, err
	}
	gasFactor := int64(3)
	for range attempts {
		sent, err := w.send(ctx, body, gasFactor)
		var r *refusal
		if errors.As(err, &r) && w.renumber(r) {
			continue
		}
		if errors.As(err, &r) {
			return Result{}, explain(r, core.Amount{})
		}
		if err != nil {
			return Result{}, err
		}
		res, err := w.finish(ctx, sent)
		if errors.As(err, &r) {
			if r.is(sdkerrors.ErrOutOfGas) && gasFactor < 12 {
				gasFactor *= 2 // the state has changed since the simulation
				continue
			}
			if w.renumber(r) {
				continue
			}
			return Result{}, explain(r, sent.fee)
		}
		return res, err
	}
	return Result{}, &core.Error{Code: core.CodeBusy, Message: "another program sends from this account at the same time", Next: "try again"}
}

func bodyOf(msgs []proto.Message) (*tx.TxBody, error) {
	body := &tx.TxBody{}
	for _, m := range msgs {
		a, err := codectypes.NewAnyWithValue(m)
		if err != nil {
			return nil, err
		}
		body.Messages = append(body.Messages, a)
	}
	return body, nil
}

// sent is a transaction in the node's pool.
type sent struct {
	raw  []byte
	hash [32]byte
	wait *wait
	fee  core.Amount
}

// send numbers, prices, signs and hands over a transaction. It holds the
// account: the pool must see sequence numbers in order.
func (w *Wallet) send(ctx context.Context, template *tx.TxBody, gasFactor int64) (sent, error) {
	price, err := w.c.gasPrice(ctx)
	if err != nil {
		return sent{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.learn(ctx); err != nil {
		return sent{}, err
	}
	body := *template
	body.TimeoutHeight = uint64(w.c.follow.now() + lifetime)
	draft, err := w.build(&body, maxGas, core.Amount{}, false)
	if err != nil {
		return sent{}, err
	}
	used, err := w.c.simulate(ctx, draft)
	if err != nil {
		return sent{}, err
	}
	gas := min(used*gasFactor/2+20_000, maxGas)
	fee := price.Mul(uint64(gas))
	raw, err := w.build(&body, uint64(gas), fee, true)
	if err != nil {
		return sent{}, err
	}
	s := sent{raw: raw, hash: sha256.Sum256(raw), fee: fee}
	s.wait = w.c.follow.await(s.hash, int64(body.TimeoutHeight))
	res, err := w.c.rpc.BroadcastTxSync(ctx, raw)
	switch {
	case err != nil:
		w.c.follow.abandon(s.hash)
		w.known = false
		return sent{}, unreachable(err)
	case res.Code != 0:
		w.c.follow.abandon(s.hash)
		return sent{}, &refusal{res.Codespace, res.Code, res.Log}
	}
	w.sequence++
	return s, nil
}

// learn reads account number and sequence once; w.mu is held.
func (w *Wallet) learn(ctx context.Context) error {
	if w.known {
		return nil
	}
	r, err := authtypes.NewQueryClient(w.c).AccountInfo(ctx, &authtypes.QueryAccountInfoRequest{Address: w.account})
	if isNotFound(err) {
		return &core.Error{Code: core.CodeUnpaid, Message: "the account " + w.account + " does not exist yet", Next: "send koin to it first"}
	}
	if err != nil {
		return readError("the account cannot be read", err)
	}
	w.number, w.sequence, w.known = r.Info.AccountNumber, r.Info.Sequence, true
	return nil
}

var expected = regexp.MustCompile(`expected (\d+), got (\d+)`)

// renumber takes the right sequence number out of a refusal for a wrong one.
func (w *Wallet) renumber(r *refusal) bool {
	if !r.is(sdkerrors.ErrWrongSequence) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	m := expected.FindStringSubmatch(r.log)
	if m == nil {
		w.known = false
		return true
	}
	want, err := strconv.ParseUint(m[1], 10, 64)
	if got, _ := strconv.ParseUint(m[2], 10, 64); got == w.sequence || got+1 == w.sequence {
		w.sequence = want
	}
	w.known = err == nil
	return true
}

// outcome waits until the transaction is in a block or never will be. A pool
// throws out what follows a gap in an account's sequence numbers, without a
// word, also when the gap is filled a moment later: so the same bytes, which
// can take effect only once, are handed over again while they wait.
func (w *Wallet) outcome(ctx context.Context, s sent) (outcome, error) {
	again := time.NewTicker(rebroadcast)
	defer again.Stop()
	for {
		select {
		case o := <-s.wait.done:
			return o, nil
		case <-again.C:
			_, _ = w.c.rpc.BroadcastTxSync(ctx, s.raw) // refused if it is there, or too early
		case <-ctx.Done():
			w.c.follow.abandon(s.hash)
			return outcome{}, &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("transaction %x is not final yet", s.hash), Next: "look it up before sending it again", Err: ctx.Err()}
		}
	}
}

// finish returns what became of a transaction.
func (w *Wallet) finish(ctx context.Context, s sent) (Result, error) {
	o, err := w.outcome(ctx, s)
	if err != nil {
		return Result{}, err
	}
	if o.expired {
		w.mu.Lock()
		w.known = false
		w.mu.Unlock()
		return Result{}, &core.Error{Code: core.CodeUnavailable, Message: fmt.Sprintf("no block took transaction %x in time", s.hash), Next: "nothing was charged; try again"}
	}
	if o.result == nil {
		return Result{}, core.Errorf(core.CodeUnavailable, "the connection to the chain was closed before transaction %x was final", s.hash)
	}
	if o.result.Code != 0 {
		return Result{}, &refusal{o.result.Codespace, o.result.Code, o.result.Log}
	}
	return Result{Hash: s.hash, Height: o.height, GasUsed: o.result.GasUsed, Fee: s.fee}, nil
}

// build encodes a transaction; an unsigned one carries an empty signature.
func (w *Wallet) build(body *tx.TxBody, gas uint64, fee core.Amount, sign bool) ([]byte, error) {
	key, err := codectypes.NewAnyWithValue(&ethsecp256k1.PubKey{Key: w.publicKey})
	if err != nil {
		return nil, err
	}
	auth := &tx.AuthInfo{
		SignerInfos: []*tx.SignerInfo{{
			PublicKey: key, Sequence: w.sequence,
			ModeInfo: &tx.ModeInfo{Sum: &tx.ModeInfo_Single_{Single: &tx.ModeInfo_Single{Mode: signing.SignMode_SIGN_MODE_DIRECT}}},
		}},
		Fee: &tx.Fee{GasLimit: gas},
	}
	if !fee.IsZero() {
		auth.Fee.Amount = coins(fee)
	}
	raw := &tx.TxRaw{Signatures: [][]byte{{}}}
	if raw.BodyBytes, err = proto.Marshal(body); err != nil {
		return nil, err
	}
	if raw.AuthInfoBytes, err = proto.Marshal(auth); err != nil {
		return nil, err
	}
	if sign {
		doc, err := proto.Marshal(&tx.SignDoc{BodyBytes: raw.BodyBytes, AuthInfoBytes: raw.AuthInfoBytes, ChainId: w.c.chainID, AccountNumber: w.number})
		if err != nil {
			return nil, err
		}
		sig, err := w.Sign(voucher.Keccak(doc))
		if err != nil {
			return nil, err
		}
		raw.Signatures[0] = sig[:64]
	}
	return proto.Marshal(raw)
}

// simulate runs a transaction without effect and returns the gas it used.
func (c *Client) simulate(ctx context.Context, raw []byte) (int64, error) {
	b, err := c.query(ctx, "/app/simulate", raw)
	if err != nil {
		return 0, err
	}
	var r struct {
		GasInfo struct {
			GasUsed string `json:"gas_used"`
		} `json:"gas_info"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return 0, err
	}
	return strconv.ParseInt(r.GasInfo.GasUsed, 10, 64)
}

// gasPrice is what one unit of gas costs now, with a quarter to spare: the
// base fee rises by an eighth per full block.
func (c *Client) gasPrice(ctx context.Context) (core.Amount, error) {
	return remember(ctx, &c.memo, "gas", func(ctx context.Context) (core.Amount, error) {
		q := feemarket.NewQueryClient(c)
		p, err := q.Params(ctx, &feemarket.QueryParamsRequest{})
		if err != nil {
			return core.Amount{}, readError("the price of gas cannot be read", err)
		}
		price := p.Params.MinGasPrice
		if !p.Params.NoBaseFee && !p.Params.BaseFee.IsNil() && p.Params.BaseFee.GT(price) {
			price = p.Params.BaseFee
		}
		v := price.Ceil().TruncateInt().BigInt()
		v.Mul(v, big.NewInt(5)).Add(v, big.NewInt(3)).Quo(v, big.NewInt(4))
		return core.AmountFromBig(v)
	})
}
