package core

import "time"

// Tier says what an answer's proof is worth (spec/verification tiers).
type Tier string

// Tiers of proof.
const (
	TierExact       Tier = "exact"       // bit-exact engine: every byte can be re-executed
	TierStatistical Tier = "statistical" // plausibility tests only
	TierNone        Tier = "none"        // no proof at all
)

// Provider is a machine that answers requests, as registered in x/market.
type Provider struct {
	Address  Address  `json:"address"`
	Moniker  string   `json:"moniker"`
	PeerID   string   `json:"peer_id"`  // libp2p peer id; its ed25519 key is also the VRF key
	Addrs    []string `json:"addrs"`    // libp2p multiaddresses
	Bond     Amount   `json:"bond"`     // akoin locked
	Jailed   bool     `json:"jailed"`   // may not serve
	Hardware string   `json:"hardware"` // free text, for people
	Offers   []Offer  `json:"offers"`
	Served   uint64   `json:"served"`  // receipts committed on chain
	Claimed  Amount   `json:"claimed"` // akoin earned by claims, before the split

	Stake       Amount `json:"stake"`       // akoin that a conviction takes: bond and pending unbondings
	Cover       Amount `json:"cover"`       // akoin of earnings that are not final which the stake covers; zero: unknown
	Exposure    Amount `json:"exposure"`    // akoin earned that is not final
	Convictions uint32 `json:"convictions"` // receipts proven wrong, ever
	Slashed     Amount `json:"slashed"`     // akoin lost by them
	Retracted   uint32 `json:"retracted"`   // receipts taken back
	JailedUntil int64  `json:"jailed_until,omitempty"`
}

// Offer is a provider's price for one model. Prices are akoin per token.
type Offer struct {
	Model    ModelID `json:"model"`
	Tier     Tier    `json:"tier"`
	PriceIn  Amount  `json:"price_in"`
	PriceOut Amount  `json:"price_out"`
	Slots    uint32  `json:"slots"` // sequences served at once
}

// Share gives Points of 10,000 of the model's part of revenue to an account.
type Share struct {
	Account Address `json:"account"`
	Points  uint32  `json:"points"`
}

// Manifest is a model as published in x/model.
type Manifest struct {
	ID        ModelID `json:"id"`
	Name      string  `json:"name"`      // how API clients call it; unique, first come
	Publisher Address `json:"publisher"` // may replace the shares, nothing else
	Format    string  `json:"format"`    // "gguf"
	Semantics uint32  `json:"semantics"`
	Tokenizer Hash    `json:"tokenizer"` // hash of the tokenizer and template part
	Licence   string  `json:"licence"`
	Parent    ModelID `json:"parent"` // zero for a base model
	Shares    []Share `json:"shares"` // of the lineage part; sum 10,000 or none
	Data      []Share `json:"data"`   // of the data part; sum 10,000 or none
	Context   uint32  `json:"context"`
	Size      uint64  `json:"size"` // bytes of the file
}

// ChannelState is where a channel stands.
type ChannelState string

// States of a channel.
const (
	ChannelOpen        ChannelState = "open"
	ChannelWithdrawing ChannelState = "withdrawing" // the challenge window runs
	ChannelClosed      ChannelState = "closed"
)

// Channel is money locked by a payer for one provider, as kept by x/payment.
type Channel struct {
	ID            ChannelID    `json:"id"`
	Payer         Address      `json:"payer"`
	Signer        Address      `json:"signer"` // hot key that signs vouchers and requests
	Provider      Address      `json:"provider"`
	Deposit       Amount       `json:"deposit"` // total ever paid in
	Claimed       Amount       `json:"claimed"` // cumulative amount claimed
	Salt          Hash         `json:"salt"`
	WithdrawDelay uint64       `json:"withdraw_delay"` // challenge window, seconds
	Expiry        int64        `json:"expiry"`         // Unix seconds; closes by itself
	State         ChannelState `json:"state"`
	// Withdrawable is when a requested withdrawal takes effect; Unix seconds.
	Withdrawable int64 `json:"withdrawable,omitempty"`
}

// Usable reports whether the channel can pay for something that ends by t.
func (c Channel) Usable(t time.Time) bool {
	return c.State == ChannelOpen && t.Unix() < c.Expiry
}

// Voucher promises the provider of a channel a cumulative amount. Only the
// largest one matters. Its digest is EIP-712 typed data of x402's
// batch-settlement scheme (spec/payment.md), computed by infra/payment.
type Voucher struct {
	Channel   ChannelID `json:"channel"`
	Amount    Amount    `json:"amount"` // cumulative
	Signature Signature `json:"signature"`
}

// ReceiptBatch commits a provider to its receipts of an interval.
type ReceiptBatch struct {
	Provider Address `json:"provider"`
	Sequence uint64  `json:"sequence"` // 1, 2, 3, ... per provider
	Root     Hash    `json:"root"`     // Merkle root over receipt ids
	Count    uint32  `json:"count"`
	Model    ModelID `json:"model"` // of all its receipts
}
