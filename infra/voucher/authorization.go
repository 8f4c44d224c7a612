package voucher

import "github.com/koinon-network/koinon/core"

// The chain's own coin as a token: its EIP-712 domain, whose verifying contract
// is [NativeToken].
const (
	TokenName    = "Koin"
	TokenVersion = "1"
)

// DepositCollector receives the payer's authorization when a deposit is paid in;
// the scheme's address on every chain.
var DepositCollector = core.Address{0x40, 0x20, 0x80, 0x60, 0x89, 0x47, 0x0a, 0x89, 0x82, 0x6c, 0xb9, 0xfb, 0x1f, 0x40, 0x59, 0x15, 0x0b, 0x55, 0x00, 0x04}

// Type hashes of EIP-3009 and of the scheme's delegated messages.
var (
	transferType   = Keccak([]byte("TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"))
	receiveType    = Keccak([]byte("ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"))
	cancelType     = Keccak([]byte("CancelAuthorization(address authorizer,bytes32 nonce)"))
	refundType     = Keccak([]byte("Refund(bytes32 channelId,uint256 nonce,uint256 amount)"))
	claimBatchType = Keccak([]byte("ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"))
	claimEntryType = Keccak([]byte("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"))
)

// NewTokenDomain returns the domain in which the coin's authorizations are
// signed.
func NewTokenDomain(chainID uint64) Domain {
	return newDomain(TokenName, TokenVersion, chainID, NativeToken)
}

func newDomain(name, version string, chainID uint64, contract core.Address) Domain {
	n, v := Keccak([]byte(name)), Keccak([]byte(version))
	return Domain(Keccak(domainType[:], n[:], v[:], word(chainID), addressWord(contract)))
}

// Authorization is a transfer that its owner signs and anybody may bring on
// chain, once (EIP-3009). It holds after ValidAfter and before ValidBefore, in
// Unix seconds.
type Authorization struct {
	From, To                       core.Address
	Value, ValidAfter, ValidBefore core.Amount
	Nonce                          core.Hash
}

// TransferDigest is signed for transferWithAuthorization.
func (a Authorization) TransferDigest(d Domain) core.Hash { return a.digest(d, transferType) }

// ReceiveDigest is signed for receiveWithAuthorization, which only To may call.
func (a Authorization) ReceiveDigest(d Domain) core.Hash { return a.digest(d, receiveType) }

func (a Authorization) digest(d Domain, kind core.Hash) core.Hash {
	value, after, before := a.Value.Bytes32(), a.ValidAfter.Bytes32(), a.ValidBefore.Bytes32()
	return d.typed(Keccak(kind[:], addressWord(a.From), addressWord(a.To), value[:], after[:], before[:], a.Nonce[:]))
}

// CancelDigest is signed to make a nonce unusable.
func CancelDigest(d Domain, authorizer core.Address, nonce core.Hash) core.Hash {
	return d.typed(Keccak(cancelType[:], addressWord(authorizer), nonce[:]))
}

// DepositNonce is the nonce of the authorization that pays into a channel.
func DepositNonce(channel core.ChannelID, salt core.Hash) core.Hash {
	return Keccak(channel[:], salt[:])
}

// RefundDigest is what a channel's receiver authorizer signs to have another
// account send its refund. nonce counts the channel's refunds.
func RefundDigest(d Domain, channel core.ChannelID, nonce uint64, amount core.Amount) core.Hash {
	a := amount.Bytes32()
	return d.typed(Keccak(refundType[:], channel[:], word(nonce), a[:]))
}

// ClaimEntry is one voucher of a claim: Total of at most Max is claimed.
type ClaimEntry struct {
	Channel    core.ChannelID
	Max, Total core.Amount
}

// ClaimBatchDigest is what a receiver authorizer signs to have another account
// send its claims.
func ClaimBatchDigest(d Domain, entries []ClaimEntry) core.Hash {
	var all []byte
	for _, e := range entries {
		limit, total := e.Max.Bytes32(), e.Total.Bytes32()
		h := Keccak(claimEntryType[:], e.Channel[:], limit[:], total[:])
		all = append(all, h[:]...)
	}
	list := Keccak(all)
	return d.typed(Keccak(claimBatchType[:], list[:]))
}
