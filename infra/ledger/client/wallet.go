package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cosmos/gogoproto/proto"

	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Wallet is write access for one account. Make one per account and process and
// share it: it keeps the sequence numbers straight.
type Wallet struct {
	core.Signer
	c         *Client
	account   string // bech32
	publicKey []byte // compressed

	mu       sync.Mutex // held from numbering a transaction to its admission
	number   uint64
	sequence uint64
	known    bool // number and sequence are the chain's
}

var _ core.Wallet = (*Wallet)(nil)

// Wallet returns write access with the key of s. The public key that
// transactions carry is recovered from a signature, so that any Signer will do.
func (c *Client) Wallet(s core.Signer) (*Wallet, error) {
	probe := voucher.Keccak([]byte("koinon/public-key/1"))
	sig, err := s.Sign(probe)
	if err != nil {
		return nil, err
	}
	key, err := voucher.RecoverPublicKey(probe, sig)
	if err != nil {
		return nil, err
	}
	return &Wallet{Signer: s, c: c, account: Bech32(s.Address()), publicKey: key}, nil
}

// PublishModel publishes m; the publisher is this account.
func (w *Wallet) PublishModel(ctx context.Context, m core.Manifest) error {
	msg := &model.MsgPublish{
		Publisher: w.account, Id: m.ID[:], Name: m.Name, Format: m.Format, Semantics: m.Semantics, Tokenizer: m.Tokenizer[:],
		Licence: m.Licence, Shares: shares(m.Shares), Data: shares(m.Data), Context: m.Context, Size_: m.Size,
	}
	if !m.Parent.IsZero() {
		msg.Parent = m.Parent[:]
	}
	_, err := w.Submit(ctx, msg)
	return err
}

// SetShares replaces the lineage shares of a model that this account published.
func (w *Wallet) SetShares(ctx context.Context, id core.ModelID, s []core.Share) error {
	_, err := w.Submit(ctx, &model.MsgSetShares{Publisher: w.account, Id: id[:], Shares: shares(s)})
	return err
}

func shares(in []core.Share) []model.Share {
	out := make([]model.Share, len(in))
	for i, s := range in {
		out[i] = model.Share{Account: Bech32(s.Account), Points: s.Points}
	}
	return out
}

// RegisterProvider bonds p.Bond and binds the peer id. For a provider that is
// registered already it updates what it says about itself and adds to the bond
// what is missing.
func (w *Wallet) RegisterProvider(ctx context.Context, p core.Provider, peerSignature []byte) error {
	all, err := w.c.Providers(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(known core.Provider) bool { return known.Address == w.Address() })
	if i < 0 {
		_, err := w.Submit(ctx, &market.MsgRegister{
			Provider: w.account, Moniker: p.Moniker, PeerId: p.PeerID, PeerSignature: peerSignature, Addrs: p.Addrs,
			Hardware: p.Hardware, Bond: integer(p.Bond),
		})
		return err
	}
	var msgs []proto.Message
	if k := all[i]; k.Moniker != p.Moniker || k.PeerID != p.PeerID || k.Hardware != p.Hardware || !slices.Equal(k.Addrs, p.Addrs) {
		msgs = append(msgs, &market.MsgUpdate{
			Provider: w.account, Moniker: p.Moniker, PeerId: p.PeerID, PeerSignature: peerSignature, Addrs: p.Addrs, Hardware: p.Hardware,
		})
	}
	if missing, ok := p.Bond.Sub(all[i].Bond); ok && !missing.IsZero() {
		msgs = append(msgs, &market.MsgAddBond{Provider: w.account, Amount: integer(missing)})
	}
	if msgs == nil {
		return nil
	}
	_, err = w.Submit(ctx, msgs...)
	return err
}

// PostOffers replaces all offers of this provider.
func (w *Wallet) PostOffers(ctx context.Context, offers []core.Offer) error {
	msg := &market.MsgPostOffers{Provider: w.account}
	for _, o := range offers {
		msg.Offers = append(msg.Offers, market.Offer{
			Model: o.Model[:], Tier: string(o.Tier), PriceIn: integer(o.PriceIn), PriceOut: integer(o.PriceOut), Slots: o.Slots,
		})
	}
	_, err := w.Submit(ctx, msg)
	return err
}

