package voucher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/koinon-network/koinon/core"
)

type vector struct {
	ChainID uint64 `json:"chain_id"`
	Config  struct {
		Payer              core.Address `json:"payer"`
		PayerAuthorizer    core.Address `json:"payer_authorizer"`
		Receiver           core.Address `json:"receiver"`
		ReceiverAuthorizer core.Address `json:"receiver_authorizer"`
		Token              core.Address `json:"token"`
		WithdrawDelay      uint64       `json:"withdraw_delay"`
		Salt               core.Hash    `json:"salt"`
	} `json:"config"`
	ChannelID core.Hash      `json:"channel_id"`
	SignerKey core.Bytes     `json:"signer_key"`
	Amount    core.Amount    `json:"max_claimable_amount"`
	Signature core.Signature `json:"signature"`
}

func vectors(t testing.TB) []vector {
	b, err := os.ReadFile("../../spec/vectors/voucher.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Vectors []vector }
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Vectors) == 0 {
		t.Fatal("no vectors")
	}
	return f.Vectors
}

func TestStockClientVectors(t *testing.T) {
	for i, v := range vectors(t) {
		d := NewDomain(v.ChainID)
		if id := ChannelConfig(v.Config).ID(d); id != v.ChannelID {
			t.Errorf("vector %d: channel id %s, the stock client has %s", i, id, v.ChannelID)
		}
		k, err := NewKey(v.SignerKey)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Sign(d, k, v.ChannelID, v.Amount)
		if err != nil || got.Signature != v.Signature {
			t.Errorf("vector %d: signature %x, %v; the stock client has %x", i, got.Signature, err, v.Signature)
		}
		if err := Verify(d, core.Voucher{Channel: v.ChannelID, Amount: v.Amount, Signature: v.Signature}, v.Config.PayerAuthorizer); err != nil {
			t.Errorf("vector %d: %v", i, err)
		}
	}
}

func TestVoucherIsRefusedWhenAnythingDiffers(t *testing.T) {
	v := vectors(t)[4]
	good := core.Voucher{Channel: v.ChannelID, Amount: v.Amount, Signature: v.Signature}
	d, signer := NewDomain(v.ChainID), v.Config.PayerAuthorizer
	for name, change := range map[string]func(*core.Voucher, *Domain, *core.Address){
		"amount":  func(c *core.Voucher, _ *Domain, _ *core.Address) { c.Amount = c.Amount.Less(core.NewAmount(1)) },
		"channel": func(c *core.Voucher, _ *Domain, _ *core.Address) { c.Channel[0] ^= 1 },
		"r":       func(c *core.Voucher, _ *Domain, _ *core.Address) { c.Signature[3] ^= 1 },
		"v":       func(c *core.Voucher, _ *Domain, _ *core.Address) { c.Signature[64] ^= 27 ^ 28 },
		"chain":   func(_ *core.Voucher, d *Domain, _ *core.Address) { *d = NewDomain(v.ChainID + 1) },
		"signer":  func(_ *core.Voucher, _ *Domain, a *core.Address) { a[0] ^= 1 },
	} {
		c, d, a := good, d, signer
		change(&c, &d, &a)
		if Verify(d, c, a) == nil {
			t.Errorf("accepted with another %s", name)
		}
	}
}

func TestMalleatedSignatureIsRefused(t *testing.T) {
	k, _ := GenerateKey()
	h := Keccak([]byte("message"))
	sig, _ := k.Sign(h)
	if err := VerifyDigest(h, sig, k.Address()); err != nil {
		t.Fatal(err)
	}
	var s secp256k1.ModNScalar
	s.SetByteSlice(sig[32:64])
	s.Negate()
	b := s.Bytes()
	twin := sig
	copy(twin[32:64], b[:])
	twin[64] ^= 27 ^ 28
	if _, err := Recover(h, twin); !errors.Is(err, ErrMalleable) {
		t.Errorf("high s: %v", err)
	}
	for _, v := range []byte{0, 1, 26, 29, 30, 31, 255} {
		other := sig
		other[64] = v
		if _, err := Recover(h, other); !errors.Is(err, ErrMalleable) {
			t.Errorf("v = %d: %v", v, err)
		}
	}
	if _, err := Recover(h, core.Signature{64: 27}); !errors.Is(err, ErrSignature) {
		t.Errorf("all zero: %v", err)
	}
}

func TestAmountIsUint128(t *testing.T) {
	over, _ := core.ParseAmount("340282366920938463463374607431768211456")
	if _, err := VoucherDigest(NewDomain(1), core.ChannelID{}, over); !errors.Is(err, ErrAmount) {
		t.Errorf("2^128: %v", err)
	}
}

func TestKeyNeverPrintsItself(t *testing.T) {
	k, _ := NewKey(vectors(t)[0].SignerKey)
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(f, k); !strings.HasPrefix(s, "key of 0x") {
			t.Errorf("%s prints %q", f, s)
		}
	}
	if _, err := NewKey(make([]byte, 32)); err == nil {
		t.Error("accepted the zero key")
	}
}

func FuzzRecover(f *testing.F) {
	for _, v := range vectors(f) {
		h, _ := VoucherDigest(NewDomain(v.ChainID), v.ChannelID, v.Amount)
		f.Add(h[:], v.Signature[:])
	}
	f.Fuzz(func(t *testing.T, digest, sig []byte) {
		if len(digest) != 32 || len(sig) != 65 {
			return
		}
		h, s := core.Hash(digest), core.Signature(sig)
		a, err := Recover(h, s)
		if err != nil {
			return
		}
		if VerifyDigest(h, s, a) != nil {
			t.Fatal("recovered signer does not verify")
		}
		s[64] ^= 27 ^ 28
		if b, err := Recover(h, s); err == nil && a == b {
			t.Fatal("two signatures of one key differ only in v")
		}
	})
}

func BenchmarkRecover(b *testing.B) {
	k, _ := GenerateKey()
	h := Keccak([]byte("message"))
	sig, _ := k.Sign(h)
	for b.Loop() {
		if _, err := Recover(h, sig); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	k, _ := GenerateKey()
	d := NewDomain(564666)
	for b.Loop() {
		if _, err := Sign(d, k, core.ChannelID{}, core.NewAmount(1)); err != nil {
			b.Fatal(err)
		}
	}
}
