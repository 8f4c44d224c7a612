package precompile

import (
	"bytes"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/ethereum/go-ethereum/common"
	ethtypes "github.com/ethereum/go-ethereum/core/types"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/fixture"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/token"
	"github.com/koinon-network/koinon/infra/voucher"
)

var (
	payer    = fixture.Key(1)
	receiver = fixture.Key(2)
	stranger = fixture.Key(3)
	coin     = voucher.NewTokenDomain(fixture.EVMChainID)
	batch    = voucher.NewDomain(fixture.EVMChainID)
)

const purse = 1_000_000_000

// world is the fixture's chain with both contracts.
type world struct {
	*fixture.Chain
	t        *testing.T
	token    *Token
	channels *Channels
	logs     []*ethtypes.Log
}

func newWorld(t *testing.T) *world {
	c := fixture.New(t)
	c.Fund(payer.Address(), purse)
	c.Fund(receiver.Address(), purse)
	return &world{Chain: c, t: t, token: NewToken(c.Token, fixture.EVMChainID, c.Bank), channels: NewChannels(c.Payment, c.Bank)}
}

// call calls a contract as the EVM does: it takes effect or leaves no trace.
func (w *world) call(c *contract, caller core.Address, name string, args ...any) ([]any, error) {
	w.t.Helper()
	in, err := c.abi.Pack(name, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	branch, commit := w.Ctx.CacheContext()
	out, err := c.execute(branch, caller, in, false, func(l *ethtypes.Log) { w.logs = append(w.logs, l) })
	if err != nil {
		return nil, err
	}
	commit()
	if err := w.Check(); err != nil {
		w.t.Fatal(err)
	}
	vs, err := c.abi.Methods[name].Outputs.Unpack(out)
	if err != nil {
		w.t.Fatal(err)
	}
	return vs, nil
}

func (w *world) balances(from, to int64) {
	w.t.Helper()
	if a, b := w.Balance(payer.Address()), w.Balance(receiver.Address()); !a.Equal(math.NewInt(from)) || !b.Equal(math.NewInt(to)) {
		w.t.Fatalf("payer holds %s, receiver %s; want %d and %d", a, b, from, to)
	}
}

func eth(k *voucher.Key) common.Address { return common.Address(k.Address()) }

func (w *world) authorization(value int64) voucher.Authorization {
	return voucher.Authorization{From: payer.Address(), To: receiver.Address(), Value: core.NewAmount(uint64(value)),
		ValidBefore: core.NewAmount(uint64(w.Now() + 60)), Nonce: core.Hash{1}}
}

func sign(k *voucher.Key, digest core.Hash) []byte {
	s, err := k.Sign(digest)
	if err != nil {
		panic(err)
	}
	return s[:]
}

func (w *world) send(a voucher.Authorization, sig []byte) error {
	// transferWithAuthorization0 is the ABI package's name of the second overload.
	_, err := w.call(w.token.contract, stranger.Address(), "transferWithAuthorization0", common.Address(a.From), common.Address(a.To),
		a.Value.Big(), a.ValidAfter.Big(), a.ValidBefore.Big(), [32]byte(a.Nonce), sig)
	return err
}

func TestSignedTransferMovesMoneyOnce(t *testing.T) {
	w := newWorld(t)
	a := w.authorization(1000)
	sig := sign(payer, a.TransferDigest(coin))
	if err := w.send(a, sig); err != nil {
		t.Fatal(err)
	}
	w.balances(purse-1000, purse+1000)
	if len(w.logs) != 2 || w.logs[1].Topics[0] != w.token.abi.Events["Transfer"].ID || new(big.Int).SetBytes(w.logs[1].Data).Int64() != 1000 {
		t.Fatalf("logs: %v", w.logs)
	}
	if err := w.send(a, sig); !errors.Is(err, token.ErrUsed) {
		t.Fatalf("replay: %v", err)
	}
	w.balances(purse-1000, purse+1000)
	out, err := w.call(w.token.contract, stranger.Address(), "authorizationState", eth(payer), [32]byte(a.Nonce))
	if err != nil || out[0] != true {
		t.Fatalf("state %v, %v", out, err)
	}
	// v, r and s apart are the same signature.
	a.Nonce = core.Hash{2}
	sig = sign(payer, a.TransferDigest(coin))
	_, err = w.call(w.token.contract, stranger.Address(), "transferWithAuthorization", common.Address(a.From), common.Address(a.To), a.Value.Big(),
		a.ValidAfter.Big(), a.ValidBefore.Big(), [32]byte(a.Nonce), sig[64], [32]byte(sig[:32]), [32]byte(sig[32:64]))
	if err != nil {
		t.Fatal(err)
	}
	w.balances(purse-2000, purse+2000)
}

func TestBadAuthorizationsMoveNothing(t *testing.T) {
	w := newWorld(t)
	good := w.authorization(1000)
	signed := func(d voucher.Domain, change func(*voucher.Authorization)) (voucher.Authorization, []byte) {
		a := good
		if change != nil {
			change(&a)
		}
		return a, sign(payer, a.TransferDigest(d))
	}
	altered := func(change func(*voucher.Authorization)) (voucher.Authorization, []byte) {
		a := good
		s := sign(payer, a.TransferDigest(coin))
		change(&a)
		return a, s
	}
	bare := func(a voucher.Authorization, s []byte) func() (voucher.Authorization, []byte) {
		return func() (voucher.Authorization, []byte) { return a, s }
	}
	sig := sign(payer, good.TransferDigest(coin))
	for name, v := range map[string]struct {
		make func() (voucher.Authorization, []byte)
		want error
	}{
		"other chain":    {func() (voucher.Authorization, []byte) { return signed(voucher.NewTokenDomain(1), nil) }, token.ErrSignature},
		"other domain":   {func() (voucher.Authorization, []byte) { return signed(batch, nil) }, token.ErrSignature},
		"receive digest": {bare(good, sign(payer, good.ReceiveDigest(coin))), token.ErrSignature},
		"other signer":   {bare(good, sign(stranger, good.TransferDigest(coin))), token.ErrSignature},
		"other value": {func() (voucher.Authorization, []byte) {
			return altered(func(a *voucher.Authorization) { a.Value = core.NewAmount(1001) })
		}, token.ErrSignature},
		"other payee": {func() (voucher.Authorization, []byte) {
			return altered(func(a *voucher.Authorization) { a.To = stranger.Address() })
		}, token.ErrSignature},
		"malleable": {bare(good, twin(sig)), token.ErrSignature},
		"v of 0":    {bare(good, append(bytes.Clone(sig[:64]), sig[64]-27)), token.ErrSignature},
		"short":     {bare(good, sig[:64]), token.ErrSignature},
		"long":      {bare(good, append(bytes.Clone(sig), 0)), token.ErrSignature},
		"none":      {bare(good, nil), token.ErrSignature},
		"expired": {func() (voucher.Authorization, []byte) {
			return signed(coin, func(a *voucher.Authorization) { a.ValidBefore = core.NewAmount(uint64(w.Now())) })
		}, token.ErrExpired},
		"too early": {func() (voucher.Authorization, []byte) {
			return signed(coin, func(a *voucher.Authorization) { a.ValidAfter = core.NewAmount(uint64(w.Now())) })
		}, token.ErrEarly},
		"under-funded": {func() (voucher.Authorization, []byte) {
			return signed(coin, func(a *voucher.Authorization) { a.Value = core.NewAmount(purse + 1) })
		}, token.ErrFunds},
		"to a module": {func() (voucher.Authorization, []byte) {
			return signed(coin, func(a *voucher.Authorization) { a.To = core.Address(w.Account.GetModuleAddress(payment.ModuleName)) })
		}, token.ErrRecipient},
	} {
		a, s := v.make()
		if err := w.send(a, s); !errors.Is(err, v.want) {
			t.Errorf("%s: %v, want %v", name, err, v.want)
		}
		w.balances(purse, purse)
		if used, _ := w.Token.Used(w.Ctx, payer.Address(), good.Nonce); used {
			t.Fatalf("%s used the nonce up", name)
		}
	}
	if err := w.send(good, sig); err != nil { // none of them spoiled it
		t.Fatal(err)
	}
}

func twin(sig []byte) []byte {
	var s secp256k1.ModNScalar
	s.SetByteSlice(sig[32:64])
	s.Negate()
	b := s.Bytes()
	return append(append(bytes.Clone(sig[:32]), b[:]...), sig[64]^27^28)
}

func TestCancelledAuthorizationIsRefused(t *testing.T) {
	w := newWorld(t)
	a := w.authorization(1000)
	cancel := func(k *voucher.Key) error {
		_, err := w.call(w.token.contract, stranger.Address(), "cancelAuthorization0", eth(payer), [32]byte(a.Nonce), sign(k, voucher.CancelDigest(coin, payer.Address(), a.Nonce)))
		return err
	}
	if err := cancel(stranger); !errors.Is(err, token.ErrSignature) {
		t.Fatalf("a stranger cancels: %v", err)
	}
	if err := cancel(payer); err != nil {
		t.Fatal(err)
	}
	if err := w.send(a, sign(payer, a.TransferDigest(coin))); !errors.Is(err, token.ErrUsed) {
		t.Fatal(err)
	}
	w.balances(purse, purse)
}

func TestReceiveIsThePayeesAlone(t *testing.T) {
	w := newWorld(t)
	a := w.authorization(1000)
	receive := func(k *voucher.Key) error {
		_, err := w.call(w.token.contract, k.Address(), "receiveWithAuthorization0", common.Address(a.From), common.Address(a.To), a.Value.Big(),
			a.ValidAfter.Big(), a.ValidBefore.Big(), [32]byte(a.Nonce), sign(payer, a.ReceiveDigest(coin)))
		return err
	}
	if err := receive(stranger); !errors.Is(err, token.ErrCaller) {
		t.Fatalf("a stranger receives: %v", err)
	}
	w.balances(purse, purse)
	if err := receive(receiver); err != nil {
		t.Fatal(err)
	}
	w.balances(purse-1000, purse+1000)
}

func TestAllowances(t *testing.T) {
	w := newWorld(t)
	from := func(v int64) error {
		_, err := w.call(w.token.contract, stranger.Address(), "transferFrom", eth(payer), eth(receiver), big.NewInt(v))
		return err
	}
	if err := from(1); !errors.Is(err, token.ErrAllowance) {
		t.Fatal(err)
	}
	if _, err := w.call(w.token.contract, payer.Address(), "approve", eth(stranger), big.NewInt(100)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(from(60), from(40)); err != nil {
		t.Fatal(err)
	}
	if err := from(1); !errors.Is(err, token.ErrAllowance) {
		t.Fatal(err)
	}
	w.balances(purse-100, purse+100)
	all := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	if _, err := w.call(w.token.contract, payer.Address(), "approve", eth(stranger), all); err != nil {
		t.Fatal(err)
	}
	if err := from(5); err != nil {
		t.Fatal(err)
	}
	out, err := w.call(w.token.contract, stranger.Address(), "allowance", eth(payer), eth(stranger))
	if err != nil || out[0].(*big.Int).Cmp(all) != 0 {
		t.Fatalf("an unlimited allowance is used up: %v, %v", out, err)
	}
	g, err := w.Token.ExportGenesis(w.Ctx)
	if err != nil || len(g.Allowances) != 1 {
		t.Fatalf("genesis %v, %v", g, err)
	}
}

func TestReadOnlyCallsWriteNothing(t *testing.T) {
	w := newWorld(t)
	in, _ := w.token.abi.Pack("transfer", eth(receiver), big.NewInt(1))
	if _, err := w.token.execute(w.Ctx, payer.Address(), in, true, nil); err == nil {
		t.Fatal("a read-only call moved money")
	}
	for _, in := range [][]byte{nil, {1, 2, 3}, {1, 2, 3, 4}, in[:40], append(in[:4], bytes.Repeat([]byte{0xff}, 64)...)} {
		if _, err := w.token.execute(w.Ctx, payer.Address(), in, false, nil); err == nil {
			t.Errorf("accepted %x", in)
		}
		w.token.RequiredGas(in)
	}
	w.balances(purse, purse)
}

func conf() channelConfig {
	return channelConfig{Payer: eth(payer), PayerAuthorizer: eth(payer), Receiver: eth(receiver), ReceiverAuthorizer: eth(receiver),
		Token: common.Address(voucher.NativeToken), WithdrawDelay: big.NewInt(900)}
}

func (w *world) deposit(c channelConfig, value int64, salt byte, k *voucher.Key) error {
	id := c.ours().ID(batch)
	a := voucher.Authorization{From: payer.Address(), To: voucher.DepositCollector, Value: core.NewAmount(uint64(value)),
		ValidBefore: core.NewAmount(uint64(w.Now() + 60)), Nonce: voucher.DepositNonce(id, core.Hash{31: salt})}
	data, err := collected.Pack(a.ValidAfter.Big(), a.ValidBefore.Big(), big.NewInt(int64(salt)), sign(k, a.ReceiveDigest(coin)))
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.call(w.channels.contract, stranger.Address(), "deposit", c, big.NewInt(value), common.Address(voucher.DepositCollector), data)
	return err
}

func (w *world) claim(c channelConfig, limit, total int64) voucherClaim {
	v, err := voucher.Sign(batch, payer, c.ours().ID(batch), core.NewAmount(uint64(limit)))
	if err != nil {
		w.t.Fatal(err)
	}
	var out voucherClaim
	out.Voucher.Channel, out.Voucher.MaxClaimableAmount = c, big.NewInt(limit)
	out.Signature, out.TotalClaimed = v.Signature[:], big.NewInt(total)
	return out
}

func (w *world) held(c channelConfig, balance, claimed int64) {
	w.t.Helper()
	out, err := w.call(w.channels.contract, stranger.Address(), "channels", [32]byte(c.ours().ID(batch)))
	if err != nil || out[0].(*big.Int).Int64() != balance || out[1].(*big.Int).Int64() != claimed {
		w.t.Fatalf("the channel says %v (%v), want %d and %d", out, err, balance, claimed)
	}
}

func TestChannelThroughTheContract(t *testing.T) {
	w := newWorld(t)
	c := conf()
	w.held(c, 0, 0)
	if err := w.deposit(c, 10_000_000, 1, payer); err != nil {
		t.Fatal(err)
	}
	w.balances(purse-10_000_000, purse)
	w.held(c, 10_000_000, 0)
	if err := w.deposit(c, 10_000_000, 1, payer); !errors.Is(err, token.ErrUsed) {
		t.Fatalf("replayed deposit: %v", err)
	}
	if err := w.deposit(c, 2_000_000, 2, payer); err != nil {
		t.Fatal(err)
	}
	// The voucher allows 5,000,000; what was measured is less.
	if _, err := w.call(w.channels.contract, receiver.Address(), "claim", []voucherClaim{w.claim(c, 5_000_000, 1_000_000)}); err != nil {
		t.Fatal(err)
	}
	w.held(c, 12_000_000, 1_000_000)
	for name, v := range map[string]voucherClaim{"replay": w.claim(c, 5_000_000, 1_000_000), "above the voucher": w.claim(c, 5_000_000, 5_000_001), "above the deposit": w.claim(c, 20_000_000, 12_000_001), "nothing": w.claim(c, 5_000_000, 0)} {
		if _, err := w.call(w.channels.contract, receiver.Address(), "claim", []voucherClaim{v}); err == nil {
			t.Errorf("accepted a claim: %s", name)
		}
	}
	if _, err := w.call(w.channels.contract, stranger.Address(), "claim", []voucherClaim{w.claim(c, 5_000_000, 2_000_000)}); !errors.Is(err, payment.ErrNotParty) {
		t.Fatalf("a stranger claims: %v", err)
	}
	// A stranger claims with the receiver's signature, for the receiver.
	vs := []voucherClaim{w.claim(c, 5_000_000, 2_000_000)}
	sig := sign(receiver, voucher.ClaimBatchDigest(batch, w.channels.entries(vs)))
	if _, err := w.call(w.channels.contract, stranger.Address(), "claimWithSignature", vs, twin(sig)); err == nil {
		t.Fatal("a malleated signature claims")
	}
	if _, err := w.call(w.channels.contract, stranger.Address(), "claimWithSignature", vs, sig); err != nil {
		t.Fatal(err)
	}
	w.held(c, 12_000_000, 2_000_000)
	if _, err := w.call(w.channels.contract, stranger.Address(), "refund", c, big.NewInt(1)); !errors.Is(err, payment.ErrNotParty) {
		t.Fatalf("a stranger refunds: %v", err)
	}
	if _, err := w.call(w.channels.contract, receiver.Address(), "refund", c, big.NewInt(10_000_001)); err == nil {
		t.Fatal("refunded more than the channel holds")
	}
	if _, err := w.call(w.channels.contract, receiver.Address(), "refund", c, big.NewInt(10_000_000)); err != nil {
		t.Fatal(err)
	}
	w.held(c, 2_000_000, 2_000_000)
	if err := w.deposit(c, 3_000_000, 3, payer); err != nil { // an empty channel goes on
		t.Fatal(err)
	}
	if _, err := w.call(w.channels.contract, payer.Address(), "initiateWithdraw", c, big.NewInt(1)); err == nil {
		t.Fatal("withdrew a part")
	}
	if _, err := w.call(w.channels.contract, payer.Address(), "initiateWithdraw", c, big.NewInt(3_000_000)); err != nil {
		t.Fatal(err)
	}
	out, err := w.call(w.channels.contract, payer.Address(), "pendingWithdrawals", [32]byte(c.ours().ID(batch)))
	if err != nil || out[0].(*big.Int).Int64() != 3_000_000 || out[1].(*big.Int).Int64() != w.Now() {
		t.Fatalf("pending %v, %v", out, err)
	}
	if err := w.Advance(15 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := w.call(w.channels.contract, payer.Address(), "finalizeWithdraw", c); err != nil {
		t.Fatal(err)
	}
	w.held(c, 2_000_000, 2_000_000)
	w.balances(purse-2_000_000, purse+1_000_000) // half of a claim is the provider's
}

func TestBadDepositsAreRefused(t *testing.T) {
	w := newWorld(t)
	other := conf()
	other.Token = common.Address{1}
	if err := w.deposit(other, 5_000_000, 1, payer); !errors.Is(err, payment.ErrInvalid) || !strings.Contains(err.Error(), "token") {
		t.Fatal(err)
	}
	other = conf()
	other.ReceiverAuthorizer = eth(stranger)
	if err := w.deposit(other, 5_000_000, 1, payer); !errors.Is(err, payment.ErrInvalid) {
		t.Fatal(err)
	}
	if err := w.deposit(conf(), 5_000_000, 1, stranger); !errors.Is(err, token.ErrSignature) {
		t.Fatal(err)
	}
	if err := w.deposit(conf(), purse+1, 1, payer); !errors.Is(err, payment.ErrFunds) {
		t.Fatal(err)
	}
	if err := w.deposit(conf(), 1, 1, payer); !errors.Is(err, payment.ErrDepositRange) {
		t.Fatal(err)
	}
	w.balances(purse, purse)
}

func TestDepositPutsTheExpiryOff(t *testing.T) {
	w := newWorld(t)
	c := conf()
	id := c.ours().ID(batch)
	expiry := func() int64 {
		ch, err := w.Payment.Channel(w.Ctx, id[:])
		if err != nil {
			t.Fatal(err)
		}
		return ch.Expiry
	}
	if err := w.deposit(c, 5_000_000, 1, payer); err != nil {
		t.Fatal(err)
	}
	first := expiry()
	if err := w.Advance(24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := w.deposit(c, 5_000_000, 2, payer); err != nil {
		t.Fatal(err)
	}
	if got := expiry(); got != first+24*3600 {
		t.Fatalf("expiry %d, was %d", got, first)
	}
	if err := w.Advance(91 * 24 * time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := w.Advance(time.Second); err != nil {
		t.Fatal(err)
	}
	w.balances(purse, purse) // it closed by itself
}

func FuzzCalls(f *testing.F) {
	w := newWorld(&testing.T{})
	for _, c := range []*contract{w.token.contract, w.channels.contract} {
		for _, m := range c.abi.Methods {
			f.Add(append(bytes.Clone(m.ID), bytes.Repeat([]byte{0, 0, 0, 0x20}, 64)...))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, c := range []*contract{w.token.contract, w.channels.contract} {
			branch, _ := w.Ctx.CacheContext()
			_, _ = c.execute(branch, stranger.Address(), in, false, func(*ethtypes.Log) {})
			c.RequiredGas(in)
		}
	})
}