// Unbond starts the return of part of this provider's bond.
func (w *Wallet) Unbond(ctx context.Context, a core.Amount) error {
	_, err := w.Submit(ctx, &market.MsgUnbond{Provider: w.account, Amount: integer(a)})
	return err
}

// OpenChannel locks c.Deposit for c.Provider; ID, payer and state are ignored.
func (w *Wallet) OpenChannel(ctx context.Context, c core.Channel) (core.ChannelID, error) {
	c.Payer = w.Address()
	id := voucher.ConfigOf(c).ID(voucher.NewDomain(w.c.evmChainID))
	_, err := w.Submit(ctx, &payment.MsgOpen{
		Payer: w.account, Signer: Bech32(c.Signer), Provider: Bech32(c.Provider), Deposit: integer(c.Deposit),
		Salt: c.Salt[:], WithdrawDelay: c.WithdrawDelay, Expiry: c.Expiry,
	})
	return id, err
}

// TopUp adds to the deposit of this payer's channel.
func (w *Wallet) TopUp(ctx context.Context, id core.ChannelID, a core.Amount) error {
	_, err := w.Submit(ctx, &payment.MsgTopUp{Payer: w.account, Channel: id[:], Amount: integer(a)})
	return err
}

// Claim is a voucher with what the claim adds split by the models that earned
// it. Without models the chain takes the provider's only offer.
type Claim struct {
	Voucher core.Voucher
	Models  map[core.ModelID]core.Amount
}

// Claim cashes vouchers, all or none.
func (w *Wallet) Claim(ctx context.Context, vouchers []core.Voucher) error {
	claims := make([]Claim, len(vouchers))
	for i, v := range vouchers {
		claims[i].Voucher = v
	}
	return w.ClaimFor(ctx, claims)
}

// ClaimFor is Claim with the models that earned the money.
func (w *Wallet) ClaimFor(ctx context.Context, claims []Claim) error {
	msg := &payment.MsgClaim{Provider: w.account}
	for _, c := range claims {
		one := payment.Claim{Channel: c.Voucher.Channel[:], Amount: integer(c.Voucher.Amount), Signature: c.Voucher.Signature[:]}
		for id, a := range c.Models {
			one.Attributions = append(one.Attributions, payment.Attribution{Model: id[:], Amount: integer(a)})
		}
		slices.SortFunc(one.Attributions, func(a, b payment.Attribution) int { return bytes.Compare(a.Model, b.Model) })
		msg.Claims = append(msg.Claims, one)
	}
	_, err := w.Submit(ctx, msg)
	return err
}

// RequestWithdrawal starts the challenge window of this payer's channel.
func (w *Wallet) RequestWithdrawal(ctx context.Context, id core.ChannelID) error {
	_, err := w.Submit(ctx, &payment.MsgRequestWithdrawal{Payer: w.account, Channel: id[:]})
	return err
}

// FinalizeWithdrawal takes the rest back. The chain does the same by itself
// when the window ends: a channel that it has closed already is a success.
func (w *Wallet) FinalizeWithdrawal(ctx context.Context, id core.ChannelID) error {
	c, err := w.c.Channel(ctx, id)
	if err != nil || c.State == core.ChannelClosed {
		return err
	}
	_, err = w.Submit(ctx, &payment.MsgFinalizeWithdrawal{Payer: w.account, Channel: id[:]})
	return err
}

// CloseChannel returns the rest of this provider's channel to its payer.
func (w *Wallet) CloseChannel(ctx context.Context, id core.ChannelID) error {
	_, err := w.Submit(ctx, &payment.MsgClose{Provider: w.account, Channel: id[:]})
	return err
}

// CommitReceipts commits this provider to its next batch.
func (w *Wallet) CommitReceipts(ctx context.Context, b core.ReceiptBatch) error {
	_, err := w.Submit(ctx, &verify.MsgCommitReceipts{Provider: w.account, Sequence: b.Sequence, Root: b.Root[:], Count: b.Count, Model: b.Model[:]})
	return err
}

// Send pays an account.
func (w *Wallet) Send(ctx context.Context, to core.Address, a core.Amount) error {
	if a.IsZero() {
		return core.Errorf(core.CodeInvalid, "the amount is zero")
	}
	_, err := w.Submit(ctx, &banktypes.MsgSend{FromAddress: w.account, ToAddress: Bech32(to), Amount: coins(a)})
	return err
}

// String names the account and never the key.
func (w *Wallet) String() string { return fmt.Sprintf("wallet of %s", w.account) }
