package computetest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"sync"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Till is a cashier that trusts every channel to be rich. Vouchers are good
// when Signer signed nothing: their amount counts as it is.
type Till struct {
	Signer core.Address // who must have signed requests

	mu      sync.Mutex
	owed    map[core.ChannelID]core.Amount
	paid    map[core.ChannelID]core.Amount
	changed chan struct{}
	tabs    int
}

// NewTill returns a till for requests by signer.
func NewTill(signer core.Address) *Till {
	return &Till{Signer: signer, owed: map[core.ChannelID]core.Amount{}, paid: map[core.ChannelID]core.Amount{}, changed: make(chan struct{})}
}

// Owed is what a channel has been charged in total.
func (t *Till) Owed(c core.ChannelID) core.Amount { t.mu.Lock(); defer t.mu.Unlock(); return t.owed[c] }

// Paid is what it has paid in total.
func (t *Till) Paid(c core.ChannelID) core.Amount { t.mu.Lock(); defer t.mu.Unlock(); return t.paid[c] }

// Tabs counts those not closed.
func (t *Till) Tabs() int { t.mu.Lock(); defer t.mu.Unlock(); return t.tabs }

// Admit implements [core.Cashier].
func (t *Till) Admit(_ context.Context, r *core.SignedRequest) (core.Tab, error) {
	if err := voucher.VerifyDigest(r.Digest(), r.Signature, t.Signer); err != nil {
		return nil, &core.Error{Code: core.CodeUnauthorized, Message: "the request is not signed by the channel's signer", Err: err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tabs++
	return &tab{t: t, c: r.Channel}, nil
}

// Accept implements [core.Cashier]. An amount of 666 is refused.
func (t *Till) Accept(_ context.Context, v core.Voucher) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v.Amount.Cmp(core.NewAmount(666)) == 0 {
		return errors.New("the signature is by another key")
	}
	if v.Amount.Cmp(t.paid[v.Channel]) > 0 {
		t.paid[v.Channel] = v.Amount
		close(t.changed)
		t.changed = make(chan struct{})
	}
	return nil
}

type tab struct {
	t      *Till
	c      core.ChannelID
	due    core.Amount
	closed bool
}

func (b *tab) Charge(due core.Amount) {
	b.t.mu.Lock()
	defer b.t.mu.Unlock()
	if more, ok := due.Sub(b.due); ok {
		b.due = due
		b.t.owed[b.c] = b.t.owed[b.c].Add(more)
	}
}

func (b *tab) Settle(ctx context.Context, credit core.Amount) error {
	for {
		b.t.mu.Lock()
		ok := b.t.owed[b.c].Less(b.t.paid[b.c]).Cmp(credit) <= 0
		changed := b.t.changed
		b.t.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (b *tab) Close() {
	b.t.mu.Lock()
	defer b.t.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.t.tabs--
	}
}

// Notary signs receipts and keeps the evidence in memory.
type Notary struct {
	Key core.Signer
	// Err, when set, is what sealing fails with.
	Err error

	mu     sync.Mutex
	sealed []core.Evidence
}

// Seal implements [core.Notary].
func (n *Notary) Seal(_ context.Context, e core.Evidence) (core.SignedReceipt, error) {
	if n.Err != nil {
		return core.SignedReceipt{}, n.Err
	}
	sig, err := n.Key.Sign(e.Receipt.Digest())
	if err != nil {
		return core.SignedReceipt{}, err
	}
	e.Receipt.Signature = sig
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sealed = append(n.sealed, e)
	return e.Receipt, nil
}

// Sealed returns everything sealed so far.
func (n *Notary) Sealed() []core.Evidence {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]core.Evidence(nil), n.sealed...)
}

// VRF stands in for a VRF by the hash of an ed25519 signature, which is as
// deterministic and checkable when the prover is honest.
type VRF struct{ Key ed25519.PrivateKey }

// NewVRF draws a key.
func NewVRF() VRF {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return VRF{k}
}

// PublicKey implements [core.VRF].
func (v VRF) PublicKey() []byte { return v.Key.Public().(ed25519.PublicKey) }

// Prove implements [core.VRF].
func (v VRF) Prove(m []byte) (proof, output []byte, err error) {
	proof = ed25519.Sign(v.Key, m)
	o := sha512.Sum512(proof)
	return proof, o[:], nil
}

// VerifyVRF checks what [VRF.Prove] made.
func VerifyVRF(key, m, proof []byte) ([]byte, error) {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, m, proof) {
		return nil, errors.New("the proof does not verify")
	}
	o := sha512.Sum512(proof)
	return o[:], nil
}
