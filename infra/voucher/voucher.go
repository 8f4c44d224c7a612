package voucher

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/sha3"

	"github.com/koinon-network/koinon/core"
)

// Constants of the scheme, from x402's EVM mechanism (npm @x402/evm, Apache-2.0).
const (
	// DomainName and DomainVersion are the EIP-712 domain's.
	DomainName    = "x402 Batch Settlement"
	DomainVersion = "1"
	// MinWithdrawDelay and MaxWithdrawDelay bound the challenge window, in
	// seconds, that stock clients and servers accept.
	MinWithdrawDelay = 900
	MaxWithdrawDelay = 2_592_000
)

var (
	// Contract is the scheme's verifying contract, the same on every chain.
	Contract = core.Address{0x40, 0x20, 0x07, 0x4e, 0x9d, 0xf2, 0xce, 0x1d, 0xee, 0x5a, 0x9c, 0x1b, 0x5c, 0x3f, 0x54, 0x1d, 0x02, 0xa1, 0x00, 0x03}
	// NativeToken stands for the chain's own coin where the scheme wants a token.
	NativeToken = core.Address{0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee}
)

var (
	domainType  = Keccak([]byte("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"))
	channelType = Keccak([]byte("ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"))
	voucherType = Keccak([]byte("Voucher(bytes32 channelId,uint128 maxClaimableAmount)"))
)

// ErrAmount says that a voucher's amount does not fit the scheme's uint128.
var ErrAmount = errors.New("a voucher's amount must be below 2^128")

// Domain is the EIP-712 domain separator of one chain.
type Domain core.Hash

// NewDomain returns the domain of the chain with this EVM chain id.
func NewDomain(chainID uint64) Domain {
	return newDomain(DomainName, DomainVersion, chainID, Contract)
}

// ChannelConfig is what a channel's id commits to. It never changes.
type ChannelConfig struct {
	Payer              core.Address
	PayerAuthorizer    core.Address // signs the vouchers
	Receiver           core.Address
	ReceiverAuthorizer core.Address
	Token              core.Address
	WithdrawDelay      uint64 // seconds, below 2^40
	Salt               core.Hash
}

// ConfigOf returns the configuration of a channel in the chain's own coin: the
// provider is receiver and receiver authorizer.
func ConfigOf(c core.Channel) ChannelConfig {
	return ChannelConfig{
		Payer: c.Payer, PayerAuthorizer: c.Signer, Receiver: c.Provider, ReceiverAuthorizer: c.Provider,
		Token: NativeToken, WithdrawDelay: c.WithdrawDelay, Salt: c.Salt,
	}
}

// ID is the channel's id: the typed-data hash of the configuration.
// WithdrawDelay is taken modulo 2^40, as wide as the scheme's field.
func (c ChannelConfig) ID(d Domain) core.ChannelID {
	return d.typed(Keccak(channelType[:], addressWord(c.Payer), addressWord(c.PayerAuthorizer), addressWord(c.Receiver),
		addressWord(c.ReceiverAuthorizer), addressWord(c.Token), word(c.WithdrawDelay&(1<<40-1)), c.Salt[:]))
}

// VoucherDigest is what a channel's voucher signer signs to promise the
// cumulative amount. It fails with [ErrAmount].
func VoucherDigest(d Domain, channel core.ChannelID, amount core.Amount) (core.Hash, error) {
	a := amount.Bytes32()
	if [16]byte(a[:16]) != ([16]byte{}) {
		return core.Hash{}, ErrAmount
	}
	return d.typed(Keccak(voucherType[:], channel[:], a[:])), nil
}

// Sign returns a voucher for the cumulative amount.
func Sign(d Domain, s core.Signer, channel core.ChannelID, amount core.Amount) (core.Voucher, error) {
	h, err := VoucherDigest(d, channel, amount)
	if err != nil {
		return core.Voucher{}, err
	}
	sig, err := s.Sign(h)
	return core.Voucher{Channel: channel, Amount: amount, Signature: sig}, err
}

// Verify checks that signer signed v.
func Verify(d Domain, v core.Voucher, signer core.Address) error {
	h, err := VoucherDigest(d, v.Channel, v.Amount)
	if err != nil {
		return err
	}
	if err := VerifyDigest(h, v.Signature, signer); err != nil {
		return fmt.Errorf("voucher of channel %s: %w", v.Channel.Short(), err)
	}
	return nil
}

func (d Domain) typed(structHash core.Hash) core.Hash {
	return Keccak([]byte{0x19, 0x01}, d[:], structHash[:])
}

// Keccak is the Keccak-256 (the pre-standard SHA-3) of the parts in a row.
func Keccak(parts ...[]byte) (h core.Hash) {
	k := sha3.NewLegacyKeccak256()
	for _, p := range parts {
		k.Write(p)
	}
	k.Sum(h[:0])
	return h
}

func word(v uint64) []byte {
	var b [32]byte
	binary.BigEndian.PutUint64(b[24:], v)
	return b[:]
}

func addressWord(a core.Address) []byte {
	var b [32]byte
	copy(b[12:], a[:])
	return b[:]
}
