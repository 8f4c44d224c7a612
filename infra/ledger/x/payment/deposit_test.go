package payment_test

import (
	"encoding/binary"
	"testing"
	"time"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/voucher"
)

func TestOneMessageClaims256Channels(t *testing.T) {
	c := newChain(t)
	msg := claim()
	for i := range 257 {
		o := openMsg(c)
		o.Deposit = math.NewInt(1_000_000)
		binary.BigEndian.PutUint32(o.Salt, uint32(i))
		if _, err := c.Deliver(o); err != nil {
			t.Fatal(err)
		}
		msg.Claims = append(msg.Claims, sign(hot, idOf(o), 1_000))
	}
	refuse(t, c, msg, payment.ErrInvalid)
	msg.Claims = msg.Claims[:256]
	gas, err := c.Deliver(msg)
	if err != nil {
		t.Fatal(err)
	}
	if gas > 25_000_000 { // a quarter of a block
		t.Errorf("256 claims use %d gas", gas)
	}
	check(t, c)
	equal(t, "provider", c.Balance(provider.Address()), purse+256*500)
}

func TestClaimTakesWhatWasMeteredOfAVoucher(t *testing.T) {
	c := newChain(t)
	id := open(t, c)
	part := func(total int64) payment.Claim {
		v := sign(hot, id, 5_000)
		v.Total = math.NewInt(total)
		return v
	}
	deliver(t, c, claim(part(1_000)))
	refuse(t, c, claim(part(1_000)), payment.ErrReplay)
	refuse(t, c, claim(part(5_001)), payment.ErrOverClaim)
	refuse(t, c, claim(part(-1)), payment.ErrOverClaim)
	deliver(t, c, claim(part(3_000)))
	deliver(t, c, claim(sign(hot, id, 5_000))) // the whole of it
	deliver(t, c, &payment.MsgClose{Provider: text(provider), Channel: id[:]})
	equal(t, "payer", c.Balance(payer.Address()), purse-5_000)
}

func TestSignedDepositByMessage(t *testing.T) {
	c := newChain(t)
	conf := voucher.ConfigOf(core.Channel{Payer: payer.Address(), Signer: hot.Address(), Provider: provider.Address(), WithdrawDelay: 900})
	id := conf.ID(domain)
	until := uint64(c.Now() + 60)
	d := voucher.Authorization{From: payer.Address(), To: voucher.DepositCollector, Value: core.NewAmount(3_000_000), ValidBefore: core.NewAmount(until),
		Nonce: voucher.DepositNonce(id, core.Hash{7})}
	sig, err := payer.Sign(d.ReceiveDigest(voucher.NewTokenDomain(564666)))
	if err != nil {
		t.Fatal(err)
	}
	msg := &payment.MsgDeposit{Sender: text(stranger), Payer: text(payer), Signer: text(hot), Provider: text(provider), Salt: make([]byte, 32), WithdrawDelay: 900,
		Amount: math.NewInt(3_000_000), ValidAfter: math.ZeroInt(), ValidBefore: math.NewIntFromUint64(until), AuthorizationSalt: append([]byte{7}, make([]byte, 31)...), Signature: sig[:]}
	other := *msg
	other.Salt = append([]byte{1}, make([]byte, 31)...) // another channel than the payer signed for
	if _, err := c.Deliver(&other); err == nil {
		t.Fatal("a deposit went into another channel")
	}
	deliver(t, c, msg)
	equal(t, "payer", c.Balance(payer.Address()), purse-3_000_000)
	deliver(t, c, claim(sign(hot, id, 1_000)))
	deliver(t, c, &payment.MsgRefund{Provider: text(provider), Channel: id[:], Amount: math.NewInt(2_999_000)})
	equal(t, "payer after the refund", c.Balance(payer.Address()), purse-1_000)
	advance(t, c, 91*24*time.Hour)
	advance(t, c, time.Second)
	equal(t, "payer after the expiry", c.Balance(payer.Address()), purse-1_000)
}
