package client

import (
	"fmt"

	"cosmossdk.io/math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/ledger/x/market"
	"github.com/koinon-network/koinon/infra/ledger/x/model"
	"github.com/koinon-network/koinon/infra/ledger/x/payment"
	"github.com/koinon-network/koinon/infra/ledger/x/verify"
)

// each converts all or fails.
func each[A, B any](in []A, convert func(A) (B, error)) ([]B, error) {
	out := make([]B, len(in))
	for i, v := range in {
		var err error
		if out[i], err = convert(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func integer(a core.Amount) math.Int { return math.NewIntFromBigInt(a.Big()) }

func amount(i math.Int) (core.Amount, error) {
	if i.IsNil() {
		return core.Amount{}, nil
	}
	return core.AmountFromBig(i.BigInt())
}

// hash32 reads 32 bytes; none is the zero hash.
func hash32(b []byte) (h core.Hash, err error) {
	if len(b) != 0 && len(b) != len(h) {
		return h, fmt.Errorf("the chain gave a hash of %d bytes", len(b))
	}
	copy(h[:], b)
	return h, nil
}

// reader converts field after field and keeps the first error.
type reader struct{ err error }

func (r *reader) account(s string) core.Address { return take(r, s, ParseAccount) }
func (r *reader) amount(i math.Int) core.Amount { return take(r, i, amount) }
func (r *reader) hash(b []byte) core.Hash       { return take(r, b, hash32) }

func take[A, B any](r *reader, v A, convert func(A) (B, error)) B {
	out, err := convert(v)
	if err != nil && r.err == nil {
		r.err = err
	}
	return out
}

func (r *reader) shares(in []model.Share) []core.Share {
	out := make([]core.Share, len(in))
	for i, s := range in {
		out[i] = core.Share{Account: r.account(s.Account), Points: s.Points}
	}
	return out
}

func manifest(m model.Model) (core.Manifest, error) {
	var r reader
	return core.Manifest{
		ID: r.hash(m.Id), Name: m.Name, Publisher: r.account(m.Publisher), Format: m.Format, Semantics: m.Semantics,
		Tokenizer: r.hash(m.Tokenizer), Licence: m.Licence, Parent: r.hash(m.Parent),
		Shares: r.shares(m.Shares), Data: r.shares(m.Data), Context: m.Context, Size: m.Size_,
	}, r.err
}

func provider(l market.Listing) (core.Provider, error) {
	var r reader
	p := core.Provider{
		Address: r.account(l.Provider.Address), Moniker: l.Provider.Moniker, PeerID: l.Provider.PeerId, Addrs: l.Provider.Addrs,
		Bond: r.amount(l.Provider.Bond), Jailed: l.Provider.Jailed, Hardware: l.Provider.Hardware,
		Served: l.Record.Served, Claimed: r.amount(l.Record.Claimed), Offers: make([]core.Offer, len(l.Offers)),
		Stake: r.amount(l.Stake), Cover: r.amount(l.Cover), Exposure: r.amount(l.Exposure),
		Convictions: l.Record.Convictions, Slashed: r.amount(l.Record.Slashed), Retracted: l.Record.Retracted, JailedUntil: l.Provider.JailedUntil,
	}
	for i, o := range l.Offers {
		p.Offers[i] = core.Offer{
			Model: r.hash(o.Model), Tier: core.Tier(o.Tier), PriceIn: r.amount(o.PriceIn), PriceOut: r.amount(o.PriceOut), Slots: o.Slots,
		}
	}
	return p, r.err
}

var channelStates = map[payment.State]core.ChannelState{
	payment.StateOpen: core.ChannelOpen, payment.StateWithdrawing: core.ChannelWithdrawing, payment.StateClosed: core.ChannelClosed,
}

func channel(c payment.Channel) (core.Channel, error) {
	var r reader
	return core.Channel{
		ID: r.hash(c.Id), Payer: r.account(c.Payer), Signer: r.account(c.Signer), Provider: r.account(c.Provider),
		Deposit: r.amount(c.Deposit), Claimed: r.amount(c.Claimed), Salt: r.hash(c.Salt), WithdrawDelay: c.WithdrawDelay,
		Expiry: c.Expiry, State: channelStates[c.State], Withdrawable: c.Withdrawable,
	}, r.err
}

func batch(b verify.Batch) (core.ReceiptBatch, error) {
	var r reader
	return core.ReceiptBatch{Provider: r.account(b.Provider), Sequence: b.Sequence, Root: r.hash(b.Root), Count: b.Count, Model: r.hash(b.Model)}, r.err
}
